"""From weights of sources to weights of rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mixwright.assays.data import AssayTable, Ints
from mixwright.assays.splits import trainable
from mixwright.errors import InputError

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class MixtureRows:
    """
    The rows that a mixture trains on: one for each (molecule, source) with a label and a positive weight.

    Attributes
    ----------
    row
        [m] rows of the table.
    source
        [m] positions of their sources.
    label
        int8 [m], 0 or 1.
    weight
        float64 [m], proportional to w_k / n_k: the `sample_weight` of scikit-learn and XGBoost. They add up to the
        effective number of molecules (`effective_number`).
    """

    row: Ints
    source: Ints
    label: NDArray[np.int8]
    weight: Array

    def merged(self) -> MixtureRows:
        """
        Return the same data with rows of equal table row and label merged, their weights added.

        A weighted loss is the same sum before and after, and so are trees that look at all rows; in tables where most
        molecules are in many assays this is ten times fewer rows. `source` is -1 then.
        """
        key = self.row * 2 + self.label
        values, index = np.unique(key, return_inverse=True)
        weight = np.bincount(index, self.weight, len(values)).astype(np.float64)
        return MixtureRows(values // 2, np.full(len(values), -1), (values % 2).astype(np.int8), weight)


def effective_number(weights: Array) -> float:
    """
    Return (sum w)^2 / sum w^2: how many equal weights say as much as these (Kish 1965).

    A model that balances rows against a penalty, or wants a least weight in a leaf, sees how large weights are. With a
    mean of 1, a few own rows that hold half of the mixture would count like half of all borrowed rows, and be learnt by
    heart; with this sum they count like the rows they are, and the target alone is the limit of a mixture of it.
    """
    return float(weights.sum() ** 2 / (weights**2).sum())


def per_row(weights: ArrayLike, sizes: ArrayLike) -> Array:
    """
    Return w_k / n_k, the weight of one row of each source before it is scaled, [k]; 0 where the weight is 0.

    Parameters
    ----------
    weights
        [k] on the simplex.
    sizes
        [k] rows of each source, at least 1 where the weight is positive.
    """
    w, n = np.asarray(weights, np.float64), np.asarray(sizes, np.float64)
    used = w > 0
    if w.shape != n.shape or not used.any() or (n[used] < 1).any() or (w < 0).any():
        raise InputError(f"weights should be >= 0 with a sum above 0, and sources that have rows; found {w} and {n}")
    out = np.zeros_like(w)
    out[used] = w[used] / n[used]
    return out


def mixture_rows(
    table: AssayTable, sources: Sequence[str], weights: ArrayLike, allowed: NDArray[np.bool_]
) -> MixtureRows:
    """
    Return the rows of a mixture with their weights.

    Parameters
    ----------
    table
        The assays.
    sources, weights
        [k] names and weights.
    allowed
        [n] rows of the table that may be trained on (`Split.allowed`).
    """
    w = np.asarray(weights, np.float64)
    rows = [trainable(table, source, allowed) for source in sources]
    each = per_row(w, [len(part) for part in rows])
    used = [k for k in range(len(sources)) if w[k] > 0]
    source = np.concatenate([np.full(len(rows[k]), k, np.int64) for k in used])
    row = np.concatenate([rows[k] for k in used])
    columns = np.array([table.column(name) for name in sources])
    made = MixtureRows(row, source, table.labels[row, columns[source]], each[source])
    merged = made.merged().weight
    return replace(made, weight=made.weight * (effective_number(merged) / merged.sum()))
