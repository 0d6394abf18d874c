"""Logs that grow, read as far as a page needs them: a look costs as much for a million lines as for some."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

MOST_BYTES = 1_000_000  # that one look reads line by line; of more it takes samples
_SAMPLES = 200
POINTS = 240  # of a course, before neighbours become one


class GrowingLog:
    """
    A file of JSON lines that another process appends to.

    Parameters
    ----------
    path
        Its file, which need not be there yet.
    """

    def __init__(self, path: Path) -> None:
        self._path, self._at, self._file = path, 0, 0

    def more(self) -> tuple[bool, list[dict[str, Any]]]:
        """
        Return the whole lines since the last look, or samples of many; and whether the file was begun again.

        It was where it is shorter than before, or another file: a run that is resumed repeats steps.
        """
        try:
            with open(self._path, "rb") as handle:
                found = os.fstat(handle.fileno())
                anew = found.st_size < self._at or found.st_ino != self._file
                self._at, self._file = 0 if anew else self._at, found.st_ino
                return anew, self._read(handle, found.st_size)
        except OSError:
            return False, []

    def _read(self, handle: IO[bytes], size: int) -> list[dict[str, Any]]:
        if size - self._at <= MOST_BYTES:
            handle.seek(self._at)
            text = handle.read(size - self._at)
            whole = text.rfind(b"\n") + 1
            self._at += whole
            return _parsed(text[:whole].splitlines())
        lines, step = [], (size - self._at) // _SAMPLES
        for start in range(self._at, size, step):
            handle.seek(start)
            if start > self._at:
                handle.readline()  # it may be a part
            lines.append(handle.readline())
        handle.seek(max(size - MOST_BYTES, self._at))
        last = handle.read(MOST_BYTES)
        end = last.rfind(b"\n") + 1
        lines += last[:end].splitlines()[-1:]
        self._at = size - (len(last) - end)
        return _parsed(line for line in lines if line.strip())


def _parsed(lines: Any) -> list[dict[str, Any]]:
    found = []
    for line in lines:
        try:
            value = json.loads(line)
        except ValueError:
            continue
        if isinstance(value, dict):
            found.append(value)
    return found


class LogCourse:
    """
    Numbers by name over the steps, of which neighbours become one when there are many.

    Parameters
    ----------
    held
        Whether a value holds until the next one (weights): then one of two neighbours is kept. Else it is their mean.
    """

    def __init__(self, held: bool) -> None:
        self._held = held
        self.steps: list[int] = []
        self.values: list[dict[str, float]] = []
        self._each, self._part = 1, 0  # points that become one, and how many of them the last one has

    def add(self, step: int, values: Mapping[str, float]) -> None:
        """Add a point; one at a former step means that the run was resumed there."""
        while self.steps and self.steps[-1] >= step:
            self.steps.pop()
            self.values.pop()
            self._part = self._each
        if self.steps and self._part < self._each:
            self.steps[-1], self.values[-1] = step, self._one(self.values[-1], values, self._part)
            self._part += 1
            return
        self.steps.append(step)
        self.values.append(dict(values))
        self._part = 1
        if len(self.steps) > POINTS:
            self._halve()

    def _halve(self) -> None:
        last = (self.steps.pop(), self.values.pop()) if len(self.steps) % 2 else None
        pairs = list(zip(self.values[::2], self.values[1::2], strict=True))
        self.steps, self.values = self.steps[1::2], [self._one(a, b, 1) for a, b in pairs]
        self._part = self._each = 2 * self._each
        if last is not None:
            self.steps.append(last[0])
            self.values.append(last[1])
            self._part = 1

    def _one(self, first: Mapping[str, float], second: Mapping[str, float], parts: int) -> dict[str, float]:
        """Return one point of two; the first one is of `parts` points."""
        if self._held:
            return dict(second)
        both = {n: (parts * first[n] + second[n]) / (parts + 1) for n in first if n in second}
        return {**first, **second, **both}

    @property
    def last(self) -> dict[str, float]:
        """Return the last point; nothing before there is one."""
        return self.values[-1] if self.values else {}
