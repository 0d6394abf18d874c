"""The rows of preference data, whatever holds them: files, data sets of `datasets`, lists."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from mixwright.errors import InputError, missing_extra
from mixwright.preference.pairs.pair_rows import BadRowError
from mixwright.text.rows import FoundRow, read_rows

_PART = "split"


def rows_of(what: Any) -> Iterator[FoundRow]:
    """Yield the rows of whatever was given."""
    if isinstance(what, str | Path):
        path = Path(what)
        saved = path.is_dir() and any((path / file).exists() for file in ("dataset_info.json", "dataset_dict.json"))
        yield from _of_dataset(_saved(path), str(path)) if saved else read_rows(path)
    elif hasattr(what, "column_names"):
        yield from _of_dataset(what, "the data set")
    elif isinstance(what, Iterable) and not isinstance(what, Mapping | bytes):
        for i, row in enumerate(what):
            good = isinstance(row, Mapping)
            error = BadRowError("not an object", f"each row should be a dict, found {type(row).__name__}; correct it")
            yield FoundRow("row", i + 1, dict(row) if good else error)
    else:
        raise InputError(
            f"pairs should be a path, a datasets.Dataset or a list of dicts, found {type(what).__name__}; give one"
        )


def _saved(path: Path) -> Any:
    try:
        import datasets
    except ImportError:
        raise missing_extra("datasets", "preference") from None
    try:
        return datasets.load_from_disk(str(path))
    except Exception as error:  # of every kind
        raise InputError(
            f"{path}: there should be a folder of datasets.save_to_disk; opening it failed: {error}"
        ) from None


def _of_dataset(dataset: Any, label: str) -> Iterator[FoundRow]:
    """Yield the rows of a data set of `datasets`; the parts of a DatasetDict become the column "split"."""
    if isinstance(dataset.column_names, dict):
        for part, rows in dataset.items():
            for row in _of_dataset(rows, f"{label}, {part}"):
                value = row.value
                yield row._replace(value={_PART: part, **value} if isinstance(value, dict) else value)
        return
    if not hasattr(dataset, "__len__"):
        raise InputError("the data set should have a length, found one that streams; load it with streaming=False")
    for i, row in enumerate(dataset.with_format(None)):
        yield FoundRow(f"{label}, row", i + 1, dict(row))
