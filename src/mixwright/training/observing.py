"""From a training's own steps to observations: what each source's rows lost since the last one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mixwright.mixture import Mixture
from mixwright.observation import Observation
from mixwright.stream.plan.ledger import Ledger
from mixwright.training.sampled import GRADIENTS, SampledStatistics, level_for

Array = NDArray[np.float64]
Measure = Callable[[Any], Array]  # model -> [k] or [m]
GIVEN = frozenset({"planned", "loss"}) | GRADIENTS  # what every training can report; the rest is measured


class StepLosses(NamedTuple):
    """
    What a step's rows lost, over all ranks.

    `counts` [k] rows with a finite loss; `sums` [k] of their losses (a row's: mean nats per token); `bad` [k] rows
    whose loss is not finite.
    """

    counts: Array
    sums: Array
    bad: Array

    @classmethod
    def of_rows(cls, source: NDArray[np.integer[Any]], losses: Array, k: int) -> StepLosses:
        """Return the sums of rows with sources [b] and losses [b]."""
        finite = np.isfinite(losses)
        parts = (finite, np.where(finite, losses, 0.0), ~finite)
        return cls(*(np.asarray(np.bincount(source, part, k), np.float64) for part in parts))

    @property
    def mean(self) -> float | None:
        """Return the mean over the rows with a finite loss; None without any."""
        return float(self.sums.sum() / self.counts.sum()) if self.counts.any() else None

    def by_source(self, names: tuple[str, ...]) -> dict[str, float]:
        """Return the mean loss of each source that had rows."""
        seen = np.flatnonzero(self.counts)
        return {names[i]: float(self.sums[i] / self.counts[i]) for i in seen}

    def plus(self, other: StepLosses) -> StepLosses:
        """Return the sums of both."""
        return StepLosses(*(a + b for a, b in zip(self, other, strict=True)))


class Observer:
    """
    Adds up what the steps since the last observation showed, and hands it to a mixture.

    Parameters
    ----------
    mixture
        Whose strategy is told.
    every
        Steps between two observations.
    batch_size
        Rows of a step.
    measures
        {field of Observation: model -> array}: measured when an observation is due, held-out losses for example.
    statistics_steps
        Steps before each observation in which gradient statistics are taken, where the strategy reads them.
    always
        Whether they are taken in any case, with all fields.

    Attributes
    ----------
    statistics
        The training runs its forward and backward passes within `statistics.observe`; None where none are taken.

    Raises
    ------
    InputError
        If the strategy needs what nothing here reports; the message names it.
    """

    _losses: StepLosses
    _planned: Array
    _steps: int

    def __init__(
        self,
        mixture: Mixture,
        every: int,
        batch_size: int,
        measures: Mapping[str, Measure],
        statistics_steps: int = 4,
        always: bool = False,
    ) -> None:
        mixture.check({*GIVEN, *measures}, apply="sampling", draw="carry")
        self.mixture, self._every, self._batch_size = mixture, every, batch_size
        read = mixture.strategy.needs | mixture.strategy.uses
        self._measures = {name: measure for name, measure in measures.items() if name in read}
        level = level_for(GRADIENTS if always else read)
        self.statistics = None if level is None else SampledStatistics(mixture.k, level, every, statistics_steps)
        self._clear()

    def step(self, step: int, losses: StepLosses, weights: Array, model: Any, ledger: Callable[[], Ledger]) -> bool:
        """
        Take in a step and, when one is due, observe; return whether the mixture was told.

        Parameters
        ----------
        step
            From 0, the one that was done.
        losses
            Of its rows.
        weights
            [k], those that drew them.
        model
            After the step.
        ledger
            Returns the plan's account, for the log.
        """
        self._losses = self._losses.plus(losses)
        self._planned += weights
        self._steps += 1
        if (step + 1) % self._every:
            return False
        with np.errstate(invalid="ignore"):
            loss = self._losses.sums / self._losses.counts
        found = {name: measure(model) for name, measure in self._measures.items()}
        if self.statistics is not None:
            found |= self.statistics.fields(step, self._batch_size)
        observation = Observation(
            step=step,
            batch_size=self._batch_size,
            counts=self._losses.counts,
            planned=self._planned / self._steps,
            loss=loss,
            **found,
        )
        self.mixture.observe(observation, ledger())
        self._clear()
        return True

    def _clear(self) -> None:
        k = self.mixture.k
        self._losses = StepLosses(np.zeros(k), np.zeros(k), np.zeros(k))
        self._planned, self._steps = np.zeros(k), 0

    def state_dict(self) -> dict[str, Any]:
        """Return the state as JSON-able values, the mixture's included."""
        return {
            "losses": [values.tolist() for values in self._losses],
            "planned": self._planned.tolist(),
            "steps": self._steps,
            "mixture": self.mixture.state_dict(),
            "statistics": None if self.statistics is None else self.statistics.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where a state was taken."""
        self.mixture.load_state_dict(state["mixture"])
        self._losses = StepLosses(*map(np.array, state["losses"]))
        self._planned, self._steps = np.array(state["planned"]), int(state["steps"])
        if self.statistics is not None:
            self.statistics.load_state_dict(state["statistics"])
