"""
What a layer's backward pass computes per source, as operators that torch.compile takes as they are.

Shapes: b rows, u units (rows, or groups of rows of one source), k sources. `order` [b] puts the rows of a unit and the
units of a source side by side (None: they stand so already); `sizes` [u] rows of each unit; `units` [k] units of each
source; `scale` [b], in that order, multiplies each row's gradient in the statistics (None: by 1). With `moment`, the
optimiser's second moment of the parameter, and `adam`, its bias correction and epsilon, the statistics describe the
gradient divided by sqrt(moment / correction) + epsilon. Statistics are [k, k + 2], see `Totals.result`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from mixwright.gradients.totals import Totals, scratch, wide

CHUNK = {"cpu": 2**21}  # numbers in the transient that holds the units' gradients
CHUNK_ELSEWHERE = 2**24
_ROWS = "Tensor? order, Tensor sizes, Tensor units, Tensor? scale"


def _operator(name: str, schema: str) -> Any:
    """Return a decorator that registers an operator; inside, nothing is cast, wherever the backward pass runs."""

    def register(function: Callable[..., Any]) -> Any:
        def uncast(*arguments: Any) -> Any:
            with torch.autocast(arguments[0].device.type, enabled=False):
                return function(*arguments)

        return torch.library.custom_op(f"mixwright::{name}", uncast, mutates_args=(), schema=schema)

    return register


@_operator(
    "linear",
    f"(Tensor left, Tensor right, Tensor? tokens, {_ROWS}, Tensor? moment, Tensor? adam, bool whole) "
    "-> (Tensor, Tensor, Tensor)",
)
def linear(
    left: Tensor,
    right: Tensor,
    tokens: Tensor | None,
    order: Tensor | None,
    sizes: Tensor,
    units: Tensor,
    scale: Tensor | None,
    moment: Tensor | None,
    adam: Tensor | None,
    whole: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """
    Form the sum over rows of left_b^T right_b unit by unit.

    Parameters
    ----------
    left, right
        [b, t, m] and [b, t, n].
    tokens
        [b, s] indices into m: the rows of the result that the embedding at the other end asks for.
    whole
        Whether the sum over all rows is wanted.

    Returns
    -------
    [m, n] (or nothing), statistics, and [k + 1, b * s, n] (or nothing): at each token the k sources' sums and the sum
    of the token's own unit, rows in sorted order.
    """
    left, right = _grouped(left, order), _grouped(right, order)
    m, n, per_unit, k = left.shape[2], right.shape[2], sizes.tolist(), len(units)
    totals = Totals(units.tolist(), left)
    total = wide(left.new_empty(0)).new_empty(m if whole else 0, n)
    asked = None if tokens is None else _Asked(_grouped(tokens, order), sizes, k, wide(right.new_empty(0)), n)
    budget = CHUNK.get(left.device.type, CHUNK_ELSEWHERE)
    # in slices of m, so that the units' gradients need not lie in memory whole
    step = min(m, max(8, budget // (max(len(per_unit), 1) * n)))
    buffer = scratch("pieces", left, len(per_unit) * step * n)
    for start in range(0, m, step):
        stop = min(start + step, m)
        pieces = wide(_products(left[:, :, start:stop], right, per_unit, buffer)).view(len(per_unit), -1)
        # the training's gradient is without scale and moment: add it up before they change the pieces
        if whole and (scale is not None or moment is not None):
            total[start:stop] = pieces.sum(0).view(-1, n)
        pieces = _scaled(pieces, scale)
        if moment is not None:
            pieces = pieces * _factors(moment[start:stop], adam).view(-1)
        sums = totals.add(pieces)
        # nothing was changed: the sources' sums are the cheaper way to the same gradient
        if whole and scale is None and moment is None:
            torch.sum(sums.view(k, -1, n), 0, out=total[start:stop])
        if asked is not None:
            asked.take(sums.view(k, -1, n), pieces.view(len(per_unit), -1, n), start, stop)
    return total, totals.result(), left.new_empty(0) if asked is None else asked.found


@linear.register_fake
def _(left, right, tokens, order, sizes, units, scale, moment, adam, whole):  # type: ignore[no-untyped-def]
    k, b, n = units.shape[0], left.shape[0], right.shape[2]
    found = left.new_empty(0)
    if tokens is not None:
        found = wide(right.new_empty(0)).new_empty(k + 1, b * tokens.shape[1], n)
    return wide(left.new_empty(0)).new_empty(left.shape[2] if whole else 0, n), _statistics_like(left, k), found


@_operator("vectors", f"(Tensor per_row, {_ROWS}, Tensor? moment, Tensor? adam, bool whole) -> (Tensor, Tensor)")
def vectors(
    per_row: Tensor,
    order: Tensor | None,
    sizes: Tensor,
    units: Tensor,
    scale: Tensor | None,
    moment: Tensor | None,
    adam: Tensor | None,
    whole: bool,
) -> tuple[Tensor, Tensor]:
    """
    Count rows' gradients in that are there as vectors.

    Parameters
    ----------
    per_row
        [b, n].

    Returns
    -------
    Their sum [n] (or nothing), and statistics.
    """
    totals = Totals(units.tolist(), per_row)
    total = per_row.sum(0) if whole else per_row.new_empty(0)
    rows = _scaled(wide(_grouped(per_row, order)), scale)
    if moment is not None:
        rows = rows * _factors(moment, adam).view(-1)
    totals.add(_by_unit(rows, sizes))
    return total, totals.result()


@vectors.register_fake
def _(per_row, order, sizes, units, scale, moment, adam, whole):  # type: ignore[no-untyped-def]
    return per_row.new_empty(per_row.shape[1] if whole else 0), _statistics_like(per_row, units.shape[0])


@_operator(
    "embedding",
    f"(Tensor grad, Tensor tokens, Tensor? link, {_ROWS}, Tensor? moment, Tensor? adam, int table, int padding) "
    "-> Tensor",
)
def embedding(
    grad: Tensor,
    tokens: Tensor,
    link: Tensor | None,
    order: Tensor | None,
    sizes: Tensor,
    units: Tensor,
    scale: Tensor | None,
    moment: Tensor | None,
    adam: Tensor | None,
    table: int,
    padding: int,
) -> Tensor:
    """
    Return the statistics of an embedding of `table` rows; `tokens` [b, t] were looked up, `grad` is [b, t, n].

    Parameters
    ----------
    link
        What `linear` found at the tokens, if the table is the head's weight too.
    padding
        The token without a gradient, or -1.
    """
    totals = Totals(units.tolist(), grad)
    tokens, grad = _grouped(tokens, order), wide(_grouped(grad, order))
    if scale is not None:
        grad = grad * scale.to(grad)[:, None, None]
    t, n = grad.shape[1:]
    flat, grad = tokens.reshape(-1), grad.reshape(-1, n)
    if padding >= 0:
        grad = grad * (flat != padding).to(grad.dtype)[:, None]
    if moment is not None:
        grad = grad * _factors(moment[flat], adam)
    unit_of = torch.repeat_interleave(torch.arange(len(sizes)), sizes).repeat_interleave(t).to(grad.device)
    source_of = torch.repeat_interleave(torch.arange(len(units)), units).to(grad.device)[unit_of]
    _count_table(totals, grad, flat, unit_of, source_of, table)
    if link is not None:
        _count_link(totals, grad, link, source_of)
    return totals.result()


@embedding.register_fake
def _(grad, tokens, link, order, sizes, units, scale, moment, adam, table, padding):  # type: ignore[no-untyped-def]
    return _statistics_like(grad, units.shape[0])


def _count_table(totals: Totals, grad: Tensor, flat: Tensor, unit_of: Tensor, source_of: Tensor, table: int) -> None:
    """Count squares of units' and products of sources' sums per token in; `grad` is [b * t, n]."""
    add_up = torch.ops.aten.embedding_dense_backward
    # squares need the sums of equal tokens within a unit, Grams those within a source: dense [units, table, n] would
    # not fit, so only the tokens that occur get a place
    keys, place = torch.unique(unit_of * table + flat, return_inverse=True)
    of_unit = add_up(grad, place, len(keys), -1, False)
    squares = of_unit.square().sum(1, dtype=totals.squares.dtype)
    k = totals.k
    owner = torch.empty_like(keys)
    owner[place] = source_of
    totals.squares.index_add_(0, owner, squares)
    rows, place = torch.unique(keys % table, return_inverse=True)
    step = max(1, CHUNK.get(grad.device.type, CHUNK_ELSEWHERE) // (k * len(rows)))
    for start in range(0, of_unit.shape[1], step):
        part = add_up(
            of_unit[:, start : start + step].contiguous(), owner * len(rows) + place, k * len(rows), -1, False
        )
        part = part.view(k, -1)
        totals.gram += part @ part.T


def _count_link(totals: Totals, grad: Tensor, link: Tensor, source_of: Tensor) -> None:
    """Count the products of the table's two uses in; rows of `grad` and `link` are in sorted order."""
    dtype = totals.gram.dtype
    k = totals.k
    counts = torch.bincount(source_of, minlength=k).tolist()
    # |a + b|^2 = |a|^2 + 2 <a, b> + |b|^2, with a from the table and b from the head
    totals.squares.index_add_(0, source_of, 2 * (grad * link[k]).sum(1, dtype=dtype))
    cross, start = torch.zeros_like(totals.gram), 0
    for source, count in enumerate(counts):
        own = grad[start : start + count].reshape(-1)
        for other in range(k):
            cross[source, other] = torch.dot(link[other, start : start + count].reshape(-1), own)
        start += count
    totals.add_cross(cross)


