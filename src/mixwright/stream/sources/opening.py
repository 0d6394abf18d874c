"""Opening a source by what it is: a path, or an object that holds rows."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from mixwright.errors import InputError
from mixwright.files.kinds import LINES, PACKED, kind_of
from mixwright.files.listing import Paths, list_files
from mixwright.files.stores import local
from mixwright.stream.sources.source import AnyRows, ChainedRows, Source


def open_source(what: Any, context: int | None = None, **options: Any) -> Source:
    """
    Open a source by what it is.

    Parameters
    ----------
    what
        A path: `.npy`, raw `.bin` (with `dtype=`), a Megatron prefix, `.idx` or `.bin` beside an `.idx`, `.parquet`,
        `.jsonl`, `.ndjson`, a JSON list (`.json`), a folder of parquet files and JSON lines (with its sub-folders), a
        pattern such as `web/*.parquet`, a list of `Path`, an address (`s3://bucket/web/*.parquet`; gs, hf, https,
        dataset), or a folder of `datasets.save_to_disk` or of `write_tokens`.
        What is left out of a folder is counted in a warning. Or an object: a TokenStore, an integer array of tokens,
        an array of rows, a `datasets.Dataset`, any object with `__len__` and `__getitem__`, or a Source, which is
        returned.
    context
        Tokens per row, for sources of tokens.
    **options
        Handed to the class that reads it: `overlap`, `boundaries`, `dtype`, `columns`, ...

    Raises
    ------
    InputError
        If there is nothing there, it is damaged or of no kind that is known, or an option does not belong to it.
    """
    from mixwright.stream.sources.tables import ArrowRows

    if isinstance(what, Source):
        return what
    if isinstance(what, str | Path):
        return _open_path(Path(local(what)), context, options)
    if isinstance(what, list | tuple) and what and all(isinstance(one, Path) for one in what):
        return _open_rows(local(what), options)
    if type(what).__module__.startswith("torch") and hasattr(what, "numpy"):
        what = what.numpy()
    datasets = sys.modules.get("datasets")
    if datasets is not None and isinstance(what, datasets.Dataset):
        return _call(ArrowRows, what, None, options)
    numbers = isinstance(what, np.ndarray) and what.dtype.kind in "biufc" and what.ndim > 0
    if _is_store(what) or (numbers and (what.ndim == 1 or context is None)):
        return _open_tokens(what, context, options)
    return _call(AnyRows, what, None, options)


def _open_path(path: Path, context: int | None, options: dict[str, Any]) -> Source:
    from mixwright.stream.sources.megatron import MegatronRows, is_megatron
    from mixwright.stream.sources.tables import ArrowRows

    if is_megatron(path, raw="dtype" in options):
        return _call(MegatronRows, path, context, options)
    if path.is_dir():
        if (path / "dataset_dict.json").exists():
            splits = sorted(p.name for p in path.iterdir() if p.is_dir())
            raise InputError(f"{path}: a source should be one split, found {', '.join(splits)}; name one: {path}/SPLIT")
        if (path / "meta.json").exists() and (path / "tokens.bin").exists():
            from mixwright.text.tokens import TokenStore

            return _open_tokens(TokenStore.open(path), context, options)
        _check_no_run(path)
        if (path / "dataset_info.json").exists() or (path / "state.json").exists():
            return _call(ArrowRows, path, None, options)
    elif path.exists() and kind_of(path) in (".npy", ".bin"):
        return _open_tokens(path, context, options)
    return _open_rows(path, options)


def _open_rows(what: Paths, options: dict[str, Any]) -> Source:
    """Open files of rows: parquet, JSON lines, or both."""
    from mixwright.stream.sources.lines import JsonLines
    from mixwright.stream.sources.tables import ParquetRows

    listing = list_files(what, (".parquet", ".jsonl", ".ndjson"))
    if not listing.files and isinstance(what, Path):
        _check_no_parts(what)
    if not listing.files:  # beside rows a .json is rather a description of them
        listing = list_files(what, (".json",))
    parquet = [file for file in listing.files if kind_of(file) == ".parquet"]
    lines = [file for file in listing.files if kind_of(file) in LINES or file.suffix.lower() in PACKED]
    if any(kind_of(file) == ".txt" for file in listing.files or listing.unread):
        raise InputError(
            f"{what}: a source should be tokens, found text; tokenise it first: `mixwright search` and `train` leave "
            "RUN/tokens/NAME/train of each source, mixwright.text.write_tokens writes such a folder, or map a "
            "datasets.Dataset to input_ids"
        )
    if not listing.files or len(parquet) + len(lines) < len(listing.files):
        raise InputError(
            f"{what}: a source should be .npy, .bin, .idx, .parquet, .jsonl, .ndjson, .json, or a folder of parquet or "
            f"JSON lines, of datasets.save_to_disk or of write_tokens; found none of these"
        )
    for note in listing.notes:
        warnings.warn(f"{what}: {note}", stacklevel=4)
    if parquet and lines:
        return _call(ChainedRows, [ParquetRows(parquet), JsonLines(lines)], None, options)
    return _call(ParquetRows if parquet else JsonLines, [*parquet, *lines], None, options)


def _check_no_run(folder: Path) -> None:
    """Raise InputError for the folder of a run, or of all its tokens: it holds more than one source."""
    for place in (folder / "tokens", folder):
        if names := sorted(each.parent.parent.name for each in place.glob("*/train/tokens.bin")):
            one = place / names[0] / "train"
            raise InputError(
                f"{folder}: a source should be the tokens of one, found those of {', '.join(names)}; name one: {one}"
            )


def _check_no_parts(folder: Path) -> None:
    """Raise InputError for the folder of a source's tokens in a search, which has a folder for each part."""
    parts = sorted(each.parent.name for each in folder.glob("*/tokens.bin"))
    if parts:
        one = folder / ("train" if "train" in parts else parts[0])
        raise InputError(f"{folder}: a source should be one of its parts, found {', '.join(parts)}; name one: {one}")


def _open_tokens(what: Any, context: int | None, options: dict[str, Any]) -> Source:
    from mixwright.stream.sources.tokens import PaddedDocuments, TokenRows

    if "pad" in options or "long" in options:
        return _call(PaddedDocuments, what, context, options)
    return _call(TokenRows, what, context, options)


def _call(kind: Callable[..., Source], what: Any, context: int | None, options: dict[str, Any]) -> Source:
    if context is not None:
        options = {"context": context, **options}
    try:
        return kind(what, **options)
    except TypeError as error:
        if "unexpected keyword argument" not in str(error) and "required" not in str(error):
            raise
        reason = str(error).rpartition("() ")[2]
        raise InputError(
            f"{what!s:.200}: it is read as {kind.__name__}, whose options differ: {reason}; use open_source(what, ...) "
            f"with the options of {kind.__name__}"
        ) from None


def _is_store(what: Any) -> bool:
    return all(hasattr(what, name) for name in ("data", "offsets", "documents", "bos", "fingerprint"))
