"""Sums per source over the steps since the last observation, or since the last line of a log."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mixwright.checks import reading_state, state_numbers, whole_number

Array = NDArray[np.float64]


class Window:
    """
    Sums over steps, micro-batches and ranks, of k sources.

    Parameters
    ----------
    names
        What is added up; `window[name]` is its sum per source, [k].
    k
        The number of sources.

    Attributes
    ----------
    planned
        [k] the weights that the steps' rows were drawn with, summed over steps.
    steps, skipped
        Steps that were added; steps that were left out.

    Examples
    --------
    >>> window = Window(("rows", "loss"), k=2)
    >>> window.add(np.array([[3.0, 1.0], [6.0, 4.0]]), planned=np.array([0.5, 0.5]))
    >>> window.mean("loss")
    array([2., 4.])
    """

    def __init__(self, names: Sequence[str], k: int) -> None:
        self.names, self.k = tuple(names), k
        self.clear()

    def clear(self) -> None:
        """Set every sum to 0."""
        self._sums, self.planned = np.zeros((len(self.names), self.k)), np.zeros(self.k)
        self.steps = self.skipped = 0

    def add(self, sums: Array, planned: Array) -> None:
        """Add a step: its sums [names, k] over all ranks, and the weights [k] that drew its rows."""
        self._sums += sums
        self.planned += planned
        self.steps += 1

    def __getitem__(self, name: str) -> Array:
        """Return one of the sums, [k]."""
        row: Array = self._sums[self.names.index(name)]
        return row.copy()

    def mean(self, name: str, over: str = "rows") -> Array:
        """Return one sum divided by another, [k]; nan where the other is 0."""
        count = self[over]
        return np.divide(self[name], count, out=np.full(self.k, np.nan), where=count > 0)

    def state_dict(self) -> dict[str, Any]:
        """Return the sums as JSON-able values."""
        planned = self.planned.tolist()
        return {"sums": self._sums.tolist(), "planned": planned, "steps": self.steps, "skipped": self.skipped}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where a state was taken; in a Trainer's checkpoint of an earlier version each sum has its name."""
        with reading_state("the sums of an observation"):
            # earlier versions may have had more sums, after these
            sums = list(state["sums"] if "sums" in state else [state[name] for name in self.names])[: len(self.names)]
            found, planned = state_numbers(sums, len(self.names), self.k), state_numbers(state["planned"], self.k)
            steps = whole_number(state["steps"], "steps", 0)
            skipped = whole_number(state.get("skipped", 0), "skipped", 0)
        self._sums, self.planned, self.steps, self.skipped = found, planned, steps, skipped
