"""What a proposal depends on: each source's weight, and each measured mixture."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mixwright.checks import is_number
from mixwright.errors import InputError
from mixwright.runs.folds import fit_all
from mixwright.runs.optimum.prediction import Predictor
from mixwright.runs.result import RunSearchResult

Array = NDArray[np.float64]
MOST = 300  # mixtures that are left out in turn: of more, the nearest to the proposal
SHOWN = 10  # of them, with the largest changes, for which the proposal is sought again


@dataclass(frozen=True, eq=False)
class Sensitivity:
    """
    What it costs to move one source's weight away from the proposal, while the others keep their proportions.

    less, more [k]: the predicted loss minus the proposal's after a weight is lower or higher by `step` (as far as 0
    and 1 allow).
    """

    step: float
    less: Array
    more: Array


@dataclass(frozen=True)
class Influence:
    """
    What a fit without one measured mixture says.

    change: the predicted loss of the proposal minus what it is with the mixture. moved: how much weight moves from the
    proposal to the one that is found without the mixture.
    """

    run: str
    change: float
    moved: float


def moved_to(weights: Array, i: int, to: Array) -> Array:
    """Return weights [n, k] in which source i has `to` [n], the others their proportions."""
    rest = np.delete(weights, i)
    rest = rest / rest.sum() if rest.sum() > 0 else np.full(rest.size, 1 / max(rest.size, 1))
    return np.insert((1 - to)[:, None] * rest, i, to, axis=1) if rest.size else np.ones((to.size, 1))


def sensitivity(found: RunSearchResult, step: float = 0.05) -> Sensitivity:
    """
    Return what moving each source's weight away from a proposal costs, by the law's predictions as they stand.

    Raises
    ------
    InputError
        For trainings in phases, or a step that is no share.
    """
    if found.table.phases > 1:
        raise InputError("sensitivity is of trainings in one phase; found a table with phases")
    if not is_number(step) or not 0 < step < 1:
        raise InputError(f"step should be a share above 0 and below 1, such as 0.05; found {step!r}")
    w = found.weights
    ends = [moved_to(w, i, np.clip([w[i] - step, w[i] + step], 0.0, 1.0)) for i in range(w.size)]
    losses = found.predict(np.concatenate(ends), None).reshape(-1, 2) - found.predict(w, None)
    return Sensitivity(float(step), losses[:, 0], losses[:, 1])


def influence(found: RunSearchResult) -> tuple[Influence, ...]:
    """
    Return the mixtures that carry a fit, the largest change of the predicted loss first.

    Each of at most 300 mixtures (the nearest to the proposal) is left out in turn, repeats together, with the law's
    hyperparameters kept; for the ten with the largest change the proposal is sought again. Nothing for trees, whose
    fits take long.
    """
    taken, measured, problem = found.choice.taken, found._measured, found._problem
    if not all(law.smooth for law in taken.fitted) or measured.n <= taken.law.fewest:
        return ()
    flat = problem.full(found._at)[None]
    rows = np.argsort(np.abs(measured.W - flat).sum(1), kind="stable")[:MOST]
    changes = []
    for i in rows:
        laws = fit_all(taken.law, measured.take(np.delete(np.arange(measured.n), i)), taken.fitted)
        changes.append(
            float(Predictor(found.goal, laws, found._optimism[0], measured.W).mean(flat)[0]) - found.predicted
        )
    order = np.argsort(-np.abs(changes), kind="stable")[:SHOWN]
    return tuple(Influence(measured.names[rows[j]], changes[j], _moved_without(found, int(rows[j]))) for j in order)


def _moved_without(found: RunSearchResult, i: int) -> float:
    measured = found._measured.take(np.delete(np.arange(found._measured.n), i))
    laws = fit_all(found.choice.taken.law, measured, found.choice.taken.fitted)
    scale, tolerance = found._scale, 10 * found.settings.tolerance
    pull = found.shrinkage * scale
    again = found._problem.minimise_from(laws, found.goal, pull, [found._at], tolerance * scale, scale)
    return float(np.abs(again.weights - found._at).sum() / 2)
