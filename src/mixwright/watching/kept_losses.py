"""Losses of tokens that a reference model was asked for once, on disk."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from struct import Struct

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]
KEY = 16  # bytes of a row's name
_HEAD = Struct(f"<{KEY}sI")  # of a record: the row's name, and how many losses follow


class KeptLosses:
    """
    The losses of rows' tokens by the name of the row, appended to a file in the order in which they were computed.

    Parameters
    ----------
    path
        The file; made, with its folder, where there is none. A last record that is cut off is removed.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     kept = KeptLosses(Path(folder) / "losses")
    ...     kept.add([b"0" * 16], [np.array([0.5, 2.0])])
    ...     kept.read([b"0" * 16]), kept.tokens
    ...     kept.close()
    ([array([0.5, 2. ], dtype=float32)], 2)
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = open(path, "r+b" if path.exists() else "w+b", buffering=0)  # noqa: SIM115 - as long as the training
        self._place: dict[bytes, tuple[int, int]] = {}  # of the losses of a row, and their number
        self._end, size = 0, path.stat().st_size
        while len(head := self._at(self._end, _HEAD.size)) == _HEAD.size:
            key, count = _HEAD.unpack(head)
            if self._end + _HEAD.size + 4 * count > size:
                break
            self._place_next(key, count)
        self._file.truncate(self._end)

    @property
    def tokens(self) -> int:
        """Return how many losses are kept."""
        return sum(count for _, count in self._place.values())

    def has(self, keys: Sequence[bytes]) -> bool:
        """Say whether all of these rows are kept."""
        return all(key in self._place for key in keys)

    def add(self, keys: Sequence[bytes], losses: Sequence[NDArray[np.floating]]) -> None:
        """Keep the losses of those rows that are not kept yet."""
        data, end = bytearray(), self._end
        for key, row in zip(keys, losses, strict=True):
            if key not in self._place:
                data += _HEAD.pack(key, len(row)) + np.asarray(row, "<f4").tobytes()
                self._place_next(key, len(row))
        self._file.seek(end)
        self._file.write(data)

    def read(self, keys: Sequence[bytes]) -> list[Array]:
        """Return the losses of rows that are kept."""
        found = []
        for key in keys:
            at, count = self._place[key]
            found.append(np.frombuffer(self._at(at, 4 * count), "<f4"))
        return found

    def flush(self) -> None:
        """Put what is kept on disk: a checkpoint relies on it."""
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _at(self, place: int, size: int) -> bytes:
        self._file.seek(place)
        return self._file.read(size)

    def _place_next(self, key: bytes, count: int) -> None:
        self._place[key] = self._end + _HEAD.size, count
        self._end += _HEAD.size + 4 * count
