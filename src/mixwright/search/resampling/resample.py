"""What resampling whole documents says: the shrinkage, the improvement out of fold, the intervals."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from mixwright.constraints.polytope import Polytope
from mixwright.search.solver.evidence import Evidence
from mixwright.search.solver.interior import Array, Region, interior_point
from mixwright.simplex import scale_onto_bounds

GRID = (0.0, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 0.1, 0.3, 1.0, 3.0, 10.0, 100.0)
FOLDS = 10
STRENGTH, PULL, FULL_AT = 0.7, 0.5, 50.0  # chosen on simulated targets (docs/decisions/search.md)
REPLICATES = 200
TOLERANCE, TOLERANCE_FLOAT32 = 1e-6, 2e-5  # nats: far below the noise of any resampling


@dataclass(frozen=True)
class SearchProblem:
    """A search apart from its shrinkage: rows, bounds [k], prior [k], and the document of each row [n], 0..d-1."""

    rows: Evidence
    lower: Array
    upper: Array
    prior: Array
    document: NDArray[np.int64]
    space: Polytope | None = None  # the allowed weights where there are limits beyond bounds

    @cached_property
    def share(self) -> Array:
        """Return the row weights of each document, [d]."""
        return np.bincount(self.document, self.rows.c).astype(np.float64)

    @property
    def documents(self) -> int:
        """Return the number of documents with a positive weight."""
        return int(np.count_nonzero(self.share))

    def region(self, shrinkage: float) -> Region:
        """Return the allowed weights with the penalty tau * prior."""
        return Region(self.lower, self.upper, shrinkage * self.prior, linear=self.space)

    def solve_many(self, C: Array, shrinkage: float, start: Array) -> Array:
        """Return the optimum [b, k] for each column of row weights C [n, b]."""
        region = self.region(shrinkage)
        if self.space is not None:
            return self._solve_many(C, region, start)
        tolerance = self._tolerance(shrinkage)
        free = self.upper > self.lower
        spare, room = 1 - self.lower.sum(), (self.upper - self.lower).sum()
        if np.count_nonzero(free) <= 1 or spare <= 1e-14 or room - spare <= 1e-14:
            only = scale_onto_bounds(self.prior, self.lower, self.upper)
            return np.broadcast_to(only, (C.shape[1], self.rows.k)).copy()
        if free.all():
            return interior_point(self.rows.P, C, region, region.interior(start), tolerance, certify=False)
        fixed = np.where(free, 0.0, self.lower)
        part = Region(self.lower[free], self.upper[free], region.penalty[free], 1 - fixed.sum())
        base = self.rows.P @ fixed
        W = np.broadcast_to(fixed, (C.shape[1], self.rows.k)).copy()
        P = np.ascontiguousarray(self.rows.P[:, free])
        W[:, free] = interior_point(P, C, part, part.interior(start[..., free]), tolerance, base, certify=False)
        return W

    def _tolerance(self, shrinkage: float) -> float:
        own = TOLERANCE if self.rows.P.dtype == np.float64 else TOLERANCE_FLOAT32
        return own * (1 + shrinkage)

    def _solve_many(self, C: Array, region: Region, start: Array) -> Array:
        """Return `solve_many` where there are limits beyond bounds."""
        assert self.space is not None
        explicit, inside = self.space.relative_interior
        free = np.flatnonzero(explicit.upper > explicit.lower)
        W = np.broadcast_to(
            np.where(explicit.upper > explicit.lower, inside, explicit.lower), (C.shape[1], inside.size)
        )
        W = W.copy()
        if free.size < 2:
            return W
        part = explicit.take(free, W[0])
        rest = W[0].copy()
        rest[free] = 0.0
        own = Region(part.lower, part.upper, region.penalty[free], part.mass, part)
        P = np.ascontiguousarray(self.rows.P[:, free])
        near = np.broadcast_to(start, W.shape)
        near = np.stack([w if self.space.contains(w, 1e-9) else inside for w in near])[:, free]
        near = 0.9 * near + 0.1 * inside[free]
        base = self.rows.P @ rest.astype(self.rows.P.dtype) if rest.any() else None
        tolerance = self._tolerance(float(region.penalty.sum()))
        W[:, free] = interior_point(P, C, own, near, tolerance, base, certify=False)
        return W


def assign_folds(share: Array, seed: int, most: int = FOLDS) -> NDArray[np.int64]:
    """
    Return the fold of each document [d] with share [d]: in random order, heaviest first, each to the lightest fold.

    There are as many folds as documents with a share, at most `most`; a document without one counts nowhere.
    """
    shuffled = np.random.default_rng(seed).permutation(share.size)
    order = shuffled[np.argsort(-share[shuffled].round(12), kind="stable")]  # rounded: the last bits are no order
    order = order[share[order] > 0]
    folds = min(most, order.size)
    load, count = np.zeros(folds), np.zeros(folds)
    out = np.zeros(share.size, np.int64)
    for d in order:
        fold = np.lexsort((count, load.round(12)))[0]
        out[d], load[fold], count[fold] = fold, load[fold] + share[d], count[fold] + 1
    return out


@dataclass(frozen=True)
class FoldFits:
    """Weights fitted without some folds, for each shrinkage: `left_out[r]` are the folds that fit r did not see."""

    problem: SearchProblem
    fold: NDArray[np.int64]  # of each row [n]
    grid: tuple[float, ...]
    left_out: tuple[tuple[int, ...], ...]
    weights: Array  # [len(grid), len(left_out), k]

    def losses(self, fits: list[int], fold: int) -> tuple[NDArray[np.intp], Array]:
        """Return the rows of a fold and their losses [grid, fits, rows] under some of the fits."""
        inside = np.flatnonzero(self.fold == fold)
        W = self.weights[:, fits].reshape(-1, self.weights.shape[2])
        return inside, self.problem.rows.losses(inside, W).reshape(len(self.grid), len(fits), inside.size)


def fit_folds(problem: SearchProblem, fold: NDArray[np.int64], grid: tuple[float, ...], pairs: bool) -> FoldFits:
    """Return the fits without each fold (`pairs=False`) or without each pair of folds, warm along the grid."""
    folds = int(fold.max()) + 1
    left_out = tuple(combinations(range(folds), 2 if pairs else 1))
    C = np.stack([np.where(np.isin(fold, out), 0.0, problem.rows.c) for out in left_out], axis=1)
    C /= C.sum(0)
    W = np.broadcast_to(problem.prior, (len(left_out), problem.rows.k))
    weights = np.empty((len(grid), len(left_out), problem.rows.k))
    for position in np.argsort(-np.array(grid), kind="stable"):
        weights[position] = W = problem.solve_many(C, grid[position], W)
    return FoldFits(problem, fold, grid, left_out, weights)


def choose(losses: Array, weight: Array, document: NDArray[np.int64]) -> int:
    """
    Return the position on the grid of the shrinkage to use.

    `losses` [grid, n] are out of fold, in the order of the grid (rising shrinkage). What each gives away to the best is
    counted in nats of all effective rows (rows of one document are not independent): `mean_position` has the rule.
    """
    mean = losses @ weight / weight.sum()
    finite = np.flatnonzero(np.isfinite(mean))
    best = finite[mean[finite].argmin()] if finite.size else len(mean) - 1
    nats, fewest = np.full(len(mean), np.inf), np.inf
    nats[best] = 0.0
    for position in finite[finite != best]:
        m = effective_rows(losses[position] - losses[best], weight, document)
        nats[position], fewest = m * (mean[position] - mean[best]), min(fewest, m)
    return mean_position(nats, fewest)


def mean_position(nats: Array, m: float) -> int:
    """
    Return the mean position, rounded, on a grid of rising shrinkage by what each gives away to the best, in nats.

    Position j counts exp(-STRENGTH * nats_j + pull * j), so where rows are few and both ends of the grid explain them
    about equally well, neither their luck nor the prior decides alone: the answer lies in between. The pull towards
    the prior is PULL up to FULL_AT effective rows m and falls as 1/m beyond.
    """
    position = np.arange(nats.size)
    pull = PULL * min(1.0, FULL_AT / m)
    share = np.exp(-STRENGTH * nats + pull * (position - nats.size))
    return round(float(share @ position / share.sum()))


def effective_rows(difference: Array, weight: Array, document: NDArray[np.int64]) -> float:
    """Return how many independent rows of equal weight the mean of `difference` [n] is worth."""
    weight = weight / weight.sum()
    rows = 1 / float(weight @ weight)
    by_document = paired_error(difference, weight, document)[1]
    by_row = paired_error(difference, weight, np.arange(weight.size))[1]
    if not np.isfinite(by_document) or by_row == 0:
        return rows
    return rows / max(1.0, (by_document / by_row) ** 2)


def paired_error(difference: Array, weight: Array, document: NDArray[np.int64]) -> tuple[float, float, int]:
    """Return the weighted mean of `difference` [n], its standard error over documents, and the number of documents."""
    weight = weight / weight.sum()
    share = np.bincount(document, weight)
    total = np.bincount(document, weight * difference)[share > 0]
    share = share[share > 0]
    mean, d = float(total.sum()), share.size
    if d < 2:
        return mean, float("inf"), d
    return mean, float(np.sqrt(((total - share * mean) ** 2).sum() * d / (d - 1))), d


def improvement_interval(
    nested: tuple[float, float, int], given: tuple[float, float, int], own: float, level: float
) -> tuple[float, float, float]:
    """
    Return (estimate, low, high) of a mean of paired differences that were taken out of fold.

    `nested` and `given` are what `paired_error` says of the differences where each fold chose its own shrinkage, and
    where all had that of the result. The estimate is the middle of both: folds see fewer rows and tend to shrink more
    than the result does, which makes the first too low, and the second is scored on the rows that chose the shrinkage.
    The error is the larger of both. In quadrature to it: half of the difference of their means, and `own`, the spread
    of one fit's loss about the mean of such fits.
    """
    mean, d = (nested[0] + given[0]) / 2, nested[2]
    error = float(np.linalg.norm([max(nested[1], given[1]), (nested[0] - given[0]) / 2, own]))
    half = student_quantile((1 + level) / 2, d - 1) * error
    return mean, mean - half, mean + half


def student_quantile(probability: float, freedom: int) -> float:
    """Return the quantile of Student's t (Cornish-Fisher expansion to 1/freedom^3; Abramowitz & Stegun 26.7.5)."""
    z = NormalDist().inv_cdf(probability)
    g1 = (z**3 + z) / 4
    g2 = (5 * z**5 + 16 * z**3 + 3 * z) / 96
    g3 = (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384
    return z + g1 / freedom + g2 / freedom**2 + g3 / freedom**3


def bootstrap(problem: SearchProblem, shrinkage: float, weights: Array, seed: int) -> Array:
    """Return the weights [replicates, k] refitted on documents drawn with replacement."""
    rng = np.random.default_rng([seed, 1])
    share = problem.share
    present = np.flatnonzero(share)
    counts = rng.multinomial(present.size, np.full(present.size, 1 / present.size), REPLICATES)
    out = np.empty((REPLICATES, problem.rows.k))
    step = max(1, min(REPLICATES, 50_000_000 // problem.rows.n))
    for first in range(0, REPLICATES, step):
        chosen = counts[first : first + step]
        times = np.zeros((share.size, len(chosen)))
        times[present] = chosen.T
        C = problem.rows.c[:, None] * times[problem.document]
        C /= C.sum(0)
        start = np.broadcast_to(weights, (len(chosen), problem.rows.k))
        out[first : first + step] = problem.solve_many(C, shrinkage, start)
    return out
