"""Quadratic programmes with linear inequalities: the steps towards the least worst regret."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from mixwright.constraints.polytope import Polytope

Array = NDArray[np.float64]
END = 1e-14  # slack times multiplier, relative to the scale of the problem
SURE = 1e-9  # a weight that is farther from its bound is left where it is
STARTS = (0.9, 0.0, 0.5)  # from `at` and from well inside: on the edge of a distance the one may fail, the other not
MAX_ITERATIONS, PATIENCE, REFINEMENTS = 80, 4, 6
CAREFUL = 2  # after this many steps that did not halve the residual, steps of first order follow


@dataclass(frozen=True)
class Programme:
    """Minimise x H x / 2 + g x subject to E x = e, R x <= r, lower <= x <= upper; bounds may be infinite."""

    H: Array
    g: Array
    E: Array
    e: Array
    R: Array
    r: Array
    lower: Array
    upper: Array


@dataclass(frozen=True)
class Optimum:
    """Weights x, the multipliers of R x <= r and of both bounds, and the slack of R x <= r."""

    x: Array
    rows: Array
    at_lower: Array
    at_upper: Array
    slack: Array


Direction = tuple[Array, Array, Array, Array, Array, Array]


@dataclass(frozen=True)
class _Iterate:
    """Where the method is: x, the multipliers of E x = e, R x <= r and of both bounds, the slack of R x <= r."""

    programme: Programme
    bounded: tuple[NDArray[np.bool_], NDArray[np.bool_]]
    x: Array
    nu: Array
    y: Array
    z1: Array
    z2: Array
    slack: Array

    @cached_property
    def slacks(self) -> tuple[Array, Array]:
        """Return the slacks of both bounds, 1 where there is none."""
        p, (has1, has2) = self.programme, self.bounded
        return np.where(has1, self.x - p.lower, 1.0), np.where(has2, p.upper - self.x, 1.0)

    @cached_property
    def residuals(self) -> tuple[Array, Array, Array]:
        """Return what is left of the gradient of the Lagrangian, of E x = e and of R x + slack = r."""
        p = self.programme
        dual = p.H @ self.x + p.g + p.E.T @ self.nu + p.R.T @ self.y - self.z1 + self.z2
        return dual, p.E @ self.x - p.e, p.R @ self.x + self.slack - p.r

    @property
    def inside(self) -> bool:
        """Whether all slacks are positive."""
        return bool(min(self.slack.min(), *(s.min() for s in self.slacks)) > 0)

    @cached_property
    def products(self) -> Array:
        """Return slack times multiplier of every inequality."""
        (s1, s2), (has1, has2) = self.slacks, self.bounded
        return np.concatenate([self.slack * self.y, (s1 * self.z1)[has1], (s2 * self.z2)[has2]])

    @property
    def mu(self) -> float:
        """Return their mean."""
        return float(self.products.mean())

    def off(self, scale: float) -> float:
        """Return how far this is from an optimum, relative to the scale of the problem."""
        dual, equal, inner = self.residuals
        return max(self.mu, float(np.abs(dual).max()) * 1e-2, scale * float(np.abs(np.r_[equal, inner]).max())) / scale

    @cached_property
    def solver(self) -> _Solver:
        """Return the system of the steps from here."""
        s1, s2 = self.slacks
        return _Solver(_matrix(self.programme, self.z1 / s1 + self.z2 / s2, self.y / self.slack))

    def direction(self, t: Array, b1: Array, b2: Array) -> Direction:
        """Return the changes of x, nu, y, z1, z2 and the slack for what slack * y, s1 z1, s2 z2 should change by."""
        p, (s1, s2), (dual, equal, inner) = self.programme, self.slacks, self.residuals
        right = -dual - p.R.T @ ((t + self.y * inner) / self.slack) + b1 / s1 - b2 / s2
        step = self.solver(np.r_[right, -equal])
        dx, dnu = step[: right.size], step[right.size :]
        ds = -inner - p.R @ dx
        dy = (t - self.y * ds) / self.slack
        return dx, dnu, dy, (b1 - self.z1 * dx) / s1, (b2 + self.z2 * dx) / s2, ds

    def towards(self, aim: float, second: Direction | None = None) -> Direction:
        """Return the direction in which all products become `aim`, less the term of second order of a direction."""
        (s1, s2), (has1, has2) = self.slacks, self.bounded
        t, b1, b2 = aim - self.slack * self.y, aim - s1 * self.z1, aim - s2 * self.z2
        if second is not None:
            dx, _, dy, d1, d2, ds = second
            t, b1, b2 = t - ds * dy, b1 - dx * d1, b2 + dx * d2
        return self.direction(t, b1 * has1, b2 * has2)

    def longest(self, direction: Direction) -> float:
        """Return the longest step of at most 1 (over .995) that keeps slacks and multipliers from being negative."""
        (s1, s2), (has1, has2) = self.slacks, self.bounded
        dx, _, dy, d1, d2, ds = direction
        pairs = (self.slack, ds), (self.y, dy), (s1, dx * has1), (s2, -dx * has2), (self.z1, d1), (self.z2, d2)
        return _longest(*pairs)

    def moved(self, direction: Direction, step: float) -> _Iterate:
        """Return where a step leads."""
        dx, dnu, dy, d1, d2, ds = (step * d for d in direction)
        x, nu, y, slack = self.x + dx, self.nu + dnu, self.y + dy, self.slack + ds
        return _Iterate(self.programme, self.bounded, x, nu, y, self.z1 + d1, self.z2 + d2, slack)

    def ahead(self) -> tuple[Direction, float]:
        """Return the direction straight to the optimum, and the share of the products' mean that it leaves, cubed."""
        direct = self.towards(0.0)
        left = self.moved(direct, self.longest(direct)).mu / self.mu
        return direct, min(1.0, left) ** 3

    def corrected(self) -> _Iterate:
        """Return where Mehrotra's step leads."""
        # Mehrotra: aim at the share that the straight step leaves, cubed, and correct for its curvature
        direct, share = self.ahead()
        direction = self.towards(share * self.mu, direct)
        return self.moved(direction, min(0.995 * self.longest(direction), 1.0))

    def careful(self) -> _Iterate:
        """Return where a step of first order leads, one that keeps the products near their mean, which falls."""
        direction = self.towards(min(max(self.ahead()[1], 0.05), 0.5) * self.mu)
        step = min(0.995 * self.longest(direction), 1.0)
        # a product far below the mean blocks the next steps
        least = min(1e-3, 0.5 * float(self.products.min()) / self.mu)
        for _ in range(20):
            new = self.moved(direction, step)
            if new.products.min() >= least * new.mu and new.mu <= (1 - 0.01 * step) * self.mu:
                break
            step *= 0.7
        return new


