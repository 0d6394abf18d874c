"""From a training's own steps to observations: what each source's rows lost since the last one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mixwright.mixture import Mixture
from mixwright.observation import Observation
from mixwright.stream.ledger import Ledger
from mixwright.training.batches import Batch

Array = NDArray[np.float64]
Measure = Callable[[Any], Array]  # model -> [k] or [m]
GIVEN = frozenset({"planned", "loss"})  # what every training reports; the rest is measured


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

    Raises
    ------
    InputError
        If the strategy needs what nothing here reports; the message names it.
    """

    def __init__(self, mixture: Mixture, every: int, batch_size: int, measures: Mapping[str, Measure]) -> None:
        mixture.check({*GIVEN, *measures}, apply="sampling", draw="carry")
        self.mixture, self._every, self._batch_size = mixture, every, batch_size
        read = mixture.strategy.needs | mixture.strategy.uses
        self._measures = {name: measure for name, measure in measures.items() if name in read}
        self._clear()

    def step(self, step: int, batch: Batch, losses: Array, model: Any, ledger: Callable[[], Ledger]) -> bool:
        """
        Take in a step and, when one is due, observe; return whether the mixture was told.

        Parameters
        ----------
        step
            From 0, the one that was done.
        batch
            Its rows.
        losses
            [B], mean loss of each row, nats per token.
        model
            After the step.
        ledger
            Returns the plan's account, for the log.
        """
        k = self.mixture.k
        self._counts += np.bincount(batch.source, minlength=k)
        self._losses += np.bincount(batch.source, losses, k)
        self._planned += batch.weights
        self._steps += 1
        if (step + 1) % self._every:
            return False
        with np.errstate(invalid="ignore"):
            loss = self._losses / self._counts
        measured = {name: measure(model) for name, measure in self._measures.items()}
        observation = Observation(
            step=step,
            batch_size=self._batch_size,
            counts=self._counts,
            planned=self._planned / self._steps,
            loss=loss,
            **measured,
        )
        self.mixture.observe(observation, ledger())
        self._clear()
        return True

    def _clear(self) -> None:
        k = self.mixture.k
        self._counts, self._losses, self._planned, self._steps = np.zeros(k), np.zeros(k), np.zeros(k), 0

    def state_dict(self) -> dict[str, Any]:
        """Return the state as JSON-able values, the mixture's included."""
        return {
            "counts": self._counts.tolist(),
            "losses": self._losses.tolist(),
            "planned": self._planned.tolist(),
            "steps": self._steps,
            "mixture": self.mixture.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where a state was taken."""
        self.mixture.load_state_dict(state["mixture"])
        self._counts, self._losses = np.array(state["counts"]), np.array(state["losses"])
        self._planned, self._steps = np.array(state["planned"]), int(state["steps"])
