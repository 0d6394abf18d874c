"""Where the columns of a table live: in memory, or as one file each in a folder."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Hashable
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from mixwright.errors import InputError
from mixwright.files import explain_write_error, file_fingerprint
from mixwright.search.table.column_files import ColumnFiles
from mixwright.search.table.files import Header, column_name, locked, read_header, write_header
from mixwright.search.table.rows import RowSelection

FLOAT = np.dtype("<f8")
_TILE = 4096  # rows that are turned from columns into rows at a time: they stay in the processor's cache
_MAPS = 256  # columns whose maps stay open: each holds a file descriptor, and processes commonly may have 1,024
_SPREAD = 16  # rows are read in one piece if they span at most this many times their number
_BINARY = getattr(os, "O_BINARY", 0)

Floats = npt.NDArray[np.float64]
Chosen = npt.NDArray[np.intp] | None


class TableColumns(Protocol):
    """k columns of n likelihoods."""

    def rows_done(self, i: int) -> int:
        """Return how many rows of column i are written."""
        ...

    def finished(self, i: int) -> bool:
        """Return whether column i is complete."""
        ...

    def column(self, i: int) -> npt.NDArray[Any]:
        """Return column i, [n], not a copy; it is finished."""
        ...

    def rows(self, rows: RowSelection) -> Floats:
        """Return a copy of some rows, [m, k]."""
        ...

    def by_source(self, rows: RowSelection, chosen: Chosen = None) -> Floats:
        """Return a copy of some rows of some columns (default: all), [len(chosen), m]."""
        ...

    def row_maximum(self, rows: RowSelection) -> npt.NDArray[Any]:
        """Return the largest likelihood of each row, [m]; NaN where a row has one."""
        ...

    def row_number(self, row: int) -> int:
        """Return the number of a row in the whole table."""
        ...

    def key(self, i: int) -> Hashable:
        """Return what tells column i from all others in this process: equal keys, equal numbers."""
        ...


class Same:
    """An object as a key: it equals itself alone, and it lives as long as the key does."""

    def __init__(self, value: object) -> None:
        self.value = value

    def __eq__(self, other: object) -> bool:
        """Return whether it is the same object."""
        return isinstance(other, Same) and other.value is self.value

    def __hash__(self) -> int:
        """Return the object's identity."""
        return id(self.value)


class ArrayColumns:
    """Columns of an array [n, k] in memory, which is not copied."""

    def __init__(self, values: npt.NDArray[Any]) -> None:
        self.values = values

    def rows_done(self, i: int) -> int:
        """Return n."""
        return len(self.values)

    def finished(self, i: int) -> bool:
        """Return True."""
        return True

    def column(self, i: int) -> npt.NDArray[Any]:
        """Return column i, [n]."""
        column: npt.NDArray[Any] = self.values[:, i]
        return column

    def rows(self, rows: RowSelection) -> Floats:
        """Return a copy of some rows, [m, k]."""
        return np.array(self.values[rows], dtype=np.float64, order="C")

    def by_source(self, rows: RowSelection, chosen: Chosen = None) -> Floats:
        """Return a copy of some rows of some columns (default: all), [len(chosen), m]."""
        values = self.values[rows]
        values = values if chosen is None else np.take(values, chosen, axis=1)  # does not hold the interpreter's lock
        return np.array(values.T, dtype=np.float64, order="C")

    def row_maximum(self, rows: RowSelection) -> npt.NDArray[Any]:
        """Return the largest likelihood of each row, [m]."""
        maximum: npt.NDArray[Any] = self.values[rows].max(axis=1)
        return maximum

    def row_number(self, row: int) -> int:
        """Return the row itself."""
        return row

    def key(self, i: int) -> Hashable:
        """Return the array and the position in it."""
        return Same(self.values), i


