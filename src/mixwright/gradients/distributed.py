"""Sums over ranks: of a few numbers, never of gradients."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray


def sum_over_ranks(vector: NDArray[np.float64], device: torch.device, group: Any = None) -> NDArray[np.float64]:
    """Return the sum of a vector over the ranks of a process group; every rank must call it."""
    if world_size(group) == 1:
        return vector
    tensor = torch.from_numpy(vector.copy()).to(device)
    torch.distributed.all_reduce(tensor, group=group)
    return tensor.cpu().numpy()


def world_size(group: Any = None) -> int:
    """Return how many ranks there are; 1 if nothing is distributed."""
    if not torch.distributed.is_available() or not torch.distributed.is_initialized():
        return 1
    return torch.distributed.get_world_size(group)
