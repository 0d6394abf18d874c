"""The log-linear law: each source moves the reducible loss by a factor."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mixwright.runs.laws.law import FittedLaw, Law, Runs, triangle
from mixwright.runs.laws.ridge import ridge

Array = NDArray[np.float64]
PENALTIES = 10.0 ** np.array([0.5, 0.0, -0.5, -1.0, -1.5, -2.0, -2.5, -3.0, -4.0])  # of t, from strong to weak
STARTS = (0.3, 1.0, 3.0, 10.0)  # the floor c below its highest value, in standard deviations of the losses
ABOVE = 0.15  # standard deviations that the floor may lie above the least loss: a free one hides what differs below it
FEW = 12  # steps from each start at the strongest penalty; the best one goes on
MOST = 60


@dataclass(frozen=True)
class LogLinearLaw(Law):
    """
    y = c + exp(a + t . w), by penalised least squares.

    - c is a floor that no mixture gets below, exp(a + t . w) the loss that can be reduced. With c far below the losses
      the law is the linear one.
    - The prediction is convex in w, so its minimum under constraints has a certificate.
    - c is at most a little above the least loss: with a higher one all good mixtures would be predicted to be equal.
    - The coefficients are held by a ridge penalty, chosen by leaving each run out (on the law linearised at its
      optimum). Four starting points differ in c alone: given c, log(y - c) is linear in w.

    References
    ----------
    Ye et al., "Data Mixing Laws", 2403.16952, equation 6; Olmix, 2602.12237 (Huber loss, 300 starts; here least
    squares, since one run that diverged should be seen and left out, not averaged away).
    """

    name = "log_linear"
    fewest = 8

    def fit(self, runs: Runs, like: FittedLaw | None = None) -> FittedLogLinear:
        """Return the fitted law."""
        problem = _Problem.of(runs)
        if isinstance(like, FittedLogLinear):
            start = problem.theta_of(like)
            return problem.fitted(problem.minimise(start, like.penalty, MOST), like.penalty)
        first = [problem.minimise(problem.start(below), PENALTIES[0], FEW) for below in STARTS]
        theta = min(first, key=lambda theta: problem.objective(theta, PENALTIES[0]))
        found = []
        for penalty in PENALTIES:
            theta = problem.minimise(theta, penalty, MOST)
            found.append((problem.left_out(theta, penalty)[0], theta, penalty))
        _, theta, penalty = min(found, key=lambda one: one[0])
        return problem.fitted(theta, penalty)


@dataclass(frozen=True, eq=False)
class _Problem:
    """Losses with mean 0 and variance 1, centred weights; theta = (log of how far c is below its highest, a, t [d])."""

    X: Array
    z: Array
    root: Array  # of the row weights
    centre: Array
    middle: float
    unit: float

    @classmethod
    def of(cls, runs: Runs) -> _Problem:
        centre, middle = np.average(runs.W, axis=0, weights=runs.c), float(np.average(runs.y, weights=runs.c))
        unit = float(np.sqrt(np.average((runs.y - middle) ** 2, weights=runs.c))) or 1.0
        return cls(runs.W - centre, (runs.y - middle) / unit, np.sqrt(runs.c / runs.c.mean()), centre, middle, unit)

    def start(self, below: float) -> Array:
        left = self.z - (self.highest - below)
        line = ridge(self.X, np.log(left), self.root**2 * left**2)
        return np.r_[np.log(below), line.intercept - line.centre @ line.coefficients, line.coefficients]

    def theta_of(self, like: FittedLogLinear) -> Array:
        shift = (self.centre - like.centre) @ like.t
        below = self.highest - (like.c - self.middle) / self.unit
        return np.r_[np.log(max(below, 1e-3)), like.a + np.log(like.unit / self.unit) + shift, like.t]

    @cached_property
    def highest(self) -> float:
        return float(self.z.min()) + ABOVE

    def floor(self, theta: Array) -> float:
        return float(self.highest - np.exp(min(theta[0], 30.0)))

    def _residual(self, theta: Array) -> tuple[Array, Array]:
        part = np.exp(np.minimum(theta[1] + self.X @ theta[2:], 30.0))
        return self.root * (self.floor(theta) + part - self.z), self.root * part

    def objective(self, theta: Array, penalty: float) -> float:
        residual, _ = self._residual(theta)
        return float(residual @ residual + penalty * (theta[2:] @ theta[2:] + (theta[1] - 1) ** 2 + theta[0] ** 2))

    def _system(self, theta: Array, penalty: float) -> tuple[Array, Array, Array]:
        """Return the Jacobian, the penalised Gauss-Newton matrix and minus half the gradient."""
        residual, part = self._residual(theta)
        below = np.exp(min(theta[0], 30.0))
        J = np.column_stack([-below * self.root, part, part[:, None] * self.X])
        ridge_part = np.full(theta.size, penalty)
        pull = -(J.T @ residual) - ridge_part * (theta - np.r_[0.0, 1.0, np.zeros(theta.size - 2)])
        return J, J.T @ J + np.diag(ridge_part), pull

    def minimise(self, theta: Array, penalty: float, steps: int) -> Array:
        """Return theta after Levenberg and Marquardt's steps."""
        damping, value = 1e-3, self.objective(theta, penalty)
        for _ in range(steps):
            _, H, pull = self._system(theta, penalty)
            scale = np.diag(H) + 1e-12
            for _ in range(12):
                step = np.linalg.solve(H + damping * np.diag(scale), pull)
                after = self.objective(theta + step, penalty)
                if after <= value:
                    break
                damping *= 4
            else:
                return theta
            fell, theta, value, damping = value - after, theta + step, after, damping / 5
            if fell <= 1e-7 * value:
                break
        return theta

    def left_out(self, theta: Array, penalty: float) -> tuple[float, Array]:
        """Return the mean squared error of leaving each row out, and the inverse of the Gauss-Newton matrix."""
        residual, _ = self._residual(theta)
        J, H, _ = self._system(theta, penalty)
        inverse = np.asarray(np.linalg.pinv(H, rcond=1e-12, hermitian=True), np.float64)
        leverage = np.minimum(np.einsum("ni,ij,nj->n", J, inverse, J, optimize=True), 1 - 1e-6)
        return float(((residual / (1 - leverage)) ** 2).mean()), inverse

    def fitted(self, theta: Array, penalty: float) -> FittedLogLinear:
        error, inverse = self.left_out(theta, penalty)
        c, below = self.middle + self.unit * self.floor(theta), float(np.exp(min(theta[0], 30.0)))
        return FittedLogLinear(c, float(theta[1]), theta[2:], self.centre, self.unit, penalty, error, inverse, below)


