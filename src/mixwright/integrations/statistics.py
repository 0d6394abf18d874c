"""Gradient statistics in a Trainer: made when its model is wrapped, the same in every checkpoint."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import numpy as np

from mixwright.errors import InputError
from mixwright.observation import Observation

FIELDS = ("grad_sq_norm", "grad_variance", "gram")
logger = logging.getLogger(__name__)


class Statistics:
    """
    When and how gradient statistics are taken.

    Parameters
    ----------
    k
        Sources.
    steps
        How many steps before an observation, its own step included, are sampled.
    options
        Of GradientStatistics; `optimizer=True` stands for the Trainer's.
    """

    def __init__(self, k: int, steps: int, options: Mapping[str, Any]) -> None:
        self.k, self.steps, self.options = k, steps, dict(options)
        self.running: Any = None
        self._notes: set[str] = set()

    @property
    def level(self) -> str:
        """Return the level of the statistics."""
        return str(self.options.get("level", "example"))

    @property
    def fields(self) -> set[str]:
        """Return the fields of an Observation that they give."""
        return set(FIELDS) - ({"grad_variance"} if self.level == "source" else set())

    def check(self, model: Any) -> None:
        """Raise InputError now, not when the training begins, if a model or an option does not fit."""
        self._make(model, {**self.options, "optimizer": None})

    def begin(self, trainer: Any) -> None:
        """Take the model (and the optimiser) as they are trained."""
        options = dict(self.options)
        if options.get("optimizer") is True:
            options["optimizer"] = getattr(trainer.optimizer, "optimizer", trainer.optimizer)
        self.running = self._make(trainer.model_wrapped, options)

    def _make(self, model: Any, options: Mapping[str, Any]) -> Any:
        from mixwright.gradients import GradientStatistics

        try:
            return GradientStatistics(model, self.k, **options)
        except TypeError as error:
            raise InputError(f"statistics should have options of GradientStatistics: {error}") from None

    def sampled(self, step: int, every: int) -> bool:
        """Whether a step is sampled: the last ones before an observation."""
        return step % every >= every - self.steps

    def observation(self, step: int, batch_size: int, more: Mapping[str, Any]) -> Observation:
        """Return what was observed since the last observation, on all ranks."""
        found: Observation = self.running.observation(step, batch_size, **more)
        for note in self.running.notes:
            if note not in self._notes:
                logger.warning("gradient statistics: %s", note)
                self._notes.add(note)
        return found

    def gather(self) -> None:
        """Give what the ranks observed since the last observation to rank 0, which writes the checkpoints."""
        from mixwright.gradients.distributed import sum_over_ranks, world_size

        if world_size() == 1:
            return
        import torch

        state = self.running.state_dict()
        device = next(self.running.model.parameters()).device
        vector = sum_over_ranks(_pending(state), device)
        first = torch.distributed.get_rank() == 0
        self.running.load_state_dict(_with_pending(state, vector if first else np.zeros_like(vector)))

    def state_dict(self) -> dict[str, Any]:
        """Return the state of all ranks; rank 0 has it."""
        return {} if self.running is None else self.running.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where a state was taken; what waits for an observation is with rank 0."""
        from mixwright.gradients.distributed import world_size

        self.running.load_state_dict(state)
        if world_size() > 1:
            import torch

            if torch.distributed.get_rank() > 0:
                now = self.running.state_dict()
                self.running.load_state_dict(_with_pending(now, np.zeros_like(_pending(now))))


def _pending(state: Mapping[str, Any]) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Return all numbers that were observed since the last observation."""
    from mixwright.gradients import Sums

    new = Sums.from_json(state["new"]).to_vector()
    return np.concatenate([new, state["seen"], state["bad"], [state["unready"]]])


def _with_pending(state: Mapping[str, Any], vector: Any) -> dict[str, Any]:
    from mixwright.gradients import Sums

    k = len(state["seen"])
    new = Sums.from_vector(vector[: -2 * k - 1], k).to_json()
    seen, bad = vector[-2 * k - 1 : -k - 1], vector[-k - 1 : -1]
    return {**state, "new": new, "seen": seen.tolist(), "bad": bad.tolist(), "unready": float(vector[-1])}
