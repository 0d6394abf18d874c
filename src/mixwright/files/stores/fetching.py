"""Fetching: an address becomes a whole, checked copy on this machine, whatever the network does in between."""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

from mixwright.errors import InputError
from mixwright.files.claims import Claim
from mixwright.files.holder import alone
from mixwright.files.stores.addresses import WEB, Address, address_of
from mixwright.files.stores.copies import Kept, blob, cache_folder, digest, make_view, opened, view_of
from mixwright.files.stores.faults import TRIES, again, explained
from mixwright.files.stores.systems import connect, online
from mixwright.files.writing import explain_write_error

_AT_ONCE = 8  # files
_TAGS = ("ETag", "etag", "md5Hash", "blob_id", "content_hash", "Content-MD5", "Digest", "generation")
_TIMES = ("LastModified", "last_modified", "Last-Modified", "mtime", "created", "updated")
Report = Callable[[int, int], None]  # bytes that are here, of how many


def local(what: Any) -> Any:
    """Return paths with copies in place of addresses; what holds none comes back as it is."""
    if isinstance(what, list | tuple):
        return type(what)(local(one) for one in what)
    found = address_of(what) if isinstance(what, str | Path) else None
    return what if found is None else fetch(found)


def fetch(address: Address, report: Report = lambda done, total: None, view: str | None = None) -> Path:
    """
    Return the path, or the pattern, of a copy of what an address has now; what is here in that version is not fetched.

    Parameters
    ----------
    address
        Of a file, a folder or a pattern, or of a data set of the hub.
    report
        Called with the bytes that are here, and those that will be.
    view
        The version that another process reads, by the name of its copy. Where that is here, the store is not asked.

    Raises
    ------
    InputError
        Nothing is there, credentials are missing or refused, the store does not answer, or its data change meanwhile.
    MissingExtraError
        A package is missing.
    """
    if view is not None and (found := opened(address, view)) is not None:
        return found
    with online(), _alone(address), _explained(address):
        if address.scheme == "dataset":
            from mixwright.files.stores.by_name import fetch_dataset

            return fetch_dataset(address)
        return _fetched(address, connect(address), report)


def changed(address: Address, view: str) -> bool | None:
    """Whether the store has another version than that of a copy, which a view names; None where it does not answer."""
    try:
        with online():
            if address.scheme == "dataset":
                from mixwright.files.stores.by_name import dataset_changed

                return dataset_changed(address, view)
            files = list(_listed(address, connect(address)))
    except Exception:  # the store is not needed: the copy is here
        return None
    if not all(kept.version and kept.size >= 0 for kept in files):
        return False  # it names no version, so none is another one
    return view_of(address, files) != view


def _fetched(address: Address, system: Any, report: Report) -> Path:
    """List, fetch what is not here, and list again: what changed meanwhile is fetched once more."""
    for _ in range(TRIES):
        files = again(lambda: _listed(address, system))
        if (
            all(kept.version for kept in files)
            and (found := opened(address, view_of(address, list(files)))) is not None
        ):
            return found
        here = _contents(address, system, files, report)
        if here is not None:
            return make_view(address, here)
    raise InputError(
        f"{address}: the data should stay the same while they are fetched, found that they changed {TRIES} times; wait "
        "until nobody writes there, or copy them to another place"
    )


def _listed(address: Address, system: Any) -> dict[Kept, str]:
    """Return the files of an address, each with its name in the store; FileNotFoundError if there is none."""
    system.invalidate_cache()
    whole = str(address) if address.scheme in WEB else address.fixed
    if not address.pattern and (about := system.info(whole))["type"] != "directory":
        return {_kept("", about): whole}
    root = system._strip_protocol(whole).rstrip("/")
    found: dict[Kept, str] = {}
    for path, about in system.find(root, detail=True).items():
        name = path.removeprefix(root).lstrip("/")
        if about["type"] == "directory" or not name or path.endswith("/"):
            continue
        if {"", ".", ".."} & set(name.split("/")):
            raise InputError(f"{address}: names should have no empty part and no .., found {name!r}; rename it")
        if not address.pattern or _matches(f"{address.fixed}/{name}", address.path):
            found[_kept(name, about)] = path
    if not found:
        raise FileNotFoundError("no file matches" if address.pattern else "an empty folder")
    return found


def _kept(name: str, about: Mapping[str, Any]) -> Kept:
    """Return what names a version of a file: a tag of the store, or else its time; "" where the store has neither."""
    key = next((key for key in (*_TAGS, *_TIMES) if about.get(key)), None)
    lfs = about.get("lfs")
    version = f"sha256 {lfs['sha256']}" if isinstance(lfs, Mapping) and lfs.get("sha256") else ""
    return Kept(
        name, -1 if about.get("size") is None else int(about["size"]), version or (f"{about[key]}" if key else "")
    )


