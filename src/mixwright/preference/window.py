"""What the steps since the last observation (or the last line of the log) showed of each source's pairs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
SUMS = ("rows", "loss", "excess", "gate", "right", "margin")


class PairWindow:
    """
    Sums over steps, micro-batches and ranks, of k sources.

    Attributes
    ----------
    sums
        [6, k]: pairs; sums of their losses, excess losses, gates (1: trained on), pairs that are right, margins.
    planned, weights
        [k] shares that the steps' rows were drawn with, and the mixture's weights, summed over steps.
    steps, skipped
        How many steps; how many more were left out, since a loss was not finite.
    """

    def __init__(self, k: int) -> None:
        self.k = k
        self.clear()

    def clear(self) -> None:
        """Begin anew."""
        self.sums, self.planned, self.weights = np.zeros((len(SUMS), self.k)), np.zeros(self.k), np.zeros(self.k)
        self.steps = self.skipped = 0

    def add(self, sums: Array, planned: Array, weights: Array) -> None:
        """Count a step in: its sums [6, k], of all ranks."""
        self.sums += sums
        self.planned += planned
        self.weights += weights
        self.steps += 1

    @property
    def rows(self) -> Array:
        """Return [k] pairs."""
        return self.sums[0]

    def mean(self, name: str) -> Array:
        """Return [k], the mean over a source's pairs of one of the sums; nan for a source without pairs."""
        known = self.rows > 0
        return np.divide(self.sums[SUMS.index(name)], self.rows, out=np.full(self.k, np.nan), where=known)

    def state_dict(self) -> dict[str, Any]:
        """Return the sums as JSON-able values."""
        arrays = {name: getattr(self, name).tolist() for name in ("sums", "planned", "weights")}
        return {**arrays, "steps": self.steps, "skipped": self.skipped}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where a state was taken."""
        for name in ("sums", "planned", "weights"):
            setattr(self, name, np.array(state[name], np.float64).reshape(getattr(self, name).shape))
        self.steps, self.skipped = int(state["steps"]), int(state["skipped"])
