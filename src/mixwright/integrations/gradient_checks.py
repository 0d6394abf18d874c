"""Whether a step's gradients can be trained on."""

from __future__ import annotations

from typing import Any

import torch

from mixwright.gradients.distributed import world_size


@torch.no_grad()
def finite_gradients(trainer: Any) -> bool:
    """
    Whether every gradient that the optimiser is about to use is finite, on all ranks.

    True where a loss scaler (fp16) looks at them itself.
    """
    if getattr(trainer.accelerator, "scaler", None) is not None:
        return True
    grads = [p.grad for group in trainer.optimizer.param_groups for p in group["params"] if p.grad is not None]
    local = [grad.to_local() if hasattr(grad, "to_local") else grad for grad in grads]
    found = torch.ones((), device=trainer.args.device)
    if local:
        norms = torch.stack([norm.to(found.device) for norm in torch._foreach_norm(local)])
        found = norms.isfinite().all().to(found)
    if world_size() > 1:
        torch.distributed.all_reduce(found, torch.distributed.ReduceOp.MIN)
    return bool(found)


def leave_out(optimizer: Any) -> None:
    """Let the optimiser's step do nothing: no parameter has a gradient."""
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            parameter.grad = None