def _matches(path: str, pattern: str) -> bool:
    """Whether a pattern matches a file, or a folder that it is in: the readers choose among these."""
    parts = path.split("/")
    wanted = re.compile(_expression(pattern))
    return any(wanted.fullmatch("/".join(parts[:end])) for end in range(1, len(parts) + 1))


def _expression(pattern: str) -> str:
    """Return a glob as a regular expression: ** stands for any folders, * and ? for anything but a slash."""
    text = re.escape(pattern).replace(r"\[", "[").replace(r"\]", "]").replace("[!", "[^").replace(r"\-", "-")
    text = text.replace(r"\*\*/", "(?:.*/)?").replace(r"\*\*", ".*")
    return text.replace(r"\*", "[^/]*").replace(r"\?", "[^/]")


class _Progress:
    """The bytes of all files that are here, reported a few times a second at most."""

    def __init__(self, files: Iterable[Kept], report: Report) -> None:
        self._total, self._report, self._last = sum(max(kept.size, 0) for kept in files), report, 0.0
        self._here: dict[Kept, int] = {}

    def __call__(self, kept: Kept, size: int) -> None:
        """Say how much of a file is here."""
        self._here[kept] = size
        if time.monotonic() - self._last > 0.2:
            self._last, done = time.monotonic(), sum(self._here.copy().values())
            self._report(done, max(self._total, done))


def _contents(address: Address, system: Any, files: Mapping[Kept, str], report: Report) -> dict[Kept, Path] | None:
    """Fetch what is not here; None if a file is another one than was listed."""
    progress, here = _Progress(files, report), dict[Kept, Path]()
    pool = ThreadPoolExecutor(_AT_ONCE)
    try:
        running = {pool.submit(_content, address, system, kept, path, progress) for kept, path in files.items()}
        while running:
            ended, running = wait(running, return_when=FIRST_COMPLETED)
            for each in ended:
                if (found := each.result()) is None:
                    return None
                here[found[0]] = found[1]
        return here
    finally:
        pool.shutdown(cancel_futures=True)


def _content(address: Address, system: Any, kept: Kept, path: str, progress: _Progress) -> tuple[Kept, Path] | None:
    """Return the content of a file, in this version; None if there is another one now."""
    place = blob(address, kept)
    if kept.version and place.is_file() and place.stat().st_size == kept.size:
        return kept, place
    part = place.with_name(f".{place.name}.{os.getpid()}{secrets.token_hex(4)}.tmp")
    try:
        part.parent.mkdir(parents=True, exist_ok=True)
        size = again(lambda: _transfer(system, path, part, kept, progress))
        if size is None or again(lambda: _version(system, path, kept)) != (kept.size, kept.version):
            return None
        if not kept.version or kept.size < 0:
            kept = kept._replace(size=size, version=kept.version or f"sha256 {_digest(part)}")
            place = blob(address, kept)
            place.parent.mkdir(parents=True, exist_ok=True)
        part.chmod(0o444)  # it belongs to several folders
        os.replace(part, place)
    finally:
        part.unlink(missing_ok=True)
    return kept, place


def _transfer(system: Any, path: str, part: Path, kept: Kept, progress: _Progress) -> int | None:
    """Fetch a file and return its size; OSError if it is cut off, None if it is another one now."""
    from fsspec.callbacks import Callback

    counted = Callback(hooks={"bytes": lambda size, value, **more: progress(kept, value)})
    system.get_file(path, os.fspath(part), callback=counted)
    size = part.stat().st_size
    if kept.size < 0 or size == kept.size:
        return size
    if _version(system, path, kept) != (kept.size, kept.version):
        return None
    raise OSError(f"{size:,} of {kept.size:,} bytes came")


def _version(system: Any, path: str, kept: Kept) -> tuple[int, str]:
    system.invalidate_cache()
    found = _kept(kept.name, system.info(path))
    return found.size, found.version


def _digest(path: Path) -> str:
    with open(path, "rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def _alone(address: Address) -> AbstractContextManager[None]:
    """Let one process fetch an address at a time: the others then find it here."""
    lost = (
        f"{address}: this process should have shown that it fetches, found that it stood still and another one took "
        "over; run the same command again"
    )
    return alone(Claim(cache_folder() / "claims" / digest(str(address))), lost)


@contextmanager
def _explained(address: Address) -> Iterator[None]:
    """Turn what libraries raise into one error that names the address and the remedy, and no credential."""
    try:
        yield
    except (InputError, ImportError):
        raise
    except Exception as error:
        if isinstance(error, OSError) and error.filename and str(error.filename).startswith(str(cache_folder())):
            raise explain_write_error(error.filename, error) from None
        raise explained(address, error) from None
