"""What the callbacks of Trainers share: a Watcher fed over ranks and micro-batches, and its part of a checkpoint."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers.trainer_utils import get_last_checkpoint

from mixwright.decisions import TRAINER_RESTS, set_aside
from mixwright.errors import InputError
from mixwright.gradients.distributed import world_size
from mixwright.integrations.gradient_checks import leave_out
from mixwright.observation import Observation
from mixwright.steering.control import Control, follow
from mixwright.stream.loader import MixtureLoader
from mixwright.stream.trainer import MixtureCallback
from mixwright.watching.row_weights import RowWeights
from mixwright.watching.watcher import Watcher

Array = NDArray[np.float64]
logger = logging.getLogger(__name__)


class WatchedCallback(MixtureCallback):
    """
    The callback of a Trainer whose steps a Watcher follows.

    Attributes
    ----------
    mixture, loader
        The Mixture, and the loader that the Trainer trains on.
    watcher
        Its sums and its last observation.
    row_weights
        What rows count where the weights act on the loss and rows are drawn by shares of their own; None elsewhere.
    batches
        Those of the current optimiser step, one per micro-batch.
    steered_in
        The folder of the control file; None: the training is not steered.
    """

    made_by: str  # what makes such a callback, for messages

    def __init__(
        self,
        trainer: Any = None,
        loader: MixtureLoader | None = None,
        watcher: Watcher | None = None,
        row_weights: RowWeights | None = None,
        steered_in: Path | None = None,
    ) -> None:
        super().__init__(loader)
        self.row_weights, self.steered_in = row_weights, steered_in
        self._control: Control | None = None  # of rank 0, which reads the file
        self._ordered = False
        if trainer is None or watcher is None:  # transformers makes an empty one to look at
            return
        self.trainer, self.watcher, self.mixture = trainer, watcher, watcher.mixture
        self._sums: Tensor | None = None

    @property
    def observation(self) -> Observation | None:
        """Return the last observation that the mixture got; None before the first."""
        return self.watcher.observation

    def count(self, sums: Tensor) -> None:
        """Add the sums [names, k] of a micro-batch to those of the step."""
        self._sums = sums if self._sums is None else self._sums + sums

    def summed(self) -> Array:
        """Return the step's sums [names, k] over all micro-batches and ranks; word of new orders comes along."""
        assert self._sums is not None
        new = self._control is not None and self._control.changed()
        sums = torch.cat([self._sums.flatten(), self._sums.new_full((1,), float(new))])
        if world_size() > 1:
            torch.distributed.all_reduce(sums)
        found = sums.cpu().double().numpy()
        self._ordered = bool(found[-1])
        return found[:-1].reshape(self._sums.shape)

    def not_finite(self, what: str, how: str, advice: str = "") -> None:
        """
        Stop with an error, leave the step out, or go on, after a step whose numbers are not finite.

        Parameters
        ----------
        what
            What is not finite, a sentence.
        how
            "stop", "skip" or "keep".
        advice
            What to do besides lowering the learning rate, for the error.
        """
        where = f"step {self.batches[0].step}: {what}"
        if how == "stop":
            raise InputError(
                f"{where}; the model is as it was before the step: lower the learning rate, {advice}or give "
                "non_finite='skip' to leave such steps out"
            )
        logger.warning("%s; %s", where, "the step is skipped" if how == "skip" else "trained on as it is")
        scaled = getattr(self.trainer.accelerator, "scaler", None) is not None
        if how == "skip" and not scaled:  # a scaler skips it itself
            leave_out(self.trainer.optimizer)

    def on_train_begin(self, args: Any, state: Any, control: Any, **more: Any) -> None:
        """Take the state of the stream, the Mixture and the Watcher out of the checkpoint, if there is one."""
        if not state.global_step:
            self._begin_log(args.output_dir)
            super().on_train_begin(args, state, control, **more)
        else:
            saved = self.saved(state)
            self.check_saved(saved)
            super().on_train_begin(args, state, control, **more)
            self.load(saved)
        assert self.loader is not None
        self._steer(self.loader.step)

    def _begin_log(self, folder: str) -> None:
        """Begin the decisions in the folder again where it has no checkpoint, as `mixwright train` does."""
        try:
            self.mixture.check_log()
        except InputError as error:
            log, here = self.mixture.log, Path(folder)
            # elsewhere it may be another training's, whose checkpoints are not here
            if log is None or here.resolve() not in log.resolve().parents or get_last_checkpoint(folder) is not None:
                raise
            if time.time() - log.stat().st_mtime < TRAINER_RESTS:
                raise InputError(
                    f"{error}; it was written in the last {TRAINER_RESTS / 60:.0f} minutes, so a training may be at "
                    "work: after that it is set aside by itself"
                ) from None
            if (kept := set_aside(log, self.mixture.sources, self.mixture.strategy)) is None:
                raise
            said = "had decisions of a training that left no checkpoint in"
            logger.warning("%s %s %s: they are in %s now", log, said, folder, kept)

    def _steer(self, step: int) -> None:
        """Let every rank follow what was ordered by hand, before a step is done."""
        if self.steered_in is None:
            return
        if self._control is None and not self.trainer.args.process_index:
            named = not (self.steered_in / "config.yaml").exists()
            self._control = Control(self.steered_in, self.mixture, named)
        changes = [self._control.take(step) if self._control is not None else None]
        if world_size() > 1:
            torch.distributed.broadcast_object_list(changes)
        follow(self.mixture, changes[0] or [])

    def check_saved(self, saved: Mapping[str, Any]) -> None:
        """Raise InputError if a checkpoint is not of such a callback."""
        if not isinstance(saved.get("observing"), Mapping):
            raise InputError(
                f"the checkpoint should be of {self.made_by}, found none of its observations; use another checkpoint"
            )
        if saved.get("sampling") != self._sampling:
            raise InputError(
                f"sampling should be the checkpoint's ({saved.get('sampling')}), found {self._sampling}; use the same"
            )

    @property
    def _sampling(self) -> list[float] | None:
        return None if self.row_weights is None else self.row_weights.sampling.tolist()

    @property
    def acts_on_loss(self) -> bool:
        """Whether the weights act on the loss: the stream then knows nothing of the mixture."""
        return self.row_weights is not None

    def load(self, saved: Mapping[str, Any]) -> None:
        """Go on with what `state` saved."""
        if self.acts_on_loss:
            self.mixture.load_state_dict(saved["mixture"])
        self.watcher.load_state_dict(saved["observing"], gathered=True)

    def on_step_end(self, args: Any, state: Any, control: Any, **more: Any) -> None:
        """Observe, if it is time."""
        super().on_step_end(args, state, control, **more)
        assert self.loader is not None
        statistics, step = self.watcher.statistics, self.batches[0].step
        observed = self.watcher.observe(step, self.trainer.model, self.loader.ledger)
        if statistics is not None and observed:
            for note in statistics.new_notes():
                logger.warning("gradient statistics: %s", note)
        elif statistics is not None and statistics.due(step):
            statistics.gather()
        if self._ordered:
            self._steer(step + 1)

    def on_evaluate(self, args: Any, state: Any, control: Any, metrics: Any = None, **more: Any) -> None:
        """Keep the held-out losses of data sets that are named after sources."""
        self.watcher.evaluated(metrics)

    def state(self) -> dict[str, Any]:
        """Return what `trainer_state.json` keeps: JSON-able."""
        saved = super().state()
        if self.loader is not None:
            mixture = self.mixture.state_dict() if self.acts_on_loss else None
            saved["attributes"] |= {"observing": self.watcher.state_dict(), "mixture": mixture}
            if self.row_weights is not None:
                saved["attributes"]["sampling"] = self._sampling
        return saved


def control_folder(control: bool | str | PathLike[str], trainer: Any) -> Path | None:
    """Return the folder of the control file: True is the Trainer's output_dir, and False is none."""
    if isinstance(control, bool):
        return Path(trainer.args.output_dir) if control else None
    if not isinstance(control, str | PathLike):
        raise InputError(f"control should be True, False or a folder, found {control!r}")
    return Path(control)
