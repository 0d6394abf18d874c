"""Ridge regression with its own choice of the penalty: what several laws share."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mixwright.runs.laws.law import triangle

Array = NDArray[np.float64]
PENALTIES = 10.0 ** np.arange(-6.0, 2.5, 0.5)  # times the mean squared feature


@dataclass(frozen=True, eq=False)
class Ridge:
    """y = intercept + coefficients . (x - centre), with what is needed for the error of a prediction."""

    centre: Array
    intercept: float
    coefficients: Array
    penalty: float
    variance: float  # of a measurement around the law, from leaving each row out
    covariance: Array  # [d, d] of the coefficients, per unit of variance
    rows: int

    def predict(self, X: Array) -> Array:
        """Return the predictions [n] for features X [n, d]."""
        return np.asarray(self.intercept + (X - self.centre) @ self.coefficients)

    def spread(self, X: Array) -> Array:
        """Return the standard deviation [n] of a new measurement."""
        off = X - self.centre
        leverage = np.einsum("nd,de,ne->n", off, self.covariance, off, optimize=True)
        return np.sqrt(self.variance * (1 + 1 / self.rows + np.maximum(leverage, 0.0)))

    def numbers(self) -> dict[str, Any]:
        """Return what a prediction and its spread need, as plain numbers."""
        return {
            "centre": self.centre.tolist(),
            "intercept": self.intercept,
            "coefficients": self.coefficients.tolist(),
            "variance": self.variance,
            "covariance": triangle(self.covariance),
            "rows": self.rows,
        }

    @cached_property
    def shape(self) -> tuple[int, ...]:
        """Return the shape of the coefficients."""
        return self.coefficients.shape


def ridge(X: Array, y: Array, c: Array, penalty: float | None = None) -> Ridge:
    """
    Return the ridge regression of y [n] on features X [n, d] with row weights c [n].

    Columns are centred, not scaled: weights and exposures have one unit, and a source that was hardly varied should not
    get a large coefficient. Without a `penalty` the one with the least weighted squared error of leaving each row out
    is taken (Allen's PRESS, exact for ridge).
    """
    n = y.size
    root = np.sqrt(c / c.mean())
    centre, middle = np.average(X, axis=0, weights=c), float(np.average(y, weights=c))
    A, b = root[:, None] * (X - centre), root * (y - middle)
    U, s, Vt = np.linalg.svd(A, full_matrices=False)
    unit = float((s**2).sum()) / max(1, min(n, X.shape[1])) or 1.0
    mean_part = root**2 / n  # the intercept's share of the leverage
    grid = PENALTIES if penalty is None else np.array([penalty])
    shrunk = s[:, None] ** 2 / (s[:, None] ** 2 + grid * unit)
    fitted = U @ (shrunk * (U.T @ b)[:, None])
    leverage = np.minimum(U**2 @ shrunk + mean_part[:, None], 1 - 1e-6)
    left_out = ((b[:, None] - fitted) / (1 - leverage)) ** 2
    best = int(left_out.mean(0).argmin())
    gram_inverse = 1 / (s**2 + grid[best] * unit)
    inverse = (Vt.T * gram_inverse) @ Vt
    if len(s) < X.shape[1]:  # directions that no run has varied: only the penalty holds them
        inverse += (np.eye(X.shape[1]) - Vt.T @ Vt) / (grid[best] * unit)
    coefficients = Vt.T @ (s * gram_inverse * (U.T @ b))
    return Ridge(centre, middle, coefficients, float(grid[best]), float(left_out[:, best].mean()), inverse, n)