class _Asked:
    """Picks the rows of a product that the embedding wants, chunk by chunk."""

    def __init__(self, tokens: Tensor, sizes: Tensor, k: int, like: Tensor, n: int) -> None:
        unit_of = torch.repeat_interleave(torch.arange(len(sizes)), sizes).repeat_interleave(tokens.shape[1])
        self.tokens, self.place = tokens.reshape(-1).sort()
        self.unit_of = unit_of.to(tokens.device)[self.place]
        self.found = like.new_empty(k + 1, self.tokens.numel(), n)
        self.k = k

    def take(self, sums: Tensor, pieces: Tensor, start: int, stop: int) -> None:
        """Keep the rows of the sources' sums [k, c, n] and the units' own [u, c, n], of the rows start to stop."""
        # tokens are sorted, so those of a slice lie side by side
        edges = torch.tensor([start, stop], device=self.tokens.device)
        first, last = torch.searchsorted(self.tokens, edges).tolist()
        if first < last:
            place, row = self.place[first:last], self.tokens[first:last] - start
            self.found[: self.k, place] = sums[:, row]
            self.found[self.k, place] = pieces[self.unit_of[first:last], row]


def _grouped(tensor: Tensor, order: Tensor | None) -> Tensor:
    """Return [b, ...] in sorted order."""
    return tensor if order is None else tensor.index_select(0, order.to(tensor.device))


