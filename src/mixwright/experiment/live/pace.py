"""How long the rest of a stage may take, and how long to rest."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

_SEEN = 0.01  # share of a stage that must be done before the rest is estimated: the start of processes is no rate


class Rests:
    """
    Says how long to rest after something that is done again and again, so that it costs a small share of the time.

    On a busy machine, and on storage that is slow, the clock says more than what was taken from others: a share of it
    that is ten times as large counts. The first time, which imports what is needed, does not count.

    Parameters
    ----------
    least
        Seconds of rest.
    share
        Of the processor's time.
    """

    def __init__(self, least: float, share: float) -> None:
        self.seconds, self._least, self._share, self._first = least, least, share, True

    @contextmanager
    def counted(self) -> Iterator[None]:
        """Count what is done within; `seconds` is then the rest."""
        clock, processor = time.monotonic(), time.thread_time()
        yield
        took, spent = time.monotonic() - clock, time.thread_time() - processor
        if not self._first:
            self.seconds = max(self._least, spent / self._share, took / (10 * self._share))
        self._first = False


class Pace:
    """Estimates by the rate of this command: what was done before it took no time."""

    def __init__(self) -> None:
        self._began: dict[str, tuple[float, float]] = {}  # of each stage: when, and what share was done then

    def left(self, stage: str, share: float) -> float | None:
        """Return the seconds that the rest of a stage may take; None while that is not known, or when it is done."""
        now = time.monotonic()
        began, before = self._began.setdefault(stage, (now, share))
        if not before + _SEEN <= share < 1:
            return None
        return (now - began) * (1 - share) / (share - before)
