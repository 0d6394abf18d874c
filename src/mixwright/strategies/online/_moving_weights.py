"""Weights that take exponentiated steps from themselves, and their mean over the updates."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mixwright.strategies._mirror_ascent import exponentiated
from mixwright.strategy import carrying

Array = NDArray[np.float64]


CARRIES = carrying(weights="prior total", logs="log_weights", kept="updates")


class MovingWeights(NamedTuple):
    """
    The prior [k], the logs of the weights [k], and the sum [k] and number of the weights after each update.

    The logs are kept: a weight that is 0 in floating point comes back all the same.
    """

    prior: Array
    log_weights: Array
    total: Array
    updates: int

    @classmethod
    def begin(cls, prior: Array) -> MovingWeights:
        """Return the weights before any update: the prior."""
        with np.errstate(divide="ignore"):
            return cls(prior.copy(), np.log(prior), np.zeros(len(prior)), 0)

    def moved(self, exponent: Array, smoothing: float = 0.0) -> MovingWeights:
        """
        Return (1 - smoothing) w exp(exponent), normalised, + smoothing x prior; the next step starts from there.

        Where the exponent [k] is unknown (nan), w stays and the others share the rest.
        """
        logs = exponentiated(self.log_weights, exponent)
        if smoothing > 0:
            with np.errstate(divide="ignore"):
                logs = np.log((1 - smoothing) * np.exp(logs) + smoothing * self.prior)
        return self.replaced(logs)

    def replaced(self, logs: Array) -> MovingWeights:
        """Return an update's new weights, given as logs [k]."""
        return MovingWeights(self.prior, logs, self.total + _shares(logs), self.updates + 1)

    @property
    def weights(self) -> Array:
        """Return the weights [k]."""
        return _shares(self.log_weights)

    @property
    def average(self) -> Array:
        """Return the mean [k] of the weights after each update; before the first, the prior."""
        return self.total / self.total.sum() if self.updates else self.weights


def _shares(logs: Array) -> Array:
    weights = np.exp(logs)
    return weights / weights.sum()