def minimax_step(
    H: Array, at: Array, gain: Array, levels: Array, cuts: Array, region: Polytope
) -> tuple[Array, Array] | None:
    """
    Return v [k] that minimises max_t (levels_t - cuts_t d) + d H d / 2 - gain d with d = v - at, and the multipliers.

    Parameters
    ----------
    H
        [k, k], positive semi-definite.
    at
        [k], in the region.
    gain
        [k], what all targets share.
    levels, cuts
        [m] and [m, k]: the value of each target at `at` and minus its gradient.
    region
        The allowed weights.

    Returns
    -------
    weights [k], multipliers [m] of the targets on the simplex; None where the method did not converge.
    """
    explicit, inside = region.relative_interior
    free = np.flatnonzero(explicit.upper > explicit.lower)
    if free.size < 2:
        return None
    fixed = np.where(explicit.upper > explicit.lower, inside, explicit.lower)
    part = explicit.take(free, fixed)
    rest = np.setdiff1d(np.arange(at.size), free)
    shift = (fixed - at)[rest]
    levels = levels - cuts[:, rest] @ shift
    gain = gain[free] - H[np.ix_(free, rest)] @ shift
    # a start near a bound has a tiny slack there, and the first step would go nowhere
    room = 1e-3 * np.minimum(part.upper - part.lower, 1.0)
    found = None
    for share in STARTS if region.contains(at, 1e-9) else (0.0,):
        start = np.clip(share * at[free] + (1 - share) * inside[free], part.lower + room, part.upper - room)
        programme, x = _assemble(H[np.ix_(free, free)], at[free], gain, levels, cuts[:, free], part, start)
        found = solve_programme(programme, x)
        if found is not None:
            break
    if found is None:
        return None
    out = fixed.copy()
    out[free] = _settle(found, at[free], part, len(levels))
    multipliers = np.maximum(found.rows[: len(levels)], 0.0)
    return out, multipliers / multipliers.sum()


