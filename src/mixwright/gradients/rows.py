"""The rows of a micro-batch: which source each is of, and its weight in the loss, checked and sorted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mixwright.errors import InputError

Array = NDArray[np.float64]


@dataclass
class RowSources:
    """
    What the layers and the estimators need to know about a micro-batch of b rows; see `ops` for units.

    A row's gradient in the batch's loss, divided by its weight there, is the gradient of its own loss. If weights are
    the same within each source, `rate` divides afterwards; else each row is first scaled to its source's mean.
    """

    order: Tensor | None
    sizes: Tensor
    units: Tensor
    scale: Tensor | None
    source: Tensor
    counts: Array  # [k] rows
    unit_squares: Array  # [k] sum over units of (rows in the unit)^2
    rate: Array  # [k] 1 / the weight of a row in the loss

    @property
    def layout(self) -> tuple[Tensor | None, Tensor, Tensor, Tensor | None]:
        """Return order, sizes, units and scale, as the operators take them."""
        return self.order, self.sizes, self.units, self.scale


def read_rows(source: Any, loss_weight: Any, k: int, by_row: bool, device: torch.device) -> RowSources:
    """
    Return the rows of a micro-batch.

    Parameters
    ----------
    source
        [b] ids from 0 to k - 1.
    loss_weight
        [b] or a number: the weight of a row's own loss in the loss that is differentiated; None: 1 / b.
    by_row
        Whether units are rows; else the halves of each source's rows.

    Raises
    ------
    InputError
        If ids are missing or not as above, or weights are not finite numbers of at least 0.
    """
    ids = _ids(source, k)
    weight = _weights(loss_weight, len(ids))
    order = None if np.all(ids[1:] >= ids[:-1]) else np.argsort(ids, kind="stable")
    ids, weight = (ids, weight) if order is None else (ids[order], weight[order])
    kept = weight > 0
    counts = np.bincount(ids, kept, k)
    mean = np.bincount(ids, weight, k) / np.maximum(counts, 1)
    rate = np.divide(1, mean, out=np.zeros(k), where=mean > 0)
    relative = np.divide(mean[ids], weight, out=np.zeros(len(ids)), where=kept)
    even = np.all((np.abs(relative - 1) < 1e-12) | (counts[ids] == 0))
    rows = np.bincount(ids, minlength=k)
    if by_row or not even:
        sizes, units, unit_squares = np.ones(len(ids), np.int64), rows, counts
    else:
        halves = np.stack([-(-rows // 2), rows // 2], 1)
        sizes, units, unit_squares = halves.reshape(-1), np.full(k, 2), (halves**2.0).sum(1)
    return RowSources(
        None if order is None else torch.from_numpy(order).to(device),
        torch.from_numpy(sizes),
        torch.from_numpy(units),
        None if even else torch.from_numpy(relative).to(device),
        torch.from_numpy(ids),
        counts.astype(np.float64),
        unit_squares.astype(np.float64),
        rate,
    )


def _ids(source: Any, k: int) -> NDArray[np.int64]:
    if source is None:
        raise InputError("each row should have the id of its source, found none; give observe() the batch's `source`")
    values = np.asarray(source.detach().cpu() if isinstance(source, Tensor) else source)
    if values.ndim != 1 or not len(values) or not np.issubdtype(values.dtype, np.integer):
        raise InputError(
            f"source should be one whole number per row, found shape {values.shape} of {values.dtype}; give observe() "
            "the batch's `source`"
        )
    if np.any(wrong := (values < 0) | (values >= k)):
        row = int(np.argmax(wrong))
        raise InputError(f"ids of sources should be from 0 to {k - 1}, found {values[row]} for row {row}")
    return values.astype(np.int64)


def _weights(loss_weight: Any, b: int) -> Array:
    if loss_weight is None:
        return np.full(b, 1 / b)
    found = loss_weight.detach().cpu() if isinstance(loss_weight, Tensor) else loss_weight
    values = np.asarray(found, np.float64)
    if values.shape not in ((), (b,)):
        raise InputError(f"loss_weight should be a number or one per row ({b}), found shape {values.shape}")
    if not np.all(np.isfinite(values)) or np.any(values < 0):
        raise InputError(f"loss_weight should be finite and at least 0, found {values.tolist()}")
    return np.broadcast_to(values, (b,)).copy()
