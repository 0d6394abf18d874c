"""Hessians of the loss under many weightings."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mixwright.search.solver.evidence import weighted_gram

Array = NDArray[np.float64]
Matrix = NDArray[np.floating]

PRODUCT_ELEMENTS = 16_000_000  # up to n * k^2 of this size the column products are kept: every Hessian is one product
OWN_WORK = 2e10  # up to this many operations an iteration, each replicate has its own Hessian; above, they share one
SAMPLED_ROWS, SAMPLED_PER_SOURCE, SAMPLED_ITERATIONS = 20_000, 250, 12  # such a Hessian is about 5 % off
SHARED_WORK = 5e9  # n * k^2 of a shared Hessian; larger tables use every m-th row only


class Hessian:
    """sum_i v_i P_i P_i^T for each replicate's v: exact where that is cheap, one for all replicates where it is not."""

    def __init__(self, P: Matrix, replicates: int) -> None:
        self.P = P
        n, k = P.shape
        small = n * k * k <= PRODUCT_ELEMENTS and replicates > 4
        self.products = (P[:, :, None] * P[:, None, :]).reshape(n, k * k) if small else None

    def __call__(self, V: Matrix, iteration: int = 0) -> Array:
        """Return [b, k, k] for V [n, b] (or [1, k, k], shared); early on a single one comes from a sample of rows."""
        (n, k), b = self.P.shape, V.shape[1]
        sampled = _sampling(n, k)
        if b == 1 and sampled >= 2 and iteration < SAMPLED_ITERATIONS:
            return self.weighted(V[::sampled, 0] * sampled, sampled)[None]
        if self.products is not None:
            return (V.T @ self.products).reshape(b, k, k).astype(np.float64)
        if 2.0 * b * n * k * k > OWN_WORK and b > 1:
            every = max(1, int(n * k * k // SHARED_WORK))
            return self.weighted(V[::every].mean(1) * every, every)[None]
        return np.stack([self.weighted(V[:, i]) for i in range(b)])

    def weighted(self, v: Matrix, every: int = 1) -> Array:
        """Return sum_i v_i P_i P_i^T [k, k] over every `every`-th row."""
        return weighted_gram(self.P[::every], v)


def _sampling(n: int, k: int) -> int:
    """Return every how many rows a Hessian of `k` sources is sampled."""
    return n // max(SAMPLED_ROWS, SAMPLED_PER_SOURCE * k)