def _assemble(
    H: Array, at: Array, gain: Array, levels: Array, cuts: Array, region: Polytope, start: Array
) -> tuple[Programme, Array]:
    """
    Return the programme in (d, s, u) and a start: s is the worst target, u >= at + d - centre where there is a ball.

    All is relative to `at`, to the worst level and to the mean gain there: what is left near the optimum is small
    numbers, not differences of large ones.
    """
    k, m, ball = at.size, len(levels), region.centre is not None
    size = k + 1 + (k if ball else 0)
    Q, g = np.zeros((size, size)), np.zeros(size)
    Q[:k, :k] = H
    g[:k], g[k] = -gain, 1.0
    off = region.mass - float(at.sum())  # not 0 where `at` is not allowed
    share = at / max(float(at.sum()), 1e-300)
    mean = cuts @ share
    top = np.zeros((m, size))
    top[:, :k], top[:, k] = mean[:, None] - cuts, -1.0
    other = np.zeros((len(region.rows), size))
    other[:, :k] = region.rows
    R, r = [top, other], [levels.max() - levels + mean * off, region.limits - region.rows @ at]
    E, e = np.zeros((1 + len(region.equal), size)), np.zeros(1 + len(region.equal))
    E[0, :k], e[0] = 1.0, off
    if len(region.equal):
        E[1:, :k], e[1:] = region.equal, region.equal @ (start - at)
    # s begins just above all values, so that their inequalities are slack
    d = start - at
    values = levels - levels.max() - cuts @ d
    spread = max(float(np.ptp(values)), 1e-3 * float(np.abs(cuts).max(initial=0.0)), 1e-9)
    x = np.r_[d, values.max() + 0.1 * spread]
    lower, upper = np.r_[region.lower - at, -np.inf], np.r_[region.upper - at, np.inf]
    if region.centre is not None:
        beyond, total = np.zeros((k, size)), np.zeros((1, size))
        beyond[:, :k], beyond[:, k + 1 :] = np.eye(k), -np.eye(k)
        total[0, k + 1 :] = 1.0
        R, r = [*R, beyond, total], [*r, region.centre - at, np.array([region.excess()])]
        x = np.r_[x, np.maximum(start - region.centre, 0.0) + 1e-3 / k]
        lower, upper = np.r_[lower, np.zeros(k)], np.r_[upper, np.full(k, np.inf)]
    return Programme(Q, g, E, e, np.vstack(R), np.concatenate(r), lower, upper), x


def solve_programme(p: Programme, x: Array) -> Optimum | None:
    """
    Return the optimum by Mehrotra's predictor-corrector method from `x`, strictly inside the bounds.

    Inequalities R x <= r have slacks of their own, which need not fit at the start. The corrector's term of second
    order may send the iterates round in circles; where two steps have not halved what is left, the steps go on without
    it and no longer than keeps all products of slack and multiplier near their mean. None where it does not converge.
    """
    has1, has2 = np.isfinite(p.lower), np.isfinite(p.upper)
    scale = max(float(np.abs(p.g + p.H @ x).max()), 1e-9)
    slack = np.maximum(p.r - p.R @ x, 1e-2 * max(1.0, float(np.abs(p.r - p.R @ x).max())))
    y, nu = np.full(len(p.r), 0.1 * scale) / np.maximum(slack, 0.1), np.zeros(len(p.e))
    now = _Iterate(p, (has1, has2), x, nu, y, 0.1 * scale * has1, 0.1 * scale * has2, slack)
    best: tuple[float, Optimum] | None = None
    since, careful = 0, False
    for _ in range(MAX_ITERATIONS):
        off = now.off(scale)
        if not np.isfinite(off) or not now.inside:
            break
        since = 0 if best is None or off < 0.5 * best[0] else since + 1
        careful = careful or since == CAREFUL
        if best is None or off < best[0]:
            best = off, Optimum(now.x, now.y, now.z1, now.z2, now.slack)
        if off < END or (best[0] < 1e-9 and since == PATIENCE):
            break
        try:
            # once careful, always: what circled once would circle again
            now = now.careful() if careful else now.corrected()
        except np.linalg.LinAlgError:
            break
    return best[1] if best is not None and best[0] < 1e-6 else None


