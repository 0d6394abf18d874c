"""Models whose head is fused with the loss (TRL's SFTTrainer): what they answer, and the same out of their logits."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from mixwright.errors import InputError
from mixwright.integrations.row_losses import IGNORED, precise

_FUSED = "fused_lm_head"  # the argument with which TRL asks for log-probabilities instead of logits


class Heard:
    """
    A model that keeps what it answered last.

    TRL gives its models a head that is fused with the loss: it multiplies by the head's weight itself, in pieces, and
    the head's own code never runs. The log-probabilities that it answers are all that losses per source need. Gradient
    statistics need the head as a layer: with `by_logits` the same answer is made of the model's logits.

    Parameters
    ----------
    model
        As the Trainer calls it.
    by_logits
        Whether fused answers are made of logits, where gradients are wanted.

    Attributes
    ----------
    outputs
        The last answer; None before the first.
    """

    def __init__(self, model: Any, by_logits: bool) -> None:
        self._model, self._by_logits = model, by_logits
        self.outputs: Any = None

    def __call__(self, *arguments: Any, **inputs: Any) -> Any:
        """Run the model."""
        if self._by_logits and inputs.get(_FUSED) and torch.is_grad_enabled():
            self.outputs = self._unfused(*arguments, **inputs)
        else:
            self.outputs = self._model(*arguments, **inputs)
        return self.outputs

    def __getattr__(self, name: str) -> Any:
        """Return what is the model's."""
        return getattr(self._model, name)

    def _unfused(self, *arguments: Any, labels: Tensor | None = None, **inputs: Any) -> Any:
        """Return the fields of a fused answer that SFTTrainer reads, [b, t - 1] (or [b, t] of shifted labels)."""
        del inputs[_FUSED]
        shifted = inputs.pop("shift_labels", None)
        inputs.pop("num_items_in_batch", None)
        outputs = self._model(*arguments, **inputs)
        logits, targets = outputs.logits, shifted
        if targets is None:
            if labels is None:
                raise InputError(f"the model's inputs should have 'labels', found {', '.join(map(repr, inputs))}")
            logits, targets = logits[:, :-1], labels[:, 1:]
        targets = targets.to(logits.device)
        return SimpleNamespace(
            **_of_logits(logits.to(torch.promote_types(logits.dtype, torch.float32)), targets),
            label_mask=targets != IGNORED,
            aux_loss=getattr(outputs, "aux_loss", None),
        )


def _of_logits(logits: Tensor, targets: Tensor) -> dict[str, Tensor]:
    """Return log-probabilities of the targets, entropies, and whether a target is the likeliest; 0 where ignored."""
    flat = torch.nn.functional.cross_entropy(
        logits.flatten(0, 1), targets.flatten(), ignore_index=IGNORED, reduction="none"
    )
    with torch.no_grad():
        logs = logits.log_softmax(-1)
        entropy = -(logs.exp() * logs).sum(-1)
        first = logits.argmax(-1) == targets
    return {"log_probs": -flat.view(targets.shape), "entropy": entropy * (targets != IGNORED), "is_top1": first}


def fused_nats(outputs: Any) -> Tensor | None:
    """Return float64 [b, t], the nats of each row's tokens, with their graph; None: the answer is not fused."""
    logs = getattr(outputs, "log_probs", None)
    if not isinstance(logs, Tensor):
        return None
    return -logs.to(precise(logs.device)).reshape(len(logs), -1)
