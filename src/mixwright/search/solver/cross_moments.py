"""What one pass over predictions and outcomes leaves for the search under squared error: K x K matrices."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mixwright.errors import InputError
from mixwright.simplex import normalise

Array = NDArray[np.float64]
GROUPS, FOLDS = 60, 10  # of documents: a fold is six groups
BLOCK = 1 << 21  # numbers of a block
ROUNDING = 1e-6
KEPT = 1 << 27  # numbers of all matrices: for many sources there are fewer groups


@dataclass(frozen=True)
class CrossMoments:
    """
    M_g [groups, k, k] = sum over the rows of group g of c_i (F_i - y_i)(F_i - y_i)^T, c with sum 1 over all groups.

    Since weights have sum 1, sum_k w_k F_ik - y_i = sum_k w_k (F_ik - y_i), so the mean squared error is w^T M w with
    M = sum_g M_g: no difference of large numbers, whatever the outcomes are about. Documents are kept whole.

    share [groups]: their row weights; documents [groups]: how many are in each; rows; spread: the variance of the
    outcomes; effective: the number of documents of equal weight that the sample is worth.
    """

    M: Array
    share: Array
    documents: NDArray[np.int64]
    rows: int
    spread: float
    effective: float

    @property
    def total(self) -> Array:
        """Return M [k, k]."""
        return np.asarray(self.M.sum(0))

    @property
    def folds(self) -> NDArray[np.int64]:
        """Return the fold of each group."""
        return np.arange(len(self.share)) % min(FOLDS, len(self.share))


def cross_moments(
    predictions: Any, outcomes: ArrayLike, row_weights: ArrayLike | None, documents: ArrayLike | None, seed: int
) -> CrossMoments:
    """
    Return the moments from one pass over `predictions`: an array [n, k] or an iterable of blocks [., k] in row order.

    Raises
    ------
    InputError
        For shapes that do not fit each other, numbers that are not finite (row and source are named), and predictions
        of outcomes 0 and 1 that are mostly no probabilities.
    """
    y = np.asarray(outcomes)
    if y.ndim != 1 or y.size == 0 or y.dtype.kind not in "buif" or not np.isfinite(y := y.astype(np.float64)).all():
        raise InputError(
            f"outcomes should be a list of at least one finite number, one per row; found shape {np.shape(outcomes)}"
            f"{_first_bad(y)}; correct them"
        )
    n = y.size
    c = _weights(row_weights, n)
    codes = np.arange(n) if documents is None else _documents(documents, n)
    weight = np.bincount(codes, c).astype(np.float64)
    M: Array | None = None
    outside: NDArray[np.int64] = np.zeros(1, np.int64)  # rows of each source whose prediction is no probability
    group, sizes = np.empty(0, np.int64), np.empty(0, np.int64)
    done = 0
    for block in _blocks(predictions, n):
        if M is None:
            most = max(FOLDS, min(GROUPS, KEPT // block.shape[1] ** 2))
            group_of, sizes = _groups(weight, most, seed)
            group = group_of[codes]
            M = np.zeros((sizes.size, block.shape[1], block.shape[1]))
        if block.shape[1] != M.shape[1]:
            raise InputError(f"every block should have {M.shape[1]} columns, as the first; found {block.shape[1]}")
        if done + len(block) > n:
            raise InputError(f"predictions should have as many rows as outcomes ({n}); found more; give one of each")
        rows = slice(done, done + len(block))
        if not np.isfinite(block).all():
            row, source = np.argwhere(~np.isfinite(block))[0]
            raise InputError(
                f"predictions should be finite; found {block[row, source]} in row {done + row} of source {source}; "
                "remove the row or predict it again"
            )
        outside = outside + ((block < -ROUNDING) | (block > 1 + ROUNDING)).sum(0)
        residual = (block - y[rows, None]) * np.sqrt(c[rows])[:, None]
        for g in np.unique(group[rows]):
            own = residual[group[rows] == g]
            M[g] += own.T @ own
        done += len(block)
    if M is None or done != n:
        raise InputError(f"predictions should have as many rows as outcomes ({n}); found {done}; give one of each")
    if y.min() == 0 and y.max() == 1 and ((y == 0) | (y == 1)).all() and (2 * outside > n).any():
        source = int(outside.argmax())
        raise InputError(
            f"predictions of outcomes 0 and 1 should be probabilities; found {outside[source]} of {n} below 0 or above "
            f"1 for source {source}, as logits or logs of probabilities are; give probabilities"
        )
    share = np.bincount(group, c, minlength=sizes.size).astype(np.float64)
    mean = float(c @ y)
    return CrossMoments(M, share, sizes, n, float(c @ (y - mean) ** 2), float(1 / (weight @ weight)))


def _blocks(predictions: Any, n: int) -> Iterator[Array]:
    """Yield float64 blocks of rows."""
    if isinstance(predictions, (list, tuple)):
        predictions = np.asarray(predictions)
    if isinstance(predictions, np.ndarray):
        if predictions.ndim != 2 or predictions.dtype.kind not in "buif" or predictions.shape[1] == 0:
            raise InputError(
                f"predictions should be numbers [n, k], one column per source; found shape {predictions.shape} of type "
                f"{predictions.dtype}"
            )
        if len(predictions) != n:
            raise InputError(
                f"predictions should have as many rows as outcomes ({n}); found {len(predictions)}; give one of each"
            )
        step = max(1, BLOCK // predictions.shape[1])
        for start in range(0, n, step):
            yield np.asarray(predictions[start : start + step], np.float64)
        return
    if not isinstance(predictions, Iterable):
        raise InputError(f"predictions should be an array or blocks of one; found {type(predictions).__name__}")
    for found in predictions:
        block = np.asarray(found)
        if block.ndim != 2 or block.dtype.kind not in "buif" or block.shape[1] == 0:
            raise InputError(f"a block of predictions should be numbers [rows, k]; found shape {block.shape}")
        yield block.astype(np.float64)


def _first_bad(y: Any) -> str:
    if y.dtype.kind not in "buif":
        return f" of type {y.dtype}"
    bad = np.flatnonzero(~np.isfinite(np.ravel(y).astype(np.float64)))
    return f" with {np.ravel(y)[bad[0]]} in row {bad[0]}" if bad.size else ""


def _weights(row_weights: ArrayLike | None, n: int) -> Array:
    if row_weights is None:
        return np.full(n, 1 / n)
    c = normalise(row_weights, "row_weights")
    if c.size != n:
        raise InputError(f"row_weights should be one number per row ({n}); found {c.size}")
    return c


def _documents(documents: ArrayLike, n: int) -> NDArray[np.int64]:
    found = np.asarray(documents)
    if found.shape != (n,):
        raise InputError(f"documents should be one per row ({n}); found shape {found.shape}")
    return np.unique(found, return_inverse=True)[1].astype(np.int64)


def _groups(weight: Array, most: int, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the group of each document and the number of documents in each group, of equal weight where possible."""
    rng = np.random.default_rng(seed)
    present = np.flatnonzero(weight)
    count = min(most, present.size)
    order = present[rng.permutation(present.size)]
    order = order[np.argsort(-weight[order].round(12), kind="stable")]
    out = np.zeros(weight.size, np.int64)
    turns = np.arange(order.size)
    there = turns % count
    out[order] = np.where((turns // count) % 2 == 0, there, count - 1 - there)  # to and fro: heavy ones spread out
    return out, np.bincount(out[present], minlength=count).astype(np.int64)
