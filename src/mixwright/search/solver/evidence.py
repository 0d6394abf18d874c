"""The rows of a likelihood table as the solver works with them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import NoReturn, Protocol, TypeVar
from weakref import ReferenceType, ref

import numpy as np
from numpy.typing import NDArray

from mixwright.errors import InputError

Array = NDArray[np.float64]
Matrix = NDArray[np.floating]
Item = TypeVar("Item")
Value = TypeVar("Value")

EXACT_ELEMENTS = 4_000_000  # up to this size P is float64; above it is float32
BLOCK_ELEMENTS = 1 << 18  # elements of a block: it stays in the processor's cache
FEW_ROWS, MANY_ELEMENTS = 512, 1 << 22  # of many sources more is read at once: each may be a file to open
KEPT_ELEMENTS = 1 << 25  # float64 columns are kept up to this size, or for half of the sources
CHUNK = 1 << 14  # rows over which float32 products are summed before float64 takes over
SAMPLE_ROWS, SAMPLE_STEP = 2_000, 8  # fewer rows than twice this are not sampled
SPARE = 4  # columns that P has room for: those of a search with sources more
MARGIN = 2e-4  # relative error of a gain from float32 P, at most: rounded logs 5e-6, sums of CHUNK rows, exp 2e-7
NEAR = 0.05  # nats: weights whose gap is below this are near enough to look at gains exactly


class Blocks(Protocol):
    """What the solver reads from: a likelihood table, on disk or in memory."""

    @property
    def n(self) -> int:
        """Return the number of rows."""
        ...

    @property
    def k(self) -> int:
        """Return the number of columns."""
        ...

    def by_source(self, start: int, stop: int, chosen: NDArray[np.intp] | None = None) -> Array:
        """Return natural logs [len(chosen), stop - start] of some columns (default: all), a copy."""
        ...


class Fill(Protocol):
    """Another way to compute P than from the logs of all columns."""

    def fill(self, rows: Evidence) -> None:
        """Compute P, its sample and the row maxima."""
        ...


@dataclass(frozen=True)
class Moments:
    """
    f(w) + offset and its descent direction g [k] at some weights: g_k = sum_i c_i P_ik / (P w)_i.

    `exact` [k] tells which gains were computed from the float64 logs; the others are upper bounds.
    """

    loss: float
    gain: Array
    exact: NDArray[np.bool_]


def in_threads(function: Callable[[Item], Value], items: Iterable[Item]) -> list[Value]:
    """Return `function` of each item, in order; numpy releases the interpreter's lock, so blocks share the cores."""
    items = list(items)
    threads = min(os.cpu_count() or 1, 16, len(items))
    if threads < 2:
        return [function(item) for item in items]
    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(function, items))


