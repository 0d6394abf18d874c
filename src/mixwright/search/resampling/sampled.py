"""The rows of a search: all of them for the optimum, and those in memory for what draws rows again and again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from mixwright.errors import InputError
from mixwright.search.inputs import FEWEST_DOCUMENTS
from mixwright.search.resampling.resample import SearchProblem, paired_error
from mixwright.search.solver.evidence import EXACT_ELEMENTS, Array, Evidence, Moments, in_threads, raise_impossible
from mixwright.search.solver.interior import Region
from mixwright.search.solver.reuse import Reuse, reuse
from mixwright.search.solver.solve import Solution
from mixwright.search.solver.streamed import StreamedEvidence, block_moments, sum_moments
from mixwright.search.table.table import LikelihoodTable

MEMORY = float(1 << 30)  # bytes: larger tables are streamed
LEAST_ROWS = 20_000  # of a streamed table, resample at least this many rows where they fit into memory
FEWEST_ROWS = 1_000  # and this many in any case
RESAMPLED_BYTES = 16.0  # of a number: its log and its likelihood, in float64
READ = 1 << 22  # numbers that are read at a time

MakeProblem = Callable[[Evidence, NDArray[np.int64]], SearchProblem]


class SearchRows:
    """
    The allowed columns of a table with row weights [n], as a search needs them.

    - `whole`: all rows; streamed where P [n, k] in float32 would take more than `memory` bytes.
    - `problem`: rows with their documents, in memory, for cross-validation, intervals and the improvement: all of them,
      or whole documents that were drawn, of at most `most` rows; `drawn` [m] are those rows, None for all.
    """

    def __init__(
        self,
        table: LikelihoodTable,
        allowed: NDArray[np.intp],
        row_weights: Array,
        make_problem: MakeProblem,
        memory: float,
        max_rows: int | None,
        seed: int,
        previous: SearchRows | None = None,
    ) -> None:
        self.table, self.allowed, self.row_weights = table, allowed, row_weights
        self._make_problem = make_problem
        self.memory, self.max_rows, self.seed = memory, max_rows, seed
        self.keys = table.column_keys() if previous is not None else None
        self._reuse = None if previous is None else self._shared(previous)
        if allowed.size < table.k:
            table.check()  # the columns that are not allowed are not read again

    @property
    def streamed(self) -> bool:
        """Whether the rows are read again in each pass."""
        return 4.0 * self.table.n * self.allowed.size > self.memory

    @cached_property
    def whole(self) -> Evidence:
        """Return all rows."""
        arguments = self.table, self.allowed, self.row_weights
        found = self._reuse
        self._reuse = None  # it holds the previous search's likelihoods
        return StreamedEvidence(*arguments, self.memory) if self.streamed else Evidence(*arguments, found)

    def order(self, table: LikelihoodTable, allowed: NDArray[np.intp]) -> NDArray[np.intp]:
        """
        Return the allowed columns of another table, those of this search first and in its order if none has gone.

        New columns then lie behind the old ones, wherever they are in the table, and nothing is copied.
        """
        keys, own = table.column_keys(), self.keys or self.table.column_keys()
        place = {keys[i]: int(i) for i in allowed}
        first = [place.get(own[i], -1) for i in self.allowed]
        if -1 in first or len(set(first)) < len(first):
            return allowed
        return np.concatenate([np.array(first, np.intp), allowed[~np.isin(allowed, first)]])

    def _shared(self, previous: SearchRows) -> Reuse | None:
        """Return what the rows of a previous search in memory are worth to these."""
        there = previous.__dict__.get("whole")
        if there is None or self.streamed or previous.streamed or previous.table.n != self.table.n:
            return None
        keys = previous.keys or previous.table.column_keys()
        assert self.keys is not None
        return reuse(there, [keys[i] for i in previous.allowed], [self.keys[i] for i in self.allowed])

    @cached_property
    def drawn(self) -> NDArray[np.int64] | None:
        """Return the rows that were drawn, rising, None for all."""
        if self.max_rows is None and not self.streamed:
            return None
        most = self.max_rows or self._rows_in_memory()
        if np.count_nonzero(self.row_weights) <= most:
            return np.flatnonzero(self.row_weights) if self.streamed else None
        setting = "max_rows" if self.max_rows else "memory"
        return draw_documents(document_codes(self.table.documents), self.row_weights, most, self.seed, setting)

    def _rows_in_memory(self) -> int:
        """Return how many rows of a streamed table are resampled: about four million numbers, within the memory."""
        wanted = max(LEAST_ROWS, EXACT_ELEMENTS // self.allowed.size)
        return max(FEWEST_ROWS, min(wanted, int(self.memory / (RESAMPLED_BYTES * self.table.k))))

    @property
    def some(self) -> bool:
        """Whether rows that count were left out of those drawn."""
        return self.drawn is not None and self.drawn.size < int(np.count_nonzero(self.row_weights))

    @cached_property
    def resampled(self) -> tuple[LikelihoodTable, SearchProblem]:
        """Return the table of the rows in `problem`, and the problem."""
        if self.drawn is None:
            return self.table, self._make_problem(self.whole, document_codes(self.table.documents))
        table = in_memory(self.table, self.drawn)
        rows = Evidence(table, self.allowed, self.row_weights[self.drawn])
        return table, self._make_problem(rows, document_codes(table.documents))

    @property
    def problem(self) -> SearchProblem:
        """Return the rows with their documents, in memory."""
        return self.resampled[1]

    @cached_property
    def documents(self) -> int:
        """Return the number of documents of the table with a positive weight."""
        if "resampled" in self.__dict__ and self.drawn is None:
            return self.problem.documents
        codes = document_codes(self.table.documents)
        return int(np.count_nonzero(np.bincount(codes, self.row_weights)))

    @property
    def partial(self) -> bool:
        """Whether the weights come from some of the rows only."""
        return self.max_rows is not None and self.some

    @property
    def fitted(self) -> Evidence:
        """Return the rows that the weights are found on."""
        return self.problem.rows if self.partial else self.whole

    def of_all(self, found: Solution, region: Region) -> tuple[Solution, float]:
        """Return a solution with loss, objective, gap and gain on all rows, by one pass if need be; and the offset."""
        if not self.partial:
            return found, self.whole.offset
        moments, offset = self.moments(found.weights)
        return Solution.at(found.weights, moments, region), offset

    def moments(self, w: Array) -> tuple[Moments, float]:
        """Return loss and gain of all rows at `w` [allowed], exact, and the offset: one pass that keeps nothing."""
        c = self.row_weights / self.row_weights.sum()
        step = max(1, min(READ // (4 * self.allowed.size), int(self.memory / (256 * self.allowed.size))))

        def of(start: int) -> tuple[tuple[float, Array], float]:
            part = slice(start, min(start + step, self.table.n))
            block = self.table.by_source(part.start, part.stop, self.allowed)
            top = block.max(0)
            if not np.isfinite(top).all():
                raise_impossible(self.table, part.start + int(np.isfinite(top).argmin()))
            block -= top
            np.exp(block, out=block)
            return block_moments(block, c[part], w), float(c[part] @ top)

        found = in_threads(of, range(0, self.table.n, step))
        return sum_moments([moments for moments, _ in found]), float(sum(top for _, top in found))

    def sample(self, weights: Array) -> Sample | None:
        """Return the rows that were drawn, with what the weights [allowed] cost on them; None where all are used."""
        if not self.some:
            return None
        problem = self.problem
        rows, w = problem.rows, weights[None]
        losses = rows.losses(np.arange(rows.n), w)[0] - rows.maximum
        counted = rows.c > 0
        mean, error, _ = paired_error(losses[counted], rows.c[counted], problem.document[counted])
        return Sample(rows.n, problem.documents, mean, error)

    def notes(self) -> tuple[str, ...]:
        """Return sentences that belong beside the result: what comes from some of the rows."""
        if self.drawn is None or not self.some:
            return ()
        size = (
            f"{self.drawn.size:,} of {self.table.n:,} rows ({self.problem.documents:,} of {self.documents:,} "
            f"documents, drawn with seed {self.seed})"
        )
        if self.partial:
            return (
                f"the weights, their intervals and the improvement come from {size}; loss, objective and gap refer to "
                "all rows: the optimum of all rows is better by at most the gap",
            )
        return (
            f"a shrinkage by cross-validation, the intervals and the improvement come from {size}: all rows would "
            "give narrower intervals; weights, loss and gap refer to all rows",
        )


@dataclass(frozen=True)
class Sample:
    """Rows that were drawn: how many, of how many documents; the mean loss there, nats per row, and its error."""

    rows: int
    documents: int
    loss: float
    error: float


def document_codes(documents: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the documents [n] numbered 0, 1, ... in rising order, without sorting where that can be."""
    change = np.diff(documents)
    if (change >= 0).all():
        return np.concatenate([[0], np.cumsum(change > 0)])
    low, high = int(documents.min()), int(documents.max())
    if high - low < 4 * documents.size:
        present = np.zeros(high - low + 1, bool)
        present[documents - low] = True
        number: NDArray[np.int64] = np.cumsum(present) - 1
        return number[documents - low]
    return np.unique(documents, return_inverse=True)[1].astype(np.int64, copy=False)


