"""
Logarithmic barriers, with their duals, of the limits that a set of weights has beyond bounds: rows and an L1 ball.

For each replicate b: slacks of rows, s = limits - rows w; for the ball, u_k >= max(w_k - centre_k, 0), sum_k u_k <=
excess. The u_k are eliminated from Newton's system: what they add to it is a diagonal and one vector.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mixwright.constraints.polytope import Polytope

Array = NDArray[np.float64]
ROUNDING = 1e-17  # of a sum of weights: slacks are not taken for less


class RowBarrier:
    """rows w <= limits."""

    def __init__(self, region: Polytope, w: Array, mu: Array) -> None:
        self.A, self.b = region.rows, region.limits
        self.z = mu[:, None] / self.slack(w)

    def slack(self, w: Array) -> Array:
        """Return the slacks [b, m]."""
        return np.asarray(self.b - w @ self.A.T)

    def value(self, w: Array, dw: Array, step: Array, mu: Array) -> Array:
        """Return the barrier [b] at w + step dw."""
        with np.errstate(invalid="ignore", divide="ignore"):
            return -mu * np.log(self.slack(w + step[:, None] * dw)).sum(1)

    def pull(self, w: Array, mu: Array) -> Array:
        """Return minus its gradient [b, k]."""
        return -(mu[:, None] / self.slack(w)) @ self.A

    def matrix(self, w: Array) -> tuple[Array, Array]:
        """Return what it adds to the Hessian: a diagonal [b, k], and vectors [b, r, k] by their outer products."""
        # the primal-dual Hessian A^T diag(z / s) A, as outer products of its rows
        root = np.sqrt(self.z / self.slack(w))
        return np.zeros_like(w), root[:, :, None] * self.A

    def longest(self, w: Array, dw: Array) -> Array:
        """Return the longest step [b] that keeps the slacks positive."""
        return longest_step(self.slack(w), -dw @ self.A.T)

    def move(self, w: Array, dw: Array, step: Array, mu: Array) -> None:
        """Update the duals after a step."""
        s, ds = self.slack(w), -dw @ self.A.T
        self.z = _moved(self.z, s, ds, mu, s + step[:, None] * ds)

    def complementarity(self, w: Array) -> tuple[Array, int]:
        """Return the sum of slack times dual [b], and of how many pairs."""
        return (self.z * self.slack(w)).sum(1), self.b.size

    def keep(self, live: NDArray[np.bool_]) -> None:
        """Leave the replicates that are done."""
        self.z = self.z[live]


class Ball:
    """sum_k max(w_k - centre_k, 0) <= excess, with its own u [b, k]."""

    def __init__(self, region: Polytope, w: Array, mu: Array) -> None:
        assert region.centre is not None
        self.p, self.e = region.centre, region.excess()
        over = np.maximum(w - self.p, 0.0)
        # what is left of the ball is shared out, half of it to u, so that all three slacks begin positive
        self.u = over + ((self.e - over.sum(1)) / (2 * w.shape[1]))[:, None]
        above, below, left = self.slacks(w, self.u)
        self.za, self.zb, self.zs = mu[:, None] / above, mu[:, None] / below, mu / left

    def slacks(self, w: Array, u: Array) -> tuple[Array, Array, Array]:
        """Return u - (w - centre) [b, k], u [b, k] and excess - sum u [b]."""
        above, below, left = u - (w - self.p), u, self.e - u.sum(1)
        return above, below, np.where(np.abs(left) < ROUNDING, ROUNDING, left)

    def _system(self, w: Array) -> tuple[Array, Array, Array, Array]:
        above, below, left = self.slacks(w, self.u)
        R = self.za / above
        E = R + self.zb / below
        gamma = self.zs / left
        # the last is Sherman-Morrison's factor for (diag(E) + gamma 1 1^T)^-1
        return R, E, gamma, gamma / (1 + gamma * (1 / E).sum(1))

    def _solve(self, E: Array, kappa: Array, x: Array) -> Array:
        """Return (diag(E) + gamma 1 1^T)^-1 x."""
        y = x / E
        return np.asarray(y - (kappa * y.sum(1))[:, None] / E)

    def _pull_u(self, w: Array, mu: Array) -> Array:
        above, below, left = self.slacks(w, self.u)
        return np.asarray(mu[:, None] / above + mu[:, None] / below - (mu / left)[:, None])

    def value(self, w: Array, dw: Array, step: Array, mu: Array) -> Array:
        """Return the barrier [b] at w + step dw."""
        du = self._du(w, dw, mu)
        above, below, left = self.slacks(w + step[:, None] * dw, self.u + step[:, None] * du)
        with np.errstate(invalid="ignore", divide="ignore"):
            return -mu * (np.log(above).sum(1) + np.log(below).sum(1) + np.log(left))

    def pull(self, w: Array, mu: Array) -> Array:
        """Return minus its gradient [b, k], u eliminated."""
        R, E, _, kappa = self._system(w)
        above, _, _ = self.slacks(w, self.u)
        # du follows w in every step, so the pull on u acts on w too
        return np.asarray(-mu[:, None] / above + R * self._solve(E, kappa, self._pull_u(w, mu)))

    def slope(self, w: Array, dw: Array, mu: Array) -> Array:
        """Return minus the derivative [b] of the barrier along the step, u included."""
        above, _, _ = self.slacks(w, self.u)
        return np.asarray((-mu[:, None] / above * dw).sum(1) + (self._pull_u(w, mu) * self._du(w, dw, mu)).sum(1))

    def matrix(self, w: Array) -> tuple[Array, Array]:
        """Return what it adds to the Hessian: a diagonal [b, k] and one vector [b, 1, k]."""
        R, E, _, kappa = self._system(w)
        # R - R (diag(E) + gamma 1 1^T)^-1 R, the Schur complement of u, is a diagonal plus one outer product
        return R * (E - R) / E, (np.sqrt(kappa)[:, None] * R / E)[:, None, :]

    def _du(self, w: Array, dw: Array, mu: Array) -> Array:
        R, E, _, kappa = self._system(w)
        return self._solve(E, kappa, self._pull_u(w, mu) + R * dw)

    def longest(self, w: Array, dw: Array, mu: Array) -> Array:
        """Return the longest step [b] that keeps the slacks positive."""
        du = self._du(w, dw, mu)
        above, below, left = self.slacks(w, self.u)
        steps = longest_step(above, du - dw), longest_step(below, du), longest_step(left[:, None], -du.sum(1)[:, None])
        return np.minimum.reduce(steps)

    def move(self, w: Array, dw: Array, step: Array, mu: Array) -> None:
        """Update u and the duals after a step."""
        du = self._du(w, dw, mu)
        s, ds = self.slacks(w, self.u), (du - dw, du, -du.sum(1))
        self.u = self.u + step[:, None] * du
        after = self.slacks(w + step[:, None] * dw, self.u)
        self.za = _moved(self.za, s[0], ds[0], mu, after[0])
        self.zb = _moved(self.zb, s[1], ds[1], mu, after[1])
        zs, left, dleft = self.zs[:, None], s[2][:, None], ds[2][:, None]
        self.zs = _moved(zs, left, dleft, mu, after[2][:, None])[:, 0]

    def complementarity(self, w: Array) -> tuple[Array, int]:
        """Return the sum of slack times dual [b], and of how many pairs."""
        above, below, left = self.slacks(w, self.u)
        return (self.za * above + self.zb * below).sum(1) + self.zs * left, 2 * self.p.size + 1

    def keep(self, live: NDArray[np.bool_]) -> None:
        """Leave the replicates that are done."""
        self.u, self.za, self.zb, self.zs = self.u[live], self.za[live], self.zb[live], self.zs[live]


class Linear:
    """Rows and ball together, for `w` [b, k]."""

    def __init__(self, region: Polytope, w: Array, mu: Array) -> None:
        self.rows = RowBarrier(region, w, mu) if len(region.rows) else None
        self.ball = Ball(region, w, mu) if region.centre is not None else None

    def value(self, w: Array, dw: Array, step: Array, mu: Array) -> Array:
        """Return the barriers [b] at w + step dw."""
        out = np.zeros(len(w))
        for part in (self.rows, self.ball):
            out = out if part is None else out + part.value(w, dw, step, mu)
        return out

    def pull(self, w: Array, mu: Array) -> Array:
        """Return minus their gradient [b, k], u eliminated."""
        out = np.zeros_like(w)
        for part in (self.rows, self.ball):
            out = out if part is None else out + part.pull(w, mu)
        return out

    def slope(self, w: Array, dw: Array, mu: Array) -> Array:
        """Return minus the derivative [b] of the barriers along the step."""
        out = np.zeros(len(w)) if self.rows is None else (self.rows.pull(w, mu) * dw).sum(1)
        return out if self.ball is None else out + self.ball.slope(w, dw, mu)

    def matrix(self, w: Array) -> tuple[Array, Array]:
        """Return a diagonal [b, k] and vectors [b, r, k] that they add to the Hessian."""
        parts = [part.matrix(w) for part in (self.rows, self.ball) if part is not None]
        return np.sum([diagonal for diagonal, _ in parts], axis=0), np.concatenate([low for _, low in parts], axis=1)

    def longest(self, w: Array, dw: Array, mu: Array) -> Array:
        """Return the longest step [b] that stays inside."""
        out = np.full(len(w), np.inf)
        if self.rows is not None:
            out = np.minimum(out, self.rows.longest(w, dw))
        return out if self.ball is None else np.minimum(out, self.ball.longest(w, dw, mu))

    def move(self, w: Array, dw: Array, step: Array, mu: Array) -> None:
        """Update duals and u after a step."""
        for part in (self.rows, self.ball):
            if part is not None:
                part.move(w, dw, step, mu)

    def complementarity(self, w: Array) -> tuple[Array, int]:
        """Return the sum of slack times dual [b], and of how many pairs."""
        parts = [part.complementarity(w) for part in (self.rows, self.ball) if part is not None]
        return np.sum([total for total, _ in parts], axis=0), sum(count for _, count in parts)

    def keep(self, live: NDArray[np.bool_]) -> None:
        """Leave the replicates that are done."""
        for part in (self.rows, self.ball):
            if part is not None:
                part.keep(live)


def longest_step(s: Array, ds: Array) -> Array:
    """Return the longest step [b] that keeps s + step ds [b, m] positive."""
    with np.errstate(over="ignore"):
        return np.min(np.where(ds < 0, s / np.maximum(-ds, 1e-300), np.inf), axis=1, initial=np.inf)


def _moved(z: Array, s: Array, ds: Array, mu: Array, after: Array) -> Array:
    """Return duals [b, m] after the primal-dual step for slack * dual = mu, kept near mu / the new slack."""
    dz = (mu[:, None] - z * (s + ds)) / s
    # not quite to the boundary, where a dual would be 0 for good
    share = np.minimum(1.0, 0.99 * longest_step(z, dz))
    # duals far off the central path make the next system ill-conditioned
    centre = mu[:, None] / np.maximum(after, ROUNDING)
    return np.clip(z + share[:, None] * dz, centre * 1e-6, centre * 1e6)
