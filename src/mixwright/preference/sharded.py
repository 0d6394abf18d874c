"""A PreferenceTrainer whose model is in parts on the ranks (FSDP2), on any device."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch

from mixwright.errors import InputError
from mixwright.preference.trainer import PreferenceTrainer
from mixwright.training.checkpoint import load_checkpoint, save_checkpoint
from mixwright.training.ranks import Ranks, whole

SHARDS = "optimizer_and_model.safetensors"  # whole tensors: any number of ranks goes on from them
_SCHEDULER = "scheduler.pt"


class ShardedTrainer(PreferenceTrainer):
    """
    A PreferenceTrainer that gives each rank its part of the model, its gradients and its moments.

    transformers' own FSDP goes through accelerate, which wants GPUs. This one is `Ranks.shard`, as `mixwright train`
    has it. Its checkpoints hold whole tensors.

    Parameters
    ----------
    *arguments, ranks, **more
        As for `PreferenceTrainer`; the ranks that hold the model.
    """

    def __init__(self, *arguments: Any, ranks: Ranks, **more: Any) -> None:
        super().__init__(*arguments, **more)
        self._in_parts = ranks.in_parts
        if not self._in_parts:  # one rank, or DDP, goes on from a checkpoint of parts
            return
        ranks.shard(self.model)
        prepare = self.accelerator.prepare_model
        # accelerate casts and moves it as ever, and leaves DDP out
        self.accelerator.prepare_model = lambda model, *args, **named: prepare(
            model, *args, **{**named, "evaluation_mode": True}
        )

    def training_step(self, model: Any, *arguments: Any, **more: Any) -> Any:
        """Do a micro-batch; ranks exchange gradients after the last one of a step."""
        if self._in_parts:
            model.set_requires_gradient_sync(self.accelerator.sync_gradients)
        return super().training_step(model, *arguments, **more)

    def _get_grad_norm(self, model: Any, grad_norm: Any = None) -> Any:
        return whole(super()._get_grad_norm(model, grad_norm=grad_norm))

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """Write a checkpoint's model and optimiser; every rank must call it."""
        save_checkpoint(
            Path(output_dir or str(self.args.output_dir)) / SHARDS,
            self.model,
            self.optimizer,
            {},
            self.args.should_save,
        )

    def _save_optimizer_and_scheduler(self, output_dir: str) -> None:
        if self.args.should_save and self.lr_scheduler is not None:
            torch.save(self.lr_scheduler.state_dict(), os.path.join(output_dir, _SCHEDULER))

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        path = Path(resume_from_checkpoint) / SHARDS
        if not path.exists():
            raise InputError(
                f"{resume_from_checkpoint} should be of several ranks with parallel: fsdp2, found one without its "
                "files; go on with the ranks and the parallel that it was begun with"
            )

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        if checkpoint is not None and self.optimizer is not None and self.lr_scheduler is not None:
            load_checkpoint(Path(checkpoint) / SHARDS, self.model, self.optimizer)
            scheduler = torch.load(os.path.join(checkpoint, _SCHEDULER), weights_only=True)
            self.lr_scheduler.load_state_dict(scheduler)
            for group, rate in zip(self.optimizer.param_groups, self.lr_scheduler.get_last_lr(), strict=True):
                group["lr"] = rate  # of the next step: the scheduler sets it after a step alone


def is_of_parts(checkpoint: str | None) -> bool:
    """Whether a checkpoint is a ShardedTrainer's."""
    return checkpoint is not None and (Path(checkpoint) / SHARDS).exists()


def put_together(model: Any, like: Any) -> Any:
    """Return `like`, a new model of the same kind on every rank, with what the ranks hold of a model in parts."""
    tensors = {name: whole(tensor) for name, tensor in model.state_dict().items()}
    like.load_state_dict(tensors)
    return like
