"""The final runs: the same model and the same rows for every mixture, then the held-out loss of each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mixwright.experiment.config import SearchConfig
from mixwright.experiment.inputs import Source, Target
from mixwright.experiment.mixtures import NamedMixture
from mixwright.experiment.proxies import model_inputs, named_rate, part_of, settings_for, target_rows
from mixwright.experiment.stages import Progress, Stage, folder_name
from mixwright.text import Tokenizer, TokenStore
from mixwright.training.language_model import train
from mixwright.training.model import build_model
from mixwright.training.scoring import TargetRows, evaluate

_CURVE_TOKENS = 20_000  # of a target's held-out part, at each point of a loss curve
_SOURCE_TOKENS = 10_000  # of a source's held-out part


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
    """

    mixture: NamedMixture
    tokens: int
    steps: int
    seconds: float
    nats: dict[str, NDArray[np.float64]]
    lengths: dict[str, NDArray[np.float64]]
    source_loss: dict[str, float]
    curve: list[dict[str, Any]]

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
        Is told how far it is.
    """

    def __init__(
        self,
        config: SearchConfig,
        folder: Path,
        tokenizer: Tokenizer,
        sources: list[Source],
        targets: list[Target],
        progress: Progress,
    ) -> None:
        self._config, self._folder, self._tokenizer = config, folder, tokenizer
        self._sources, self._targets, self._progress = sources, targets, progress
        self._context = config.final.context
        self._spec = config.model.spec()
        self._start = model_inputs(self._spec)
        self._held = {
            target.name: target_rows(target.held_out, tokenizer, self._context, "chunk") for target in targets
        }
        self._done: dict[str, tuple[Stage, dict[str, Any]]] = {}

    def run(self, mixtures: list[NamedMixture]) -> list[FinalRun]:
        """Return a run for each mixture; two mixtures with the same weights share one training."""
        runs: list[FinalRun] = []
        for index, mixture in enumerate(mixtures):
            stage, result = self._train(mixture, index, len(mixtures))
            self._progress("evaluation", index, len(mixtures), mixture.name)
            nats, lengths, source_loss = self._evaluate(stage, mixture)
            runs.append(
                FinalRun(
                    mixture=mixture,
                    tokens=result["tokens"],
                    steps=result["steps"],
                    seconds=result["seconds"],
                    nats=nats,
                    lengths=lengths,
                    source_loss=source_loss,
                    curve=self._curve(result["curve"]),
                )
            )
        self._progress("final runs", 1, 1)
        self._progress("evaluation", 1, 1)
        return runs

    def _train(self, mixture: NamedMixture, index: int, total: int) -> tuple[Stage, dict[str, Any]]:
        """Return the stage of a mixture's training and its result."""
        settings = settings_for(self._config, self._config.final.tokens + mixture.extra_tokens)
        inputs = {
            "stage": "final",
            "model": self._start,
            "settings": asdict(settings),
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
        result = stage.result()
        if result is None:
            stage.begin()
            report = part_of(self._progress, "final runs", index, total, mixture.name)
            stores = {source.name: source.train for source in self._sources}
            weights, watch = list(mixture.weights), self._watch()
            with named_rate(self._config, f"the final run of {mixture.name}"):
                trained = train(self._spec, stores, weights, settings, stage.folder, self._tokenizer, report, watch)
            result = stage.finish(
                {"tokens": trained.tokens, "steps": trained.steps, "seconds": trained.seconds, "curve": trained.curve}
            )
        self._done[stage.fingerprint] = (stage, result)
        return stage, result

    def _watch(self) -> Callable[[Any], dict[str, float]]:
        """Return what measures a model on the way: on the first held-out documents of each target."""
        parts = {}
        for target in self._targets:
            share = _CURVE_TOKENS / max(int(self._held[target.name].document_tokens.sum()), 1)
            items = target.held_out[: max(1, round(min(share, 1) * len(target.held_out)))]
            name = f"{target.name}@{target.fingerprint}"
            parts[name] = target_rows(items, self._tokenizer, self._context, "chunk")

        def measure(model: Any) -> dict[str, float]:
            return {name: self._mean_loss(model, rows) for name, rows in parts.items()}

        return measure

    def _mean_loss(self, model: Any, rows: TargetRows) -> float:
        return evaluate(model, rows, self._config.final.batch_size).loss

    def _evaluate(
        self, stage: Stage, mixture: NamedMixture
    ) -> tuple[dict[str, NDArray[np.float64]], dict[str, NDArray[np.float64]], dict[str, float]]:
        """Return nats and tokens per held-out document of each target, and the held-out loss of each source."""
        held_sources = {source.name: source.held_out for source in self._sources if source.held_out is not None}
        inputs = {
            "stage": "evaluation",
            "run": stage.fingerprint,
            "targets": {target.name: target.fingerprint for target in self._targets},
            "sources": {name: store.fingerprint for name, store in held_sources.items()},
        }
        own = Stage(self._folder / "evaluation" / folder_name(mixture.name), inputs)
        result = own.result()
        if result is None:
            own.begin()
            model = build_model(
                {"path": str(stage.folder / "model")}, self._tokenizer, self._context, self._config.seed
            )
            nats, tokens = {}, {}
            for name, rows in self._held.items():
                losses = evaluate(model, rows, self._config.final.batch_size)
                nats[name], tokens[name] = losses.nats.tolist(), losses.tokens.tolist()
            source_loss = {}
            for name, store in held_sources.items():
                source_loss[name] = self._mean_loss(model, _store_rows(store, self._context, self._tokenizer.bos))
            result = own.finish({"nats": nats, "tokens": tokens, "source_loss": source_loss})
        return (
            {name: np.asarray(values, np.float64) for name, values in result["nats"].items()},
            {name: np.asarray(values, np.float64) for name, values in result["tokens"].items()},
            result["source_loss"],
        )

    def _curve(self, watched: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Return the loss curves on today's targets."""
        names = {f"{target.name}@{target.fingerprint}": target.name for target in self._targets}
        points = []
        for point in watched:
            loss = {names[key]: value for key, value in point["loss"].items() if key in names}
            if loss:
                points.append({"step": point["step"], "tokens": point["tokens"], "loss": loss})
        return points


def _store_rows(store: TokenStore, context: int, bos: int) -> TargetRows:
    """Return rows of the first documents of a store."""
    documents, size = [], 0
    for index in range(store.documents):
        documents.append(np.asarray(store.document(index)))
        size += documents[-1].size
        if size >= _SOURCE_TOKENS:
            break
    return TargetRows.from_documents(documents, context, "chunk", bos)
