"""The fallback for any model: micro-batches of one source each, whose gradients are kept until the optimiser steps."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor, nn

from mixwright.errors import InputError
from mixwright.gradients.adam import AdamMetric
from mixwright.gradients.coverage import refuse_batch_norm
from mixwright.gradients.distributed import world_size
from mixwright.gradients.estimators import Sums
from mixwright.gradients.rows import RowSources


class HomogeneousBatches:
    """
    Takes gradients of whole micro-batches as units; memory for one gradient per source that was seen in the step.

    Parameters
    ----------
    model, k
        The model and the number of sources.

    Raises
    ------
    InputError
        If there is a batch norm or nothing to train. While recording: a micro-batch of several sources, rows of unequal
        weight, or several ranks.
    """

    def __init__(self, model: nn.Module, k: int) -> None:
        refuse_batch_norm(model)
        self.k = k
        self.named = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
        if not self.named:
            raise InputError("a model should have trainable parameters, found none; call requires_grad_() on some")
        self.sums = Sums.zero(k)
        self._factors: list[Tensor | None] = [None] * len(self.named)
        self._state: list[int] = []  # the parameters' versions: they change when the optimiser steps
        self._clear()

    def ready(self, metric: AdamMetric | None) -> bool:
        """Fetch the optimiser's moments; return False if it has made no step yet."""
        if metric is None:
            return True
        moments = [metric.moment(p, name) for name, p in self.named]
        if None in moments:
            return False
        found = [m for m in moments if m is not None]
        # v / a[0] corrects Adam's bias, a[1] is its epsilon
        self._factors = [((v / a[0]).sqrt() + a[1]).reciprocal() for v, a in found]
        return True

    @contextmanager
    def recording(self, rows: RowSources) -> Iterator[None]:
        """Observe one micro-batch; `sums` holds the finished steps that nobody has taken yet."""
        source = self._source(rows)
        # gradients before and after an optimiser step are of different parameters: their products mean nothing
        state = [p._version for _, p in self.named]
        if state != self._state:
            self.flush()
            self._state = state
        kept = [p.grad for _, p in self.named]
        for _, p in self.named:
            # the backward pass adds to .grad; from nothing it leaves this micro-batch's gradient alone
            p.grad = None
        try:
            yield
            self._count(source, rows)
        finally:
            for (_, p), old in zip(self.named, kept, strict=True):
                p.grad = old if p.grad is None else p.grad if old is None else old.add_(p.grad)

    def flush(self) -> None:
        """Turn the gradients of the current step into sums."""
        gram = np.zeros((self.k, self.k))
        seen = sorted(self._totals)
        for i, j in ((i, j) for i in seen for j in seen if i <= j):
            products = zip(self._totals[i], self._totals[j], strict=True)
            gram[i, j] = gram[j, i] = sum(float((a * b).sum(dtype=torch.float64)) for a, b in products)
        self.sums = self.sums + Sums.of_batch(gram, self._squares, self._counts, self._unit_squares)
        self._clear()

    def _clear(self) -> None:
        self._totals: dict[int, list[Tensor]] = {}
        self._squares, self._counts, self._unit_squares = np.zeros(self.k), np.zeros(self.k), np.zeros(self.k)

    def _source(self, rows: RowSources) -> int:
        ids = rows.source.unique().tolist()
        if len(ids) > 1:
            raise InputError(
                f"with level='micro-batch' a micro-batch should be of one source, found {ids}; deal the rows out by "
                "source"
            )
        if rows.scale is not None:
            raise InputError("with level='micro-batch' rows should have the same loss_weight, found different ones")
        if world_size() > 1:
            raise InputError("level='micro-batch' works in one process, found several ranks; use level='example'")
        return int(ids[0])

    def _count(self, source: int, rows: RowSources) -> None:
        grads = []
        for (_, p), factor in zip(self.named, self._factors, strict=True):
            grad = torch.zeros_like(p) if p.grad is None else p.grad.detach()
            grad = grad * float(rows.rate[source])
            grads.append(grad if factor is None else grad * factor)
        n = float(rows.counts[source])
        self._squares[source] += sum(float(g.square().sum(dtype=torch.float64)) for g in grads)
        self._counts[source] += n
        self._unit_squares[source] += n * n
        totals = self._totals.get(source)
        self._totals[source] = grads if totals is None else [a + b for a, b in zip(totals, grads, strict=True)]
