"""What proxies of any kind say about the targets: one column of likelihoods per source."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mixwright.errors import InputError
from mixwright.experiment.core.stages import Progress, Stage, folder_name
from mixwright.experiment.text.config import SearchConfig
from mixwright.experiment.text.inputs import Target
from mixwright.files import fingerprint
from mixwright.search.table.table import LikelihoodTable
from mixwright.text import Question, Tokenizer
from mixwright.text.target_rows import TargetRows

_BLOCK = 1 << 16


def part_of(progress: Progress, name: str, index: int, parts: int, label: str) -> Progress:
    """Return a progress for part `index` of the equal parts of a stage, each worth 1000."""

    def report(stage: str, done: int, total: int, note: str = "") -> None:
        progress(name, 1000 * index + round(1000 * done / max(total, 1)), 1000 * parts, f"{label} {note}".strip())

    return report


def units_of(config: SearchConfig, target: Target) -> list[str]:
    """Return what the rows of a target's tables are; an answer that is scored alone is one row."""
    if target.config.kind == "questions" and target.config.score == "answer":
        return ["answer"]
    return list(config.search.likelihood)


def encode(tokenizer: Tokenizer, items: list[str] | list[Question]) -> list[Any]:
    """Return the ids of each document, or of each prompt and answer."""
    texts = [item for item in items if isinstance(item, str)]
    if texts:
        return list(tokenizer.encode(texts))
    questions = [item for item in items if isinstance(item, Question)]
    prompts: list[NDArray[Any]] = tokenizer.encode([q.prompt for q in questions])
    answers: list[NDArray[Any]] = tokenizer.encode([q.answer for q in questions])
    return list(zip(prompts, answers, strict=True))


def target_rows(items: list[Any], tokenizer: Tokenizer, context: int, unit: str) -> TargetRows:
    """Return the rows of a part of a target: of texts, or of answers given their prompts."""
    encoded = encode(tokenizer, items)
    if items and isinstance(items[0], Question):
        return TargetRows.from_questions(encoded, context, "answer", tokenizer.bos)
    return TargetRows.from_documents(encoded, context, unit, tokenizer.bos)


@dataclass(frozen=True)
class Scores:
    """
    What the proxies say about a target.

    Parameters
    ----------
    table
        The likelihoods.
    losses
        [k], the loss of the whole target under each proxy, nats.
    tokens
        Tokens that all proxies together scored.
    """

    table: LikelihoodTable
    losses: list[float]
    tokens: int


class Scoring:
    """
    The table of one target and unit while its columns are written; what is written is not scored again.

    Parameters
    ----------
    folder
        Where `scores/` and `table/` are.
    tokenizer, target, unit
        Of the rows.
    context
        Tokens of a chunk.
    prints
        {source: fingerprint of its proxy}.
    ahead
        Pieces are planned for it: somebody else will begin and finish it.
    """

    def __init__(
        self,
        folder: Path,
        tokenizer: Tokenizer,
        target: Target,
        unit: str,
        context: int,
        prints: Mapping[str, str],
        ahead: bool = False,
    ) -> None:
        self.rows, self.target = target_rows(target.search, tokenizer, context, unit), target
        data = fingerprint([target.fingerprint, tokenizer.fingerprint, self.rows.fingerprint])
        name, inputs = folder_name(target.name), {"stage": "scores", "data": data, "proxies": list(prints.items())}
        self._stage = Stage(folder / "scores" / name / unit, inputs)
        path = folder / "table" / name / unit
        _drop_other(path, list(prints), data)
        self.table = LikelihoodTable.create(
            path,
            list(prints),
            documents=self.rows.documents,
            target_names=[target.name],
            unit=unit,
            fingerprints=dict(prints),
            data_fingerprint=data,
        )
        self._result = self._stage.result() if self.table.complete else None
        if self._result is None and not ahead:
            self._stage.begin()

    @property
    def missing(self) -> list[str]:
        """Return the sources whose columns are not complete."""
        return list(self.table.missing)

    def finish(self, seconds: float | None = None) -> Scores:
        """Return the scores, once all columns are there; `seconds`: what they took, if the clock says another thing."""
        if self._result is None:
            tokens = int(self.rows.document_tokens.sum()) * self.table.k
            spent = {} if seconds is None else {"seconds": round(seconds, 3)}
            self._result = self._stage.finish({"losses": proxy_losses(self.table), "tokens": tokens, **spent})
        return Scores(self.table, self._result["losses"], self._result["tokens"])


def proxy_losses(table: LikelihoodTable) -> list[float]:
    """Return the loss of all rows under each proxy [k], nats."""
    total = np.zeros(table.k)
    for start in range(0, table.n, _BLOCK):
        stop = min(start + _BLOCK, table.n)
        total -= table.weights[start:stop] @ table.block(start, stop)
    return [float(value) for value in total]


def _drop_other(path: Path, names: list[str], data: str) -> None:
    """Remove a table that was made of other data or for other sources, or cannot be read."""
    if not (path / "table.json").exists():
        shutil.rmtree(path, ignore_errors=True)
        return
    try:
        table = LikelihoodTable.open(path)
        same = list(table.sources) == names and table.data_fingerprint == data
        del table
    except InputError:  # cut off or damaged: scored again
        same = False
    if not same:
        shutil.rmtree(path)
