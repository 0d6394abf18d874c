"""Layers whose gradient can be split by row, and what each of them computes while a micro-batch is observed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mixwright.errors import InputError
from mixwright.gradients.functions import EmbeddingTap, LinearTap, NormTap
from mixwright.gradients.rows import RowSources

NAME = "_mixwright_layer"  # where a module keeps its Layer while it is observed


@dataclass
class Tie:
    """What goes from an embedding to the head with the same weight, within one forward pass."""

    tokens: Tensor | None = None
    link: Tensor | None = None


@dataclass
class Layer:
    """One layer of a model, and the probe whose gradient its statistics will be."""

    name: str
    module: nn.Module
    forward: Callable[..., Tensor]
    weight: bool  # whether it is trained
    bias: bool
    fused: bool = False
    tie: Tie | None = None
    rows: RowSources | None = None
    probe: Tensor | None = None
    moments: tuple[Tensor | None, Tensor | None, Tensor | None] = (None, None, None)

    def __post_init__(self) -> None:
        """Keep the module's own forward."""
        self.plain = type(self.module).forward

    @property
    def parameters(self) -> dict[str, nn.Parameter]:
        """Return the trained parameters by their name in the module, as they are now."""
        wanted = {"weight": self.weight, "bias": self.bias}
        return {key: getattr(self.module, key) for key, trained in wanted.items() if trained}

    def check(self, shape: torch.Size) -> None:
        """Raise InputError if an input's first dimension is not the rows."""
        assert self.rows is not None
        b = self.rows.source.shape[0]
        if not shape or shape[0] != b:
            raise InputError(
                f"the layer {self.name!r} should be given one entry per row first ({b} ids of sources were given), "
                f"found the shape {tuple(shape)}; give one id per row, or use level='micro-batch'"
            )


def layer_of(name: str, module: nn.Module, trained: set[str], fused: bool) -> Layer | None:
    """Return the layer for a module that can be observed, or None; `trained` names its own trainable parameters."""
    forward = _observed_forward(module)
    if forward is None or not trained <= {"weight", "bias"}:
        return None
    return Layer(name, module, forward, "weight" in trained, "bias" in trained, fused)


def _observed_forward(module: nn.Module) -> Callable[..., Tensor] | None:
    own = getattr(type(module), "forward", None)
    # a forward of its own may do anything, and scaling by frequency makes rows depend on each other
    if "forward" in vars(module) or getattr(module, "scale_grad_by_freq", False):
        return None
    for kind, forward in ((nn.Linear, _linear), (nn.Embedding, _embedding), (nn.LayerNorm, _layer_norm)):
        if isinstance(module, kind):
            # a subclass with its own forward is not this layer
            return forward if own is kind.forward else None
    # by name: transformers need not be installed
    origin = (getattr(own, "__module__", ""), getattr(own, "__qualname__", ""))
    if origin == ("transformers.pytorch_utils", "Conv1D.forward"):
        return _conv1d
    return _rms_norm if _is_rms_norm(module) else None


def _is_rms_norm(module: nn.Module) -> bool:
    named = any(cls.__name__.endswith("RMSNorm") for cls in type(module).__mro__)
    return named and _eps(module) is not False and {name for name, _ in module.named_parameters()} == {"weight"}


def _eps(module: nn.Module) -> Any:
    """Return the epsilon of an RMSNorm; False if it has none."""
    return getattr(module, "variance_epsilon", getattr(module, "eps", False))


def _linear(self: Any, x: Tensor) -> Tensor:
    layer = self.__dict__[NAME]
    layer.check(x.shape)
    x, weight, bias = _cast(x), self.weight, self.bias
    y = F.linear(x, *_kept_out(layer, weight, bias))
    return _linear_tap(layer, y, x, weight, bias, False)


def _conv1d(self: Any, x: Tensor) -> Tensor:
    layer = self.__dict__[NAME]
    layer.check(x.shape)
    x = _cast(x)
    weight, bias = _kept_out(layer, self.weight, self.bias)
    assert bias is not None
    # the same call as Conv1D.forward, so outputs stay equal to the bit
    y = torch.addmm(bias, x.view(-1, x.size(-1)), weight).view((*x.size()[:-1], self.nf))
    return _linear_tap(layer, y, x, self.weight, self.bias, True)


