"""The rows of a target that are scored: documents cut into chunks, or questions with their answers."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mixwright.errors import InputError
from mixwright.files import atomic_write, write_json
from mixwright.files.opening import load_array

_UNITS = ("sequence", "chunk", "token")
_QUESTION_UNITS = ("joint", "answer")
_ARRAYS = ("tokens", "ends", "skip", "chunk_documents")
_NUMBERS = ("total", "context", "bos", "unit")


@dataclass(frozen=True, eq=False)
class TargetRows:
    """
    What to score: documents cut into chunks of at most `context` tokens, each read after a BOS.

    Attributes
    ----------
    tokens
        int32 [t], the chunks end to end, without BOS.
    ends
        int64 [c + 1], where each chunk starts and ends in `tokens`.
    skip
        int64 [c], how many tokens at the start of a chunk are read but not scored.
    chunk_documents
        int64 [c], the document of each chunk: its position in what was given.
    total
        How many documents were given, empty ones too.
    context, bos, unit
        Longest chunk; what is read before it; "sequence", "chunk", "token", "joint" or "answer".
    fingerprint
        16 hex digits of all of the above.
    """

    tokens: NDArray[np.int32]
    ends: NDArray[np.int64]
    skip: NDArray[np.int64]
    chunk_documents: NDArray[np.int64]
    total: int
    context: int
    bos: int
    unit: str
    fingerprint: str = field(init=False)

    def __post_init__(self) -> None:
        """Check that there is something to score; name the content."""
        if not len(self.tokens):
            raise InputError("there should be at least one target document with text, found none; check the target")
        digest = hashlib.sha256(f"{self.total} {self.context} {self.bos} {self.unit}".encode())
        for array in (self.tokens, self.ends, self.skip, self.chunk_documents):
            digest.update(np.ascontiguousarray(array).data)
        object.__setattr__(self, "fingerprint", digest.hexdigest()[:16])

    @classmethod
    def from_documents(cls, documents: Iterable[ArrayLike], context: int, unit: str, bos: int) -> TargetRows:
        """
        Cut documents (token ids without BOS) into chunks; a row is a document, a chunk or a token.

        A document without tokens gives no row.
        """
        _check(context, unit, _UNITS)
        lists = [np.asarray(ids, np.int32) for ids in documents]
        sizes = [np.diff([*range(0, len(ids), context), len(ids)]) for ids in lists]
        counts = [len(s) for s in sizes]
        documents_of = np.repeat(np.arange(len(lists)), counts)
        return cls(
            _join(lists), _ends(sizes), np.zeros(sum(counts), np.int64), documents_of, len(lists), context, bos, unit
        )

    @classmethod
    def from_questions(
        cls, questions: Iterable[tuple[ArrayLike, ArrayLike]], context: int, unit: str, bos: int
    ) -> TargetRows:
        """
        Make one row per question from (prompt ids, answer ids).

        "joint" is the likelihood of prompt and answer, cut into chunks like a document. "answer" is the likelihood
        of the answer given the prompt. A prompt too long for the context loses its start.
        """
        _check(context, unit, _QUESTION_UNITS)
        pairs = [(np.asarray(prompt, np.int32), np.asarray(answer, np.int32)) for prompt, answer in questions]
        if unit == "joint":
            rows = cls.from_documents([np.concatenate(pair) for pair in pairs], context, "sequence", bos)
            return cls(rows.tokens, rows.ends, rows.skip, rows.chunk_documents, rows.total, context, bos, "joint")
        for number, (_, answer) in enumerate(pairs, start=1):
            if not 0 < len(answer) <= context:
                found = f"{len(answer)} in question {number}"
                raise InputError(f"an answer should have 1 to {context} tokens (the context), found {found}")
        kept = [prompt[max(0, len(prompt) + len(answer) - context) :] for prompt, answer in pairs]
        lists = [np.concatenate([prompt, answer]) for prompt, (_, answer) in zip(kept, pairs, strict=True)]
        skip = np.array([len(prompt) for prompt in kept], np.int64)
        ends = _ends([[len(ids)] for ids in lists])
        return cls(_join(lists), ends, skip, np.arange(len(lists)), len(lists), context, bos, unit)

    def spread(self, tokens: int, seed: int = 0) -> TargetRows:
        """
        Return some of the chunks, with about `tokens` to score, from all over the documents; all if there are fewer.

        One chunk is drawn at random from each stretch of equally many. Tokens count as rows of the unit "token", and
        otherwise each chunk is a row. The same seed gives the same chunks.
        """
        scored = int((np.diff(self.ends) - self.skip).sum())
        count, whole = -(-len(self.skip) * tokens // max(scored, 1)), len(self.skip)
        if scored <= tokens or count >= whole:
            return self
        within = np.random.default_rng(seed).random(count)
        kept = np.unique(((np.arange(count) + within) * whole / count).astype(np.int64).clip(max=whole - 1))
        pieces = [self.tokens[self.ends[i] : self.ends[i + 1]] for i in kept]
        ends, unit = (
            _ends([[len(piece) for piece in pieces]]),
            self.unit if self.unit in ("token", "answer") else "chunk",
        )
        documents = self.chunk_documents[kept]
        return TargetRows(_join(pieces), ends, self.skip[kept], documents, self.total, self.context, self.bos, unit)

    def save(self, folder: Path) -> None:
        """Write the rows into a folder, from which `load` maps them; InputError if that cannot be written."""
        for name in _ARRAYS:
            with atomic_write(folder / f"{name}.npy", "wb") as file:
                np.save(file, getattr(self, name), allow_pickle=False)
        write_json(folder / "rows.json", {name: getattr(self, name) for name in (*_NUMBERS, "fingerprint")})

    @classmethod
    def load(cls, folder: Path) -> TargetRows:
        """
        Return the rows that `save` wrote; they stay on disk.

        Raises
        ------
        InputError
            A file is missing or damaged.
        """
        try:
            about = json.loads((folder / "rows.json").read_text(encoding="utf-8"))
            arrays = {name: load_array(folder / f"{name}.npy", mapped=True) for name in _ARRAYS}
            rows = cls(**arrays, **{name: about[name] for name in _NUMBERS})
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(f"{folder} should hold the rows of a target, found {error}; remove it") from error
        if rows.fingerprint != about["fingerprint"]:
            raise InputError(f"{folder} should hold the rows of a target, found other contents; remove it")
        return rows

    @property
    def n(self) -> int:
        """Return the number of rows."""
        return int(self.chunk_rows()[-1])

    @property
    def documents(self) -> NDArray[np.int64]:
        """Return the document of each row, int64 [n]."""
        if self.unit == "token":
            return np.repeat(self.chunk_documents, np.diff(self.ends))
        return self.chunk_documents if self.unit == "chunk" else np.unique(self.chunk_documents)

    @property
    def document_tokens(self) -> NDArray[np.int64]:
        """Return how many tokens of each document are scored, int64 [total]."""
        scored = np.diff(self.ends) - self.skip
        return np.bincount(self.chunk_documents, scored, self.total).astype(np.int64)

    @property
    def document_starts(self) -> NDArray[np.int64]:
        """Return where each document starts in `tokens`, rising; empty documents have no start."""
        first = np.diff(self.chunk_documents, prepend=-1) != 0
        return self.ends[:-1][first]

    def sums(self, token_values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the values of the rows, float64 [n], from those of the tokens [t]; skipped tokens count nowhere."""
        lengths = np.diff(self.ends)
        read = np.arange(self.tokens.size) - np.repeat(self.ends[:-1], lengths) < np.repeat(self.skip, lengths)
        if self.unit == "token":
            return token_values
        row = np.repeat(self.chunk_rows()[:-1], lengths)
        return np.bincount(row, np.where(read, 0.0, token_values), self.n).astype(np.float64)

    def chunk_rows(self) -> NDArray[np.int64]:
        """Return where the rows of each chunk start, int64 [c + 1]; chunks of one document can share a row."""
        if self.unit == "token":
            return self.ends
        if self.unit == "chunk":
            return np.arange(len(self.ends))
        row = np.cumsum(np.diff(self.chunk_documents, prepend=self.chunk_documents[0]) != 0)
        return np.append(row, row[-1] + 1)


def _check(context: int, unit: str, units: tuple[str, ...]) -> None:
    if unit not in units:
        raise InputError(f"the unit should be one of {', '.join(units)}, found {unit!r}")
    if context < 1:
        raise InputError(f"the context should be at least 1 token, found {context}")


def _join(lists: Sequence[NDArray[np.int32]]) -> NDArray[np.int32]:
    return np.concatenate(lists) if lists else np.empty(0, np.int32)


def _ends(sizes: Sequence[ArrayLike]) -> NDArray[np.int64]:
    return np.concatenate([[0], *sizes]).cumsum().astype(np.int64)
