"""Log-likelihoods of a target's rows under a model, and held-out losses per document."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mixwright.errors import InputError
from mixwright.training.model import check_context, torch

_WINDOW = 16
_UNITS = ("sequence", "chunk", "token")
_QUESTION_UNITS = ("joint", "answer")


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
            digest.update(array.tobytes())
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

        "joint" is the likelihood of prompt and answer, cut into chunks like a document. "answer" is that of the answer
        given the prompt; a prompt too long for the context loses its start.
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

    def chunk_rows(self) -> NDArray[np.int64]:
        """Return where the rows of each chunk start, int64 [c + 1]; chunks of one document can share a row."""
        if self.unit == "token":
            return self.ends
        if self.unit == "chunk":
            return np.arange(len(self.ends))
        row = np.cumsum(np.diff(self.chunk_documents, prepend=self.chunk_documents[0]) != 0)
        return np.append(row, row[-1] + 1)


@dataclass(frozen=True)
class DocumentLosses:
    """
    Held-out loss of each document: `nats` float64 [d], the sum over its tokens, and `tokens` int64 [d].

    Documents are in the order given; an empty one has 0 of both.
    """

    nats: NDArray[np.float64]
    tokens: NDArray[np.int64]

    @property
    def loss(self) -> float:
        """Return nats per token over all documents."""
        return float(self.nats.sum() / self.tokens.sum())


def score(model: Any, rows: TargetRows, batch_size: int = 32, start_row: int = 0) -> Iterator[NDArray[np.float64]]:
    """
    Yield the log-likelihoods of the rows from `start_row` on, in row order, in blocks.

    Parameters
    ----------
    model
        A causal language model; it is evaluated in float32, in evaluation mode.
    rows
        What to score.
    batch_size
        Chunks per pass of the model.
    start_row
        Where to start, 0 .. n: the number of rows that are already known.

    Yields
    ------
    float64 [m]
        Natural logarithms. Blocks joined have n - start_row entries.
    """
    check_context(model.config, rows.context)
    if not 0 <= start_row <= rows.n:
        raise InputError(f"the first row should be from 0 to {rows.n}, found {start_row}")
    starts = rows.chunk_rows()
    done, chunk = start_row, _first_chunk(starts, start_row)
    carried = 0.0  # what is known of the row that goes on in the next window
    while done < rows.n:
        stop = min(chunk + _WINDOW * batch_size, len(starts) - 1)
        values, places = _pieces(rows, starts, _score_chunks(model, rows, batch_size, chunk, stop), chunk)
        upto, first = int(starts[stop]), int(starts[chunk])
        sums = np.zeros(max(upto, int(places[-1]) + 1) - first)
        np.add.at(sums, places - first, values)
        sums[0] += carried
        carried = float(sums[upto - first]) if upto - first < len(sums) else 0.0
        block = sums[done - first : upto - first] if upto > done else sums[:0]
        if len(block):
            yield block
        done, chunk = max(done, upto), stop


def evaluate(model: Any, rows: TargetRows, batch_size: int = 32) -> DocumentLosses:
    """Return the loss of each document under the model; rows of any unit will do, they add up to the same."""
    values = np.concatenate(list(score(model, rows, batch_size)))
    nats = np.zeros(rows.total)
    np.subtract.at(nats, rows.documents, values)
    return DocumentLosses(nats, rows.document_tokens)


def _first_chunk(starts: NDArray[np.int64], row: int) -> int:
    """Return the first chunk that has a part in `row`."""
    exact = int(np.searchsorted(starts, row, "left"))
    return exact if exact < len(starts) and starts[exact] == row else exact - 1


def _pieces(
    rows: TargetRows, starts: NDArray[np.int64], scores: Sequence[NDArray[np.float64]], chunk: int
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return values that add up to the rows, and the row of each: a token's or a chunk's."""
    if rows.unit == "token":
        return np.concatenate(scores), np.arange(starts[chunk], starts[chunk + len(scores)])
    return np.array([values.sum() for values in scores]), starts[chunk : chunk + len(scores)]


def _score_chunks(model: Any, rows: TargetRows, size: int, start: int, stop: int) -> list[NDArray[np.float64]]:
    """Return the log-probabilities of each chunk's scored tokens, for chunks start .. stop - 1."""
    lengths = np.diff(rows.ends)[start:stop]
    order = np.argsort(-lengths, kind="stable")
    found: list[NDArray[np.float64]] = [np.empty(0)] * (stop - start)
    was_training = model.training
    model.eval()
    try:
        for begin in range(0, len(order), size):
            batch = order[begin : begin + size]
            logs = _log_probabilities(model, rows, batch + start)
            for i, values in zip(batch.tolist(), logs, strict=True):
                found[i] = values[rows.skip[start + i] : lengths[i]].astype(np.float64)
    finally:
        model.train(was_training)
    return found


def _log_probabilities(model: Any, rows: TargetRows, chunks: NDArray[np.int64]) -> NDArray[np.float32]:
    """Return the log-probability of each token of some chunks, [b, longest], padded on the right."""
    longest = int((rows.ends[chunks + 1] - rows.ends[chunks]).max())
    tokens = np.full((len(chunks), longest + 1), rows.bos, np.int64)
    for line, chunk in zip(tokens, chunks, strict=True):
        ids = rows.tokens[rows.ends[chunk] : rows.ends[chunk + 1]]
        line[1 : 1 + len(ids)] = ids
    with torch.no_grad():  # inference tensors would be kept by a model that ranks hold in parts
        batch = torch.from_numpy(tokens).to(model.device)
        logits = model(input_ids=batch[:, :-1], use_cache=False).logits.float()
        losses = torch.nn.functional.cross_entropy(logits.flatten(0, 1), batch[:, 1:].flatten(), reduction="none")
        return -losses.view(len(chunks), longest).cpu().numpy()


def _check(context: int, unit: str, units: tuple[str, ...]) -> None:
    if unit not in units:
        raise InputError(f"the unit should be one of {', '.join(units)}, found {unit!r}")
    if context < 1:
        raise InputError(f"the context should be at least 1 token, found {context}")


def _join(lists: Sequence[NDArray[np.int32]]) -> NDArray[np.int32]:
    return np.concatenate(lists) if lists else np.empty(0, np.int32)


def _ends(sizes: Sequence[ArrayLike]) -> NDArray[np.int64]:
    return np.concatenate([[0], *sizes]).cumsum().astype(np.int64)
