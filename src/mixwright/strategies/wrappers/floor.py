"""A floor under the weights of any strategy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mixwright.observation import Observation
from mixwright.simplex import raise_to_floor
from mixwright.strategies._checked import floors, number
from mixwright.strategies.wrappers.wrapper import Wrapper

Array = NDArray[np.float64]


class FloorState(NamedTuple):
    """The state inside."""

    inner: Any


@dataclass(frozen=True)
class Floor(Wrapper[FloorState]):
    """
    No source below a floor: w_i = max(floor, s v_i), with v the weights inside and s so that the sum is 1.

    The scale s is found after raising, so the floor is one (raising first and dividing by the sum then would leave
    weights below it). The strategy inside does not know of it: one that multiplies its weights can sink far below the
    floor and needs as long to come back. `PiKE` has a floor of its own, which is part of its step.

    Parameters
    ----------
    strategy
        The strategy inside.
    floor
        The least weight of a source, from 0 to 1/k.

    Examples
    --------
    >>> from mixwright import Static
    >>> strategy = Floor(Static([0.0, 0.25, 0.75]), 0.1)
    >>> strategy.weights(strategy.init(np.full(3, 1 / 3)))
    array([0.1  , 0.225, 0.675])
    """

    floor: float

    def __post_init__(self) -> None:
        """Check the arguments."""
        super().__post_init__()
        object.__setattr__(self, "floor", number(self.floor, "floor", 0.0, 1.0))

    def init(self, prior: Array) -> FloorState:
        floors(self.floor, len(prior), "floor")
        return FloorState(self.strategy.init(prior))

    def update(self, state: FloorState, obs: Observation) -> FloorState:
        return FloorState(self.strategy.update(state.inner, obs))

    def weights(self, state: FloorState) -> Array:
        return self._raised(self.strategy.weights(state.inner))

    def average(self, state: FloorState) -> Array | None:
        mean = super().average(state)
        return None if mean is None else self._raised(mean)

    def weights_at(self, step: int) -> Array | None:
        known = self.strategy.weights_at(step)
        return None if known is None else self._raised(known)

    def starts_at(self, prior: Array) -> Array:
        return self._raised(self.strategy.starts_at(prior))

    def _raised(self, weights: Array) -> Array:
        return raise_to_floor(weights, floors(self.floor, len(weights), "floor"))