def _products(left: Tensor, right: Tensor, sizes: list[int], buffer: Tensor) -> Tensor:
    """Return [u, c, n]: left^T right of each unit; the rows of a unit stand side by side."""
    t, c = left.shape[1:]
    out = buffer[: len(sizes) * c * right.shape[2]].view(len(sizes), c, -1)
    # single rows: one batched product instead of many small ones
    if all(size == 1 for size in sizes):
        return torch.bmm(left.transpose(1, 2), right, out=out)
    start = 0
    for unit, size in enumerate(sizes):
        rows = slice(start, start + size)
        if size:
            torch.mm(left[rows].reshape(-1, c).t(), right[rows].reshape(size * t, -1), out=out[unit])
        else:
            out[unit].zero_()
        start += size
    return out


def _scaled(per_row: Tensor, scale: Tensor | None) -> Tensor:
    return per_row if scale is None else per_row * scale.to(per_row)[:, None]


def _by_unit(rows: Tensor, sizes: Tensor) -> Tensor:
    if len(sizes) == len(rows) and bool((sizes == 1).all()):
        return rows
    unit_of = torch.repeat_interleave(torch.arange(len(sizes)), sizes).to(rows.device)
    return rows.new_zeros(len(sizes), rows.shape[1]).index_add_(0, unit_of, rows)


def _factors(moment: Tensor, adam: Tensor | None) -> Tensor:
    """Return what the optimiser multiplies a gradient by."""
    assert adam is not None
    correction, eps = adam.tolist()
    return (wide(moment) / correction).sqrt_().add_(eps).reciprocal_()


def _statistics_like(tensor: Tensor, k: int) -> Tensor:
    return tensor.new_empty(k, k + 2, dtype=torch.float32 if tensor.device.type == "mps" else torch.float64)
