"""The improvement of a search over other weights, on rows that the weights were fitted without."""

from __future__ import annotations

import numpy as np

from mixwright.search.resampling.resample import (
    FoldFits,
    SearchProblem,
    assign_folds,
    choose,
    effective_rows,
    fit_folds,
    improvement_interval,
    paired_error,
)
from mixwright.search.solver.evidence import Array


def out_of_fold(problem: SearchProblem, shrinkage: float, seed: int, fits: FoldFits | None) -> tuple[Array, Array]:
    """
    Return the losses [n], [n] of rows under weights fitted without their fold: shrinkage chosen without it, and given.

    `fits` come from the cross-validation that chose the shrinkage; None where it was given.
    """
    if fits is None:
        fold = assign_folds(problem.share, seed)[problem.document]
        fits = fit_folds(problem, fold, (shrinkage,), pairs=False)
    nested, given = np.empty(problem.rows.n), np.empty(problem.rows.n)
    chosen = _nested_choice(problem, fits)
    for position, (left,) in enumerate(fits.left_out):
        inside, losses = fits.losses([position], left)
        nested[inside] = losses[chosen[left], 0]
        given[inside] = losses[fits.grid.index(shrinkage), 0]
    return nested, given


def _nested_choice(problem: SearchProblem, fits: FoldFits) -> list[int]:
    """Return, for each fold, the position on the grid that cross-validation without that fold chooses."""
    folds = len(fits.left_out)
    if len(fits.grid) == 1:
        return [0] * folds
    pairs = fit_folds(problem, fits.fold, fits.grid, pairs=True)
    chosen = []
    for outer in range(folds):
        losses, keep = np.zeros((len(fits.grid), problem.rows.n)), fits.fold != outer
        for inner in range(folds):
            if inner != outer:
                fit = pairs.left_out.index((min(inner, outer), max(inner, outer)))
                inside, loss = pairs.losses([fit], inner)
                losses[:, inside] = loss[:, 0]
        chosen.append(choose(losses[:, keep], problem.rows.c[keep], problem.document[keep]))
    return chosen


def improvement(
    problem: SearchProblem, there: Array, ours: Array, scored: tuple[Array, Array], level: float
) -> tuple[float, float, float]:
    """
    Return (estimate, low, high) of the mean of `there` - the losses out of fold, nats per row.

    Parameters
    ----------
    problem
        The rows.
    there, ours
        [n], the losses under the weights to compare with, and under the result's own.
    scored
        What `out_of_fold` returned.
    level
        Of the interval.

    Notes
    -----
    The spread of one fit's loss about the mean of such fits is sqrt(p / 2) / m for p free weights and m effective
    rows. p is m times the optimism (out-of-fold minus in-sample): for the p weights of a likelihood both are
    chi-square terms.
    """
    counted = problem.rows.c > 0
    c, document = problem.rows.c[counted], problem.document[counted]
    nested, given = (paired_error((there - own)[counted], c, document) for own in scored)
    in_sample = float(c @ (there - ours)[counted])
    effective = effective_rows((there - scored[0])[counted], c, document)
    own = float(np.sqrt(max(in_sample - given[0], 0.0) / (2 * effective)))
    return improvement_interval(nested, given, own, level)
