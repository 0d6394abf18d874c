"""The rows of a likelihood table as the solver works with them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from mixwright.errors import InputError

Array = NDArray[np.float64]
Matrix = NDArray[np.floating]

EXACT_ELEMENTS = 1 << 26  # up to this size (512 MB) P is float64; above it is float32
FAST_ELEMENTS = 4_000_000  # up to this size resampling works in float64 too
BLOCK_ELEMENTS = 1 << 18  # elements of a block: it stays in the processor's cache


class Blocks(Protocol):
    """What the solver reads from: a likelihood table, on disk or in memory."""

    @property
    def n(self) -> int:
        """Return the number of rows."""
        ...

    def block(self, start: int, stop: int) -> Array:
        """Return natural logs [stop - start, k], a copy."""
        ...


@dataclass(frozen=True)
class Moments:
    """f(w) + offset and its descent direction g [k] at some weights: g_k = sum_i c_i P_ik / (P w)_i."""

    loss: float
    gain: Array


class Evidence:
    """
    P [n, k] = exp(L - row maximum) over the allowed sources, the row weights c [n] with sum 1, and the offset.

    Only ratios within a row matter, so each row is divided by its largest likelihood; `offset` = sum_i c_i max_k L_ik
    gives the loss back. P is float32 for very large tables: it drives the solver, while `exact_columns` and the exact
    `moments` recompute from the float64 logs, a block at a time; certificates are taken from those.
    """

    def __init__(self, logs: Blocks, columns: NDArray[np.intp], row_weights: Array) -> None:
        self.logs: Blocks | None = logs
        self.columns = columns
        self.n, self.k = logs.n, columns.size
        self.c = row_weights / row_weights.sum()
        self.maximum = np.empty(self.n)
        dtype = np.float64 if self.n * self.k <= EXACT_ELEMENTS else np.float32
        self.P: Matrix = np.empty((self.k, self.n), dtype).T  # a column is contiguous: working sets are copied quickly
        for part in self.parts():
            relative = self._logs(part)
            self.maximum[part] = relative.max(1)
            if (bad := np.flatnonzero(np.isneginf(self.maximum[part]))).size:
                raise InputError(
                    f"each row should be possible under a source that is allowed; row {part.start + bad[0]} is -inf "
                    "under all of them; remove the row, or allow a source that explains it"
                )
            relative -= self.maximum[part, None]
            np.exp(relative, out=relative)
            self.P[part] = relative

    def parts(self) -> Iterator[slice]:
        """Yield the row blocks of one pass."""
        step = max(1, BLOCK_ELEMENTS // self.k)
        for start in range(0, self.n, step):
            yield slice(start, min(start + step, self.n))

    def _logs(self, part: slice) -> Array:
        assert self.logs is not None
        block = self.logs.block(part.start, part.stop)
        return block if self.columns.size == block.shape[1] else block[:, self.columns]

    @cached_property
    def offset(self) -> float:
        """Return sum_i c_i max_k L_ik in nats: f(w) = `Moments.loss` - offset."""
        return float(self.c @ self.maximum)

    @cached_property
    def fast(self) -> Matrix:
        """Return P in the precision that resampling works in."""
        small = self.n * self.k <= FAST_ELEMENTS
        return self.P if small or self.P.dtype == np.float32 else self.P.astype(np.float32)

    def every(self, step: int) -> Evidence:
        """Return a sample: every so many rows, for a first guess (its `exact` is that of P)."""
        out = object.__new__(Evidence)
        out.logs, out.columns = None, self.columns
        out.P, out.maximum = self.P.T[:, ::step].astype(np.float64).T, self.maximum[::step]
        out.n, out.k = out.P.shape
        out.c = self.c[::step] / self.c[::step].sum()
        return out

    def exact_columns(self, chosen: NDArray[np.intp]) -> Array:
        """Return the float64 likelihoods [n, len(chosen)] of some columns."""
        if self.P.dtype == np.float64:
            return np.asarray(self.P if chosen.size == self.k else self.P.T[chosen].T, np.float64)
        out = np.empty((chosen.size, self.n)).T
        for part in self.parts():
            np.exp(self._logs(part)[:, chosen] - self.maximum[part, None], out=out[part])
        return out

    def moments(self, w: Array, exact: bool = True) -> Moments:
        """Return loss and gain at `w` [k] in one pass; `exact=False` reads the working copy as it is."""
        if not exact or self.P.dtype == np.float64:
            return self._moments(self.P, self.c, w)
        parts = (
            self._moments(np.exp(self._logs(part) - self.maximum[part, None]), self.c[part], w) for part in self.parts()
        )
        total = list(parts)
        return Moments(sum(m.loss for m in total), np.sum([m.gain for m in total], axis=0))

    @staticmethod
    def _moments(P: Matrix, c: Array, w: Array) -> Moments:
        y = (P @ w.astype(P.dtype)).astype(np.float64)
        y[c == 0] = 1.0
        with np.errstate(divide="ignore"):
            return Moments(-float(c @ np.log(y)), ((c / y).astype(P.dtype) @ P).astype(np.float64))
