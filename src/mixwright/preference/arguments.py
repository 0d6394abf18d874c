"""What a PreferenceTrainer takes from its arguments, TRL's DPOConfig among them, and what it refuses."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from typing import Any

import torch

from mixwright.batch_losses import CLIPS
from mixwright.errors import InputError
from mixwright.preference.losses import PairLoss
from mixwright.preference.pairs.rows import PairRows

_CHOICES: dict[str, tuple[str | None, ...]] = {
    "clip": CLIPS,
    "train_on": (None, "excess", "loss"),
    "apply": (None, "sampling", "loss"),
    "counts": (None, "batch", "expected"),
    "non_finite": ("stop", "skip"),
}
_OFF: dict[str, tuple[Any, ...]] = {  # options of DPOConfig that change the loss, and the values that do not
    "ld_alpha": (None,),
    "f_divergence_type": ("reverse_kl", None),
    "label_smoothing": (0, 0.0),
    "use_weighting": (False,),
    "sync_ref_model": (False,),
    "padding_free": (False,),
    "activation_offloading": (False,),
    "reference_free": (False,),
    "rpo_alpha": (None,),
    "force_use_ref_model": (False,),
}


def is_dpo_config(args: Any) -> bool:
    """Whether arguments are TRL's DPOConfig, or of a class that derives from it."""
    return any(cls.__name__ == "DPOConfig" and cls.__module__.startswith("trl.") for cls in type(args).__mro__)


def loss_of(args: Any) -> PairLoss:
    """
    Return the loss that the arguments name: beta and loss_type of a DPOConfig, else DPO with beta = .1.

    Raises
    ------
    InputError
        If it is one that there is not, or with an option that changes it.
    """
    if not is_dpo_config(args):
        return PairLoss()
    kinds = [args.loss_type] if isinstance(args.loss_type, str) else list(args.loss_type)
    if len(kinds) != 1 or str(kinds[0]) not in ("sigmoid", "ipo"):
        raise InputError(
            f"loss_type of DPOConfig should be 'sigmoid' or 'ipo' (one of them), found {args.loss_type!r}; for SimPO "
            "give loss=PairLoss('simpo', ...)"
        )
    weights = getattr(args, "loss_weights", None)
    if weights not in (None, [1.0], [1]):
        raise InputError(f"loss_weights of DPOConfig should be left out, found {weights!r}")
    return PairLoss(str(kinds[0]), beta=float(args.beta))


def check_choices(**given: str | None) -> None:
    """Raise InputError if an argument of a PreferenceTrainer that names a way is none of the ways there are."""
    for name, value in given.items():
        if value not in _CHOICES[name]:
            allowed = " or ".join(repr(each) for each in _CHOICES[name] if each)
            raise InputError(f"{name} should be {allowed}, found {value!r}")


def check_options(args: Any, model: Any) -> None:
    """Raise InputError if a DPOConfig has an option on that there is not."""
    if not is_dpo_config(args):
        return
    experts = hasattr(getattr(model, "config", None), "router_aux_loss_coef")
    if experts and getattr(args, "router_aux_loss_coef", 0) != 0:
        raise InputError(
            "router_aux_loss_coef of DPOConfig should be 0 for a model of experts (a PreferenceTrainer has no loss "
            f"that balances them), found {args.router_aux_loss_coef!r}"
        )
    for name, off in _OFF.items():
        value = getattr(args, name, off[0])
        value = getattr(value, "value", value)  # of an enumeration
        if value not in off:
            raise InputError(f"{name} of DPOConfig should be {off[0]!r} in a PreferenceTrainer, found {value!r}")


def with_steps(args: Any, sources: Mapping[str, PairRows]) -> Any:
    """Return the arguments with max_steps: num_train_epochs over the pairs of all sources, if it is not set."""
    if args.max_steps > 0:
        return args
    rows = args.per_device_train_batch_size * args.gradient_accumulation_steps * args.world_size
    pairs = sum(len(source) for source in sources.values())
    steps = max(1, math.ceil(args.num_train_epochs * pairs / rows))
    changed = copy.copy(args)
    changed.max_steps = steps
    return changed


def check_sources(sources: Any, loss: PairLoss, what: str = "sources") -> bool:
    """Return whether there are specialists; InputError if only some sources have them, or the loss lacks something."""
    if not isinstance(sources, Mapping) or not sources:
        raise InputError(f"{what} should be {{name: PairRows}}, found {sources!r:.80}")
    for name, rows in sources.items():
        if not isinstance(rows, PairRows):
            raise InputError(f"the source {name!r} of {what} should be PairRows, found {type(rows).__name__}")
        if loss.needs_reference and rows.reference is None:
            raise InputError(
                f"the source {name!r} of {what} has no reference, which the loss {loss.kind!r} needs; give PairRows "
                "the reference_log_probabilities of the model before training, or use PairLoss('simpo')"
            )
    without = [name for name, rows in sources.items() if rows.specialist is None]
    if without and len(without) < len(sources):
        raise InputError(
            f"either every source of {what} should have its specialist's losses or none, found none in "
            f"{', '.join(map(repr, without))}; score the specialists of all sources"
        )
    return not without


def without_dropout(model: Any) -> None:
    """Turn dropout off, in place."""
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
