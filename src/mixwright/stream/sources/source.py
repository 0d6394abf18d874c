"""Sources of rows: what every source offers."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mixwright.errors import InputError

Rows = Any
"""What a source hands out for m rows: an array [m, ...], a dict of arrays [m, ...], or a list of m rows."""


class Source(ABC):
    """
    Rows that are read by number.

    A source has a length, a fingerprint and `gather`, one read for all the rows of a batch. It is not changed by
    reading, and can be pickled: data on disk are opened again by the process that unpickles it, not sent.
    """

    @abstractmethod
    def __len__(self) -> int:
        """Return the number of rows."""

    @abstractmethod
    def gather(self, rows: NDArray[np.int64]) -> Rows:
        """
        Return the rows of these numbers, int64 [m], in this order; a row may be asked for twice.

        Returns
        -------
        rows
            An array [m, ...], a dict of arrays [m, ...], or a list of m rows.
        """

    @abstractmethod
    def _content(self) -> bytes:
        """Return bytes that differ for other content: a sample will do. A copy of the data has the same."""

    @cached_property
    def fingerprint(self) -> str:
        """16 hex digits that name the content: length, layout and a sample. Times and paths of files are not in it."""
        return hashlib.sha256(f"{len(self)}\0".encode() + self._content()).hexdigest()[:16]

    @cached_property
    def layout(self) -> dict[str, str]:
        """The dtype and shape of each array of a row, by name ("" for a row that is one array)."""
        return _layout(self.gather(np.zeros(1, np.int64))) if len(self) else {}

    def where(self, row: int) -> str:
        """Return where a row lies (a file, a line), for messages; "" where there is nothing to say."""
        return ""


class AnyRows(Source):
    """
    The rows of any object with `__len__` and `__getitem__`, or with `__getitems__` (all rows in one call).

    Parameters
    ----------
    rows
        A list, a torch Dataset of map style, a numpy memory map of records: anything whose rows have numbers.
    fingerprint
        A name of the content; None: the length and a sample of rows that are numbers, texts or arrays. Rows that come
        out differently when they are read twice (random crops, say) are not sampled.
    """

    def __init__(self, rows: Any, fingerprint: str | None = None) -> None:
        if isinstance(rows, Mapping):
            raise InputError(
                f"a source should be one set of rows, found a {type(rows).__name__} of {len(rows)}: "
                f"{', '.join(map(repr, list(rows)[:5]))}; choose one of them, or make each a source"
            )
        many, one = hasattr(rows, "__getitems__"), hasattr(rows, "__getitem__")
        if not hasattr(rows, "__len__") or not (many or one) or isinstance(rows, str | bytes):
            raise InputError(
                f"a source should have a length and rows that are read by number (__len__ and __getitem__ or "
                f"__getitems__), found {type(rows).__name__}; make a map-style data set of it (datasets: "
                f"streaming=False)"
            )
        self.rows, self._many, self._name = rows, many, fingerprint

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.rows)

    def gather(self, rows: NDArray[np.int64]) -> list[Any]:
        """Return rows [m]; see Source."""
        if self._many:
            found = list(self.rows.__getitems__(rows.tolist()))
            if len(found) != len(rows):
                raise InputError(f"__getitems__ should return one row per number ({len(rows)}), found {len(found)}")
            return found
        return [self.rows[i] for i in rows.tolist()]

    def _content(self) -> bytes:
        if self._name is not None:
            return self._name.encode()
        picked = sample(len(self), 4)
        first, again = ([_bytes(row) for row in self.gather(picked)] for _ in range(2))
        return b"\0".join(first) if first == again else b""

    def where(self, row: int) -> str:
        """Return the file that holds a row."""
        return f"{type(self.rows).__name__}[{row}]"


class ChainedRows(Source):
    """
    The rows of several sources, one after the other.

    Parameters
    ----------
    parts
        Sources whose rows are objects.
    """

    def __init__(self, parts: Sequence[Source]) -> None:
        self.parts = list(parts)
        self._ends = np.cumsum([len(part) for part in self.parts], dtype=np.int64)

    def __len__(self) -> int:
        """Return the number of rows."""
        return int(self._ends[-1]) if len(self._ends) else 0

    def gather(self, rows: NDArray[np.int64]) -> list[Any]:
        """Return rows [m]; see Source."""
        rows = as_rows(rows, len(self))
        part = np.searchsorted(self._ends, rows, side="right")
        found: list[Any] = [None] * len(rows)
        for p in np.unique(part).tolist():
            here = np.flatnonzero(part == p)
            inside = rows[here] - (self._ends[p - 1] if p else 0)
            for i, row in zip(here.tolist(), self.parts[p].gather(inside), strict=True):
                found[i] = row
        return found

    def _content(self) -> bytes:
        return b"".join(part.fingerprint.encode() for part in self.parts)

    def where(self, row: int) -> str:
        """Return the file that holds a row."""
        p = min(int(np.searchsorted(self._ends, row, side="right")), len(self.parts) - 1)
        return self.parts[p].where(row - int(self._ends[p - 1] if p else 0))


class PartRows(Source):
    """
    Some rows of a source, in an order of their own.

    Parameters
    ----------
    whole
        The source.
    table
        int64 [n], the row of it that each row is; see `Plan.with_sources`.
    """

    def __init__(self, whole: Source, table: NDArray[np.int64]) -> None:
        self.whole, self.table = whole, table

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.table)

    def gather(self, rows: NDArray[np.int64]) -> Rows:
        """Return rows [m]; see Source."""
        return self.whole.gather(self.table[as_rows(rows, len(self))])

    def _content(self) -> bytes:
        return self.whole.fingerprint.encode() + np.sort(self.table).tobytes()

    def where(self, row: int) -> str:
        """Return the file that holds a row."""
        return self.whole.where(int(self.table[row]))


def sample(length: int, count: int) -> NDArray[np.int64]:
    """Return up to `count` different positions spread over range(length), the first and the last among them."""
    return np.unique(np.linspace(0, max(length - 1, 0), min(count, length)).astype(np.int64))


def file_sample(path: Path) -> bytes:
    """Return the size of a file and 64 pieces of 1 KiB spread over it: what a fingerprint needs, whatever the size."""
    size = path.stat().st_size
    with open(path, "rb") as handle:
        pieces = []
        for start in sample(max(size - 1023, 1), 64).tolist():
            handle.seek(start)
            pieces.append(handle.read(1024))
    return str(size).encode() + hashlib.sha256(b"".join(pieces)).digest()


def as_rows(values: ArrayLike, length: int) -> NDArray[np.int64]:
    """Return row numbers as int64 [m]; InputError for one outside range(length)."""
    rows = np.asarray(values, np.int64)
    if len(rows) and (int(rows.min()) < 0 or int(rows.max()) >= length):
        bad = rows[(rows < 0) | (rows >= length)][0]
        raise InputError(f"a row should be between 0 and {length - 1}, found {bad}; the plan was made for another size")
    return rows


def _layout(rows: Rows) -> dict[str, str]:
    """Describe the first of these rows: arrays and tensors by dtype (and shape, where rows come as one array)."""
    if isinstance(rows, np.ndarray):
        return {"": f"{rows.dtype} {list(rows.shape[1:])}"}
    if isinstance(rows, dict):
        return {name: f"{value.dtype} {list(value.shape[1:])}" for name, value in rows.items()}
    row = rows[0]
    items = row.items() if isinstance(row, Mapping) else [("", row)]
    return {str(name): str(value.dtype).removeprefix("torch.") for name, value in items if hasattr(value, "dtype")}


def _bytes(row: Any) -> bytes:
    """Return bytes of a row that are the same in every process; b"" where that cannot be known."""
    if isinstance(row, Mapping):
        return b"".join(str(name).encode() + b"\1" + _bytes(value) for name, value in row.items())
    if isinstance(row, str | bytes | bool | int | float) or row is None:
        return row if isinstance(row, bytes) else repr(row).encode()
    if isinstance(row, Sequence):
        return b"".join(_bytes(value) + b"\2" for value in row)
    if hasattr(row, "detach"):
        row = row.detach().cpu().numpy()
    return row.tobytes() if isinstance(row, np.ndarray | np.generic) and row.dtype != object else b""
