"""Unbiased estimates out of sums of inner products; averages of numerators and denominators apart."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mixwright.checks import state_numbers

Array = NDArray[np.float64]


@dataclass
class Sums:
    """
    Sums over micro-batches, of gradients of rows' own losses.

    S_u is the sum of the gradients of the n_u rows of a unit (a row, or several rows of one source), S_k that of a
    source's n_k rows. E <S_u, S_v> = n_u n_v <grad L_j, grad L_k> for different units, and E |S_u|^2 =
    n_u^2 |grad L_k|^2 + n_u sigma_k^2. Each estimate is a ratio of sums, since only products within a micro-batch (and
    a rank) are known.
    """

    products: Array  # [k, k] <S_j, S_k>; on the diagonal over pairs of different units
    pairs: Array  # [k, k] n_j n_k, or the pairs of rows in different units
    squares: Array  # [k] sum over units of |S_u|^2
    counts: Array  # [k] rows
    unit_squares: Array  # [k] sum over units of n_u^2

    @classmethod
    def zero(cls, k: int) -> Sums:
        """Return the sums over nothing."""
        return cls(np.zeros((k, k)), np.zeros((k, k)), np.zeros(k), np.zeros(k), np.zeros(k))

    @classmethod
    def of_batch(cls, gram: Array, squares: Array, counts: Array, unit_squares: Array) -> Sums:
        """
        Return the sums of one micro-batch.

        Parameters
        ----------
        gram
            [k, k] <S_j, S_k>.
        squares, counts, unit_squares
            [k] sums over the units of each source of |S_u|^2, n_u and n_u^2.
        """
        products, pairs = gram.astype(np.float64), np.outer(counts, counts).astype(np.float64)
        # |S_k|^2 without its units' own squares leaves the pairs of different units, whose mean is |grad L_k|^2 without
        # bias
        np.fill_diagonal(products, np.diag(gram) - squares)
        np.fill_diagonal(pairs, counts**2 - unit_squares)
        return cls(products, pairs, squares * 1.0, counts * 1.0, unit_squares * 1.0)

    def __add__(self, other: Sums) -> Sums:
        """Return the sums over both."""
        return Sums(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(self)))

    def __mul__(self, factor: float) -> Sums:
        """Return the sums with another weight in an average."""
        return Sums(*(getattr(self, f.name) * factor for f in fields(self)))

    def only(self, kept: NDArray[np.bool_]) -> Sums:
        """Return the sums as if the other sources had not been there; `kept` is [k]."""
        both = np.outer(kept, kept)
        values = ((getattr(self, f.name), f.name in ("products", "pairs")) for f in fields(self))
        return Sums(*(np.where(both if square else kept, value, 0.0) for value, square in values))

    def to_vector(self) -> Array:
        """Return all numbers one after another."""
        return np.concatenate([getattr(self, f.name).ravel() for f in fields(self)])

    @classmethod
    def from_vector(cls, vector: Array, k: int) -> Sums:
        """Return what `to_vector` wrote."""
        parts = np.split(np.asarray(vector, np.float64), np.cumsum([k * k, k * k, k, k]))
        return cls(parts[0].reshape(k, k), parts[1].reshape(k, k), *parts[2:])

    def to_json(self) -> dict[str, Any]:
        """Return lists."""
        return {f.name: getattr(self, f.name).tolist() for f in fields(self)}

    @classmethod
    def from_json(cls, values: Mapping[str, Any], k: int) -> Sums:
        """Return what `to_json` wrote of k sources; see `checks.reading_state` for what may go wrong."""
        shapes = dict.fromkeys(("products", "pairs"), (k, k))
        return cls(*(state_numbers(values[f.name], *shapes.get(f.name, (k,))) for f in fields(cls)))

    @property
    def gram(self) -> Array:
        """Return [k, k] estimates of <grad L_j, grad L_k>, the squared norms on the diagonal; nan where unknown."""
        return ratio(self.products, self.pairs)

    @property
    def sq_norm(self) -> Array:
        """Return [k] estimates of |grad L_k|^2, which may be below 0; nan without two rows in one micro-batch."""
        return np.diag(self.gram).copy()

    @property
    def variance(self) -> Array:
        """Return [k] estimates of sigma_k^2, the trace of the covariance of one row's gradient; nan where unknown."""
        return ratio(self.squares - self.unit_squares * self.sq_norm, self.counts)


def ratio(above: Array, below: Array) -> Array:
    """Return above / below, nan where nothing is below."""
    return np.divide(above, below, out=np.full_like(np.asarray(above, np.float64), np.nan), where=below > 0)
