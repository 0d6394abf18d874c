"""The Pareto curve between two targets: what one costs the other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from mixwright.constraints.limits import Constraints
from mixwright.errors import InputError
from mixwright.search.inputs import PerSource, Prior, check_settings
from mixwright.search.solver.minimax import Best
from mixwright.search.solver.target_problem import TargetProblem
from mixwright.search.table.table import LikelihoodTable

Array = NDArray[np.float64]
START = 0.999  # share of the weights to start from, the rest the mean of the ends: every row is possible under it


@dataclass(frozen=True)
class ParetoPoint:
    """
    A mixture on the curve.

    weights [k]; losses: {target: f_t(w)}, nats per row of that target; share: lambda, the weight of the first target;
    gap: lambda F_a(w) + (1 - lambda) F_b(w) - its minimum over the allowed weights <= gap, nats per row.
    """

    weights: Array
    losses: dict[str, float]
    share: float
    gap: float


class TwoTargets(Protocol):
    """Two targets whose losses are convex in the weights (see `minimax.Targets`)."""

    def best(self, tolerance: float, start: Array) -> Best:
        """Return the best weights [2, k] for each target alone."""
        ...

    def least_sum(self, shares: Array, tolerance: float, start: Array) -> Any:
        """Return the point and the gap of the least weighted sum."""
        ...

    def at(self, w: Array) -> Any:
        """Return the losses [2] and the penalty at weights [k]."""
        ...


@dataclass(frozen=True, eq=False)
class _Found:
    weights: Array  # [allowed]
    loss: Array  # [2]
    penalty: float
    share: float
    gap: float

    @property
    def value(self) -> Array:
        return self.loss + self.penalty


def pareto(
    table: LikelihoodTable,
    targets: Sequence[str],
    points: int = 21,
    *,
    constraints: Constraints | None = None,
    sizes: PerSource | None = None,
    prior: Prior = "uniform",
    shrinkage: float = 0.0,
    tolerance: float = 1e-6,
) -> tuple[ParetoPoint, ...]:
    """
    Return mixtures from the best one for the second target to the best one for the first.

    Each point minimises lambda F_a + (1 - lambda) F_b (F as in WorstRegret), both ends included. The next point is
    always put where the curve is least known: between two neighbours the curve lies above both tangents and below the
    chord; lambda comes from the chord whose triangle is highest. So points are spread along the curve, not over lambda,
    which would crowd them at the ends.

    Parameters
    ----------
    table, constraints, sizes
        As in `WorstRegret.fit`.
    targets
        Two targets of the table.
    points
        How many points, at least 2. There are fewer where the curve is known to the tolerance before.
    prior, shrinkage, tolerance
        As in `WorstRegret`; the tolerance holds for every point.

    Returns
    -------
    points in the order of rising lambda: the loss of the first target falls from each to the next (or stays), that of
    the second rises (or stays).

    Raises
    ------
    InputError
        For targets, points, settings, sizes or constraints that do not fit.

    Examples
    --------
    >>> import numpy as np
    >>> logs = np.log([[0.5, 0.1], [0.4, 0.1], [0.1, 0.6]])
    >>> table = LikelihoodTable.from_array(logs, targets=[0, 0, 1], target_names=["news", "code"])
    >>> [point.weights.round(2).tolist() for point in pareto(table, ("news", "code"), points=3)]
    [[0.0, 1.0], [0.52, 0.48], [1.0, 0.0]]
    """
    if isinstance(targets, str) or len(targets) != 2 or targets[0] == targets[1]:
        raise InputError(f"targets should be the names of two different targets; found {targets!r}")
    if not isinstance(points, (int, np.integer)) or isinstance(points, bool) or points < 2:
        raise InputError(f"points should be a whole number of at least 2; found {points!r}")
    check_settings(prior, shrinkage, tolerance, 1e-10, cross_validated=False)
    problem = TargetProblem.of(table, targets, prior, shrinkage, constraints, sizes)
    curve = ParetoCurve(problem.targets, tolerance).points(int(points), problem.start)
    offsets = problem.offsets
    return tuple(
        ParetoPoint(
            problem.allowed.full(p.weights),
            dict(zip(problem.names, (p.loss - offsets).tolist(), strict=True)),
            p.share,
            p.gap,
        )
        for p in curve
    )


@dataclass(frozen=True)
class ParetoCurve:
    """The curve of two targets, point by point; `TwoTargets` is what it needs to know of them."""

    targets: TwoTargets
    tolerance: float

    def points(self, count: int, start: Array) -> list[_Found]:
        """Return at most `count` points, from the best for the second target to the best for the first."""
        ends = self.targets.best(self.tolerance / 2, start)
        gaps = ends.value - ends.least
        middle = ends.weights.mean(0)
        found = [self._found(ends.weights[1], 0.0, gaps[1]), self._found(ends.weights[0], 1.0, gaps[0])]
        while len(found) < count:
            heights = [_height(p, q) for p, q in pairwise(found)]
            i = int(np.argmax(heights))
            if heights[i] <= self.tolerance:
                break
            p, q = found[i], found[i + 1]
            share = _chord(p, q)
            near = (p.weights + q.weights) / 2
            near = near if np.isfinite(self.targets.at(near).loss).all() else START * near + (1 - START) * middle
            end = self.targets.least_sum(np.array([share, 1 - share]), self.tolerance, near)
            found.insert(i + 1, self._found(end.point.weights, share, end.gap))
        return _monotone(found)

    def _found(self, w: Array, share: float, gap: float) -> _Found:
        at = self.targets.at(w)
        return _Found(w, at.loss, at.penalty, share, gap)


def _chord(p: _Found, q: _Found) -> float:
    """Return the lambda for which both points are worth the same, or a middle one where that is not between theirs."""
    with np.errstate(invalid="ignore", divide="ignore"):
        a, b = p.value - q.value
        share = -b / (a - b)
    return float(share) if p.share < share < q.share else (p.share + q.share) / 2


def _height(p: _Found, q: _Found) -> float:
    """Return how far the curve between two points can lie below their chord, in nats of the weighted sum."""
    if not (np.isfinite(p.value).all() and np.isfinite(q.value).all()):
        return np.inf if q.share - p.share > 1e-3 else 0.0
    M = np.array([[p.share, 1 - p.share], [q.share, 1 - q.share]])
    corner = np.linalg.solve(M, np.array([M[0] @ p.value, M[1] @ q.value]))  # where the tangents meet
    a, b = p.value - q.value
    if a <= 0 or b >= 0:  # one is as good as the other for both targets
        return 0.0
    share = -b / (a - b)
    return float(np.array([share, 1 - share]) @ (p.value - corner)) if p.share < share < q.share else 0.0


def _monotone(found: list[_Found]) -> list[_Found]:
    """Return for each lambda the best of all weights that were found: so losses are monotone, and gaps no larger."""
    values = np.stack([f.value for f in found])
    out: list[_Found] = []
    for f in found:
        with np.errstate(invalid="ignore"):
            worth = np.nan_to_num(f.share * values[:, 0], nan=0.0) + np.nan_to_num(
                (1 - f.share) * values[:, 1], nan=0.0
            )
        least = float(worth.min())
        ties = np.flatnonzero(worth <= least + 1e-13 * (1 + abs(least)))
        best = found[int(ties[values[ties].sum(1).argmin()])]
        own = float(worth[found.index(f)])
        out.append(replace(best, share=f.share, gap=max(0.0, f.gap - max(0.0, own - least))))
    ends = (out[0].share, out[-1].share)
    kept: list[_Found] = []
    for f in out:
        if kept and f.weights is kept[-1].weights:
            if f.share == ends[1] and kept[-1].share != ends[0]:
                kept[-1] = f
            elif f.share == ends[1]:
                kept.append(f)
            continue
        kept.append(f)
    return kept
