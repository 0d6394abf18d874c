"""The linear law: every source has a price."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mixwright.runs.laws.law import FittedLaw, Law, Runs
from mixwright.runs.laws.ridge import Ridge, ridge

Array = NDArray[np.float64]


@dataclass(frozen=True)
class LinearLaw(Law):
    """
    y = a + b . w, by ridge regression.

    The penalty on b is chosen by leaving each run out. The optimum under constraints is a corner of what is allowed, so
    this law says which sources help, and little about how much of each.

    References
    ----------
    Liu et al., "RegMix: Data Mixture as Regression for Language Model Pre-training", 2407.01492 (its baseline).
    """

    name = "linear"
    fewest = 5

    def fit(self, runs: Runs, like: FittedLaw | None = None) -> FittedLinear:
        """Return the fitted law."""
        return FittedLinear(ridge(runs.W, runs.y, runs.c))


@dataclass(frozen=True, eq=False)
class FittedLinear(FittedLaw):
    """A linear law with its prices."""

    model: Ridge
    convex = True

    def predict(self, W: Array) -> Array:
        """Return the predicted losses [n]."""
        return self.model.predict(W)

    def spread(self, W: Array) -> Array:
        """Return the standard deviation of a new measurement [n]."""
        return self.model.spread(W)

    def gradient(self, W: Array) -> Array:
        """Return the prices, for every row [n, d]."""
        return np.broadcast_to(self.model.coefficients, W.shape)

    def numbers(self) -> dict[str, Any]:
        """Return the law as plain numbers."""
        return {"form": "linear", **self.model.numbers()}
