"""What the steps since the last observation (or the last line of the log) showed, per source."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


class Window:
    """
    Sums over steps and ranks, of k sources.

    Attributes
    ----------
    nats, tokens, rows
        [k] sums of the losses of tokens; tokens that the loss counts; rows that have such tokens.
    bad
        [k] steps in which a source's loss was not finite.
    planned, steps
        [k] weights of the steps, summed; how many steps.
    """

    def __init__(self, k: int) -> None:
        self.k = k
        self.clear()

    def clear(self) -> None:
        """Begin anew."""
        self.nats, self.tokens, self.rows, self.bad, self.planned = (np.zeros(self.k) for _ in range(5))
        self.steps = 0

    def add(self, step: Array, planned: Array, trained: bool = True) -> None:
        """
        Count a step in.

        Parameters
        ----------
        step
            [3, k] nats, tokens and rows, of all ranks.
        planned
            [k] weights that it was planned with.
        trained
            Whether the model learned from it; of a step that was skipped only the sources are counted that spoilt it.
        """
        bad = ~np.isfinite(step[0])
        self.bad += bad
        self.rows += step[2] if trained else np.where(bad, step[2], 0)
        if trained:
            self.nats += np.where(bad, 0, step[0])
            self.tokens += np.where(bad, 0, step[1])
        self.planned += planned
        self.steps += 1

    @property
    def loss(self) -> Array:
        """Return [k] nats per token; nan for a source without tokens, or with a loss that was not finite."""
        known = (self.tokens > 0) & (self.bad == 0)
        return np.divide(self.nats, self.tokens, out=np.full(self.k, np.nan), where=known)

    def fields(self) -> dict[str, Array]:
        """Return what an Observation has of it."""
        return {"counts": self.rows, "planned": self.planned / max(self.steps, 1), "loss": self.loss}

    def state_dict(self) -> dict[str, Any]:
        """Return the sums as JSON-able values."""
        sums = {name: getattr(self, name).tolist() for name in ("nats", "tokens", "rows", "bad", "planned")}
        return {**sums, "steps": self.steps}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where a state was taken."""
        for name in ("nats", "tokens", "rows", "bad", "planned"):
            setattr(self, name, np.array(state[name], np.float64))
        self.steps = int(state["steps"])
