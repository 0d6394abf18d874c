"""How many rows each source gives in a step: credit, rounding, and draws that are independent."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mixwright.stream.plan.rows import GOLD, MASK, numbers

Array = NDArray[np.float64]
Ints = NDArray[np.int64]

# rows: sums of credits are off by rounding, and a credit this near to a whole row counts as whole
ROUNDING = 1e-9
# turns 53 random bits into a number in [0, 1)
_UNIT = 2.0**-53


def apportion(credit: Array, asked: Array, slots: int) -> Ints:
    """
    Return whole rows [k] with the sum `slots`.

    Parameters
    ----------
    credit
        Rows owed to each source [k], this step's `asked` included. Below 0: it has had more than was asked.
    asked
        Rows asked of each source in this step [k]. A source with 0 gets nothing.
    slots
        Rows to give, at least 1; some source is asked for.

    Notes
    -----
    A source gets its whole credits. Slots that are left go to sources with some credit, those first whose next whole
    row falls due soonest at the present weights (ties: the larger remainder, then the lower index). While weights are
    constant that is earliest due first, which meets every date if any rule does: |drawn - asked| < 1 (decision 8).

    Sources that are switched off keep their credit, so those that are on may hold more or less than the slots. Then
    the fullest gives first: with more slots than sources with credit, each further slot goes to the source with the
    most credit left; with too few, a row is taken back from the one with the least. This is the greedy emptying of a
    cup game: whatever the weights do, no source is further than about ln k + 1 from what was asked.
    """
    on = asked > 0
    counts = np.where(on, np.floor(credit + ROUNDING), 0.0).clip(min=0).astype(np.int64)
    left = slots - int(counts.sum())
    if left > 0:
        remainder = credit - counts
        some = np.flatnonzero(on & (remainder >= ROUNDING))
        if left < len(some):
            some = _soonest(some, remainder[some], asked[some], left)
        counts[some] += 1
        left -= len(some)
    while left > 0:
        i = int(np.argmax(np.where(on, credit - counts, -np.inf)))
        counts[i] += 1
        left -= 1
    while left < 0:
        i = int(np.argmin(np.where(counts > 0, credit - counts, np.inf)))
        counts[i] -= 1
        left += 1
    return counts


def _soonest(candidates: Ints, remainder: Array, asked: Array, count: int) -> Ints:
    """Return the `count` candidates whose next whole row falls due soonest."""
    # a tiny share may put the date beyond float64: inf sorts last, as it should
    with np.errstate(over="ignore"):
        due = np.ceil((1 - remainder) / asked - ROUNDING)
    # only those that are due up to the last place given need sorting
    near = np.flatnonzero(due <= np.partition(due, count - 1)[count - 1])
    return candidates[near[np.lexsort((-remainder[near], due[near]))[:count]]]


def independent(asked: Array, slots: int, key: int, step: int, attempt: int = 0) -> Ints:
    """
    Return counts [k] of `slots` independent draws with probabilities in proportion to `asked` [k].

    They are keyed by (key, step, attempt): an attempt follows where sources could not give what was drawn.
    """
    bits = numbers((key + attempt * GOLD) & MASK, step, 1, slots)[0]
    edges = np.cumsum(asked)
    # times the last edge, since rounding may leave it beside the batch size
    uniform = (bits >> np.uint64(11)).astype(np.float64) * _UNIT
    drawn = np.searchsorted(edges, uniform * edges[-1], side="right")
    return np.bincount(drawn, minlength=len(asked))


def arranged(counts: Ints, unit: int = 1) -> Ints:
    """Return the source of each slot [B] before they are shuffled: whole units of one source, then what is left."""
    index = np.arange(len(counts))
    if unit == 1:
        return np.repeat(index, counts)
    whole = counts // unit * unit
    return np.concatenate([np.repeat(index, whole), np.repeat(index, counts - whole)])


def draws_of(counts: Ints, cursor: Ints) -> Ints:
    """Return the draw numbers [B] of a step, sorted by source: those of source i start at cursor[i]."""
    first = np.cumsum(counts) - counts
    return np.repeat(cursor - first, counts) + np.arange(int(counts.sum()))
