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
from mixwright.stream.static_plan import StaticPlan
from mixwright.text.tokenizer import Tokenizer
from mixwright.text.tokens import TokenStore
from mixwright.training.checkpoint import load_checkpoint, read_position, save_checkpoint
from mixwright.training.model import build_model, no_bars, torch, training_flops

Progress = Callable[[str, int, int, str], None]
Evaluate = Callable[[Any], Mapping[str, float]]

_BETAS = (0.9, 0.95)
_CLIP = 1.0
_FINAL_SHARE = 0.1


class DivergedError(InputError):
    """A training whose numbers stop being finite: the learning rate is too high."""


@dataclass(frozen=True, kw_only=True)
class TrainingSettings:
    """
    How to train.

    Parameters
    ----------
    steps, batch_size, context
        Optimiser steps, rows per step, tokens per row.
    learning_rate, warmup, weight_decay
        AdamW's largest learning rate, reached after `warmup` steps and lowered along a cosine to a tenth at the end;
        decay of matrices (not of biases, gains and other vectors).
    seed
        Names the new weights and the order of the rows.
    evaluate_every
        Steps between evaluations; 0: at the end only.
    checkpoint_seconds
        Longest time between checkpoints. It does not change the result.
    """

    steps: int
    batch_size: int = 32
    context: int = 128
    learning_rate: float = 1e-3
    warmup: int = 0
    weight_decay: float = 0.1
    seed: int = 0
    evaluate_every: int = 0
    checkpoint_seconds: float = 20.0

    def __post_init__(self) -> None:
        """Check each value."""
        for name, least in (("steps", 1), ("batch_size", 1), ("context", 1), ("warmup", 0), ("evaluate_every", 0)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise InputError(f"{name} should be a whole number of at least {least}, found {value!r}")
        if isinstance(self.seed, bool) or not isinstance(self.seed, int) or not 0 <= self.seed < 2**63:
            raise InputError(f"seed should be a whole number of at least 0, found {self.seed!r}")
        if self.warmup > self.steps:
            raise InputError(f"warmup should be at most the number of steps ({self.steps}), found {self.warmup}")
        if not (math.isfinite(self.learning_rate) and self.learning_rate > 0):
            raise InputError(f"learning_rate should be a number above 0, found {self.learning_rate!r}")
        for name in ("weight_decay", "checkpoint_seconds"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value >= 0):
                raise InputError(f"{name} should be a number of at least 0, found {value!r}")


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
    """

    folder: Path
    steps: int
    tokens: int
    seconds: float
    flops: float
    curve: list[dict[str, Any]]
    fingerprint: str

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


def learning_rate_at(step: int, settings: TrainingSettings) -> float:
    """Return the learning rate of a step (from 0): linear warm-up, then a cosine down to a tenth."""
    if step < settings.warmup:
        return settings.learning_rate * (step + 1) / settings.warmup
    share = (step - settings.warmup) / max(1, settings.steps - settings.warmup)
    return settings.learning_rate * (_FINAL_SHARE + (1 - _FINAL_SHARE) * 0.5 * (1 + math.cos(math.pi * share)))


def train(
    spec: Mapping[str, Any],
    stores: Mapping[str, TokenStore],
    weights: Sequence[float] | NDArray[np.float64],
    settings: TrainingSettings,
    folder: Path | str,
    tokenizer: Tokenizer,
    progress: Progress | None = None,
    evaluate: Evaluate | None = None,
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
        [k], shares of rows in the order of `stores`.
    settings, folder, tokenizer
        How; where to; what the stores were made with.
    progress
        Called as progress("train", steps done, steps in all, note) after each step.
    evaluate
        Model -> {name: loss}, called every `settings.evaluate_every` steps and at the end. An attribute
        `fingerprint` of it, if there is one, is part of what the training is made from.

    Raises
    ------
    InputError
        If the arguments do not fit, a source is shorter than a context, the loss stops being finite, or the folder
        cannot be written. On KeyboardInterrupt a checkpoint is written first.
    """
    folder = Path(folder)
    values = np.asarray(weights, np.float64)
    if values.shape != (len(stores),):
        raise InputError(f"there should be one weight per source ({len(stores)}), found shape {values.shape}")
    used = [(name, store, w) for (name, store), w in zip(stores.items(), values.tolist(), strict=True) if w != 0]
    _check_tokenizer(used, tokenizer)
    sizes = {name: store.rows(settings.context) for name, store, _ in used}
    plan = StaticPlan(sizes, [w for _, _, w in used], settings.batch_size, settings.seed)
    name = _fingerprint(spec, used, settings, tokenizer, evaluate)
    result = _finished(folder, name)
    if result is None:
        batches = Batches(plan, [store for _, store, _ in used], settings.context)
        result = _Run(spec, batches, settings, folder, tokenizer, progress, evaluate, name).run()
    return result


def _check_tokenizer(used: Sequence[tuple[str, TokenStore, float]], tokenizer: Tokenizer) -> None:
    for name, store, _ in used:
        if store.tokenizer_fingerprint != tokenizer.fingerprint:
            raise InputError(f"the tokens of {name!r} were made with another tokenizer; write them again")


def _fingerprint(
    spec: Mapping[str, Any],
    used: Sequence[tuple[str, TokenStore, float]],
    settings: TrainingSettings,
    tokenizer: Tokenizer,
    evaluate: Evaluate | None,
) -> str:
    """Name what a training is made from."""
    how = {key: value for key, value in asdict(settings).items() if key != "checkpoint_seconds"}
    model = {**spec, "path": file_fingerprint(spec["path"])} if "path" in spec else dict(spec)
    sources = [[name, store.fingerprint, weight] for name, store, weight in used]
    watch = getattr(evaluate, "fingerprint", None) if evaluate else None
    return fingerprint([model, how, sources, tokenizer.fingerprint, watch])


def _finished(folder: Path, name: str) -> TrainingResult | None:
    try:
        result = TrainingResult.read(folder)
    except InputError:
        return None
    return result if result.fingerprint == name and result.model_folder.is_dir() else None


@dataclass(frozen=True)
class Batches:
    """The rows of each step, read from token stores with one gather per source."""

    plan: StaticPlan
    stores: Sequence[TokenStore]
    context: int

    def batch(self, step: int) -> NDArray[np.int64]:
        """Return the token ids of a step, int64 [B, context + 1]."""
        source, row = self.plan.step(step)
        tokens = np.empty((len(source), self.context + 1), np.int64)
        for i in np.unique(source).tolist():
            tokens[source == i] = self.stores[i].gather(row[source == i], self.context)
        return tokens


@dataclass
class _Run:
    """One training in progress: what is fixed, then what a checkpoint holds."""

    spec: Mapping[str, Any]
    batches: Batches
    settings: TrainingSettings
    folder: Path
    tokenizer: Tokenizer
    progress: Progress | None
    evaluate: Evaluate | None
    fingerprint: str

    step: int = 0
    seconds: float = 0.0
    curve: list[dict[str, Any]] = field(default_factory=list)
    loss_sum: float = 0.0  # over the steps since the last evaluation

    metrics: IO[bytes] = field(init=False)
    model: Any = field(init=False)
    optimizer: Any = field(init=False)
    before: float = field(init=False, default=0.0)  # seconds of earlier calls
    started: float = field(init=False, default=0.0)

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
            return
        load_checkpoint(self._checkpoint, self.model, self.optimizer)
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
                loss, norm, rate = self._gradient()
                whole = False
                self._update(loss, norm, rate)
                whole = True
                if time.monotonic() - saved >= self.settings.checkpoint_seconds:
                    self._save()
                    saved = time.monotonic()
                if self.progress:
                    self.progress("train", self.step, self.settings.steps, f"loss {loss:.3f}")
        except KeyboardInterrupt:
            if whole:
                self._save()
            raise
        self._clock()

    def _gradient(self) -> tuple[float, float, float]:
        """Compute the gradient of the next step; return loss (nats per token), gradient norm and learning rate."""
        settings, device = self.settings, self.model.device
        torch.manual_seed(settings.seed * 1_000_003 + self.step)  # for dropout: a function of seed and step
        tokens = torch.from_numpy(self.batches.batch(self.step)).to(device)
        with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
            logits = self.model(input_ids=tokens[:, :-1], use_cache=False).logits
        loss = torch.nn.functional.cross_entropy(logits.float().flatten(0, 1), tokens[:, 1:].flatten())
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), _CLIP)
        if not (torch.isfinite(loss) and torch.isfinite(norm)):
            raise self._diverged(f"loss {loss.item():.4g} and gradient norm {norm.item():.4g}")
        return loss.item(), norm.item(), learning_rate_at(self.step, settings)

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
            tokens = torch.from_numpy(self.batches.batch(0)[:1, :-1]).to(self.model.device)
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
        flops = training_flops(self.model, self._tokens)
        write_json(self.folder / "result.json", {**values, "flops": flops, "fingerprint": self.fingerprint})
        self._checkpoint.unlink(missing_ok=True)
        return TrainingResult.read(self.folder)


def _optimizer(model: Any, weight_decay: float) -> Any:
    """Return AdamW that decays matrices only."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in parameters if p.ndim >= 2], "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW([g for g in groups if g["params"]], lr=0.0, betas=_BETAS, fused=True)
