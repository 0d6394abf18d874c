"""From one state of the plan to the next: blocks of steps, and the step in which a source runs out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from mixwright.errors import InputError
from mixwright.stream.plan.counts import apportion, arranged, draws_of, independent
from mixwright.stream.plan.rows import dealt, rows_of, shuffled
from mixwright.stream.plan.settings import PlanSettings

Array = NDArray[np.float64]
Ints = NDArray[np.int64]


class Ended(Exception):
    """The stream is at its end: a source with exhausted='stop', or every source, is exhausted."""


@dataclass
class PlanState:
    """
    Where a plan stands before `step` is planned.

    Attributes
    ----------
    weights
        [k] in force, as they were asked.
    credit
        [k] rows (tokens where the unit is tokens) owed to each source; below 0: given in advance.
    cursor
        int64 [k], rows drawn so far.
    tokens
        int64 [k], tokens drawn so far; stays 0 where no lengths are known.
    dropped
        bool [k]: gave all it may, and was taken out.
    asked, since
        [k] rows (tokens) asked of each source before step `since`; from there on `weights` ask.
    """

    step: int
    weights: Array
    credit: Array
    cursor: Ints
    tokens: Ints
    dropped: NDArray[np.bool_]
    asked: Array
    since: int

    def copy(self) -> PlanState:
        """Return a state that shares nothing that changes."""
        names = ("credit", "cursor", "tokens", "dropped", "asked")
        return replace(self, **{name: getattr(self, name).copy() for name in names})

    def asked_so_far(self, batch_size: int, unit: str) -> Array:
        """Return the rows (tokens) [k] that were asked of each source before `step`."""
        return self.asked + (self.step - self.since) * batch_size * self.weights if unit == "rows" else self.asked

    def shares(self) -> Array:
        """Return the weights [k] of the sources that still give; all 0 if there is none."""
        if not self.dropped.any():
            return self.weights
        kept = np.where(self.dropped, 0.0, self.weights)
        total = kept.sum()
        return kept / total if total > 0 else kept


def plain_steps(p: PlanSettings, state: PlanState, steps: int) -> tuple[Ints, Ints]:
    """
    Advance `state` by up to `steps` steps, as far as no source runs out; return source and row [done, B].

    This is the numpy form; `compiled` has the same in numba, with the same result to the bit.
    """
    asked = p.batch_size * state.shares()
    slots, draws = np.empty((steps, p.batch_size), np.int64), np.empty((steps, p.batch_size), np.int64)
    for t in range(steps):
        counts = _counts(p, state.credit, asked, p.batch_size, state.step)
        # careful_step takes this step: it knows what each source does at its limit
        if np.any(counts > room(p, state.cursor)):
            steps = t
            break
        if p.draw == "carry":
            state.credit = state.credit + asked - counts
        slots[t], draws[t] = arranged(counts, p.co_locate), draws_of(counts, state.cursor)
        state.cursor = state.cursor + counts
        state.step += 1
    return laid_out(p, slots[:steps], draws[:steps], state.step - steps)


def laid_out(p: PlanSettings, slots: Ints, draws: Ints, first_step: int) -> tuple[Ints, Ints]:
    """Return source and row [steps, B]: arranged slots are shuffled, and each source's draws dealt in slot order."""
    if not len(slots):
        return slots, draws
    source = shuffled(slots, p.shuffle_key, first_step, p.co_locate)
    draw = dealt(source, draws)
    return source, rows_of(source.ravel(), draw.ravel(), p.sizes, p.keys, p.a, p.b).reshape(source.shape)


def _counts(p: PlanSettings, credit: Array, asked: Array, slots: int, step: int, attempt: int = 0) -> Ints:
    if p.draw == "iid":
        return independent(asked, slots, p.draw_key, step, attempt)
    return apportion(credit + asked, asked, slots)


def careful_step(p: PlanSettings, state: PlanState) -> tuple[Ints, Ints]:
    """
    Advance by the one step in which a source runs out; return source and row [1, B].

    A source that is dropped gives the rows that it has left. Its credit is cleared and shared out among the others in
    proportion to their weights, and they fill its slots by the rule of every step.
    """
    check_shares(p, state)
    asked = p.batch_size * state.shares()
    state.credit = state.credit + asked if p.draw == "carry" else state.credit
    counts, slots, attempt = np.zeros(p.k, np.int64), p.batch_size, 0
    left = room(p, state.cursor)
    while slots:
        if p.draw == "iid":
            more = independent(asked, slots, p.draw_key, state.step, attempt)
        else:
            more = apportion(state.credit, asked, slots)
        over = np.flatnonzero(counts + more > left)
        if not over.size and p.draw == "carry":
            counts, slots = counts + more, 0
            state.credit = state.credit - more
            break
        # iid: keep the draws that fit and repeat the others among the sources that are left. carry: give only what the
        # exhausted sources still have; the other slots wait until the credit is shared out
        fitting = np.minimum(more, left - counts) if p.draw == "iid" else np.where(_at(over, p.k), left - counts, 0)
        counts, slots = counts + fitting, slots - int(fitting.sum())
        state.credit = state.credit - fitting if p.draw == "carry" else state.credit
        if over.size:
            drop(p, state, over.tolist())
        # each attempt has a key of its own, or it would draw the same sources again
        asked, attempt = p.batch_size * state.shares(), attempt + 1
    first, state.cursor, state.step = state.cursor, state.cursor + counts, state.step + 1
    return laid_out(p, arranged(counts, p.co_locate)[None], draws_of(counts, first)[None], state.step - 1)


def room(p: PlanSettings, cursor: Ints) -> Ints:
    """Return the rows [k] that each source may still give: none where its limit was lowered below what it gave."""
    return np.maximum(p.limits - cursor, 0)


def _at(index: Ints, k: int) -> NDArray[np.bool_]:
    mask = np.zeros(k, bool)
    mask[index] = True
    return mask


def drop(p: PlanSettings, state: PlanState, sources: Sequence[int]) -> None:
    """Take exhausted sources out, by each one's policy; the others share their credit."""
    for i in sources:
        given = f"{p.epochs[i]:g} epochs, {p.limits[i]} rows"
        what = f"the source {p.names[i]!r} is exhausted in step {state.step} ({given})"
        if p.policies[i] == "error":
            raise InputError(f"{what}, with exhausted='error'; lower its weight, raise max_epochs, or use 'drop'")
        if p.policies[i] == "stop":
            raise Ended(f"{what}, with exhausted='stop'")
    state.dropped[list(sources)] = True
    share = state.shares()
    if not share.any():
        raise Ended(f"every source with a positive weight is exhausted in step {state.step} (max_epochs reached)")
    state.credit = state.credit + share * state.credit[list(sources)].sum()
    state.credit[list(sources)] = 0.0


def check_shares(p: PlanSettings, state: PlanState, new: bool = False) -> None:
    """
    Raise InputError if only exhausted sources have a positive weight.

    With `new` weights a source that would be dropped at its next row counts as one of them.
    """
    gone = state.dropped | (state.cursor >= p.limits) if new else state.dropped
    if not state.weights[~gone].any():
        names = [p.names[i] for i in np.flatnonzero(gone & (state.weights > 0)).tolist()]
        raise InputError(
            f"step {state.step} has positive weights only for exhausted sources (max_epochs reached): "
            f"{', '.join(map(repr, names))}; give weight to another source or raise max_epochs"
        )
