"""Specialists and generalists at work: what one process does with prepared preference pairs."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mixwright.experiment.core.stages import Stage, folder_name
from mixwright.experiment.preference.data import EncodedSource
from mixwright.experiment.preference.inputs import Inputs
from mixwright.experiment.preference.train_config import GeneralistTrainingConfig, SpecialistsConfig
from mixwright.files import fingerprint
from mixwright.preference.fitting import EVALUATION, FitSettings, Watch, fit, forget_checkpoints, read_lines
from mixwright.preference.losses import PairLoss, reference_log_probabilities, score_pairs
from mixwright.preference.pairs.rows import PairRows
from mixwright.preference.specialists import (
    LOSSES,
    REFERENCE,
    SpecialistCache,
    fold_of_pairs,
    targets_of,
    train_specialist,
)
from mixwright.training.model import no_bars

Array = NDArray[np.float32]
Share = Callable[[float], None]
_FORWARD = 1 / 3  # what scoring a pair costs of training on it: a forward pass, without the backward one


@dataclass(frozen=True)
class Specialist:
    """
    What is known of a source's specialist.

    Attributes
    ----------
    train, test
        [n], [m] its losses of the pairs that are trained on and of those held out, nats.
    pairs
        Pairs that a training of the generalist could have had for what it cost: those it was trained on, and a third of
        those that were scored.
    model
        Its folder, where it is kept.
    """

    train: Array
    test: Array
    pairs: float
    model: Path | None = None


class HeldOutPairs(NamedTuple):
    """Held-out pairs of a source under a model: which they are, their losses and margins [m], nats."""

    rows: NDArray[np.int64]
    loss: Array
    margin: Array


@dataclass(frozen=True)
class Measured:
    """
    Held-out pairs of a source under a model: means, in nats.

    Attributes
    ----------
    loss, margin
        Of the pairs.
    accuracy
        Share of the pairs whose margin is above 0.
    excess, gap
        Loss minus the specialist's loss of the same pair: cut at 0 pair by pair, and as it is; None: no specialist.
    """

    loss: float
    accuracy: float
    margin: float
    excess: float | None = None
    gap: float | None = None

    @classmethod
    def of(cls, pairs: HeldOutPairs, specialist: Array | None = None) -> Measured:
        """Return the means of pairs; `specialist` [m]: its losses of all held-out pairs of the source."""
        over = None if specialist is None else pairs.loss.astype(np.float64) - specialist[pairs.rows]
        return cls(
            loss=float(pairs.loss.mean(dtype=np.float64)),
            accuracy=float((pairs.margin > 0).mean()),
            margin=float(pairs.margin.mean(dtype=np.float64)),
            excess=None if over is None else float(np.maximum(over, 0).mean()),
            gap=None if over is None else float(over.mean()),
        )

    def to_json(self) -> dict[str, Any]:
        """Return the numbers by name."""
        return dict(vars(self))


class Work:
    """
    Preference pairs and their reference in one process.

    Parameters
    ----------
    inputs
        Pairs, tokeniser and model.
    folder
        The run folder: `cache/` is there.
    training, specialists, loss
        Settings.
    """

    def __init__(
        self,
        inputs: Inputs,
        folder: Path,
        training: GeneralistTrainingConfig,
        specialists: SpecialistsConfig | None,
        loss: PairLoss,
    ) -> None:
        self.inputs, self.folder, self.training, self.loss = inputs, folder, training, loss
        self.specialists = specialists
        self.names = list(inputs.sources)
        self.cache = SpecialistCache(folder / "cache")
        self.probe = training.settings(1, 0)
        self._reference: dict[str, tuple[Array, Array] | tuple[None, None]] = {}

    @property
    def pairs(self) -> int:
        """Return the pairs that are trained on, of all sources."""
        return sum(len(source.train) for source in self.inputs.sources.values())

    @property
    def steps(self) -> int:
        """Return the steps of a generalist."""
        return self.training.total_steps(self.pairs)

    # --- the reference

    def reference(self, name: str) -> tuple[Any, Any]:
        """Return the reference's log-probabilities of a source, [n, 2] and [m, 2]; (None, None) for SimPO."""
        if name not in self._reference:
            self.make_references()
        return self._reference[name]

    def make_references(self, report: Share = lambda share: None) -> None:
        """Score all pairs under the reference, or take the numbers out of the cache."""
        model, sources = None, self.inputs.sources.items()
        for number, (name, source) in enumerate(sources):
            if not self.loss.needs_reference:
                self._reference[name] = (None, None)
                continue
            made_of = self.content(name)
            found = self.cache.get(REFERENCE, made_of)
            if found is None:
                model = self.inputs.reference() if model is None else model
                share = _part(report, number, len(sources))
                found = self.cache.put(REFERENCE, name, made_of, **self._scored_by(model, source, share))
            self._reference[name] = (found["train"], found["test"])
        report(1.0)

    def _scored_by(self, model: Any, source: EncodedSource, report: Share) -> dict[str, Array]:
        whole, found = len(source.train) + len(source.test), {}
        for part, before in (("train", 0), ("test", len(source.train))):
            found[part] = reference_log_probabilities(
                model,
                getattr(source, part),
                self._scored,
                lambda done, before=before: report((before + done) / whole),  # type: ignore[misc]
                precision=self.probe.dtype,
                pad=self.inputs.pad,
            )
        return found

    def content(self, name: str) -> dict[str, Any]:
        """Return what the reference's numbers of a source depend on."""
        source = self.inputs.sources[name]
        return {
            "reference": self.inputs.model_fingerprint,
            "tokeniser": self.inputs.tokenizer_fingerprint,
            "rows": fingerprint([source.train.fingerprint, source.test.fingerprint]),
            "precision": "bfloat16" if self.probe.mixed else "float32",
        }

    @property
    def _scored(self) -> int:
        """Return how many pairs are scored at once."""
        return max(1, self.training.batch_size // self.training.accumulate)

    # --- specialists

    def specialist(
        self, name: str, seed: int, place: Path, keep: bool = False, report: Share = lambda share: None
    ) -> Specialist:
        """
        Return a source's specialist: trained, or the rest of it, or out of the cache.

        Parameters
        ----------
        name, seed
            Which.
        place
            Folder of its training; its model is in `place/NAME/whole/model` where `keep` is true.
        """
        settings = self.specialists or SpecialistsConfig()
        if settings.run is not None:
            return self._given(name, settings.run)
        made_of = self._of_specialist(name, seed, settings)
        model = place / folder_name(name) / "whole" / "model"
        found = self.cache.get(LOSSES, made_of)
        if found is None or (keep and not model.exists()):
            found = self._made(name, seed, place, keep, made_of, settings, report)
        report(1.0)
        return Specialist(found["train"], found["test"], float(found["cost"][0]), model if keep else None)

    def _given(self, name: str, run: Path) -> Specialist:
        """Return a specialist of another run; InputError if reference, tokeniser, loss or pairs differ."""
        content = self.content(name)
        wanted = {key: content[key] for key in ("reference", "tokeniser", "rows")} | {"loss": self.loss.fingerprint}
        found = SpecialistCache(run / "cache").need(LOSSES, name, wanted)
        model = run / "specialists" / folder_name(name) / "whole" / "model"
        return Specialist(found["train"], found["test"], float(found["cost"][0]), model if model.exists() else None)

    def _of_specialist(self, name: str, seed: int, settings: SpecialistsConfig) -> dict[str, Any]:
        steps = self._steps_of(len(self.inputs.sources[name].train), settings)
        how = self.training.settings(steps, seed, settings.learning_rate)
        return {
            **self.content(name),
            "loss": self.loss.fingerprint,
            "folds": settings.folds,
            "settings": {k: v for k, v in vars(how).items() if k not in ("checkpoint_seconds", "precision")},
            "adapter": self.inputs.adapter_described,
        }

    def cost_of(self, name: str, seed: int) -> float:
        """Return what a source's specialist will cost, as `Specialist.pairs` says it afterwards."""
        settings, source = self.specialists or SpecialistsConfig(), self.inputs.sources[name]
        n = len(source.train)
        asked = np.array([n])
        if settings.folds > 1:
            asked = np.bincount(fold_of_pairs(source.train, settings.folds, seed))
        return sum(self._cost(n - m * (len(asked) > 1), m, len(source.test), settings) for m in asked.tolist())

    def _cost(self, seen: int, asked: int, held_out: int, settings: SpecialistsConfig) -> float:
        """Return the pairs of training that one costs which is trained on some pairs and scores others."""
        return self._steps_of(seen, settings) * self.training.batch_size + _FORWARD * (asked + held_out)

    def _steps_of(self, pairs: int, settings: SpecialistsConfig) -> int:
        return settings.steps(pairs, self.training.batch_size)

    def _made(
        self,
        name: str,
        seed: int,
        place: Path,
        keep: bool,
        made_of: Mapping[str, Any],
        settings: SpecialistsConfig,
        report: Share,
    ) -> dict[str, Array]:
        source = self.inputs.sources[name]
        folds = [] if settings.folds == 1 else list(range(settings.folds))
        whole = not folds or keep
        parts: list[int | None] = [*([None] if whole else []), *folds]
        fold = fold_of_pairs(source.train, settings.folds, seed) if folds else None
        train, test, cost = np.full(len(source.train), np.nan, np.float32), [], 0.0
        for number, part in enumerate(parts):
            share = _part(report, number, len(parts))
            found = self._trained(name, seed, place, keep, made_of, settings, part, fold, share)
            cost += float(found["cost"][0]) if part is not None or not folds else 0.0
            if part is None and folds:
                continue  # its model alone is wanted
            train[slice(None) if part is None else fold == part] = found["train"]
            test.append(found["test"])
        losses = np.mean(test, 0, dtype=np.float64)
        return self.cache.put(LOSSES, name, made_of, train=train, test=losses, cost=[cost])

    def _trained(
        self,
        name: str,
        seed: int,
        place: Path,
        keep: bool,
        made_of: Mapping[str, Any],
        settings: SpecialistsConfig,
        part: int | None,
        fold: NDArray[np.int64] | None,
        report: Share,
    ) -> dict[str, Array]:
        """Train one specialist, of all pairs or of those outside a fold; return its losses of what it is asked for."""
        source, (reference, held) = self.inputs.sources[name], self.reference(name)
        seen = np.arange(len(source.train)) if part is None or fold is None else np.flatnonzero(fold != part)
        asked = np.arange(len(source.train)) if part is None or fold is None else np.flatnonzero(fold == part)
        own = {**made_of, "part": "whole" if part is None else part}
        folder = place / folder_name(name) / ("whole" if part is None else f"fold_{part}")
        stage = Stage(folder, {"stage": "specialist", **own})
        model_folder = stage.folder / "model"
        found = self.cache.get("part", own)
        keep = keep and part is None
        if found is not None and (not keep or model_folder.exists()):
            forget_checkpoints(folder)
            return found
        stage.begin()
        steps = self._steps_of(len(seen), settings)
        how = self.training.settings(steps, seed, settings.learning_rate)
        rows = PairRows(source.train.select(seen), None if reference is None else reference[seen])
        model = self.inputs.policy(seed)
        with no_bars():
            model = train_specialist(
                model, name, rows, how, folder, self.loss, lambda done, all_: report(0.9 * done / all_), self.inputs.pad
            )
        values = {
            "train": self._losses(model, source.train.select(asked), None if reference is None else reference[asked]),
            "test": self._losses(model, source.test, held),
            "cost": [self._cost(len(seen), len(asked), len(source.test), settings)],
        }
        if keep:
            save_model(model, self.inputs.tokenizer, model_folder)
        found = self.cache.put("part", name, own, **values)
        self.inputs.release(model)
        stage.finish({"steps": steps})
        forget_checkpoints(folder)
        return found

    def _losses(self, model: Any, encoded: Any, reference: Array | None) -> Array:
        return self.scores(model, encoded, reference).loss

    def scores(self, model: Any, encoded: Any, reference: Array | None) -> Any:
        """Return the PairScores of pairs, in the precision of the training."""
        return score_pairs(
            model, encoded, self.loss, reference, self._scored, precision=self.probe.dtype, pad=self.inputs.pad
        )

    # --- what is measured

    def held_out(self, model: Any, most: int | None = None) -> dict[str, HeldOutPairs]:
        """Return losses and margins of held-out pairs of each source under a model; `most` of each, evenly chosen."""
        found = {}
        for name, source in self.inputs.sources.items():
            _, reference = self.reference(name)
            n = len(source.test)
            rows = np.arange(n) if most is None or n <= most else np.linspace(0, n - 1, most).astype(int)
            part = source.test if len(rows) == n else source.test.select(rows)
            scores = self.scores(model, part, None if reference is None else reference[rows])
            found[name] = HeldOutPairs(rows, scores.loss, scores.margin)
        return found

    def measure(
        self, model: Any, specialists: Mapping[str, Specialist] | None, most: int | None = None
    ) -> dict[str, Measured]:
        """Return what held-out pairs of each source are like under a model; `most` pairs of each, evenly chosen."""
        found = self.held_out(model, most)
        return {
            name: Measured.of(pairs, specialists[name].test if specialists else None) for name, pairs in found.items()
        }

    # --- a generalist

    def rows(self, specialists: Mapping[str, Specialist] | None) -> dict[str, PairRows]:
        """Return the sources of a training, with what specialists make of each pair where they are given."""
        target = (self.specialists or SpecialistsConfig()).target
        found = {}
        for name, source in self.inputs.sources.items():
            own = specialists.get(name) if specialists else None
            reference, _ = self.reference(name)
            found[name] = PairRows(source.train, reference, None if own is None else targets_of(own.train, target))
        return found

    def train(
        self,
        weights: Weighting,
        settings: FitSettings,
        folder: Path,
        specialists: Mapping[str, Specialist] | None,
        *,
        watched: Mapping[str, Specialist] | None,
        checkpoints: Path | None = None,
        report: Share = lambda share: None,
        **options: Any,
    ) -> tuple[Any, Any]:
        """
        Train a generalist in a folder, or the rest of it; return its trainer and model.

        `specialists` are told to it where its weights read the excess; `watched`: over which the curve's excess is.
        """
        most = self.training.evaluate_pairs

        def watch(model: Any) -> dict[str, Any]:
            found = self.measure(model, watched, most)
            return {"sources": {name: measured.to_json() for name, measured in found.items()}}

        every = self.training.evaluate_every or max(1, settings.steps // 10)
        own = {
            **{name: getattr(self.training, name) for name in ("clip", "train_on", "lag", "observe_every")},
            "plan": {} if self.training.max_epochs is None else {"max_epochs": self.training.max_epochs},
            **weights.options,
            **options,
        }
        with no_bars():
            trainer = fit(
                self.inputs.policy(settings.seed),
                self.rows(specialists if weights.gated else None),
                weights.weights,
                settings,
                folder,
                self.loss,
                watch=Watch(every, watch),
                progress=lambda done, whole: report(done / whole),
                pad_token_id=self.inputs.pad,
                checkpoints=checkpoints,
                log=folder / "decisions.jsonl",
                **own,
            )
        return trainer, trainer.model

    def result(self, trainer: Any, settings: FitSettings) -> dict[str, Any]:
        """Return the last weights of a training, and what each source gave, JSON-able."""
        ledger = {line["source"]: line for line in trainer.loader.ledger().to_json()["sources"]}
        last = trainer.mixture.weights_for(settings.steps - 1)
        return {
            "steps": settings.steps,
            "pairs": settings.steps * settings.batch_size,
            "weights": dict(zip(self.names, last.tolist(), strict=True)),
            "drawn": {
                name: {key: ledger[name][key] for key in ("asked", "drawn", "rows", "epochs")} for name in self.names
            },
        }


@dataclass(frozen=True)
class Weighting:
    """How a generalist mixes its sources: weights or a strategy, and how they act."""

    weights: Any
    options: Mapping[str, Any] = field(default_factory=dict)
    gated: bool = False

    @property
    def fixed(self) -> bool:
        """Whether the weights stay."""
        return isinstance(self.weights, str | list)


def save_model(model: Any, tokenizer: Any, folder: Path) -> None:
    """Write a model (or its adapter) and its tokeniser; complete or absent."""
    partial = folder.with_name(f".{folder.name}.tmp")
    shutil.rmtree(partial, ignore_errors=True)
    with no_bars():
        model.save_pretrained(partial)
    tokenizer.save_pretrained(partial)
    shutil.rmtree(folder, ignore_errors=True)
    partial.rename(folder)


def _part(report: Share, number: int, parts: int) -> Share:
    return lambda share: report((number + share) / parts)


def curve_of(folder: Path) -> list[dict[str, Any]]:
    """Return what was measured while a model was trained."""
    return read_lines(folder / EVALUATION)
