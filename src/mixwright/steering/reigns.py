"""Which strategy gives the weights of a run, where another one takes over by hand."""

from __future__ import annotations

import json
import operator
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mixwright.strategies.registry import from_config
from mixwright.strategy import Strategy, revisions, state_from_json, state_to_json

Array = NDArray[np.float64]


class Reigns:
    """
    The strategies of a run, each from its step on.

    Parameters
    ----------
    own
        The run's strategy.
    names
        The sources.
    """

    def __init__(self, own: Strategy[Any], names: Sequence[str]) -> None:
        self.own, self._names = own, names
        self._all: list[tuple[int, Any, Strategy[Any]]] = [(-1, None, own)]
        self._resting: dict[str, Any] = {}

    @property
    def last(self) -> tuple[int, Any, Strategy[Any]]:
        """Return the strategy that took over last: its first step, its configuration (None: the run's own), itself."""
        return self._all[-1]

    @property
    def revisions(self) -> dict[str, int]:
        """Return the revisions of all of them, as `mixwright.strategy.revisions`."""
        return {name: number for _, _, strategy in self._all for name, number in revisions(strategy).items()}

    def at(self, step: int) -> Strategy[Any]:
        """Return the strategy that gives the weights of a step."""
        return next(strategy for begins, _, strategy in reversed(self._all) if begins <= step)

    def take_over(self, begins: int, config: Any, state: Any, weights: Array) -> tuple[Strategy[Any], Any]:
        """
        Let another strategy give the weights from a step on; return it and its state.

        Parameters
        ----------
        begins, config
            The step; the strategy, None for the run's own.
        state
            Of the strategy so far: it goes on there if it comes back.
        weights
            [k] in force before the step: where a strategy that is new to the run starts.
        """
        self._resting[_key(self.last[1])] = state_to_json(state)
        strategy = self.made(config)
        found = strategy.init(weights.copy())
        if (rested := self._resting.pop(_key(config), None)) is not None:
            found = state_from_json(found, rested)
        self._all.append((begins, config, strategy))
        return strategy, found

    def to_json(self) -> dict[str, Any]:
        """Return who took over when, and the states of the strategies that rest, as JSON-able values."""
        return {"turns": [[begins, config] for begins, config, _ in self._all[1:]], "resting": dict(self._resting)}

    def loaded(self, values: Mapping[str, Any]) -> Reigns:
        """Return the same run's reigns with what `to_json` gave; errors where it is damaged."""
        other = Reigns(self.own, self._names)
        turns = [(operator.index(begins), config) for begins, config in values["turns"]]
        other._all += [(begins, config, self.made(config)) for begins, config in turns]
        other._resting = dict(values["resting"])
        return other

    def made(self, config: Any) -> Strategy[Any]:
        """Return the strategy of a configuration; None: the run's own."""
        return self.own if config is None else from_config(config, self._names)


def _key(config: Any) -> str:
    return json.dumps(config, sort_keys=True)
