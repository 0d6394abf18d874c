"""The steps of `tokens.token_step` in numba: the same rows to the bit, many times faster."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mixwright.stream.plan.compiled import GOLD_STEP, compiled, mix, place, rows_of_draws
from mixwright.stream.plan.settings import PlanSettings
from mixwright.stream.plan.steps import PlanState
from mixwright.stream.plan.tokens import Lengths

Ints = NDArray[np.int64]
_DONE = -1


def compiled_token_steps(
    p: PlanSettings, state: PlanState, lengths: Lengths, steps: int
) -> tuple[NDArray[np.int32], Ints]:
    """Advance `state` by up to `steps` steps, as far as no source runs out; return source and row [done, B]."""
    source, row = np.empty((steps, p.batch_size), np.int32), np.empty((steps, p.batch_size), np.int64)
    share = state.shares()
    on = np.flatnonzero(share > 0)
    # `at_work` may stop within a step, `whole` follows only at the end of each step: so a step that a source cannot
    # finish leaves no trace in the state
    whole: list[NDArray[Any]] = [state.credit[on], state.tokens.copy(), state.cursor.copy(), state.asked.copy()]
    at_work = [array.copy() for array in whole[:3]]
    totals = np.array([state.tokens.sum(), state.cursor.sum(), state.tokens.sum()])  # the last: at the step's begin
    place_ = np.array([0, p.batch_size])  # the step at work, and the slots that it still has to give
    numbers = np.uint64(p.shuffle_key) + GOLD_STEP * np.arange(state.step + 1, state.step + steps + 1, dtype=np.uint64)
    fixed = (numbers, p.co_locate, on, share[on], state.weights, p.limits, p.sizes, p.keys, p.a, p.b)
    # compiled code cannot call a function for lengths: it returns where they run out, and goes on from there
    while True:
        i = _token_steps(place_, totals, *fixed, lengths.values, lengths.first, *at_work, *whole, source, row)
        if i == _DONE or at_work[2][i] >= p.limits[i]:
            break
        lengths.refill(i, int(at_work[2][i]), rows_of_draws)
    done = int(place_[0])
    state.credit = state.credit.copy()
    state.credit[on], state.tokens, state.cursor, state.asked = whole
    state.step += done
    state.since = state.step if done else state.since
    return source[:done], row[:done]


@compiled
def _token_steps(  # type: ignore[no-untyped-def]
    place_, totals, numbers, unit, on, share, weights, limits, sizes, keys, a, b, values, first,
    credit, tokens, drawn, credit_before, tokens_before, cursor, asked, source, row,
):  # fmt: skip
    """
    Go on from `place_`; return the source whose lengths are needed or that is at its limit, or _DONE.

    `share` and `credit` have entries for the sources `on`, the others for all.
    """
    k, slots = len(weights), source.shape[1]
    counts, arranged, tags = np.zeros(k, np.int64), np.empty(slots, np.int64), np.empty(slots // unit, np.uint64)
    while place_[0] < len(source):
        t = place_[0]
        i = _draw(place_, totals, on, share, limits, values, first, credit, tokens, drawn)
        if i >= 0:
            return i
        for i in range(k):
            # `drawn` is ahead of `cursor` by the rows of this step; `place` lets the cursor catch up
            counts[i] = drawn[i] - cursor[i]
        place(counts, unit, mix(numbers[t]), cursor, sizes, keys, a, b, arranged, tags, source[t], row[t])
        for i in range(k):
            asked[i] += weights[i] * (totals[0] - totals[2])
            tokens_before[i] = tokens[i]
        credit_before[:] = credit
        totals[2] = totals[0]
        place_[0], place_[1] = t + 1, slots
    return _DONE


@compiled
def _draw(place_, totals, on, share, limits, values, first, credit, tokens, drawn):  # type: ignore[no-untyped-def]
    """Draw the slots that are left of a step, each from the source that is owed most; return as `_token_steps`."""
    while place_[1] > 0:
        usual = totals[0] / totals[1] if totals[1] else 1.0
        best, most = 0, credit[0] + usual * share[0]
        for j in range(1, len(on)):
            owed = credit[j] + usual * share[j]
            if owed > most:
                best, most = j, owed
        i = on[best]
        at = drawn[i] - first[i]
        if drawn[i] >= limits[i] or not 0 <= at < values.shape[1]:
            return i
        length = values[i, at]
        paid = np.float64(length)
        for j in range(len(on)):
            credit[j] += paid * share[j]
        credit[best] -= paid
        tokens[i] += length
        drawn[i] += 1
        totals[0] += length
        totals[1] += 1
        place_[1] -= 1
    return _DONE
