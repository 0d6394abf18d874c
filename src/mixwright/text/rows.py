"""Whole rows out of files, one by one; a row that is not right comes out as the error that says so."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from mixwright.errors import InputError, missing_extra
from mixwright.text.readers import _LINES, _batch_rows, _decode, _json_row, _kind, _members, _open


class FoundRow(NamedTuple):
    """
    One row of a file.

    Parameters
    ----------
    label, number
        Where it lies: "pairs.jsonl, line" and 7; together "pairs.jsonl, line 7".
    value
        The row, or what is wrong with it.
    """

    label: str
    number: int
    value: dict[str, Any] | InputError

    @property
    def place(self) -> str:
        """Where the row lies."""
        return f"{self.label} {self.number}"


def read_rows(path: Path | str) -> Iterator[FoundRow]:
    """
    Yield the rows of JSON lines (`.jsonl`, `.ndjson`, `.json`, each also `.gz` or `.zst`), `.parquet`, or a folder.

    A line that is not a JSON object does not end the reading: its row is the error. Blank lines are no rows.

    Raises
    ------
    InputError
        The path is missing or of another kind, or a file is damaged.
    """
    path = Path(path)
    for member in _members(path):
        kind = _kind(member)
        if kind == ".parquet":
            yield from _parquet(member)
        elif kind in _LINES:
            yield from _lines(member)
        else:
            known = ".jsonl, .ndjson, .json (one JSON object per line, also with .gz or .zst) or .parquet"
            raise InputError(f"{member}: rows should be in {known}, found another kind of file; move it or convert it")


def _lines(path: Path) -> Iterator[FoundRow]:
    label = f"{path}, line"
    with _open(path) as handle:
        for number, line in enumerate(handle, start=1):
            if not line.strip():
                continue
            where = f"{label} {number}"
            try:
                yield FoundRow(label, number, _json_row(_decode(line, where), where, ()))
            except InputError as error:
                yield FoundRow(label, number, error)


def _parquet(path: Path) -> Iterator[FoundRow]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise missing_extra("pyarrow", "data") from None
    label, number = f"{path}, row", 0
    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=1024):
                for row in _batch_rows(path, batch, number):
                    number += 1
                    yield FoundRow(label, number, row)
    except (pyarrow.ArrowException, OSError) as error:
        raise InputError(f"{path}: this should be a parquet file, but reading it failed: {error}") from None
