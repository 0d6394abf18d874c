"""A preference training in a folder: checkpoints that are complete or absent, metrics, held-out measurements."""

from __future__ import annotations

import json
import logging
import math
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import TrainerCallback, TrainingArguments
from transformers.training_args import ParallelMode

from mixwright.errors import InputError
from mixwright.files import atomic_write
from mixwright.preference.checkpoints import last_complete_checkpoint
from mixwright.preference.losses import PairLoss
from mixwright.preference.pairs.rows import PairRows
from mixwright.preference.sharded import ShardedTrainer, is_of_parts
from mixwright.preference.trainer import PreferenceTrainer
from mixwright.training.ranks import ONE, Ranks
from mixwright.watching.trackers.tracked import NOBODY, Tracked

METRICS, EVALUATION, CHECKPOINTS = "metrics.jsonl", "evaluation.jsonl", "checkpoints"
_TIMES = ("train_runtime",)  # the Trainer's closing line, which differs from run to run


@dataclass(frozen=True)
class FitSettings:
    """
    How to train.

    Parameters
    ----------
    steps, batch_size, accumulate
        Optimiser steps; pairs of each, over all ranks and micro-batches; micro-batches on each rank.
    learning_rate, warmup, weight_decay, max_grad_norm
        AdamW (.9, .999), linear to 0 after `warmup` steps; longer gradients are cut to the norm.
    seed
        Of the rows' order and of dropout.
    precision
        "float32", "bfloat16" (autocast), or "auto": bfloat16 on a GPU that has it.
    gradient_checkpointing
        Less memory, slower.
    checkpoint_seconds
        Longest time between two checkpoints.
    """

    steps: int
    batch_size: int = 32
    accumulate: int = 1
    learning_rate: float = 5e-6
    warmup: int = 0
    weight_decay: float = 0.0
    max_grad_norm: float = 1.0
    seed: int = 0
    precision: str = "auto"
    gradient_checkpointing: bool = False
    checkpoint_seconds: float = 60.0

    def __post_init__(self) -> None:
        """Check that micro-batches are of one size."""
        if self.batch_size % self.accumulate:
            raise InputError(
                f"batch_size should be a multiple of accumulate ({self.accumulate}), found {self.batch_size}"
            )

    @property
    def mixed(self) -> bool:
        """Whether passes are in bfloat16."""
        if self.precision == "auto":
            return torch.cuda.is_available() and torch.cuda.is_bf16_supported()
        return self.precision == "bfloat16"

    @property
    def dtype(self) -> torch.dtype | None:
        """Return the type of autocast, for `score_pairs`; None: none."""
        return torch.bfloat16 if self.mixed else None

    def check(self, ranks: int) -> None:
        """Raise InputError if a step's pairs cannot be shared out to the ranks."""
        if self.batch_size % (ranks * self.accumulate):
            raise InputError(
                f"batch_size should be a multiple of ranks x accumulate ({ranks} x {self.accumulate}), found "
                f"{self.batch_size}; change one of them"
            )

    def arguments(self, folder: Path, ranks: int = 1) -> TrainingArguments:
        """Return the Trainer's arguments; `folder` is for checkpoints."""
        self.check(ranks)
        more: dict[str, Any] = {"gradient_checkpointing": True} if self.gradient_checkpointing else {}
        if ranks > 1 or self.mixed:  # else, on a CPU, the Trainer trains each rank for itself, and refuses bfloat16
            more["use_cpu"] = not torch.cuda.is_available()
        if ranks > 1:
            more |= {"ddp_backend": torch.distributed.get_backend(), "ddp_find_unused_parameters": False}
        made = TrainingArguments(
            output_dir=str(folder),
            max_steps=self.steps,
            per_device_train_batch_size=self.batch_size // (self.accumulate * ranks),
            gradient_accumulation_steps=self.accumulate,
            learning_rate=self.learning_rate,
            warmup_steps=self.warmup,
            weight_decay=self.weight_decay,
            max_grad_norm=self.max_grad_norm,
            seed=self.seed,
            bf16=self.mixed,
            save_strategy="no",
            logging_steps=1,
            logging_nan_inf_filter=False,
            report_to=[],
            disable_tqdm=True,
            remove_unused_columns=False,
            **more,
        )
        if ranks > 1 and made.parallel_mode != ParallelMode.DISTRIBUTED:  # each would train for itself
            raise InputError(
                f"a process should join the {ranks} ranks before it makes a Trainer, found that accelerate was begun "
                "without them; train in a process of its own"
            )
        return made


@dataclass(frozen=True)
class Watch:
    """What is measured while a model trains: JSON-able values, every `every` steps and at the end."""

    every: int
    measure: Callable[[Any], Mapping[str, Any]]


