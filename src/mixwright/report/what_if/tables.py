"""The what-if part from tables of likelihoods and from what a search found on them; a page of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mixwright.constraints.limits import Constraints
from mixwright.constraints.polytope import Polytope
from mixwright.report.what_if.numbers import Curve, Mark, PageRows, draw_rows, make_what_if, rows_each
from mixwright.search.pareto import ParetoPoint, pareto
from mixwright.search.resampling.sampled import in_memory
from mixwright.search.table.table import LikelihoodTable
from mixwright.search.table.target_weights import losses_by_target

Array = NDArray[np.float64]
CURVES = 10  # pairs of targets that get a curve: those of five targets
POINTS = 15
_BLOCK = 1 << 20


@dataclass(frozen=True, eq=False)
class TargetTable:
    """All rows of one target, in a table of its own; `optimum` is the mark that a search found for it."""

    target: str
    table: LikelihoodTable
    optimum: int | None = None


def what_if_of_tables(
    tables: Sequence[TargetTable],
    marks: Sequence[Mark],
    *,
    space: Polytope | None = None,
    groups: Mapping[str, Sequence[str]] | None = None,
    most_rows: int | None = None,
    seed: int = 0,
) -> dict[str, Any]:
    """
    Return the what-if object of tables with the same sources.

    Rows are drawn with the seed; the losses of marks are of all rows. Curves are of the drawn rows: the page computes
    the moving point on the same.
    """
    sources = tables[0].table.sources
    counts = [int(np.count_nonzero(part.table.weights)) for part in tables]
    most = rows_each(counts, len(sources)) if most_rows is None else rows_each(counts, len(sources), most_rows)
    kept = [(part, number, count) for part, number, count in zip(tables, most, counts, strict=True) if number]
    targets = [_rows(part, marks, number, count, seed) for part, number, count in kept]
    left_out = [part.target for part, number in zip(tables, most, strict=True) if not number]
    return make_what_if(
        sources,
        targets,
        marks,
        space=space,
        groups=groups,
        curves=_curves(targets, space),
        seed=seed,
        left_out=left_out,
    )


def best_singles(table: LikelihoodTable) -> Array:
    """Return the loss [k] of each source alone on all rows of a one-target table, nats per row."""
    total = np.zeros(table.k)
    step = max(1, _BLOCK // table.k)
    for start in range(0, table.n, step):
        stop = min(start + step, table.n)
        c = np.asarray(table.weights[start:stop], np.float64)
        total -= c[c > 0] @ table.block(start, stop)[c > 0]
    return total / float(np.sum(table.weights))


def _rows(part: TargetTable, marks: Sequence[Mark], most: int, of: int, seed: int) -> PageRows:
    table = part.table
    chosen = draw_rows(np.asarray(table.weights, np.float64), most, seed)
    losses = [next(iter(losses_by_target(table, mark.weights).values())) for mark in marks]
    return PageRows(
        part.target,
        table.unit,
        in_memory(table, chosen).block(0, chosen.size),
        np.asarray(table.weights, np.float64)[chosen],
        of,
        [loss if np.isfinite(loss) else None for loss in losses],
        part.optimum,
    )


def _curves(targets: Sequence[PageRows], space: Polytope | None) -> list[Curve]:
    """Return the Pareto curves of pairs of targets that are measured in the same way, the first few of them."""
    pairs = [pair for pair in combinations(range(len(targets)), 2) if _comparable(targets[pair[0]], targets[pair[1]])]
    limits = None if space is None else constraints_of(space)
    return [_curve(targets, pair, limits) for pair in pairs[:CURVES]]


def _comparable(a: PageRows, b: PageRows) -> bool:
    """Two units of one target are no two targets."""
    return a.target != b.target


def _curve(targets: Sequence[PageRows], pair: tuple[int, int], limits: Constraints | None) -> Curve:
    a, b = (targets[i] for i in pair)
    table = LikelihoodTable.from_array(
        np.vstack([a.log_likelihood, b.log_likelihood]),
        weights=np.concatenate([a.weights, b.weights]),
        targets=np.repeat([0, 1], [len(a.weights), len(b.weights)]),
        target_names=["a", "b"],
    )
    points = pareto(table, ("a", "b"), POINTS, constraints=limits, tolerance=1e-5)
    losses = np.array([_losses(table, point) for point in points])
    shown = np.isfinite(losses).all(1)  # a mixture under which a row is impossible has no place in a picture
    return Curve(pair, losses[shown], np.array([point.weights for point in points])[shown])


def _losses(table: LikelihoodTable, point: ParetoPoint) -> list[float]:
    """Return a point's losses, from the logs where likelihoods relative to a row's largest are below any number."""
    found = [point.losses["a"], point.losses["b"]]
    return found if np.isfinite(found).all() else list(losses_by_target(table, point.weights).values())


def constraints_of(space: Polytope) -> Constraints:
    """Return the limits of a polytope of shares, by position: bounds, sums of weights, the distance."""
    groups: dict[str, list[str]] = {}
    floors: dict[str, float] = {}
    caps: dict[str, float] = {}
    for j, (row, limit) in enumerate(zip(space.rows, space.limits, strict=True)):
        name = f"group {j}"
        groups[name] = [f"source_{i}" for i in np.flatnonzero(row)]
        if row.sum() > 0:
            caps[name] = float(limit)
        else:
            floors[name] = float(-limit)
    far = space.centre is not None
    return Constraints(
        floors=np.maximum(space.lower, 0.0),
        caps=np.minimum(space.upper, 1.0),
        groups=groups or None,
        group_floors=floors or None,
        group_caps=caps or None,
        max_distance=space.radius if far else None,
        prior=space.centre if far else None,
    )
