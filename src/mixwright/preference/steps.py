"""What the preference trainer does at each step: row weights, gates, sums over ranks, observations, the log's lines."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mixwright.errors import InputError
from mixwright.gradients.distributed import world_size
from mixwright.integrations.gradient_checks import finite_gradients, leave_out
from mixwright.integrations.row_losses import by_source, precise
from mixwright.mixture import Mixture
from mixwright.observation import Observation
from mixwright.preference.losses import PairLosses
from mixwright.preference.window import PairWindow
from mixwright.simplex import entropy
from mixwright.stream.loader import MixtureLoader
from mixwright.stream.trainer import MixtureCallback

Array = NDArray[np.float64]
logger = logging.getLogger(__name__)


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
    held_out: bool
    loss: str

    def to_json(self) -> dict[str, Any]:
        """Return what a checkpoint has to agree on."""
        names = ("clip", "train_on", "apply", "counts", "observe_every", "specialists", "loss")
        return {name: getattr(self, name) for name in names}


class PreferenceSteps(MixtureCallback):
    """
    The callback of a PreferenceTrainer.

    Attributes
    ----------
    mixture, loader
        The Mixture, and the loader that is trained on.
    weights
        [k] of the mixture, at the step at work.
    observation
        The last one that the Mixture was told; None before the first.
    """

    def __init__(
        self,
        trainer: Any = None,
        loader: MixtureLoader | None = None,
        mixture: Mixture | None = None,
        settings: PairSettings | None = None,
    ) -> None:
        super().__init__(loader)
        if trainer is None or loader is None or mixture is None or settings is None:  # transformers may make one
            return
        self.trainer, self.mixture, self.settings = trainer, mixture, settings
        k = mixture.k
        self.observation: Observation | None = None
        self.weights = np.full(k, np.nan)
        self._since, self._logged, self._alarms = PairWindow(k), PairWindow(k), 0
        self._held_out = np.full(k, np.nan)
        self._row_weights: Tensor | None = None
        self._gates: Tensor | None = None
        self._sums: Tensor | None = None
        self._seen: list[tuple[Tensor, Tensor, Tensor]] = []

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
        sums = by_source(numbers.to(precise(loss.device)), inputs["source"], self.mixture.k)
        self._sums = sums if self._sums is None else self._sums + sums
        self._seen.append((loss, inputs["source"], inputs["row"]))

    # a step

    def on_step_begin(self, args: Any, state: Any, control: Any, **more: Any) -> None:
        """Take the step's weights; where a source's gate needs all micro-batches, look at them first."""
        self._sums, self._seen, self._gates = None, [], None
        batch = self.batches[0]
        self.weights = batch.weights
        if self.settings.apply == "loss":
            self.weights = self.mixture.weights_for(batch.step)
            self._row_weights = torch.from_numpy(self._of_rows()).to(self.trainer.args.device, torch.float32)
        if self.settings.clip == "source" and self.settings.specialists and len(self.batches) > 1:
            self._gates = self._first_pass()

    def _of_rows(self) -> Array:
        """Return [k], what a row of each source counts: w_i B / n_i."""
        batch = self.batches[0]
        assert batch.counts is not None
        rows = batch.counts if self.settings.counts == "batch" else batch.weights * batch.counts.sum()
        return np.divide(self.weights * batch.counts.sum(), rows, out=np.zeros(self.mixture.k), where=rows > 0)

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
        """Add up what the ranks saw, and look at it before the model changes."""
        assert self._sums is not None
        if world_size() > 1:
            torch.distributed.all_reduce(self._sums)
        sums = self._sums.cpu().double().numpy()
        lost = not np.isfinite(sums[1]).all()
        spoilt = lost or not finite_gradients(self.trainer)
        for window in (self._since, self._logged):
            if spoilt:
                window.skipped += 1
            else:
                window.add(sums, self.batches[0].weights, self.weights)
        if not spoilt:
            return
        what = f"the loss of {self._spoilt()} is" if lost else "the loss of every pair is finite, but the gradient is"
        where = f"step {self.batches[0].step}: {what} not finite"
        if self.settings.non_finite == "stop":
            raise InputError(
                f"{where}; the model is as it was before the step: lower the learning rate, look at the pair, or give "
                "non_finite='skip' to leave such steps out"
            )
        logger.warning("%s; the step is skipped", where)
        if getattr(self.trainer.accelerator, "scaler", None) is None:  # a scaler skips it itself
            leave_out(self.trainer.optimizer)

    def _spoilt(self) -> str:
        """Return the name of a pair whose loss is not finite; of all ranks' the same one."""
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

    def on_step_end(self, args: Any, state: Any, control: Any, **more: Any) -> None:
        """Tell the Mixture, when it is time."""
        super().on_step_end(args, state, control, **more)
        step = self.batches[0].step
        if (step + 1) % self.settings.observe_every == 0 and self._since.steps:
            self._tell(step)

    def _tell(self, step: int) -> None:
        since, read = self._since, self.mixture.strategy.needs | self.mixture.strategy.uses
        found = {"counts": since.rows, "planned": since.planned / since.steps, "loss": since.mean("loss")}
        if self.settings.specialists:
            found["excess_loss"] = since.mean("excess")
        if self.settings.held_out and "eval_loss" in read:
            found["eval_loss"] = self._held_out
        assert self.loader is not None
        observation = Observation(step, self.loader.plan.batch_size, **found)
        self.mixture.observe(observation, None if self.mixture.log is None else self.loader.ledger())
        self._alarms += "alarm" in self.mixture.strategy.remarks(self.mixture.state)
        self.observation = observation
        since.clear()

    def on_evaluate(self, args: Any, state: Any, control: Any, metrics: Any = None, **more: Any) -> None:
        """Keep the held-out losses of data sets that are named after sources."""
        for i, name in enumerate(self.mixture.sources):
            if (metrics or {}).get(f"eval_{name}_loss") is not None:
                self._held_out[i] = float(metrics[f"eval_{name}_loss"])

    # the log and the checkpoint

    def to_log(self) -> dict[str, float]:
        """Return numbers for the trackers, of the steps since the last line."""
        logged, names = self._logged, self.mixture.sources
        if not logged.steps:
            lines = {}
        else:
            found = {"loss": logged.mean("loss"), "accuracy": logged.mean("right"), "margin": logged.mean("margin")}
            if self.settings.specialists:
                found |= {"excess": logged.mean("excess"), "gate": logged.mean("gate")}
            assert self.loader is not None
            found |= {"weight": self.weights, "epochs": np.array([line.epochs for line in self.loader.ledger().lines])}
            lines = {
                f"mixture/{what}/{name}": float(value)
                for what, values in found.items()
                for name, value in zip(names, values, strict=True)
                if np.isfinite(value)
            }
            lines |= {"mixture/entropy": entropy(self.weights), "mixture/alarms": float(self._alarms)}
        if logged.skipped:
            lines["mixture/skipped"] = float(logged.skipped)
        logged.clear()
        self._alarms = 0
        return lines

    def state(self) -> dict[str, Any]:
        """Return what `trainer_state.json` keeps: JSON-able."""
        saved = super().state()
        if self.loader is not None:
            saved["attributes"] |= {
                "mixture": self.mixture.state_dict() if self.settings.apply == "loss" else None,
                "world_size": self.trainer.args.world_size,
                "settings": self.settings.to_json(),
                "since": self._since.state_dict(),
                "logged": self._logged.state_dict(),
                "alarms": self._alarms,
                "held_out": [None if np.isnan(v) else v for v in self._held_out.tolist()],
                "observation": None if self.observation is None else self.observation.to_json(),
            }
        return saved

    def on_train_begin(self, args: Any, state: Any, control: Any, **more: Any) -> None:
        """Take the state of the stream, the Mixture and the sums out of the checkpoint, if there is one."""
        if not state.global_step:
            self._check_log()
            super().on_train_begin(args, state, control, **more)
            return
        saved = self.saved(state)
        if not isinstance(saved.get("settings"), Mapping):
            raise InputError("the checkpoint should be of a PreferenceTrainer, found none of its numbers; use another")
        for name, now in self.settings.to_json().items():
            if saved["settings"].get(name) != now:
                raise InputError(
                    f"{name} should be the checkpoint's ({saved['settings'].get(name)!r}), found {now!r}; use the same"
                )
        super().on_train_begin(args, state, control, **more)
        if self.settings.apply == "loss":
            self.mixture.load_state_dict(saved["mixture"])
        self._since.load_state_dict(saved["since"])
        self._logged.load_state_dict(saved["logged"])
        self._alarms, seen = int(saved["alarms"]), saved["observation"]
        self._held_out = np.array([np.nan if v is None else v for v in saved["held_out"]])
        self.observation = None if seen is None else Observation.from_json(seen)

    def _check_log(self) -> None:
        """Raise InputError before the first step if the log is another run's."""
        log = self.mixture.log
        if log is not None and not self.mixture._own_log and log.exists() and log.stat().st_size:
            raise InputError(f"{log} holds the decisions of another run; resume from its checkpoint, or choose another")


def pair_inputs(batch: Any) -> dict[str, Tensor]:
    """Return the tensors of a Batch of pairs, with the source and the row of each."""
    return {**batch.inputs, "source": batch.source, "row": batch.row}
