"""Which layers of a model can be observed, and whether they hold all that is trained."""

from __future__ import annotations

from collections import defaultdict

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from mixwright.errors import InputError
from mixwright.gradients.layers import Layer, Tie, layer_of

_FALLBACK = "or use level='micro-batch' with micro-batches of one source each"


def find_layers(model: nn.Module, fused: bool) -> list[Layer]:
    """
    Return the layers with trainable parameters.

    Raises
    ------
    InputError
        If the rows of a batch are coupled by a batch norm, or a trainable parameter is in no layer that can be split
        by row, or shared in another way than between an embedding and a head; it is named.
    """
    refuse_batch_norm(model)
    layers: list[Layer] = []
    for name, module in model.named_modules():
        trained = {key for key, p in module.named_parameters(recurse=False) if p.requires_grad}
        if not trained:
            continue
        layer = layer_of(name, module, trained, fused)
        if layer is None:
            raise InputError(
                f"every trainable parameter should be in a layer whose gradient can be split by row (Linear, Conv1D, "
                f"Embedding, LayerNorm, RMSNorm), found {_joined(name, min(trained))!r} in "
                f"{type(module).__name__}{_why(module)}; freeze it, {_FALLBACK}"
            )
        layers.append(layer)
    if not layers:
        raise InputError("a model should have trainable parameters, found none; call requires_grad_() on some")
    _tie(layers)
    return layers


def refuse_batch_norm(model: nn.Module) -> None:
    """Raise InputError if a model has a batch norm: a row's gradient then depends on the other rows."""
    for name, module in model.named_modules():
        if isinstance(module, _BatchNorm):
            raise InputError(
                f"rows of a batch should not depend on each other, found the batch norm {name!r}: the gradient of a "
                "source is not defined with it; use a LayerNorm"
            )


def _why(module: nn.Module) -> str:
    if "forward" in vars(module):
        return " (its forward was replaced)"
    if isinstance(module, nn.Embedding | nn.Linear | nn.LayerNorm):
        return " (with a forward of its own)"
    return ""


def _joined(name: str, key: str) -> str:
    return f"{name}.{key}" if name else key


def _tie(layers: list[Layer]) -> None:
    """Link an embedding with the head that has the same weight; refuse other ways of sharing."""
    users: dict[int, list[Layer]] = defaultdict(list)
    for layer in layers:
        for parameter in layer.parameters.values():
            users[id(parameter)].append(layer)
    for key, shared in users.items():
        if len(shared) < 2:
            continue
        embeddings = [layer for layer in shared if isinstance(layer.module, nn.Embedding)]
        heads = [layer for layer in shared if isinstance(layer.module, nn.Linear)]
        # only for this pair are the cross terms known (ops._count_link)
        if len(shared) > 2 or not embeddings or not heads or id(heads[0].parameters.get("weight")) != key:
            raise InputError(
                f"a parameter should be shared by an embedding and a head alone, found one shared by "
                f"{', '.join(repr(layer.name) for layer in shared)}; untie them, {_FALLBACK}"
            )
        embeddings[0].tie = heads[0].tie = Tie()
