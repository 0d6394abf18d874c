"""The rows of a search under all sources, also those that it may not use: from the logs, a block at a time."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mixwright.errors import InputError
from mixwright.search.solver.evidence import Array, Blocks, Evidence


def losses_under(logs: Blocks, rows: Evidence, weights: Array, of: str = "") -> Array:
    """
    Return the loss of each row [n], nats, relative to the rows' maxima, under weights [k] of all sources.

    `of` names the target in the message of the InputError for weights under which a row is impossible.
    """
    used = np.flatnonzero(weights)
    out, shares = np.empty(rows.n), np.log(weights[used])
    for part in rows.parts():
        block = logs.by_source(part.start, part.stop, used) + shares[:, None]
        out[part] = rows.maximum[part] - np.logaddexp.reduce(block, axis=0)
    bad = np.flatnonzero(~np.isfinite(out) & (rows.c > 0))
    if bad.size:
        raise InputError(
            f"the weights to compare with should make every row possible; row {bad[0]}{of} is -inf under their sources"
        )
    return out


def gain_of(logs: Blocks, rows: Evidence, weights: Array, columns: NDArray[np.intp]) -> Array:
    """Return minus the derivative of the loss in the weights of some columns, which the search may not use."""
    used, out = np.flatnonzero(weights), np.zeros(columns.size)
    for part in rows.parts():
        share = logs.by_source(part.start, part.stop, used) - rows.maximum[part]
        y = weights[used] @ np.exp(share)
        ratio = np.divide(rows.c[part], y, out=np.zeros_like(y), where=rows.c[part] > 0)
        # beyond exp(600) a source that nothing else explains would be worth infinity: large is enough
        out += np.exp(np.minimum(logs.by_source(part.start, part.stop, columns) - rows.maximum[part], 600.0)) @ ratio
    return out
