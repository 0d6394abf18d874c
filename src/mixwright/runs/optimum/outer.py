"""From the losses of targets to what is minimised: a weighted sum, the worst of them, and limits on others."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


class Outer(Protocol):
    """A convex, rising function of the targets' losses P [n, m]."""

    def value(self, P: Array) -> Array:
        """Return its values [n]."""
        ...

    def slopes(self, p: Array) -> Array:
        """Return its gradient [m] at losses p [m]; at least 0."""
        ...

    def curvature(self, p: Array) -> Array:
        """Return its Hessian [m, m] at losses p [m]."""
        ...

    def slack(self, p: Array) -> float:
        """Return what the true objective may exceed its linearised lower bound by, beyond the weights' own gap."""
        ...


@dataclass(frozen=True, eq=False)
class WeightedSum:
    """sum_t shares_t p_t."""

    shares: Array

    def value(self, P: Array) -> Array:
        """Return its values [n]."""
        return np.asarray(P @ self.shares)

    def slopes(self, p: Array) -> Array:
        """Return the shares."""
        return self.shares

    def curvature(self, p: Array) -> Array:
        """Return zeros."""
        return np.zeros((p.size, p.size))

    def slack(self, p: Array) -> float:
        """Return 0: it is linear."""
        return 0.0


@dataclass(frozen=True, eq=False)
class SoftWorst:
    """log(sum_t exp(beta (p_t - best_t))) / beta over the targets that count: at most log(m) / beta above the worst."""

    best: Array
    counts: NDArray[np.bool_]
    beta: float

    def _scaled(self, P: Array) -> Array:
        return np.where(self.counts, self.beta * (P - self.best), -np.inf)

    def value(self, P: Array) -> Array:
        """Return its values [n]."""
        return np.asarray(np.logaddexp.reduce(self._scaled(P), axis=1) / self.beta)

    def slopes(self, p: Array) -> Array:
        """Return the shares of the targets, mostly of those that are worst."""
        e = self._scaled(p)
        out = np.exp(e - e.max())
        return np.asarray(out / out.sum())

    def curvature(self, p: Array) -> Array:
        """Return beta times the covariance of the shares."""
        s = self.slopes(p)
        return np.asarray(self.beta * (np.diag(s) - np.outer(s, s)))

    def slack(self, p: Array) -> float:
        """Return how much the worst exceeds the shares' mean."""
        regrets = (p - self.best)[self.counts]
        return float(regrets.max() - self.slopes(p)[self.counts] @ regrets)


@dataclass(frozen=True, eq=False)
class Guarded:
    """inner(p) + sum_t (max(0, price_t + rho (p_t - limit_t))^2 - price_t^2) / (2 rho): an augmented Lagrangian."""

    inner: Outer
    limits: Array  # [m], infinite for targets without one
    prices: Array
    rho: float

    def over(self, P: Array) -> Array:
        """Return max(0, price + rho (p - limit)), the next prices."""
        return np.maximum(0.0, self.prices + self.rho * np.where(np.isfinite(self.limits), P - self.limits, -np.inf))

    def value(self, P: Array) -> Array:
        """Return its values [n]."""
        return self.inner.value(P) + ((self.over(P) ** 2 - self.prices**2) / (2 * self.rho)).sum(-1)

    def slopes(self, p: Array) -> Array:
        """Return the inner slopes plus prices."""
        return np.asarray(self.inner.slopes(p) + self.over(p))

    def curvature(self, p: Array) -> Array:
        """Return the inner curvature plus rho where a limit is felt."""
        return np.asarray(self.inner.curvature(p) + np.diag(self.rho * (self.over(p) > 0)))

    def slack(self, p: Array) -> float:
        """Return the inner slack plus what prices times unused room amount to."""
        prices = self.over(p)
        used = prices > 0
        return self.inner.slack(p) + max(0.0, float(prices[used] @ (self.limits - p)[used]))
