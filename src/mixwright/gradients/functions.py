"""
Taps: functions that hand a layer's output on as it is, and whose probe's gradient are the statistics of the layer.

`rows` is (order, sizes, units, scale), `moments` (of the weight, of the bias, adam); see `ops`. A weight or a bias that
is given gets its gradient from here, as the sum of the pieces; the caller has kept it out of the layer's own graph.
Only the output's gradient and the input are looked at, so that checkpointing, FSDP and compilation see nothing new.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from mixwright.gradients.totals import wide

_ops = torch.ops.mixwright


class LinearTap(torch.autograd.Function):
    """Behind y = x W^T + b, or y = x W + b (`transposed`)."""

    @staticmethod
    def forward(  # noqa: D102
        ctx: Any,
        y: Tensor,
        x: Tensor,
        weight: Tensor | None,
        bias: Tensor | None,
        probe: Tensor,
        link: Tensor | None,
        tokens: Tensor | None,
        order: Tensor | None,
        sizes: Tensor,
        units: Tensor,
        scale: Tensor | None,
        weight_moment: Tensor | None,
        bias_moment: Tensor | None,
        adam: Tensor | None,
        transposed: bool,
        count_weight: bool,
        count_bias: bool,
    ) -> Tensor:
        ctx.save_for_backward(x, tokens, order, sizes, units, scale, weight_moment, bias_moment, adam)
        ctx.weight_dtype = None if weight is None else weight.dtype
        ctx.bias_dtype = None if bias is None else bias.dtype
        ctx.flags, ctx.linked = (transposed, count_weight, count_bias), link is not None
        return y.detach()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:  # noqa: D102
        x, tokens, order, sizes, units, scale, weight_moment, bias_moment, adam = ctx.saved_tensors
        transposed, count_weight, count_bias = ctx.flags
        rows, b = (order, sizes, units, scale), grad.shape[0]
        # a row's gradient of W is left_b^T right_b, summed over its positions
        left, right = grad.reshape(b, -1, grad.shape[-1]), x.reshape(b, -1, x.shape[-1])
        weight = bias = link = None
        found = []
        if count_weight:
            asked = tokens if ctx.linked else None
            first, second = (right, left) if transposed else (left, right)
            weight, statistics, link = _ops.linear(
                first, second, asked, *rows, weight_moment, adam, ctx.weight_dtype is not None
            )
            found.append(statistics)
        if count_bias:
            per_row = left.sum(1, dtype=wide(left.new_empty(0)).dtype)
            bias, statistics = _ops.vectors(per_row, *rows, bias_moment, adam, ctx.bias_dtype is not None)
            found.append(statistics)
        weight = None if ctx.weight_dtype is None or weight is None else weight.to(ctx.weight_dtype)
        bias = None if ctx.bias_dtype is None or bias is None else bias.to(ctx.bias_dtype)
        link = link if ctx.linked else None
        return (grad, None, weight, bias, _joined(found), link, *(None,) * 11)


class NormTap(torch.autograd.Function):
    """Behind y = w * n(x) + b, for LayerNorm (`kind` "layer") and RMSNorm ("rms", or "float32" in that precision)."""

    @staticmethod
    def forward(  # noqa: D102
        ctx: Any,
        y: Tensor,
        x: Tensor,
        weight: Tensor | None,
        bias: Tensor | None,
        probe: Tensor,
        mean: Tensor | None,
        rstd: Tensor | None,
        order: Tensor | None,
        sizes: Tensor,
        units: Tensor,
        scale: Tensor | None,
        weight_moment: Tensor | None,
        bias_moment: Tensor | None,
        adam: Tensor | None,
        kind: str,
        shape: tuple[int, ...],
        eps: float,
        count_weight: bool,
        count_bias: bool,
    ) -> Tensor:
        ctx.save_for_backward(x, mean, rstd, order, sizes, units, scale, weight_moment, bias_moment, adam)
        ctx.dtypes = (None if weight is None else weight.dtype, None if bias is None else bias.dtype)
        ctx.settings = (kind, shape, eps, count_weight, count_bias)
        return y.detach()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:  # noqa: D102
        x, mean, rstd, order, sizes, units, scale, weight_moment, bias_moment, adam = ctx.saved_tensors
        kind, shape, eps, count_weight, count_bias = ctx.settings
        if kind == "layer":
            per_row = layer_norm_rows(grad, x, shape, eps, mean, rstd)
        else:
            per_row = rms_norm_rows(grad, x, shape, eps, kind)
        wanted, moments, grads, found = (count_weight, count_bias), (weight_moment, bias_moment), [], []
        for rows, count, moment, dtype in zip(per_row, wanted, moments, ctx.dtypes, strict=True):
            total = None
            if count:
                total, statistics = _ops.vectors(rows, order, sizes, units, scale, moment, adam, dtype is not None)
                found.append(statistics)
            grads.append(None if total is None or dtype is None else total.to(dtype).view(shape))
        return (grad, None, grads[0], grads[1], _joined(found), *(None,) * 14)


class EmbeddingTap(torch.autograd.Function):
    """Behind y = W[tokens]; with `linked`, also a tensor without memory whose gradient comes from the head."""

    @staticmethod
    def forward(  # noqa: D102
        ctx: Any,
        y: Tensor,
        tokens: Tensor,
        probe: Tensor,
        order: Tensor | None,
        sizes: Tensor,
        units: Tensor,
        scale: Tensor | None,
        moment: Tensor | None,
        adam: Tensor | None,
        table: int,
        padding: int,
        linked: bool,
    ) -> Any:
        ctx.save_for_backward(tokens, order, sizes, units, scale, moment, adam)
        ctx.table, ctx.padding, ctx.linked = table, padding, linked
        # no gradient arrives where the embedding was not used: None, not a table of zeros
        ctx.set_materialize_grads(False)
        if not linked:
            return y.detach()
        shape = (units.shape[0] + 1, tokens.numel(), y.shape[-1])
        # expanded from one number: the link needs a shape and a place in the graph, but no memory
        return y.detach(), wide(y.new_zeros((), dtype=y.dtype)).expand(shape)

    @staticmethod
    def backward(ctx: Any, grad: Tensor | None, link: Tensor | None = None) -> Any:  # noqa: D102
        tokens, *rows, moment, adam = ctx.saved_tensors
        statistics = None
        if grad is not None:
            b = grad.shape[0]
            flat = grad.reshape(b, -1, grad.shape[-1])
            statistics = _ops.embedding(flat, tokens.reshape(b, -1), link, *rows, moment, adam, ctx.table, ctx.padding)
        return (grad, None, statistics, *(None,) * 9)


def layer_norm_rows(
    grad: Tensor, x: Tensor, shape: tuple[int, ...], eps: float, mean: Tensor | None, rstd: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Return each row's gradient [b, n] of the weight and of the bias of a LayerNorm; mean and rstd if known."""
    n = int(torch.Size(shape).numel())
    if mean is not None and rstd is not None and x.device.type == "cpu":
        return _layer_norm_rows_on_cpu(grad, x, shape, mean, rstd)
    grad, x = wide(grad), wide(x)
    normal = torch.native_layer_norm(x, shape, None, None, eps)[0].reshape(len(x), -1, n)
    grad = grad.reshape(len(x), -1, n)
    return (grad * normal).sum(1), grad.sum(1)


