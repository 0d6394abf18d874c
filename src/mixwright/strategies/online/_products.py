"""The last known inner products of the sources' gradients with others, and their size."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


class Products(NamedTuple):
    """
    The last known inner products [k, m], row by row (m is not known at first), and squared norms [k]; nan: none yet.

    A source that an observation has no rows of keeps those it had, which are of an earlier model.
    """

    flat: tuple[float, ...]
    norms: Array

    @classmethod
    def none(cls, k: int) -> Products:
        """Return what is known of k sources before any observation: nothing."""
        return cls((), np.full(k, np.nan))

    def with_new(self, products: Array, norms: Array, counts: Array) -> Products:
        """Return the products after an observation: `products` is [k, m], `norms` and `counts` are [k]."""
        seen = counts > 0
        old = np.array(self.flat) if len(self.flat) == products.size else np.full(products.size, np.nan)
        known = seen[:, None] & ~np.isnan(products)
        latest = np.where(known, products, old.reshape(products.shape))
        return Products(tuple(latest.ravel().tolist()), np.where(seen & ~np.isnan(norms), norms, self.norms))

    @property
    def matrix(self) -> Array:
        """Return the products [k, m]."""
        return np.array(self.flat).reshape(len(self.norms), -1)

    @property
    def size(self) -> float:
        """Return the mean of the squared norms that are known, each at least 0; 0 if none is."""
        known = self.norms[~np.isnan(self.norms)]
        return float(np.maximum(known, 0.0).mean()) if known.size else 0.0
