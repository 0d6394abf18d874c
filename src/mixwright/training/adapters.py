"""LoRA adapters: put on a model, read from disk, and whole models made of them."""

from __future__ import annotations

import difflib
import re
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn

from mixwright.errors import InputError, missing_extra

_ALL = "all-linear"


def with_adapter(
    base: Any,
    targets: str | Sequence[str],
    rank: int = 16,
    alpha: float | None = None,
    dropout: float = 0.0,
    seed: int = 0,
) -> Any:
    """
    Return a model with a new LoRA adapter on some of its layers.

    Parameters
    ----------
    base
        A causal language model of transformers.
    targets
        Names of layers, or ends of their full names ("q_proj", "self_attn.q_proj"); "all-linear": all but the output
        layer; or, as one text, a regular expression of full names, as in peft.
    rank, alpha, dropout
        Of the adapter; alpha None: twice the rank.
    seed
        Of its random part.

    Raises
    ------
    InputError
        A target names no layer of the model (the nearest name is given), or a layer that LoRA cannot adapt.
    """
    try:
        from peft import LoraConfig, get_peft_model
    except ImportError as error:
        raise missing_extra("peft", "preference") from error
    targets = targets if isinstance(targets, str) else list(targets)
    _check_targets(base, targets)
    scale: Any = alpha or 2 * rank  # a number that need not be whole
    settings = LoraConfig(r=rank, lora_alpha=scale, lora_dropout=dropout, target_modules=targets, task_type="CAUSAL_LM")
    torch.manual_seed(seed)
    try:
        with _asked_by_peft():
            warnings.filterwarnings("ignore", ".*tie_word_embeddings")  # merge_adapter unties them
            warnings.filterwarnings("ignore", "fan_in_fan_out is set")  # peft sets it right by itself
            return get_peft_model(base, settings)
    except ValueError as error:
        raise InputError(f"targets should name layers that LoRA can adapt, found {targets}: {error}") from error


def _check_targets(base: Any, targets: str | list[str]) -> None:
    """Raise InputError if a target names no layer: peft ignores it as long as another one names some."""
    if targets == _ALL:
        return
    names = [name for name, _ in base.named_modules() if name]
    if isinstance(targets, str):
        found = [] if any(re.fullmatch(targets, name) for name in names) else [targets]
    else:
        found = [each for each in targets if not any(f".{name}".endswith(f".{each}") for name in names)]
    if not found:
        return
    ends = sorted({name.rpartition(".")[2] for name, module in base.named_modules() if hasattr(module, "weight")})
    near = difflib.get_close_matches(found[0].rpartition(".")[2], ends, n=1)
    advice = f"did you mean {near[0]!r}?" if near else f"it has {', '.join(ends)}"
    raise InputError(f"targets should name layers of the model, found {found[0]!r}, which names none; {advice}")


def load_adapter(base: Any, folder: Path) -> Any:
    """Return a model with an adapter on it that is on disk as peft writes it."""
    try:
        from peft import PeftModel
    except ImportError as error:
        raise missing_extra("peft", "preference") from error
    with _asked_by_peft():
        return PeftModel.from_pretrained(base, str(folder))


def base_of(model: Any) -> Path | None:
    """Return the folder of the model that an adapter in memory is on; None of a model without an adapter."""
    if not hasattr(model, "peft_config"):
        return None
    return Path(model.peft_config[model.active_adapter].base_model_name_or_path)


def swap_adapter(model: Any, folder: Path) -> Any:
    """Put another adapter, which is on disk, in the place of a model's own, and return the model."""
    own = model.active_adapter
    other = "other" if own == "default" else "default"
    with _asked_by_peft():
        model.load_adapter(str(folder), adapter_name=other)
    model.set_adapter(other)
    model.delete_adapter(own)
    return model


@contextmanager
def _asked_by_peft() -> Iterator[None]:
    """Keep quiet about an attribute of models that peft reads and transformers will remove."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*is_gradient_checkpointing", FutureWarning)
        yield


def adapted_layers(model: Any) -> dict[str, int]:
    """
    Return the layers that the adapter of a model is on: {name: how many}.

    Layers that differ by a number alone have one name, with `*` for the number.
    """
    names = Counter(re.sub(r"(?<=\.)\d+(?=\.)", "*", name) for name in model.base_model.targeted_module_names)
    return dict(sorted(names.items()))


def merge_adapter(model: Any) -> Any:
    """
    Return the whole model that a model with a LoRA adapter is; the adapter is merged into its base in place.

    Where the base has one weight for its input and its output layer (tied embeddings) and the adapter is on either of
    them, the weight becomes two and the configuration says so: `merge_and_unload` of peft would add the adapter's
    product to both layers, though training added it to one.

    Parameters
    ----------
    model
        Of peft: as trained, or from `PeftModel.from_pretrained(base, folder)`.
    """
    config, shared = model.base_model.model.config, _on_shared_weights(model)
    for layer in shared:
        weight = layer.weight
        layer.weight = nn.Parameter(weight.detach().clone(), requires_grad=weight.requires_grad)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*tie_word_embeddings")  # that they should have been untied, as they are now
        whole = model.merge_and_unload()
    if hasattr(whole, "peft_config"):  # peft before 0.15 leaves it, and what is whole would be saved as an adapter
        del whole.peft_config
    for each in (config, config.get_text_config()) if shared else ():
        each.tie_word_embeddings = False
    return whole


def adapter_notes(model: Any) -> list[str]:
    """Return what to know before a model's adapter is merged with other tools, in sentences."""
    if not _on_shared_weights(model):
        return []
    return [
        "the adapter is on a layer whose weight another layer shares (tied embeddings): merge it with "
        "mixwright.preference.merge_adapter, which unties them; peft's merge_and_unload changes both layers"
    ]


def _on_shared_weights(model: Any) -> list[Any]:
    """Return the layers under the adapter whose weight another layer has, too."""
    layers = [module for module in model.modules() if not hasattr(module, "get_base_layer")]
    uses = Counter(id(layer.weight) for layer in layers if isinstance(getattr(layer, "weight", None), nn.Parameter))
    adapted = [module.get_base_layer() for module in model.modules() if hasattr(module, "get_base_layer")]
    return [layer for layer in adapted if uses[id(getattr(layer, "weight", None))] > 1]
