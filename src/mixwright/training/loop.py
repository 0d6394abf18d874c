"""A training in progress: steps, observations, evaluations and checkpoints, until the last step is done."""

from __future__ import annotations

import json
import math
import os
import shutil
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from mixwright.checks import reading_state, state_numbers
from mixwright.constraints.limits import Constraints
from mixwright.errors import AlarmWarning, InputError
from mixwright.files import explain_write_error, fingerprint, folder_fingerprint, write_json
from mixwright.mixture import Mixture
from mixwright.source_change import SourceChange
from mixwright.steering.control import Control, follow
from mixwright.steering.known import RECORD, read_record
from mixwright.steering.orders import CONTROL, Order
from mixwright.strategies.registry import check_named_before
from mixwright.strategy import Strategy, check_revisions, recorded
from mixwright.text.tokenizer import Tokenizer
from mixwright.text.tokens import TokenStore
from mixwright.training.average import WeightAverage
from mixwright.training.batches import Batches, TokenBatch
from mixwright.training.checkpoint import BEGIN_AGAIN, load_checkpoint, read_position, save_checkpoint
from mixwright.training.model import build_model, no_bars, torch, training_flops
from mixwright.training.others import Others, counts, planned_change, rows_of
from mixwright.training.ranks import Ranks, whole
from mixwright.training.reference import Reference, ReferenceLosses, check_reference
from mixwright.training.result import DivergedError, TrainingResult
from mixwright.training.settings import TrainingSettings, described, learning_rate_at
from mixwright.training.step import Asked, Gradient, StepLosses, Stepper, low_precision, no_losses
from mixwright.watching.row_weights import RowWeights, held_within, sampling_shares
from mixwright.watching.statistics import FIELDS, SampledStatistics, followed, level_for
from mixwright.watching.trackers.tracked import NOBODY, Tracked
from mixwright.watching.watcher import ROWS, Measure, Watcher, excess_means, row_means

Array = NDArray[np.float64]
Progress = Callable[[str, int, int, str], None]
Evaluate = Callable[[Any], Mapping[str, float]]

CHECKPOINT = "checkpoints/last.safetensors"
_DECISIONS = "decisions.jsonl"
_REFERENCE = "reference/losses"
_MOST_SKIPPED = 20  # steps in a row; a training that skips more is going nowhere


