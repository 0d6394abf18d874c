"""What a trained model is measured on: the held-out parts of targets and sources, and questions with choices."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mixwright.compare import AVERAGE_OF_SOURCES
from mixwright.compare.questions import ACCURACY
from mixwright.errors import InputError
from mixwright.experiment.core.arms import OF_TARGETS
from mixwright.experiment.text.held_out import (
    digest,
    middles,
    names_of,
    reported_documents,
    reported_pieces,
    strategy_pieces,
)
from mixwright.experiment.text.inputs import Target, TokenSource, held_out_questions, held_out_texts
from mixwright.experiment.text.proxies.scores import encode, target_rows
from mixwright.experiment.text.questions.answers import answer
from mixwright.experiment.text.questions.checks import quantities_of
from mixwright.experiment.text.questions.reports import Answers
from mixwright.files import fingerprint
from mixwright.strategy import Strategy
from mixwright.text import Question, Tokenizer, TokenStore
from mixwright.text.target_rows import TargetRows
from mixwright.training.scoring import evaluate, loss_gradient

_CURVE_TOKENS = 20_000  # of a target's held-out part, at each point of a loss curve
_SOURCE_TOKENS = 10_000  # of a source's held-out part, likewise
_STRATEGY_TOKENS = 5_000  # of a source, or of a target's search part, at each observation of a strategy
MEASURED_TOKENS = 50_000  # of a source's held-out part, once the model is trained
Array = NDArray[np.float64]


_WHOLE, _DOCUMENTS, _ROWS = "", "@sample", "@rows"  # former versions took the first documents, then some documents


def _key(target: Target, part: str) -> str:
    """Return what the points of a curve call the part of a target that they were measured on."""
    return f"{target.name}@{target.fingerprint}{part}"


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

    Notes
    -----
    What a strategy reads (`strategy_...`) is measured on other documents than all the rest: a target's search part, and
    of a source's held-out documents those that fall to that part by their content. Of a source with few held-out
    documents there may be none; results come first.
    """

    targets: Sequence[Target]
    sources: Sequence[TokenSource]
    tokenizer: Tokenizer
    context: int
    batch_size: int

    @cached_property
    def _rows(self) -> dict[str, TargetRows]:
        return {t.name: target_rows(t.held_out, self.tokenizer, self.context, "chunk") for t in self.targets}

    @cached_property
    def _parts(self) -> dict[str, TargetRows]:
        """Return rows from all over the held-out documents of each target, by its key in a curve."""
        parts = {}
        for target in self.targets:  # a few whole documents would be of one kind: files are sorted, and books are long
            rows = self._rows[target.name]
            part = rows.spread(_CURVE_TOKENS)
            parts[_key(target, _WHOLE if part is rows else _ROWS)] = part
        return parts

    @cached_property
    def _source_rows(self) -> dict[str, TargetRows]:
        return self._rows_of_sources(_SOURCE_TOKENS)

    def _rows_of_sources(self, tokens: int) -> dict[str, TargetRows]:
        """Return rows out of many of the documents that results rest on, about `tokens` of each source."""
        found = {name: self._reported(store, tokens) for name, store in self._stores.items()}
        return {name: self._of(reported_pieces(each, tokens, self.context)) for name, each in found.items()}

    def _reported(self, store: TokenStore, tokens: int) -> list[Any]:
        return reported_documents(store, tokens, self.context)

    @property
    def _stores(self) -> dict[str, TokenStore]:
        return {s.name: s.held_out for s in self.sources if s.held_out is not None}

    def _of(self, documents: Sequence[Any]) -> TargetRows:
        return TargetRows.from_documents(documents, self.context, "chunk", self.tokenizer.bos)

    @cached_property
    def _judged(self) -> frozenset[bytes]:
        """Return the names of all documents that a result rests on."""
        sources = [self._reported(store, MEASURED_TOKENS) for store in self._stores.values()]
        targets = [self.tokenizer.encode([d for d in t.held_out if isinstance(d, str)]) for t in self.targets]
        return names_of([*sources, *targets])

    @cached_property
    def _strategy_sources(self) -> dict[str, TargetRows]:
        found = {name: strategy_pieces(store, _STRATEGY_TOKENS, self._judged) for name, store in self._stores.items()}
        return {name: self._of(pieces) for name, pieces in found.items() if pieces}

    @cached_property
    def _strategy_targets(self) -> dict[str, TargetRows]:
        found = {target.name: self._strategy_rows_of(target) for target in self.targets}
        return {name: rows for name, rows in found.items() if rows is not None}

    def _strategy_rows_of(self, target: Target) -> TargetRows | None:
        """Return rows of the search part of a target, without texts that a result rests on; None if none is left."""
        pairs = list(zip(target.search, encode(self.tokenizer, target.search), strict=True))
        texts = [ids for item, ids in pairs if isinstance(item, str) and len(ids) and digest(ids) not in self._judged]
        if texts:
            return self._of(middles(texts, _STRATEGY_TOKENS))
        questions, size = [], 0
        for item, ids in pairs:
            if not isinstance(item, str) and size < _STRATEGY_TOKENS:
                questions.append(item)
                size += sum(map(len, ids))
        return target_rows(questions, self.tokenizer, self.context, "chunk") if questions else None

    @property
    def fingerprints(self) -> dict[str, dict[str, str]]:
        """Return what names the held-out parts: {"targets": {name: ...}, "sources": {name: ...}}."""
        held = {
            name: f"{store.fingerprint} in two parts, out of many documents" for name, store in self._stores.items()
        }
        prints = {t.name: t.fingerprint for t in self.targets}
        for target in self.targets:  # the choices that accuracy depends on are not in every target's own
            if questions := [[q.prompt, q.answer, *q.others] for q in self._questions[target.name].values()]:
                prints[target.name] = fingerprint([target.fingerprint, questions])
        return {"targets": prints, "sources": held}

    def watch(self, model: Any) -> dict[str, float]:
        """Return the loss on a part of each target, for the loss curve; without targets the sources' average."""
        if not self.targets:
            return {f"{AVERAGE_OF_SOURCES}@": float(np.mean(list(self.source_losses(model).values())))}
        return {name: self._loss(model, rows) for name, rows in self._parts.items()}

    def target_losses(self, model: Any) -> dict[str, float]:
        """Return the loss on rows from all over the held-out documents of each target, nats per token."""
        losses = [self._loss(model, rows) for rows in self._parts.values()]
        return {target.name: loss for target, loss in zip(self.targets, losses, strict=True)}

    def strategy_source_losses(self, model: Any) -> Array:
        """Return the loss of each source [k] for a strategy, nats per token; nan where it has no documents for that."""
        losses = {name: self._loss(model, rows) for name, rows in self._strategy_sources.items()}
        return np.array([losses.get(source.name, np.nan) for source in self.sources])

    def strategy_target_losses(self, model: Any) -> Array:
        """Return the loss on the search part of each target [m] for a strategy, nats per token."""
        losses = {name: self._loss(model, rows) for name, rows in self._strategy_targets.items()}
        return np.array([losses.get(target.name, np.nan) for target in self.targets])

    def strategy_target_gram(self, model: Any) -> Array:
        """
        Return [k, m], inner products of the gradients of what a strategy is shown: a source's loss, and a target's.

        It takes a forward and backward pass over the documents of every source and target; nan where there are none.
        """
        targets = {name: loss_gradient(model, rows, self.batch_size) for name, rows in self._strategy_targets.items()}
        found = np.full((len(self.sources), len(self.targets)), np.nan)
        for i, source in enumerate(self.sources):
            if source.name in self._strategy_sources:
                own = loss_gradient(model, self._strategy_sources[source.name], self.batch_size)
                for j, target in enumerate(self.targets):
                    if target.name in targets:
                        found[i, j] = float(own.double() @ targets[target.name].double())
        return found

    @property
    def strategy_source_tokens(self) -> dict[str, int]:
        """Return how many tokens a strategy's losses of sources are measured on; not those without documents for it."""
        return {name: int(rows.document_tokens.sum()) for name, rows in self._strategy_sources.items()}

    def strategy_measures(self, strategy: Strategy[Any] | None) -> dict[str, Callable[[Any], Array]]:
        """Return what a strategy may be shown, {field of Observation: model -> array}; of targets what it needs."""
        of_targets = {"target_loss": self.strategy_target_losses, "target_gram": self.strategy_target_gram}
        wanted = OF_TARGETS & strategy.needs if strategy is not None and self.targets else ()
        needed = {name: of_targets[name] for name in sorted(wanted)}
        return {"eval_loss": self.strategy_source_losses, **needed}

    def strategy_tokens(self, strategy: Strategy[Any]) -> float:
        """Return the tokens whose forward passes cost as much as what a strategy needs; a backward pass is two."""
        sources, needs = sum(self.strategy_source_tokens.values()), strategy.needs
        targets = sum(int(rows.document_tokens.sum()) for rows in self._strategy_targets.values())
        once = sources * ("eval_loss" in needs) + targets * ("target_loss" in needs)
        return once + 3 * (sources + targets) * ("target_gram" in needs)

    def check_fed(self, strategy: Strategy[Any], share: float) -> None:
        """Raise InputError if a strategy needs held-out losses and some source or target has no documents for that."""
        without = [target.name for target in self.targets if target.name not in self._strategy_targets]
        if without and strategy.needs & OF_TARGETS:
            raise InputError(
                f"{strategy!r} should have documents of each target to measure losses on, besides those that results "
                f"rest on; found none of {', '.join(without)}; lower held_out of the target, or give more documents"
            )
        missing = [source.name for source in self.sources if source.name not in self._strategy_sources]
        if missing and strategy.needs & {"eval_loss", "target_gram"}:
            raise InputError(
                f"{strategy!r} should have held-out documents of each source to measure losses "
                f"on, besides those that results rest on; found none of {', '.join(missing)} (held_out: {share:g}); "
                "raise held_out, or give more documents"
            )

    def unreported(self, strategy: Strategy[Any]) -> list[str]:
        """Return a sentence if a strategy that reads held-out losses where it can gets none of some sources."""
        missing = [name for name in self._stores if name not in self._strategy_sources]
        if not missing or "eval_loss" not in strategy.needs | strategy.uses:
            return []
        return [
            f"the strategy was given no held-out loss of {', '.join(missing)}: too few documents are held out there to "
            "show it some and to report on others; raise held_out"
        ]

    def documents(self, model: Any) -> tuple[dict[str, Array], dict[str, Array]]:
        """Return nats and tokens of each held-out document [d], by target."""
        losses = {name: evaluate(model, rows, self.batch_size) for name, rows in self._rows.items()}
        return (
            {name: found.nats for name, found in losses.items()},
            {name: np.asarray(found.tokens, np.float64) for name, found in losses.items()},
        )

    def source_losses(self, model: Any) -> dict[str, float]:
        """Return the loss on some 10,000 held-out tokens of each source, nats per token: for curves."""
        return {name: self._loss(model, rows) for name, rows in self._source_rows.items()}

    def measured_source_losses(self, model: Any) -> dict[str, float]:
        """Return the loss on some 50,000 held-out tokens of each source, nats per token: for the result."""
        return {name: self._loss(model, rows) for name, rows in self._rows_of_sources(MEASURED_TOKENS).items()}

    @cached_property
    def _questions(self) -> dict[str, dict[str, Question]]:
        return {target.name: held_out_questions(target) for target in self.targets}

    @property
    def asked(self) -> dict[str, list[str]]:
        """Return {target: the quantities that are measured on its questions}; none of targets of documents."""
        found = {t.name: [q.name for q in quantities_of(t, self._questions[t.name])] for t in self.targets}
        return {name: own for name, own in found.items() if own}

    def answers(self, model: Any) -> Answers:
        """Return {quantity: {target of questions: [d]}}, of each held-out row; None where a row says nothing of it."""
        found: Answers = {}
        for target in (t for t in self.targets if t.name in self.asked):
            asked, questions = self.asked[target.name], self._questions[target.name]
            if ACCURACY.name not in asked:
                questions = {text: replace(question, others=()) for text, question in questions.items()}
            said = answer(model, list(questions.values()), self.tokenizer, self.context, self.batch_size)
            for quantity in asked:
                of_text = dict(zip(questions, said[quantity], strict=True))
                found.setdefault(quantity, {})[target.name] = [of_text.get(t) for t in held_out_texts(target)]
        return found

    def lacks(self, answers: Mapping[str, Mapping[str, Any]]) -> bool:
        """Whether answers, of a former version perhaps, are without something that is measured today."""
        return any(name not in answers.get(quantity, {}) for name, own in self.asked.items() for quantity in own)

    def curve(self, watched: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        """Return a training's points with the names of today's targets."""
        seen = {key for point in watched for key in point["loss"]}
        names: dict[str, str] = {}
        for target in self.targets:  # of a training that a former version began: the points of one part alone
            keys = (_key(target, part) for part in (_ROWS, _DOCUMENTS, _WHOLE))
            if found := next((key for key in keys if key in seen), None):
                names[found] = target.name
        names |= {} if self.targets else {f"{AVERAGE_OF_SOURCES}@": AVERAGE_OF_SOURCES}
        points = []
        for point in watched:
            loss = {names[key]: value for key, value in point["loss"].items() if key in names}
            if loss:
                points.append({"step": point["step"], "tokens": point["tokens"], "loss": loss})
        return points

    def _loss(self, model: Any, rows: TargetRows) -> float:
        return evaluate(model, rows, self.batch_size).loss
