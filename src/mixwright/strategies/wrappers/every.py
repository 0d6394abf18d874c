"""A strategy that is updated now and then, with all that was observed in between."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mixwright.checks import whole_number
from mixwright.observation import Observation
from mixwright.strategies.observation_pool import Pool
from mixwright.strategies.wrappers.wrapper import Wrapper
from mixwright.strategy import carrying

Array = NDArray[np.float64]


class EveryState(NamedTuple):
    """The step of the last update (-1: none), what was observed since then, and the state inside."""

    updated: int
    pool: Pool
    inner: Any


@dataclass(frozen=True)
class Every(Wrapper[EveryState]):
    """
    Update the strategy inside at most once in `steps` steps, with the observations in between pooled into one.

    How they are pooled says `Pool`: counts are summed, losses and gradient statistics averaged by the examples of the
    source, unknown values left out, held-out losses are the latest. The update comes with the first observation that is
    `steps` or more after the last update (or the start), so it does not matter how often the training observes.

    Parameters
    ----------
    strategy
        The strategy inside.
    steps
        Steps between updates.
    """

    steps: int

    also_carries = carrying(kept="updated")

    def __post_init__(self) -> None:
        """Check the arguments."""
        super().__post_init__()
        object.__setattr__(self, "steps", whole_number(self.steps, "steps between updates"))

    def init(self, prior: Array) -> EveryState:
        return EveryState(-1, Pool.empty(len(prior), self.reads()), self.strategy.init(prior))

    def update(self, state: EveryState, obs: Observation) -> EveryState:
        pool = state.pool.add(obs)
        if obs.step - state.updated < self.steps:
            return state._replace(pool=pool)
        inner = self.strategy.update(state.inner, pool.observation())
        return EveryState(obs.step, Pool.empty(len(obs.counts), self.reads()), inner)

    def weights(self, state: EveryState) -> Array:
        return self.strategy.weights(state.inner)

    def remarks(self, state: EveryState) -> dict[str, Any]:
        updated_now = state.pool.step == -1  # an alarm is about the last update, and is reported once
        remarks = self.strategy.remarks(state.inner)
        return remarks if updated_now else {name: value for name, value in remarks.items() if name != "alarm"}
