"""Gradient statistics in the last steps before an observation: which steps, which level, what is known of whom."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from mixwright.gradients.statistics import GradientStatistics

GRADIENTS = frozenset({"grad_sq_norm", "grad_variance", "gram"})  # what gradient statistics report


def level_for(fields: Collection[str]) -> str | None:
    """Return the level of `GradientStatistics` that reports these fields of an observation; None if none is needed."""
    if "grad_variance" in fields:
        return "example"
    return "source" if GRADIENTS & set(fields) else None


class SampledStatistics:
    """
    Gradient statistics of the last `steps` of every `every` training steps.

    Parameters
    ----------
    k
        The number of sources.
    level
        "example" or "source", see `GradientStatistics`.
    every, steps
        Steps between two observations, and how many before each are sampled.

    Examples
    --------
    >>> [step for step in range(20) if SampledStatistics(2, "example", every=10, steps=2).due(step)]
    [8, 9, 18, 19]
    """

    def __init__(self, k: int, level: str, every: int, steps: int) -> None:
        self._k, self._level, self._every, self._first = k, level, every, max(0, every - steps)
        self._statistics: GradientStatistics | None = None
        self._observations, self._unknown = 0, np.zeros(k, np.int64)

    def attach(self, model: Any) -> None:
        """Take the model, as it is trained; InputError if one of its parameters cannot be split by row."""
        from mixwright.gradients.statistics import GradientStatistics

        self._statistics = GradientStatistics(model, self._k, self._level)

    def due(self, step: int) -> bool:
        """Say whether a step (from 0) is sampled."""
        return step % self._every >= self._first

    def observe(self, step: int, source: Any, loss_weight: float | None = None) -> AbstractContextManager[None]:
        """Return the context of one forward and backward pass of a step; off the sampled steps it does nothing."""
        if self._statistics is None or not self.due(step):
            return nullcontext()
        return self._statistics.observe(source, loss_weight)

    def fields(self, step: int, batch_size: int) -> dict[str, NDArray[np.float64]]:
        """Return what was found since the last call as fields of an observation; every rank must call it."""
        assert self._statistics is not None
        found = self._statistics.observation(step, batch_size)
        assert found.grad_sq_norm is not None
        self._observations += 1
        self._unknown += np.isnan(found.grad_sq_norm)
        return {name: getattr(found, name) for name in GRADIENTS & found.given}

    def notes(self, names: Collection[str]) -> list[str]:
        """Return a sentence for each source of which often nothing was known."""
        return [
            f"the gradient norm of {name} was unknown in {unknown} of {self._observations} observations: fewer than "
            "two of its rows in each micro-batch that was sampled; make batches larger, with an even number of rows in "
            "a micro-batch (then the plan draws pairs, co_locate=2), or raise statistics_steps"
            for name, unknown in zip(names, self._unknown.tolist(), strict=True)
            if unknown > 0
        ]

    def state_dict(self) -> dict[str, Any]:
        """Return the state of this rank as JSON-able values."""
        assert self._statistics is not None
        own = {"observations": self._observations, "unknown": self._unknown.tolist()}
        return {**own, "statistics": self._statistics.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where a state was taken."""
        assert self._statistics is not None
        self._statistics.load_state_dict(state["statistics"])
        self._observations, self._unknown = int(state["observations"]), np.array(state["unknown"], np.int64)
