"""Where the columns of a table live: in memory, or as one file each in a folder."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from mixwright.errors import InputError
from mixwright.files import explain_write_error, file_fingerprint
from mixwright.search._rows import RowSelection
from mixwright.search._table_files import Header, column_name, locked, read_header, write_header

FLOAT = np.dtype("<f8")
_TILE = 4096  # rows that are turned from columns into rows at a time: they stay in the processor's cache
_MAPS = 512  # columns whose maps stay open: each holds a file descriptor, and processes commonly may have 1,024
_BINARY = getattr(os, "O_BINARY", 0)

Floats = npt.NDArray[np.float64]
Chosen = npt.NDArray[np.intp] | None


class Columns(Protocol):
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


class FolderColumns:
    """
    Columns in a folder: columns/0000.f64 when finished, columns/0000.f64.part until then.

    A column is finished when its checksum is recorded in table.json, its file is there and its part is not. Finishing
    records the checksum first and then renames the part, so a kill between the two leaves a part to finish again.
    Starting a column again removes the checksum and the part, records the new fingerprint, then removes the file: a
    file without a checksum counts for nothing, so each state between is consistent.
    """

    def __init__(self, folder: Path, n: int, k: int, checksums: dict[str, str]) -> None:
        self.folder, self.n, self.k = folder, n, k
        self._maps: dict[int, npt.NDArray[np.float64]] = {}
        self._finished = {i for i in range(k) if self._looks_finished(i, checksums)}

    def file(self, i: int) -> Path:
        """Return the path of finished column i."""
        return self.folder / column_name(i)

    def part(self, i: int) -> Path:
        """Return the path of column i while it is not finished."""
        return self.folder / f"{column_name(i)}.part"

    def _looks_finished(self, i: int, checksums: dict[str, str]) -> bool:
        return column_name(i) in checksums and not self.part(i).exists() and self.file(i).exists()

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
            self._change_header(lambda header: header["checksums"].update({column_name(i): checksum}))
            os.replace(part, self.file(i))
        except OSError as error:
            raise explain_write_error(part, error) from error
        self._finished.add(i)

    def restart(self, sources: tuple[str, ...], fingerprints: dict[str, str]) -> None:
        """Start the columns of the sources in `fingerprints` again, and record those fingerprints of their proxies."""
        columns = [sources.index(source) for source in fingerprints]
        try:
            self._change_header(lambda header: [header["checksums"].pop(column_name(i), None) for i in columns])
            for i in columns:
                self._finished.discard(i)
                self._maps.pop(i, None)
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
                raise InputError(
                    f"cannot read {self.file(i)} ({error}); it should hold {self.n} rows: restore it or make the "
                    "table again"
                ) from error
            if len(self._maps) < _MAPS:
                self._maps[i] = column
        return column

    def rows(self, rows: RowSelection) -> Floats:
        """Return a copy of some rows, [m, k]."""
        m = rows.stop - rows.start if isinstance(rows, slice) else len(rows)
        out = np.empty((m, self.k))
        columns = [self.column(i) for i in range(self.k)]
        for start in range(0, m, _TILE):
            stop = min(start + _TILE, m)
            part = slice(rows.start + start, rows.start + stop) if isinstance(rows, slice) else rows[start:stop]
            for i, column in enumerate(columns):
                out[start:stop, i] = column[part]
        return out

    def by_source(self, rows: RowSelection, chosen: Chosen = None) -> Floats:
        """Return a copy of some rows of some columns (default: all), [len(chosen), m]."""
        columns = range(self.k) if chosen is None else chosen
        out = np.empty((len(columns), rows.stop - rows.start if isinstance(rows, slice) else len(rows)))
        for row, i in zip(out, columns, strict=True):
            row[:] = self.column(int(i))[rows]
        return out

    def row_maximum(self, rows: RowSelection) -> npt.NDArray[Any]:
        """Return the largest likelihood of each row, [m]."""
        maximum = np.array(self.column(0)[rows])
        for i in range(1, self.k):
            np.maximum(maximum, self.column(i)[rows], out=maximum)
        return maximum

    def row_number(self, row: int) -> int:
        """Return the row itself."""
        return row


class SelectedColumns:
    """Some rows of other columns, which it shares; it takes no rows."""

    def __init__(self, columns: Columns, chosen: RowSelection) -> None:
        self.columns, self.chosen = columns, chosen

    def part(self, rows: RowSelection) -> RowSelection:
        """Return where some of its rows lie in the other columns; slices have both ends."""
        if isinstance(self.chosen, slice):
            first = int(self.chosen.start)
            return slice(first + rows.start, first + rows.stop) if isinstance(rows, slice) else first + rows
        return self.chosen[rows]

    def row_number(self, row: int) -> int:
        """Return the number of a row in the whole table."""
        chosen = self.chosen
        return self.columns.row_number(chosen.start + row if isinstance(chosen, slice) else int(chosen[row]))

    def rows_done(self, i: int) -> int:
        """Return how many rows of the whole column are written."""
        return self.columns.rows_done(i)

    def finished(self, i: int) -> bool:
        """Return whether the whole column is complete."""
        return self.columns.finished(i)

    def column(self, i: int) -> npt.NDArray[Any]:
        """Return the chosen rows of column i, [m]."""
        column: npt.NDArray[Any] = self.columns.column(i)[self.chosen]
        return column

    def rows(self, rows: RowSelection) -> Floats:
        """Return a copy of some rows, [m, k]."""
        return self.columns.rows(self.part(rows))

    def by_source(self, rows: RowSelection, chosen: Chosen = None) -> Floats:
        """Return a copy of some rows of some columns (default: all), [len(chosen), m]."""
        return self.columns.by_source(self.part(rows), chosen)

    def row_maximum(self, rows: RowSelection) -> npt.NDArray[Any]:
        """Return the largest likelihood of each row, [m]."""
        return self.columns.row_maximum(self.part(rows))


def _write_all(descriptor: int, values: npt.NDArray[Any]) -> None:
    """Write all bytes of an array; the system may take them in several pieces."""
    view = values.data.cast("B") if values.size else memoryview(b"")
    while view:
        view = view[os.write(descriptor, view) :]
