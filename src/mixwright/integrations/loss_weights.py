"""What the Trainer's loss weighs each row by."""

from __future__ import annotations

import logging
import math
from typing import Any

import torch
from torch import Tensor
from transformers.loss.loss_utils import ForCausalLMLoss

from mixwright.errors import InputError

_NEAR = 1e-3
logger = logging.getLogger(__name__)


def shifts_labels(trainer: Any) -> bool:
    """Return whether the loss of a Trainer's model shifts the labels by one, as causal language models do."""
    model = trainer.accelerator.unwrap_model(trainer.model)
    model = model.get_base_model() if hasattr(model, "get_base_model") else model  # of peft
    own = getattr(model, "loss_function", None)
    if own is None:
        return bool(getattr(trainer, "_loss_shifts_labels", False))
    return own is ForCausalLMLoss and not getattr(model.config, "is_encoder_decoder", False)


def loss_factor(trainer: Any, items: Any, tokens: Tensor) -> tuple[float, float]:
    """
    Return the factor between the sum of a micro-batch's token losses and the Trainer's loss of it.

    A row's weight in what is differentiated is the factor times the scale times its tokens, if its own loss is the mean
    over them. The Trainer divides by the tokens of the whole step (`num_items_in_batch`, over all ranks with
    average_tokens_across_devices, times the ranks since gradients are averaged), or, for models that do not take
    that number, by those of the micro-batch and the number of micro-batches.

    Parameters
    ----------
    trainer
        At a training step.
    items
        `num_items_in_batch`, or None.
    tokens
        [b] tokens that the loss counts, of each row.

    Returns
    -------
    factor, scale
        The scale of the loss scaler (fp16), else 1.
    """
    args = trainer.args
    takes = bool(trainer.model_accepts_loss_kwargs or trainer.compute_loss_func is not None)
    scaled = getattr(trainer, "loss_is_scaled_for_ga", None)
    by_step = takes and items is not None
    if by_step:
        ranks = trainer.accelerator.num_processes if args.average_tokens_across_devices else 1
        factor = ranks / float(items)
    else:
        factor = 1 / max(float(tokens.sum()), 1.0)
    if not (scaled if scaled is not None else by_step or trainer.compute_loss_func is not None):
        factor /= trainer.current_gradient_accumulation_steps
    scaler = getattr(trainer.accelerator, "scaler", None)
    return factor, 1.0 if scaler is None else float(scaler.get_scale())


def check_normaliser(trainer: Any) -> None:
    """Raise InputError if the Trainer divides the loss by less than the tokens of a whole step."""
    args, pieces = trainer.args, trainer.args.gradient_accumulation_steps * trainer.args.world_size
    if pieces == 1:
        return
    if not (trainer.model_accepts_loss_kwargs or trainer.compute_loss_func is not None):
        raise InputError(
            "weights that act on the loss need a loss that is divided by the tokens of the whole step, found a model "
            f"that does not take num_items_in_batch, and {pieces} micro-batches a step; use one micro-batch on one rank"
        )
    if args.world_size > 1 and not args.average_tokens_across_devices:
        raise InputError(
            "weights that act on the loss need a loss that is divided by the tokens of all ranks, found "
            "average_tokens_across_devices=False; set it to True"
        )


def weighted_loss(found: Tensor, nats: Tensor, factors: Tensor) -> Tensor:
    """
    Return the Trainer's loss of a micro-batch with each row's part times its factor.

    Parameters
    ----------
    found
        The Trainer's own loss: the sum of the tokens' losses, divided by a number.
    nats
        [b] the sums of each row's tokens, with their graph.
    factors
        [b] what each row counts.
    """
    plain = nats.detach().sum()
    # that number is the Trainer's: what it divides by depends on its settings, and is the same for each row
    scale = torch.where(plain == 0, torch.zeros_like(plain), found.detach().to(plain) / plain)
    return ((nats * factors).sum() * scale).to(found)


def check_loss(found: float, expected: float, what: str | None = "gradient statistics") -> None:
    """
    Raise InputError if the Trainer's loss of a micro-batch is not the mean over tokens it is taken for.

    `what` needs that it is; None: warn.
    """
    if not math.isfinite(found + expected) or abs(found - expected) <= _NEAR * max(abs(expected), 1e-6):
        return
    if what is None:
        logger.warning(
            "losses per source are mean cross entropies of tokens (%.6g in the first batch); the Trainer's loss is "
            "something else (%.6g)",
            expected,
            found,
        )
    else:
        raise InputError(
            f"with {what} the Trainer's loss should be the mean cross entropy of its tokens "
            f"({expected:.6g}), found {found:.6g}: something is added to it or weighs rows differently (an auxiliary "
            f"loss of experts, a compute_loss of your own); take it out, or do without {what}"
        )
