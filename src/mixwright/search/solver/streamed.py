"""The rows of a likelihood table that is larger than memory: read again in each pass, a block at a time."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mixwright.search.solver.evidence import (
    EXACT_ELEMENTS,
    SAMPLE_ROWS,
    Array,
    Blocks,
    Evidence,
    Moments,
    in_threads,
    sample_step,
)

BLOCK_ELEMENTS = 1 << 20  # elements of a block: long enough to read, and short enough for the processor's cache
SHARE = 8  # the sample of the rows takes at most such a part of the memory
READ_ROWS = 4096  # rows of a block where there are many sources: shorter pieces of a file take as long to read
RECENT = 2  # moments that are at hand
TOGETHER = 16  # blocks that one thread sums
HESSIAN_WORK = 200  # sources^2 of a Hessian of all rows, per source of the table: about four passes


class StreamedEvidence(Evidence):
    """
    `Evidence` without P [n, k] in memory: a sample of its rows, the maxima [n] and the row weights [n] are.

    A first guess comes from the sample. Loss, gains, the certificate and the Hessian of the sources that matter are
    exact, from the float64 logs of all rows, in one pass for each weights that are asked about.

    Parameters
    ----------
    logs, columns, row_weights
        As in `Evidence`.
    memory
        Bytes that P would have had to fit in; the sample takes an eighth of it.
    """

    def __init__(self, logs: Blocks, columns: NDArray[np.intp], row_weights: Array, memory: float) -> None:
        self.logs: Blocks | None = logs
        self.columns = columns
        self.n, self.k = logs.n, columns.size
        self.c = row_weights / row_weights.sum()
        self.maximum = np.empty(self.n)
        self.precise = True
        self.memory = memory
        wanted = -(-self.n * self.k * 4 // max(1, int(memory / SHARE)))
        self.step = max(sample_step(self.n), min(wanted, self.n // SAMPLE_ROWS))
        rows = -(-self.n // self.step) if self.step >= 2 else 0
        dtype = np.float64 if rows * self.k <= EXACT_ELEMENTS else np.float32
        self._sample = np.empty((self.k, rows), dtype).T if rows else None
        self.P: Any = StreamedMatrix(self, np.arange(self.k))
        self._recent: list[tuple[Array, Moments]] = []
        self._hessian_type = np.float64 if self.n * self.k <= EXACT_ELEMENTS else np.float32
        self._hessian = np.empty(0), np.empty(0, np.intp), np.empty((0, 0))
        self.passes = 0
        self.fill(self._fill, self.parts())

    def _fill(self, part: slice) -> int:
        """Note the maxima of a block, and its rows that are in the sample; return the first impossible row, or -1."""
        relative = self.read_logs(part)
        top = relative.max(0)
        self.maximum[part] = top
        if (bad := np.flatnonzero(~np.isfinite(top))).size:
            return int(part.start + bad[0])
        if self._sample is not None:
            chosen = relative[:, :: self.step] - top[:: self.step]
            self._sample.T[:, part.start // self.step : -(-part.stop // self.step)] = np.exp(chosen)
        return -1

    def _block_rows(self, width: int = 0) -> int:
        width = width or self.k
        return max(BLOCK_ELEMENTS // width, min(READ_ROWS, int(self.memory / (256 * width))))

    def exact_columns(self, chosen: NDArray[np.intp], out: Array | None = None) -> Any:
        """Return the likelihoods [n, len(chosen)] of some columns as a matrix that is read when it is used."""
        return StreamedMatrix(self, chosen)

    def likelihoods(self, part: slice, chosen: NDArray[np.intp]) -> Array:
        """Return the float64 likelihoods [len(chosen), rows] of a block."""
        block = self.read_logs(part, None if chosen.size == self.k else chosen)
        block -= self.maximum[part]
        np.exp(block, out=block)
        return block

    def gains(self, w: Array) -> Moments:
        """Return `moments`: there is nothing rougher."""
        return self.moments(w)

    def moments(self, w: Array) -> Moments:
        """Return loss and gain at `w` [k] in one pass, all from the float64 logs; those of the last ones are kept."""
        for at, found in self._recent:
            if np.array_equal(at, w):
                return found
        everything, near = np.arange(self.k), self._beside(w)
        loss, gain, H = self._pass(w, everything, near)
        self._hessian = w.copy(), near, H
        found = Moments(loss, gain, np.ones(self.k, bool))
        self._recent = [(w.copy(), found), *self._recent][:RECENT]
        return found

    def _pass(self, w: Array, columns: NDArray[np.intp], near: NDArray[np.intp]) -> tuple[float, Array, Array]:
        """Return loss, gain of some columns that hold all weight, and Hessian of those at the positions `near`."""
        self.passes += 1
        share = w[columns]

        def of(parts: list[slice]) -> tuple[float, Array, Array]:
            loss, gain, H = 0.0, np.zeros(columns.size), np.zeros((near.size, near.size))
            for part in parts:
                P, c = self.likelihoods(part, columns), self.c[part]
                y = share @ P
                y[c == 0] = 1.0
                with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
                    loss -= float(c @ np.log(y))
                    gain += P @ (c / y)
                    root = np.sqrt(c) / y
                if near.size:
                    block = np.empty((near.size, y.size), self._hessian_type)
                    for row, i in zip(block, near, strict=True):
                        np.multiply(P[i], root, out=row, casting="same_kind")
                    H += block @ block.T
            return loss, gain, H

        parts = list(self.parts(columns.size))
        found = in_threads(of, [parts[i : i + TOGETHER] for i in range(0, len(parts), TOGETHER)])
        losses, gains, hessians = zip(*found, strict=True)
        return float(sum(losses)), np.sum(gains, axis=0), np.sum(hessians, axis=0)

    def _beside(self, w: Array) -> NDArray[np.intp]:
        """Return the sources whose Hessian will be asked for: those used, and the best others in a former pass."""
        used = np.flatnonzero(w)
        rest = np.flatnonzero(w == 0)
        former = self._recent[0][1] if self._recent else self._in_memory and self._in_memory.gains(w)
        if former:
            more = max(12 if self._recent else 16, used.size // 2 + 4)
            used = np.union1d(used, rest[np.argsort(-former.gain[rest], kind="stable")[:more]])
        return used if used.size**2 <= HESSIAN_WORK * self.k / 4 else np.empty(0, np.intp)

    def curvature(self, w: Array, chosen: NDArray[np.intp], rows: int) -> Array:
        """
        Return the Hessian [len(chosen), len(chosen)] of the loss at `w`, of all rows where that is worth its time.

        That of a sample is no substitute: likelihood ratios have long tails, and steps with it converge slowly.
        """
        at, known, H = self._hessian
        if np.array_equal(at, w) and np.isin(chosen, known).all():
            place = np.searchsorted(known, chosen)
            return H[np.ix_(place, place)]
        if self._in_memory is not None and chosen.size**2 > HESSIAN_WORK * self.k:
            with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
                found = self._in_memory.curvature(w, chosen, rows)
            if np.isfinite(found).all():
                return found
        columns = np.union1d(np.flatnonzero(w), chosen)
        return self._pass(w, columns, np.searchsorted(columns, chosen))[2]

    @cached_property
    def _in_memory(self) -> Evidence | None:
        return self.sample()


class StreamedMatrix:
    """
    P[:, chosen] [n, m] of a streamed table: read when it is multiplied or indexed, and never whole.

    It has what the interior-point method asks of a matrix: products with P and with its transpose, blocks of rows,
    every m-th row, single columns.
    """

    __array_ufunc__ = None  # an array on the left leaves the product to __rmatmul__
    dtype = np.dtype(np.float64)

    def __init__(self, rows: StreamedEvidence, chosen: NDArray[np.intp]) -> None:
        self.rows, self.chosen = rows, chosen
        self.shape = (rows.n, chosen.size)

    def __len__(self) -> int:
        """Return n."""
        return self.rows.n

    def __matmul__(self, W: Array) -> Array:
        """Return P W, [n] or [n, b]."""
        out = np.empty((self.rows.n, *W.shape[1:]))

        def of(part: slice) -> None:
            out[part] = self.rows.likelihoods(part, self.chosen).T @ W

        in_threads(of, self._parts())
        return out

    def __rmatmul__(self, V: Array) -> Array:
        """Return V P for V [n] or [b, n]."""

        def of(part: slice) -> Array:
            product: Array = V[..., part] @ self.rows.likelihoods(part, self.chosen).T
            return product

        return np.sum(in_threads(of, self._parts()), axis=0)

    def __getitem__(self, at: Any) -> Any:
        """Return some rows [m, k]; [rows, column] is [m]; P[:] and P[::1] are P itself."""
        if isinstance(at, tuple):
            rows, column = at
            one = StreamedMatrix(self.rows, self.chosen[np.atleast_1d(column)])[rows]
            return (one @ np.ones(1)) if np.ndim(column) == 0 else one
        if isinstance(at, slice):
            if at.start is None and at.stop is None and at.step in (None, 1):
                return self
            start, stop, step = at.indices(self.rows.n)
            if step == 1:
                return self.rows.likelihoods(slice(start, stop), self.chosen).T
            at = np.arange(start, stop, step)
        out = np.empty((self.chosen.size, len(at))).T
        for part in self._parts():
            inside = np.flatnonzero((at >= part.start) & (at < part.stop))
            if inside.size:
                out[inside] = self.rows.likelihoods(part, self.chosen)[:, at[inside] - part.start].T
        return out

    def _parts(self) -> Any:
        return self.rows.parts(max(1, self.chosen.size))


def block_moments(P: Array, c: Array, w: Array) -> tuple[float, Array]:
    """Return the share in the loss, and in the gain [k], of the rows of a block: P [k, m], c [m], w [k]."""
    y = w @ P
    y[c == 0] = 1.0
    with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
        return -float(c @ np.log(y)), P @ (c / y)


def sum_moments(parts: list[tuple[float, Array]]) -> Moments:
    """Return the moments of all blocks."""
    gain = np.sum([gain for _, gain in parts], axis=0)
    return Moments(float(sum(loss for loss, _ in parts)), gain, np.ones(gain.size, bool))
