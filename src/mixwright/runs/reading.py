"""Columns of .csv and .parquet files, and which of them are weights and losses."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mixwright.checks import near, unique_names
from mixwright.errors import InputError
from mixwright.files.csv_rows import header, open_csv
from mixwright.files.kinds import kind_of
from mixwright.files.listing import the_file
from mixwright.files.opening import read_text
from mixwright.files.parquet import open_parquet, without_views
from mixwright.files.stores import local
from mixwright.runs.trackers import KEYS, is_step, number, of_files, of_objects, recognised

Array = NDArray[np.float64]
Columns = dict[str, list[Any]]
Chosen = str | Sequence[str]
EMPTY = ("", "nan", "na", "none", "null")


def read_columns(path: Path) -> Columns:
    """
    Return {name: values} of a .csv, .parquet, .json or .jsonl file, or of a folder of a tracker's .csv files.

    An empty cell is None, cells of a .csv file are texts. Exports of trackers have a row per run: `runs.trackers`.
    """
    columns = recognised(_read(path), f"{path}: ")
    if not columns or not next(iter(columns.values())):
        raise InputError(f"{path} should have at least one run, found none; check the file")
    return columns


def _read(path: Path) -> Columns:
    path = local(path)
    if path.is_dir() and (files := sorted(path.glob("*.csv"))):
        return of_files({file.stem: _csv(file) for file in files}, f"{path}: ")
    if path.suffix in (".json", ".jsonl"):
        return _json(path)
    the_file(path, (".csv", ".parquet"), "give the table itself")
    return _csv(path) if kind_of(path) == ".csv" else _parquet(path)


def _json(path: Path) -> Columns:
    text = read_text(path, "a JSON file")
    try:
        value = json.loads(text) if path.suffix == ".json" else [json.loads(line) for line in text.splitlines() if line]
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} should be JSON, found something else ({error}); check the file") from None
    return of_objects(value, f"{path}: ")


def _csv(path: Path) -> Columns:
    with open_csv(path) as lines:
        names = header(path, lines)
        names = [name if name.strip() or i else "index" for i, name in enumerate(names)]  # pandas leaves it without one
        try:
            unique_names(names, "columns")
        except InputError as error:
            raise InputError(f"{path}: {error}") from None
        rows = [row for row in lines if row]
    for i, row in enumerate(rows):
        if len(row) != len(names):
            raise InputError(
                f"{path} should have {len(names)} cells in each row, found {len(row)} at row {i} (counted from 0 after "
                "the header); correct it"
            )
    cells = zip(*rows, strict=True) if rows else ([] for _ in names)
    return {
        name: [None if cell.strip().lower() in EMPTY else cell for cell in column]
        for name, column in zip(names, cells, strict=True)
    }


def _parquet(path: Path) -> Columns:
    with open_parquet(path) as file:
        return {str(name): values for name, values in without_views(file.read()).to_pydict().items()}


def of_frame(frame: Any) -> Columns:
    """Return {name: values} of a data frame (pandas, polars), or of a mapping that is that already."""
    if isinstance(frame, Mapping):
        return {str(name): list(values) for name, values in frame.items()}
    return {str(name): np.asarray(frame[name]).tolist() for name in frame.columns}


def numbers(values: Sequence[Any], column: str, where: str) -> Array:
    """Return a column as numbers [n], nan where it is empty; InputError for anything else."""
    return np.array([number(value, column, i, where) for i, value in enumerate(values)], np.float64)


def pick(columns: Columns, chosen: Chosen, what: str, where: str) -> dict[str, str]:
    """
    Return {name: column} for columns that are chosen by a list, by a prefix, or by a pattern with one `*`.

    The name is the column itself for a list, what follows the prefix, or what stands for the `*`. The steps that a
    tracker's values are of are never meant.
    """
    columns = {name: values for name, values in columns.items() if not is_step(name, columns)}
    if not isinstance(chosen, str):
        for column in (names := unique_names(chosen, what)):
            if column not in columns:
                raise InputError(f"{where}{what} should name columns{near(column, list(columns), 'columns')}")
        return {column: column for column in names}
    before, star, after = chosen.partition("*")
    found = {
        column[len(before) : len(column) - len(after)]: column
        for column in columns
        if column.startswith(before) and column.endswith(after) and len(column) > len(before) + len(after)
    }
    if not found:
        some = ", ".join(list(columns)[:8])
        raise InputError(
            f"{where}{what} should be in columns that begin with {before!r}{f' and end with {after!r}' if star else ''}"
            f", found none among {some}; give the prefix, a pattern with one *, or a list of columns"
        )
    return found


def join(left: Columns, right: Columns, key: str | None, where: tuple[str, str]) -> Columns:
    """Return the columns of both files, rows matched by a key that is unique in each; InputError for runs of one."""
    key = key or next((name for name in KEYS if name in left and name in right), None)
    own = [key if key in columns else next((n for n in KEYS if n in columns), None) for columns in (left, right)]
    for name, file in zip(own, where, strict=True):
        if name is None or (key is not None and name != key):
            found = "none" if key is None else f"no {key!r}"
            raise InputError(f"{file}should have a column that names the runs, found {found}; say which with key=")
    if key is None:
        raise InputError(
            f"{where[1]}should name the runs in the column {own[0]!r} as the other file does, found {own[1]!r}"
        )
    rows = {str(name): i for i, name in enumerate(right[key])}
    for columns, file in zip((left, right), where, strict=True):
        if len(set(map(str, columns[key]))) < len(columns[key]):
            twice = _first_twice(map(str, columns[key]))
            raise InputError(f"{file}each run should stand once in {key!r}, found {twice!r} twice; remove one")
    names = [str(name) for name in left[key]]
    absent = [name for name in names if name not in rows] or [name for name in rows if name not in set(names)]
    if absent:
        short = where[1] if absent[0] not in rows else where[0]
        raise InputError(
            f"{short}should have the same runs as the other file, found none named {absent[0]!r} ({len(absent)} "
            "missing); add them, or take them out of the other"
        )
    order = [rows[name] for name in names]
    return left | {name: [values[i] for i in order] for name, values in right.items() if name != key}


def _first_twice(names: Iterable[str]) -> str:
    seen: set[str] = set()
    return next(name for name in names if name in seen or seen.add(name))  # type: ignore[func-returns-value]


def texts(columns: Mapping[str, list[Any]], name: str | None) -> list[str | None] | None:
    """Return a column as texts, None where it is absent or wholly empty."""
    if name is None or name not in columns or all(_is_none(value) for value in columns[name]):
        return None
    return [None if _is_none(value) else _plain(value) for value in columns[name]]


def _is_none(value: Any) -> bool:
    return value is None or (isinstance(value, float) and np.isnan(value)) or str(value).strip().lower() in EMPTY


def _plain(value: Any) -> str:
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)
