"""How uncertain a smooth law stays over all mixtures that could be trained, and which runs lessen that most."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mixwright.runs.design.information import distances, far
from mixwright.runs.laws.gaussian_process import roots

Array = NDArray[np.float64]
LENGTH = 1.0  # of the kernel, between roots of weights: two sources alone are 1.4 apart
NOISE = 0.01  # variance of a training's loss beside that of the losses


class Coverage:
    """
    The variance of a Gaussian process (Matern 5/2 on the roots of the weights) at candidates, given some runs.

    It needs no loss: the kernel alone says what a run tells about another mixture.

    Parameters
    ----------
    W
        [n, k], the mixtures.
    candidates
        How many of them, at the end, the variance is averaged over.
    """

    def __init__(self, W: Array, candidates: int) -> None:
        R = roots(W)
        squares = (R**2).sum(1)
        apart = np.sqrt(5 * np.maximum(squares[:, None] + squares - 2 * R @ R.T, 0.0)) / LENGTH
        self._W, self._of = W, len(W) - candidates
        self._K = (1 + apart + apart**2 / 3) * np.exp(-apart)

    def best(self, fixed: Sequence[int], count: int, least: float) -> list[int]:
        """
        Return the rows that with the fixed ones leave the least variance, chosen greedily (I-optimal).

        `least`: how much weight must move from each to every other one; fewer rows come back where that is too much.
        """
        C = self._K.copy()
        rows: list[int] = []
        for i in fixed:
            _condition(C, i)
        free = far(self._W, list(fixed), least)
        while len(rows) < count and free.any():
            fall = (C[self._of :] ** 2).sum(0) / (NOISE + np.diag(C))
            best = int(np.where(free, fall, -np.inf).argmax())
            _condition(C, best)
            rows.append(best)
            free &= distances(self._W, self._W[best]) >= least
            free[best] = False
        return rows

    def left(self, rows: Sequence[int]) -> float:
        """Return the mean variance that is left after some runs; 1 after none."""
        at = list(rows)
        if not at:
            return 1.0
        known = self._K[np.ix_(at, at)] + NOISE * np.eye(len(at))
        cross = self._K[at, self._of :]
        return float(1 - np.mean((cross * np.linalg.solve(known, cross)).sum(0)))


def _condition(C: Array, i: int) -> None:
    """Turn the covariance into the one after a run of mixture i, in place."""
    c = C[:, i].copy()
    C -= np.outer(c, c / (NOISE + c[i]))
