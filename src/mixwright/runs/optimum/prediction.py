"""What fitted laws predict for mixtures, with the interval of what a training would measure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mixwright.runs.goal import Goal
from mixwright.runs.laws.law import FittedLaw
from mixwright.runs.optimism import MISFIT, Optimism
from mixwright.runs.optimum.hull import INSIDE, nearest_in_hull

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Predictor:
    """
    The predictions of what counts.

    laws: of each target [m]. optimism: the errors of what the search would have picked, of what counts. W [n, d]: the
    measured mixtures.
    """

    goal: Goal
    laws: Sequence[FittedLaw]
    optimism: Optimism
    W: Array

    def mean(self, flat: Array) -> Array:
        """Return the prediction [n] for weights [n, d], as it stands."""
        return self.goal.loss(np.stack([law.predict(flat) for law in self.laws], axis=1))

    def spread(self, flat: Array) -> Array:
        """Return the standard deviation [n] of a new measurement, if the law were true."""
        return self.goal.spread(np.stack([law.spread(flat) for law in self.laws], axis=1))

    def near(self, flat: Array) -> Array:
        """Return the nearest mixtures [n, d] in the hull of the measured ones."""
        return nearest_in_hull(flat, self.W)

    def further(self, flat: Array, near: Array) -> Array:
        """Return [n] by how much less a law predicts than for the nearest mixture in the hull of the runs."""
        out = np.abs(near - flat).sum(1) / 2 > INSIDE
        return np.where(out, np.maximum(self.mean(near) - self.mean(flat), 0.0), 0.0)

    def expected_error(self, flat: Array) -> Array:
        """Return the expected measured minus predicted loss [n] of a mixture that the search picked."""
        return self.optimism.mean * self.spread(flat) + self.further(flat, self.near(flat))

    def errors(self, flat: Array, level: float, near: Array | None = None) -> tuple[Array, Array]:
        """Return the low and high end [n] of measured minus predicted losses; `near` as in the method of that name."""
        low, high = self.optimism.ends(level)
        spread = self.spread(flat)
        near = self.near(flat) if near is None else near
        return low * spread - MISFIT * self.optimism.rmse, high * spread + self.further(flat, near)

    def interval(self, flat: Array, level: float, near: Array | None = None) -> tuple[Array, Array, Array]:
        """Return mean, low and high [n] of what a training would measure."""
        low, high = self.errors(flat, level, near)
        mean = self.mean(flat)
        return mean, mean + low, mean + high
