"""Averaged weights: the model that a training is measured by, where that is not the one of its last step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mixwright.training.model import torch
from mixwright.training.ranks import Ranks


class WeightAverage:
    r"""
    The exponential moving average of a model's weights over about the last `steps` updates.

    After n updates it is $\sum_i d^{n-i} \theta_i / \sum_i d^{n-i}$ with d = 1 - 1 / steps: a mean of the weights after
    each update, in which those from before the first one have no part, however few updates there were.

    Parameters
    ----------
    model
        The model, before ranks hold it.
    steps
        Updates that the average is over; 1: it is the model.
    ranks
        Who trains it. Under FSDP2 each holds its part of the average too.

    Attributes
    ----------
    averaged
        torch's `AveragedModel`: `averaged.module` is the model with averaged weights.
    """

    def __init__(self, model: Any, steps: float, ranks: Ranks | None = None) -> None:
        self.averaged: Any = torch.optim.swa_utils.AveragedModel(model, multi_avg_fn=_without_bias(1 - 1 / steps))
        for own, other in zip(self.model.parameters(), model.parameters(), strict=True):
            if not other.requires_grad:
                own.data = other.data  # what is not trained, as under an adapter, is there once
        if ranks is not None and ranks.in_parts:
            ranks.shard(self.averaged.module)

    @property
    def model(self) -> Any:
        """Return the model with averaged weights."""
        return self.averaged.module

    def update(self, model: Any) -> None:
        """Take in a model's weights after an update."""
        if hasattr(self.model, "reshard"):  # a forward pass of FSDP2 leaves the outermost parameters whole
            self.model.reshard()
        self.averaged.update_parameters(model)


def _without_bias(decay: float) -> Callable[[Any, Any, Any], None]:
    """Return torch's update with the decay of update n + 1 that makes the average the one without bias."""

    def update(averaged: list[Any], current: list[Any], updates: Any) -> None:
        n = int(updates)
        own = decay * (1 - decay**n) / (1 - decay ** (n + 1))
        pairs = zip(_own_parts(averaged), _own_parts(current), strict=True)
        moved = [pair for pair in pairs if pair[0].data_ptr() != pair[1].data_ptr()]
        torch.optim.swa_utils.get_ema_multi_avg_fn(own)([a for a, _ in moved], [c for _, c in moved], updates)

    return update


def _own_parts(tensors: list[Any]) -> list[Any]:
    """Return what this rank holds of each tensor: an average is one number at a time."""
    return [tensor.to_local() if hasattr(tensor, "to_local") else tensor for tensor in tensors]
