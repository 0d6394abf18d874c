"""The baseline: ridge regression on the logarithm of exposures, and nothing else."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mixwright.runs.laws.law import FittedLaw, Law, Runs
from mixwright.runs.laws.ridge import Ridge, ridge

Array = NDArray[np.float64]


@dataclass(frozen=True)
class LogExposureLaw(Law):
    """
    y = a + b . log(1 + E), by ridge regression: what more involved laws should beat.

    Where exposures are not known, E_k = d w_k, the exposure in units of a uniform mixture's. Coefficients have either
    sign, so the prediction need not be convex.
    """

    name = "log_exposure"
    fewest = 5

    def fit(self, runs: Runs, like: FittedLaw | None = None) -> FittedLogExposure:
        """Return the fitted law."""
        d = runs.W.shape[1]
        known = runs.E is not None and runs.R is not None
        E, R = (runs.E, runs.R) if known else (d * runs.W, d * np.eye(d))
        assert E is not None
        assert R is not None
        penalty = like.model.penalty if isinstance(like, FittedLogExposure) else None
        return FittedLogExposure(ridge(np.log1p(E), runs.y, runs.c, penalty), R)


@dataclass(frozen=True, eq=False)
class FittedLogExposure(FittedLaw):
    """The baseline with its coefficients."""

    model: Ridge
    R: Array

    @property
    def convex(self) -> bool:  # type: ignore[override]
        """Return whether no exposure does harm: then every term is convex."""
        return bool((self.model.coefficients <= 0).all())

    def predict(self, W: Array) -> Array:
        """Return the predicted losses [n]."""
        return self.model.predict(np.log1p(W @ self.R))

    def spread(self, W: Array) -> Array:
        """Return the standard deviation of a new measurement [n]."""
        return self.model.spread(np.log1p(W @ self.R))

    def gradient(self, W: Array) -> Array:
        """Return the gradient [n, d]."""
        return np.asarray((self.model.coefficients / (1 + W @ self.R)) @ self.R.T)

    def hessian(self, w: Array) -> Array:
        """Return the Hessian [d, d]."""
        return np.asarray((self.R * (-self.model.coefficients / (1 + w @ self.R) ** 2)) @ self.R.T)

    def numbers(self) -> dict[str, Any]:
        """Return the law as plain numbers."""
        return {"form": "log_exposure", "R": self.R.tolist(), **self.model.numbers()}
