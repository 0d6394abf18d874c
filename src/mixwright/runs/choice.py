"""Which law: by the error out of fold, said beside the result."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mixwright.errors import InputError
from mixwright.runs.folds import Held, fit_all, held_out, near_fit, partitions
from mixwright.runs.goal import Goal
from mixwright.runs.laws import LAWS, law_named
from mixwright.runs.laws.law import FittedLaw, Law
from mixwright.runs.measured import Measured
from mixwright.runs.scores import LawScores, score

Array = NDArray[np.float64]
BASELINE = "log_exposure"


@dataclass(frozen=True, eq=False)
class Candidate:
    """A law fitted to all mixtures, with what it said of each mixture without having seen it."""

    law: Law
    fitted: tuple[FittedLaw, ...]
    held: tuple[Held, ...]
    scores: LawScores

    def errors(self, goal: Goal, measured: Measured) -> Array:
        """Return the squared errors [partitions, n] of what counts."""
        return np.stack([(goal.loss(h.predicted) - goal.loss(measured.Y)) ** 2 for h in self.held])


@dataclass(frozen=True, eq=False)
class Choice:
    """The law that was taken, all that stood beside it, and the scores of choosing (each fold by the others)."""

    taken: Candidate
    candidates: dict[str, Candidate]
    nested: LawScores
    notes: tuple[str, ...] = field(default=())


def choose(law: Any, measured: Measured, goal: Goal, seed: int) -> Choice:
    """
    Return the law with the least squared error out of fold among those that are asked for.

    Raises
    ------
    InputError
        For a law that does not exist, needs exposures that are not known, or cannot bear so few mixtures.
    """
    laws, notes = asked(law, measured)
    folds = partitions(measured.n, seed)
    found = {one.name: _candidate(one, measured, goal, folds) for one in laws}
    errors = np.stack([one.errors(goal, measured) for one in found.values()])  # [laws, partitions, n]
    names = list(found)
    if law == "auto" and BASELINE in names and len(names) > 1:
        errors[names.index(BASELINE)] = np.inf  # it stands beside, and is not chosen
    best = names[int(errors.mean((1, 2)).argmin())]
    return Choice(found[best], found, _nested(list(found.values()), errors, measured, goal), notes)


def asked(law: Any, measured: Measured) -> tuple[list[Law], tuple[str, ...]]:
    """Return the laws that a name, a list of them or "auto" stands for; InputError where one cannot be fitted."""
    if isinstance(law, Law):
        laws = [law]
    elif isinstance(law, str) and law == "auto":
        laws = [one for one in (law_named(name) for name in LAWS) if one.automatic(measured.n, measured.E is not None)]
    else:
        laws = [law_named(name) if isinstance(name, str) else name for name in ([law] if isinstance(law, str) else law)]
    if not laws:
        raise InputError(f"a law needs at least 7 different mixtures; found {measured.n}; train more runs")
    for one in (law for each in laws for law in each.needed()):
        require(one, measured)
    return laws, ()


def require(law: Law, measured: Measured) -> None:
    """Raise InputError where a law cannot be fitted."""
    if law.exposures and measured.E is None:
        raise InputError(
            f"the law {law.name!r} needs exposures: the tokens of each run and the size of each source; give tokens= "
            "and sources= (or sizes=), or take another law"
        )
    least = int(np.ceil(law.fewest / 0.8))  # a fold is left out
    if measured.n < least:
        raise InputError(
            f"the law {law.name!r} needs at least {least} different mixtures; found {measured.n}; train more runs"
            + ("" if law.name == "linear" else ", or take the linear law")
        )


def _candidate(law: Law, measured: Measured, goal: Goal, folds: Sequence[NDArray[np.intp]]) -> Candidate:
    fitted = fit_all(law, measured)
    held = tuple(held_out(law, measured, fold, near_fit(measured, fitted)) for fold in folds)
    total = goal.loss(measured.Y)
    each = [score(goal.loss(h.predicted), total) for h in held]
    mean = LawScores(*(float(np.mean([getattr(s, name) for s in each])) for name in ("spearman", "rmse", "regret")))
    return Candidate(law, fitted, held, mean)


def _nested(candidates: Sequence[Candidate], errors: Array, measured: Measured, goal: Goal) -> LawScores:
    """Return the scores of predictions for each fold by the law that the other folds would have chosen."""
    total, each = goal.loss(measured.Y), []
    for p, held in enumerate(candidates[0].held):
        predicted = np.empty(measured.n)
        for f in range(int(held.fold.max()) + 1):
            inside = held.fold == f
            best = int(errors[:, p, ~inside].mean(1).argmin())
            predicted[inside] = goal.loss(candidates[best].held[p].predicted[inside])
        each.append(score(predicted, total))
    return LawScores(*(float(np.mean([getattr(s, name) for s in each])) for name in ("spearman", "rmse", "regret")))