def _linear_tap(layer: Layer, y: Tensor, x: Tensor, weight: Tensor, bias: Tensor | None, transposed: bool) -> Tensor:
    assert layer.rows is not None
    link, tokens = (None, None) if layer.tie is None else (layer.tie.link, layer.tie.tokens)
    return LinearTap.apply(
        y,
        x,
        weight if layer.fused and layer.weight else None,
        bias if layer.fused and layer.bias else None,
        layer.probe,
        link,
        tokens,
        *layer.rows.layout,
        *layer.moments,
        transposed,
        layer.weight,
        layer.bias,
    )


def _layer_norm(self: Any, x: Tensor) -> Tensor:
    layer = self.__dict__[NAME]
    layer.check(x.shape)
    shape, (weight, bias), mean, rstd = self.normalized_shape, _kept_out(layer, self.weight, self.bias), None, None
    if layer.fused and x.dtype == weight.dtype and not torch.is_autocast_enabled(x.device.type):
        y, mean, rstd = torch.native_layer_norm(x, shape, weight, bias, self.eps)  # what F.layer_norm calls
    else:
        y = F.layer_norm(x, shape, weight, bias, self.eps)
    return _norm_tap(layer, y, x, self.weight, self.bias, mean, rstd, "layer", shape, self.eps)


def _rms_norm(self: Any, x: Tensor) -> Tensor:
    layer = self.__dict__[NAME]
    layer.check(x.shape)
    # RMSNorms differ in details, so the module's own forward gives the output
    y = layer.plain(self, x)
    kind, eps = "rms" if isinstance(self, nn.RMSNorm) else "float32", _eps(self)
    eps = torch.finfo(x.dtype).eps if eps is None else eps
    return _norm_tap(layer, y, x, None, None, None, None, kind, tuple(self.weight.shape), eps)


def _norm_tap(
    layer: Layer,
    y: Tensor,
    x: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    mean: Tensor | None,
    rstd: Tensor | None,
    kind: str,
    shape: tuple[int, ...],
    eps: float,
) -> Tensor:
    assert layer.rows is not None
    return NormTap.apply(
        y,
        x,
        weight if layer.fused and layer.weight else None,
        bias if layer.fused and layer.bias else None,
        layer.probe,
        mean,
        rstd,
        *layer.rows.layout,
        *layer.moments,
        kind,
        tuple(shape),
        eps,
        layer.weight,
        layer.bias,
    )


def _embedding(self: Any, tokens: Tensor) -> Tensor:
    layer = self.__dict__[NAME]
    y = layer.plain(self, tokens)
    b = layer.rows.source.shape[0]
    if _same_for_all(tokens, b):  # positions, added to each row: their gradient is wanted row by row
        tokens = tokens.reshape(1, -1).expand(b, -1)
        y = y.reshape(1, -1, y.shape[-1]).expand(b, -1, -1)
    layer.check(tokens.shape)
    padding = -1 if self.padding_idx is None else self.padding_idx
    weight_moment, _, adam = layer.moments
    linked = layer.tie is not None
    found = EmbeddingTap.apply(
        y, tokens, layer.probe, *layer.rows.layout, weight_moment, adam, self.num_embeddings, padding, linked
    )
    if layer.tie is None:
        return found
    # the head's backward runs before the embedding's: `link` carries what it found at these tokens back to here
    y, layer.tie.link = found
    layer.tie.tokens = tokens.reshape(b, -1)
    return y


def _same_for_all(tokens: Tensor, b: int) -> bool:
    """Return whether ids are positions that serve all rows: [1, t], or [t] counted from 0."""
    if tokens.dim() == 2:
        return tokens.shape[0] == 1 != b
    if tokens.dim() != 1:
        return False
    return tokens.shape[0] != b or bool((tokens == torch.arange(b, device=tokens.device)).all())


def _kept_out(layer: Layer, weight: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor | None]:
    """Return the parameters without a gradient where the tap gives it."""
    if not layer.fused:
        return weight, bias
    return weight.detach(), None if bias is None else bias.detach()


def _cast(x: Tensor) -> Tensor:
    """Return the input as autocast will cast it, so that it is kept once."""
    kind = x.device.type
    if not torch.is_autocast_enabled(kind) or x.dtype is torch.float64:
        return x
    return x.to(torch.get_autocast_dtype(kind))
