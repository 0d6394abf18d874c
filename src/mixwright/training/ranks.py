"""Data parallelism: who am I among the ranks, sums over them, and models as they are trained: held, or compiled."""

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
    compiled
        Whether torch.compile makes the blocks of models faster.
    """

    rank: int = 0
    size: int = 1
    kind: str = "ddp"
    compiled: bool = False

    @property
    def main(self) -> bool:
        """Whether this is the rank that writes."""
        return self.rank == 0

    @property
    def in_parts(self) -> bool:
        """Whether each rank holds a part of a model that is trained."""
        return self.size > 1 and self.kind == "fsdp2"

    def wrap(self, model: Any) -> Any:
        """Return the model as it is trained."""
        self.compile(model)
        if self.size == 1:
            return model
        if self.kind == "ddp":
            return torch.nn.parallel.DistributedDataParallel(model)
        return self.shard(model)

    def compile(self, model: Any) -> None:
        """Compile the blocks of a model, if that is wanted; InputError if it has none."""
        if not self.compiled:
            return
        blocks = _blocks(model)
        if not blocks:
            raise InputError(
                f"compile should go with a model whose blocks transformers names (_no_split_modules), found "
                f"{type(model).__name__} without; leave compile out"
            )
        for block in [block for block in blocks if "forward" not in vars(block)]:  # those that are not yet
            # `forward` and not the module: what hooks do (FSDP2, statistics) stays outside, names stay as they are
            block.forward = torch.compile(block.forward)

    def shard(self, model: Any) -> Any:
        """Give each rank its part of a model's parameters, in place."""
        from torch.distributed.fsdp import fully_shard

        for block in _blocks(model):
            fully_shard(block)  # block by block, so that only one block's parameters are whole at a time
        return fully_shard(model)

    @contextmanager
    def syncing(self, outer: Any, last: bool) -> Iterator[None]:
        """Let ranks exchange gradients after the last micro-batch of a step alone."""
        if self.in_parts:
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


ONE = Ranks()


def _blocks(model: Any) -> list[Any]:
    """Return the modules that transformers names as the ones that should not be split."""
    names = set(getattr(model, "_no_split_modules", None) or ())
    return [module for module in model.modules() if type(module).__name__ in names]


@contextmanager
def started_ranks(kind: str = "ddp", compiled: bool = False) -> Iterator[Ranks]:
    """
    Join the ranks that torchrun started (it sets RANK and WORLD_SIZE); without it there is one rank.

    Raises
    ------
    InputError
        If `kind` is not known, this torch cannot work with several ranks, or this machine has fewer GPUs than ranks.
    """
    if kind not in KINDS:
        raise InputError(f"parallel should be {' or '.join(KINDS)}, found {kind!r}")
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        yield Ranks(compiled=compiled)
        return
    if not torch.distributed.is_available():
        raise InputError("this torch was built without distributed; install another one, or run without torchrun")
    on_gpus = torch.cuda.is_available()
    check_devices(int(os.environ.get("LOCAL_WORLD_SIZE", "1")))
    if on_gpus:
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
    torch.distributed.init_process_group("nccl" if on_gpus else "gloo", timeout=_PATIENCE)
    ranks = Ranks(torch.distributed.get_rank(), size, kind, compiled)
    try:
        yield ranks
        ranks.wait()  # a rank that leaves early closes connections that others still have
    finally:
        torch.distributed.destroy_process_group()
        # Its threads end when nothing refers to the group, and a model under DDP is in a circle of references. A thread
        # that still lets go of a tensor while Python shuts down aborts a process whose work is done (pytorch #190489).
        atexit.register(gc.collect)


def check_devices(ranks: int) -> None:
    """Raise InputError if this machine has GPUs, and fewer than its ranks."""
    found = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if 0 < found < ranks:
        raise InputError(
            f"each rank of this machine should have a GPU of its own, found {ranks} ranks and {found} GPUs; start "
            "fewer, or hide the GPUs (CUDA_VISIBLE_DEVICES='')"
        )


def whole(tensor: Any) -> Any:
    """Return the whole of a tensor that may be spread over ranks; every rank must call it."""
    return tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor


def laid_out_like(value: Any, like: Any) -> Any:
    """Return a whole tensor spread over the ranks as `like` is."""
    if not hasattr(like, "full_tensor"):
        return value
    from torch.distributed.tensor import distribute_tensor

    return distribute_tensor(value.to(like.device), like.device_mesh, like.placements)
