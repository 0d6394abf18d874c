"""A search beside a previous one: what its likelihoods are worth where a source came or went, and where to start."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mixwright.errors import InputError
from mixwright.search._evidence import EXACT_ELEMENTS, Array, Evidence, in_threads, raise_impossible
from mixwright.simplex import normalise

LOWEST = 1e-5  # relative to its old maximum: a row whose sources are all below this is computed again
MOST_GONE = 0.5  # weights that lose more than this with their sources are no place to start


@dataclass(frozen=True)
class Reuse:
    """The rows of a previous search, and where each column [k] lies among its columns; -1 for a new one."""

    there: Evidence
    at: NDArray[np.intp]

    def fill(self, rows: Evidence) -> None:
        """
        Compute P and the row maxima from the previous ones, as `Evidence` does from the logs.

        The logs are read of new columns alone. A row whose maximum rises is scaled; one whose maximum went with a
        source keeps it as its scale, unless all that is left is far below it: such rows are computed again.
        """
        old, new = np.flatnonzero(self.at >= 0), np.flatnonzero(self.at < 0)
        rows.maximum[:] = self.there.maximum
        self._add(rows, new)
        risen = np.flatnonzero(rows.maximum > self.there.maximum)
        scale = np.exp(self.there.maximum[risen] - rows.maximum[risen])

        def copy(columns: NDArray[np.intp]) -> None:
            for i in columns:
                column = rows.P.T[i]
                column[:] = self.there.P.T[self.at[i]]
                column[risen] *= scale.astype(column.dtype)

        in_threads(copy, np.array_split(old, min(16, old.size)))
        low = self._low(rows, old)
        rows.adopt(self.there, np.array([self.at[i] for i in old], np.intp), old, risen, scale)
        if low.size:
            in_threads(lambda part: _compute_again(rows, part, low), list(rows.parts()))
        rows.draw_sample()

    def _add(self, rows: Evidence, new: NDArray[np.intp]) -> None:
        """Compute the new columns, and raise the row maxima to theirs."""
        if new.size == 0:
            return

        def of(part: slice) -> int:
            logs = rows.read_logs(part, new)
            highest = logs.max(0)
            if (bad := np.flatnonzero(np.isnan(highest) | (highest == np.inf))).size:
                return int(part.start + bad[0])
            rows.maximum[part] = np.maximum(rows.maximum[part], highest)
            rows.P.T[new, part] = np.exp((logs - rows.maximum[part]).astype(rows.P.dtype, copy=False))
            return -1

        rows.fill(of, rows.parts(max(new.size, 4)))

    def _low(self, rows: Evidence, old: NDArray[np.intp]) -> NDArray[np.intp]:
        """Return the rows, rising, that are all but impossible now that sources have gone."""
        gone = np.setdiff1d(np.arange(self.there.k), self.at[old])
        if gone.size == 0:
            return np.empty(0, np.intp)
        low = np.flatnonzero((self.there.P.T[gone] >= LOWEST).any(0))  # one of the others is, in all other rows
        for column in rows.P.T:
            low = low[~(column[low] >= LOWEST)]
            if low.size == 0:
                break
        return low


def _compute_again(rows: Evidence, part: slice, low: NDArray[np.intp]) -> None:
    """Compute the low rows [m] that lie in a block from the logs."""
    chosen = low[slice(*np.searchsorted(low, [part.start, part.stop]))]
    if chosen.size == 0:
        return
    logs = rows.read_logs(slice(int(chosen[0]), int(chosen[-1]) + 1))[:, chosen - chosen[0]]
    top = logs.max(0)
    if not np.isfinite(top).all():
        raise_impossible(rows.logs, int(chosen[np.isfinite(top).argmin()]))
    rows.maximum[chosen] = top
    rows.P.T[:, chosen] = np.exp((logs - top).astype(rows.P.dtype, copy=False))
    rows.put_kept(chosen, logs - top)


def reuse(there: Evidence, old: list[Hashable], new: list[Hashable]) -> Reuse | None:
    """Return what a previous search's rows are worth, by the keys of its columns and of the new ones."""
    position = {key: i for i, key in enumerate(old)}
    at = np.array([position.get(key, -1) for key in new], np.intp)
    finer = there.P.dtype == np.float32 and there.n * len(new) <= EXACT_ELEMENTS
    return Reuse(there, at) if (at >= 0).any() and not finer else None


def starting_weights(start: Any, sources: tuple[str, ...], allowed: NDArray[np.intp]) -> Array | None:
    """
    Return weights [allowed] to start from, None where the start says nothing of them.

    `start` is a previous result, whose sources are found by name, {source: weight}, or weights [k] in source order.
    """
    names = list(sources)
    if hasattr(start, "weights") and hasattr(start, "table"):
        known = dict(zip(start.table.sources, start.weights.tolist(), strict=True))
        shared = [name for name in names if name in known]
        if not shared:
            raise InputError(
                f"start should be the result of a table that shares sources with this one ({', '.join(names[:5])}); "
                f"found {', '.join(start.table.sources[:5])}; give one that does, or leave start out"
            )
        given = np.array([known.get(name, 0.0) for name in names])
    elif isinstance(start, Mapping):
        unknown = [name for name in start if name not in set(names)]
        if unknown:
            raise InputError(f"start should name sources of the table; found {unknown[0]!r}; correct the name")
        given = normalise([float(start.get(name, 0.0)) for name in names], "start")
    else:
        given = normalise(start, "start")
        if given.size != len(names):
            raise InputError(f"start should be one number per source ({len(names)}); found {given.size}")
    left = float(given[allowed].sum())
    return given[allowed] / left if left > MOST_GONE else None
