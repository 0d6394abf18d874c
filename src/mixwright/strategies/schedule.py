"""Weights that follow the step alone."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mixwright.errors import InputError
from mixwright.observation import Observation
from mixwright.source_change import SourceChange
from mixwright.strategies.static import matching, simplex_tuple
from mixwright.strategy import Strategy, carrying

Array = NDArray[np.float64]


class ScheduleState(NamedTuple):
    """The step after the last one observed, and the number of sources."""

    step: int
    k: int


@dataclass(frozen=True, init=False, repr=False)
class Schedule(Strategy[ScheduleState]):
    """
    Weights that follow the step alone, written down before training.

    Starts at its first weights, not at the prior. With `interpolate`, weights between two steps t0 < t < t1 are
    w(t) = w0 + (t - t0) / (t1 - t0) * (w1 - w0); without, the last step at or before t gives them. After the last
    step they stay.

    Parameters
    ----------
    weights
        {step: weights [k]}; step 0 must be there; each at least 0 with the sum 1 within 1e-6.
    interpolate
        Whether weights change along a line between the steps.

    Examples
    --------
    >>> schedule = Schedule({0: [1.0, 0.0], 100: [0.5, 0.5]}, interpolate=True)
    >>> schedule.weights_at(50)
    array([0.75, 0.25])
    """

    steps: tuple[int, ...]
    values: tuple[tuple[float, ...], ...]
    interpolate: bool = False

    carries = carrying(kept="step")
    costs = "nothing"
    fails = "a wrong plan stays wrong"

    def __init__(self, weights: Mapping[int, Sequence[float] | Array], interpolate: bool = False) -> None:
        if not isinstance(weights, Mapping) or not weights:
            raise InputError(f"a schedule should be a mapping from steps to weights, found {weights!r}")
        for step in weights:
            if isinstance(step, bool) or not isinstance(step, int | np.integer) or step < 0:
                raise InputError(f"the steps of a schedule should be whole numbers of at least 0, found {step!r}")
        steps = tuple(sorted(int(step) for step in weights))
        if steps[0] != 0:
            raise InputError(f"a schedule should begin at step 0, found {steps[0]}; say which weights hold before it")
        values = tuple(simplex_tuple(weights[step], f"weights of step {step}") for step in steps)
        for step, value in zip(steps, values, strict=True):
            matching(value, len(values[0]), f"weights of step {step}")
        for name, given in (("steps", steps), ("values", values), ("interpolate", bool(interpolate))):
            object.__setattr__(self, name, given)

    def __repr__(self) -> str:
        """Return the call that makes it."""
        table = {step: list(value) for step, value in zip(self.steps, self.values, strict=True)}
        return f"Schedule({table}, interpolate={self.interpolate})"

    def init(self, prior: Array) -> ScheduleState:
        matching(self.values[0], len(prior))
        return ScheduleState(0, len(prior))

    def update(self, state: ScheduleState, obs: Observation) -> ScheduleState:
        return ScheduleState(obs.step + 1, state.k)

    def weights(self, state: ScheduleState) -> Array:
        return self.weights_at(state.step)

    def for_sources(self, change: SourceChange) -> Schedule:
        moved = [change.weights(np.array(value)) for value in self.values]
        return Schedule(dict(zip(self.steps, moved, strict=True)), self.interpolate)

    def starts_at(self, prior: Array) -> Array:
        return self.weights_at(0)

    def weights_at(self, step: int) -> Array:
        """Return the weights [k] of a step."""
        i = bisect_right(self.steps, step) - 1
        now = np.array(self.values[i])
        if not self.interpolate or i + 1 == len(self.steps):
            return now
        share = (step - self.steps[i]) / (self.steps[i + 1] - self.steps[i])
        mixed = (1 - share) * now + share * np.array(self.values[i + 1])
        return mixed / mixed.sum()
