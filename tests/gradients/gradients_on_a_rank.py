"""One of two ranks: observes its rows of a batch under DDP and FSDP2; rank 0 writes what it found."""

import json
import sys
import warnings

import numpy as np
import torch
import torch.distributed as dist
from gradients_by_hand import batch, row_losses, small
from torch.distributed.fsdp import fully_shard
from torch.nn.parallel import DistributedDataParallel
from torch.utils.checkpoint import checkpoint

from mixwright.gradients import GradientStatistics
from two_ranks import leave

SOURCE = ([2, 0, 1, 0, 0], [2, 2, 1, 1, 0])  # of each rank's rows
K = 4


def rows(rank):
    return batch(10)[5 * rank : 5 * rank + 5]


def wrapped(kind):
    model = small()
    if kind == "DDP":
        return model, DistributedDataParallel(model)
    for layer in (model.up, model.down):
        fully_shard(layer)
    return model, fully_shard(model)


def main(rank, out):
    warnings.simplefilter("ignore")
    dist.init_process_group("gloo")
    found = {}
    for kind in ("DDP", "FSDP2", "FSDP2 with checkpointing"):
        model, outer = wrapped(kind)
        for mode in ("fused", "mirror"):
            for level in ("example", "source"):
                stats = GradientStatistics(outer, K, level, mode)
                outer.zero_grad()
                run = (lambda x, m=outer: checkpoint(m, x, use_reentrant=False)) if "check" in kind else outer
                with stats.observe(SOURCE[rank]):
                    row_losses(run, rows(rank)).mean().backward()
                seen = stats.observation(3, 10).to_json()
                grads = [p.grad.full_tensor() if hasattr(p.grad, "full_tensor") else p.grad for p in model.parameters()]
                total = torch.cat([g.flatten() for g in grads]).tolist()
                found[f"{kind}, {level}, {mode}"] = {"observation": seen, "gradient": total}
    if rank == 0:
        with open(out, "w", encoding="utf-8") as handle:
            json.dump(found, handle)
    leave()


if __name__ == "__main__":
    np.seterr(all="raise")
    main(int(sys.argv[1]), sys.argv[2])
