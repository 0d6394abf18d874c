"""Data parallelism: who am I among the ranks, sums over them, and models that DDP or FSDP2 holds."""

from __future__ import annotations

import atexit
import gc
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mixwright.errors import InputError
from mixwright.gradients.distributed import sum_over_ranks
from mixwright.training.model import default_device, torch

KINDS = ("ddp", "fsdp2")
_PATIENCE = timedelta(hours=12)  # rank 0 reads and tokenises while the others wait


@dataclass(frozen=True)
class Ranks:
    """
    The processes of a training; each has a slice of every batch.

    Parameters
    ----------
    rank, size
        Which one this is, of how many.
    kind
        "ddp" (each has the whole model) or "fsdp2" (each has a part of each parameter and of its moments).
    """

    rank: int = 0
    size: int = 1
    kind: str = "ddp"

    @property
    def main(self) -> bool:
        """Whether this is the rank that writes."""
        return self.rank == 0

    def wrap(self, model: Any) -> Any:
        """Return the model as it is trained."""
        if self.size == 1:
            return model
        if self.kind == "ddp":
            return torch.nn.parallel.DistributedDataParallel(model)
        from torch.distributed.fsdp import fully_shard

        blocks = set(getattr(model, "_no_split_modules", None) or ())
        for module in list(model.modules()):
            # block by block, so that only one block's parameters are whole at a time
            if type(module).__name__ in blocks:
                fully_shard(module)
        return fully_shard(model)

    @contextmanager
    def syncing(self, outer: Any, last: bool) -> Iterator[None]:
        """Let ranks exchange gradients after the last micro-batch of a step alone."""
        if self.size > 1 and self.kind == "fsdp2":
            outer.set_requires_gradient_sync(last)
            yield
        elif self.size > 1 and not last:
            with outer.no_sync():
                yield
        else:
            yield

    def sum(self, vector: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the sum over the ranks; every rank must call it, and all get the same."""
        return vector if self.size == 1 else sum_over_ranks(vector, default_device())

    def shared(self, value: Any) -> Any:
        """Return rank 0's value on every rank."""
        if self.size == 1:
            return value
        # objects and not tensors: positions and losses are small, and their shapes differ
        box = [value]
        torch.distributed.broadcast_object_list(box, src=0)
        return box[0]

    def gather(self, value: Any) -> list[Any]:
        """Return the values of all ranks, on every rank."""
        if self.size == 1:
            return [value]
        found: list[Any] = [None] * self.size
        torch.distributed.all_gather_object(found, value)
        return found

    def wait(self) -> None:
        """Wait until every rank is here; a broadcast would not do, since rank 0 gives it without waiting."""
        self.gather(None)


@contextmanager
def started_ranks(kind: str = "ddp") -> Iterator[Ranks]:
    """
    Join the ranks that torchrun started (it sets RANK and WORLD_SIZE); without it there is one rank.

    Raises
    ------
    InputError
        If `kind` is not known, or this torch cannot work with several ranks.
    """
    if kind not in KINDS:
        raise InputError(f"parallel should be {' or '.join(KINDS)}, found {kind!r}")
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        yield Ranks()
        return
    if not torch.distributed.is_available():
        raise InputError("this torch was built without distributed; install another one, or run without torchrun")
    on_gpus = torch.cuda.is_available()
    if on_gpus:
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
    torch.distributed.init_process_group("nccl" if on_gpus else "gloo", timeout=_PATIENCE)
    ranks = Ranks(torch.distributed.get_rank(), size, kind)
    try:
        yield ranks
        ranks.wait()  # a rank that leaves early closes connections that others still have
    finally:
        torch.distributed.destroy_process_group()
        # Its threads end when nothing refers to the group, and a model under DDP is in a circle of references. A thread
        # that still lets go of a tensor while Python shuts down aborts a process whose work is done (pytorch #190489).
        atexit.register(gc.collect)


def whole(tensor: Any) -> Any:
    """Return the whole of a tensor that may be spread over ranks; every rank must call it."""
    return tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor


def laid_out_like(value: Any, like: Any) -> Any:
    """Return a whole tensor spread over the ranks as `like` is."""
    if not hasattr(like, "full_tensor"):
        return value
    from torch.distributed.tensor import distribute_tensor

    return distribute_tensor(value.to(like.device), like.device_mesh, like.placements)
