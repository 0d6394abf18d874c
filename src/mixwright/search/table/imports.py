"""Likelihoods computed elsewhere: tables in .csv and .parquet files, and data frames."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mixwright.checks import is_index, near, unique_names
from mixwright.errors import InputError
from mixwright.files.csv_rows import header, open_csv
from mixwright.files.kinds import kind_of
from mixwright.files.listing import the_file
from mixwright.files.parquet import open_parquet, without_views
from mixwright.search.table.rows import factorise
from mixwright.search.table.values import Values, require_sources

SPECIAL = ("document", "weight", "target")
_CHUNK = 8192  # rows of a .csv file that are converted at a time
_NAME_SOURCES = "name the columns that are sources: sources=[...]"

Choose = Callable[[list[str], Sequence[str]], "Wanted"]


@dataclass(frozen=True)
class Wanted:
    """The columns of a file that count: k sources, whether they were named, columns by special name, and notes."""

    sources: tuple[str, ...]
    named: bool
    special: dict[str, str]  # {document, weight, target or tokens: its column}
    notes: tuple[str, ...] = ()

    @property
    def columns(self) -> list[str]:
        """Return the columns to read."""
        return list(dict.fromkeys([*self.sources, *self.special.values()]))

    @property
    def names(self) -> set[str]:
        """Return the columns that hold names and no numbers."""
        return {column for what, column in self.special.items() if what in ("document", "target")}


@dataclass(frozen=True)
class ImportedTable:
    """What a file or a frame holds: numbers [n, k] of k sources, and the optional columns (None where absent)."""

    sources: tuple[str, ...]
    numbers: npt.NDArray[np.float64]
    documents: npt.NDArray[np.int64] | None = None
    weights: npt.NDArray[np.float64] | None = None
    targets: npt.NDArray[np.int64] | None = None
    target_names: list[str] | None = None
    tokens: npt.NDArray[np.float64] | None = None
    notes: tuple[str, ...] = ()


def read_table(
    path: Path, sources: Iterable[str] | None = None, tokens: str | None = None, values: Values | None = None
) -> ImportedTable:
    """
    Read a .csv or .parquet file: one column per source, and optional columns named document, weight and target.

    `sources` are the columns of the sources; without it all other columns are, apart from indices, and each should look
    like one. `tokens` is the column of the number of tokens; `values` is what the numbers are.

    Raises InputError when the file is missing, damaged or empty, has another suffix, or a column that is not numbers.
    """
    the_file(path, (".csv", ".parquet"), "if it is a saved table, open it with LikelihoodTable.open")

    def choose(names: list[str], indices: Sequence[str]) -> Wanted:
        return _wanted(f"{path}: ", names, indices, sources, tokens)

    columns, wanted = _read_csv(path, choose) if kind_of(path) == ".csv" else _read_parquet(path, choose)
    return _assemble(f"{path}: ", columns, wanted, values)


def read_frame(frame: Any, sources: Iterable[str] | None, tokens: str | None, values: Values | None) -> ImportedTable:
    """Return what a data frame (pandas, polars, a pyarrow Table) holds, as `read_table` does."""
    own = list(frame.column_names if hasattr(frame, "column_names") else frame.columns)
    names = [str(name) for name in own]
    schema = getattr(frame, "schema", None)
    wanted = _wanted("", names, _pandas_indices(getattr(schema, "metadata", None)), sources, tokens)
    columns: dict[str, Any] = {}
    for name, column in zip(names, own, strict=True):
        if name in wanted.columns:
            found = np.asarray(frame[column])
            if name not in wanted.names and found.dtype.kind not in "fiu":
                raise InputError(f"column {name!r} should hold numbers, found {found.dtype}; {_NAME_SOURCES}")
            columns[name] = found.tolist() if name in wanted.names else found.astype(np.float64)
    return _assemble("", columns, wanted, values)


def _wanted(
    where: str, names: list[str], indices: Sequence[str], sources: Iterable[str] | None, tokens: str | None
) -> Wanted:
    """Return which of the columns of a file count."""
    index = [name for i, name in enumerate(names) if (is_index(name, i) or name in indices) and name not in SPECIAL]
    try:
        unique_names([name for name in names if name.strip() or name not in index], "columns")
        special = {name: name for name in SPECIAL if name in names}
        if tokens is not None:
            special["tokens"] = tokens
        for name in special.values():
            if name not in names:
                raise InputError(f"tokens should name a column{near(name, names, 'columns')}")
        if sources is not None:
            chosen = unique_names(sources)
            for name in chosen:
                if name not in names or name in special.values():
                    raise InputError(f"sources should name columns of likelihoods{near(name, names, 'columns')}")
            return Wanted(chosen, True, special)
    except InputError as error:
        raise InputError(f"{where}{error}") from error
    found = tuple(name for name in names if name not in special.values() and name not in index)
    if not found:
        raise InputError(
            f"{where}there should be one column per source, found only {', '.join(names)}; add the columns of "
            "likelihoods"
        )
    notes = tuple(f"column {name!r} was left out: it is an index" for name in index if name)
    return Wanted(found, False, special, notes)


def _assemble(where: str, columns: dict[str, Any], wanted: Wanted, values: Values | None) -> ImportedTable:
    """Return the table made of arrays of numbers, and of lists for documents and targets."""
    n = len(columns[wanted.sources[0]])
    if n == 0:
        raise InputError(f"{where}there should be at least one row below the header, found none; add the rows")
    if not wanted.named:
        require_sources(where, {name: columns[name] for name in wanted.sources}, values)
    numbers = np.empty((n, len(wanted.sources)), order="F")
    for j, name in enumerate(wanted.sources):
        numbers[:, j] = columns.pop(name)
    found = {what: columns[name] for what, name in wanted.special.items()}
    named: dict[str, Any] = {}
    if "document" in found:
        named["documents"], _ = factorise(found["document"])
    if "target" in found:
        named["targets"], target_names = factorise(found["target"])
        named["target_names"] = [str(name) for name in target_names]
    named |= {"weights": found.get("weight"), "tokens": found.get("tokens")}
    return ImportedTable(wanted.sources, numbers, notes=wanted.notes, **named)


def _read_csv(path: Path, choose: Choose) -> tuple[dict[str, Any], Wanted]:
    """Read a file of comma-separated values in UTF-8 with a header."""
    with open_csv(path) as lines:
        names = header(path, lines)
        wanted = choose(names, ())
        pieces: dict[str, list[Any]] = {name: [] for name in wanted.columns}
        rows, start = _csv_rows(path, lines, len(names)), 0
        while chunk := list(islice(rows, _CHUNK)):
            for name, cells in zip(names, zip(*chunk, strict=True), strict=True):
                if name in pieces:
                    pieces[name].append(_csv_cells(path, name, cells, start, name in wanted.names))
            start += len(chunk)
    columns: dict[str, Any] = {}
    for name, parts in pieces.items():
        if name in wanted.names:
            columns[name] = [cell for part in parts for cell in part]
        else:
            columns[name] = np.concatenate(parts) if parts else np.empty(0)
    return columns, wanted


def _csv_rows(path: Path, lines: Iterator[list[str]], width: int) -> Iterator[list[str]]:
    """Yield the rows of a file, which all have `width` cells; empty lines may stand only at its end."""
    empty = False
    for i, row in enumerate(lines):
        if not row:
            empty = True
            continue
        if empty or len(row) != width:
            found = "an empty line" if empty else f"{len(row)}"
            row_number = i - 1 if empty else i
            raise InputError(
                f"{path} should have {width} cells in each row, found {found} at row {row_number} (counted from 0 "
                "after the header); correct it"
            )
        yield row


def _csv_cells(path: Path, name: str, cells: tuple[str, ...], start: int, named: bool) -> Any:
    """Return cells of one column, as float64 unless they are names."""
    if named:
        for i, cell in enumerate(cells):
            if not cell.strip():
                raise _no_value(path, name, start + i)
        return cells
    try:
        return np.array([float(cell) for cell in cells])
    except ValueError:
        for i, cell in enumerate(cells):
            try:
                float(cell)
            except ValueError:
                raise InputError(
                    f"{path} should hold numbers in column {name!r}, found {cell!r:.60} at row {start + i} (counted "
                    f"from 0 after the header); correct it, or {_NAME_SOURCES}"
                ) from None
        raise


def _no_value(path: Path, name: str, row: int) -> InputError:
    return InputError(
        f"{path} should have a value for {name!r} in each row, found none at row {row} (counted from 0); fill it in "
        "or remove the column"
    )


def _read_parquet(path: Path, choose: Choose) -> tuple[dict[str, Any], Wanted]:
    """Read a parquet file."""
    with open_parquet(path) as file:
        wanted = choose(list(file.schema_arrow.names), _pandas_indices(file.schema_arrow.metadata))
        table = without_views(file.read(columns=wanted.columns))
        columns = {
            name: _parquet_column(path, name, table.column(name), name in wanted.names) for name in wanted.columns
        }
    return columns, wanted


def _pandas_indices(metadata: Any) -> list[str]:
    """Return the columns that were the index of the data frame that a file was written from."""
    try:
        found = json.loads((metadata or {}).get(b"pandas", b"{}"))["index_columns"]
        return [name for name in found if isinstance(name, str)]
    except (ValueError, TypeError, KeyError, AttributeError):  # another program's
        return []


def _parquet_column(path: Path, name: str, column: Any, named: bool) -> Any:
    """Return a column without nulls: float64, or a list of texts or integers for documents and targets."""
    import pyarrow.compute
    import pyarrow.types as types

    kind = column.type.value_type if types.is_dictionary(column.type) else column.type
    is_text = types.is_string(kind) or types.is_large_string(kind)
    right = is_text or types.is_integer(kind) if named else types.is_floating(column.type) or types.is_integer(kind)
    if not right:
        wanted = "texts or whole numbers" if named else "numbers"
        advice = "" if named else f", or {_NAME_SOURCES}"
        raise InputError(
            f"{path} should hold {wanted} in column {name!r}, found {column.type}; convert the column{advice}"
        )
    if column.null_count:
        raise _no_value(path, name, pyarrow.compute.index(column.is_null(), True).as_py())
    return column.to_pylist() if named else column.to_numpy().astype(np.float64)
