"""Data sets of the hub by their name: `datasets` reads whatever they are made of, and they are kept as parquet."""

from __future__ import annotations

import os
import re
import secrets
from pathlib import Path
from typing import Any

from mixwright.errors import InputError, missing_extra
from mixwright.files.stores.addresses import Address, masked
from mixwright.files.stores.copies import Kept, blob, cache_folder, make_view, opened, view_of
from mixwright.files.stores.faults import again

_COMMIT = re.compile(r"[0-9a-f]{40}")


def fetch_dataset(address: Address) -> Path:
    """Return the parquet file of a split, of the commit that the revision stands for now; errors as for `fetch`."""
    try:
        import datasets
        import huggingface_hub  # noqa: F401 - not installed: one error
    except ImportError as error:
        raise missing_extra(error.name or "datasets", "stores") from None
    commit = again(lambda: _commit(address))
    known = _known(address, commit)
    if known is not None and (found := opened(address, view_of(address, [known]))) is not None:
        return found
    rows = again(lambda: _loaded(datasets, address, commit))
    kept, content = _written(address, commit, rows)
    _remember(address, commit, kept)
    return make_view(address, {kept: content})


def dataset_changed(address: Address, view: str) -> bool:
    """Whether the revision stands for another commit now than that of a copy."""
    known = _known(address, _commit(address))
    return known is None or view_of(address, [known]) != view


def _commit(address: Address) -> str:
    """Return the commit that the revision stands for now."""
    from huggingface_hub import HfApi

    given = address.query.get("revision", "")
    return given if _COMMIT.fullmatch(given) else HfApi().dataset_info(address.path, revision=given or None).sha or ""


def _loaded(datasets: Any, address: Address, commit: str) -> Any:
    """Return the rows of the split; InputError if there are several and none is named, or the names are wrong."""
    given = address.query
    try:
        found = datasets.load_dataset(address.path, given.get("config"), split=given.get("split"), revision=commit)
    except ValueError as error:  # of names; it lists those that there are
        if type(error).__module__.startswith("huggingface_hub"):
            raise
        raise InputError(f"{address}: config and split should be of the data set: {masked(str(error))}") from None
    if isinstance(found, datasets.DatasetDict):
        if len(found) > 1:
            raise InputError(
                f"{address}: a split should be named, found {', '.join(found)}; add split: {next(iter(found))}"
            )
        found = next(iter(found.values()))
    return found


def _written(address: Address, commit: str, rows: Any) -> tuple[Kept, Path]:
    place = cache_folder() / "blobs" / f".{os.getpid()}{secrets.token_hex(4)}.tmp"
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        rows.to_parquet(os.fspath(place))
        kept = Kept("", place.stat().st_size, commit)
        content = blob(address, kept)
        content.parent.mkdir(parents=True, exist_ok=True)
        place.chmod(0o444)
        os.replace(place, content)
    finally:
        place.unlink(missing_ok=True)
    return kept, content


def _note(address: Address, commit: str) -> Path:
    return blob(address, Kept("", 0, commit)).with_suffix(".size")


def _known(address: Address, commit: str) -> Kept | None:
    """Return what was written of this commit before; its size is not known from the hub."""
    try:
        return Kept("", int(_note(address, commit).read_text(encoding="ascii")), commit)
    except (OSError, ValueError):
        return None


def _remember(address: Address, commit: str, kept: Kept) -> None:
    _note(address, commit).write_text(str(kept.size), encoding="ascii")
