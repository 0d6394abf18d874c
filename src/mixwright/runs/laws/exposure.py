"""The exposure law: what a source gives saturates with its epochs, and repeating it too often does harm."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mixwright.errors import missing_extra
from mixwright.runs.laws.law import FittedLaw, Law, Runs, triangle

Array = NDArray[np.float64]
RATES, POWERS, ONSETS, PENALTIES = (0.05, 0.3, 1.0, 4.0), (0.3, 0.6, 1.0), (1.0, 3.0, 6.0), (1e-4, 1e-3, 1e-2, 0.1)
ONSET = 3.0  # while rate and power are chosen
NEAR_ZERO = 1e-4  # epochs times rate: keeps the slope of a power below 1 finite at a weight of 0
REPEATED = 1.0  # epochs: where no run repeats a source, harm cannot be seen


@dataclass(frozen=True)
class ExposureLaw(Law):
    """
    y = a - sum_k b_k (1 - exp(-(rho E_k)^p)) + sum_k h_k softplus(log(1 + E_k) - tau)^2, with b, h >= 0.

    - E_k = w_k T / N_k is the exposure to source k in epochs. The first sum is its benefit, which saturates, the second
      the harm of repetition; it is left out where no run repeats a source.
    - b and h by ridge regression with coefficients of at least 0, columns as they are (a scaled column
      of a source that was hardly varied gets a huge coefficient). (rho, p), then tau, each with the penalty, from
      grids by leaving each run out.
    - Without harm the prediction is convex in w.

    Needs scipy.
    """

    name = "exposure"
    exposures = True
    fewest = 8

    def automatic(self, mixtures: int, exposures: bool) -> bool:
        """Return whether exposures are known, and scipy is there."""
        return super().automatic(mixtures, exposures) and find_spec("scipy") is not None

    def fit(self, runs: Runs, like: FittedLaw | None = None) -> FittedExposure:
        """Return the fitted law."""
        assert runs.E is not None
        assert runs.R is not None
        if isinstance(like, FittedExposure):
            return _fit(runs, like.shape, like.penalty)
        harm = bool(runs.E.max() > REPEATED)
        best = min((_best(runs, (rate, power, ONSET, harm)) for rate in RATES for power in POWERS), key=_error)
        if harm:
            rate, power, _, _ = best.shape
            others = [_best(runs, (rate, power, onset, harm)) for onset in ONSETS if onset != ONSET]
            best = min([best, *others], key=_error)
        return best


Shape = tuple[float, float, float, bool]  # rho, p, tau, whether there is harm


@dataclass(frozen=True, eq=False)
class FittedExposure(FittedLaw):
    """An exposure law with its coefficients: benefits and harms [k] each, `middle` at the mean of the features."""

    shape: Shape
    penalty: float
    middle: float
    centre: Array
    coefficients: Array
    error: float
    inverse: Array
    R: Array

    @property
    def convex(self) -> bool:  # type: ignore[override]
        """Return whether no source does harm."""
        return not self.harms.any()

    @property
    def benefits(self) -> Array:
        """Return b [k]."""
        return self.coefficients[: self.R.shape[1]]

    @property
    def harms(self) -> Array:
        """Return h [k], zeros where harm was left out."""
        return self.coefficients[self.R.shape[1] :] if self.shape[3] else np.zeros(self.R.shape[1])

    def predict(self, W: Array) -> Array:
        """Return the predicted losses [n]."""
        return np.asarray(self.middle + (exposure_features(W @ self.R, self.shape) - self.centre) @ self.coefficients)

    def spread(self, W: Array) -> Array:
        """Return the standard deviation of a new measurement [n]."""
        off = exposure_features(W @ self.R, self.shape) - self.centre
        leverage = np.einsum("nd,de,ne->n", off, self.inverse, off, optimize=True)
        return np.sqrt(self.error * (1 + np.maximum(leverage, 0.0)))

    def response(self, E: Array) -> tuple[Array, Array]:
        """Return the first and second derivative [n, k] of the prediction in the exposures [n, k]."""
        rate, power, onset, _ = self.shape
        x = rate * E + NEAR_ZERO
        left = np.exp(-(x**power))
        ds, dds = power * rate * x ** (power - 1), power * (power - 1) * rate**2 * x ** (power - 2)
        first, second = -self.benefits * left * ds, -self.benefits * left * (dds - ds**2)
        u = np.log1p(E) - onset
        g, dg = np.logaddexp(0, u), 1 / (1 + np.exp(-u))
        du, ddu = 1 / (1 + E), -1 / (1 + E) ** 2
        slope, bend = 2 * g * dg, 2 * dg**2 + 2 * g * dg * (1 - dg)
        return first + self.harms * slope * du, second + self.harms * (bend * du**2 + slope * ddu)

    def gradient(self, W: Array) -> Array:
        """Return the gradient [n, d]."""
        return self.response(W @ self.R)[0] @ self.R.T

    def hessian(self, w: Array) -> Array:
        """Return the Hessian [d, d]."""
        return (self.R * self.response((w @ self.R)[None])[1][0]) @ self.R.T

    def numbers(self) -> dict[str, Any]:
        """Return the law as plain numbers."""
        return {
            "form": "exposure",
            "shape": list(self.shape),
            "middle": self.middle,
            "centre": self.centre.tolist(),
            "coefficients": self.coefficients.tolist(),
            "error": self.error,
            "inverse": triangle(self.inverse),
            "R": self.R.tolist(),
        }


def exposure_features(E: Array, shape: Shape) -> Array:
    """Return the columns [n, k] of benefits, and of harms [n, 2 k] where there are any, of exposures [n, k]."""
    rate, power, onset, harm = shape
    benefit = -(1 - np.exp(-((rate * E + NEAR_ZERO) ** power)))
    return np.hstack([benefit, np.logaddexp(0, np.log1p(E) - onset) ** 2]) if harm else benefit


def _best(runs: Runs, shape: Shape) -> FittedExposure:
    return min((_fit(runs, shape, penalty) for penalty in PENALTIES), key=_error)


def _error(fitted: FittedExposure) -> float:
    return fitted.error


def _fit(runs: Runs, shape: Shape, penalty: float) -> FittedExposure:
    """Return the regression with coefficients of at least 0, and its error of leaving each run out."""
    assert runs.E is not None
    assert runs.R is not None
    F, root = exposure_features(runs.E, shape), np.sqrt(runs.c / runs.c.mean())
    centre, middle = np.average(F, axis=0, weights=runs.c), float(np.average(runs.y, weights=runs.c))
    A, b = root[:, None] * (F - centre), root * (runs.y - middle)
    gram = A.T @ A
    ridge = penalty * float(np.trace(gram)) / len(gram) * np.eye(len(gram))
    L = np.linalg.cholesky(gram + ridge + 1e-12 * np.eye(len(gram)))
    x = _nnls()(L.T, np.linalg.solve(L, A.T @ b))[0]
    used = x > 0
    own = np.linalg.inv((gram + ridge)[np.ix_(used, used)]) if used.any() else np.zeros((0, 0))
    leverage = np.einsum("nd,de,ne->n", A[:, used], own, A[:, used], optimize=True) + root**2 / runs.n
    left_out = (b - A @ x) / (1 - np.minimum(leverage, 1 - 1e-6))
    inverse = np.linalg.inv(gram + ridge + 1e-12 * np.eye(len(gram)))
    return FittedExposure(shape, penalty, middle, centre, x, float((left_out**2).mean()), inverse, runs.R)


def _nnls() -> Any:
    try:
        from scipy.optimize import nnls
    except ImportError:
        raise missing_extra("scipy", "runs") from None
    return nnls
