"""What is known of a specialist, and what held-out pairs are like under a model."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]


@dataclass(frozen=True)
class Specialist:
    """
    What is known of a source's specialist.

    Attributes
    ----------
    train, test
        [n], [m] its losses of the pairs that are trained on and of those held out, nats.
    pairs
        Pairs that a training of the generalist could have had for what it cost: those it was trained on, and a third of
        those that were scored.
    model
        Its folder, where it is kept.
    """

    train: Array
    test: Array
    pairs: float
    model: Path | None = None


class HeldOutPairs(NamedTuple):
    """Held-out pairs of a source under a model: which they are, their losses and margins [m], nats."""

    rows: NDArray[np.int64]
    loss: Array
    margin: Array


@dataclass(frozen=True)
class PairMeasures:
    """
    Held-out pairs of a source under a model: means, in nats.

    Attributes
    ----------
    loss, margin
        Of the pairs.
    accuracy
        Share of the pairs whose margin is above 0.
    excess, gap
        Loss minus the specialist's loss of the same pair: cut at 0 pair by pair, and as it is; None: no specialist.
    """

    loss: float
    accuracy: float
    margin: float
    excess: float | None = None
    gap: float | None = None

    @classmethod
    def of(cls, pairs: HeldOutPairs, specialist: Array | None = None) -> PairMeasures:
        """Return the means of pairs; `specialist` [m]: its losses of all held-out pairs of the source."""
        over = None if specialist is None else pairs.loss.astype(np.float64) - specialist[pairs.rows]
        return cls(
            loss=float(pairs.loss.mean(dtype=np.float64)),
            accuracy=float((pairs.margin > 0).mean()),
            margin=float(pairs.margin.mean(dtype=np.float64)),
            excess=None if over is None else float(np.maximum(over, 0).mean()),
            gap=None if over is None else float(over.mean()),
        )

    def to_json(self) -> dict[str, Any]:
        """Return the numbers by name."""
        return dict(vars(self))
