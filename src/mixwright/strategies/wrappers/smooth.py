"""Weights of any strategy that follow slowly."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mixwright.observation import Observation
from mixwright.strategies._checked import number
from mixwright.strategies.wrappers.wrapper import Wrapper
from mixwright.strategy import carrying

Array = NDArray[np.float64]


class SmoothState(NamedTuple):
    """The running mean [k] and the state inside."""

    mean: Array
    inner: Any


@dataclass(frozen=True)
class Smooth(Wrapper[SmoothState]):
    """
    The running mean of a strategy's weights: m <- (1 - rate) m + rate v at each update, v being the weights inside.

    For strategies that jump, such as the closed form of PiKE on noisy statistics. A mean of weights within convex
    limits is within them: `Smooth(Floor(...))` keeps the floor.

    Parameters
    ----------
    strategy
        The strategy inside.
    rate
        The share of the new weights, above 0; 1: no smoothing.
    """

    rate: float

    also_carries = carrying(weights="mean")

    def __post_init__(self) -> None:
        """Check the arguments."""
        super().__post_init__()
        object.__setattr__(self, "rate", number(self.rate, "rate", most=1.0, above=0.0))

    def init(self, prior: Array) -> SmoothState:
        inner = self.strategy.init(prior)
        return SmoothState(self.strategy.weights(inner), inner)

    def update(self, state: SmoothState, obs: Observation) -> SmoothState:
        inner = self.strategy.update(state.inner, obs)
        mean = (1 - self.rate) * state.mean + self.rate * self.strategy.weights(inner)
        return SmoothState(mean / mean.sum(), inner)

    def weights(self, state: SmoothState) -> Array:
        return state.mean.copy()
