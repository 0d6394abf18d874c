"""The rows of preference data, whatever holds them: files, data sets of `datasets`, lists."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from mixwright.errors import InputError, missing_extra
from mixwright.files.listing import list_files
from mixwright.files.rows import FoundRow, rows_of_file
from mixwright.preference.pairs.pair_rows import BadRowError

_PART = "split"


class Rows(NamedTuple):
    """Rows, and what was left out beside them, in sentences."""

    rows: Iterator[FoundRow]
    notes: list[str]


def rows_of(what: Any) -> Rows:
    """Return the rows of whatever was given."""
    if is_paths(what):
        paths = [Path(what)] if isinstance(what, str | Path) else [Path(one) for one in what]
        parts = [_of_path(path) for path in paths] or [Rows(iter(()), [])]
        return Rows((row for part in parts for row in part.rows), [note for part in parts for note in part.notes])
    if hasattr(what, "column_names"):
        return Rows(_of_dataset(what, "the data set"), [])
    if isinstance(what, Iterable) and not isinstance(what, Mapping | bytes):
        return Rows(_of_items(what), [])
    raise InputError(
        f"pairs should be a path, a datasets.Dataset or a list of dicts, found {type(what).__name__}; give one"
    )


def is_paths(what: Any) -> bool:
    """Return whether this is a path or a list of paths."""
    several = isinstance(what, Sequence) and len(what) > 0 and all(isinstance(one, str | Path) for one in what)
    return isinstance(what, str | Path) or several


def _of_path(path: Path) -> Rows:
    if path.is_dir() and any((path / file).exists() for file in ("dataset_info.json", "dataset_dict.json")):
        return Rows(_of_dataset(_saved(path), str(path)), [])
    listing = list_files(path)
    return Rows((row for file in listing.files for row in rows_of_file(file)), listing.notes)


def _of_items(items: Iterable[Any]) -> Iterator[FoundRow]:
    for i, row in enumerate(items):
        good = isinstance(row, Mapping)
        error = BadRowError("not an object", f"each row should be a dict, found {type(row).__name__}; correct it")
        yield FoundRow("row", i + 1, dict(row) if good else error)


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
