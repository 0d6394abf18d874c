"""JSON lines and JSON lists as a source: read once to find the rows, then row by row."""

from __future__ import annotations

import json
import mmap
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mixwright.errors import InputError
from mixwright.files.kinds import kind_of, named_as
from mixwright.files.listing import Paths
from mixwright.files.opening import open_text
from mixwright.files.rows import is_list, placed_items
from mixwright.stream.sources.source import Source, as_rows, file_sample
from mixwright.stream.sources.tables import members

_PACKED = (".gz", ".zst", ".bz2", ".xz")
_PIECE = 1 << 24  # bytes
_BLANK = np.frombuffer(b" \t\r\x0b\x0c", np.uint8)


class JsonLines(Source):
    """
    Rows of files of JSON lines, or of a JSON list, as the objects that they hold. Blank lines are no rows.

    The file is read once at the start to find where its rows begin and end (16 bytes a row are kept), then row by row.

    Parameters
    ----------
    path
        A file, a folder (with its sub-folders), a pattern, or a list of them. Packed files (`.gz`, `.zst`) cannot be
        read by row number and are refused.
    field
        One field of each object, handed out alone; None: the whole object.
    """

    def __init__(self, path: Paths, field: str | None = None) -> None:
        self.files, self.field = members(path, (".jsonl", ".ndjson", ".json")), field
        for file in self.files:
            if named_as(file).suffix.lower() in _PACKED:
                raise InputError(
                    f"{file}: rows are read by number, which a packed file does not allow; unpack it (gunzip, zstd -d) "
                    f"or convert it to parquet"
                )
        found = [_row_offsets(file) for file in self.files]
        self._start, self._stop = [start for start, _ in found], [stop for _, stop in found]
        self._ends = np.cumsum([len(start) for start in self._start], dtype=np.int64)
        self._maps: dict[int, mmap.mmap] = {}

    def __len__(self) -> int:
        """Return the number of rows."""
        return int(self._ends[-1])

    def __getstate__(self) -> dict[str, Any]:
        """Leave out what a process makes for itself: maps, views, caches."""
        return {**self.__dict__, "_maps": {}}

    def gather(self, rows: NDArray[np.int64]) -> list[Any]:
        """Return rows [m]; see Source."""
        rows = as_rows(rows, len(self))
        return [self._row(*self._place(row)) for row in rows.tolist()]

    def _place(self, row: int) -> tuple[int, int]:
        number = int(np.searchsorted(self._ends, row, side="right"))
        return number, row - int(self._ends[number - 1] if number else 0)

    def _row(self, number: int, i: int) -> Any:
        if number not in self._maps:
            with open(self.files[number], "rb") as handle:
                self._maps[number] = mmap.mmap(handle.fileno(), 0, access=mmap.ACCESS_READ)
        text = self._maps[number][int(self._start[number][i]) : int(self._stop[number][i])]
        try:
            value = json.loads(text)
            return value if self.field is None else value[self.field]
        except (ValueError, RecursionError) as error:
            raise InputError(
                f"{self._line(number, i)}: there should be one JSON value, found {text[:60]!r} ({error})"
            ) from None
        except (KeyError, TypeError, IndexError):
            raise InputError(f"{self._line(number, i)}: there should be a field {self.field!r}, found none") from None

    def _line(self, number: int, i: int) -> str:
        with open(self.files[number], "rb") as handle:
            before = handle.read(int(self._start[number][i])).count(b"\n")
        return f"{self.files[number]}, line {before + 1}"

    def _content(self) -> bytes:
        return repr(self.field).encode() + b"".join(file_sample(file) for file in self.files)

    def where(self, row: int) -> str:
        """Return the file that holds a row."""
        return self._line(*self._place(row)) if 0 <= row < len(self) else str(self.files[0])


def _row_offsets(path: Path) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return where each row starts and stops, int64 [n] each; InputError if there is none."""
    start, stop = _item_offsets(path) if _is_one_list(path) else _line_offsets(path)
    if not len(start):
        raise InputError(f"{path}: there should be at least one row of JSON, found none; check the file")
    return start, stop


def _is_one_list(path: Path) -> bool:
    """Return whether a file is one JSON list, and not a list in each line."""
    with open_text(path, "JSON lines") as handle:
        if not is_list(handle):
            return False
        first = handle.readline()
        if not handle.read(1 << 16).strip():  # in the only line: of a .json the rows, of a .jsonl one row
            return kind_of(path) == ".json"
    try:
        json.loads(first)
    except (ValueError, RecursionError):
        return True
    return False


def _item_offsets(path: Path) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    with open_text(path, "JSON lines") as handle:
        found = [(start, start + len(item)) for start, item in placed_items(handle, path)]
    start, stop = np.array(found, np.int64).reshape(-1, 2).T
    return start, stop


def _line_offsets(path: Path) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return where each line that is not blank starts and stops."""
    size = path.stat().st_size
    content = np.memmap(path, np.uint8, "r") if size else np.empty(0, np.uint8)
    ends = [np.flatnonzero(content[at : at + _PIECE] == 10) + at for at in range(0, size, _PIECE)]
    stop = np.concatenate([*ends, [size]]).astype(np.int64)
    start = np.concatenate([[0], stop[:-1] + 1]).astype(np.int64)
    keep = stop > start
    blank = np.flatnonzero(keep)
    blank = blank[np.isin(content[start[blank]], _BLANK)]  # what begins with white space may be nothing else
    for i in blank.tolist():
        keep[i] = bool(content[start[i] : stop[i]].tobytes().strip())
    return start[keep], stop[keep]
