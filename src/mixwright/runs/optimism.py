"""How much too good a law's favourite looks: selection inside the table, repeated where the answer is known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mixwright.runs.folds import Held, fit_all, near_fit
from mixwright.runs.goal import Goal
from mixwright.runs.laws.law import FittedLaw, Law
from mixwright.runs.measured import Measured
from mixwright.runs.optimum.problem import Problem
from mixwright.search.resampling.resample import student_quantile

Array = NDArray[np.float64]
HIDDEN = 8  # repetitions in which the better mixtures are hidden
LEFT_OUT = 0.1  # of the mixtures, at random, so that these repetitions differ
SHARE = 0.5  # of the rest that is hidden
OWN = 0.5  # squared spreads by which one pick differs from those inside the table, which share their runs
MISFIT = 0.5  # of the law's error out of fold by which the lower end is lower: a law that levels off is too pessimistic


@dataclass(frozen=True, eq=False)
class Optimism:
    """
    Measured minus predicted losses of mixtures that a law picked without having seen them, in units of its spread.

    inside [a]: picks among random folds. beyond [b]: picks among the better half, by laws that saw the worse half; this
    is the case of a proposal that is predicted to beat every run. rmse: the
    law's error out of fold, in units of the loss.
    """

    inside: Array
    beyond: Array
    rmse: float

    @property
    def picks(self) -> list[Array]:
        """Return the errors of picks among measured mixtures, by kind."""
        return [errors for errors in (self.inside, self.beyond) if errors.size]

    @property
    def mean(self) -> float:
        """Return the expected error of a pick among measured mixtures: of the harder kind, and not below 0."""
        return max(0.0, *(float(errors.mean()) for errors in self.picks))

    def ends(self, level: float) -> tuple[float, float]:
        """Return the low and high end of one pick's error: a new spread, and how picks differ, of either kind."""
        low, high = [], []
        for errors in self.picks:
            freedom = max(errors.size - 1, 2)
            half = student_quantile((1 + level) / 2, freedom) * float(np.sqrt(OWN + errors.var()))
            low.append(float(errors.mean()) - half)
            high.append(max(0.0, float(errors.mean())) + half)  # a law that was too careful here need not be elsewhere
        return min(low), max(high)


def nested_selection(
    problem: Problem,
    law: Law,
    fitted: Sequence[FittedLaw],
    measured: Measured,
    held: Sequence[Held],
    goal: Goal,
    tau: float,
    seed: int,
) -> tuple[Optimism, ...]:
    """
    Return the errors of picks: of what counts, then of each target alone at the same picks.

    `tau` is the shrinkage of the search: picks are made as the proposal is.
    """
    penalty = problem.penalty(measured, goal, tau)
    goals = [goal, *(goal.alone(j) for j in range(len(goal.targets)))]
    inside = [_pick(goals, measured, h.predicted[r], h.spread[r], r, penalty) for h in held for r in _folds(h)]
    rng = np.random.default_rng([seed, 17])
    total, beyond = goal.loss(measured.Y), []
    for _ in range(HIDDEN):
        kept = rng.permutation(measured.n)[: int(np.ceil((1 - LEFT_OUT) * measured.n))]
        hidden = total[kept] < np.quantile(total[kept], SHARE)
        seen, out = kept[~hidden], kept[hidden]
        if len(seen) < law.fewest or not len(out):
            break
        laws = fit_all(law, measured.take(seen), near_fit(measured, fitted))
        predicted = np.stack([one.predict(measured.W[out]) for one in laws], axis=1)
        spread = np.stack([one.spread(measured.W[out]) for one in laws], axis=1)
        beyond.append(_pick(goals, measured, predicted, spread, out, penalty))
    errors = [np.reshape(one, (-1, len(goals))) for one in (inside, beyond)]
    return tuple(Optimism(errors[0][:, g], errors[1][:, g], _rmse(one, measured, held)) for g, one in enumerate(goals))


def _rmse(goal: Goal, measured: Measured, held: Sequence[Held]) -> float:
    total = goal.loss(measured.Y)
    return float(np.sqrt(np.mean([(goal.loss(h.predicted) - total) ** 2 for h in held])))


def _folds(held: Held) -> list[NDArray[np.intp]]:
    return [np.flatnonzero(held.fold == f) for f in range(int(held.fold.max()) + 1)]


def _pick(
    goals: Sequence[Goal], measured: Measured, predicted: Array, spread: Array, rows: NDArray[np.intp], penalty: Array
) -> list[float]:
    """Return for each goal measured minus predicted loss, in spreads, of the mixture that the first goal picks."""
    i = int(np.argmin(goals[0].loss(predicted) + penalty[rows]))
    y, p, s = measured.Y[rows[i]][None], predicted[i][None], spread[i][None]
    return [float((goal.loss(y)[0] - goal.loss(p)[0]) / max(goal.spread(s)[0], 1e-300)) for goal in goals]
