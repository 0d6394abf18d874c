"""Logs that grow, read as far as a page needs them: a look costs as much for a million lines as for some."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping
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
    mark
        What stands in lines that no look may leave out; nothing: there are none.
    """

    def __init__(self, path: Path, mark: bytes = b"") -> None:
        self._path, self._mark, self._at, self._file = path, mark, 0, 0
        self.damaged = 0  # lines among those that were read, since the file was begun

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
                self.damaged = 0 if anew else self.damaged
                return anew, self._read(handle, found.st_size)
        except OSError:
            return False, []

    def _read(self, handle: IO[bytes], size: int) -> list[dict[str, Any]]:
        if size - self._at > MOST_BYTES:
            return self._parsed(self._samples(handle, size))
        handle.seek(self._at)
        text = handle.read(size - self._at)
        whole = text.rfind(b"\n") + 1
        self._at += whole
        return self._parsed(text[:whole].splitlines())

    def _samples(self, handle: IO[bytes], size: int) -> list[bytes]:
        """Return the first whole line, the last one, some of those between and all with the mark, in their order."""
        lines = dict(self._marked(handle, size))
        for start in range(self._at, size, (size - self._at) // _SAMPLES):
            handle.seek(start)
            if start > self._at:
                handle.readline()  # it may be a part
            at = handle.tell()
            lines[at] = handle.readline()
        start = handle.seek(max(size - MOST_BYTES, self._at))
        last = handle.read(size - start)
        end = last.rfind(b"\n") + 1
        begin = last.rfind(b"\n", 0, max(end - 1, 0)) + 1
        lines[start + begin] = last[begin:end]
        self._at = start + end
        return [line for at, line in sorted(lines.items()) if at < self._at]

    def _marked(self, handle: IO[bytes], size: int) -> Iterator[tuple[int, bytes]]:
        """Yield the place and the text of each line with the mark; this alone reads all of the file, once."""
        handle.seek(at := self._at)
        for line in handle if self._mark else ():
            if self._mark in line and at < size:
                yield at, line
            at += len(line)

    def _parsed(self, lines: Iterable[bytes]) -> list[dict[str, Any]]:
        found = []
        for line in lines:
            try:
                value = json.loads(line)
            except (ValueError, RecursionError):
                value = None
            if isinstance(value, dict):
                found.append(value)
            else:
                self.damaged += bool(line.strip())
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

    def to_json(self) -> dict[str, Any]:
        """Return the steps and the values as JSON-able values."""
        return {"steps": list(self.steps), "values": list(self.values)}

    @property
    def last(self) -> dict[str, float]:
        """Return the last point; nothing before there is one."""
        return self.values[-1] if self.values else {}
