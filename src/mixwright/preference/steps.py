"""What the preference trainer does at each step: row weights, gates, sums over ranks, observations, the log's lines."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mixwright.batch_losses import source_factors
from mixwright.errors import InputError
from mixwright.gradients.distributed import world_size
from mixwright.integrations.gradient_checks import finite_gradients
from mixwright.integrations.row_losses import by_source, precise
from mixwright.integrations.watched import WatchedCallback
from mixwright.preference.losses import PairLosses
from mixwright.stream.loader import MixtureLoader
from mixwright.watching.watcher import Watcher

Array = NDArray[np.float64]


@dataclass(frozen=True)
class PairSettings:
    """How pairs are trained on; see `PreferenceTrainer`."""

    clip: str
    train_on: str
    apply: str
    counts: str
    observe_every: int
    non_finite: str
    specialists: bool
    loss: str

    def to_json(self) -> dict[str, Any]:
        """Return what a checkpoint has to agree on."""
        names = ("clip", "train_on", "apply", "counts", "observe_every", "specialists", "loss")
        return {name: getattr(self, name) for name in names}


SUMS = ("rows", "loss", "excess", "gate", "right", "margin")


class PreferenceSteps(WatchedCallback):
    """
    The callback of a PreferenceTrainer.

    Attributes
    ----------
    mixture, loader
        The Mixture, and the loader that is trained on.
    weights
        [k] of the mixture, at the current step.
    observation
        The last one that the Mixture got; None before the first.
    """

    made_by = "a PreferenceTrainer"

    def __init__(
        self,
        trainer: Any = None,
        loader: MixtureLoader | None = None,
        watcher: Watcher | None = None,
        settings: PairSettings | None = None,
        steered_in: Path | None = None,
    ) -> None:
        super().__init__(trainer, loader, watcher, steered_in=steered_in)
        if trainer is None or settings is None:
            return
        self.settings = settings
        self.weights = np.full(self.mixture.k, np.nan)
        self._row_weights: Tensor | None = None
        self._gates: Tensor | None = None
        self._seen: list[tuple[Tensor, Tensor, Tensor]] = []

    @property
    def acts_on_loss(self) -> bool:
        """Whether the weights act on the loss."""
        return self.settings.apply == "loss"

    # a micro-batch

    def value(self, found: PairLosses, inputs: Mapping[str, Tensor]) -> Tensor:
        """
        Return what is differentiated: the micro-batch's mean of row weight x gate x (loss - specialist's loss).

        The Trainer and DDP average it over micro-batches and ranks, all of as many pairs: the mean over the step's B.
        """
        source, specialist = inputs["source"], inputs.get("specialist")
        loss = found.loss.detach()
        gate, excess = self._gated(loss, specialist, source)
        self._count(torch.stack([torch.ones_like(loss), loss, excess, gate, (found.margin > 0).to(loss),
                                 found.margin.detach()]), loss, inputs)  # fmt: skip
        value = found.loss
        if specialist is not None and self.settings.train_on == "excess":
            value = gate * (value - specialist.to(value))
        if self._row_weights is not None:
            value = value * self._row_weights.to(value)[source]
        return value.mean()

    def _gated(self, loss: Tensor, specialist: Tensor | None, source: Tensor) -> tuple[Tensor, Tensor]:
        """Return gates [b] and excess losses [b], as `excess_losses` makes them of the whole step's batch."""
        if specialist is None:
            return torch.ones_like(loss), torch.zeros_like(loss)
        excess = loss - specialist.to(loss)
        if self.settings.clip == "none":
            return torch.ones_like(loss), excess
        if self.settings.clip == "example":
            gate = (excess > 0).to(loss)
        else:
            gates = self._gates if self._gates is not None else self._reduced_gates(excess, source)
            gate = gates.to(loss)[source]
        return gate, torch.where(gate > 0, excess, torch.where(excess.isfinite(), 0, excess))

    def _reduced_gates(self, excess: Tensor, source: Tensor) -> Tensor:
        """Return [k] 1 where the sum of a source's differences over all ranks is above 0."""
        sums = by_source(excess.to(precise(excess.device)), source, self.mixture.k)
        if world_size() > 1:
            torch.distributed.all_reduce(sums)
        return (sums > 0).to(sums)

    def _count(self, numbers: Tensor, loss: Tensor, inputs: Mapping[str, Tensor]) -> None:
        self.count(by_source(numbers.to(precise(loss.device)), inputs["source"], self.mixture.k))
        self._seen.append((loss, inputs["source"], inputs["row"]))

    # a step

    def on_step_begin(self, args: Any, state: Any, control: Any, **more: Any) -> None:
        """Take the step's weights; where a source's gate needs all micro-batches, look at them first."""
        self._sums, self._seen, self._gates = None, [], None
        batch = self.batches[0]
        self.weights = batch.weights
        if self.acts_on_loss:
            self.weights = self.mixture.weights_for(batch.step)
            self._row_weights = torch.from_numpy(self._of_rows()).to(self.trainer.args.device, torch.float32)
        if self.settings.clip == "source" and self.settings.specialists and len(self.batches) > 1:
            self._gates = self._first_pass()

    def _of_rows(self) -> Array:
        """Return [k], what a row of each source counts."""
        batch = self.batches[0]
        assert batch.counts is not None
        by_batch = self.settings.counts == "batch"
        return source_factors(self.weights, batch.counts / batch.counts.sum() if by_batch else batch.weights)

    def _first_pass(self) -> Tensor:
        """Return the gates [k] out of the losses of all micro-batches, before one is trained on."""
        excess, source = [], []
        devices = [self.trainer.args.device] if self.trainer.args.device.type == "cuda" else []
        with torch.random.fork_rng(devices=devices), torch.no_grad():
            self.trainer.model_wrapped.train()
            for batch in self.batches:
                inputs = self.trainer._prepare_inputs(pair_inputs(batch))
                with self.trainer.compute_loss_context_manager():
                    loss = self.trainer.pair_losses(self.trainer.model_wrapped, inputs).loss
                excess.append(loss - inputs["specialist"].to(loss))
                source.append(inputs["source"])
        return self._reduced_gates(torch.cat(excess), torch.cat(source))

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **more: Any) -> None:
        """Add up what the ranks saw, and check it before the model changes."""
        sums = self.summed()
        if not np.isfinite(sums[1]).all():
            what = f"the loss of {self._first_bad_pair()} is not finite"
        elif not finite_gradients(self.trainer):
            what = "the loss of every pair is finite, but the gradient is not finite"
        else:
            self.watcher.add(sums, self.batches[0].weights)
            return
        self.watcher.skip()
        self.not_finite(what, self.settings.non_finite, "look at the pair, ")

    def _first_bad_pair(self) -> str:
        """Name a pair whose loss is not finite, the same one on all ranks."""
        found = torch.full((2,), -1, dtype=torch.int64, device=self.trainer.args.device)
        for loss, source, row in self._seen:
            for at in (~loss.isfinite()).nonzero()[:1, 0]:
                found = torch.stack([source[at], row[at]])
        if world_size() > 1:
            every = [torch.empty_like(found) for _ in range(world_size())]
            torch.distributed.all_gather(every, found)
            found = next(each for each in every if each[0] >= 0)
        source, row = found.tolist()
        rows = self.loader.sources[self.mixture.sources[source]]  # type: ignore[union-attr]
        return f"the source {self.mixture.sources[source]!r}, row {row} ({rows.where(row)})"

    # the log and the checkpoint

    def to_log(self) -> dict[str, float]:
        """Return numbers for the trackers, of the steps since the last line."""
        logged = self.watcher.logged
        skipped = {"mixture/skipped": float(logged.skipped)} if logged.skipped else {}
        if not logged.steps:
            logged.clear()
            return skipped
        values = {"loss": logged.mean("loss"), "accuracy": logged.mean("right"), "margin": logged.mean("margin")}
        if self.settings.specialists:
            values |= {"excess": logged.mean("excess"), "gate": logged.mean("gate")}
        assert self.loader is not None
        values["share"] = logged["rows"] / logged["rows"].sum()
        values["epochs"] = np.array([line.epochs for line in self.loader.ledger().lines])
        return {**self.watcher.line(values, self.weights), **skipped}

    def state(self) -> dict[str, Any]:
        """Return what `trainer_state.json` keeps: JSON-able."""
        saved = super().state()
        if self.loader is not None:
            saved["attributes"] |= {
                "world_size": self.trainer.args.world_size,
                "settings": self.settings.to_json(),
            }
        return saved

    def check_saved(self, saved: Mapping[str, Any]) -> None:
        """Raise InputError if a checkpoint is not of a PreferenceTrainer with these settings."""
        super().check_saved(_with_observing(saved) if "settings" in saved else {})
        for name, now in self.settings.to_json().items():
            if saved["settings"].get(name) != now:
                raise InputError(
                    f"{name} should be the checkpoint's ({saved['settings'].get(name)!r}), found {now!r}; use the same"
                )

    def load(self, saved: Mapping[str, Any]) -> None:
        """Go on with what `state` saved."""
        super().load(_with_observing(saved))


def _with_observing(saved: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return what was saved; an earlier version kept the Watcher's part beside the settings."""
    return {"observing": saved, **saved} if "since" in saved else saved


def pair_inputs(batch: Any) -> dict[str, Tensor]:
    """Return the tensors of a Batch of pairs, with the source and the row of each."""
    return {**batch.inputs, "source": batch.source, "row": batch.row}
