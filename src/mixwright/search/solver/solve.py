"""One convex problem to a certified optimum: a working set of sources around the interior-point method."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mixwright.constraints.newton import quadratic_step
from mixwright.constraints.quadratic import minimise_quadratic
from mixwright.search.solver.evidence import Evidence, Moments
from mixwright.search.solver.interior import Array, Region, interior_point
from mixwright.simplex import scale_onto_bounds

LOOSE = 1e-4  # nats: where the search for the working set ends and the certificate begins
CLEAR = 2e-3  # a weight that a loose optimum leaves above this is used
WHOLE = 64  # up to this many sources the working set is all of them
MAX_ROUNDS = 60
MAX_STEPS = 60
SAMPLED_ROWS, SAMPLED_PER_SOURCE = 20_000, 250  # such a Hessian is about 5 % off
HESSIAN_WORK = 2e9  # rows * sources^2 of a Hessian; larger problems sample their rows
PATIENCE = 8  # steps without a smaller gap before the interior-point method takes over
FAR = 0.02  # nats: from weights whose gap is above this the first steps use a sample
BESIDE = 0.05  # nats: sources whose gain is this near to that of the used ones may move too
TRACE = 1e-4  # weights that a loose optimum leaves below this are taken for none
ROUGH = 1e-5  # nats: where float32 likelihoods hand over to the float64 logs
FAST = 0.02  # after a step that leaves less than this share of the gap, its Hessian is used again
SLOW = 0.3  # a step that leaves more than this share of the gap asks for a better Hessian


@dataclass(frozen=True)
class Solution:
    """Weights [k], loss, objective and certificate in nats per row (without the rows' offset), and the gain [k]."""

    weights: Array
    loss: float
    objective: float
    gap: float
    gain: Array

    @classmethod
    def at(cls, w: Array, moments: Moments, region: Region) -> Solution:
        """Return weights with what a pass over the rows says of them."""
        gap = float(region.gap(moments.gain, w))
        gap = max(gap, 0.0) if np.isfinite(gap) and np.isfinite(moments.loss) else np.inf
        return cls(w, moments.loss, moments.loss + region.penalty_at(w), gap, moments.gain)


def solve(rows: Evidence, region: Region, tolerance: float, start: Array, near: Array | None = None) -> Solution:
    """
    Return the minimum of the penalised loss over `region` with its certificate.

    Only sources in the working set move; the others stay at their floor until the gain of a pass over all columns says
    that they would lower the loss. The first guess is the optimum on a sample of the rows, found in the same way. The
    certificate is taken from the float64 logs (Evidence.moments). With weights `near` the optimum, such as those of
    the same rows without a source, the steps begin there; where they do not settle, that is tried from the beginning.
    """
    if region.linear is not None:
        return _solve_linear(rows, region, tolerance)
    room = region.upper - region.lower
    spare = region.mass - region.lower.sum()
    if spare <= 1e-14 or room.sum() - spare <= 1e-14 or np.count_nonzero(room > 0) <= 1:
        return _certify(rows, region, scale_onto_bounds(region.lower + 1e-300, region.lower, region.upper))
    shrunk = bool((region.penalty > 0).all())
    if near is not None:
        found = _from_near(rows, region, _possible(rows, region, near, start), tolerance)
        if found.gap <= tolerance:
            return found
    if shrunk and not rows.precise:
        w = _solve_rough(rows, region, start)
    elif (guess := _sample_optimum(rows, region, start, LOOSE)) is not None:
        w = guess
    else:
        w, chosen, _ = _guess(rows, region, start, LOOSE)
        w = _solve_chosen(rows, region, chosen, w, LOOSE / 100, False)
    best = _refine(rows, region, w, tolerance)
    if best.gap <= tolerance:
        return best
    chosen = np.arange(rows.k) if shrunk else _first_choice(rows, region, best.weights)
    return _follow(rows, region, chosen, best, tolerance)


def _possible(rows: Evidence, region: Region, near: Array, start: Array) -> Array:
    """Return allowed weights near `near` under which every row is possible, and none is zero that has a penalty."""
    w = scale_onto_bounds(near + 1e-300, region.lower, region.upper, region.mass)
    w = np.where((near == 0) & (w - region.lower < 1e-15), region.lower, w)  # rounding is no weight
    if (region.penalty > 0).any():
        w = region.interior(w, 0.99)
    return w if np.isfinite(rows.gains(w).loss) else 0.9 * w + 0.1 * region.interior(start)


def _from_near(rows: Evidence, region: Region, w: Array, tolerance: float) -> Solution:
    """Return what steps from `w` lead to; where it is far from the optimum a sample of the rows goes ahead."""
    sample = rows.sample()
    if sample is None or float(region.gap(rows.gains(w).gain, w)) < FAR:
        return _steps(rows, region, w, tolerance, _Curvature(rows))
    closer = _ahead(sample, region, w)
    return _refine(rows, region, closer if np.isfinite(rows.gains(closer).loss) else w, tolerance)


def _ahead(rows: Evidence, region: Region, w: Array) -> Array:
    """Return weights near the optimum of a sample of the rows, found from `w` by way of still smaller samples."""
    sample = rows.sample()
    if sample is not None and float(region.gap(rows.gains(w).gain, w)) >= FAR:
        closer = _ahead(sample, region, w)
        w = closer if np.isfinite(rows.gains(closer).loss) else w
    return _steps(rows, region, w, max(LOOSE, 1 / rows.n), _Curvature(rows)).weights


def _solve_linear(rows: Evidence, region: Region, tolerance: float) -> Solution:
    """Return the minimum over a set with limits beyond bounds: that of a sample of the rows first, then of all."""
    assert region.linear is not None
    sample = rows.sample()
    if sample is None:
        w = region.linear.relative_interior[1]
    else:
        w = _solve_linear(sample, region, max(LOOSE, 1 / sample.n)).weights
        if not np.isfinite(rows.gains(w).loss):
            w = 0.9 * w + 0.1 * region.linear.relative_interior[1]
    hessian = _Curvature(rows)
    if not rows.precise:
        w = _steps(rows, region, w, max(ROUGH, tolerance), hessian, rough=True).weights
    return _steps(rows, region, w, tolerance, hessian)


def _follow(rows: Evidence, region: Region, chosen: NDArray[np.intp], best: Solution, tolerance: float) -> Solution:
    """Return the optimum by the interior-point method on a growing working set: slower, for what is degenerate."""
    inner, w, warm = max(tolerance / 4, LOOSE / 100), best.weights, False
    for _ in range(MAX_ROUNDS):
        w, warm = _solve_chosen(rows, region, chosen, w, inner, warm), True
        rough = _certify(rows, region, w)
        fine = rough if rough.gap <= tolerance else _refine(rows, region, w, tolerance)
        best = min(best, rough, fine, key=lambda s: s.gap)
        if best.gap <= tolerance:
            return best
        entering = _violators(rough.gain, w, region, chosen, max(tolerance / 10, inner))
        if entering.size == 0 and inner < tolerance * 1e-4:
            break
        inner = inner / 30 if entering.size == 0 else inner
        chosen = np.union1d(chosen, entering)
    return best


def _guess(rows: Evidence, region: Region, start: Array, slack: float) -> tuple[Array, NDArray[np.intp], bool]:
    """Return weights to start from, a first working set, and whether they are near the optimum: that of a sample."""
    w = _sample_optimum(rows, region, start, slack)
    if w is not None:
        return w, _first_choice(rows, region, w), True
    if rows.k <= WHOLE or (region.penalty > 0).all():
        return start, np.arange(rows.k), False
    w = _em(rows, region, start, 10)
    return w, _first_choice(rows, region, w), False


def _sample_optimum(rows: Evidence, region: Region, start: Array, slack: float) -> Array | None:
    """Return the loose optimum of a sample of the rows, None where they are too few for one."""
    sample = rows.sample()
    return None if sample is None else _loose_optimum(sample, region, start, max(slack, 1 / sample.n))


def _loose_optimum(rows: Evidence, region: Region, start: Array, slack: float) -> Array:
    """Return weights within about `slack` nats of the optimum."""
    w, chosen, warm = _guess(rows, region, start, slack)
    if not warm and not (region.penalty > 0).all():
        w, warm = _solve_chosen(rows, region, chosen, w, 10 * slack, warm), True
    if warm:
        near = _steps(rows, region, _without_traces(rows, region, w), slack, _Curvature(rows))
        if near.gap <= slack:
            return near.weights
    while True:
        if warm:
            entering = _violators(rows.gains(w).gain, w, region, chosen, slack)
            if entering.size == 0:
                return w
            chosen = np.union1d(chosen, entering)
        w, warm = _solve_chosen(rows, region, chosen, w, slack, warm), True


def _solve_rough(rows: Evidence, region: Region, start: Array) -> Array:
    """Return weights near the optimum with a penalty on every source, from float32 likelihoods."""
    near = region.interior(start)[None]
    slack = max(2e-5, LOOSE / 10) * (1 + float(region.penalty.sum()))
    return interior_point(rows.P, rows.c[:, None], region, near, slack, certify=False)[0]


def _refine(rows: Evidence, region: Region, w: Array, tolerance: float) -> Solution:
    """
    Return the optimum found from weights near it by sequential quadratic programming; its gap says whether it settled.

    A step is one pass that prices all sources, a Hessian of those that are used or would lower the loss (from a sample
    of the rows: each step leaves a few per cent of the distance), and a quadratic programme in their bounds, so a
    weight that is zero at the optimum is zero.
    """
    w = _without_traces(rows, region, w)
    hessian = _Curvature(rows)
    if not rows.precise:
        w = _steps(rows, region, w, ROUGH, hessian, rough=True).weights
    return _steps(rows, region, w, tolerance, hessian)


def _without_traces(rows: Evidence, region: Region, w: Array) -> Array:
    """Return `w` with the weights near their floor put on it, where that leaves every row possible."""
    traces = (w - region.lower < TRACE) & (region.penalty == 0)
    if not traces.any() or traces.all():
        return w
    upper = np.where(traces, region.lower, region.upper)
    if upper.sum() < region.mass:
        return w
    without = scale_onto_bounds(np.where(traces, 0.0, w), region.lower, upper, region.mass)
    return without if np.isfinite(rows.gains(without).loss) else w


def _steps(
    rows: Evidence, region: Region, w: Array, tolerance: float, hessian: _Curvature, rough: bool = False
) -> Solution:
    """Return the best weights on the way to the optimum; the gap need not fall at every step, the objective does."""
    # float32 likelihoods say no more of an objective: steps that ask for more would be halved for nothing
    noise = 1e-7 if rough or (rows.P.dtype == np.float32 and rows.precise) else 1e-13
    best = last = _certify(rows, region, w, rough)
    sample, since = max(SAMPLED_ROWS, rows.n // 8) if rough else rows.n, 0
    for position in range(MAX_STEPS):
        settled = position > 0 or not rows.precise  # a step puts weights on their bounds, where they belong
        if (best.gap <= tolerance and settled) or since == PATIENCE:
            break
        chosen = working_set(last, region)
        if chosen.size < 2:
            break
        target = _quadratic(hessian(last.weights, chosen, sample), region, last, chosen)
        if target is None:
            break
        for halving in range(12):
            found = _certify(rows, region, target, rough)
            if found.objective <= last.objective + noise * (1 + abs(last.objective)):
                break
            target = last.weights + (target - last.weights) * (0.999 if halving == 0 else 0.5)
        if not np.isfinite(found.gap):
            break
        sample = 8 * sample if found.gap > SLOW * last.gap else sample
        hessian.current = found.gap < FAST * last.gap
        since = 0 if found.gap < 0.9 * best.gap else since + 1
        last = found
        best = found if found.gap < max(best.gap, tolerance) else best
    return best


class _Curvature:
    """The Hessian of some sources, kept while steps with it converge quickly."""

    def __init__(self, rows: Evidence) -> None:
        self.rows, self.current = rows, False
        self.chosen, self.H = np.empty(0, np.intp), np.empty((0, 0))

    def __call__(self, w: Array, chosen: NDArray[np.intp], sample: int) -> Array:
        """Return [len(chosen), len(chosen)] at `w` from about `sample` rows, within what is worth its time."""
        if not (self.current and np.isin(chosen, self.chosen).all()):
            least = SAMPLED_PER_SOURCE * chosen.size
            most = max(least, int(HESSIAN_WORK / chosen.size**2))
            self.chosen, self.H = chosen, self.rows.curvature(w, chosen, min(most, max(sample, least)))
        at = np.searchsorted(self.chosen, chosen)
        return self.H[np.ix_(at, at)]


def working_set(at: Solution, region: Region) -> NDArray[np.intp]:
    """Return the sources that may move: those above their floor, and the best of those that would lower the loss."""
    if region.linear is not None:
        return _working_set_linear(at, region)
    movable = region.upper > region.lower
    used = movable & ((at.weights > region.lower) | (region.penalty > 0))
    rest = np.flatnonzero(movable & ~used)
    rest = rest[at.gain[rest] > _multiplier(at.gain, at.weights, region) - BESIDE]
    rest = rest[np.argsort(-at.gain[rest], kind="stable")][: max(8, np.count_nonzero(used) // 2)]
    return np.union1d(np.flatnonzero(used), rest)


def _working_set_linear(at: Solution, region: Region) -> NDArray[np.intp]:
    """Return `working_set` by the prices of floors, which count all limits."""
    assert region.linear is not None
    explicit = region.linear.relative_interior[0]
    movable = explicit.upper > explicit.lower
    used = movable & ((at.weights > region.lower) | (region.penalty > 0))
    rest = np.flatnonzero(movable & ~used)
    price = region.linear.maximum(np.minimum(region.with_penalty(at.gain, at.weights), 1e300)).lower
    rest = rest[price[rest] < BESIDE]
    rest = rest[np.argsort(price[rest], kind="stable")][: max(8, np.count_nonzero(used) // 2)]
    return np.union1d(np.flatnonzero(used), rest)


def _quadratic(H: Array, region: Region, at: Solution, chosen: NDArray[np.intp]) -> Array | None:
    """Return weights [k] after a Newton step of the chosen sources within their bounds, or None."""
    w, penalty = at.weights[chosen], region.penalty[chosen]
    gain, lower = at.gain[chosen], region.lower[chosen]
    if penalty.any():
        held = penalty > 0
        gain = gain + np.where(held, penalty / np.where(held, w, 1.0), 0.0)
        H[np.diag_indices_from(H)] += np.where(held, penalty / np.where(held, w, 1.0) ** 2, 0.0)
        lower = np.where(held, np.maximum(lower, 0.1 * w), lower)
    if region.linear is not None:
        part = region.linear.take(chosen, at.weights).above(lower)
        out = at.weights.copy()
        out[chosen] = minimise_quadratic(H, w, part, gain)
        return out
    new = quadratic_step(H, gain, w, lower, region.upper[chosen])
    if new is None:
        return None
    out = at.weights.copy()
    out[chosen] = new
    return out


def _certify(rows: Evidence, region: Region, w: Array, rough: bool = False) -> Solution:
    """Return `w` as a Solution: one pass, exact for the sources that decide the certificate unless `rough`."""
    moments = rows.gains(w) if rough else rows.moments(w)
    return Solution.at(w, moments, region)


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
        gain = rows.gains(w).gain
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
    share, total = w * inside, region.with_penalty(gain, w)
    return float((share * total)[inside].sum() / share[inside].sum())
