"""How long the rest of a stage may take."""

from __future__ import annotations

import time

_SEEN = 0.01  # share of a stage that must be done before the rest is estimated: the start of processes is no rate


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