class FolderColumns:
    """
    Columns in a folder: columns/0000.f64 when finished, columns/0000.f64.part until then.

    A column is finished when its checksum is recorded in table.json, its file is there and its part is not. Finishing
    records the checksum first and then renames the part, so a kill between the two leaves a part to finish again.
    Starting a column again removes the checksum and the part, records the new fingerprint, then removes the file: a
    file without a checksum counts for nothing, so each state between is consistent. `numbers` [k] are those in the
    names of the files.
    """

    def __init__(self, folder: Path, n: int, numbers: list[int], checksums: dict[str, str]) -> None:
        self.folder, self.n, self.k = folder, n, len(numbers)
        self.numbers = numbers
        self._maps: dict[int, npt.NDArray[np.float64]] = {}
        self._files = ColumnFiles()
        self._place = str(folder.resolve())
        self._checksums = checksums
        self._finished = {i for i in range(self.k) if self._looks_finished(i, checksums)}

    def file(self, i: int) -> Path:
        """Return the path of finished column i."""
        return self.folder / self.name(i)

    def name(self, i: int) -> str:
        """Return the name of finished column i within the folder."""
        return column_name(self.numbers[i])

    def part(self, i: int) -> Path:
        """Return the path of column i while it is not finished."""
        return self.folder / f"{self.name(i)}.part"

    def _looks_finished(self, i: int, checksums: dict[str, str]) -> bool:
        self._checksums = checksums
        return self.name(i) in checksums and not self.part(i).exists() and self.file(i).exists()

    def finished(self, i: int) -> bool:
        """Return whether column i is complete; another process may have finished it meanwhile."""
        if i in self._finished:
            return True
        if self.file(i).exists() and self._looks_finished(i, read_header(self.folder)["checksums"]):
            self._finished.add(i)
        return i in self._finished

    def rows_done(self, i: int) -> int:
        """Return how many rows of column i are written."""
        if self.finished(i):
            return self.n
        try:
            return self.part(i).stat().st_size // FLOAT.itemsize
        except FileNotFoundError:
            return 0

    def append(self, i: int, values: Floats) -> None:
        """Write the next rows; a failed write leaves the file as it was."""
        part, size = self.part(i), self.rows_done(i) * FLOAT.itemsize
        existed = part.exists()
        try:
            part.parent.mkdir(exist_ok=True)
            descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_APPEND | _BINARY, 0o666)
        except OSError as error:
            raise explain_write_error(part, error) from error
        try:
            if os.fstat(descriptor).st_size != size:  # an interrupted write left a piece of a number
                os.ftruncate(descriptor, size)
            _write_all(descriptor, np.ascontiguousarray(values, dtype=FLOAT))
        except OSError as error:
            with contextlib.suppress(OSError):
                os.ftruncate(descriptor, size)
                if not existed:
                    part.unlink()
            raise explain_write_error(part, error) from error
        finally:
            os.close(descriptor)

    def finish(self, i: int) -> None:
        """Flush the part to the disk, record its checksum and give it its final name."""
        part = self.part(i)
        try:
            with open(part, "r+b") as handle:
                handle.truncate(self.n * FLOAT.itemsize)
                os.fsync(handle.fileno())
            checksum = file_fingerprint(part)
            self._change_header(lambda header: header["checksums"].update({self.name(i): checksum}))
            os.replace(part, self.file(i))
        except OSError as error:
            raise explain_write_error(part, error) from error
        self._checksums = {**self._checksums, self.name(i): checksum}
        self._finished.add(i)

    def restart(self, sources: tuple[str, ...], fingerprints: dict[str, str]) -> None:
        """Start the columns of the sources in `fingerprints` again, and record those fingerprints of their proxies."""
        columns = [sources.index(source) for source in fingerprints]
        try:
            self._change_header(lambda header: [header["checksums"].pop(self.name(i), None) for i in columns])
            for i in columns:
                self._finished.discard(i)
                self._maps.pop(i, None)
                self._files.forget(self.file(i))
                self.part(i).unlink(missing_ok=True)
            self._change_header(lambda header: header["fingerprints"].update(fingerprints))
            for i in columns:
                self.file(i).unlink(missing_ok=True)
        except OSError as error:
            raise explain_write_error(self.folder, error) from error

    def _change_header(self, change: Callable[[Header], object]) -> None:
        with locked(self.folder):
            header = read_header(self.folder)
            change(header)
            write_header(self.folder, header)

    def unfinished(self, i: int) -> npt.NDArray[Any]:
        """Return the rows of column i written so far, [m]."""
        if self.finished(i):
            return self.column(i)
        rows = self.rows_done(i)
        return np.memmap(self.part(i), FLOAT, "r", shape=(rows,)) if rows else np.empty(0)

    def column(self, i: int) -> npt.NDArray[Any]:
        """Return column i, [n], as a memory map."""
        column = self._maps.get(i)
        if column is None:
            try:
                column = np.asarray(np.memmap(self.file(i), FLOAT, "r", shape=(self.n,)))
            except (OSError, ValueError) as error:
                raise self._unreadable(i, error) from error
            if len(self._maps) < _MAPS:
                self._maps[i] = column
        return column

    def _read(self, i: int, rows: RowSelection, out: Floats) -> None:
        """Fill `out` [m] with some rows of column i."""
        first, last = _ends(rows)
        try:
            if isinstance(rows, slice):
                self._files.read(self.file(i), first, out)
            elif last - first < _SPREAD * len(rows):
                near = np.empty(last - first)
                self._files.read(self.file(i), first, near)
                np.take(near, rows - first, out=out)
            else:
                out[:] = self.column(i)[rows]
        except (OSError, EOFError) as error:
            raise self._unreadable(i, error) from error

    def _unreadable(self, i: int, error: Exception) -> InputError:
        return InputError(
            f"cannot read {self.file(i)} ({error}); it should hold {self.n} rows: restore it or make the table again"
        )

    def rows(self, rows: RowSelection) -> Floats:
        """Return a copy of some rows, [m, k]."""
        m = _count(rows)
        out = np.empty((m, self.k))
        for start in range(0, m, _TILE):
            stop = min(start + _TILE, m)
            part = slice(rows.start + start, rows.start + stop) if isinstance(rows, slice) else rows[start:stop]
            out[start:stop] = self.by_source(part).T
        return out

    def by_source(self, rows: RowSelection, chosen: Chosen = None) -> Floats:
        """Return a copy of some rows of some columns (default: all), [len(chosen), m]."""
        columns = range(self.k) if chosen is None else chosen
        out = np.empty((len(columns), _count(rows)))
        for row, i in zip(out, columns, strict=True):
            self._read(int(i), rows, row)
        return out

    def row_maximum(self, rows: RowSelection) -> npt.NDArray[Any]:
        """Return the largest likelihood of each row, [m]."""
        maximum, column = np.empty(_count(rows)), np.empty(_count(rows))
        self._read(0, rows, maximum)
        for i in range(1, self.k):
            self._read(i, rows, column)
            np.maximum(maximum, column, out=maximum)
        return maximum

    def key(self, i: int) -> Hashable:
        """Return the path of the file with its checksum."""
        return self._place, self.name(i), self._checksums.get(self.name(i))

    def row_number(self, row: int) -> int:
        """Return the row itself."""
        return row


def _ends(rows: RowSelection) -> tuple[int, int]:
    """Return the first of some rows and the one after the last."""
    if isinstance(rows, slice):
        return int(rows.start), int(rows.stop)
    return (int(rows.min()), int(rows.max()) + 1) if len(rows) else (0, 0)


def _count(rows: RowSelection) -> int:
    return rows.stop - rows.start if isinstance(rows, slice) else len(rows)


def _write_all(descriptor: int, values: npt.NDArray[Any]) -> None:
    """Write all bytes of an array; the system may take them in several pieces."""
    view = values.data.cast("B") if values.size else memoryview(b"")
    while view:
        view = view[os.write(descriptor, view) :]
