"""The loss of each row out of the logits that the training's own forward pass made."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from mixwright.errors import InputError

IGNORED = -100
_NUMBERS = 1 << 24  # logits that are widened at once: 64 MB
_DEPTH = 8  # steps from a loss back to its cross entropy


def targets_of(inputs: Mapping[str, Any], shifts: bool) -> Tensor:
    """
    Return what each position should predict, [b, t] or [b]; -100 where nothing is learned.

    Parameters
    ----------
    inputs
        Of the model.
    shifts
        Whether the model's loss shifts `labels` by one (causal language models do). `shift_labels` are taken as they
        are.

    Raises
    ------
    InputError
        If there are no labels.
    """
    if inputs.get("shift_labels") is not None:
        return inputs["shift_labels"]
    labels = inputs.get("labels")
    if not isinstance(labels, Tensor):
        raise InputError(
            f"the model's inputs should have 'labels', found {', '.join(map(repr, inputs))}; give inputs=, a function "
            "from a Batch to the model's inputs"
        )
    return torch.nn.functional.pad(labels[:, 1:], (0, 1), value=IGNORED) if shifts else labels


def count_tokens(targets: Tensor) -> Tensor:
    """Return [b], the tokens of each row that the loss counts."""
    return targets.reshape(len(targets), -1).ne(IGNORED).sum(1)


def token_nats(logits: Tensor, targets: Tensor) -> Tensor:
    """
    Return float64 [b, t], the cross entropy of each row's tokens, with its graph where gradients are on; 0: ignored.

    Parameters
    ----------
    logits
        [b, t, classes], or [b, classes].
    targets
        [b, t] or [b], -100 where nothing is learned.
    """
    b, classes = len(targets), logits.shape[-1]
    wanted = targets.reshape(b, -1)
    if logits.numel() != wanted.numel() * classes:
        raise InputError(
            f"there should be logits for each label, found shapes {tuple(logits.shape)} and {tuple(targets.shape)}; "
            "a loss per source needs the logits of every position"
        )
    logits, flat = logits.reshape(-1, classes), wanted.reshape(-1).to(logits.device)
    wide = torch.promote_types(logits.dtype, torch.float32)
    nats = torch.zeros(len(flat), dtype=wide, device=logits.device)
    for part in range(0, len(flat), max(1, _NUMBERS // classes)):
        at = slice(part, part + max(1, _NUMBERS // classes))
        nats[at] = torch.nn.functional.cross_entropy(
            logits[at].to(wide), flat[at], ignore_index=IGNORED, reduction="none"
        )
    return nats.view(b, -1).to(precise(nats.device))


def row_nats(logits: Tensor, targets: Tensor) -> Tensor:
    """Return float64 [b], the sum over each row's tokens of `token_nats`."""
    return token_nats(logits, targets).sum(1)


@torch.no_grad()
def kept_nats(loss: Tensor, targets: Tensor) -> Tensor | None:
    """
    Return what `token_nats` does, read from what a loss keeps for its backward pass; None if it keeps something else.

    Parameters
    ----------
    loss
        A cross entropy whose log-probabilities autograd has saved, divided or multiplied by numbers; nothing is added.
    targets
        [b, t] or [b]; the cross entropy must have the same.
    """
    node = loss.grad_fn
    for _ in range(_DEPTH):
        if node is None or node.name() == "NllLossBackward0":
            break
        before = [found for found, _ in node.next_functions if found is not None]
        node = before[0] if len(before) == 1 else None
    logs, wanted = getattr(node, "_saved_self", None), getattr(node, "_saved_target", None)
    flat = targets.reshape(-1)
    if logs is None or logs.ndim != 2 or len(logs) != len(flat) or wanted is None or wanted.device != flat.device:
        return None
    ignored = getattr(node, "_saved_ignore_index", 0) % (1 << 64)  # torch gives it unsigned
    if ignored != IGNORED % (1 << 64) or not torch.equal(wanted, flat):
        return None
    found = logs.gather(1, flat.clamp(min=0)[:, None])[:, 0]
    nats = -torch.where(flat == IGNORED, 0, found)
    return nats.view(len(targets), -1).to(precise(nats.device))


def by_source(values: Tensor, source: Tensor, k: int) -> Tensor:
    """Return [k], the sums of the values [b] of each source's rows; other dimensions of the values come first."""
    index = source.to(values.device)
    return values.new_zeros(*values.shape[:-1], k).index_add_(-1, index, values)


def precise(device: torch.device) -> torch.dtype:
    """Return the widest floating point numbers of a device."""
    return torch.float32 if device.type == "mps" else torch.float64