def fit(
    model: Any,
    sources: Mapping[str, PairRows],
    weights: Any,
    settings: FitSettings,
    folder: Path | str,
    loss: PairLoss,
    *,
    checkpoints: Path | None = None,
    watch: Watch | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
    control: bool | Path = False,
    ranks: Ranks = ONE,
    track: Tracked = NOBODY,
    **options: Any,
) -> PreferenceTrainer:
    """
    Train a model on preference pairs, or the rest of a training that was stopped, and return its trainer.

    Stopped in whatever way and called again it goes on from the last complete checkpoint, and on a CPU ends with the
    same model bit by bit.

    Parameters
    ----------
    model
        The model at the start, also where the training goes on; it is trained in place.
    sources, weights, loss, control, options
        As for `PreferenceTrainer`; it is not steered by default.
    settings
        How to train.
    folder
        Gets metrics.jsonl (a line per step) and evaluation.jsonl (what `watch` measured).
    checkpoints
        Where checkpoints are until `forget_checkpoints`. Default: `folder`.
    progress
        Called as `progress(steps done, steps in all)`.
    ranks
        Who trains it; each calls this, and the first one writes. A checkpoint is gone on with by any number of ranks.
    track
        Trackers that get each line as it is written, on the first rank.

    Raises
    ------
    InputError
        As from `PreferenceTrainer`; the pairs of a step cannot be shared out to the ranks.
    """
    folder = Path(folder)
    kept = (checkpoints or folder) / CHECKPOINTS
    arguments = settings.arguments(kept, ranks.size)
    last = ranks.shared(last_complete_checkpoint(kept) if ranks.main else None)
    if ranks.main and last is None and options.get("log") is not None:
        Path(options["log"]).unlink(missing_ok=True)  # of a training that had no checkpoint yet
    options |= {"loss": loss, "control": control}
    ranks.compile(model)
    trainer: PreferenceTrainer
    if ranks.in_parts or is_of_parts(last):
        trainer = ShardedTrainer(model, arguments, sources, weights, ranks=ranks, **options)
    else:
        trainer = PreferenceTrainer(model, arguments, sources, weights, **options)
    for callback in list(trainer.callback_handler.callbacks):
        if type(callback).__name__ in ("PrinterCallback", "ProgressCallback"):
            trainer.remove_callback(callback)
    trainer.mixture.listener = track.decision
    trainer.add_callback(_Journal(folder, watch, progress, settings, ranks, track))
    with _quiet(last is not None):
        trainer.train(resume_from_checkpoint=last)
    return trainer


@contextmanager
def _quiet(resumed: bool) -> Iterator[None]:
    """Keep the Trainer from warning of parameters with older names in the file, which are loaded all the same."""

    def other(record: logging.LogRecord) -> bool:
        return not record.getMessage().startswith(("There were missing keys", "There were unexpected keys"))

    logger = logging.getLogger("transformers.trainer")
    if resumed:
        logger.addFilter(other)
    try:
        yield
    finally:
        logger.removeFilter(other)


def forget_checkpoints(folder: Path | str) -> None:
    """Remove the checkpoints of a training whose results are written."""
    shutil.rmtree(Path(folder) / CHECKPOINTS, ignore_errors=True)


class _Journal(TrainerCallback):
    """Writes metrics and held-out measurements on the first rank, and asks for checkpoints."""

    def __init__(
        self,
        folder: Path,
        watch: Watch | None,
        progress: Callable[[int, int], None],
        settings: FitSettings,
        ranks: Ranks = ONE,
        track: Tracked = NOBODY,
    ) -> None:
        self._track = track
        self._folder, self._watch, self._progress, self._ranks = folder, watch, progress, ranks
        self._settings, self._saved = settings, time.monotonic()

    def on_train_begin(self, args: Any, state: Any, control: Any, **more: Any) -> None:
        """Cut what was written after the checkpoint; measure the model before the first step."""
        for name in (METRICS, EVALUATION) if self._ranks.main else ():
            _cut(self._folder / name, state.global_step)
        self._track.begin(state.global_step)
        if state.global_step == 0 and self._watch is not None:
            self._measure(0, more["model"])

    def on_step_end(self, args: Any, state: Any, control: Any, **more: Any) -> None:
        """Measure, report, and ask for a checkpoint if it is time to."""
        step, last = state.global_step, state.global_step >= self._settings.steps
        if self._watch is not None and (last or step % self._watch.every == 0):
            self._measure(step, more["model"])
        due = float(self._ranks.main and time.monotonic() - self._saved >= self._settings.checkpoint_seconds)
        if not last and self._ranks.sum(np.array([due]))[0]:  # all ranks save what they have, or none
            control.should_save = True
        self._progress(step, self._settings.steps)

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **more: Any) -> None:
        """Append a line of metrics."""
        if logs and self._ranks.main and not any(name in logs for name in _TIMES):
            kept = {name: _number(value) for name, value in logs.items() if name != "epoch"}
            line = {"step": state.global_step, **kept}
            _append(self._folder / METRICS, line)
            self._track.line(line)

    def on_save(self, args: Any, state: Any, control: Any, **more: Any) -> None:
        """Remove the checkpoints before this one."""
        for path in Path(args.output_dir).glob("checkpoint-*") if self._ranks.main else ():
            if path.name != f"checkpoint-{state.global_step}":
                shutil.rmtree(path, ignore_errors=True)
        self._saved = time.monotonic()
        self._track.flush()

    def _measure(self, step: int, model: Any) -> None:
        assert self._watch is not None
        training = model.training
        values = self._watch.measure(model)
        model.train(training)
        if self._ranks.main:
            point = {"step": step, **values}
            _append(self._folder / EVALUATION, point)
            self._track.measured(point)


def read_lines(path: Path | str) -> list[dict[str, Any]]:
    """Return the lines of a file of JSON lines; none if there is no file. A last line without its end is left out."""
    try:
        text = Path(path).read_text(encoding="utf-8")
        return [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]
    except OSError:
        return []
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} should be JSON lines, found a line that is none ({error}); remove the file") from None


def _append(path: Path, line: Mapping[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "a", encoding="utf-8") as handle:
        handle.write(json.dumps(line, allow_nan=False) + "\n")


def _cut(path: Path, step: int) -> None:
    """Keep the lines up to a step; what was written after the checkpoint is written again."""
    if path.exists():
        kept = [line for line in read_lines(path) if step > 0 and line["step"] <= step]
        with atomic_write(path) as handle:
            handle.writelines(json.dumps(line, allow_nan=False) + "\n" for line in kept)


def _number(value: Any) -> Any:
    """Return a value of a log; None for what JSON has no number for."""
    return None if isinstance(value, float) and not math.isfinite(value) else value
