"""How well predictions order and hit measured losses."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True)
class LawScores:
    """
    Predictions against measurements of runs that the law did not see.

    spearman: rank correlation; rmse: in the unit of the loss; regret: the measured loss of the run that the prediction
    would pick, minus the least measured one (regret@1), in the unit of the loss.
    """

    spearman: float
    rmse: float
    regret: float


def score(predicted: Array, measured: Array) -> LawScores:
    """Return the scores of predictions [n]."""
    rmse = float(np.sqrt(np.mean((predicted - measured) ** 2)))
    return LawScores(spearman(predicted, measured), rmse, regret(predicted, measured))


def regret(predicted: Array, measured: Array) -> float:
    """Return the measured loss of what the prediction picks, minus the least measured one."""
    return float(measured[int(np.argmin(predicted))] - measured.min())


def spearman(a: Array, b: Array) -> float:
    """Return the correlation of ranks, ties averaged; 0 where one of them is constant."""
    ra, rb = ranks(a), ranks(b)
    ra, rb = ra - ra.mean(), rb - rb.mean()
    size = float(np.sqrt((ra @ ra) * (rb @ rb)))
    return float(ra @ rb) / size if size > 0 else 0.0


def ranks(values: Array) -> Array:
    """Return the ranks [n] from 0, ties averaged."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    return np.asarray((ends - (counts + 1) / 2)[inverse])