@dataclass(frozen=True, eq=False)
class FittedLogLinear(FittedLaw):
    """A log-linear law: y = c + unit exp(a + t . (w - centre))."""

    c: float
    a: float
    t: Array
    centre: Array
    unit: float
    penalty: float
    error: float  # of leaving a row out, in unit^2
    inverse: Array
    below: float
    convex = True

    def _part(self, W: Array) -> Array:
        return np.exp(np.minimum(self.a + (W - self.centre) @ self.t, 50.0))

    def predict(self, W: Array) -> Array:
        """Return the predicted losses [n]."""
        return self.c + self.unit * self._part(W)

    def spread(self, W: Array) -> Array:
        """Return the standard deviation of a new measurement [n]."""
        part = self._part(W)
        J = np.column_stack([np.full(len(W), -self.below), part, part[:, None] * (W - self.centre)])
        leverage = np.einsum("ni,ij,nj->n", J, self.inverse, J, optimize=True)
        return self.unit * np.sqrt(self.error * (1 + np.maximum(leverage, 0.0)))

    def gradient(self, W: Array) -> Array:
        """Return the gradient [n, d]."""
        return self.unit * self._part(W)[:, None] * self.t

    def hessian(self, w: Array) -> Array:
        """Return the Hessian [d, d]: of rank one."""
        return self.unit * self._part(w[None])[0] * np.outer(self.t, self.t)

    def numbers(self) -> dict[str, Any]:
        """Return the law as plain numbers."""
        plain = {name: getattr(self, name) for name in ("c", "a", "unit", "error", "below")}
        lists = {"t": self.t.tolist(), "centre": self.centre.tolist(), "inverse": triangle(self.inverse)}
        return {"form": "log_linear", **plain, **lists}
