"""From the losses of a batch's rows to what a strategy observes, and from its weights back to the rows."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mixwright.errors import InputError

Array = NDArray[np.float64]
CLIPS = ("example", "source", "none")
TOKEN_CLIPS = ("token", "example", "none")


class ExcessLosses(NamedTuple):
    """
    Excess losses of a batch.

    Attributes
    ----------
    rows
        [B] excess of each row, nats.
    gates
        [B] 1 where the row's loss is trained on, 0 where it is not: the excess has gate x the loss's gradient.
    mean
        [k] mean of each source's rows, nan for a source without one: `Observation.excess_loss`.
    gate_share
        [k] share of the source's rows whose gate is 1, nan likewise.
    """

    rows: Array
    gates: Array
    mean: Array
    gate_share: Array


def excess_losses(
    loss: ArrayLike, reference: ArrayLike, source: ArrayLike, k: int, clip: str = "example"
) -> ExcessLosses:
    """
    Return the excess of rows' losses over those of a reference model (a specialist), by row and by source.

    Parameters
    ----------
    loss, reference
        [B] losses of the model in training and of the reference, nats.
    source
        int [B], which of the k sources each row is of.
    k
        The number of sources.
    clip
        Where negative differences become 0:

        - "example": max(loss - reference, 0) of each row; rows below their reference have no gradient
        - "source": max(mean of loss - reference, 0) of each source; a source below its reference has none. The mean is
          noisy in small batches
        - "none": loss - reference; the mean may be below 0, and every row has its gradient

    Raises
    ------
    InputError
        If shapes differ, a loss is not finite, a source does not exist, or `clip` is none of the three.

    Examples
    --------
    >>> found = excess_losses([0.7, 0.2, 0.9], [0.3, 0.4, 0.5], source=[0, 0, 1], k=2)
    >>> found.rows, found.gates, found.mean
    (array([0.4, 0. , 0.4]), array([1., 0., 1.]), array([0.2, 0.4]))
    """
    if clip not in CLIPS:
        raise InputError(f"clip should be {' or '.join(map(repr, CLIPS))}, found {clip!r}")
    loss, reference = np.asarray(loss, np.float64), np.asarray(reference, np.float64)
    source, counts = _counted(source, k)
    if not loss.shape == reference.shape == source.shape:
        raise InputError(
            f"loss, reference and source should have one entry per row, found shapes {loss.shape}, "
            f"{reference.shape} and {source.shape}"
        )
    for name, values in (("loss", loss), ("reference", reference)):
        if bad := np.flatnonzero(~np.isfinite(values)).tolist():
            raise InputError(
                f"{name} should be finite, found {values[bad[0]]} in row {bad[0]} of the batch (source "
                f"{source[bad[0]]}); leave the row out or repair it"
            )
    rows = loss - reference
    gates = np.ones(len(rows))
    if clip == "example":
        gates = np.where(rows > 0, 1.0, 0.0)
    if clip == "source":
        gates = np.where(_means(rows, source, counts) > 0, 1.0, 0.0)[source]
    rows = np.where(gates > 0, rows, 0.0)
    return ExcessLosses(rows, gates, _means(rows, source, counts), _means(gates, source, counts))


def row_excess(loss: ArrayLike, reference: ArrayLike, clip: str = "token", tokens: ArrayLike | None = None) -> Array:
    """
    Return the excess [b] of rows' losses over those of a reference model, from the losses of their tokens.

    Parameters
    ----------
    loss, reference
        [b, t] losses of the model in training and of the reference, nats per token.
    clip
        Where negative differences become 0: in each "token" (then a token that the reference finds easier does not
        pay for one that it finds harder), in the mean of each row ("example"), or nowhere ("none").
    tokens
        [b] how many tokens of a row count; the losses of the others are 0 in both. None: all t.

    Examples
    --------
    >>> row_excess([[0.7, 0.1]], [[0.3, 0.3]]), row_excess([[0.7, 0.1]], [[0.3, 0.3]], clip="example")
    (array([0.2]), array([0.1]))
    """
    if clip not in TOKEN_CLIPS:
        raise InputError(f"clip should be {' or '.join(map(repr, TOKEN_CLIPS))}, found {clip!r}")
    found: Array = np.asarray(loss, np.float64) - np.asarray(reference, np.float64)
    if clip == "token":
        # not maximum(): a loss that is not finite stays so
        found = np.where(found < 0, 0.0, found)
    found = found.mean(1) if tokens is None else found.sum(1) / np.maximum(np.asarray(tokens, np.float64), 1.0)
    return np.where(found < 0, 0.0, found) if clip == "example" else found


def row_weights(weights: ArrayLike, source: ArrayLike, counts: ArrayLike | None = None) -> Array:
    """
    Return what each row counts in its batch's mean where weights act on the loss: w_i B / n_i, array [b].

    The batch's mean of row weight x loss is then the sum over sources of w_i x mean loss of source i; a source without
    a row is missing from it.

    Parameters
    ----------
    weights
        [k], of a step.
    source
        int [b], which source each row is of.
    counts
        [k] rows n_i of the global batch, where the rows at hand are a part of it (a rank's, a micro-batch's); B is
        their sum. None: the rows at hand are the batch.

    Examples
    --------
    >>> row_weights([0.25, 0.75], source=[0, 0, 0, 1])
    array([0.33333333, 0.33333333, 0.33333333, 3.        ])
    """
    values = np.asarray(weights, np.float64)
    source, own = _counted(source, len(values))
    total = own if counts is None else np.asarray(counts, np.float64)
    if total.shape != values.shape or np.any(total < own):
        raise InputError(
            f"counts should be the {len(values)} sources' rows in the global batch, at least the {own.tolist()} at "
            f"hand, found {total.tolist()}"
        )
    return source_factors(values, total / max(total.sum(), 1.0))[source]


def source_factors(weights: ArrayLike, drawn: ArrayLike) -> Array:
    """
    Return what a row of each source counts where weights act on the loss, [k]: weight / share of the rows.

    With the shares that a batch has, its sources count exactly their weights; with those that rows are drawn by, they
    do on average. 1 for a source that has no rows.

    Parameters
    ----------
    weights, drawn
        [k] weights; shares of the rows.

    Examples
    --------
    >>> source_factors([0.25, 0.75, 0.0], [0.5, 0.5, 0.0])
    array([0.5, 1.5, 1. ])
    """
    values, shares = np.asarray(weights, np.float64), np.asarray(drawn, np.float64)
    return np.divide(values, shares, out=np.ones(len(values)), where=shares > 0)


def _counted(source: ArrayLike, k: int) -> tuple[NDArray[np.int64], Array]:
    """Return the sources of rows as int64 [b], and how many rows each has [k]."""
    index = np.asarray(source)
    if index.ndim != 1 or (index.size and index.dtype.kind not in "iu"):
        raise InputError(f"source should be one whole number per row, found {index.dtype} {list(index.shape)}")
    if index.size and not 0 <= index.min() <= index.max() < k:
        raise InputError(f"source should be from 0 to {k - 1}, found {index.min()} to {index.max()}")
    return index.astype(np.int64), np.bincount(index.astype(np.int64), minlength=k).astype(np.float64)


def _means(values: Array, source: NDArray[np.int64], counts: Array) -> Array:
    sums = np.bincount(source, values, len(counts))
    return np.where(counts > 0, sums / np.maximum(counts, 1.0), np.nan)
