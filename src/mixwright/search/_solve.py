"""One convex problem to a certified optimum: a working set of sources around the interior-point method."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mixwright.search._evidence import Evidence
from mixwright.search._interior import Array, Region, interior_point
from mixwright.search._newton import hessian_of, quadratic_step
from mixwright.simplex import scale_onto_bounds

LOOSE = 1e-4  # nats: where the search for the working set ends and the certificate begins
CLEAR = 2e-3  # a weight that a loose optimum leaves above this is used
WHOLE = 64  # up to this many sources the working set is all of them
SAMPLE_ROWS = 2_000  # fewer rows than twice this are not sampled
MAX_ROUNDS = 60
SEQUENTIAL_ROUNDS, NEWTON_STEPS, SAMPLED_STEPS = 12, 24, 3


@dataclass(frozen=True)
class Solution:
    """Weights [k], loss, objective and certificate in nats per row (without the rows' offset), and the gain [k]."""

    weights: Array
    loss: float
    objective: float
    gap: float
    gain: Array


def solve(rows: Evidence, region: Region, tolerance: float, start: Array) -> Solution:
    """
    Return the minimum of the penalised loss over `region` with its certificate.

    Only sources in the working set move; the others stay at their floor until the gain of a pass over all columns says
    that they would lower the loss. The first guess is the optimum on a sample of the rows, found in the same way. The
    certificate is taken from the float64 logs (Evidence.moments).
    """
    room = region.upper - region.lower
    spare = region.mass - region.lower.sum()
    if spare <= 1e-14 or room.sum() - spare <= 1e-14 or np.count_nonzero(room > 0) <= 1:
        return _certify(rows, region, scale_onto_bounds(region.lower + 1e-300, region.lower, region.upper))
    w, chosen, warm = _guess(rows, region, start, LOOSE)
    sequential = not (region.penalty > 0).any()
    if warm and sequential:
        gain = rows.moments(w, exact=False).gain
        chosen = np.union1d(chosen, _violators(gain, w, region, chosen, -np.inf))
        fine = _sequential(rows, region, chosen, w, tolerance)
        if fine is not None and fine.gap <= tolerance:
            return fine
    inner, best = max(tolerance / 4, LOOSE / 100), None
    for _ in range(MAX_ROUNDS):
        w, warm = _solve_chosen(rows, region, chosen, w, inner, warm), True
        rough = _certify(rows, region, w)
        fine = _sequential(rows, region, chosen, w, tolerance) if sequential else None
        best = min((s for s in (best, rough, fine) if s is not None), key=lambda s: s.gap)
        if best.gap <= tolerance:
            return fine if fine is not None and fine.gap <= tolerance else best
        entering = _violators(rough.gain, w, region, chosen, max(tolerance / 10, inner))
        if entering.size == 0 and inner < tolerance * 1e-4:
            break
        inner = inner / 30 if entering.size == 0 else inner
        chosen = np.union1d(chosen, entering)
    return best if best is not None else _certify(rows, region, w)


def _guess(rows: Evidence, region: Region, start: Array, slack: float) -> tuple[Array, NDArray[np.intp], bool]:
    """Return weights to start from, a first working set, and whether they are near the optimum: that of a sample."""
    step = min(8, rows.n // SAMPLE_ROWS)
    sample = rows.every(step) if step >= 2 else None
    if sample is not None and sample.c.sum() > 0:
        w = _loose_optimum(sample, region, start, max(slack, 0.3 / sample.n))
        return w, _first_choice(rows, region, w), True
    if rows.k <= WHOLE or (region.penalty > 0).all():
        return start, np.arange(rows.k), False
    w = _em(rows, region, start, 10)
    return w, _first_choice(rows, region, w), False


def _loose_optimum(rows: Evidence, region: Region, start: Array, slack: float) -> Array:
    """Return weights within about `slack` nats of the optimum."""
    w, chosen, warm = _guess(rows, region, start, slack)
    while True:
        if warm:
            entering = _violators(rows.moments(w, exact=False).gain, w, region, chosen, slack)
            if entering.size == 0:
                return w
            chosen = np.union1d(chosen, entering)
        w, warm = _solve_chosen(rows, region, chosen, w, slack, warm), True


def _certify(rows: Evidence, region: Region, w: Array) -> Solution:
    """Return `w` as a Solution: one exact pass."""
    moments = rows.moments(w)
    with np.errstate(divide="ignore", invalid="ignore"):
        logs = np.where(region.penalty > 0, region.penalty * np.log(w), 0.0)
    gap = float(region.gap(moments.gain, w))
    gap = max(gap, 0.0) if np.isfinite(gap) and np.isfinite(moments.loss) else np.inf
    return Solution(w, moments.loss, moments.loss - float(logs.sum()), gap, moments.gain)


def _sequential(
    rows: Evidence, region: Region, chosen: NDArray[np.intp], near: Array, tolerance: float
) -> Solution | None:
    """
    Return the optimum found from weights `near` it by sequential quadratic programming over a growing working set.

    The bounds are part of each quadratic programme, so a weight that is zero at the optimum is zero. None, or a
    solution without its certificate, where that does not settle.
    """
    best: Solution | None = None
    w = near
    for _ in range(SEQUENTIAL_ROUNDS):
        settled = _newton_on(rows, region, w, chosen)
        if settled is None:
            return best
        w = settled
        found = _certify(rows, region, w)
        best = found if best is None or found.gap < best.gap else best
        if found.gap <= tolerance:
            return found
        entering = _violators(found.gain, w, region, chosen, tolerance / 10)
        if entering.size == 0:
            return best
        chosen = np.union1d(chosen, entering)
    return best


def _newton_on(rows: Evidence, region: Region, near: Array, chosen: NDArray[np.intp]) -> Array | None:
    """Return weights with the chosen sources at their joint optimum, the others at their floors, or None."""
    chosen = chosen[region.upper[chosen] > region.lower[chosen]]
    if chosen.size < 2:
        return None
    w = region.lower.copy()
    w[chosen] = 0
    base = _base(rows, w) if w.any() else np.zeros(rows.n)
    lower, upper, mass = region.lower[chosen], region.upper[chosen], region.mass - w.sum()
    v = scale_onto_bounds(near[chosen], lower, upper, mass)
    P = rows.exact_columns(chosen)
    positive = None if rows.c.all() else rows.c > 0
    for iteration in range(NEWTON_STEPS):
        y = P @ v + base
        y = y if positive is None else np.where(positive, y, 1.0)
        if not y.min() > 0:
            return None
        ratio = rows.c / y
        gain = ratio @ P
        H, full = hessian_of(P, ratio / y, sampled=iteration < SAMPLED_STEPS)
        new = quadratic_step(H, gain, v, lower, upper)
        if new is None:
            return None
        decrement = float(gain @ (new - v))
        v = new if iteration else 0.999 * new + 0.001 * v
        if iteration and decrement < (1e-11 if full else 1e-17):  # Newton's method squares the error
            w[chosen] = v
            return w
    return None


def _floor(region: Region, chosen: NDArray[np.intp]) -> float:
    """Return the mass of the sources that are not chosen."""
    return float(region.lower.sum() - region.lower[chosen].sum())


def _first_choice(rows: Evidence, region: Region, guess: Array) -> NDArray[np.intp]:
    """Return a working set: the sources whose weight in a loose guess is well above their floor."""
    if (region.penalty > 0).all():
        return np.arange(rows.k)
    above = guess - region.lower
    used = np.argsort(-above, kind="stable")[: max(8, min(4 * WHOLE, int((above > CLEAR).sum())))]
    return _cover(rows, region, np.union1d(used, np.flatnonzero(region.penalty > 0)))


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
    near = part.interior(inside, 0.999 if warm else 0.9)[None]
    mu = 1e-5 if warm else 1e-2
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
    rest = rest[gain[rest] > _multiplier(gain, w, region) + slack]
    return rest[np.argsort(-gain[rest], kind="stable")][: max(16, chosen.size // 2)]


def _multiplier(gain: Array, w: Array, region: Region) -> float:
    """Return the multiplier of the sum: the mean gain of the sources that are not at a bound, penalty included."""
    inside = (w - region.lower > 1e-8) & (region.upper - w > 1e-8)
    inside = inside if inside.any() else region.upper > region.lower
    share = w * inside
    with np.errstate(divide="ignore", invalid="ignore"):
        total = np.where(region.penalty > 0, gain + region.penalty / w, gain)
    return float((share * total)[inside].sum() / share[inside].sum())
