"""A weighted sum of targets as the rows of one search, and the loss of each target under some weights."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from mixwright.errors import InputError
from mixwright.search.table.table import LikelihoodTable

Array = NDArray[np.float64]
_BLOCK = 1 << 20


def sum_of_targets(table: LikelihoodTable, target_weights: Mapping[str, float] | None, row_weights: Array) -> Array:
    """
    Return the row weights [n], with sum 1, of sum_t a_t f_t: each target's own have sum a_t (normalised).

    `row_weights` [n] count within a target. Without `target_weights` the rows must be those of one target.

    Raises
    ------
    InputError
        For several targets without weights, a target that is not in the table or has no rows with weight, and weights
        that are negative or all zero.
    """
    targets = np.asarray(table.targets)
    names = ", ".join(table.target_names[:5])
    if target_weights is None:
        if targets.min() != targets.max():
            raise InputError(
                f"the rows should be those of one target; found {len(table.target_names)} ({names}); choose one with "
                "table.select(name), give target_weights={name: weight}, or use mixwright.WorstRegret"
            )
        return row_weights
    if not isinstance(target_weights, Mapping) or not target_weights:
        raise InputError(f"target_weights should be a mapping from targets to weights; found {target_weights!r}")
    share = np.zeros(len(table.target_names))
    for name, value in target_weights.items():
        if name not in table.target_names:
            raise InputError(f"target_weights should name targets of the table ({names}); found {name!r}; correct it")
        if isinstance(value, bool) or not isinstance(value, (int, float, np.integer, np.floating)) or not value >= 0:
            raise InputError(f"the weight of target {name!r} should be a number of at least 0; found {value!r}")
        share[table.target_names.index(name)] = value
    if not 0 < share.sum() < np.inf:
        raise InputError(f"target_weights should have a positive, finite sum; found {share.sum():g}")
    total = np.bincount(targets, row_weights, minlength=share.size)
    for t in np.flatnonzero((share > 0) & (total == 0)):
        raise InputError(
            f"target {table.target_names[t]!r} has a weight and should have rows with weight; found none; leave it out"
        )
    scale = np.divide(share / share.sum(), total, out=np.zeros_like(share), where=share > 0)
    return row_weights * scale[targets]


def losses_by_target(table: LikelihoodTable, w: Array) -> dict[str, float]:
    """Return {target: loss}, nats per row of that target by the table's own row weights, under weights `w` [k]."""
    used, targets = np.flatnonzero(w), np.asarray(table.targets)
    logs, c = np.log(w[used])[:, None], np.asarray(table.weights, np.float64)
    loss, total = np.zeros(len(table.target_names)), np.bincount(targets, c, minlength=len(table.target_names))
    step = max(1, _BLOCK // used.size)
    for start in range(0, table.n, step):
        part = slice(start, min(start + step, table.n))
        rows = np.logaddexp.reduce(table.by_source(part.start, part.stop, used) + logs, axis=0)
        rows = np.where(c[part] > 0, rows, 0.0)
        loss -= np.bincount(targets[part], c[part] * rows, minlength=loss.size)
    return {name: float(loss[t] / total[t]) for t, name in enumerate(table.target_names) if total[t] > 0}
