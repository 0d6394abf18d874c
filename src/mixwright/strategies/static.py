"""Weights that stay."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mixwright.errors import InputError
from mixwright.observation import Observation
from mixwright.simplex import normalise
from mixwright.source_change import SourceChange
from mixwright.strategy import Strategy, carrying

Array = NDArray[np.float64]


class StaticState(NamedTuple):
    """The weights [k]."""

    weights: Array


class Unchanging(Strategy[StaticState]):
    """Keeps the weights that it starts at."""

    carries = carrying(weights="weights")

    def init(self, prior: Array) -> StaticState:
        return StaticState(self.starts_at(prior))

    def update(self, state: StaticState, obs: Observation) -> StaticState:
        return state

    def weights(self, state: StaticState) -> Array:
        return state.weights.copy()


@dataclass(frozen=True, init=False, repr=False)
class Static(Unchanging):
    """
    Weights that stay: those of a search, or the prior.

    Parameters
    ----------
    weights
        [k], at least 0, with the sum 1 within 1e-6; None: the prior.

    Examples
    --------
    >>> strategy = Static([0.75, 0.25])
    >>> strategy.weights(strategy.init(np.array([0.5, 0.5])))
    array([0.75, 0.25])
    """

    shares: tuple[float, ...] | None = None

    costs = "nothing, or the search that found the weights"
    fails = "what is best changes in the training"

    def __init__(self, weights: Sequence[float] | Array | None = None) -> None:
        object.__setattr__(self, "shares", None if weights is None else simplex_tuple(weights))

    def __repr__(self) -> str:
        """Return the call that makes it."""
        return f"Static({None if self.shares is None else list(self.shares)})"

    def for_sources(self, change: SourceChange) -> Static:
        return self if self.shares is None else Static(change.weights(np.array(self.shares)))

    def starts_at(self, prior: Array) -> Array:
        return np.array(prior if self.shares is None else matching(self.shares, len(prior)), np.float64)


def simplex_tuple(weights: Sequence[float] | Array, what: str = "weights") -> tuple[float, ...]:
    """Return weights as a tuple with the sum 1; InputError if they are not on the simplex within 1e-6."""
    values = normalise(weights, what)
    total = float(np.sum(np.asarray(weights, np.float64)))
    if abs(total - 1) > 1e-6:
        raise InputError(f"{what} should sum to 1 within 1e-6, found the sum {total:.9g}; divide them by their sum")
    return tuple((np.asarray(weights, np.float64) if abs(total - 1) < 1e-12 else values).tolist())


def matching(weights: tuple[float, ...], k: int, what: str = "weights") -> tuple[float, ...]:
    """Return the weights if there are k of them; InputError otherwise."""
    if len(weights) != k:
        raise InputError(f"{what} should have one number per source ({k}), found {len(weights)}")
    return weights
