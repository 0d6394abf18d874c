"""What every law is: fitted to measured mixtures, it predicts the loss of others."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
STEP = 1e-5  # of a numerical gradient, in weight


@dataclass(frozen=True, eq=False)
class Runs:
    """
    Measured mixtures, one row for each mixture (repeats are averaged before).

    W [n, d]: weights with row sums 1; d = k, or phases times k, each phase times its share of the tokens. y [n]: losses
    of one target. c [n]: row weights with mean 1. E [n, k]: exposures in epochs, or None where sizes or tokens are not
    known. R [d, k]: the exposures per unit of weight of the training that is predicted, E = W R.
    """

    W: Array
    y: Array
    c: Array
    E: Array | None = None
    R: Array | None = None

    @property
    def n(self) -> int:
        """Return the number of mixtures."""
        return self.y.size

    def take(self, rows: NDArray[np.intp] | NDArray[np.bool_]) -> Runs:
        """Return some of the mixtures."""
        c = self.c[rows]
        return Runs(self.W[rows], self.y[rows], c / c.mean(), None if self.E is None else self.E[rows], self.R)

    def with_losses(self, y: Array) -> Runs:
        """Return the same mixtures with other losses [n]."""
        return Runs(self.W, y, self.c, self.E, self.R)


class FittedLaw(ABC):
    """
    A law with its coefficients.

    `convex`: its prediction is convex in the weights, so a minimum has a certificate. `smooth`: it has slopes.
    """

    convex: bool = False
    smooth: bool = True

    @abstractmethod
    def predict(self, W: Array) -> Array:
        """Return the predicted losses [n] of weights W [n, d]."""

    @abstractmethod
    def spread(self, W: Array) -> Array:
        """Return the standard deviation [n] of a new measurement around the prediction, if the law were true."""

    def gradient(self, W: Array) -> Array:
        """Return the gradient [n, d] of the prediction in the weights (by differences where a law has no other)."""
        n, d = W.shape
        near = (W[:, None, None, :] + STEP * np.array([1.0, -1.0])[:, None, None] * np.eye(d)).reshape(-1, d)
        above, below = np.moveaxis(self.predict(near).reshape(n, 2, d), 1, 0)
        return np.asarray((above - below) / (2 * STEP))

    def hessian(self, w: Array) -> Array:
        """Return the Hessian [d, d] at weights [d]; zeros where a law is linear or none is known."""
        return np.zeros((w.size, w.size))

    def numbers(self) -> dict[str, Any] | None:
        """
        Return the law as plain numbers and lists, for programs that compute it elsewhere; None where it has no form.

        "form" says which: `report/what_if/laws.js` has a function for each. Mixtures that a law needs (a Gaussian
        process) are those it was fitted to.
        """
        return None

    def interval(self, W: Array, level: float = 0.9) -> tuple[Array, Array]:
        """Return low and high [n] of new measurements, if the law were true (the selection is not in it)."""
        half = NormalDist().inv_cdf((1 + level) / 2) * self.spread(W)
        mean = self.predict(W)
        return mean - half, mean + half


def triangle(matrix: Array) -> list[float]:
    """Return the lower triangle of a symmetric matrix, row by row."""
    found: list[float] = matrix[np.tril_indices(len(matrix))].tolist()
    return found


class Law(ABC):
    """A form of law: a frozen dataclass of settings with one method."""

    name: ClassVar[str]
    exposures: ClassVar[bool] = False  # whether it needs epochs
    fewest: ClassVar[int] = 5  # distinct mixtures that it can bear

    def automatic(self, mixtures: int, exposures: bool) -> bool:
        """Return whether law="auto" tries this law for this number of mixtures, with or without exposures."""
        return mixtures >= 1.25 * self.fewest and (exposures or not self.exposures)

    def needed(self) -> tuple[Law, ...]:
        """Return the laws whose needs have to be met: this one, and members that were named."""
        return (self,)

    @abstractmethod
    def fit(self, runs: Runs, like: FittedLaw | None = None) -> FittedLaw:
        """
        Return the law fitted to some runs.

        `like` is an earlier fit to nearly the same runs (a fold left out, a bootstrap draw): its hyperparameters are
        kept, and the search for coefficients starts there.
        """
