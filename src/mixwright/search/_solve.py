"""One convex problem to a certified optimum: a working set of sources around the interior-point method."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mixwright.search._evidence import Evidence
from mixwright.search._interior import Array, Region, interior_point
from mixwright.simplex import scale_onto_bounds

WHOLE = 64  # up to this many sources the working set is all of them
SAMPLE_ROWS, SAMPLE_SOURCES = 4_000, 600
MAX_ROUNDS = 60


@dataclass(frozen=True)
class Solution:
    """Weights [k] with loss, objective and certificate in nats per row, relative to the rows' offset."""

    weights: Array
    loss: float
    objective: float
    gap: float


def solve(rows: Evidence, region: Region, tolerance: float, start: Array) -> Solution:
    """
    Return the minimum of the penalised loss over `region` with its certificate.

    Only sources in the working set move; the others stay at their floor until the gain of a pass over all columns says
    that they would lower the loss. The certificate is taken from the float64 logs (Evidence.moments).
    """
    room = region.upper - region.lower
    spare = region.mass - region.lower.sum()
    if spare <= 1e-14 or room.sum() - spare <= 1e-14 or np.count_nonzero(room > 0) <= 1:
        return _certify(rows, region, scale_onto_bounds(region.lower + 1e-300, region.lower, region.upper))
    chosen = _first_choice(rows, region, start)
    w, inner, warm = start, tolerance / 4, False
    best: Solution | None = None
    for _ in range(MAX_ROUNDS):
        w, warm = _solve_chosen(rows, region, chosen, w, inner, warm), True
        fast = rows.moments(w, exact=False)
        entering = _violators(fast.gain, w, region, chosen, 1e-6)
        if entering.size == 0:
            exact = _certify(rows, region, w)
            if best is None or exact.gap < best.gap:
                best = exact
            if best.gap <= tolerance:
                return _sparse(rows, region, best, tolerance)
            entering = _violators(rows.moments(w).gain, w, region, chosen, tolerance / 10)
            if entering.size == 0 and inner < tolerance * 1e-4:
                break
            inner /= 10
        chosen = np.union1d(chosen, entering)
    return best if best is not None else _certify(rows, region, w)


def _certify(rows: Evidence, region: Region, w: Array) -> Solution:
    """Return `w` as a Solution: one exact pass."""
    moments = rows.moments(w)
    with np.errstate(divide="ignore", invalid="ignore"):
        logs = np.where(region.penalty > 0, region.penalty * np.log(w), 0.0)
    gap = float(region.gap(moments.gain, w))
    gap = max(gap, 0.0) if np.isfinite(gap) and np.isfinite(moments.loss) else np.inf
    return Solution(w, moments.loss, moments.loss - float(logs.sum()), gap)


def _sparse(rows: Evidence, region: Region, solution: Solution, tolerance: float) -> Solution:
    """Return the solution with its zeros as zeros: solved again on its support, if that keeps the certificate."""
    if (region.penalty > 0).all():
        return solution
    for threshold in (1e-4, 1e-6):
        support = np.flatnonzero((solution.weights - region.lower > threshold) | (region.penalty > 0))
        if support.size in (0, rows.k) or region.upper[support].sum() + _floor(region, support) < region.mass:
            continue
        w = np.where(np.isin(np.arange(rows.k), support), solution.weights, region.lower)
        if not np.isfinite(rows.moments(w, exact=False).loss):
            continue
        candidate = _certify(rows, region, _solve_chosen(rows, region, support, w, tolerance / 4, True))
        if candidate.gap <= tolerance:
            return candidate
    return solution


def _floor(region: Region, chosen: NDArray[np.intp]) -> float:
    """Return the mass of the sources that are not chosen."""
    return float(region.lower.sum() - region.lower[chosen].sum())


def _first_choice(rows: Evidence, region: Region, start: Array) -> NDArray[np.intp]:
    """Return the first working set: all sources, or those that an optimum on a sample of rows uses."""
    everything = np.arange(rows.k)
    if rows.k <= WHOLE or (region.penalty > 0).all():
        return everything
    w = _sample_optimum(rows, region, start) if rows.k <= SAMPLE_SOURCES else _em(rows, region, start, 10)
    order = np.argsort(-(w - region.lower), kind="stable")
    used = order[: max(8, int((w - region.lower > 1e-4).sum()))]
    chosen = np.union1d(used[: 4 * WHOLE], np.flatnonzero(region.penalty > 0))
    return _cover(rows, region, chosen)


