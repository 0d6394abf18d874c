"""The least worst regret over targets to a certified optimum: sequential quadratic programming in the weights."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from mixwright.constraints.polytope import Polytope
from mixwright.search.solver.evidence import Evidence
from mixwright.search.solver.interior import Region
from mixwright.search.solver.programme import minimax_step
from mixwright.search.solver.solve import Solution, solve, working_set

Array = NDArray[np.float64]
MAX_STEPS, PATIENCE = 100, 10
HESSIAN_WORK, SAMPLED_PER_SOURCE = 2e9, 250  # rows * sources^2 of a Hessian; larger problems sample their rows
LOOK = 64  # sources that are looked at exactly, at most, where their bounds decide the certificate


@dataclass(frozen=True)
class Best:
    """The best of each target alone: weights [m, k], objective [m], and a lower bound [m] of the minimum."""

    weights: Array
    value: Array
    least: Array


@dataclass(frozen=True)
class Point:
    """Loss [m] and gains [m, k] of the targets at some weights [k], the penalty, and which gains are exact [k]."""

    weights: Array
    loss: Array
    gains: Array
    penalty: float
    exact: NDArray[np.bool_]

    @property
    def value(self) -> Array:
        """Return F_t [m], with the penalty."""
        return self.loss + self.penalty


@dataclass(frozen=True)
class Minimax:
    """Where the search ended: the point, the weight [m] of each target, and the certificate in nats."""

    point: Point
    multipliers: Array
    gap: float


@dataclass(frozen=True)
class Targets:
    """
    min over the region of max_t F_t(w) - F_t*, with F_t the penalised loss of target t and F_t* its least value.

    The certificate: for any weights w and any lambda on the simplex,

        worst(w) - minimum <= max_t (F_t(w) - low_t) - sum_t lambda_t (F_t(w) - high_t) + gap_lambda(w)

    - low_t <= F_t* <= high_t; gap_lambda(w) = max over allowed v of <sum_t lambda_t G_t, v - w>, which bounds
      sum_t lambda_t F_t(w) - min sum_t lambda_t F_t; the minimum is at least min_v sum_t lambda_t (F_t(v) - F_t*).
    """

    rows: tuple[Evidence, ...]
    region: Region
    mixing: Array | None = None  # [j, m]: the objectives are j weighted sums of the targets, by default each target

    def best(self, tolerance: float, start: Array) -> Best:
        """Return the optimum of each target alone."""
        found = [solve_certified(rows, self.region, tolerance, start) for rows in self.rows]
        value = np.array([f.objective for f in found])
        return Best(np.stack([f.weights for f in found]), value, value - np.array([f.gap for f in found]))

    def least_sum(self, shares: Array, tolerance: float, start: Array) -> Minimax:
        """Return the minimum of sum_t shares_t F_t, with `shares` [m] on the simplex."""
        zero = Best(start[None], np.zeros(1), np.zeros(1))  # losses relative to the row maximum are positive
        return replace(self, mixing=shares[None]).minimise(zero, tolerance, start)

    def weighted(self, row_weights: Sequence[Array]) -> Targets:
        """Return the same rows with other row weights, [n_t] for each target."""
        return replace(self, rows=tuple(_weighted(r, c) for r, c in zip(self.rows, row_weights, strict=True)))

    def at(self, w: Array) -> Point:
        """Return the losses and gains at `w` [k]: one pass over the rows of each target."""
        moments = [rows.moments(w) for rows in self.rows]
        exact = np.all([m.exact for m in moments], axis=0)
        loss, gains = np.array([m.loss for m in moments]), np.stack([m.gain for m in moments])
        if self.mixing is not None:
            loss, gains = self.mixing @ loss, self.mixing @ gains
        return Point(w, loss, gains, self.region.penalty_at(w), exact)

    def gap(self, at: Point, best: Best, multipliers: Array) -> float:
        """Return the certificate of the class at a point."""
        if not np.isfinite(at.value).all() or not np.isfinite(at.gains).all():
            return np.inf
        high = np.minimum(best.value, at.value)
        own = float(self.region.gap(multipliers @ at.gains, at.weights))
        gap = float((at.value - best.least).max() - multipliers @ (at.value - high)) + own
        return max(gap, 0.0) if np.isfinite(gap) else np.inf

    def certify(self, at: Point, best: Best, multipliers: Array, tolerance: float) -> Minimax:
        """Return a point with its certificate, with exact values for the sources whose bounds widen it."""
        gap = self.gap(at, best, multipliers)
        if tolerance < gap < 0.05 and not at.exact.all():
            gain = multipliers @ at.gains
            level = float(gain[at.weights > 0] @ at.weights[at.weights > 0])
            near = np.flatnonzero(~at.exact & (gain > level - 0.05))
            near = near[np.argsort(-gain[near], kind="stable")][:LOOK]
            for rows in self.rows:
                rows.keep(near)
            at = self.at(at.weights) if near.size else at
            gap = self.gap(at, best, multipliers)
        worst = np.zeros(multipliers.size)
        worst[int((at.value - best.value).argmax())] = 1.0
        if gap > tolerance and (alone := self.gap(at, best, worst)) < gap:
            return Minimax(at, worst, alone)
        return Minimax(at, multipliers, gap)

    def minimise(self, best: Best, tolerance: float, start: Array) -> Minimax:
        """
        Return the weights of least worst regret from `start` [k], under which every row is possible.

        A step is a quadratic programme in (w, s): the regrets linearised, the Hessian sum_t lambda_t H_t of the
        Lagrangian, the multipliers lambda of the last step. Where a full step does not lower the worst regret (the
        curvature of one target differs from the mean), the programme is solved again with the values found there.
        """
        multipliers = np.full(best.value.size, 1 / best.value.size)
        last = end = self.certify(self.at(start), best, multipliers, tolerance)
        since = 0
        for _ in range(MAX_STEPS):
            if end.gap <= tolerance or since == PATIENCE:
                break
            found = self._step(last, multipliers, best, tolerance)
            if found is None:
                break
            since = 0 if found.gap < 0.9 * max(last.gap, end.gap) else since + 1
            last, multipliers = found, found.multipliers
            end = found if found.gap < end.gap else end
        return end

    def _step(self, last: Minimax, multipliers: Array, best: Best, tolerance: float) -> Minimax | None:
        """Return the point after a step that lowers the worst regret, or None."""
        at = last.point
        w, worst = at.weights, float((at.value - best.value).max())
        gain = multipliers @ at.gains
        chosen = working_set(Solution(w, 0.0, 0.0, last.gap, gain), self.region)
        if chosen.size < 2:
            return None
        H, region, shared = self._model(at, chosen, multipliers)
        for rows in self.rows:
            if not rows.precise:
                rows.keep(chosen)

        def solved(levels: Array) -> tuple[Array, Array] | None:
            found = minimax_step(H, w[chosen], shared, levels, at.gains[:, chosen], region)
            if found is None:
                return None
            full = w.copy()
            full[chosen] = found[0]
            return full, found[1]

        first = solved(at.loss - best.value)
        if first is None:
            return None
        full, share = first
        new = self.at(full)
        tried = [(full, share)]
        if np.isfinite(new.loss).all() and not self._lower(new, worst, best):
            corrected = solved(new.loss - best.value + at.gains @ (full - w))
            tried = [corrected] if corrected is not None else []
        tried += [(w + (full - w) * (0.999 * 0.5**i), share) for i in range(14)]
        for target, its in tried:
            new = new if target is full else self.at(target)
            if self._lower(new, worst, best):
                return self.certify(new, best, its, tolerance)
        return None

    @staticmethod
    def _lower(at: Point, worst: float, best: Best) -> bool:
        """Return whether the worst regret at a point is no larger than `worst`, up to rounding."""
        return bool((at.value - best.value).max() <= worst + 1e-13 * (1 + abs(worst)))

    def _model(self, at: Point, chosen: NDArray[np.intp], multipliers: Array) -> tuple[Array, Polytope, Array]:
        """Return the Hessian of the chosen sources, what they may be, and the gain [len(chosen)] of the penalty."""
        multipliers = multipliers if self.mixing is None else multipliers @ self.mixing
        active = np.flatnonzero(multipliers > 1e-9)
        most = max(SAMPLED_PER_SOURCE * chosen.size, int(HESSIAN_WORK / chosen.size**2 / active.size))
        H = np.zeros((chosen.size, chosen.size))
        for t in active:
            H += multipliers[t] * self.rows[t].curvature(at.weights, chosen, most)
        w, penalty, lower = at.weights[chosen], self.region.penalty[chosen], self.region.lower[chosen]
        held = penalty > 0
        inverse = np.where(held, penalty / np.where(held, w, 1.0), 0.0)
        H[np.diag_indices_from(H)] += np.where(held, inverse / np.where(held, w, 1.0), 0.0)
        region = self.region.linear
        if region is None:
            region = Polytope.box(self.region.lower, self.region.upper, self.region.mass)
        part = region.take(chosen, at.weights)
        return H, part.above(np.where(held, np.maximum(lower, 0.1 * w), lower)), inverse


def solve_certified(
    rows: Evidence, region: Region, tolerance: float, start: Array, near: Array | None = None
) -> Solution:
    """
    Return `solve`, or what the steps of `Targets` find from there where its certificate was not reached.

    Their quadratic programmes are more exact, and slower: they help on the edges of groups and distances.
    """
    found = solve(rows, region, tolerance, start, near)
    if found.gap <= tolerance:
        return found
    end = Targets((rows,), region).least_sum(np.ones(1), tolerance, found.weights)
    if end.gap >= found.gap:
        return found
    at = end.point
    return Solution(at.weights, float(at.loss[0]), float(at.value[0]), end.gap, at.gains[0])


def _weighted(rows: Evidence, c: Array) -> Evidence:
    """Return the same rows with other weights [n]; P is shared, what is kept of earlier passes is not."""
    out = copy.copy(rows)
    out.c = c / c.sum()
    out._kept, out._columns = np.empty(0, np.intp), np.empty((0, rows.n)).T
    out._last = out._priced = None
    for name in ("offset", "_all_count"):
        out.__dict__.pop(name, None)
    return out
