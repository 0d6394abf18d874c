"""
A primal-dual interior-point method for many weightings of the same rows at once.

For each replicate b (a vector of row weights: the whole sample, a fold left out, a bootstrap draw) it minimises

    - sum_i C_ib log(base_i + sum_k P_ik w_k) - sum_k penalty_k log w_k   over lower <= w <= upper, sum_k w_k = mass

Passes over P are matrix products for all replicates together. The penalty is itself a barrier for w >= 0, so where it
is positive no path has to be followed; elsewhere the barrier's weight mu falls until the gap is reached.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mixwright.constraints.barrier import Linear
from mixwright.constraints.newton import newton_step
from mixwright.constraints.polytope import Polytope
from mixwright.search.solver.hessian import OWN_WORK, Hessian
from mixwright.simplex import maximise_linear, scale_onto_bounds

Array = NDArray[np.float64]
Matrix = NDArray[np.floating]

LIVE_ELEMENTS = 24_000_000  # n * replicates and k^2 * replicates of one batch


@dataclass(frozen=True)
class Region:
    """
    The weights that are allowed: bounds [k], their sum, and the penalty [k] (tau * prior).

    `linear` is the whole set where there are limits beyond bounds, with its implied equalities explicit.
    """

    lower: Array
    upper: Array
    penalty: Array
    mass: float = 1.0
    linear: Polytope | None = None

    def interior(self, near: Array, share: float = 0.9) -> Array:
        """Return weights strictly inside: a `share` of the way from the centre to `near` [..., k], which is allowed."""
        if self.linear is not None:
            inside = self.linear.relative_interior[1]
            rows = np.atleast_2d(near)
            start = np.stack([w if self.linear.contains(w, 0.0) else inside for w in rows])
            return (share * start + (1 - share) * inside).reshape(np.shape(near))
        room = self.upper - self.lower
        centre = self.lower + room * ((self.mass - self.lower.sum()) / room.sum())
        rows = np.atleast_2d(near)
        inside = np.stack([scale_onto_bounds(w, self.lower, self.upper, self.mass) for w in rows])
        return (share * inside + (1 - share) * centre).reshape(np.shape(near))

    def with_penalty(self, gain: Array, w: Array) -> Array:
        """Return gain + penalty / w, minus the gradient of the objective; both [..., k]."""
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(self.penalty > 0, gain + self.penalty / w, gain)

    def penalty_at(self, w: Array) -> float:
        """Return - sum_k penalty_k log w_k."""
        with np.errstate(divide="ignore", invalid="ignore"):
            return -float(np.where(self.penalty > 0, self.penalty * np.log(w), 0.0).sum())

    def gap(self, gain: Array, w: Array) -> Array:
        """Return max over allowed v of <G, v - w> for G = gain + penalty / w; both [..., k]."""
        # at a weight of 0 the penalty's pull is infinite, and 0 * inf below would be nan
        g = np.minimum(self.with_penalty(gain, w), 1e300)
        if self.linear is not None:
            if not np.isfinite(g).all():  # a row is impossible at w
                return np.asarray(np.inf)
            return np.asarray(self.linear.maximum(g).bound - g @ w)
        best = maximise_linear(g, self.lower / self.mass, self.upper / self.mass) * self.mass
        return (g * (best - w)).sum(-1)


class _Barrier:
    """The barrier terms of the live replicates: slack to the lower bound (1) and to the upper bound (2), with duals."""

    def __init__(self, region: Region, w: Array, mu: Array) -> None:
        self.region, self.mu = region, mu
        self.floored = region.lower > 0
        self.capped = region.upper < region.mass
        # over a floor the penalty is no barrier for the bound: it stays a term of its own
        self.extra = np.where(self.floored, region.penalty, 0.0)
        space = region.linear
        self.linear = Linear(space, w, mu) if space is not None and space.has_inequalities else None
        followed = self.floored.any() or self.capped.any() or self.linear is not None
        self.least = 0.0 if followed else float(region.penalty.min())  # a smaller mu changes no barrier
        self.z1 = self.target1() / (w - region.lower)
        self.z2 = self.target2() / self.slack2(w)

    def target1(self) -> Array:
        own = np.where(self.floored, 0.0, self.region.penalty)
        return np.maximum(own, self.mu[:, None])

    def target2(self) -> Array:
        return np.where(self.capped, self.mu[:, None], 0.0)

    def slack2(self, w: Array) -> Array:
        return np.where(self.capped, self.region.upper - w, 1.0)

    def value(self, w: Array, dw: Array, step: Array) -> Array:
        """Return the barrier function [b] at w + step dw."""
        at = w + step[:, None] * dw
        # mu replaces a penalty below it, so that mu alone leads the path
        logs = self.target1() * np.log(at - self.region.lower) + self.extra * np.log(at)
        own = -(logs + self.target2() * np.log(self.slack2(at))).sum(1)
        return own if self.linear is None else own + self.linear.value(w, dw, step, self.mu)

    def pull(self, w: Array) -> Array:
        """Return minus the gradient of `value`."""
        own = self.target1() / (w - self.region.lower) + self.extra / w
        return own - self.target2() / self.slack2(w)

    def system(self, w: Array, gain: Array) -> tuple[Array, Array, Array | None]:
        """Return the diagonal, the right side and the vectors that Newton's system has beyond the Hessian."""
        pull, diagonal = gain + self.pull(w), self.curvature(w)
        if self.linear is None:
            return diagonal, pull, None
        more, low = self.linear.matrix(w)
        return diagonal + more, pull + self.linear.pull(w, self.mu), low

    def slope(self, w: Array, dw: Array, gain: Array) -> Array:
        """Return minus the derivative [b] of loss and barriers along the step."""
        own = ((gain + self.pull(w)) * dw).sum(1)
        return own if self.linear is None else own + self.linear.slope(w, dw, self.mu)

    def curvature(self, w: Array) -> Array:
        return self.z1 / (w - self.region.lower) + self.extra / w**2 + self.z2 / self.slack2(w)

    def longest(self, w: Array, dw: Array) -> Array:
        """Return the longest step [b] of at most 1 that stays inside."""
        # 0.99 of the way: on the boundary the barrier is infinite
        down = np.where(dw < 0, (w - self.region.lower) / np.maximum(-dw, 1e-300), np.inf).min(1)
        up = np.where((dw > 0) & self.capped, self.slack2(w) / np.maximum(dw, 1e-300), np.inf).min(1)
        most = np.minimum(down, up)
        most = most if self.linear is None else np.minimum(most, self.linear.longest(w, dw, self.mu))
        return np.minimum(1.0, 0.99 * most)

    def update_duals(self, w: Array, dw: Array, step: Array) -> None:
        if self.linear is not None:
            self.linear.move(w, dw, step, self.mu)
        w_new = w + step[:, None] * dw
        s1, s2 = w - self.region.lower, self.slack2(w)
        z1 = self.z1 + _fraction(self.z1, self.target1() / s1 - self.z1 - self.z1 / s1 * dw)
        z2 = self.z2 + _fraction(self.z2, self.target2() / s2 - self.z2 + self.z2 / s2 * dw)
        centre1, centre2 = self.target1() / (w_new - self.region.lower), self.target2() / self.slack2(w_new)
        # duals far off the central path make the next system ill-conditioned
        self.z1 = np.clip(z1, centre1 * 1e-6, centre1 * 1e6)
        self.z2 = np.clip(z2, centre2 * 1e-6, centre2 * 1e6)

    def keep(self, live: NDArray[np.bool_]) -> None:
        self.mu, self.z1, self.z2 = self.mu[live], self.z1[live], self.z2[live]
        if self.linear is not None:
            self.linear.keep(live)