def _sample_optimum(rows: Evidence, region: Region, start: Array) -> Array:
    """Return the optimum on evenly spaced rows."""
    step = max(1, rows.n // SAMPLE_ROWS)
    P, c = np.ascontiguousarray(rows.P[::step]), rows.c[::step]
    if c.sum() == 0 or rows.n <= SAMPLE_ROWS:
        return _em(rows, region, start, 10)
    return interior_point(P, (c / c.sum())[:, None], region, region.interior(start)[None], 1e-4)[0]


def _em(rows: Evidence, region: Region, start: Array, steps: int) -> Array:
    """Return weights after some steps of expectation-maximisation, w_k <- w_k g_k (+ penalty), kept in bounds."""
    w = region.interior(start)
    for _ in range(steps):
        gain = rows.moments(w, exact=False).gain
        w = scale_onto_bounds(w * gain + region.penalty, region.lower, region.upper, region.mass)
    return w


def _cover(rows: Evidence, region: Region, chosen: NDArray[np.intp]) -> NDArray[np.intp]:
    """Return `chosen` with sources added until every row has a likelihood and the caps leave room."""
    while True:
        if region.upper[chosen].sum() + _floor(region, chosen) >= 1.02 * region.mass or chosen.size == rows.k:
            break
        rest = np.setdiff1d(np.arange(rows.k), chosen)
        chosen = np.union1d(chosen, rest[np.argsort(-region.upper[rest], kind="stable")][:8])
    covered = np.zeros(rows.n, bool)
    for part in rows.parts():
        covered[part] = (rows.P[part][:, chosen].max(1) > 1e-6) | (rows.c[part] == 0)
    while not covered.all():
        block = rows.P[np.flatnonzero(~covered)[:4096]]
        best = np.bincount(block.argmax(1), minlength=rows.k).argmax()
        chosen = np.union1d(chosen, best)
        covered |= rows.P[:, best] > 1e-6
    return chosen


def _solve_chosen(
    rows: Evidence, region: Region, chosen: NDArray[np.intp], w: Array, tolerance: float, warm: bool
) -> Array:
    """Return `w` [k] with the chosen sources at their joint optimum and the others at their floors."""
    fixed = np.ones(rows.k, bool)
    movable = chosen[region.upper[chosen] > region.lower[chosen]]
    fixed[movable] = False
    out = np.where(fixed, region.lower, 0.0)
    base = _base(rows, out) if out.any() else None
    part = Region(region.lower[movable], region.upper[movable], region.penalty[movable], region.mass - out.sum())
    inside = scale_onto_bounds(w[movable], part.lower, part.upper, part.mass)
    P = rows.exact_columns(movable)
    low = rows.P if movable.size == rows.k and rows.P.dtype == np.float32 else None
    near = part.interior(inside, 0.99 if warm else 0.9)[None]
    mu = 1e-4 if warm else 1e-2
    out[movable] = interior_point(P, rows.c[:, None], part, near, tolerance, base, low, mu, 200)[0]
    return out


def _base(rows: Evidence, w: Array) -> Array:
    """Return what the sources that do not move give to each row [n]."""
    used = np.flatnonzero(w)
    return rows.exact_columns(used) @ w[used]


def _violators(gain: Array, w: Array, region: Region, chosen: NDArray[np.intp], slack: float) -> NDArray[np.intp]:
    """Return the sources outside the working set whose gain exceeds the multiplier of the sum, largest first."""
    rest = np.setdiff1d(np.arange(w.size), chosen)
    rest = rest[region.upper[rest] > region.lower[rest]]
    inside = (w - region.lower > 1e-8) & (region.upper - w > 1e-8)
    inside = inside if inside.any() else region.upper > region.lower
    share = w * inside
    with np.errstate(divide="ignore", invalid="ignore"):
        total = np.where(region.penalty > 0, gain + region.penalty / w, gain)
    multiplier = float((share * total)[inside].sum() / share[inside].sum())
    rest = rest[gain[rest] > multiplier + slack]
    return rest[np.argsort(-gain[rest], kind="stable")][: max(16, chosen.size // 2)]
