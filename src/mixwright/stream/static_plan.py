"""The plan: which rows of which sources make the batch of a step."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mixwright.errors import InputError

_ROUNDING = 1e-9


class StaticPlan:
    """
    The rows of every step for weights that do not change.

    A source's credit grows by B * w_i per step; it is paid in whole rows, and what is left is carried on. So the
    number of rows drawn stays within one row of what was asked. Each row of a source comes once per epoch, in an order
    that depends on the seed, the source's name and the epoch alone: two mixtures see a source's rows in the same order.

    Parameters
    ----------
    sizes
        Rows of each source, by name.
    weights
        [k], the share of rows asked of each source, in the order of `sizes`; not negative, sum 1 within 1e-6.
    batch_size
        B, rows per step.
    seed
        An integer.

    Raises
    ------
    InputError
        If a size, the weights or the batch size are not as above.

    Examples
    --------
    >>> plan = StaticPlan({"web": 100, "code": 10}, [0.75, 0.25], batch_size=4, seed=0)
    >>> source, row = plan.step(7)
    >>> sorted(source.tolist())
    [0, 0, 0, 1]
    """

    def __init__(self, sizes: Mapping[str, int], weights: ArrayLike, batch_size: int, seed: int = 0) -> None:
        self.sources = tuple(sizes)
        self.sizes = np.array([_size(name, size) for name, size in sizes.items()], np.int64)
        self.weights = _checked_weights(weights, self.sources)
        if isinstance(batch_size, bool) or not isinstance(batch_size, int | np.integer) or batch_size < 1:
            raise InputError(f"the batch size should be a whole number of at least 1, found {batch_size!r}")
        self.batch_size, self.seed = int(batch_size), int(seed)
        self._asked = self.batch_size * self.weights
        self._orders: dict[int, tuple[int, NDArray[np.int64]]] = {}
        self._restart()

    def step(self, t: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """
        Return the batch of step t (from 0), a pure function of the plan's arguments and t.

        Returns
        -------
        source, row
            int64 [B] each: the source of each slot, and its row in that source. A source's rows stand in the order in
            which they are drawn.
        """
        if t < 0:
            raise InputError(f"a step should be at least 0, found {t}")
        if t < self._next:
            self._restart()
        while self._next < t:
            self._advance()
        first, counts = self._cursor.copy(), self._advance()
        slots = np.repeat(np.arange(len(counts)), counts)[_order(self.batch_size, self.seed, "slots", t)]
        rows = np.empty(self.batch_size, np.int64)
        for i in np.flatnonzero(counts).tolist():
            rows[slots == i] = self._rows(i, int(first[i]), int(counts[i]))
        return slots, rows

    def _restart(self) -> None:
        self._next, self._credit = 0, np.zeros(len(self.sources))
        self._cursor = np.zeros(len(self.sources), np.int64)

    def _advance(self) -> NDArray[np.int64]:
        """Go over one step; return its counts [k]."""
        self._credit = self._credit + self._asked
        counts = apportion(self._credit, self._asked)
        self._credit = self._credit - counts
        self._cursor = self._cursor + counts
        self._next += 1
        return counts

    def _rows(self, i: int, first: int, count: int) -> NDArray[np.int64]:
        """Return the rows of draws first .. first + count - 1 of source i."""
        size, parts = int(self.sizes[i]), []
        while count:
            epoch, start = divmod(first, size)
            if self._orders.get(i, (-1,))[0] != epoch:
                self._orders[i] = (epoch, _order(size, self.seed, "rows", self.sources[i], epoch))
            part = self._orders[i][1][start : start + count]
            parts.append(part)
            first, count = first + len(part), count - len(part)
        return np.concatenate(parts)


def apportion(credit: NDArray[np.float64], asked: NDArray[np.float64]) -> NDArray[np.int64]:
    """
    Turn credit [k], which sums to the batch size, into whole rows [k] with the same sum.

    Parameters
    ----------
    credit
        Rows owed to each source, this step's `asked` included.
    asked
        Rows asked per step, [k], constant; a source with 0 gets nothing.

    Notes
    -----
    A source gets its whole credits. The slots that are left go to sources with some credit, those first whose next
    whole row falls due soonest (ties: the larger remainder, then the lower index). Row j of source i may be drawn from
    the step where more than j - 1 rows were asked, and must be by the step where j were. Rows of unit length and steps
    of fixed capacity: earliest due first meets every date if any rule does, and the real-valued schedule does. So
    |drawn - asked| < 1 always, which filling the largest remainders does not give (1.03 at k = 27 and B = 1).
    """
    counts = np.where(asked > 0, np.floor(credit + _ROUNDING), 0).clip(min=0).astype(np.int64)
    remainder = credit - counts
    due = (1 - remainder) / np.maximum(asked, 1e-300)
    order = np.lexsort((-remainder, np.ceil(due - _ROUNDING), (remainder < _ROUNDING) | (asked == 0)))
    counts[order[: round(float(credit.sum())) - counts.sum()]] += 1
    return counts


def _order(size: int, *key: object) -> NDArray[np.int64]:
    """Return a permutation of range(size) that depends on the key alone."""
    digest = hashlib.sha256("\0".join(map(str, key)).encode()).digest()
    numbers = np.random.Philox(key=int.from_bytes(digest[:16], "little")).random_raw(size)
    return np.argsort(numbers, kind="stable")


def _size(name: str, size: int) -> int:
    if isinstance(size, bool) or not isinstance(size, int | np.integer) or size < 1:
        raise InputError(f"the source {name!r} should have a whole number of rows, at least 1, found {size!r}")
    return int(size)


def _checked_weights(weights: ArrayLike, sources: Sequence[str]) -> NDArray[np.float64]:
    values = np.asarray(weights, np.float64)
    if not sources or values.shape != (len(sources),):
        raise InputError(f"there should be one weight per source ({len(sources)}), found shape {values.shape}")
    if not np.all(np.isfinite(values)) or np.any(values < 0) or abs(values.sum() - 1) > 1e-6:
        raise InputError(f"weights should be at least 0 and sum to 1, found {values.tolist()} (sum {values.sum():.6g})")
    return values if abs(values.sum() - 1) < 1e-12 else values / values.sum()
