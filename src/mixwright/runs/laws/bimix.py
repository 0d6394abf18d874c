"""BiMix: a power law of the share of what is like the target."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mixwright.runs.laws.law import FittedLaw, Law, Runs, triangle

Array = NDArray[np.float64]
PENALTIES = (1.0, 0.1, 0.01, 0.001)
SMALL = 0.003  # share of the mixture that is like the target where nothing is
STEPS = 80


@dataclass(frozen=True)
class BiMixLaw(Law):
    """
    y = A (u . w + .003)^-alpha, with affinities u [k] >= 0 of the sources to the target, sum 1.

    BiMix has L_i = (A_i / r_i^alpha_i) (B_i / s^beta_i + C_i) for the loss on source i, with its share r_i and s steps.
    At one scale the second factor is constant. A target that is no source has no r_i; here its share is u . w, and for
    a source's own loss the fit puts u on it. The prediction is convex in w.

    The fit is by penalised least squares on log y, so losses should be above 0.

    References
    ----------
    Ge et al., "BiMix: Bivariate Data Mixing Law for Language Model Pretraining", 2405.14908, equation 5.
    """

    name = "bimix"
    fewest = 8

    def automatic(self, mixtures: int, exposures: bool) -> bool:
        """Return False: a special case that others cover; ask for it by name."""
        return False

    def fit(self, runs: Runs, like: FittedLaw | None = None) -> FittedBiMix:
        """Return the fitted law."""
        problem = _Problem(runs)
        if isinstance(like, FittedBiMix):
            return problem.fitted(problem.minimise(like.theta, like.penalty), like.penalty)
        found, theta = [], problem.start()
        for penalty in PENALTIES:
            theta = problem.minimise(theta, penalty)
            found.append(problem.fitted(theta, penalty))
        return min(found, key=lambda one: one.error)


class _Problem:
    """theta = (log A, log alpha, v [d]), u = softmax(v)."""

    def __init__(self, runs: Runs) -> None:
        from mixwright.errors import InputError

        if (runs.y <= 0).any():
            raise InputError(f"the law 'bimix' needs losses above 0; found {runs.y.min():g}; take another law")
        self.W, self.z = runs.W, np.log(runs.y)
        self.unit = float(np.std(self.z)) or 1.0
        self.root = np.sqrt(runs.c / runs.c.mean())

    def start(self) -> Array:
        return np.r_[float(np.mean(self.z)) - 1.0, np.log(0.1), np.zeros(self.W.shape[1])]

    def terms(self, theta: Array) -> tuple[Array, Array]:
        """Return the residuals and the Jacobian, in standard deviations of log y."""
        predicted, J = _log_prediction(theta, self.W)
        scale = self.root / self.unit
        return scale * (predicted - self.z), scale[:, None] * J

    def system(self, theta: Array, penalty: float) -> tuple[float, Array, Array, Array]:
        residual, J = self.terms(theta)
        held = np.r_[0.0, 0.0, np.full(theta.size - 2, penalty)]
        value = float(residual @ residual + held @ theta**2)
        return value, J, J.T @ J + np.diag(held), -(J.T @ residual) - held * theta

    def minimise(self, theta: Array, penalty: float) -> Array:
        damping = 1e-2
        value, _, H, pull = self.system(theta, penalty)
        for _ in range(STEPS):
            step = np.linalg.solve(H + damping * np.diag(np.diag(H) + 1e-9), pull)
            after = self.system(theta + step, penalty)
            if not after[0] <= value:
                damping *= 5
                if damping > 1e8:
                    break
                continue
            done = value - after[0] <= 1e-7 * value
            theta, damping, (value, _, H, pull) = theta + step, damping / 5, after
            if done:
                break
        return theta

    def fitted(self, theta: Array, penalty: float) -> FittedBiMix:
        residual, J = self.terms(theta)
        _, _, H, _ = self.system(theta, penalty)
        inverse = np.asarray(np.linalg.pinv(H, rcond=1e-12, hermitian=True), np.float64)
        leverage = np.minimum(np.einsum("ni,ij,nj->n", J, inverse, J, optimize=True), 1 - 1e-6)
        error = float(((residual / (1 - leverage)) ** 2).mean())
        return FittedBiMix(theta, penalty, error, inverse, self.unit)


@dataclass(frozen=True, eq=False)
class FittedBiMix(FittedLaw):
    """A BiMix law: log A, log alpha and the affinities' logits."""

    theta: Array
    penalty: float
    error: float
    inverse: Array
    unit: float
    convex = True

    @property
    def affinities(self) -> Array:
        """Return u [d], with sum 1."""
        return _softmax(self.theta[2:])

    def predict(self, W: Array) -> Array:
        """Return the predicted losses [n]."""
        return np.exp(_log_prediction(self.theta, W)[0])

    def spread(self, W: Array) -> Array:
        """Return the standard deviation of a new measurement [n]."""
        logs, J = _log_prediction(self.theta, W)
        J = J / self.unit
        leverage = np.einsum("ni,ij,nj->n", J, self.inverse, J, optimize=True)
        return np.exp(logs) * self.unit * np.sqrt(self.error * (1 + np.maximum(leverage, 0.0)))

    def gradient(self, W: Array) -> Array:
        """Return the gradient [n, d]."""
        u, alpha = self.affinities, np.exp(self.theta[1])
        return np.asarray(-(alpha * self.predict(W) / (W @ u + SMALL))[:, None] * u)

    def hessian(self, w: Array) -> Array:
        """Return the Hessian [d, d]: of rank one."""
        u, alpha = self.affinities, float(np.exp(self.theta[1]))
        size = alpha * (alpha + 1) * float(self.predict(w[None])[0]) / float(w @ u + SMALL) ** 2
        return np.asarray(size * np.outer(u, u))

    def numbers(self) -> dict[str, Any]:
        """Return the law as plain numbers."""
        plain = {"level": float(self.theta[0]), "power": float(np.exp(min(self.theta[1], 5.0)))}
        lists = {"affinities": self.affinities.tolist(), "inverse": triangle(self.inverse)}
        return {"form": "bimix", **plain, **lists, "error": self.error, "unit": self.unit}


def _softmax(v: Array) -> Array:
    e = np.exp(v - v.max())
    return np.asarray(e / e.sum())


def _log_prediction(theta: Array, W: Array) -> tuple[Array, Array]:
    """Return log y [n] and its derivatives [n, 2 + d] in theta."""
    u, alpha = _softmax(theta[2:]), np.exp(min(theta[1], 5.0))
    share = W @ u + SMALL
    slope = -alpha * np.log(share)
    by_v = -(alpha / share)[:, None] * (u * (W - (W @ u)[:, None]))
    return theta[0] + slope, np.column_stack([np.ones(len(W)), slope, by_v])
