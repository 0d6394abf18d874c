"""What a Trainer does for a Mixture at each step: losses per source, gradient statistics, observations, logs."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mixwright.errors import InputError
from mixwright.integrations.fused_head import Heard, fused_nats
from mixwright.integrations.gradient_checks import finite_gradients
from mixwright.integrations.loss_weights import check_loss, loss_factor, shifts_labels, weighted_loss
from mixwright.integrations.reference import TrainerReference
from mixwright.integrations.row_losses import by_source, count_tokens, kept_nats, precise, targets_of, token_nats
from mixwright.integrations.watched import WatchedCallback
from mixwright.stream.batches import Batch
from mixwright.stream.loader import MixtureLoader
from mixwright.watching.row_weights import RowWeights
from mixwright.watching.watcher import Watcher
from mixwright.watching.window import Window

Array = NDArray[np.float64]
TOKENS = ("nats", "tokens", "rows", "bad")


def token_means(window: Window) -> dict[str, Array]:
    """Return the counts and losses (nats per token) of an observation; a loss that was not finite is unknown."""
    return {"counts": window["rows"], "loss": np.where(window["bad"] > 0, np.nan, window.mean("nats", "tokens"))}


def excess_token_means(window: Window) -> dict[str, Array]:
    """Return the fields of `token_means`, with the mean excess over a reference, from sums that have "excess" too."""
    excess = np.where(window["bad"] > 0, np.nan, window.mean("excess", "tokens"))
    return {**token_means(window), "excess_loss": excess}


def token_sums(step: Array, trained: bool) -> Array:
    """
    Return what a step adds to the sums of `TOKENS`, [4, k], and what else it summed.

    Parameters
    ----------
    step
        [3 or more, k] nats, tokens and rows, of all ranks, and excess over a reference, if there is one.
    trained
        Whether the model learned from it; of a step that was left out only the sources that caused it are counted.
    """
    bad = ~np.isfinite(step[0])
    learned = np.where(bad, 0, step) if trained else np.zeros_like(step)
    return np.array([*learned[:2], step[2] if trained else np.where(bad, step[2], 0), bad, *learned[3:]])


class TrainerMixture(WatchedCallback):
    """
    The callback that `use_mixture` returns: it feeds a Trainer, watches its steps and passes observations on.

    Attributes
    ----------
    mixture, loader
        The Mixture, and the loader that the Trainer trains on.
    batches
        Those of the current optimiser step, one per micro-batch.
    observation
        The last one that the Mixture got; None before the first.
    reference
        The reference model that losses are compared with; None without one.
    """

    made_by = "a training with use_mixture"

    def __init__(
        self,
        trainer: Any = None,
        loader: MixtureLoader | None = None,
        watcher: Watcher | None = None,
        non_finite: str = "stop",
        fused: bool = False,  # whether the model's head may be fused with its loss
        row_weights: RowWeights | None = None,
        steered_in: Path | None = None,
        reference: TrainerReference | None = None,
    ) -> None:
        super().__init__(trainer, loader, watcher, row_weights, steered_in)
        self.reference = reference
        if trainer is None:
            return
        self._non_finite, self._fused = non_finite, fused
        self._piece, self._rows = 0, _Rows()
        self._unchecked = True
        self._factors: Tensor | None = None
        self._shifts = shifts_labels(trainer)
        self._wrap()
        trainer.mixture_callback = self

    def _wrap(self) -> None:
        """Wrap the methods of this Trainer that make a loss, take a step and log."""
        trainer = self.trainer
        step, loss, log = trainer.training_step, trainer.compute_loss, trainer.log

        # the methods of this object and not of a subclass: any Trainer, TRL's too, keeps its own
        @functools.wraps(step)
        def training_step(model: Any, inputs: Any, *more: Any, **named: Any) -> Tensor:
            return self._observed(lambda: step(model, inputs, *more, **named), inputs, _items(more, named))

        @functools.wraps(loss)
        def compute_loss(model: Any, inputs: Any, return_outputs: bool = False, *more: Any, **named: Any) -> Any:
            if not self._rows.wanted:
                return loss(model, inputs, return_outputs, *more, **named)
            if self._fused:
                heard = Heard(model, self._rows.sampled)
                found = self._rows.taken(loss(heard, inputs, False, *more, **named), heard.outputs)
                return (found, heard.outputs) if return_outputs else found
            # the Trainer drops the outputs of training, so they are asked for
            found, outputs = loss(model, inputs, True, *more, **named)
            found = self._rows.taken(found, outputs)
            return (found, outputs) if return_outputs else found

        @functools.wraps(log)
        def logging_too(logs: dict[str, Any], *more: Any, **named: Any) -> None:
            if "loss" in logs and self.watcher.logged.steps:
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
        statistics = self.watcher.statistics
        sampled = statistics is not None and statistics.due(batch.step)
        factors = None if self._factors is None else self._factors[batch.source.to(self._factors.device)]
        self._rows = _Rows(targets, wanted=True, sampled=sampled, factors=factors)
        # reading the loss waits for the device: once, and where statistics depend on it
        check, self._unchecked = self._unchecked or sampled, False
        factor, scale = loss_factor(self.trainer, items, tokens) if check else (0.0, 1.0)
        observing: AbstractContextManager[None] = nullcontext()
        if statistics is not None and sampled:
            counted = tokens if factors is None else tokens * factors.to(tokens.device)
            observing = statistics.observe(batch.step, batch.source, factor * scale * counted)
        try:
            with observing:
                loss = step()
        finally:
            # evaluation calls compute_loss too: nothing may be wanted there
            rows, self._rows = self._rows, _Rows()
        if rows.nats is None:
            raise InputError("the Trainer's training_step should call its compute_loss, found that it did not")
        if check:
            found = loss if rows.plain is None else rows.plain
            check_loss(float(found), factor * float(rows.nats.sum()), self._needs_mean)
        nats, counted = rows.nats.sum(1), tokens.to(rows.nats)
        numbers = [nats, counted, (counted > 0).to(nats)]
        if self.reference is not None and "excess" in self.watcher.since.names:
            numbers.append(self.reference.excess(inputs, targets, rows.nats, tokens))
        self.count(by_source(torch.stack(numbers), batch.source, self.mixture.k))
        return loss

    @property
    def _needs_mean(self) -> str | None:
        """Return what needs a loss that is a mean over tokens; None: nothing does."""
        if self.acts_on_loss:
            return "weights that act on the loss"
        return None if self.watcher.statistics is None else "gradient statistics"

    def _next_batch(self) -> Batch:
        self._piece += 1
        if self._piece > len(self.batches):
            raise InputError("the Trainer should train on the batches of its stream, found others; keep its dataloader")
        return self.batches[self._piece - 1]

    def on_train_begin(self, args: Any, state: Any, control: Any, **more: Any) -> None:
        """Take the model and the optimiser as they are trained, and what the checkpoint holds."""
        if self.watcher.statistics is not None:
            optimizer = self.trainer.optimizer
            # accelerate wraps the optimiser; its state is in the inner one
            self.watcher.statistics.attach(self.trainer.model_wrapped, getattr(optimizer, "optimizer", optimizer))
        super().on_train_begin(args, state, control, **more)
        self._piece, self._sums = 0, None

    def on_step_begin(self, args: Any, state: Any, control: Any, **more: Any) -> None:
        """Begin with the first micro-batch; see what its rows count."""
        self._piece, self._sums, self._factors = 0, None, None
        if self.row_weights is not None:
            factors = self.row_weights.at(self.batches[0].step)
            # where all rows count the same, the loss stays the Trainer's, bit by bit
            if np.any(factors != 1):
                self._factors = torch.from_numpy(factors).to(args.device, precise(args.device))

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **more: Any) -> None:
        """Add up what the ranks saw, and check it before the model changes."""
        step, keep = self.summed(), self._non_finite == "keep"
        bad = [self.mixture.sources[i] for i in np.flatnonzero(~np.isfinite(step[0]))]
        # looked at only if losses are finite, since it costs a pass over all gradients
        steep = not bad and not keep and not finite_gradients(self.trainer)
        self.watcher.add(token_sums(step, trained=keep or not (bad or steep)), self.batches[0].weights)
        if bad:
            self.not_finite(f"the loss is not finite in {', '.join(map(repr, bad))}", self._non_finite)
        elif steep:
            self.not_finite("the losses are finite, but the gradient is not", self._non_finite)

    def on_save(self, args: Any, state: Any, control: Any, **more: Any) -> None:
        """Put the reference's losses on disk, too."""
        if self.reference is not None:
            self.reference.flush()

    def check_saved(self, saved: Mapping[str, Any]) -> None:
        """Raise InputError if a checkpoint is of another training, or of one with another reference."""
        super().check_saved(saved)
        if saved.get("reference") != self._compared:
            raise InputError(
                f"reference and its clip should be the checkpoint's ({saved.get('reference')}), found "
                f"{self._compared}; use the same"
            )

    @property
    def _compared(self) -> list[str] | None:
        """Return what names the reference in a checkpoint."""
        given = self.reference and self.reference.reference
        return [given.fingerprint, given.clip] if given else None

    def state(self) -> dict[str, Any]:
        """Return what `trainer_state.json` keeps: JSON-able."""
        saved = super().state()
        if self.loader is not None and self.reference is not None:
            saved["attributes"]["reference"] = self._compared
        return saved

    def _to_log(self) -> dict[str, float]:
        """Return numbers for the trackers: of the steps since the last line, and of the last observation."""
        logged, seen = self.watcher.logged, self.observation
        values = {"loss": token_means(logged)["loss"]}
        for name in ("grad_sq_norm", "grad_variance"):
            if seen is not None and getattr(seen, name) is not None:
                values[name] = getattr(seen, name)
        bad = float(logged["bad"].sum())
        weights = self.batches[0].weights
        if self.row_weights is not None:
            values["sampling"], weights = self.row_weights.sampling, self.mixture.weights_for(self.batches[0].step)
        lines = self.watcher.line(values, weights)
        return {**lines, "mixture/non_finite": bad} if bad else lines