class Evidence:
    """
    P [n, k] = exp(L - row maximum) over the allowed sources, the row weights c [n] with sum 1, and the offset.

    Only ratios within a row matter, so each row is divided by its largest likelihood; `offset` = sum_i c_i max_k L_ik
    gives the loss back. P is float64 for small tables. For others it is float32 and only prices sources: the float64
    columns of the sources that are used, or nearly, are computed from the logs, and certificates are taken from those.
    """

    def __init__(self, logs: Blocks, columns: NDArray[np.intp], row_weights: Array, reuse: Fill | None = None) -> None:
        self.logs: Blocks | None = logs
        self.columns = columns
        self.n, self.k = logs.n, columns.size
        self.c = row_weights / row_weights.sum()
        self.maximum = np.empty(self.n)
        self.precise = self.n * self.k <= EXACT_ELEMENTS
        dtype = np.float64 if self.precise else np.float32
        self._room: Matrix = np.empty((self.k + SPARE, self.n), dtype)  # untouched memory is not taken
        self._guest: ReferenceType[Evidence] | None = None  # whose columns are in the room behind these
        self._host: Evidence | None = None  # in whose room these are
        self.P: Matrix = self._room[: self.k].T  # a column is contiguous: working sets are copied quickly
        self.step = sample_step(self.n)
        self._sample = np.empty((self.k, -(-self.n // self.step)), dtype).T if self.step >= 2 else None
        self._kept = np.empty(0, np.intp)
        self._columns = np.empty((0, self.n)).T
        self._last: tuple[Array, Array] | None = None
        self._priced: tuple[Array, Array] | None = None
        if reuse is None:
            self.fill(self._fill, self.parts())
        else:
            reuse.fill(self)

    def fill(self, of: Callable[[slice], int], parts: Iterable[slice]) -> None:
        """Take in blocks; raise InputError where a row is impossible or has a value that is none: `of` returns it."""
        impossible = [row for row in in_threads(of, parts) if row >= 0]
        if impossible:
            raise_impossible(self.logs, impossible[0])

    def _fill(self, part: slice) -> int:
        """Compute a block of P; return the first row that is impossible, or -1."""
        relative = self.read_logs(part)
        top = relative.max(0)
        self.maximum[part] = top
        if (bad := np.flatnonzero(~np.isfinite(top))).size:
            return int(part.start + bad[0])
        relative -= top
        block = relative.astype(self.P.dtype, copy=False)
        np.exp(block, out=block)
        self.P.T[:, part] = block
        if self._sample is not None:
            self._sample.T[:, part.start // self.step : -(-part.stop // self.step)] = block[:, :: self.step]
        return -1

    def draw_sample(self, part: slice = slice(None)) -> None:
        """Take the sample of the rows, or what of it lies in a block, from P."""
        if self._sample is None:
            return
        first = -(-(part.start or 0) // self.step)
        chosen = self.P.T[:, part][:, :: self.step]
        self._sample.T[:, first : first + chosen.shape[1]] = chosen

    def share(self, there: Evidence) -> bool:
        """
        Take over the likelihoods, maxima and float64 columns of another evidence, whose sources are the first of these.

        Nothing is copied: new columns go to the room that the other has left, until this one is gone. Returns whether
        there is such room; the columns of the other sources are then to be filled.
        """
        if self.precise or there.precise or len(there._room) < self.k:
            return False
        if there._guest is not None and there._guest() is not None:
            return False
        there._guest, self._host = ref(self), there
        self._room = there._room
        self.P, self.maximum = self._room[: self.k].T, there.maximum
        self._kept, self._columns = there._kept, there._columns
        there._columns = there._columns[:, : there._kept.size]
        return True

    def give_back(self, there: Evidence) -> None:
        """Undo `share`."""
        there._guest = self._host = None
        self._room = np.empty_like(self.P.T, shape=(self.k + SPARE, self.n))
        self.P, self.maximum = self._room[: self.k].T, np.empty(self.n)

    def adopt(self, there: Evidence, at: NDArray[np.intp]) -> list[tuple[int, int]]:
        """
        Make room for the float64 columns that another evidence keeps of the sources that both have.

        `at` [k] are their positions there, -1 for new ones. Returns (place here, place there) of each, to be filled.
        """
        if self.precise or there.precise:
            return []
        place = {int(source): i for i, source in enumerate(there._kept)}
        shared = [(new, place[int(old)]) for new, old in enumerate(at) if int(old) in place]
        self._kept = np.array([new for new, _ in shared], np.intp)
        self._columns = np.empty((self._kept.size, self.n)).T
        return [(i, old) for i, (_, old) in enumerate(shared)]

    def put_kept(self, chosen: NDArray[np.intp], relative: Array) -> None:
        """Compute some rows of the float64 columns again, from the logs [k, rows] relative to the row maxima."""
        self._columns.T[:, chosen] = np.exp(relative[self._kept])

    def parts(self, width: int = 0) -> Iterator[slice]:
        """Yield the row blocks of one pass over `width` columns (default: all)."""
        step = max(SAMPLE_STEP, self._block_rows(width) // SAMPLE_STEP * SAMPLE_STEP)
        step = -(-step // self.step) * self.step if self.step > 1 else step
        for start in range(0, self.n, step):
            yield slice(start, min(start + step, self.n))

    def _block_rows(self, width: int = 0) -> int:
        """Return about how many rows of `width` columns (default: all) a block has."""
        width = width or self.k
        few = BLOCK_ELEMENTS // width
        return few if few >= FEW_ROWS else max(few, min(FEW_ROWS, MANY_ELEMENTS // width))

    def read_logs(self, part: slice, chosen: NDArray[np.intp] | None = None) -> Array:
        """Return the logs [len(chosen), rows] of a block."""
        assert self.logs is not None
        if chosen is None and self._every:
            return self.logs.by_source(part.start, part.stop)
        return self.logs.by_source(part.start, part.stop, self.columns if chosen is None else self.columns[chosen])

    @cached_property
    def _every(self) -> bool:
        """Whether these are all columns, in their order."""
        return self.logs is not None and np.array_equal(self.columns, np.arange(self.logs.k))

    @cached_property
    def offset(self) -> float:
        """Return sum_i c_i max_k L_ik in nats: f(w) = `Moments.loss` - offset."""
        return float(self.c @ self.maximum)

    def sample(self) -> Evidence | None:
        """Return every `step`-th row, for a first guess (the exact moments stay P's); None if there are few."""
        if self.step < 2:
            return None
        assert self._sample is not None
        out = object.__new__(Evidence)
        out.logs, out.columns, out.precise = None, self.columns, True
        out.P, out.maximum = self._sample, self.maximum[:: self.step]
        out.n, out.k = out.P.shape
        out.c = self.c[:: self.step] / self.c[:: self.step].sum() if self.c[:: self.step].any() else None
        if out.c is None:
            return None
        out.step = sample_step(out.n)
        out._last = out._priced = None
        out._sample = out.P.T[:, :: out.step].copy().T if out.step >= 2 else None
        return out

    def exact_columns(self, chosen: NDArray[np.intp], out: Array | None = None) -> Array:
        """Return the float64 likelihoods [n, len(chosen)] of some columns, in `out` if given."""
        if self.precise:
            return np.asarray(self.P if chosen.size == self.k else self.P.T[chosen].T, np.float64)
        columns = np.empty((chosen.size, self.n)) if out is None else out.T

        def compute(part: slice) -> None:
            np.exp(self.read_logs(part, chosen) - self.maximum[part], out=columns[:, part])

        in_threads(compute, self.parts(max(chosen.size, self.k // 8)))
        return columns.T

    def losses(self, chosen: NDArray[np.intp], W: Array) -> Array:
        """Return -log(P w) [len(W), len(chosen)] of some rows under weights W [., k], in nats without the offset."""
        y = self.P[chosen].astype(np.float64) @ W.T
        if not self.precise and self.logs is not None:
            for at in np.flatnonzero(y.min(1) < 1e-30):  # where float32 may have lost what little there is
                row = int(chosen[at])
                y[at] = np.exp(self.read_logs(slice(row, row + 1))[:, 0] - self.maximum[row]) @ W.T
        with np.errstate(divide="ignore"):
            return -np.log(y).T

    def keep(self, chosen: NDArray[np.intp]) -> None:
        """Have the float64 columns of these sources at hand."""
        new = np.setdiff1d(chosen, self._kept)
        if new.size == 0:
            return
        end = self._kept.size + new.size
        if end > self._columns.shape[1]:
            larger = np.empty((min(self.k, 2 * end + 16), self.n))  # untouched memory is not taken
            larger[: self._kept.size] = self._columns.T[: self._kept.size]
            self._columns = larger.T
        self.exact_columns(new, out=self._columns[:, self._kept.size : end])
        self._kept = np.concatenate([self._kept, new])

    def gains(self, w: Array) -> Moments:
        """Return loss and gain at `w` [k] from P as it is; those of the last pass are at hand."""
        y = self._y(w)
        if self._priced is None or not np.array_equal(self._priced[0], w):
            with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
                self._priced = w, self._prices(self.c / y)
        prices = self._priced[1]
        with np.errstate(divide="ignore"):
            return Moments(-float(self.c @ np.log(y)), prices, np.full(self.k, self.precise))

    def _positive(self, y: Array) -> Array:
        """Return y [n] with 1 for the rows that do not count."""
        return y if self._all_count else np.where(self.c > 0, y, 1.0)

    @cached_property
    def _all_count(self) -> bool:
        return bool(self.c.all())

    def _prices(self, ratio: Array) -> Array:
        """Return sum_i ratio_i P_ik [k] from P as it is."""
        if self.P.dtype == np.float64:
            return ratio @ self.P
        low, gain = ratio.astype(self.P.dtype), np.zeros(self.k)
        for start in range(0, self.n, CHUNK):
            gain += low[start : start + CHUNK] @ self.P[start : start + CHUNK]
        return gain

    def moments(self, w: Array) -> Moments:
        """
        Return loss and gain at `w` [k] in one pass, the loss from the float64 logs.

        So are the gains of the sources with weight and, near the optimum, of those that could decide the certificate;
        the other gains are upper bounds.
        """
        if self.precise:
            return self.gains(w)
        used = np.flatnonzero(w)
        if 2 * used.size > self.k and used.size * self.n > KEPT_ELEMENTS:
            return self._all_exact(w)
        if self._priced is not None and np.array_equal(self._priced[0], w):  # those that will be looked at, at once
            prices = self._priced[1]
            near = np.flatnonzero(prices > (1 - 2 * MARGIN) * prices[used].max())
            used = np.union1d(used, near) if near.size <= 2 * used.size + 8 else used
        self.keep(used)
        m = self._kept.size
        share = w[self._kept]
        y = self._positive(self._columns[:, :m] @ share)
        self._last = w, y
        with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
            ratio = self.c / y
            loss = -float(self.c @ np.log(y))
            gain = self._prices(ratio)
            gain = np.where(np.isnan(gain), np.inf, gain) * (1 + MARGIN) + 2e-38 * ratio.sum()
            gain[self._kept] = ratio @ self._columns[:, :m]
        exact = np.zeros(self.k, bool)
        exact[self._kept] = True
        mean = float(gain[self._kept] @ share) / max(float(share.sum()), 1e-300)
        near = np.flatnonzero(~exact & (gain > mean))
        if near.size and gain[self._kept].max() < mean + NEAR and near.size <= max(8, used.size):
            self.keep(near)
            gain[near] = ratio @ self._columns[:, m : m + near.size]
            exact[near] = True
        return Moments(loss, gain, exact)

    def _all_exact(self, w: Array) -> Moments:
        """Return the moments at `w` from the float64 logs of all sources, a block at a time."""

        def of(part: slice) -> tuple[float, Array]:
            P = np.exp(self.read_logs(part) - self.maximum[part])
            y = w @ P
            y[self.c[part] == 0] = 1.0
            with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
                return -float(self.c[part] @ np.log(y)), P @ (self.c[part] / y)

        parts = in_threads(of, self.parts())
        gain = np.sum([gain for _, gain in parts], axis=0)
        return Moments(float(sum(loss for loss, _ in parts)), gain, np.ones(self.k, bool))

    def curvature(self, w: Array, chosen: NDArray[np.intp], rows: int) -> Array:
        """Return the Hessian [len(chosen), len(chosen)] of the loss at `w`, from about `rows` rows of P."""
        every = max(1, self.n // rows)
        y, c = self._y(w)[::every], self.c[::every]
        with np.errstate(divide="ignore", over="ignore"):
            v = np.divide(c, y * y, out=np.zeros_like(y), where=c > 0) / (c.sum() if every > 1 and c.any() else 1.0)
            root = np.minimum(np.sqrt(v), 1e15).astype(self.P.dtype)  # a row that is all but impossible
        step = every * max(chosen.size, 2 * BLOCK_ELEMENTS // chosen.size)

        def of(start: int) -> Matrix:
            share = root[start // every : (start + step) // every]
            block = np.empty((chosen.size, share.size), self.P.dtype)
            for row, column in zip(block, chosen, strict=True):
                np.multiply(self.P[start : start + step : every, column], share, out=row)
            return block @ block.T

        return np.sum(in_threads(of, range(0, self.n, step)), axis=0, dtype=np.float64)

    def _y(self, w: Array) -> Array:
        """Return P w [n] in float64, to P's precision; that of the last pass is at hand."""
        if self._last is None or not np.array_equal(self._last[0], w):
            used = np.flatnonzero(w)
            if 4 * used.size < self.k:
                y = self.P.T[used].T @ w[used].astype(self.P.dtype)
            else:
                y = self.P @ w.astype(self.P.dtype)
            self._last = w, self._positive(y.astype(np.float64))
        return self._last[1]


def raise_impossible(logs: Blocks | None, row: int) -> NoReturn:
    """Raise the InputError that says what is wrong with a row, or with the first one that is."""
    check = getattr(logs, "check", None)
    if check is not None:  # a table names its sources
        check()
    raise InputError(
        f"each row should be possible under a source that is allowed; row {row} is -inf under all of them; remove the "
        "row, or allow a source that explains it"
    )


def sample_step(n: int) -> int:
    """Return every how many rows are in the sample of n rows; below 2 there is none."""
    return min(SAMPLE_STEP, n // SAMPLE_ROWS)


def weighted_gram(P: Matrix, v: Matrix) -> Array:
    """Return sum_i v_i P_i P_i^T [k, k], a block of rows at a time."""
    k = P.shape[1]
    root, out = np.sqrt(v).astype(P.dtype)[:, None], np.zeros((k, k))
    step = max(k, BLOCK_ELEMENTS // k)
    for start in range(0, len(P), step):
        block = P[start : start + step] * root[start : start + step]
        out += block.T @ block
    return out
