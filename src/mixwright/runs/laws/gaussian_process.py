"""A Gaussian process: no form at all, for smooth responses."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from importlib.util import find_spec
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mixwright.errors import missing_extra
from mixwright.runs.laws.law import FittedLaw, Law, Runs

Array = NDArray[np.float64]
TUNED = 250  # mixtures that length scales are chosen on at most: the time grows with the cube
SCALE = np.log(2.0)  # centre of the prior of log length scales, standard deviation 1
STEPS = 60
MANY = 600  # law="auto" does not try it beyond
SOFT = 0.02  # weight below which the root is made smooth


@dataclass(frozen=True)
class GaussianProcessLaw(Law):
    """
    A Gaussian process on the roots of the weights, with a length scale for each source.

    The kernel is Matern 5/2 plus noise; variances and length scales (with a weak prior: there are many) have the
    largest posterior density. The distance between roots (Hellinger's) lets a little of a source that was absent count
    more than a little more of one that is there. Its intervals widen away from the runs. No certificate.

    Needs scikit-learn (extra `runs`).
    """

    name = "gaussian_process"
    fewest = 6

    def automatic(self, mixtures: int, exposures: bool) -> bool:
        """Return whether scikit-learn is there, and a fit takes seconds at most."""
        return super().automatic(mixtures, exposures) and mixtures <= MANY and find_spec("sklearn") is not None

    def fit(self, runs: Runs, like: FittedLaw | None = None) -> FittedGaussianProcess:
        """Return the fitted law."""
        process, kernels = _sklearn()
        middle, unit = float(np.average(runs.y, weights=runs.c)), float(np.std(runs.y)) or 1.0
        X, z = roots(runs.W), (runs.y - middle) / unit
        if isinstance(like, FittedGaussianProcess):
            kernel = like.model.kernel_
        else:
            some = np.random.default_rng(0).permutation(runs.n)[:TUNED]
            size, scales, noise = _tuned(X[some], z[some])
            kernel = kernels.ConstantKernel(size) * kernels.Matern(scales, nu=2.5) + kernels.WhiteKernel(noise)
        return FittedGaussianProcess(process(kernel, alpha=1e-8, optimizer=None).fit(X, z), middle, unit)


def _tuned(X: Array, z: Array) -> tuple[float, Array, float]:
    """
    Return variance, length scales and noise of the largest posterior density.

    scikit-learn's own search builds [n, n, d] numbers for each gradient; this one needs products of matrices alone.
    """
    from scipy.optimize import minimize

    d = X.shape[1]
    start = np.r_[0.0, np.full(d, SCALE), np.log(0.05)]
    bounds = [(-4.0, 6.0), *[(-2.5, 4.0)] * d, (np.log(1e-5), 0.5)]
    found = minimize(
        _negative_log_posterior, start, (X, z), "L-BFGS-B", True, bounds=bounds, options={"maxiter": STEPS}
    )
    return float(np.exp(found.x[0])), np.exp(found.x[1:-1]), float(np.exp(found.x[-1]))


def _negative_log_posterior(theta: Array, X: Array, z: Array) -> tuple[float, Array]:
    """Return minus the log density of (log variance, log scales [d], log noise), up to a constant, and its gradient."""
    size, noise, S = np.exp(theta[0]), np.exp(theta[-1]), X / np.exp(theta[1:-1])
    squares = (S**2).sum(1)
    r = np.sqrt(5 * np.maximum(squares[:, None] + squares - 2 * S @ S.T, 0.0))
    decay = np.exp(-r)
    M = (1 + r + r**2 / 3) * decay
    K = size * M + (noise + 1e-8) * np.eye(z.size)
    L = np.linalg.cholesky(K)
    inverse = np.linalg.inv(L)
    inverse = inverse.T @ inverse
    alpha = inverse @ z
    G = np.outer(alpha, alpha) - inverse
    P = G * (
        size * 5 / 3 * (1 + r) * decay
    )  # times the squared differences of a source, over its scale: d K / d log scale
    by_scale = P.sum(1) @ S**2 - ((P @ S) * S).sum(0)
    off = theta[1:-1] - SCALE
    gradient = np.r_[0.5 * size * (G * M).sum(), by_scale - off, 0.5 * noise * np.trace(G)]
    value = 0.5 * z @ alpha + np.log(np.diag(L)).sum() + 0.5 * off @ off
    return float(value), -gradient


@dataclass(frozen=True, eq=False)
class FittedGaussianProcess(FittedLaw):
    """A fitted process."""

    model: Any
    middle: float
    unit: float

    def predict(self, W: Array) -> Array:
        """Return the predicted losses [n]."""
        return np.asarray(self.middle + self.unit * self.model.predict(roots(W)))

    def spread(self, W: Array) -> Array:
        """Return the standard deviation of a new measurement [n]."""
        return np.asarray(self.unit * self.model.predict(roots(W), return_std=True)[1])

    @cached_property
    def _parts(self) -> tuple[float, Array]:
        matern = self.model.kernel_.k1
        return float(matern.k1.constant_value), np.asarray(matern.k2.length_scale)

    def gradient(self, W: Array) -> Array:
        """Return the gradient [n, d]."""
        size, scale = self._parts
        own = roots(W)
        off = (own[:, None, :] - self.model.X_train_) / scale
        r = np.sqrt(5 * (off**2).sum(-1))
        weight = -size * 5 / 3 * (1 + r) * np.exp(-r) * self.model.alpha_.ravel()
        return np.asarray(self.unit * np.einsum("nt,ntd->nd", weight, off / scale) * 0.5 / np.sqrt(W + SOFT**2))

    def numbers(self) -> dict[str, Any]:
        """Return the law as plain numbers; the covariance of its mixtures follows from them."""
        size, scale = self._parts
        return {
            "form": "gaussian_process",
            "size": size,
            "scale": np.broadcast_to(scale, self.model.X_train_.shape[1]).tolist(),
            "noise": float(self.model.kernel_.k2.noise_level),
            "jitter": float(self.model.alpha),
            "alpha": self.model.alpha_.ravel().tolist(),
            "middle": self.middle,
            "unit": self.unit,
        }


def roots(W: Array) -> Array:
    """Return the roots of weights, smooth at 0."""
    return np.sqrt(np.maximum(W, 0.0) + SOFT**2)


def _sklearn() -> Any:
    try:
        from sklearn.gaussian_process import GaussianProcessRegressor, kernels
    except ImportError:
        raise missing_extra("scikit-learn", "runs") from None
    return GaussianProcessRegressor, kernels