@dataclass
class _Rows:
    """Of the micro-batch at work: what it should predict, and the losses of its rows' tokens."""

    targets: Any = None
    nats: Tensor | None = None  # [b, t], of their tokens
    plain: Tensor | None = None  # the Trainer's own loss, where it is replaced by a weighted one
    wanted: bool = False
    sampled: bool = False
    factors: Tensor | None = None

    def taken(self, loss: Tensor, outputs: Any) -> Tensor:
        """Keep the nats of the rows; return the loss that is to be differentiated."""
        if self.factors is None:
            with torch.no_grad():
                self.nats = _nats(outputs, self.targets, loss)
            return loss
        nats = _nats(outputs, self.targets)
        self.nats, self.plain = nats.detach(), loss.detach()
        return weighted_loss(loss, nats.sum(1), self.factors)


def _items(more: tuple[Any, ...], named: Mapping[str, Any]) -> Any:
    return more[0] if more else named.get("num_items_in_batch")


def _nats(outputs: Any, targets: Tensor, loss: Tensor | None = None) -> Tensor:
    """Return [b, t], the nats of tokens, in the cheapest way that there is; a loss kept them without graph."""
    found = fused_nats(outputs)
    if found is None and loss is not None:
        found = kept_nats(loss, targets)
    return token_nats(_logits(outputs), targets) if found is None else found


def _logits(outputs: Any) -> Tensor:
    logits = outputs.get("logits") if isinstance(outputs, Mapping) else getattr(outputs, "logits", None)
    if logits is None and isinstance(outputs, tuple) and len(outputs) > 1:
        logits = outputs[1]
    if not isinstance(logits, Tensor):
        raise InputError(
            f"the model should return its logits, which losses per source need, found none in "
            f"{type(outputs).__name__}; turn fused losses off (use_liger_kernel, a chunked loss_type)"
        )
    return logits