def draw_documents(
    codes: NDArray[np.int64], weights: Array, most: int, seed: int, setting: str = "max_rows"
) -> NDArray[np.int64]:
    """
    Return the rows with a weight of whole documents in random order, as many as have at most `most` rows in all.

    `setting` is what the message of an InputError says to raise.
    """
    counts = np.bincount(codes[weights > 0], minlength=int(codes.max()) + 1)
    order = np.random.default_rng([seed, 2]).permutation(np.flatnonzero(counts))
    held = int(np.searchsorted(np.cumsum(counts[order]), most, "right"))
    if held < min(FEWEST_DOCUMENTS, order.size):
        raise InputError(
            f"{setting} should hold at least {FEWEST_DOCUMENTS} documents; found {held} in {most} rows (the largest "
            f"has {counts.max()} rows, the mean {counts[order].mean():.1f}); raise {setting}"
        )
    chosen = np.zeros(counts.size, bool)
    chosen[order[:held]] = True
    return np.flatnonzero(chosen[codes] & (weights > 0))


def in_memory(table: LikelihoodTable, rows: NDArray[np.int64]) -> LikelihoodTable:
    """Return some rows of a table, rising, as a table in memory; the others are read past, a block at a time."""
    logs = np.empty((rows.size, table.k))
    step = max(1, READ // table.k)

    def read(start: int) -> None:
        stop = min(start + step, table.n)
        first, last = np.searchsorted(rows, [start, stop])
        if last > first:
            logs[first:last] = table.by_source(start, stop)[:, rows[first:last] - start].T

    in_threads(read, range(0, table.n, step))
    return LikelihoodTable.from_array(
        logs, table.sources, documents=table.documents[rows], unit=table.unit, values="log_likelihood"
    )
