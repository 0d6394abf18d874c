"""Training a language model on a mixture: a small loop that can be stopped anywhere."""

from __future__ import annotations

import json
import math
import os
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from mixwright.errors import InputError
from mixwright.files import explain_write_error, file_fingerprint, fingerprint, write_json
from mixwright.mixture import Mixture
from mixwright.strategy import Strategy
from mixwright.text.tokenizer import Tokenizer
from mixwright.text.tokens import TokenStore
from mixwright.training.batches import Batch, Batches
from mixwright.training.checkpoint import load_checkpoint, read_position, save_checkpoint
from mixwright.training.model import build_model, no_bars, torch, training_flops
from mixwright.training.observing import Measure, Observer
from mixwright.training.settings import TrainingSettings, learning_rate_at

Progress = Callable[[str, int, int, str], None]
Evaluate = Callable[[Any], Mapping[str, float]]

_BETAS = (0.9, 0.95)
_CLIP = 1.0
_DECISIONS = "decisions.jsonl"


class DivergedError(InputError):
    """A training whose numbers stop being finite: the learning rate is too high."""


@dataclass(frozen=True)
class TrainingResult:
    """
    A finished training.

    Attributes
    ----------
    folder
        Holds `model/` (transformers' own format), `metrics.jsonl` (a line per step) and `result.json`.
    steps, tokens, seconds, flops
        Of this training; seconds of work, pauses between a stop and a resume left out.
    curve
        Per evaluation {"step", "tokens", "train_loss": mean nats per token since the last one, "loss": what `evaluate`
        returned}.
    fingerprint
        Names all that the training was made from.
    weights
        {source: share of rows}, those of the last step.
    ledger
        What was asked of each source and what it gave (`Ledger.to_json`).
    """

    folder: Path
    steps: int
    tokens: int
    seconds: float
    flops: float
    curve: list[dict[str, Any]]
    fingerprint: str
    weights: dict[str, float] = field(default_factory=dict)
    ledger: dict[str, Any] = field(default_factory=dict)

    @property
    def model_folder(self) -> Path:
        """Return the folder that {"path": ...} of `build_model` reads."""
        return self.folder / "model"

    @classmethod
    def read(cls, folder: Path | str) -> TrainingResult:
        """Read the result of a finished training; InputError if there is none."""
        folder = Path(folder)
        try:
            values = json.loads((folder / "result.json").read_text(encoding="utf-8"))
            return cls(folder=folder, **values)
        except (OSError, ValueError, TypeError):
            raise InputError(f"{folder}: there should be a finished training (result.json), found none") from None


def train(
    spec: Mapping[str, Any],
    stores: Mapping[str, TokenStore],
    weights: Sequence[float] | NDArray[np.float64] | Strategy[Any],
    settings: TrainingSettings,
    folder: Path | str,
    tokenizer: Tokenizer,
    progress: Progress | None = None,
    evaluate: Evaluate | None = None,
    *,
    prior: str | Sequence[float] = "uniform",
    measures: Mapping[str, Measure] | None = None,
) -> TrainingResult:
    """
    Train a language model on a mixture of token stores, or return the result if `folder` already holds it.

    Stopped anywhere, kill -9 included, and called again with the same arguments, it goes on from the last checkpoint
    and ends, on the same machine's CPU and with as many threads, with bitwise the same model. Called with other
    arguments it starts anew.

    Parameters
    ----------
    spec
        As for `build_model`.
    stores
        The sources; those with weight 0 are not read.
    weights
        [k], shares of rows in the order of `stores`; or a strategy, which is told the training loss of each source
        every `settings.observe_every` steps. Its decisions are in `decisions.jsonl`.
    settings, folder, tokenizer
        How; where to; what the stores were made with.
    progress
        Called as progress("train", steps done, steps in all, note) after each step.
    evaluate
        Model -> {name: loss}, called every `settings.evaluate_every` steps and at the end. An attribute
        `fingerprint` of it, if there is one, is part of what the training is made from.
    prior
        Where a strategy starts: [k], "uniform", or "natural" (in proportion to rows).
    measures
        {field of Observation: model -> array}: what a strategy is told besides, such as "eval_loss".

    Raises
    ------
    InputError
        If the arguments do not fit, a source is shorter than a context, the loss stops being finite, or the folder
        cannot be written. On KeyboardInterrupt a checkpoint is written first.
    """
    folder = Path(folder)
    for name, store in stores.items():
        if store.tokenizer_fingerprint != tokenizer.fingerprint:
            raise InputError(f"the tokens of {name!r} were made with another tokenizer; write them again")
    used, asked = dict(stores), weights
    if not isinstance(weights, Strategy):
        values = np.asarray(weights, np.float64)
        if values.shape != (len(stores),):
            raise InputError(f"there should be one weight per source ({len(stores)}), found shape {values.shape}")
        used = {name: store for (name, store), w in zip(stores.items(), values.tolist(), strict=True) if w != 0}
        asked = values[values != 0]
    run = _Run(spec, used, asked, settings, folder, tokenizer, progress, evaluate, prior, dict(measures or {}))
    return _finished(folder, run.fingerprint) or run.run()