def _layer_norm_rows_on_cpu(
    grad: Tensor, x: Tensor, shape: tuple[int, ...], mean: Tensor, rstd: Tensor
) -> tuple[Tensor, Tensor]:
    """Let torch's own kernel sum over a row at a time, without a transient."""
    # with a weight of ones, the kernel's own gradient of weight and bias is the row's
    one, masks = x.new_ones(shape), [False, True, True]
    found = [
        torch.ops.aten.native_layer_norm_backward(grad[b], x[b], list(shape), mean[b], rstd[b], one, one, masks)[1:]
        for b in range(len(x))
    ]
    weight, bias = zip(*found, strict=True)
    return torch.stack(weight).flatten(1), torch.stack(bias).flatten(1)


def rms_norm_rows(grad: Tensor, x: Tensor, shape: tuple[int, ...], eps: float, kind: str) -> tuple[Tensor, Tensor]:
    """Return each row's gradient [b, n] of the weight of an RMSNorm (and nothing for the bias that it has not)."""
    if kind == "float32":  # transformers' classes: normalised in single precision, then as the input
        high = x.to(torch.float32)
        normal = (high * torch.rsqrt(high.pow(2).mean(-1, keepdim=True) + eps)).to(x.dtype)
    else:
        normal = torch.nn.functional.rms_norm(wide(x), shape, None, eps)
    n = int(torch.Size(shape).numel())
    rows = (wide(grad) * wide(normal)).reshape(len(x), -1, n).sum(1)
    return rows, rows


def _joined(found: list[Tensor]) -> Tensor | None:
    """Return the sum of statistics of parameters of one layer, which was used once."""
    if not found:
        return None
    total = found[0].clone()
    for other in found[1:]:
        # the last column counts uses of the layer, not of its parameters
        total[:, :-1] += other[:, :-1]
    return total