def _fraction(z: Array, dz: Array) -> Array:
    """Return the step of positive duals [b, k], shortened for each replicate so that they stay positive."""
    longest = np.where(dz < 0, z / np.maximum(-dz, 1e-6 * z + 1e-300), np.inf).min(1)
    return np.minimum(1.0, 0.99 * longest)[:, None] * dz


def interior_point(
    P: Matrix,
    C: Array,
    region: Region,
    start: Array,
    tolerance: float,
    base: Matrix | None = None,
    hessian_rows: Matrix | None = None,
    mu: float = 1e-2,
    max_iterations: int = 100,
    certify: bool = True,
) -> Array:
    """
    Return the minimising weights [b, k] of each column of C [n, b], to a gap of about `tolerance` in nats.

    Parameters
    ----------
    P
        Likelihoods [n, k], relative within a row.
    C
        Row weights [n, b]; each column has sum 1.
    start
        Weights [b, k], strictly inside the region.
    base
        What sources outside P give to each row, [n].
    hessian_rows
        P at a lower precision, for the Hessians alone.
    mu
        First weight of the barrier, for all sources together.
    certify
        Stop on the gap; otherwise on the Newton decrement, which estimates the same distance from the minimum. The
        gap is a far looser bound where a weight is tiny.
    """
    n, k = P.shape
    batch = max(1, min(LIVE_ELEMENTS // n, C.shape[1]))
    if 2 * n * k * k <= OWN_WORK / 20:  # each replicate will have its own Hessian, k^2 numbers
        batch = max(1, min(batch, LIVE_ELEMENTS // (k * k)))
    hessian = Hessian(P if hessian_rows is None else hessian_rows, C.shape[1])
    out = np.empty((C.shape[1], k))
    for first in range(0, C.shape[1], batch):
        part = slice(first, first + batch)
        settings = (mu / k, max_iterations, certify)
        out[part] = _batch(P, C[:, part], region, start[part], tolerance, base, hessian, *settings)
    return out


def _batch(
    P: Matrix,
    C: Array,
    region: Region,
    start: Array,
    tolerance: float,
    base: Matrix | None,
    hessian: Hessian,
    mu: float,
    max_iterations: int,
    certify: bool,
) -> Array:
    """Return the weights of one batch of replicates; those that are done leave the iteration."""
    W, out = start.copy(), start.copy()
    index = np.arange(C.shape[1])
    barrier = _Barrier(region, W, np.full(index.size, mu))
    mu_end = tolerance / (4 * P.shape[1])
    equal = None
    if region.linear is not None and len(region.linear.equal):
        equal = np.vstack([np.ones((1, P.shape[1])), region.linear.equal])
    # what rounding alone may change a loss by: the line search does not ask for more
    noise = 1e-13 if P.dtype == np.float64 else 1e-6
    C = C.astype(P.dtype, copy=False)
    Y = _products(P, W) if base is None else _products(P, W) + base[:, None].astype(P.dtype)
    done = np.zeros(index.size, bool)
    for iteration in range(max_iterations):
        ratio = _ratio(C, Y)
        gain = (ratio.T @ P).astype(np.float64)
        live = region.gap(gain, W) > tolerance if certify else ~done
        out[index] = W
        if not live.any():
            break
        if not live.all():
            # passes over P cost in proportion to the replicates: those that are done leave
            index, W, gain, C, Y, ratio = index[live], W[live], gain[live], C[:, live], Y[:, live], ratio[:, live]
            barrier.keep(live)
        diagonal, pull, low = barrier.system(W, gain)
        dW = newton_step(hessian(_ratio(ratio, Y), iteration), diagonal, pull, low, equal)
        dY = _products(P, dW)
        slope = barrier.slope(W, dW, gain)
        step = _line_search(C, Y, dY, W, dW, barrier, slope, noise)
        done = (slope <= tolerance / 5) & (barrier.mu <= max(mu_end, barrier.least))
        barrier.update_duals(W, dW, step)
        W = W + step[:, None] * dW
        # updated rather than computed again, which saves a pass over P
        Y += step.astype(P.dtype) * dY
        # a step that was cut says that the path bends: follow it closely
        factor = np.where(step > 0.9, 0.05, np.where(step > 0.4, 0.3, 1.0))
        barrier.mu = np.maximum(mu_end, barrier.mu * factor)
    return out


def _products(P: Matrix, W: Array) -> Matrix:
    """Return P W^T [n, b] in P's precision."""
    return P @ W.T.astype(P.dtype)


def _line_search(
    C: Matrix, Y: Matrix, dY: Matrix, W: Array, dW: Array, barrier: _Barrier, slope: Array, noise: float
) -> Array:
    """Return the step length [b]: the longest one inside, halved until the barrier function falls enough (Armijo)."""
    step = barrier.longest(W, dW)
    before = _loss(C, Y) + barrier.value(W, dW, np.zeros_like(step))
    allowance = noise * (1 + np.abs(before))
    for _ in range(30):
        with np.errstate(invalid="ignore", divide="ignore"):
            after = _loss(C, Y + step.astype(Y.dtype) * dY) + barrier.value(W, dW, step)
        failed = ~(after <= before - 1e-4 * step * slope + allowance)
        if not failed.any():
            return step
        step = np.where(failed, step / 2, step)
    return np.where(failed, 0.0, step)


def _ratio(C: Matrix, Y: Matrix) -> Matrix:
    """Return C / Y, 0 where C is."""
    return C / Y if C.all() else np.divide(C, Y, out=np.zeros_like(Y), where=C > 0)


def _loss(C: Matrix, Y: Matrix) -> Array:
    """Return - sum_i C_ib log Y_ib [b]; rows without weight count nothing."""
    logs = np.log(Y) if C.all() else np.log(Y, out=np.zeros_like(Y), where=C > 0)
    return -np.einsum("nb,nb->b", C, logs, dtype=np.float64)
