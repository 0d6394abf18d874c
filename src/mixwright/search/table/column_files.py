"""Files of float64 numbers, read by blocks."""

from __future__ import annotations

import os
import threading
import weakref
from io import FileIO
from pathlib import Path

import numpy as np
import numpy.typing as npt

_OPEN = 512  # files that stay open: processes commonly may have 1,024
_SHARED = hasattr(os, "preadv")  # otherwise a file has one position for all threads


class ColumnFiles:
    """
    Raw float64 files that are read into arrays, by several threads at once.

    They are not mapped: the pages of a map count as memory of the process, up to the whole table after one pass.
    """

    def __init__(self) -> None:
        self._open: dict[Path, FileIO] = {}
        self._lock = threading.Lock()
        weakref.finalize(self, _close, self._open)

    def read(self, path: Path, start: int, out: npt.NDArray[np.float64]) -> None:
        """Fill contiguous `out` [m] with the numbers start, start + 1, ...; EOFError or OSError where it cannot."""
        view = out.data.cast("B") if out.size else memoryview(b"")
        file, kept = self._file(path)
        try:
            position = start * out.itemsize
            while view:
                done = _read_at(file, view, position)
                if done == 0:
                    raise EOFError(f"it ends after {position // out.itemsize} rows")
                view, position = view[done:], position + done
        finally:
            if not kept:
                file.close()

    def forget(self, path: Path) -> None:
        """Close a file, which is to be replaced."""
        with self._lock:
            file = self._open.pop(path, None)
        if file is not None:
            file.close()

    def _file(self, path: Path) -> tuple[FileIO, bool]:
        """Return an open file, and whether it stays open."""
        found = self._open.get(path)
        if found is not None:
            return found, True
        if not _SHARED or len(self._open) >= _OPEN:
            return FileIO(path), False
        with self._lock:
            if path not in self._open:
                self._open[path] = FileIO(path)
            return self._open[path], True


def _read_at(file: FileIO, view: memoryview, position: int) -> int:
    """Read into `view` from a position; return how many bytes."""
    if _SHARED:
        return os.preadv(file.fileno(), [view], position)
    file.seek(position)
    return file.readinto(view) or 0


def _close(files: dict[Path, FileIO]) -> None:
    for file in files.values():
        file.close()
    files.clear()