@dataclass
class LanguageModelLoop:
    """One training: what is fixed, then what a checkpoint holds."""

    spec: Mapping[str, Any]
    stores: Mapping[str, TokenStore]
    weights: Any
    settings: TrainingSettings
    folder: Path
    tokenizer: Tokenizer
    progress: Progress | None
    evaluate: Evaluate | None
    prior: str | Sequence[float]
    measures: Mapping[str, Measure]
    constraints: Constraints | None = None
    ranks: Ranks = field(default_factory=Ranks)
    reference: Reference | None = None
    sampling: Any = None
    others: Others | None = None
    track: Tracked = NOBODY

    step: int = 0
    regrouped: int = 0  # changes of the sources so far
    seconds: float = 0.0
    curve: list[dict[str, Any]] = field(default_factory=list)
    skipped: int = 0
    skipped_in_a_row: int = 0
    losses: StepLosses = field(init=False)  # of the steps since the last evaluation

    metrics: IO[bytes] = field(init=False)
    watcher: Watcher | None = field(init=False, default=None)
    control: Control | None = field(init=False, default=None)  # of the rank that reads it
    next_change: tuple[int, SourceChange] | None = field(init=False, default=None)
    row_weights: RowWeights | None = field(init=False, default=None)
    batches: Batches = field(init=False)
    model: Any = field(init=False)
    average: WeightAverage | None = field(init=False, default=None)
    stepper: Stepper = field(init=False)
    scored: ReferenceLosses | None = field(init=False, default=None)
    before: float = field(init=False, default=0.0)  # seconds of earlier calls
    started: float = field(init=False, default=0.0)

    def __post_init__(self) -> None:
        """Make the plan, and the mixture where a strategy gives the weights; check both."""
        weights, settings, ranks = self.weights, self.settings, self.ranks
        if isinstance(weights, Strategy):
            rows = {name: store.rows(settings.context) for name, store in self.stores.items()}
            log = self.folder / _DECISIONS if ranks.main else None
            drawn = sampling_shares(self.sampling, rows, weights, self.prior)
            limits = self.constraints if drawn is None else held_within(self.constraints, rows, drawn)
            mixture = weights = Mixture(rows, weights, settings.lag, self.prior, log, limits)
            if drawn is not None:
                self.row_weights, weights = RowWeights(mixture, drawn, settings.steps), drawn
            self.watcher = self._watcher(mixture)
        pairs = self.watcher is not None and self.watcher.statistics is not None
        self.batches = Batches(self.stores, weights, settings, ranks.rank, ranks.size, pairs)
        self.losses = no_losses(len(self.stores))

    def _watcher(self, mixture: Mixture) -> Watcher:
        settings, read = self.settings, mixture.strategy.needs | mixture.strategy.uses
        level = level_for(FIELDS if settings.statistics == "always" else read)
        statistics = None
        every, rows = settings.observe_every, settings.batch_size
        if level is not None:
            options = {"level": level} | ({"optimizer": True} if settings.statistics_metric == "adam" else {})
            statistics = SampledStatistics(mixture.k, every, settings.statistics_steps, options)
        shared = {name: _of_main(self.ranks, measure) for name, measure in self.measures.items()}
        names, fields = ((*ROWS, "excess"), excess_means) if self.reference else (ROWS, row_means)
        watcher = Watcher(mixture, every, rows, names, fields, measures=shared, statistics=statistics)
        mixture.listener = self.track.decision
        mixture.check(watcher.given, apply="loss" if self.row_weights else "sampling", draw="carry")
        return watcher

    @cached_property
    def made_from(self) -> dict[str, Any]:
        """Return what decides the training, part by part, as JSON-able values."""
        settings = {key: value for key, value in described(self.settings).items() if key != "checkpoint_seconds"}
        path = self.spec.get("path")
        weights: Any = None
        if not isinstance(self.weights, Strategy):
            weights = np.asarray(self.weights).tolist()
        strategy: Any = None
        if weights is None:
            prior = self.prior if isinstance(self.prior, str) else list(self.prior)
            limits = None if self.constraints is None else repr(self.constraints)
            strategy = [repr(self.weights), prior, sorted(self.measures), limits]
            if self.row_weights:
                strategy.append({"sampling": self.row_weights.sampling.tolist()})
        excess = {} if self.reference is None else {"reference": [self.reference.fingerprint, self.reference.clip]}
        return {
            "model": dict(self.spec) if path is None else {**self.spec, "path": folder_fingerprint(path)},
            "settings": settings,
            "sources": [[name, store.fingerprint] for name, store in self.stores.items()],
            "weights": weights,
            "strategy": strategy,
            "tokenizer": self.tokenizer.fingerprint,
            "evaluation": getattr(self.evaluate, "fingerprint", None) if self.evaluate else None,
            **excess,
            **recorded(self._followed),
        }

    @property
    def _followed(self) -> dict[str, int]:
        settings = self.settings
        if not isinstance(self.weights, Strategy):
            return {}
        return followed(self.weights, settings.statistics_metric, settings.statistics == "always")

    @property
    def fingerprint(self) -> str:
        """Name what the training is made from."""
        return fingerprint(self.made_from)

    def run(self, anew: bool) -> TrainingResult:
        """Train, or resume; `anew`: whether another training in the folder is removed."""
        settings = self.settings
        self.model = build_model(self.spec, self.tokenizer, settings.context, settings.seed)
        flops = training_flops(self.model, settings.steps * settings.batch_size * settings.context)
        if settings.ema is not None:  # before ranks hold the model, and hooks watch it
            self.average = WeightAverage(self.model, settings.ema * settings.steps, self.ranks)
        outer, statistics = self.ranks.wrap(self.model), self.watcher.statistics if self.watcher else None
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self.scored = self._reference_losses()
            self.stepper = Stepper(outer, settings, self.ranks, len(self.stores), statistics, self.scored)
            self._resume(anew)
            self._steer()
            path: Path | str = self.folder / "metrics.jsonl" if self.ranks.main else os.devnull
            with open(path, "ab") as self.metrics, torch.random.fork_rng():
                self.track.begin(self.step)
                self._loop()
            return self._finish(flops)
        except OSError as error:
            raise explain_write_error(self.folder, error) from error
        finally:
            if self.scored:
                self.scored.close()

    def _reference_losses(self) -> ReferenceLosses | None:
        if self.reference is None:
            return None
        folder, low = self.folder / _REFERENCE, low_precision(self.settings)
        check_reference(self.reference.path, self.tokenizer, self.settings.context, self.spec)
        return ReferenceLosses(
            self.reference, self.stores, self.tokenizer, self.settings.context, folder, low, self.ranks.rank
        )

    def _resume(self, anew: bool) -> None:
        """Resume from the checkpoint of this training, or remove what another one left."""
        position = self.ranks.shared(self._position(anew) if self.ranks.main else None)
        if position is None:
            return
        if position["ranks"] != self.ranks.size:
            raise InputError(
                f"{self.folder} holds a checkpoint of {position['ranks']} ranks, found {self.ranks.size} here; resume "
                f"with {position['ranks']}, since each rank reads its own rows"
            )
        load_checkpoint(self._checkpoint, self.model, self.stepper.optimizer, self._averaged)
        with reading_state(self._checkpoint, BEGIN_AGAIN):
            with warnings.catch_warnings():  # what begins again was said when it did
                warnings.simplefilter("ignore")
                for change in position["changes"]:
                    self._regroup(SourceChange.from_json(change), position["plan"])
            self.batches.load_state_dict(position["plan"])
            if self.watcher:
                watched = position["observer"]
                self.watcher.mixture.load_state_dict(watched["mixture"])
                # statistics since the last observation are of a rank's own rows
                self.watcher.load_state_dict({**watched, "statistics": watched["statistics"][self.ranks.rank]})
            like = no_losses(len(self.stores))
            losses = zip(position["losses"], like, strict=True)
            self.losses = StepLosses(*(state_numbers(values, *np.shape(zero)) for values, zero in losses))
        for name in ("step", "seconds", "curve", "skipped", "skipped_in_a_row"):
            setattr(self, name, position[name])
        if self.ranks.main:
            # lines after the checkpoint are of steps that come again
            os.truncate(self.folder / "metrics.jsonl", position["metrics"])

    def _steer(self) -> None:
        """Let every rank follow what was ordered by hand."""
        if self.watcher is None:
            if self.ranks.main and (self.folder / CONTROL).exists():
                said = "is ignored: weights that are numbers cannot be changed; train with Static(weights)"
                warnings.warn(f"{self.folder / CONTROL} {said}", AlarmWarning, stacklevel=2)
            return
        mixture = self.watcher.mixture
        if self.control is None and self.ranks.main:
            self.control = Control(self.folder, mixture, regroup=self)
            self.control.regrouped(mixture, self.regrouped)
        changes = self.ranks.shared(self.control.take(self.step) if self.control else None)
        self.next_change = follow(mixture, changes, self.regrouped)

    def planned_change(self, order: Order, first: int) -> tuple[int, SourceChange]:
        """Return the first step of a change of the sources, at `first` or later, and the change; InputError if none."""
        if self.watcher is None or self.others is None or self.row_weights or self.reference:
            raise InputError(
                "the sources can change where rows are drawn by the weights and no reference scores them (without "
                "sampling and reference); start another training"
            )
        every = self.settings.observe_every  # right after an observation: then nothing waits to be observed
        begins, context = -(-first // every) * every, self.settings.context
        mixture, sizes = self.watcher.mixture, {name: store.rows(context) for name, store in self.stores.items()}
        change = planned_change(order, mixture, self.others, sizes, self.prior, context)
        change.check_not_split(self.batches.plan.split)
        return begins, change

    def check_fed(self, strategy: Strategy[Any]) -> None:
        """Raise InputError if there is nothing to measure for a strategy that is set by hand."""
        if self.others is not None:
            self.others.check_fed(strategy, tuple(self.stores))

    def _regroup(self, change: SourceChange, state: Mapping[str, Any] | None = None) -> None:
        """Go on with other sources; `state`: of the plan at a later step, if the training is resumed."""
        assert self.others is not None
        assert self.watcher is not None
        context, before = self.settings.context, dict(self.stores)
        rows = rows_of(self.others, change, context)
        sizes = counts(change, {name: store.rows(context) for name, store in before.items()}, rows)
        mixture = self.watcher.mixture.with_sources(change, sizes)
        stores = {name: self.others.store(name) if name in rows else before[name] for name in change.names}
        self.batches = self.batches.with_sources(change, stores, mixture, rows, state)
        self.stores, self.losses = self.batches.stores, no_losses(mixture.k)
        self.measures, evaluate = self.others.measured(change.names)
        self.evaluate = self.evaluate and evaluate
        self.watcher = self._watcher(mixture)
        self.stepper.regroup(mixture.k, self.watcher.statistics)
        self.regrouped += 1
        if self.control is not None:
            self.control.regrouped(mixture, self.regrouped)

    def _position(self, anew: bool) -> dict[str, Any] | None:
        """Return where the checkpoint of this training is; None, with an empty folder, if there is none."""
        position, metrics = read_position(self._checkpoint), self.folder / "metrics.jsonl"
        length = metrics.stat().st_size if metrics.exists() else 0
        name = self.fingerprint
        if position is not None and position["fingerprint"] != name and not anew:
            now = json.loads(json.dumps(self.made_from))
            then = position.get("made_from", {})
            differ = [key for key in {**now, **then} if then.get(key) != now.get(key)]
            if differ == ["revisions"]:
                check_revisions(then.get("revisions", {}), self._followed, f"the training in {self.folder}")
            if differ == ["strategy"] and then["strategy"] and isinstance(self.weights, Strategy):
                check_named_before(str(then["strategy"][0]), self.weights, f"the training in {self.folder}")
            raise InputError(
                f"{self.folder} holds a checkpoint that was made with other {' and '.join(differ)}; put back what was "
                "there, or choose another folder"
            )
        finished = None if anew else self._finished_print()
        if finished not in (None, name):
            if finished == fingerprint({key: part for key, part in self.made_from.items() if key != "revisions"}):
                check_revisions({}, self._followed, f"the training in {self.folder}")
            raise InputError(
                f"{self.folder} holds a finished training with other data or settings; choose another folder, or "
                "restore the former data and settings"
            )
        # the result first: without it the folder counts as unfinished, whatever comes next
        (self.folder / "result.json").unlink(missing_ok=True)
        shutil.rmtree(self.folder / "model", ignore_errors=True)
        # a metrics file that is too short belongs to something else
        if position is not None and position["fingerprint"] == name and length >= position["metrics"]:
            changes = [line["change"] for line in read_record(self.folder) if "change" in line]
            return {**position, "changes": changes[: position.get("regrouped", 0)]}
        if position is not None and position["fingerprint"] != name:
            (self.folder / RECORD).unlink(missing_ok=True)
        self._checkpoint.unlink(missing_ok=True)
        metrics.unlink(missing_ok=True)
        (self.folder / _DECISIONS).unlink(missing_ok=True)
        return None

    def _finished_print(self) -> str | None:
        """Return what names the finished training in the folder, whose model may be gone; None if there is none."""
        try:
            return TrainingResult.read(self.folder).fingerprint
        except InputError:  # unfinished, or damaged: nothing is lost by training again
            return None

    @property
    def _checkpoint(self) -> Path:
        return self.folder / CHECKPOINT

    def _loop(self) -> None:
        """Step, evaluate and write checkpoints until the last step is done."""
        self.before, self.started = self.seconds, time.monotonic()
        saved, whole_step = self.started, True
        self.model.train()
        try:
            while True:
                if self._evaluation_due():
                    self._watch()
                if self.step == self.settings.steps:
                    break
                while self.next_change and self.next_change[0] == self.step:
                    self._regroup(self.next_change[1])
                    self._steer()
                batch = self.batches.next()
                if self.row_weights:
                    batch = batch._replace(factors=self.row_weights.at(self.step))
                found = self.stepper.gradient(self.step, batch, self._request(saved))
                # from here the model and the counters may disagree: an interruption must not save them
                whole_step = False
                self._take(found, batch)
                if self.watcher:
                    excess = [found.excess] if self.scored else []
                    self.watcher.add(np.array([*found.losses[:2], *excess]), batch.weights)
                    self.watcher.observe(self.step - 1, self.model, self.batches.ledger)
                    self.model.train()
                if Asked.STEER in found.asked:
                    self._steer()
                whole_step = True
                if self.progress and self.ranks.main:  # before anything is kept: it ends what another process took over
                    mean = found.losses.mean
                    note = "no finite loss" if mean is None else f"loss {mean:.3f}"
                    self.progress("train", self.step, self.settings.steps, note)
                if Asked.SAVE in found.asked:
                    self._save()
                    saved = time.monotonic()
        except KeyboardInterrupt:
            # saving is a meeting of all ranks, and the others may be in a step
            if whole_step and self.ranks.size == 1:
                self._save()
            raise
        self._clock()

    def _request(self, saved: float) -> Asked:
        """Return what this rank asks for after the next step; `saved`: when the last checkpoint was written."""
        steer = Asked.STEER if self.control is not None and self.control.changed() else Asked.NOTHING
        due = time.monotonic() - saved >= self.settings.checkpoint_seconds
        return steer | Asked.SAVE if due else steer

    def _take(self, found: Gradient, batch: TokenBatch) -> None:
        """Apply the gradient, or skip it, and write down the step."""
        rate, names, factors = learning_rate_at(self.step, self.settings), tuple(self.stores), batch.factors
        line: dict[str, Any] = {"step": self.step + 1, "loss": found.losses.mean, "gradient_norm": found.norm}
        line |= {"learning_rate": rate, "source_loss": found.losses.by_source(names)}
        line |= {"weights": self._by_name(self._weights(batch)), "shares": self._by_name(found.losses.shares)}
        if factors is not None and found.losses.counts.any():  # what is minimised; "loss" is the mean of the rows
            line["objective"] = float(factors @ found.losses.sums / found.losses.counts.sum())
        if found.finite:
            self.stepper.update(rate)
            self.skipped_in_a_row = 0
            if self.average:
                self.average.update(self.model)
        else:
            self._check_skipped(found)
            line |= {"gradient_norm": None, "skipped": self._sources_of(found)}
        self.step += 1
        self.losses = self.losses.plus(found.losses)
        self.metrics.write(json.dumps(line, allow_nan=False).encode() + b"\n")
        self.metrics.flush()  # who looks into the file sees how far the training is
        self.track.line(line)

    def _weights(self, batch: TokenBatch) -> Array:
        """Return the weights [k] of the step at work: those that drew its rows, or that act on their losses."""
        return self.row_weights.mixture.weights_for(self.step) if self.row_weights else batch.weights

    def _check_skipped(self, found: Gradient) -> None:
        """Count a step that is skipped; DivergedError if it should not be, or too many were."""
        self.skipped, self.skipped_in_a_row = self.skipped + 1, self.skipped_in_a_row + 1
        loss = "nan or infinite" if found.losses.bad.any() else f"{found.losses.mean:.4g}"
        said = f"loss {loss} and gradient norm {found.norm:.4g} in rows of {', '.join(self._sources_of(found))}"
        if self.settings.non_finite == "stop":
            raise self._diverged(said)
        if self.skipped_in_a_row > _MOST_SKIPPED:
            raise self._diverged(f"{said}, after {_MOST_SKIPPED} skipped steps in a row,")

    def _sources_of(self, found: Gradient) -> list[str]:
        """Return the sources whose loss is not finite; all of the step, if every loss is finite."""
        bad = found.losses.bad if found.losses.bad.any() else found.losses.counts
        return [name for name, rows in zip(self.stores, bad, strict=True) if rows]

    def _evaluation_due(self) -> bool:
        every, done = self.settings.evaluate_every, self.curve[-1]["step"] if self.curve else 0
        return self.step > done and (self.step == self.settings.steps or bool(every and self.step % every == 0))

    def _watch(self) -> None:
        """Add a point to the curve."""
        if self.step == self.settings.steps and not self._is_finite():  # no later loss would show it
            raise self._diverged("a model with outputs that are not finite")
        found = self._evaluated(self._measured)
        point: dict[str, Any] = {"step": self.step, "tokens": self._tokens, "train_loss": self.losses.mean}
        point |= {"source_train_loss": self.losses.by_source(tuple(self.stores)), "loss": found}
        if self.average and self.step == self.settings.steps:
            point["last_weights_loss"] = self._evaluated(self.model)
        self.model.train()
        self.curve, self.losses = [*self.curve, point], no_losses(len(self.stores))
        self.track.measured(point)

    @property
    def _measured(self) -> Any:
        """Return the model that is evaluated and kept: that of the last step, or of averaged weights."""
        return self.average.model if self.average else self.model

    @property
    def _averaged(self) -> Any:
        return self.average.averaged if self.average else None

    def _evaluated(self, model: Any) -> dict[str, float]:
        found = dict(self.ranks.shared(self.evaluate(model))) if self.evaluate else {}
        if not all(math.isfinite(loss) for loss in found.values()):
            raise self._diverged(f"evaluation loss {', '.join(f'{loss:.4g}' for loss in found.values())}")
        return found

    def _is_finite(self) -> bool:
        model = self._measured.eval()
        with torch.no_grad():
            tokens = torch.from_numpy(self.batches.probe()).to(model.device)
            return bool(torch.isfinite(model(input_ids=tokens, use_cache=False).logits).all())

    def _diverged(self, found: str) -> DivergedError:
        advice = "lower the learning rate" + (
            ", or skip such steps (non_finite: skip)" if self.settings.non_finite == "stop" else ""
        )
        return DivergedError(f"the training should stay finite, found {found} at step {self.step}; {advice}")

    def _save(self) -> None:
        self._clock()
        self.metrics.flush()
        self.track.flush()
        if self.scored:
            self.scored.flush()
        if self.ranks.main:
            # the checkpoint names the length of this file, so it must be on disk first
            os.fsync(self.metrics.fileno())
        state: dict[str, Any] = {"fingerprint": self.fingerprint, "made_from": self.made_from}
        state |= {"metrics": os.fstat(self.metrics.fileno()).st_size, "ranks": self.ranks.size}
        for name in ("step", "seconds", "curve", "skipped", "skipped_in_a_row", "regrouped"):
            state[name] = getattr(self, name)
        state |= {"losses": [v.tolist() for v in self.losses], "plan": self.batches.state_dict(self.step)}
        if self.watcher:
            watched = {**self.watcher.state_dict(), "mixture": self.watcher.mixture.state_dict()}
            state["observer"] = {**watched, "statistics": self.ranks.gather(watched["statistics"])}
        save_checkpoint(self._checkpoint, self.model, self.stepper.optimizer, state, self.ranks.main, self._averaged)

    def _clock(self) -> None:
        self.seconds = self.before + time.monotonic() - self.started

    @property
    def _tokens(self) -> int:
        return self.step * self.settings.batch_size * self.settings.context

    def _finish(self, flops: float) -> TrainingResult:
        """Write the model and then the result; the checkpoint goes last."""
        cost = self._reference_cost()
        tensors = {name: whole(tensor) for name, tensor in self._measured.state_dict().items()}
        if self.ranks.main:
            partial = self.folder / ".model.partial"
            shutil.rmtree(partial, ignore_errors=True)
            model = self._measured
            if self.ranks.size > 1:  # of parts that ranks held: saved from a model of its own
                model = build_model(self.spec, self.tokenizer, self.settings.context, self.settings.seed)
                model.load_state_dict(tensors)
            with no_bars(), warnings.catch_warnings():
                warnings.filterwarnings("ignore", ".*save_embedding_layers")  # peft's word that it does what it should
                model.save_pretrained(partial)
            # a whole model or none: the name appears once it is complete
            partial.rename(self.folder / "model")
            values = {"steps": self.step, "tokens": self._tokens, "seconds": self.seconds, "curve": self.curve}
            values |= {"flops": flops, "fingerprint": self.fingerprint, "skipped": self.skipped, **cost}
            write_json(self.folder / "result.json", {**values, **self._given()})
            shutil.rmtree(self._checkpoint.parent, ignore_errors=True)
        self.ranks.wait()
        return TrainingResult.read(self.folder)

    def _reference_cost(self) -> dict[str, Any]:
        """Return what the reference's passes took on all ranks; rows that were kept before are part of it."""
        if self.scored is None:
            return {}
        tokens = int(self.ranks.sum(np.array([float(self.scored.tokens)]))[0])
        return {"reference_tokens": tokens, "reference_flops": self.scored.flops(tokens)}

    def _given(self) -> dict[str, Any]:
        """Return the weights of the last step, the account of the sources, and what should be said."""
        last = self.watcher.mixture.weights_for(self.step - 1) if self.watcher else np.asarray(self.weights)
        weights = self._by_name(last)
        mean = self.watcher.mixture.average if self.watcher else None
        average = {} if mean is None else {"average": self._by_name(mean)}
        drawn = {} if self.row_weights is None else {"sampling": self._by_name(self.row_weights.sampling)}
        notes = []
        if self.skipped:
            notes.append(f"{self.skipped} steps made no update, since a loss or the gradient was not finite")
        if self.watcher and self.watcher.statistics:
            notes += self.watcher.statistics.notes(tuple(self.stores))
        return {"weights": weights, **average, **drawn, "ledger": self.batches.ledger().to_json(), "notes": notes}

    def _by_name(self, values: Array) -> dict[str, float]:
        return dict(zip(self.stores, values.tolist(), strict=True))


def _of_main(ranks: Ranks, measure: Measure) -> Measure:
    """Return a measure that gives rank 0's numbers on every rank."""
    return lambda model: ranks.shared(measure(model))