def _matrix(p: Programme, diagonal: Array, weight: Array) -> Array:
    """Return [[H + diag + R^T weight R, E^T], [E, 0]]."""
    k, q = p.g.size, len(p.e)
    out = np.zeros((k + q, k + q))
    out[:k, :k] = p.H + (p.R.T * weight) @ p.R
    out[np.arange(k), np.arange(k)] += diagonal
    out[:k, k:], out[k:, :k] = p.E.T, p.E
    return out


class _Solver:
    """A symmetric system, scaled to a diagonal of ones: its solutions are refined as far as rounding lets them."""

    def __init__(self, matrix: Array) -> None:
        diagonal = np.diag(matrix)
        self.matrix = matrix
        self.size = np.where(diagonal == 0, 1.0, np.sqrt(np.maximum(np.abs(diagonal), 1e-200)))
        scaled = matrix / (self.size[:, None] * self.size)
        # a touch of regularity, of the sign of each block; refinement takes it out
        scaled[np.diag_indices_from(scaled)] += np.where(diagonal == 0, -1e-14, 1e-14)
        self.inverse = np.linalg.inv(scaled)

    def __call__(self, right: Array) -> Array:
        """Return the solution for a right side."""
        out, rest = np.zeros_like(right), right
        # residuals with the unscaled matrix win back the digits that the inverse lost
        for _ in range(REFINEMENTS):
            new = out + self.inverse @ (rest / self.size) / self.size
            left = right - self.matrix @ new
            if not np.abs(left / self.size).max() < 0.5 * np.abs(rest / self.size).max():
                break
            out, rest = new, left
        return out


def _longest(*pairs: tuple[Array, Array]) -> float:
    """Return the longest step of at most 1 (over .995) that keeps every value + step * change from being negative."""
    out = 1 / 0.995
    for value, change in pairs:
        falls = change < 0
        if falls.any():
            out = min(out, float((value[falls] / -change[falls]).min()))
    return min(out, 1 / 0.995)


def _settle(found: Optimum, at: Array, region: Polytope, m: int) -> Array:
    """Return the weights with those that are nearer to a bound than their multiplier on it, where that is allowed."""
    k = region.lower.size
    d = found.x[:k]
    v = at + d
    at_lower = d - (region.lower - at) < np.minimum(found.at_lower[:k], SURE)
    at_upper = (region.upper - at) - d < np.minimum(found.at_upper[:k], SURE)
    out = np.where(at_lower, region.lower, np.where(at_upper, region.upper, v))
    equal = np.vstack([np.ones((1, k)), region.equal]) if len(region.equal) else np.ones((1, k))
    goal = equal @ v
    goal[0] = region.mass
    active, values = [equal], [goal]
    count = len(region.rows)
    tight = found.slack[m : m + count] < found.rows[m : m + count]
    active.append(region.rows[tight])
    values.append(region.limits[tight])
    free = ~(at_lower | at_upper)
    if region.centre is not None:
        on = free & (np.abs(v - region.centre) < SURE)
        out[on], free = region.centre[on], free & ~on
        if found.slack[-1] < found.rows[-1]:
            over = (v > region.centre) & ~on
            active.append(over.astype(np.float64)[None])
            values.append(np.array([region.excess() + float(region.centre[over].sum())]))
    B, b = np.vstack(active), np.concatenate(values)
    for candidate in (out, v.copy()):
        if free.any():
            for _ in range(2):
                candidate[free] += np.linalg.lstsq(B[:, free], b - B @ candidate, rcond=1e-12)[0]
        candidate = np.clip(candidate, region.lower, region.upper)
        if region.contains(candidate, 1e-14 * max(4, k)) and np.abs(candidate - v).max() < 100 * SURE:
            return candidate
    return v
