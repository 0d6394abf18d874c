"""Gradient statistics in the last steps before an observation: which steps, which level, what stayed unknown."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mixwright.checks import reading_state, state_numbers, whole_number
from mixwright.errors import InputError
from mixwright.strategy import Strategy, check_revisions, recorded, revisions

Array = NDArray[np.float64]
FIELDS = frozenset({"grad_sq_norm", "grad_variance", "gram"})  # of an observation, from gradient statistics


def level_for(fields: Collection[str]) -> str | None:
    """Return the level of `GradientStatistics` that reports these fields of an observation; None if none is needed."""
    if "grad_variance" in fields:
        return "example"
    return "source" if FIELDS & set(fields) else None


def metric_revisions(metric: str) -> dict[str, int]:
    """Return the revision of a metric of statistics, as `mixwright.strategy.revisions`."""
    if metric != "adam":
        return {}
    from mixwright.gradients.adam import AdamMetric

    return {"Adam's metric": AdamMetric.revision}


def followed(strategy: Strategy[Any], metric: str, always: bool = False) -> dict[str, int]:
    """
    Return the revisions of all that a training follows: its strategy, and the metric of its gradient statistics.

    Parameters
    ----------
    strategy, metric
        What gives the weights; what norms are measured in.
    always
        Whether statistics are taken also where the strategy does not read them.
    """
    measured = level_for(FIELDS if always else strategy.needs | strategy.uses) is not None
    return revisions(strategy) | (metric_revisions(metric) if measured else {})


class SampledStatistics:
    """
    Gradient statistics of the last `steps` of every `every` training steps.

    Parameters
    ----------
    k
        The number of sources.
    every, steps
        Steps between two observations, and how many before each are sampled, the observation's own step included.
    options
        Of `GradientStatistics`. `optimizer=True` stands for the optimiser that `attach` is given.

    Examples
    --------
    >>> [step for step in range(20) if SampledStatistics(2, every=10, steps=2).due(step)]
    [8, 9, 18, 19]
    """

    def __init__(self, k: int, every: int, steps: int, options: Mapping[str, Any] | None = None) -> None:
        self._k, self._every, self._first = k, every, max(0, every - steps)
        self._options = dict(options or {})
        self._running: Any = None
        self._observations, self._unknown = 0, np.zeros(k, np.int64)
        self._said: set[str] = set()

    @property
    def level(self) -> str:
        """Return the level of the statistics."""
        return str(self._options.get("level", "example"))

    @property
    def fields(self) -> frozenset[str]:
        """Return the fields of an observation that they report."""
        return FIELDS - {"grad_variance"} if self.level == "source" else FIELDS

    def check(self, model: Any) -> None:
        """Raise InputError now, rather than when training begins, if the model or an option does not fit."""
        # without the optimiser, which does not exist yet
        self._made(model, {**self._options, "optimizer": None})

    def attach(self, model: Any, optimizer: Any = None) -> None:
        """Take the model as it is trained (wrapped); InputError if one of its parameters cannot be split by row."""
        options = dict(self._options)
        if options.get("optimizer") is True:
            options["optimizer"] = optimizer
        self._running = self._made(model, options)

    def _made(self, model: Any, options: Mapping[str, Any]) -> Any:
        from mixwright.gradients.statistics import GradientStatistics

        try:
            return GradientStatistics(model, self._k, **options)
        except TypeError as error:
            raise InputError(f"statistics should have options of GradientStatistics: {error}") from None

    def due(self, step: int) -> bool:
        """Say whether a step (from 0) is sampled."""
        return step % self._every >= self._first

    def observe(self, step: int, source: Any, loss_weight: Any = None) -> AbstractContextManager[None]:
        """
        Return the context for one forward and backward pass of a step; it does nothing on a step that is not sampled.

        See `GradientStatistics.observe` for `source` and `loss_weight`.
        """
        if self._running is None or not self.due(step):
            return nullcontext()
        context: AbstractContextManager[None] = self._running.observe(source, loss_weight)
        return context

    def take(self, step: int, batch_size: int) -> dict[str, Array]:
        """Return what was found since the last call, as fields of an observation; every rank must call it."""
        found = self._running.observation(step, batch_size)
        self._observations += 1
        self._unknown += np.isnan(found.grad_sq_norm)
        return {name: getattr(found, name) for name in FIELDS & found.given}

    def new_notes(self) -> list[str]:
        """Return what `GradientStatistics` noted at the last `take` and had not noted before."""
        found = [note for note in self._running.notes if note not in self._said]
        self._said.update(found)
        return found

    def notes(self, names: Collection[str]) -> list[str]:
        """Return a sentence for each source whose gradient norm was unknown in some observation."""
        return [
            f"the gradient norm of {name} was unknown in {unknown} of {self._observations} observations: fewer than "
            "two of its rows in each micro-batch that was sampled; make batches larger, with an even number of rows in "
            "a micro-batch (then the plan draws pairs, co_locate=2), or raise statistics_steps"
            for name, unknown in zip(names, self._unknown.tolist(), strict=True)
            if unknown > 0
        ]

    def gather(self) -> None:
        """Move what the ranks found since the last observation to rank 0, where checkpoints are written."""
        from mixwright.gradients.distributed import sum_over_ranks, world_size

        if world_size() == 1:
            return
        state = self._running.state_dict()
        vector = sum_over_ranks(_pending(state), next(self._running.model.parameters()).device)
        # the sum waits on rank 0 and nothing on the others, or the next observation would count it once per rank
        self._running.load_state_dict(_with_pending(state, vector if _is_first() else np.zeros_like(vector)))

    def state_dict(self) -> dict[str, Any]:
        """Return the state of this rank as JSON-able values."""
        running = None if self._running is None else self._running.state_dict()
        own = {"observations": self._observations, "unknown": self._unknown.tolist(), "statistics": running}
        return {**own, **recorded(self._revisions)}

    @property
    def _revisions(self) -> dict[str, int]:
        return metric_revisions("adam" if self._options.get("optimizer") else "plain")

    def load_state_dict(self, state: Mapping[str, Any], gathered: bool = False) -> None:
        """
        Go on where a state was taken.

        Parameters
        ----------
        state
            From `state_dict`, after `attach`. A Trainer's checkpoint of an earlier version holds the
            state of `GradientStatistics` alone.
        gathered
            Whether it is rank 0's after `gather`: the other ranks then wait for nothing.
        """
        with reading_state("gradient statistics"):
            if "statistics" not in state:
                state = {"observations": 0, "unknown": [0] * self._k, "statistics": state}
            check_revisions(state.get("revisions", {}), self._revisions, "the checkpoint")
            running = state["statistics"]
            # every rank reads the same file: only rank 0 may take up what waits
            if gathered and not _is_first():
                running = _with_pending(running, np.zeros_like(_pending(running)))
            observations = whole_number(state["observations"], "observations", 0)
            unknown = state_numbers(state["unknown"], self._k).astype(np.int64)
            self._running.load_state_dict(running)
        self._observations, self._unknown = observations, unknown


def _is_first() -> bool:
    import torch

    from mixwright.gradients.distributed import world_size

    return world_size() == 1 or torch.distributed.get_rank() == 0


def _pending(state: Mapping[str, Any]) -> Array:
    """Return the numbers that wait for the next observation, as one vector that can be summed over ranks."""
    from mixwright.gradients.estimators import Sums

    new = Sums.from_json(state["new"], len(state["seen"])).to_vector()
    return np.concatenate([new, state["seen"], state["bad"], [state["unready"]]])


def _with_pending(state: Mapping[str, Any], vector: Array) -> dict[str, Any]:
    from mixwright.gradients.estimators import Sums

    k = len(state["seen"])
    new = Sums.from_vector(vector[: -2 * k - 1], k).to_json()
    seen, bad = vector[-2 * k - 1 : -k - 1], vector[-k - 1 : -1]
    return {**state, "new": new, "seen": seen.tolist(), "bad": bad.tolist(), "unready": float(vector[-1])}
