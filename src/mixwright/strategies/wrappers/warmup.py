"""The prior for a while, then a strategy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mixwright.checks import whole_number
from mixwright.observation import Observation
from mixwright.strategies.wrappers.wrapper import Wrapper
from mixwright.strategy import carrying

Array = NDArray[np.float64]


class WarmupState(NamedTuple):
    """The prior [k], whether the warm-up is over, and the state inside."""

    prior: Array
    over: bool
    inner: Any


@dataclass(frozen=True)
class Warmup(Wrapper[WarmupState]):
    """
    The prior until step `steps`; from the first observation of that step or a later one on, the strategy inside.

    The strategy is not given what was observed before: losses and gradients of a model that has learnt nothing yet
    (norms change by decades there) would otherwise move its weights, and these would jump when the warm-up ends.

    Parameters
    ----------
    strategy
        The strategy inside.
    steps
        The number of steps, from 0, whose observations are not used.
    """

    steps: int

    also_carries = carrying(weights="prior", kept="over")

    def __post_init__(self) -> None:
        """Check the arguments."""
        super().__post_init__()
        object.__setattr__(self, "steps", whole_number(self.steps, "steps of a warm-up", 0))

    def init(self, prior: Array) -> WarmupState:
        return WarmupState(prior.copy(), self.steps == 0, self.strategy.init(prior))

    def update(self, state: WarmupState, obs: Observation) -> WarmupState:
        if obs.step < self.steps:
            return state
        return WarmupState(state.prior, True, self.strategy.update(state.inner, obs))

    def weights(self, state: WarmupState) -> Array:
        return self.strategy.weights(state.inner) if state.over else state.prior.copy()

    def starts_at(self, prior: Array) -> Array:
        return self.strategy.starts_at(prior) if self.steps == 0 else prior.copy()

    def remarks(self, state: WarmupState) -> dict[str, Any]:
        return self.strategy.remarks(state.inner) if state.over else {}
