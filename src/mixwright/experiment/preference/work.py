"""Preference pairs and their reference at work: scores, generalists, and what is measured."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from mixwright.experiment.core.parallel import Report, part_of
from mixwright.experiment.preference.arms import Weighting
from mixwright.experiment.preference.data import EncodedSource
from mixwright.experiment.preference.inputs import Inputs, on_device
from mixwright.experiment.preference.measures import HeldOutPairs, PairMeasures, Specialist
from mixwright.experiment.preference.train_config import GeneralistTrainingConfig
from mixwright.files import fingerprint
from mixwright.preference.fitting import EVALUATION, FitSettings, Watch, fit, read_lines
from mixwright.preference.losses import PairLoss, reference_log_probabilities, score_pairs
from mixwright.preference.pairs.rows import PairRows
from mixwright.preference.sharded import put_together
from mixwright.preference.specialists import REFERENCE, SpecialistCache, targets_of
from mixwright.training.model import no_bars
from mixwright.training.ranks import KINDS, ONE, Ranks
from mixwright.watching.trackers.tracked import NOBODY, Tracked

Losses: TypeAlias = Mapping[str, Specialist]
Array = NDArray[np.float32]


class PairWork:
    """
    Preference pairs and their reference, in one process or on several ranks.

    Parameters
    ----------
    inputs
        Pairs, tokeniser and model.
    folder
        The run folder: `cache/` is there.
    training, loss
        Settings of all trainings.
    target
        What a pair's loss is compared with: its specialist's loss of the "pair", or the "source_mean".
    ranks
        Who does it: all call the same methods, share the work, and get the same numbers; the first one writes.
    """

    def __init__(
        self,
        inputs: Inputs,
        folder: Path,
        training: GeneralistTrainingConfig,
        loss: PairLoss,
        target: str = "pair",
        ranks: Ranks = ONE,
    ) -> None:
        self.ranks = ranks
        self.inputs, self.folder, self.training, self.loss, self.target = inputs, folder, training, loss, target
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

    def make_references(self, report: Report = lambda share: None) -> None:
        """Score all pairs under the reference, or take the numbers out of the cache."""
        model, sources = None, self.inputs.sources.items()
        for number, (name, source) in enumerate(sources):
            if not self.loss.needs_reference:
                self._reference[name] = (None, None)
                continue
            made_of = self.content(name)
            found = self.cached(REFERENCE, made_of)
            if found is None:
                model = self.inputs.reference() if model is None else model
                share = part_of(report, number, len(sources))
                found = self.keep(REFERENCE, name, made_of, **self._scored_by(model, source, share))
            self._reference[name] = (found["train"], found["test"])
        report(1.0)

    def cached(
        self, kind: str, made_of: Mapping[str, Any], whole: Callable[[], bool] = lambda: True
    ) -> dict[str, Array] | None:
        """Return what the cache has, if the rest is there too (`whole`), or None: the same on every rank."""
        found = self.cache.get(kind, made_of) if self.ranks.main else None
        shared: dict[str, Array] | None = self.ranks.shared(found if found is not None and whole() else None)
        return shared

    def keep(self, kind: str, source: str, made_of: Mapping[str, Any], **arrays: Any) -> dict[str, Array]:
        """Put arrays into the cache, and return them as it has them."""
        if self.ranks.main:
            return self.cache.put(kind, source, made_of, **arrays)
        return {name: np.asarray(array, np.float32) for name, array in arrays.items()}

    def _scored_by(self, model: Any, source: EncodedSource, report: Report) -> dict[str, Array]:
        whole, found = len(source.train) + len(source.test), {}
        for part, before in (("train", 0), ("test", len(source.train))):
            found[part] = reference_log_probabilities(
                model,
                getattr(source, part),
                self._scored,
                lambda done, before=before: report((before + done) / whole),  # type: ignore[misc]
                precision=self.probe.dtype,
                pad=self.inputs.pad,
                ranks=self.ranks,
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
        """Return how many pairs are scored at once on a rank."""
        return max(1, self.training.batch_size // (self.training.accumulate * self.ranks.size))

    def scores(self, model: Any, encoded: Any, reference: Array | None) -> Any:
        """Return the PairScores of pairs, in the precision of the training."""
        how: dict[str, Any] = {"precision": self.probe.dtype, "pad": self.inputs.pad, "ranks": self.ranks}
        return score_pairs(model, encoded, self.loss, reference, self._scored, **how)

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

    def measure(self, model: Any, specialists: Losses | None, most: int | None = None) -> dict[str, PairMeasures]:
        """Return what held-out pairs of each source are like under a model; `most` pairs of each, evenly chosen."""
        found = self.held_out(model, most)
        return {
            name: PairMeasures.of(own, specialists[name].test if specialists else None) for name, own in found.items()
        }

    def rows(self, specialists: Losses | None) -> dict[str, PairRows]:
        """Return the sources of a training, with what specialists make of each pair where they are given."""
        found = {}
        for name, source in self.inputs.sources.items():
            own = specialists.get(name) if specialists else None
            reference, _ = self.reference(name)
            found[name] = PairRows(source.train, reference, None if own is None else targets_of(own.train, self.target))
        return found

    def train(
        self,
        weights: Weighting,
        settings: FitSettings,
        folder: Path,
        specialists: Losses | None,
        *,
        watched: Losses | None,
        checkpoints: Path | None = None,
        report: Report = lambda share: None,
        track: Tracked = NOBODY,
        **options: Any,
    ) -> tuple[Any, Any]:
        """
        Train a generalist in a folder, or the rest of it; return its trainer and model.

        `specialists`: the excess that the weights read, if they do, is over them; `watched`: that of the curve is.
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
                ranks=self.ranks,
                track=track,
                **own,
            )
        return trainer, self.whole(trainer.model, settings.seed)

    def whole(self, model: Any, seed: int) -> Any:
        """Return a trained model as each rank can score and save it: whole, also where the ranks hold parts of it."""
        if not self.ranks.in_parts:
            return model
        self.inputs.forget()
        return put_together(model, on_device(self.inputs.policy(seed)))

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


def ranks_for(training: GeneralistTrainingConfig, ranks: Ranks) -> Ranks:
    """Return ranks that hold models, and compile them, as a configuration says."""
    return replace(ranks, kind=training.parallel or KINDS[0], compiled=bool(training.compile))


def curve_of(folder: Path) -> list[dict[str, Any]]:
    """Return what was measured while a model was trained."""
    return read_lines(folder / EVALUATION)
