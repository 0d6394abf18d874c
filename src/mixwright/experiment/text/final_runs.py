"""The final runs: the same model and the same rows for every mixture, then the held-out loss of each."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mixwright.experiment.core.stages import Progress, Stage, folder_name
from mixwright.experiment.text.config import SearchConfig
from mixwright.experiment.text.evaluation import HeldOut
from mixwright.experiment.text.inputs import Target, TokenSource
from mixwright.experiment.text.mixtures import NamedMixture
from mixwright.experiment.text.proxies.neural import model_inputs, named_rate, settings_for, trained_model
from mixwright.experiment.text.proxies.scores import part_of
from mixwright.experiment.text.questions.reports import Answers
from mixwright.text import Tokenizer
from mixwright.training.language_model import train
from mixwright.training.ranks import ONE, Ranks
from mixwright.training.settings import described


@dataclass(frozen=True)
class FinalRun:
    """
    A trained mixture with its held-out losses.

    Parameters
    ----------
    mixture
        What was trained.
    tokens, steps, seconds
        How much.
    nats, lengths
        For each target: the loss and the tokens of each held-out document.
    source_loss
        Held-out loss of each source, nats per token.
    curve
        Points {step, tokens, loss: {target: nats per token}}.
    answers
        {quantity: {target of questions: a value of each held-out row}}.
    """

    mixture: NamedMixture
    tokens: int
    steps: int
    seconds: float
    nats: dict[str, NDArray[np.float64]]
    lengths: dict[str, NDArray[np.float64]]
    source_loss: dict[str, float]
    curve: list[dict[str, Any]]
    answers: Answers = field(default_factory=dict)

    def loss(self, target: str) -> float:
        """Return the held-out loss on a target, nats per token."""
        return float(self.nats[target].sum() / self.lengths[target].sum())

    def entry(self) -> dict[str, Any]:
        """Return what the summary says about this run."""
        return {
            "mixture": self.mixture.name,
            "tokens": self.tokens,
            "steps": self.steps,
            "seconds": self.seconds,
            "loss": {target: self.loss(target) for target in self.nats},
            "source_loss": self.source_loss,
            "curve": self.curve,
        }


class FinalRuns:
    """
    Trains and evaluates mixtures, each once.

    Parameters
    ----------
    config, folder, tokenizer, sources, targets
        The run.
    progress
        Called as `progress(stage, done, total, note)`.
    ranks
        Who trains: every rank calls `run`, the first one writes and measures, and the others return nothing.
    """

    def __init__(
        self,
        config: SearchConfig,
        folder: Path,
        tokenizer: Tokenizer,
        sources: list[TokenSource],
        targets: list[Target],
        progress: Progress,
        ranks: Ranks = ONE,
    ) -> None:
        self._ranks = ranks
        self._config, self._folder, self._tokenizer = config, folder, tokenizer
        self._sources, self._progress = sources, progress
        self._spec = config.model.spec()
        self._start = model_inputs(self._spec)
        self._held = HeldOut(targets, sources, tokenizer, config.final.context, config.final.batch_size)
        self._done: dict[str, tuple[Stage, dict[str, Any]]] = {}

    def run(self, mixtures: list[NamedMixture]) -> list[FinalRun]:
        """Return a run for each mixture; two mixtures with the same weights share one training."""
        runs: list[FinalRun] = []
        for index, mixture in enumerate(mixtures):
            stage, result = self._train(mixture, index, len(mixtures))
            if not self._ranks.main:
                continue
            self._progress("evaluation", index, len(mixtures), mixture.name)
            found = self._evaluate(stage, mixture)
            runs.append(
                FinalRun(
                    mixture=mixture,
                    tokens=result["tokens"],
                    steps=result["steps"],
                    seconds=result["seconds"],
                    nats={name: np.asarray(values, np.float64) for name, values in found["nats"].items()},
                    lengths={name: np.asarray(values, np.float64) for name, values in found["tokens"].items()},
                    source_loss=found["source_loss"],
                    answers=found.get("answers", {}),
                    curve=self._held.curve(result["curve"]),
                )
            )
        self._progress("final runs", 1, 1)
        self._progress("evaluation", 1, 1)
        return runs

    def _train(self, mixture: NamedMixture, index: int, total: int) -> tuple[Stage, dict[str, Any]]:
        settings = settings_for(self._config, self._config.final.tokens + mixture.extra_tokens)
        inputs = {
            "stage": "final",
            "model": self._start,
            "settings": described(settings),
            "sources": [
                [source.name, source.train.fingerprint, weight]
                for source, weight in zip(self._sources, mixture.weights, strict=True)
                if weight > 0
            ],
            "tokenizer": self._tokenizer.fingerprint,
        }
        stage = Stage(self._folder / "final" / folder_name(mixture.name), inputs)
        if stage.fingerprint in self._done:
            return self._done[stage.fingerprint]
        main = self._ranks.main
        result: dict[str, Any] | None = self._ranks.shared(stage.result() if main else None)
        if result is None:
            if main:
                stage.begin()
            report = part_of(self._progress, "final runs", index, total, mixture.name)
            stores = {source.name: source.train for source in self._sources}
            weights, watch = list(mixture.weights), self._held.watch
            tracked = self._config.tracked(
                stage.folder, self._folder, f"{mixture.name}, final run", writes=main, arm=mixture.name
            )
            with named_rate(self._config, f"the final run of {mixture.name}"), tracked as track:
                trained = train(
                    self._spec,
                    stores,
                    weights,
                    settings,
                    stage.folder,
                    self._tokenizer,
                    report,
                    watch,
                    ranks=self._ranks,
                    track=track,
                )
            result = {name: getattr(trained, name) for name in ("tokens", "steps", "seconds", "curve")}
            if main:
                result = stage.finish(result)
        self._done[stage.fingerprint] = (stage, result)
        return stage, result

    def _evaluate(self, stage: Stage, mixture: NamedMixture) -> dict[str, Any]:
        """Return nats and tokens per held-out document of each target, answers, and the losses of sources."""
        asked = {"asked": self._held.asked} if self._held.asked else {}
        inputs = {"stage": "evaluation", "run": stage.fingerprint, **self._held.fingerprints, **asked}
        own = Stage(self._folder / "evaluation" / folder_name(mixture.name), inputs)
        result = own.result()
        if result is None:
            own.begin()
            context, what = self._config.final.context, f"the final run of {mixture.name}"
            model = trained_model(stage.folder / "model", what, self._tokenizer, context)
            nats, tokens = self._held.documents(model)
            result = own.finish(
                {
                    "nats": {name: values.tolist() for name, values in nats.items()},
                    "tokens": {name: values.tolist() for name, values in tokens.items()},
                    "source_loss": self._held.source_losses(model),
                    **({"answers": self._held.answers(model)} if asked else {}),
                }
            )
        return result
