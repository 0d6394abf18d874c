"""A search beside a previous one: what its likelihoods are worth where a source came or went, and where to start."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mixwright.errors import InputError
from mixwright.search.solver.evidence import EXACT_ELEMENTS, Array, Evidence, in_threads, raise_impossible
from mixwright.simplex import normalise

HIGHEST = 20.0  # nats: new columns that lie so far above the old row maxima are no longer shared
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
        if self._extend(rows):
            return
        old, new = np.flatnonzero(self.at >= 0), np.flatnonzero(self.at < 0)
        runs, kept = _runs(self.at, old), rows.adopt(self.there, self.at)

        def of(part: slice) -> int:
            before = self.there.maximum[part]
            now, bad = before, -1
            if new.size:
                logs = rows.read_logs(part, new)
                highest = logs.max(0)
                if (wrong := np.flatnonzero(np.isnan(highest) | (highest == np.inf))).size:
                    bad = int(part.start + wrong[0])
                now = np.maximum(before, highest)
                logs -= now
                rows.P.T[new, part] = np.exp(logs.astype(rows.P.dtype, copy=False))
            rows.maximum[part] = now
            scale = np.exp(before - now)
            low = scale.astype(rows.P.dtype, copy=False)
            for here, there, count in runs:
                np.multiply(self.there.P.T[there : there + count, part], low, out=rows.P.T[here : here + count, part])
            for here, there in kept:
                np.multiply(self.there._columns.T[there, part], scale, out=rows._columns.T[here, part])
            rows.draw_sample(part)
            return bad

        rows.fill(of, rows.parts())
        if (low := self._low(rows, old)).size:
            in_threads(lambda part: _compute_again(rows, part, low), list(rows.parts()))
            rows.draw_sample()

    def _extend(self, rows: Evidence) -> bool:
        """Add new columns behind the old ones, which are shared with their row maxima; return whether that can be."""
        m = self.there.k
        new = np.arange(m, rows.k)
        if not np.array_equal(self.at, np.where(np.arange(rows.k) < m, np.arange(rows.k), -1)):
            return False
        if not rows.share(self.there):
            return False
        risen = []

        def of(part: slice) -> int:
            logs = rows.read_logs(part, new)
            highest = logs.max(0)
            if (bad := np.flatnonzero(np.isnan(highest) | (highest == np.inf))).size:
                return int(part.start + bad[0])
            logs -= rows.maximum[part]
            if float(logs.max()) > HIGHEST:
                risen.append(part)
                return -1
            rows.P.T[new, part] = np.exp(logs.astype(rows.P.dtype, copy=False))
            return -1

        if new.size:
            rows.fill(of, rows.parts(max(new.size, 4)))
        if risen:
            rows.give_back(self.there)
            return False
        rows.draw_sample()
        return True

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


def _runs(at: NDArray[np.intp], old: NDArray[np.intp]) -> list[tuple[int, int, int]]:
    """Return (here, there, count) of the columns `old` that lie side by side in both."""
    breaks = np.flatnonzero((np.diff(old) != 1) | (np.diff(at[old]) != 1)) + 1
    return [(int(part[0]), int(at[part[0]]), len(part)) for part in np.split(old, breaks)]


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

    `start` is a previous result or a MixtureFile, whose sources are found by name, {source: weight}, or weights [k] in
    source order.
    """
    names = list(sources)
    if (known := _weights_by_name(start)) is not None:
        if not set(names) & set(known):
            raise InputError(
                f"start should be the result of a table that shares sources with this one ({', '.join(names[:5])}); "
                f"found {', '.join(list(known)[:5])}; give one that does, or leave start out"
            )
        given = np.array([known.get(name, 0.0) for name in names])
    elif isinstance(start, Mapping):
        unknown = [name for name in start if name not in set(names)]
        if unknown:
            raise InputError(f"start should name sources of the table; found {unknown[0]!r}; correct the name")
        wrong = [name for name, value in start.items() if isinstance(value, str | bool) or not np.isscalar(value)]
        if wrong or not start:
            found = f"{start[wrong[0]]!r} for {wrong[0]!r}" if wrong else "none"
            raise InputError(f"start should have a number for each source that it names; found {found}")
        given = normalise([float(start.get(name, 0.0)) for name in names], "start")
    elif isinstance(start, str) or np.ndim(start) != 1:
        raise InputError(
            f"start should be a previous result, {{source: weight}} or one weight per source ({len(names)}); found "
            f"{start!r}"
        )
    else:
        given = normalise(start, "start")
        if given.size != len(names):
            raise InputError(f"start should be one number per source ({len(names)}); found {given.size}")
    left = float(given[allowed].sum())
    return given[allowed] / left if left > MOST_GONE else None


def _weights_by_name(start: Any) -> dict[str, float] | None:
    """Return the weights of a result or a MixtureFile by source, None for what is neither."""
    if not hasattr(start, "weights"):
        return None
    named = start.table if hasattr(start, "table") else start
    return dict(zip(named.sources, map(float, start.weights), strict=True)) if hasattr(named, "sources") else None
