"""The rows of preference data, whatever holds them: files, data sets of `datasets`, lists."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

from mixwright.errors import InputError
from mixwright.files.listing import Listing, list_files
from mixwright.files.rows import FoundRow, rows_of_file
from mixwright.files.stores import local
from mixwright.preference.pairs.pair_rows import BadRowError
from mixwright.stream.sources.tables import load_saved

_PART = "split"


class Rows(NamedTuple):
    """Rows, and what was left out beside them, in sentences."""

    rows: Iterator[FoundRow]
    notes: list[str]


def rows_of(what: Any) -> Rows:
    """Return the rows of whatever was given."""
    if is_paths(what):
        return _of_paths([Path(local(one)) for one in ([what] if isinstance(what, str | Path) else what)])
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


def _of_paths(paths: Sequence[Path]) -> Rows:
    """Return the rows of files, each read once, and then those of folders that `datasets` saved."""
    saved = [path for path in dict.fromkeys(paths) if _is_saved(path)]
    others = [path for path in paths if path not in saved]
    listing = list_files(others) if others else Listing(())
    of_files = (row for file in listing.files for row in rows_of_file(file))
    of_saved = (row for path in saved for row in _of_dataset(load_saved(path, "preference"), str(path)))
    return Rows(chain(of_files, of_saved), listing.notes)


def _is_saved(path: Path) -> bool:
    return path.is_dir() and any((path / file).exists() for file in ("dataset_info.json", "dataset_dict.json"))


def _of_items(items: Iterable[Any]) -> Iterator[FoundRow]:
    for i, row in enumerate(items):
        good = isinstance(row, Mapping)
        error = BadRowError("not an object", f"each row should be a dict, found {type(row).__name__}; correct it")
        yield FoundRow("row", i + 1, dict(row) if good else error)


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
