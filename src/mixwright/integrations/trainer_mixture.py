"""What a Trainer does for a Mixture at each step: losses per source, gradient statistics, observations, logs."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mixwright.errors import InputError
from mixwright.gradients.distributed import world_size
from mixwright.integrations.fused_head import Heard, fused_nats
from mixwright.integrations.gradient_checks import finite_gradients, leave_out
from mixwright.integrations.loss_weights import check_loss, loss_factor, shifts_labels
from mixwright.integrations.row_losses import by_source, count_tokens, kept_nats, row_nats, targets_of
from mixwright.integrations.statistics import Statistics
from mixwright.integrations.window import Window
from mixwright.mixture import Mixture
from mixwright.observation import Observation
from mixwright.simplex import entropy
from mixwright.stream.batches import Batch
from mixwright.stream.loader import MixtureLoader
from mixwright.stream.trainer import MixtureCallback

Array = NDArray[np.float64]
Measure = Callable[[Any], Any]  # model -> [k] or [m], the same on every rank
logger = logging.getLogger(__name__)


@dataclass
class Watching:
    """When and what to observe; see `use_mixture`."""

    observe_every: int
    statistics: Statistics | None = None
    measures: Mapping[str, Measure] = field(default_factory=dict)
    held_out: bool = False
    non_finite: str = "stop"
    fused: bool = False  # whether the Trainer's models may have a head that is fused with the loss


class TrainerMixture(MixtureCallback):
    """
    The callback that `use_mixture` returns: it feeds a Trainer, watches its steps and tells the Mixture.

    Attributes
    ----------
    mixture, loader
        The Mixture, and the loader that the Trainer trains on.
    batches
        Those of the optimiser step at work, one per piece.
    observation
        The last one that the Mixture was told; None before the first.
    """

    def __init__(
        self, trainer: Any = None, loader: MixtureLoader | None = None, watching: Watching | None = None
    ) -> None:
        super().__init__(loader)
        if trainer is None or loader is None or watching is None:  # transformers may make one to look at
            return
        self.trainer, self.watching = trainer, watching
        self.mixture: Mixture = loader.plan._driver  # type: ignore[assignment]
        k = self.mixture.k
        self.observation: Observation | None = None
        self._since, self._logged, self._alarms = Window(k), Window(k), 0
        self._held_out = np.full(k, np.nan)
        self._piece, self._rows = 0, _Rows()
        self._sums: Tensor | None = None
        self._trained, self._unchecked = True, True
        self._shifts = shifts_labels(trainer)
        self._wrap()
        trainer.mixture_callback = self

    def _wrap(self) -> None:
        """Stand around the methods of this Trainer that make a loss, take a step and log."""
        trainer = self.trainer
        step, loss, log = trainer.training_step, trainer.compute_loss, trainer.log

        @functools.wraps(step)
        def training_step(model: Any, inputs: Any, *more: Any, **named: Any) -> Tensor:
            return self._observed(lambda: step(model, inputs, *more, **named), inputs, _items(more, named))

        @functools.wraps(loss)
        def compute_loss(model: Any, inputs: Any, return_outputs: bool = False, *more: Any, **named: Any) -> Any:
            if not self._rows.wanted:
                return loss(model, inputs, return_outputs, *more, **named)
            if self.watching.fused:
                heard = Heard(model, self._rows.sampled)
                found = loss(heard, inputs, False, *more, **named)
                self._rows.nats = _nats(found, heard.outputs, self._rows.targets)
                return (found, heard.outputs) if return_outputs else found
            found, outputs = loss(model, inputs, True, *more, **named)
            self._rows.nats = _nats(found, outputs, self._rows.targets)
            return (found, outputs) if return_outputs else found

        @functools.wraps(log)
        def logging_too(logs: dict[str, Any], *more: Any, **named: Any) -> None:
            if "loss" in logs and self._logged.steps:
                logs = {**logs, **self._to_log()}
            log(logs, *more, **named)

        trainer.training_step, trainer.compute_loss, trainer.log = training_step, compute_loss, logging_too

    def _observed(self, step: Callable[[], Tensor], inputs: Any, items: Any) -> Tensor:
        """Train on a micro-batch, with its losses per source, and statistics on the steps that are sampled."""
        batch = self._next_batch()
        targets = targets_of(inputs, self._shifts)
        if len(targets) != len(batch):
            raise InputError(f"labels should have a row for each of the batch's {len(batch)}, found {len(targets)}")
        tokens = count_tokens(targets)
        sampled = self._sampled(batch.step)
        self._rows = _Rows(targets, wanted=True, sampled=sampled is not None)
        check, self._unchecked = self._unchecked or sampled is not None, False
        factor, scale = loss_factor(self.trainer, items, tokens) if check else (0.0, 1.0)
        observing: AbstractContextManager[None] = nullcontext()
        if sampled is not None:
            observing = sampled.observe(batch.source, factor * scale * tokens)
        try:
            with observing:
                loss = step()
        finally:
            rows, self._rows = self._rows, _Rows()
        if rows.nats is None:
            raise InputError("the Trainer's training_step should call its compute_loss, found that it did not")
        if check:
            check_loss(float(loss), factor * float(rows.nats.sum()), warn=self.watching.statistics is None)
        counted = tokens.to(rows.nats)
        numbers = torch.stack([rows.nats, counted, (counted > 0).to(rows.nats)])
        sums = by_source(numbers, batch.source, self.mixture.k)
        self._sums = sums if self._sums is None else self._sums + sums
        return loss

    def _next_batch(self) -> Batch:
        self._piece += 1
        if self._piece > len(self.batches):
            raise InputError("the Trainer should train on the batches of its stream, found others; leave them to it")
        return self.batches[self._piece - 1]

    def _sampled(self, step: int) -> Any:
        """Return the statistics if a step is sampled."""
        statistics, every = self.watching.statistics, self.watching.observe_every
        return statistics.running if statistics is not None and statistics.sampled(step, every) else None

    def on_train_begin(self, args: Any, state: Any, control: Any, **more: Any) -> None:
        """Take the state of the stream, the Mixture and the observations out of the checkpoint, if there is one."""
        if state.global_step == 0:
            self._check_log()
        super().on_train_begin(args, state, control, **more)
        if self.watching.statistics is not None:
            self.watching.statistics.begin(self.trainer)
        self._piece, self._sums = 0, None
        if state.global_step:
            self._load(self.saved(state))

    def on_step_begin(self, args: Any, state: Any, control: Any, **more: Any) -> None:
        """Begin with the first piece."""
        self._piece, self._sums = 0, None

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **more: Any) -> None:
        """Add up what the ranks saw, and look at it before the model changes."""
        assert self._sums is not None
        if world_size() > 1:
            torch.distributed.all_reduce(self._sums)
        step = self._sums.cpu().double().numpy()
        keep = self.watching.non_finite == "keep"
        spoilt = [self.mixture.sources[i] for i in np.flatnonzero(~np.isfinite(step[0]))]
        steep = not spoilt and not keep and not finite_gradients(self.trainer)
        self._trained = keep or not (spoilt or steep)
        for window in (self._since, self._logged):
            window.add(step, self.batches[0].weights, self._trained)
        if not spoilt and not steep:
            return
        what = f"the loss is not finite in {', '.join(map(repr, spoilt))}"
        if steep:
            what = "the losses are finite, but the gradient is not"
        where = f"step {self.batches[0].step}: {what}"
        if self.watching.non_finite == "stop":
            raise InputError(
                f"{where}; the model is as it was before the step: lower the learning rate, or give "
                "non_finite='skip' to leave such steps out"
            )
        logger.warning("%s; %s", where, "trained on as it is" if self._trained else "the step is skipped")
        if not self._trained and getattr(self.trainer.accelerator, "scaler", None) is None:  # a scaler skips it itself
            leave_out(self.trainer.optimizer)

    def on_step_end(self, args: Any, state: Any, control: Any, **more: Any) -> None:
        """Tell the Mixture, when it is time."""
        super().on_step_end(args, state, control, **more)
        step, statistics = self.batches[0].step, self.watching.statistics
        if (step + 1) % self.watching.observe_every == 0:
            self._tell(step)
        elif statistics is not None and self._sampled(step) is not None:
            statistics.gather()

    def _tell(self, step: int) -> None:
        read = self.mixture.strategy.needs | self.mixture.strategy.uses
        found: dict[str, Any] = self._since.fields()
        found |= {name: measure(self.trainer.model) for name, measure in self.watching.measures.items() if name in read}
        if self.watching.held_out and "eval_loss" in read - set(found):
            found["eval_loss"] = self._held_out
        size, statistics = self.loader.plan.batch_size, self.watching.statistics  # type: ignore[union-attr]
        if statistics is None:
            observation = Observation(step, size, **found)
        else:
            observation = statistics.observation(step, size, found)
        ledger = None if self.mixture.log is None else self.loader.ledger()  # type: ignore[union-attr]
        self.mixture.observe(observation, ledger)
        self._alarms += "alarm" in self.mixture.strategy.remarks(self.mixture.state)
        self.observation = observation
        self._since.clear()

    def on_evaluate(self, args: Any, state: Any, control: Any, metrics: Any = None, **more: Any) -> None:
        """Keep the held-out losses of data sets that are named after sources."""
        for i, name in enumerate(self.mixture.sources):
            if (metrics or {}).get(f"eval_{name}_loss") is not None:
                self._held_out[i] = float(metrics[f"eval_{name}_loss"])

    def _to_log(self) -> dict[str, float]:
        """Return numbers for the trackers: of the steps since the last line, and of the last observation."""
        names, seen = self.mixture.sources, self.observation
        weights = self.batches[0].weights
        found = {"loss": self._logged.loss, "weight": weights}
        for name in ("grad_sq_norm", "grad_variance"):
            if seen is not None and getattr(seen, name) is not None:
                found[name] = getattr(seen, name)
        lines = {
            f"mixture/{what}/{name}": float(value)
            for what, values in found.items()
            for name, value in zip(names, values, strict=True)
            if np.isfinite(value)
        }
        lines |= {"mixture/entropy": entropy(weights), "mixture/alarms": float(self._alarms)}
        if self._logged.bad.any():
            lines["mixture/non_finite"] = float(self._logged.bad.sum())
        self._logged.clear()
        self._alarms = 0
        return lines

    def state(self) -> dict[str, Any]:
        """Return what `trainer_state.json` keeps: JSON-able."""
        saved = super().state()
        if self.loader is not None:
            saved["attributes"]["observing"] = {
                "every": self.watching.observe_every,
                "since": self._since.state_dict(),
                "logged": self._logged.state_dict(),
                "alarms": self._alarms,
                "held_out": [None if np.isnan(v) else v for v in self._held_out.tolist()],
                "observation": None if self.observation is None else self.observation.to_json(),
                "statistics": None if self.watching.statistics is None else self.watching.statistics.state_dict(),
            }
        return saved

    def _load(self, saved: Mapping[str, Any]) -> None:
        state = saved.get("observing")
        if not isinstance(state, Mapping):
            raise InputError("the checkpoint should be of a training with use_mixture, found none of its observations")
        for name, found, now in (
            ("observe_every", state["every"], self.watching.observe_every),
            ("statistics", state["statistics"] is not None, self.watching.statistics is not None),
        ):
            if found != now:
                raise InputError(f"{name} should be the checkpoint's ({found!r}), found {now!r}; use the same")
        self._since.load_state_dict(state["since"])
        self._logged.load_state_dict(state["logged"])
        self._alarms, seen = int(state["alarms"]), state["observation"]
        self._held_out = np.array([np.nan if v is None else v for v in state["held_out"]])
        self.observation = None if seen is None else Observation.from_json(seen)
        if self.watching.statistics is not None:
            self.watching.statistics.load_state_dict(state["statistics"])

    def _check_log(self) -> None:
        """Raise InputError before the first step if the log is another run's."""
        log = self.mixture.log
        if log is not None and not self.mixture._own_log and log.exists() and log.stat().st_size:
            raise InputError(f"{log} holds the decisions of another run; resume from its checkpoint, or choose another")


@dataclass
class _Rows:
    """Of the micro-batch at work: what it should predict, and the losses of its rows."""

    targets: Any = None
    nats: Tensor | None = None
    wanted: bool = False
    sampled: bool = False


def _items(more: tuple[Any, ...], named: Mapping[str, Any]) -> Any:
    return more[0] if more else named.get("num_items_in_batch")


def _nats(loss: Tensor, outputs: Any, targets: Tensor) -> Tensor:
    """Return [b], the nats of each row, in the cheapest way that there is."""
    for found in (fused_nats(outputs), kept_nats(loss, targets)):
        if found is not None:
            return found
    return row_nats(_logits(outputs), targets)


def _logits(outputs: Any) -> Tensor:
    logits = outputs.get("logits") if isinstance(outputs, Mapping) else getattr(outputs, "logits", None)
    if logits is None and isinstance(outputs, tuple) and len(outputs) > 1:
        logits = outputs[1]
    if not isinstance(logits, Tensor):
        raise InputError(
            f"the model should return its logits, from which losses per source are made, found none in "
            f"{type(outputs).__name__}; turn fused losses off (use_liger_kernel, a chunked loss_type)"
        )
    return logits
