"""What is set by hand over the steps of a run, and the weights that follow."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mixwright.checks import whole_number
from mixwright.constraints.limits import Constraints
from mixwright.constraints.resolved import ResolvedLimits, with_pins
from mixwright.errors import InputError
from mixwright.source_change import SourceChange
from mixwright.steering.hand import Hand

Array = NDArray[np.float64]


class Hands:
    """
    Changes by hand, each from its step on.

    Parameters
    ----------
    sources
        Names, or rows by name.
    names
        The names.
    prior
        [k], of the run.
    constraints
        Of the run: weights by hand keep to them, and pins hold beside them.
    """

    def __init__(self, sources: Any, names: tuple[str, ...], prior: Array, constraints: Constraints | None) -> None:
        self._sources, self.names, self._prior, self._constraints = sources, names, prior, constraints
        self.limits = ResolvedLimits.of(constraints, sources, names, prior)
        self._pinned: tuple[Mapping[str, float], ResolvedLimits | None] = ({}, self.limits)
        self._all: list[tuple[int, Hand]] = [(0, Hand())]

    def __iter__(self) -> Any:
        """Go through the changes: their first steps, and what is set from there on."""
        return iter(self._all[1:])

    @property
    def last(self) -> Hand:
        """Return what is set in the end."""
        return self._all[-1][1]

    def at(self, step: int) -> Hand:
        """Return what is set in a step."""
        return next(hand for begins, hand in reversed(self._all) if begins <= max(step, 0))

    def check(self, hand: Hand, step: int | None, planned: int) -> int:
        """Return the first step of a change; InputError if it should be later, or is not allowed."""
        first = max(planned + 1, self._all[-1][0])
        begins = first if step is None else whole_number(step, "the step of a change by hand", 0)
        if begins < first:
            why = f"step {first} has a later change" if first > planned + 1 else f"the steps before {first} are planned"
            raise InputError(f"a change by hand should begin at step {first} or later ({why}), found {begins}")
        limits = self._limits_with(hand.pins)
        if limits is not None and hand.weights is not None:
            wanted = hand.acted_on(self._prior, self._prior, self.names)
            nearest = limits.project(wanted)
            if np.abs(nearest - wanted).max() > 1e-6:
                raise InputError(
                    f"weights by hand should keep to the constraints of the run, found {wanted.tolist()}; the nearest "
                    f"that do are {nearest.round(6).tolist()}"
                )
        return begins

    def turn(self, after: int, strategy: Any, until: int) -> tuple[int, Any] | None:
        """Return the first change to another strategy after a step and up to another, with its step; None: none."""
        return next(((at, h.strategy) for at, h in self if after < at <= until and h.strategy != strategy), None)

    def add(self, hand: Hand, begins: int) -> None:
        """Let this be set from a step on; a change of the same step makes room."""
        self._all = [*(each for i, each in enumerate(self._all) if each[0] < begins or i == 0), (begins, hand)]

    def in_force(self, allowed: Array, step: int) -> Array:
        """Return the weights [k] of a step, read-only; `allowed` are the strategy's after the run's constraints."""
        hand = self.at(step)
        if hand.weights is None and not hand.pins:
            return allowed
        weights, limits = hand.acted_on(allowed, self._prior, self.names), self._limits_with(hand.pins)
        weights = weights if limits is None else limits.project(weights)
        weights.flags.writeable = False
        return weights

    def to_json(self) -> list[Any]:
        """Return the changes as JSON-able values."""
        return [[begins, hand.to_json()] for begins, hand in self]

    @staticmethod
    def from_json(values: Iterable[Any], names: Sequence[str]) -> list[tuple[int, Hand]]:
        """Return the changes that `to_json` gave; errors where they are damaged."""
        return [(operator.index(begins), Hand.from_json(hand, names)) for begins, hand in values]

    def replace(self, changes: Iterable[tuple[int, Hand]]) -> None:
        """Forget all changes for these."""
        self._all = [(0, Hand()), *changes]

    def for_sources(self, change: SourceChange) -> list[tuple[int, Hand]]:
        """
        Return the changes for other sources; InputError as from `Hand.for_sources`, of what is set in the end.

        What was set before and cannot hold any more gives way to what comes after it.
        """
        moved, begins = [], None
        for step, hand in self:
            begins = step if begins is None else begins
            try:
                moved.append((begins, hand.for_sources(change)))
            except InputError:
                if hand is self.last:
                    raise
            else:
                begins = None
        return moved

    @property
    def constraints(self) -> Constraints | None:
        """Return the constraints of the run."""
        return self._constraints

    def _limits_with(self, pins: Mapping[str, float]) -> ResolvedLimits | None:
        """Return the run's limits with these pins, None if it has none; InputError if they contradict each other."""
        if self._constraints is None or self.limits is None:
            return None
        if pins != self._pinned[0]:
            limits = with_pins(self._constraints, pins)
            self._pinned = pins, ResolvedLimits.of(limits, self._sources, self.names, self._prior)
        return self._pinned[1]
