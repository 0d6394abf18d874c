"""The optimiser's metric: what Adam divides a gradient by."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor

from mixwright.errors import InputError

LEAST = 1e-3  # of the mean over a parameter: the least second moment of an entry
Moment = tuple[Tensor, Tensor]  # the second moment, and [its bias correction, epsilon]


class AdamMetric:
    """
    Second moments of an Adam-like optimiser: a gradient g counts as g / (sqrt(v / (1 - beta2^t)) + eps).

    v is raised to a thousandth of its mean over the parameter. An entry that had no gradient yet, such as the embedding
    of a new token, would count 1 / eps: one of them outweighs all others. Adam itself has this gradient in its v. A
    parameter that had none at all, as half of a new LoRA adapter after its first step, is left out.

    Raises
    ------
    InputError
        If the optimiser keeps no second moments.
    """

    revision: ClassVar[int] = 2  # least second moments; see `Strategy.revision`

    def __init__(self, optimizer: torch.optim.Optimizer) -> None:
        groups = optimizer.param_groups
        if not all("betas" in group and "eps" in group for group in groups):
            raise InputError(
                f"optimizer should be Adam, AdamW or a variant, with betas and eps, found {type(optimizer).__name__}; "
                "leave it out for plain norms"
            )
        self.optimizer = optimizer

    def moment(self, parameter: Any, name: str) -> Moment | None:
        """Return the second moment of a parameter, whole; None before the optimiser's first step."""
        group = next((g for g in self.optimizer.param_groups if any(p is parameter for p in g["params"])), None)
        if group is None:
            raise InputError(f"the optimizer should have every trainable parameter, found none of {name!r}; freeze it")
        state = self.optimizer.state.get(parameter, {})
        if not state:
            return None
        if "exp_avg_sq" not in state:
            found = ", ".join(state) or "nothing"
            raise InputError(f"the optimizer should keep exp_avg_sq for each parameter, found {found} for {name!r}")
        moment = state["max_exp_avg_sq"] if group.get("amsgrad") else state["exp_avg_sq"]
        # FSDP shards the moments; every rank needs them whole
        moment = moment.full_tensor() if hasattr(moment, "full_tensor") else moment
        mean = (moment := moment.detach()).mean()
        raised = torch.maximum(moment, torch.where(mean > 0, LEAST * mean, torch.inf))
        correction = 1 - float(group["betas"][1]) ** float(state["step"])
        return raised, torch.tensor([correction, float(group["eps"])], dtype=torch.float64)
