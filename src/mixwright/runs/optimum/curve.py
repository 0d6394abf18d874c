"""The Pareto curve of two targets under fitted laws."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mixwright.runs.goal import Goal
from mixwright.runs.laws import FittedLaw
from mixwright.runs.measured import Measured
from mixwright.runs.optimum.minimise import Least
from mixwright.runs.optimum.outer import WeightedSum
from mixwright.runs.optimum.problem import Problem
from mixwright.search.solver.minimax import Best

Array = NDArray[np.float64]


class _At(NamedTuple):
    weights: Array
    loss: Array
    penalty: float


class _End(NamedTuple):
    point: _At
    gap: float


@dataclass(frozen=True, eq=False)
class TwoLaws:
    """Two targets with their fitted laws, as the curve needs them."""

    problem: Problem
    laws: Sequence[FittedLaw]  # of two targets
    measured: Measured
    targets: tuple[str, str]
    pull: float

    def best(self, tolerance: float, start: Array) -> Best:
        """Return the optimum of each target alone."""
        found = [self._least(shares, tolerance, start) for shares in np.eye(2)]
        value = np.array([one.value for one in found])
        return Best(np.stack([one.weights for one in found]), value, value - np.array([one.gap for one in found]))

    def least_sum(self, shares: Array, tolerance: float, start: Array) -> _End:
        """Return the minimum of the weighted sum."""
        found = self._least(shares, tolerance, start)
        return _End(self.at(found.weights), found.gap)

    def at(self, w: Array) -> _At:
        """Return the predicted losses [2] and the pull's part at weights of the allowed positions."""
        objective = self.problem.objective(self.laws, WeightedSum(np.full(2, 0.5)), self.pull)
        return _At(w, objective.losses(w[None])[0], float(objective.penalty(w[None])[0]))

    def _least(self, shares: Array, tolerance: float, start: Array) -> Least:
        goal = Goal(self.targets, shares)
        runs = np.argsort(self.measured.Y @ shares)[:8]
        starts = [start, *(self.measured.W[i][self.problem.positions] for i in runs)]
        return self.problem.minimise_from(self.laws, goal, self.pull, starts, tolerance, 1.0)
