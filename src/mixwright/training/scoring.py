"""Log-likelihoods of a target's rows under a model, and held-out losses per document."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mixwright.errors import InputError
from mixwright.text.target_rows import TargetRows
from mixwright.training.model import check_context, torch

WINDOW = 16  # batches


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
    if start_row == rows.n:
        return
    window = WINDOW * batch_size
    chunk = _first_chunk(rows.chunk_rows(), start_row) // window * window  # batches as in a whole pass
    yield from row_values(rows, chunk_values(model, rows, batch_size, chunk), chunk, start_row)


def chunk_values(
    model: Any, rows: TargetRows, batch_size: int, start: int, stop: int | None = None
) -> Iterator[NDArray[np.float64]]:
    """
    Yield what chunks add to the rows: a log-likelihood for each token, where rows are tokens, else for each chunk.

    Chunks are sorted by length within windows of WINDOW batches, so that little is padded. The numbers of a chunk
    depend on those beside it in the last digits: a part that begins and ends with a window has those of a whole pass.

    Parameters
    ----------
    model, rows, batch_size
        As for `score`.
    start, stop
        The chunks; to the last one by default.

    Yields
    ------
    float64 [m]
        A block for each window.
    """
    check_context(model.config, rows.context)
    window, last = WINDOW * batch_size, len(rows.ends) - 1 if stop is None else stop
    for chunk in range(start, last, window):
        found = _score_chunks(model, rows, batch_size, chunk, min(chunk + window, last))
        yield np.concatenate(found) if rows.unit == "token" else np.array([values.sum() for values in found])


def row_values(
    rows: TargetRows, blocks: Iterable[NDArray[np.float64]], chunk: int = 0, start_row: int = 0
) -> Iterator[NDArray[np.float64]]:
    """
    Yield the log-likelihoods of the rows from `start_row` on, in blocks, from what chunks add to them.

    Each row is added up in the order of its chunks, so that blocks of any lengths give the same.

    Parameters
    ----------
    rows
        What was scored.
    blocks
        As `chunk_values` yields them, of all chunks from `chunk` on.
    chunk, start_row
        The first chunk, which is no later than that of `start_row`.
    """
    if rows.unit == "token":
        at = int(rows.ends[chunk])
        for values in blocks:
            if at + len(values) > start_row:
                yield values[max(start_row - at, 0) :]
            at += len(values)
        return
    starts, at, done = rows.chunk_rows(), chunk, start_row
    open_sum = 0.0  # of the row that goes on in the next block
    for values in blocks:
        if not len(values):
            continue
        first, upto = int(starts[at]), int(starts[at + len(values)])
        sums = np.zeros(int(starts[at + len(values) - 1]) - first + 1)
        sums[0] = open_sum
        np.add.at(sums, starts[at : at + len(values)] - first, values)
        at += len(values)
        open_sum = float(sums[upto - first]) if upto - first < len(sums) else 0.0
        if upto > done:
            yield sums[max(done - first, 0) : upto - first]
        done = max(done, upto)


def evaluate(model: Any, rows: TargetRows, batch_size: int = 32) -> DocumentLosses:
    """Return the loss of each document under the model; rows of any unit will do, they add up to the same."""
    values = np.concatenate(list(score(model, rows, batch_size)))
    nats = np.zeros(rows.total)
    np.subtract.at(nats, rows.documents, values)
    return DocumentLosses(nats, rows.document_tokens)


def loss_gradient(model: Any, rows: TargetRows, batch_size: int = 32) -> Any:
    """
    Return the gradient of the loss of all documents, nats per token: one vector over the parameters that are trained.

    It leaves the parameters' own gradients as they are. The model should not be held in parts by ranks.
    """
    parameters = [p for p in model.parameters() if p.requires_grad]
    lengths, total = np.diff(rows.ends), int(rows.document_tokens.sum())
    found, was_training = torch.zeros(sum(p.numel() for p in parameters), device=model.device), model.training
    model.eval()
    try:
        for begin in range(0, len(lengths), batch_size):
            chunks = np.arange(begin, min(begin + batch_size, len(lengths)))
            losses = _losses(model, rows, chunks)
            places = np.arange(losses.shape[1])
            counted = (places >= rows.skip[chunks, None]) & (places < lengths[chunks, None])
            loss = (losses * torch.from_numpy(counted).to(losses)).sum() / total
            grads = torch.autograd.grad(loss, parameters, allow_unused=True, materialize_grads=True)
            found += torch.cat([grad.flatten() for grad in grads])
    finally:
        model.train(was_training)
    return found


def _first_chunk(starts: NDArray[np.int64], row: int) -> int:
    """Return the first chunk that has a part in `row`."""
    exact = int(np.searchsorted(starts, row, "left"))
    return exact if exact < len(starts) and starts[exact] == row else exact - 1


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
    with torch.no_grad():  # inference tensors would be kept by a model that ranks hold in parts
        found: NDArray[np.float32] = -_losses(model, rows, chunks).cpu().numpy()
    return found


def _losses(model: Any, rows: TargetRows, chunks: NDArray[np.int64]) -> Any:
    """Return the loss of each token of some chunks, [b, longest], padded on the right, with its graph."""
    longest = int((rows.ends[chunks + 1] - rows.ends[chunks]).max())
    tokens = np.full((len(chunks), longest + 1), rows.bos, np.int64)
    for line, chunk in zip(tokens, chunks, strict=True):
        ids = rows.tokens[rows.ends[chunk] : rows.ends[chunk + 1]]
        line[1 : 1 + len(ids)] = ids
    batch = torch.from_numpy(tokens).to(model.device)
    logits = model(input_ids=batch[:, :-1], use_cache=False).logits.float()
    losses = torch.nn.functional.cross_entropy(logits.flatten(0, 1), batch[:, 1:].flatten(), reduction="none")
    return losses.view(len(chunks), longest)
