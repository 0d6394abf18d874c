"""Likelihoods computed elsewhere: tables in .csv and .parquet files."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mixwright.checks import unique_names
from mixwright.errors import InputError
from mixwright.files.csv_rows import header, open_csv
from mixwright.files.kinds import kind_of
from mixwright.files.listing import the_file
from mixwright.files.parquet import open_parquet, without_views
from mixwright.search.table.rows import factorise

SPECIAL = ("document", "weight", "target")
_CHUNK = 8192  # rows of a .csv file that are converted at a time


@dataclass(frozen=True)
class ImportedTable:
    """What a file holds: logs [n, k] of k sources, and the optional columns (None where absent)."""

    sources: tuple[str, ...]
    log_likelihood: npt.NDArray[np.float64]
    documents: npt.NDArray[np.int64] | None = None
    weights: npt.NDArray[np.float64] | None = None
    targets: npt.NDArray[np.int64] | None = None
    target_names: list[str] | None = None


def read_table(path: Path) -> ImportedTable:
    """
    Read a .csv or .parquet file: one column per source, and optional columns named document, weight and target.

    Raises InputError when the file is missing, damaged or empty, has another suffix, or a column that is not numbers.
    """
    the_file(path, (".csv", ".parquet"), "open it with LikelihoodTable.open")
    return _read_csv(path) if kind_of(path) == ".csv" else _read_parquet(path)


def _sources(path: Path, names: list[str]) -> tuple[str, ...]:
    """Return the names of the source columns among those of a file."""
    try:
        unique_names(names, "columns")
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    sources = tuple(name for name in names if name not in SPECIAL)
    if not sources:
        raise InputError(
            f"{path} should have one column per source, found only {', '.join(names)}; add the columns of likelihoods"
        )
    return sources


def _assemble(path: Path, columns: dict[str, Any], sources: tuple[str, ...]) -> ImportedTable:
    """Return the table made of arrays of numbers, and of lists for documents and targets."""
    n = len(columns[sources[0]])
    if n == 0:
        raise InputError(f"{path} should have at least one row below its header, found none; add the rows")
    logs = np.empty((n, len(sources)), order="F")
    for j, name in enumerate(sources):
        logs[:, j] = columns.pop(name)
    named: dict[str, Any] = {}
    if "document" in columns:
        named["documents"], _ = factorise(columns["document"])
    if "target" in columns:
        named["targets"], target_names = factorise(columns["target"])
        named["target_names"] = [str(name) for name in target_names]
    return ImportedTable(sources, logs, weights=columns.get("weight"), **named)


def _read_csv(path: Path) -> ImportedTable:
    """Read a file of comma-separated values in UTF-8 with a header."""
    with open_csv(path) as lines:
        names = header(path, lines)
        sources = _sources(path, names)
        pieces: dict[str, list[Any]] = {name: [] for name in names}
        rows, start = _csv_rows(path, lines, len(names)), 0
        while chunk := list(islice(rows, _CHUNK)):
            for name, cells in zip(names, zip(*chunk, strict=True), strict=True):
                pieces[name].append(_csv_cells(path, name, cells, start))
            start += len(chunk)
    columns: dict[str, Any] = {}
    for name, parts in pieces.items():
        if name in ("document", "target"):
            columns[name] = [cell for part in parts for cell in part]
        else:
            columns[name] = np.concatenate(parts) if parts else np.empty(0)
    return _assemble(path, columns, sources)


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


def _csv_cells(path: Path, name: str, cells: tuple[str, ...], start: int) -> Any:
    """Return cells of one column, as float64 unless they are names."""
    if name in ("document", "target"):
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
                    "from 0 after the header); correct it"
                ) from None
        raise


def _no_value(path: Path, name: str, row: int) -> InputError:
    return InputError(
        f"{path} should have a value for {name!r} in each row, found none at row {row} (counted from 0); fill it in "
        "or remove the column"
    )


def _read_parquet(path: Path) -> ImportedTable:
    """Read a parquet file."""
    with open_parquet(path) as file:
        sources = _sources(path, list(file.schema_arrow.names))
        table = without_views(file.read())
        columns = {name: _parquet_column(path, name, table.column(name)) for name in table.column_names}
    return _assemble(path, columns, sources)


def _parquet_column(path: Path, name: str, column: Any) -> Any:
    """Return a column without nulls: float64, or a list of texts or integers for documents and targets."""
    import pyarrow.compute
    import pyarrow.types as types

    kind = column.type.value_type if types.is_dictionary(column.type) else column.type
    is_text = types.is_string(kind) or types.is_large_string(kind)
    named = name in ("document", "target")
    right = is_text or types.is_integer(kind) if named else types.is_floating(column.type) or types.is_integer(kind)
    if not right:
        wanted = "texts or whole numbers" if named else "numbers"
        raise InputError(f"{path} should hold {wanted} in column {name!r}, found {column.type}; convert the column")
    if column.null_count:
        raise _no_value(path, name, pyarrow.compute.index(column.is_null(), True).as_py())
    return column.to_pylist() if named else column.to_numpy().astype(np.float64)
