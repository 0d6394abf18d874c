"""Mixtures left out in turn, and what a law says of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mixwright.runs.laws.law import FittedLaw, Law
from mixwright.runs.measured import Measured

Array = NDArray[np.float64]
FOLDS = 5
LARGE = 1e8  # mixtures x weights^2 x targets: beyond it, folds keep the hyperparameters of the whole
PARTITIONS = 2  # each with its own folds


@dataclass(frozen=True, eq=False)
class Held:
    """Predictions [n, m] and spreads [n, m] of mixtures by laws that did not see them, once for each partition."""

    fold: NDArray[np.intp]
    predicted: Array
    spread: Array


def fit_all(law: Law, measured: Measured, like: Sequence[FittedLaw] | None = None) -> tuple[FittedLaw, ...]:
    """
    Return the law fitted to each target [m].

    With repeats it is fitted twice: the first fit says how far means lie from the law, which with the noise gives the
    weights of the second.
    """
    out = []
    for j in range(len(measured.targets)):
        near = None if like is None else like[j]
        runs = measured.runs(j)
        fitted = law.fit(runs, near)
        if (measured.repeats > 1).any():
            misfit = float(np.mean((fitted.predict(runs.W) - runs.y) ** 2))
            fitted = law.fit(measured.runs(j, misfit), fitted)
        out.append(fitted)
    return tuple(out)


def partitions(n: int, seed: int, count: int = PARTITIONS, folds: int = FOLDS) -> list[NDArray[np.intp]]:
    """Return for each partition the fold [n] of each mixture."""
    rng = np.random.default_rng([seed, 16])
    folds = min(folds, n)
    return [rng.permutation(np.arange(n) % folds) for _ in range(count)]


def near_fit(measured: Measured, fitted: Sequence[FittedLaw]) -> Sequence[FittedLaw] | None:
    """Return what fits to part of a large table begin with: the fit to all of it, or None for a table that is small."""
    return fitted if measured.n * measured.W.shape[1] ** 2 * len(measured.targets) > LARGE else None


def held_out(law: Law, measured: Measured, fold: NDArray[np.intp], like: Sequence[FittedLaw] | None = None) -> Held:
    """
    Return what the law says of each fold after a fit to the others.

    Hyperparameters are chosen without the fold as well: those of all mixtures would flatter a law by up to .03 in rank
    correlation. Of a large table (`near_fit`) those of all are kept.
    """
    predicted, spread = np.empty_like(measured.Y), np.empty_like(measured.Y)
    for f in range(int(fold.max()) + 1):
        out = fold == f
        laws = fit_all(law, measured.take(np.flatnonzero(~out)), like)
        predicted[out] = np.stack([one.predict(measured.W[out]) for one in laws], axis=1)
        spread[out] = np.stack([one.spread(measured.W[out]) for one in laws], axis=1)
    return Held(fold, predicted, spread)
