"""Comma-separated values, row by row."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from mixwright.errors import InputError
from mixwright.files.opening import open_text

_MARKS = {";": "semicolons", "\t": "tabs"}
_LONGEST = 1 << 30  # characters of a cell; the module's own limit is 128 KiB


@contextmanager
def open_csv(path: Path) -> Iterator[Iterator[list[str]]]:
    """
    Open a `.csv` file in UTF-8, also `.gz` or `.zst`, as its rows; cells in quotes may hold line breaks.

    Raises
    ------
    InputError
        As `open_text`; while reading if the file is not UTF-8, or a quote is not closed.
    """
    csv.field_size_limit(max(csv.field_size_limit(), _LONGEST))
    try:
        with open_text(path, "comma-separated values in UTF-8") as handle:
            yield csv.reader(_lines(path, io.TextIOWrapper(handle, "utf-8-sig", newline="")), strict=True)
    except UnicodeDecodeError as error:
        raise InputError(f"{path} should be text in UTF-8, found other bytes ({error}); convert the file") from error
    except csv.Error as error:
        raise InputError(f"{path} should hold comma-separated values, found a fault ({error}); correct it") from error


def _lines(path: Path, text: IO[str]) -> Iterator[str]:
    while line := text.readline(_LONGEST):
        if len(line) == _LONGEST:
            raise InputError(
                f"{path} should have lines of less than {_LONGEST:,} characters, found a longer one; check the file"
            )
        yield line


def header(path: Path, rows: Iterator[list[str]]) -> list[str]:
    """Return the names in the first row; InputError if the file is empty, or begins with numbers or another mark."""
    names = next(rows, [])
    if not names:
        raise InputError(f"{path} should have a header and rows, found none; check the file")
    if len(names) == 1 and (marks := [name for mark, name in _MARKS.items() if mark in names[0]]):
        raise InputError(f"{path} should have commas between its cells, found {marks[0]}; write it with commas")
    numbers = [name for name in names if _is_measured(name)]
    if 2 * len(numbers) > sum(bool(name.strip()) for name in names):
        raise InputError(
            f"{path} should have the names of its columns in the first line, found numbers such as {numbers[0]}; add a "
            "line with the names"
        )
    return names


def _is_measured(name: str) -> bool:
    """Return whether a name is rather a value: a number, but not one of 0, 1, 2, as which columns may be counted."""
    try:
        float(name)
    except ValueError:
        return False
    return not name.strip().isdigit()
