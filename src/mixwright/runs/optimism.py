"""How much too good a law's favourite looks: selection inside the table, repeated where the answer is known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mixwright.runs.folds import Held, fit_all
from mixwright.runs.goal import Goal
from mixwright.runs.laws.law import FittedLaw, Law
from mixwright.runs.measured import Measured
from mixwright.search.resampling.resample import student_quantile

Array = NDArray[np.float64]
HIDDEN = 12  # repetitions in which the better mixtures are hidden
LEFT_OUT = 0.1  # of the mixtures, at random, so that these repetitions differ
SHARE = 0.5  # of the rest that is hidden


@dataclass(frozen=True, eq=False)
class Optimism:
    """
    Measured minus predicted losses of mixtures that a law picked among ones it had not seen, in units of its spread.

    inside [a]: picks among random folds; beyond [b]: picks among the better half, by laws that saw the worse half. The
    second is the case of a proposal that is predicted to beat every run.
    """

    inside: Array
    beyond: Array

    @property
    def errors(self) -> Array:
        """Return the errors of the harder case."""
        return self.beyond if self.beyond.size and self.beyond.mean() >= self.inside.mean() else self.inside

    @property
    def mean(self) -> float:
        """Return the expected error, in units of the spread."""
        return float(self.errors.mean())

    def quantiles(self, level: float) -> tuple[float, float]:
        """Return the low and high end of the error of one pick, in units of the spread."""
        both = self.errors
        sd = float(both.std(ddof=1)) if both.size > 1 else 1.0
        z = student_quantile((1 + level) / 2, max(both.size - 1, 1))
        half = z * float(np.sqrt(sd**2 + 1.0 / max(both.size, 1)))
        return self.mean - half, self.mean + half


def nested_selection(
    law: Law,
    like: Sequence[FittedLaw],
    measured: Measured,
    held: Sequence[Held],
    goal: Goal,
    penalty: Array,
    seed: int,
) -> Optimism:
    """
    Return the errors of picks.

    `penalty` [n] is the pull's part of the objective at each mixture.
    """
    inside = [_pick(goal, measured, h.predicted[r], h.spread[r], r, penalty) for h in held for r in _folds(h)]
    rng = np.random.default_rng([seed, 17])
    total, beyond = goal.loss(measured.Y), []
    for _ in range(HIDDEN):
        kept = rng.permutation(measured.n)[: int(np.ceil((1 - LEFT_OUT) * measured.n))]
        hidden = total[kept] < np.quantile(total[kept], SHARE)
        seen, out = kept[~hidden], kept[hidden]
        if len(seen) < law.fewest or not len(out):
            break
        laws = fit_all(law, measured.take(seen), like)
        predicted = np.stack([one.predict(measured.W[out]) for one in laws], axis=1)
        spread = np.stack([one.spread(measured.W[out]) for one in laws], axis=1)
        beyond.append(_pick(goal, measured, predicted, spread, out, penalty))
    return Optimism(np.array(inside), np.array(beyond))


def _folds(held: Held) -> list[NDArray[np.intp]]:
    return [np.flatnonzero(held.fold == f) for f in range(int(held.fold.max()) + 1)]


def _pick(
    goal: Goal, measured: Measured, predicted: Array, spread: Array, rows: NDArray[np.intp], penalty: Array
) -> float:
    value = goal.loss(predicted)
    i = int(np.argmin(value + penalty[rows]))
    return float((goal.loss(measured.Y[rows[i]][None])[0] - value[i]) / max(goal.spread(spread)[i], 1e-300))
