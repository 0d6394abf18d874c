"""What a trained model is measured on: the held-out parts of targets and sources, and questions with choices."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mixwright.compare import AVERAGE_OF_SOURCES
from mixwright.experiment.inputs import Source, Target, held_out_questions
from mixwright.experiment.proxies import target_rows
from mixwright.files import fingerprint
from mixwright.text import Question, Tokenizer, TokenStore
from mixwright.training.scoring import TargetRows, evaluate

_CURVE_TOKENS = 20_000  # of a target's held-out part, at each point of a loss curve
_SOURCE_TOKENS = 10_000  # of a source's held-out part, likewise
MEASURED_TOKENS = 50_000  # of a source's held-out part, once the model is trained
Array = NDArray[np.float64]


@dataclass(frozen=True)
class HeldOut:
    """
    The rows that models are measured on; the same for every model of a run.

    Parameters
    ----------
    targets, sources
        Their held-out parts are used.
    tokenizer, context
        Make the rows.
    batch_size
        Rows per pass of the model.
    """

    targets: Sequence[Target]
    sources: Sequence[Source]
    tokenizer: Tokenizer
    context: int
    batch_size: int

    @cached_property
    def _rows(self) -> dict[str, TargetRows]:
        return {t.name: target_rows(t.held_out, self.tokenizer, self.context, "chunk") for t in self.targets}

    @cached_property
    def _parts(self) -> dict[str, TargetRows]:
        """Return the first held-out documents of each target, by name and fingerprint."""
        parts = {}
        for target in self.targets:
            share = _CURVE_TOKENS / max(int(self._rows[target.name].document_tokens.sum()), 1)
            items = target.held_out[: max(1, round(min(share, 1) * len(target.held_out)))]
            parts[f"{target.name}@{target.fingerprint}"] = target_rows(items, self.tokenizer, self.context, "chunk")
        return parts

    @cached_property
    def _source_rows(self) -> dict[str, TargetRows]:
        return self._rows_of_sources(_SOURCE_TOKENS)

    def _rows_of_sources(self, tokens: int) -> dict[str, TargetRows]:
        held = {s.name: s.held_out for s in self.sources if s.held_out is not None}
        return {name: _store_rows(store, self.context, self.tokenizer.bos, tokens) for name, store in held.items()}

    @property
    def fingerprints(self) -> dict[str, dict[str, str]]:
        """Return what names the held-out parts: {"targets": {name: ...}, "sources": {name: ...}}."""
        held = {s.name: s.held_out.fingerprint for s in self.sources if s.held_out is not None}
        prints = {t.name: t.fingerprint for t in self.targets}
        for target in self.targets:  # the choices that accuracy depends on are not in every target's own
            if questions := [[q.prompt, q.answer, *q.others] for q in held_out_questions(target)]:
                prints[target.name] = fingerprint([target.fingerprint, questions])
        return {"targets": prints, "sources": held}

    def watch(self, model: Any) -> dict[str, float]:
        """Return the loss on a part of each target, for the loss curve; without targets the sources' average."""
        if not self.targets:
            return {f"{AVERAGE_OF_SOURCES}@": float(np.mean(list(self.source_losses(model).values())))}
        return {name: self._loss(model, rows) for name, rows in self._parts.items()}

    def target_losses(self, model: Any) -> dict[str, float]:
        """Return the loss on the first held-out documents of each target, nats per token."""
        return {t.name: self._loss(model, self._parts[f"{t.name}@{t.fingerprint}"]) for t in self.targets}

    def documents(self, model: Any) -> tuple[dict[str, Array], dict[str, Array]]:
        """Return nats and tokens of each held-out document [d], by target."""
        losses = {name: evaluate(model, rows, self.batch_size) for name, rows in self._rows.items()}
        return (
            {name: found.nats for name, found in losses.items()},
            {name: np.asarray(found.tokens, np.float64) for name, found in losses.items()},
        )

    def source_losses(self, model: Any) -> dict[str, float]:
        """Return the loss on the first held-out documents of each source, nats per token: for curves and strategies."""
        return {name: self._loss(model, rows) for name, rows in self._source_rows.items()}

    def measured_source_losses(self, model: Any) -> dict[str, float]:
        """Return the loss on more of the held-out documents of each source, nats per token: for the result."""
        return {name: self._loss(model, rows) for name, rows in self._rows_of_sources(MEASURED_TOKENS).items()}

    def accuracy(self, model: Any) -> dict[str, float]:
        """
        Return, for each target of questions, how often the right choice is the likeliest one.

        A choice counts with its log-likelihood given the prompt per character, so that long choices are not at a
        disadvantage. Targets of documents are left out, and questions with one choice alone.
        """
        found = {}
        for target in self.targets:
            questions = [q for q in held_out_questions(target) if q.others]
            if questions:
                found[target.name] = self._share_right(model, questions)
        return found

    def curve(self, watched: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        """Return a training's points with the names of today's targets."""
        names = {f"{target.name}@{target.fingerprint}": target.name for target in self.targets}
        names |= {} if names else {f"{AVERAGE_OF_SOURCES}@": AVERAGE_OF_SOURCES}
        points = []
        for point in watched:
            loss = {names[key]: value for key, value in point["loss"].items() if key in names}
            if loss:
                points.append({"step": point["step"], "tokens": point["tokens"], "loss": loss})
        return points

    def _loss(self, model: Any, rows: TargetRows) -> float:
        return evaluate(model, rows, self.batch_size).loss

    def _share_right(self, model: Any, questions: Sequence[Question]) -> float:
        pairs = [(q.prompt, choice) for q in questions for choice in (q.answer, *q.others)]
        prompts = self.tokenizer.encode([prompt for prompt, _ in pairs])
        choices = self.tokenizer.encode([choice for _, choice in pairs])
        rows = TargetRows.from_questions(zip(prompts, choices, strict=True), self.context, "answer", self.tokenizer.bos)
        nats = evaluate(model, rows, self.batch_size).nats
        per_character = nats / np.array([len(choice) for _, choice in pairs])
        ends = np.cumsum([1 + len(q.others) for q in questions])[:-1]
        return float(np.mean([part[0] < part[1:].min() for part in np.split(per_character, ends)]))


def _store_rows(store: TokenStore, context: int, bos: int, tokens: int) -> TargetRows:
    """Return rows of the first documents of a store."""
    documents, size = [], 0
    for index in range(store.documents):
        documents.append(np.asarray(store.document(index)))
        size += documents[-1].size
        if size >= tokens:
            break
    return TargetRows.from_documents(documents, context, "chunk", bos)
