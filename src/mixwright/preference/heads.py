"""The head of a language model at the positions that matter: log-probabilities in the place of logits."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

_NUMBERS = 1 << 24  # logits that are widened at once: 64 MB
_plain: WeakKeyDictionary[Any, bool] = WeakKeyDictionary()  # head -> whether its logits are the model's


class Head:
    """
    A model's head in one forward pass: what it sees, and what is made of its logits.

    Log-probabilities are made where the head gives its logits, and the model returns them in the logits' place: a
    wrapper that casts what a model returns (accelerate, in low precision) has no logits to cast. It is right only if
    the model does nothing more to its logits (a soft cap, a scale). Whether it does is seen in a head's first pass,
    which returns them as ever.
    """

    def __init__(self, model: Any, wanted: Tensor, targets: Tensor) -> None:
        while hasattr(model, "module"):
            model = model.module
        self._head = model.get_output_embeddings() if hasattr(model, "get_output_embeddings") else None
        self._wanted, self._targets = wanted, targets
        self._known = None if self._head is None else _plain.get(self._head)
        self._logits: Tensor | None = None

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Stand around the head."""
        if self._head is None:
            yield
            return
        hooks = self._head.register_forward_pre_hook(self._pick), self._head.register_forward_hook(self._score)
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()

    def values(self, logits: Tensor) -> Tensor:
        """Return the log-probabilities [n] of the wanted tokens, out of what the model returned as its logits."""
        if self._known:
            return logits[:, 0]
        if logits.ndim == 3:  # the head was not called as a module
            logits = logits[:, -self._wanted.shape[1] - 1 : -1][self._wanted]
        elif self._logits is not None and self._known is None:
            same = logits.shape == self._logits.shape
            _plain[self._head] = bool(same and torch.equal(logits.detach().to(self._logits.dtype), self._logits))
        return LogProbabilities.apply(logits, self._targets)

    def _pick(self, module: Any, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
        hidden, *more = arguments  # with positions before the row's own under prompt tuning
        return hidden[:, -self._wanted.shape[1] - 1 : -1][self._wanted], *more

    def _score(self, module: Any, arguments: Any, logits: Tensor) -> Tensor | None:
        if self._known:
            # a tensor of its own: FSDP2 warns of models that return views
            return LogProbabilities.apply(logits, self._targets)[:, None].clone()
        self._logits = logits.detach()
        return None


class LogProbabilities(torch.autograd.Function):
    """Log-probabilities [n] of target tokens out of logits [n, vocabulary]; never all of them in float32."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, targets: Tensor) -> Tensor:  # noqa: D102
        wide = torch.promote_types(logits.dtype, torch.float32)
        log_sum = logits.new_empty(len(logits), dtype=wide)
        for part in _parts(logits):
            log_sum[part] = logits[part].to(wide).logsumexp(1)
        ctx.save_for_backward(logits, targets, log_sum)
        return logits.gather(1, targets[:, None])[:, 0].to(wide) - log_sum

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:  # noqa: D102
        logits, targets, log_sum = ctx.saved_tensors
        found = torch.empty_like(logits)
        for part in _parts(logits):
            grad = grads[0][part, None].to(log_sum)
            share = (logits[part].to(log_sum.dtype) - log_sum[part, None]).exp_().mul_(-grad)
            found[part] = share.scatter_add_(1, targets[part, None], grad).to(logits.dtype)
        return found, None


def _parts(logits: Tensor) -> Iterator[slice]:
    rows = max(1, _NUMBERS // max(1, logits.shape[1]))
    return (slice(begin, begin + rows) for begin in range(0, len(logits), rows))
