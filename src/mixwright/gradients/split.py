"""Statistics of one micro-batch from its own backward pass: layers report to probes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

import mixwright.gradients.ops  # noqa: F401  (registers the operators)
from mixwright.errors import InputError
from mixwright.gradients.adam import AdamMetric
from mixwright.gradients.coverage import find_layers
from mixwright.gradients.distributed import world_size
from mixwright.gradients.estimators import Sums
from mixwright.gradients.layers import Layer
from mixwright.gradients.patch import observed
from mixwright.gradients.rows import RowSources

Array = NDArray[np.float64]


class SplitBackward:
    """
    Splits the gradient of each layer by row while it is formed.

    Parameters
    ----------
    model, k
        The model and the number of sources.
    fused
        Whether a layer's gradient is the sum of the pieces; else the training's own product makes it.
    check
        Whether the first micro-batch is checked: do the pieces add up to the gradient that arrived?

    Raises
    ------
    InputError
        If the model cannot be split by row, see `find_layers`.
    """

    def __init__(self, model: nn.Module, k: int, fused: bool, check: bool) -> None:
        self.model, self.k, self.check = model, k, check
        self.layers = find_layers(model, fused)
        self.sums = Sums.zero(k)

    def ready(self, metric: AdamMetric | None) -> bool:
        """Fetch the optimiser's moments; return False if it has made no step yet."""
        for layer in self.layers:
            found = {} if metric is None else {k: metric.moment(p, layer.name) for k, p in layer.parameters.items()}
            if None in found.values():
                return False
            weight, bias = found.get("weight"), found.get("bias")
            # weight and bias step together, so one bias correction serves both
            either = weight or bias
            layer.moments = (weight and weight[0], bias and bias[0], either and either[1])
        return True

    @contextmanager
    def recording(self, rows: RowSources) -> Iterator[None]:
        """Observe one forward and backward pass; `sums` holds its sums afterwards."""
        # micro-batches add up in .grad: only what changes from here belongs to this one
        before = {id(p): _mark(p) for layer in self.layers for p in layer.parameters.values()}
        try:
            for layer in self.layers:
                self._prepare(layer, rows)
            with observed(self.layers):
                yield
            found = self._read()
        finally:
            for layer in self.layers:
                # a probe or link that stays would hold the whole graph, and its memory
                layer.rows = layer.probe = None
                layer.moments = (None, None, None)
                if layer.tie is not None:
                    layer.tie.tokens = layer.tie.link = None
        self._check_uses(found, before)
        # scaled rows or a gradient averaged over ranks do not add up to the gradient seen here
        if self.check and rows.scale is None and world_size() == 1:
            self._check_sum(found, before)
        gram, squares = found[:, :, : self.k].sum(0), found[:, :, self.k].sum(0)
        # a gradient that is not finite is counted and left out later, see GradientStatistics
        with np.errstate(invalid="ignore", over="ignore"):
            gram, squares = gram * np.outer(rows.rate, rows.rate), squares * rows.rate**2
        self.sums = Sums.of_batch(gram, squares, rows.counts, rows.unit_squares)

    def _prepare(self, layer: Layer, rows: RowSources) -> None:
        device = next(iter(layer.parameters.values())).device
        # float64 (MPS has none): squares of millions of numbers are added up
        dtype = torch.float32 if device.type == "mps" else torch.float64
        layer.rows = rows
        # a probe takes part in the forward pass with no effect; autograd then delivers its gradient, the statistics,
        # along with all others, through checkpointing, FSDP and compilation
        layer.probe = torch.zeros(self.k, self.k + 2, dtype=dtype, device=device, requires_grad=True)

    def _read(self) -> Array:
        """Return [layers, k, k + 2] statistics."""
        device = next(iter(self.layers[0].parameters.values())).device
        probes = [layer.probe for layer in self.layers if layer.probe is not None]
        grads = [torch.zeros_like(p) if p.grad is None else p.grad for p in probes]
        return torch.stack([grad.to(device) for grad in grads]).cpu().double().numpy()

    def _check_uses(self, found: Array, before: dict[int, object]) -> None:
        """Raise InputError if a parameter's gradient did not come through its layer, once."""
        uses = np.rint(found[:, 0, -1])
        if not uses.any():
            raise InputError("loss.backward() should be called within observe(), found no backward pass")
        for layer, times in zip(self.layers, uses, strict=True):
            # the Gram of a sum is not the sum of Grams: two uses have cross terms that nobody formed
            if times > 1:
                raise InputError(
                    f"each layer should be used once in a micro-batch, found {int(times)} times for {layer.name!r}; "
                    "observe each forward and backward pass by itself, or use level='micro-batch'"
                )
            looked_up = layer.tie is not None and isinstance(
                layer.module, nn.Embedding
            )  # its gradient may be the head's
            if not times and not looked_up and any(_mark(p) != before[id(p)] for p in layer.parameters.values()):
                raise _not_all_seen(layer)

    def _check_sum(self, found: Array, before: dict[int, object]) -> None:
        """Raise InputError if the pieces of a layer do not add up to its gradient; once, where it can be seen."""
        self.check = False
        groups: dict[
            int, list[tuple[Layer, Array]]
        ] = {}  # an embedding and a head with the same weight belong together
        for layer, statistics in zip(self.layers, found[:, :, : self.k], strict=True):
            groups.setdefault(id(next(iter(layer.parameters.values()))), []).append((layer, statistics))
        for group in groups.values():
            own = list({id(p): p for layer, _ in group for p in layer.parameters.values()}.values())
            grads = [p.grad for p in own if p.grad is not None]
            # only a gradient that began at nothing and lies whole on this rank can be compared
            usual = all(before[id(p)] is None for p in own) and all(type(g) is torch.Tensor for g in grads)
            if not usual or any(p.requires_grad for p in own) != bool(grads):
                continue
            total = sum(float(g.double().square().sum()) for g in grads)
            expected = sum(float(statistics.sum()) for _, statistics in group)
            size = sum(float(np.abs(statistics).sum()) for _, statistics in group)
            # relative to the sum of absolute pieces, since pieces may cancel
            if abs(total - expected) > _tolerance(grads) * size + 1e-30:
                raise _not_all_seen(group[0][0])


def _mark(parameter: nn.Parameter) -> object:
    """Return what changes when a gradient arrives; None if there is none."""
    # _version counts writes in place: adding to a gradient keeps its id
    grad = parameter.grad
    return None if grad is None else (id(grad), grad._version)


def _tolerance(grads: list[torch.Tensor]) -> float:
    low = any(torch.is_autocast_enabled(g.device.type) or g.dtype in (torch.float16, torch.bfloat16) for g in grads)
    return 0.1 if low else 1e-3


def _not_all_seen(layer: Layer) -> InputError:
    return InputError(
        f"the gradient of {layer.name!r} should come through the layer alone, found more (its parameters are used "
        "elsewhere too, or a hook changes their gradient); use level='micro-batch' with micro-batches of one source "
        "each"
    )
