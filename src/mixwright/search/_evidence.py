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

EXACT_ELEMENTS = 4_000_000  # up to this size the working copy is float64; above it is float32
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
    gives the loss back. The working copy is float32 for large tables: it drives the solver, while `exact_columns` and
    the exact `moments` recompute from the float64 logs, a block at a time; certificates are taken from those.
    """

    def __init__(self, logs: Blocks, columns: NDArray[np.intp], row_weights: Array) -> None:
        self.logs, self.columns = logs, columns
        self.n, self.k = logs.n, columns.size
        self.c = row_weights / row_weights.sum()
        self.maximum = np.empty(self.n)
        dtype = np.float64 if self.n * self.k <= EXACT_ELEMENTS else np.float32
        self.P: Matrix = np.empty((self.n, self.k), dtype)
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
        block = self.logs.block(part.start, part.stop)
        return block if self.columns.size == block.shape[1] else block[:, self.columns]

    @cached_property
    def offset(self) -> float:
        """Return sum_i c_i max_k L_ik in nats: f(w) = `Moments.loss` - offset."""
        return float(self.c @ self.maximum)

    def exact_columns(self, chosen: NDArray[np.intp]) -> Array:
        """Return the float64 likelihoods [n, len(chosen)] of some columns."""
        if self.P.dtype == np.float64:
            return np.ascontiguousarray(self.P[:, chosen])
        out = np.empty((self.n, chosen.size))
        for part in self.parts():
            np.exp(self._logs(part)[:, chosen] - self.maximum[part, None], out=out[part])
        return out

    def moments(self, w: Array, exact: bool = True) -> Moments:
        """Return loss and gain at `w` [k] in one pass; `exact=False` reads the working copy as it is."""
        loss, gain = 0.0, np.zeros(self.k)
        fast = not exact or self.P.dtype == np.float64
        vector = w.astype(self.P.dtype) if fast else w
        for part in self.parts():
            block = self.P[part] if fast else np.exp(self._logs(part) - self.maximum[part, None])
            c = self.c[part]
            y = np.where(c > 0, (block @ vector).astype(np.float64), 1.0)
            with np.errstate(divide="ignore"):
                loss -= float(c @ np.log(y))
                gain += (c / y).astype(block.dtype) @ block
        return Moments(loss, gain)
