"""Opening a source by what it is: a path, or an object that holds rows."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from mixwright.errors import InputError
from mixwright.stream.sources.source import AnyRows, Source


def open_source(what: Any, context: int | None = None, **options: Any) -> Source:
    """
    Open a source by what it is.

    Parameters
    ----------
    what
        A path: `.npy`, raw `.bin` (with `dtype=`), a Megatron prefix, `.idx` or `.bin` beside an `.idx`, `.parquet`,
        `.jsonl` or `.ndjson`, a folder of parquet files, of `datasets.save_to_disk` or of `write_tokens`. Or an object:
        a TokenStore, an integer array of tokens, an array of rows, a `datasets.Dataset`, any object with `__len__` and
        `__getitem__`, or a Source, which is returned.
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
        return _open_path(Path(what), context, options)
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
    from mixwright.stream.sources.megatron import MegatronRows
    from mixwright.stream.sources.tables import ArrowRows, JsonLines, ParquetRows

    suffix = path.suffix.lower()
    if suffix == ".idx" or path.with_suffix(".idx").exists() or Path(f"{path}.idx").exists():
        return _call(MegatronRows, path, context, options)
    if not path.exists():
        raise InputError(f"{path}: there should be a source here, found nothing; check the path")
    if path.is_dir():
        if (path / "dataset_dict.json").exists():
            splits = sorted(p.name for p in path.iterdir() if p.is_dir())
            raise InputError(f"{path}: a source should be one split, found {', '.join(splits)}; name one: {path}/SPLIT")
        if (path / "meta.json").exists() and (path / "tokens.bin").exists():
            from mixwright.text.tokens import TokenStore

            return _open_tokens(TokenStore.open(path), context, options)
        if (path / "dataset_info.json").exists() or (path / "state.json").exists():
            return _call(ArrowRows, path, None, options)
        if any(path.glob("*.parquet")):
            return _call(ParquetRows, path, None, options)
    if suffix in (".npy", ".bin"):
        return _open_tokens(path, context, options)
    if suffix == ".parquet":
        return _call(ParquetRows, path, None, options)
    if suffix in (".jsonl", ".ndjson", ".gz", ".zst", ".json"):
        return _call(JsonLines, path, None, options)
    raise InputError(
        f"{path}: a source should be .npy, .bin, .idx, .parquet, .jsonl, .ndjson, or a folder of parquet files, of "
        f"datasets.save_to_disk or of write_tokens; found none of these"
    )


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