def _fingerprint(run: _Run) -> str:
    """Name what a training is made from."""
    how = {key: value for key, value in asdict(run.settings).items() if key != "checkpoint_seconds"}
    model = {**run.spec, "path": file_fingerprint(run.spec["path"])} if "path" in run.spec else dict(run.spec)
    sources = [[name, store.fingerprint] for name, store in run.stores.items()]
    if isinstance(run.weights, Strategy):
        weights: Any = [repr(run.weights), run.prior if isinstance(run.prior, str) else list(run.prior)]
        weights.append(sorted(run.measures))
    else:
        weights = np.asarray(run.weights).tolist()
    watch = getattr(run.evaluate, "fingerprint", None) if run.evaluate else None
    return fingerprint([model, how, sources, weights, run.tokenizer.fingerprint, watch])


def _finished(folder: Path, name: str) -> TrainingResult | None:
    try:
        result = TrainingResult.read(folder)
    except InputError:
        return None
    return result if result.fingerprint == name and result.model_folder.is_dir() else None


@dataclass
class _Run:
    """One training in progress: what is fixed, then what a checkpoint holds."""

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

    step: int = 0
    seconds: float = 0.0
    curve: list[dict[str, Any]] = field(default_factory=list)
    loss_sum: float = 0.0  # over the steps since the last evaluation

    metrics: IO[bytes] = field(init=False)
    fingerprint: str = field(init=False)
    batches: Batches = field(init=False)
    observer: Observer | None = field(init=False, default=None)
    model: Any = field(init=False)
    optimizer: Any = field(init=False)
    before: float = field(init=False, default=0.0)  # seconds of earlier calls
    started: float = field(init=False, default=0.0)

    def __post_init__(self) -> None:
        """Make the plan, and the mixture where a strategy gives the weights; check both."""
        weights, settings = self.weights, self.settings
        if isinstance(weights, Strategy):
            rows = {name: store.rows(settings.context) for name, store in self.stores.items()}
            weights = Mixture(rows, weights, settings.lag, self.prior, self.folder / _DECISIONS)
            self.observer = Observer(weights, settings.observe_every, settings.batch_size, self.measures)
        self.batches = Batches(self.stores, weights, settings)
        self.fingerprint = _fingerprint(self)

    def run(self) -> TrainingResult:
        settings = self.settings
        self.model = build_model(self.spec, self.tokenizer, settings.context, settings.seed)
        self.optimizer = _optimizer(self.model, settings.weight_decay)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._resume()
            with open(self.folder / "metrics.jsonl", "ab") as self.metrics, torch.random.fork_rng():
                self._loop()
            return self._finish()
        except OSError as error:
            raise explain_write_error(self.folder, error) from error

    def _resume(self) -> None:
        """Take up the checkpoint of this training, or remove what is there of another."""
        position = read_position(self._checkpoint)
        metrics = self.folder / "metrics.jsonl"
        length = metrics.stat().st_size if metrics.exists() else 0
        (self.folder / "result.json").unlink(missing_ok=True)
        shutil.rmtree(self.folder / "model", ignore_errors=True)
        if position is None or position["fingerprint"] != self.fingerprint or length < position["metrics"]:
            self._checkpoint.unlink(missing_ok=True)
            metrics.unlink(missing_ok=True)
            (self.folder / _DECISIONS).unlink(missing_ok=True)
            return
        load_checkpoint(self._checkpoint, self.model, self.optimizer)
        self.batches.load_state_dict(position["plan"])
        if self.observer:
            self.observer.load_state_dict(position["observer"])
        self.step, self.seconds = position["step"], position["seconds"]
        self.curve, self.loss_sum = position["curve"], position["loss_sum"]
        os.truncate(metrics, position["metrics"])

    @property
    def _checkpoint(self) -> Path:
        return self.folder / "checkpoint.safetensors"

    def _loop(self) -> None:
        """Step, evaluate and write checkpoints until the last step is done."""
        self.before, self.started = self.seconds, time.monotonic()
        saved, whole = self.started, True
        self.model.train()
        try:
            while True:
                if self._evaluation_due():
                    self._watch()
                if self.step == self.settings.steps:
                    break
                batch = self.batches.next()
                losses, norm, rate = self._gradient(batch)
                whole = False
                self._update(float(losses.mean()), norm, rate)
                if self.observer:
                    self.observer.step(self.step - 1, batch, losses, self.model, self.batches.ledger)
                    self.model.train()
                whole = True
                if time.monotonic() - saved >= self.settings.checkpoint_seconds:
                    self._save()
                    saved = time.monotonic()
                if self.progress:
                    self.progress("train", self.step, self.settings.steps, f"loss {losses.mean():.3f}")
        except KeyboardInterrupt:
            if whole:
                self._save()
            raise
        self._clock()

    def _gradient(self, batch: Batch) -> tuple[NDArray[np.float64], float, float]:
        """Compute the gradient of a step; return the rows' losses (nats per token), gradient norm and learning rate."""
        settings, device = self.settings, self.model.device
        torch.manual_seed(settings.seed * 1_000_003 + self.step)  # for dropout: a function of seed and step
        tokens = torch.from_numpy(batch.tokens).to(device)
        with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
            logits = self.model(input_ids=tokens[:, :-1], use_cache=False).logits
        answers = tokens[:, 1:].flatten()
        losses = torch.nn.functional.cross_entropy(logits.float().flatten(0, 1), answers, reduction="none")
        loss = losses.mean()
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), _CLIP)
        if not (torch.isfinite(loss) and torch.isfinite(norm)):
            raise self._diverged(f"loss {loss.item():.4g} and gradient norm {norm.item():.4g}")
        rows = losses.detach().view(len(batch.source), -1).double().mean(1)
        return rows.cpu().numpy(), norm.item(), learning_rate_at(self.step, settings)

    def _update(self, loss: float, norm: float, rate: float) -> None:
        """Apply the gradient and write down the step."""
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.step()
        self.step += 1
        self.loss_sum += loss
        line = {"step": self.step, "loss": loss, "gradient_norm": norm, "learning_rate": rate}
        self.metrics.write(json.dumps(line).encode() + b"\n")

    def _evaluation_due(self) -> bool:
        every, done = self.settings.evaluate_every, self.curve[-1]["step"] if self.curve else 0
        return self.step > done and (self.step == self.settings.steps or bool(every and self.step % every == 0))

    def _watch(self) -> None:
        """Add a point to the curve."""
        if self.step == self.settings.steps and not self._is_finite():  # no later loss would show it
            raise self._diverged("a model whose answers are not")
        found = dict(self.evaluate(self.model)) if self.evaluate else {}
        if not all(math.isfinite(loss) for loss in found.values()):
            raise self._diverged(f"evaluation loss {', '.join(f'{loss:.4g}' for loss in found.values())}")
        self.model.train()
        mean = self.loss_sum / (self.step - (self.curve[-1]["step"] if self.curve else 0))
        point = {"step": self.step, "tokens": self._tokens, "train_loss": mean, "loss": found}
        self.curve, self.loss_sum = [*self.curve, point], 0.0

    def _is_finite(self) -> bool:
        """Say whether the model gives finite numbers."""
        self.model.eval()
        with torch.inference_mode():
            tokens = torch.from_numpy(self.batches.probe()).to(self.model.device)
            return bool(torch.isfinite(self.model(input_ids=tokens, use_cache=False).logits).all())

    def _diverged(self, found: str) -> DivergedError:
        advice = "lower the learning rate"
        return DivergedError(f"the training should stay finite, found {found} at step {self.step}; {advice}")

    def _save(self) -> None:
        self._clock()
        self.metrics.flush()
        os.fsync(self.metrics.fileno())
        written = {"metrics": os.fstat(self.metrics.fileno()).st_size, "fingerprint": self.fingerprint}
        state = {"step": self.step, "seconds": self.seconds, "curve": self.curve, "loss_sum": self.loss_sum}
        state |= {"plan": self.batches.state_dict(self.step)}
        state |= {"observer": self.observer.state_dict()} if self.observer else {}
        save_checkpoint(self._checkpoint, self.model, self.optimizer, {**state, **written})

    def _clock(self) -> None:
        self.seconds = self.before + time.monotonic() - self.started

    @property
    def _tokens(self) -> int:
        return self.step * self.settings.batch_size * self.settings.context

    def _finish(self) -> TrainingResult:
        """Write the model and then the result; the checkpoint goes last."""
        partial = self.folder / ".model.partial"
        shutil.rmtree(partial, ignore_errors=True)
        with no_bars():
            self.model.save_pretrained(partial)
        partial.rename(self.folder / "model")
        values = {"steps": self.step, "tokens": self._tokens, "seconds": self.seconds, "curve": self.curve}
        values |= {"flops": training_flops(self.model, self._tokens), "fingerprint": self.fingerprint}
        write_json(self.folder / "result.json", {**values, **self._given()})
        self._checkpoint.unlink(missing_ok=True)
        return TrainingResult.read(self.folder)

    def _given(self) -> dict[str, Any]:
        """Return the weights of the last step and the account of the sources."""
        last = self.observer.mixture.weights_for(self.step - 1) if self.observer else np.asarray(self.weights)
        weights = dict(zip(self.stores, last.tolist(), strict=True))
        return {"weights": weights, "ledger": self.batches.ledger().to_json()}


def _optimizer(model: Any, weight_decay: float) -> Any:
    """Return AdamW that decays matrices only."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in parameters if p.ndim >= 2], "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW([g for g in groups if g["params"]], lr=0.0, betas=_BETAS, fused=True)
