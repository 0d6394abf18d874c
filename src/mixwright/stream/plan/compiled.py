"""The numpy form of the steps (`steps.plain_steps`) in numba: the same rows to the bit, many times faster."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from mixwright.stream.plan.counts import _UNIT as UNIT
from mixwright.stream.plan.counts import ROUNDING
from mixwright.stream.plan.rows import GOLD, MIX_1, MIX_2, ROUNDS
from mixwright.stream.plan.settings import PlanSettings
from mixwright.stream.plan.steps import PlanState

Ints = NDArray[np.int64]

GOLD_STEP, _MIX_1, _MIX_2 = np.uint64(GOLD), np.uint64(MIX_1), np.uint64(MIX_2)
_ONE, _S11, _S27, _S30, _S31, _S32 = (np.uint64(n) for n in (1, 11, 27, 30, 31, 32))


def compiled_steps(p: PlanSettings, state: PlanState, steps: int) -> tuple[NDArray[np.int32], Ints]:
    """Advance `state` by up to `steps` steps, as far as no source runs out; return source and row [done, B]."""
    source, row = np.empty((steps, p.batch_size), np.int32), np.empty((steps, p.batch_size), np.int64)
    asked = p.batch_size * state.shares()
    edges = np.cumsum(asked)
    credit, cursor = state.credit.copy(), state.cursor.copy()
    done = _steps(
        state.step,
        p.draw == "iid",
        p.co_locate,
        np.uint64(p.shuffle_key),
        np.uint64(p.draw_key),
        asked,
        edges,
        credit,
        cursor,
        p.limits,
        p.sizes,
        p.keys,
        p.a,
        p.b,
        source,
        row,
    )
    state.credit, state.cursor, state.step = credit, cursor, state.step + done
    return source[:done], row[:done]


def compiled(function: Any) -> Any:
    """Compile a function with numba, once per installation."""
    # numpy's error model divides by 0 as numpy does; without the GIL, planning may run beside other threads
    return njit(cache=True, error_model="numpy", nogil=True)(function)


@compiled
def mix(x):  # type: ignore[no-untyped-def]
    """Do what `rows.mix` does to one number."""
    x = (x ^ (x >> _S30)) * _MIX_1
    x = (x ^ (x >> _S27)) * _MIX_2
    return x ^ (x >> _S31)


@compiled
def _network(x, key, a, b):  # type: ignore[no-untyped-def]
    # (h >> 32) * a >> 32 lies below a, as h >> 32 lies below 2**32: a modulo without a division
    left, right = x // b, x % b
    for _ in range(ROUNDS // 2):
        h = (right + key) * _MIX_1
        h = (h ^ (h >> _S32)) * _MIX_2
        left += ((h >> _S32) * a) >> _S32
        if left >= a:
            left -= a
        key += GOLD_STEP
        h = (left + key) * _MIX_1
        h = (h ^ (h >> _S32)) * _MIX_2
        right += ((h >> _S32) * b) >> _S32
        if right >= b:
            right -= b
        key += GOLD_STEP
    return left * b + right


@compiled
def _sooner(i, due_i, rest_i, j, due_j, rest_j):  # type: ignore[no-untyped-def]
    """Return whether source i comes before source j."""
    if due_i != due_j:
        return due_i < due_j
    if rest_i != rest_j:
        return rest_i > rest_j
    return i < j


@compiled
def _sift(heap, due, rest, n, at):  # type: ignore[no-untyped-def]
    """Restore a heap of n sources, the latest on top, below position `at`."""
    while True:
        child = 2 * at + 1
        if child >= n:
            return
        if child + 1 < n and _sooner(
            heap[child], due[child], rest[child], heap[child + 1], due[child + 1], rest[child + 1]
        ):
            child += 1
        if not _sooner(heap[at], due[at], rest[at], heap[child], due[child], rest[child]):
            return
        heap[at], heap[child] = heap[child], heap[at]
        due[at], due[child] = due[child], due[at]
        rest[at], rest[child] = rest[child], rest[at]
        at = child


@compiled
def _give_soonest(credit, asked, counts, left, heap, due, rest):  # type: ignore[no-untyped-def]
    """Give `left` slots to the sources with credit whose next row falls due soonest; return how many were given."""
    n = 0
    for i in range(len(asked)):
        remainder = credit[i] - counts[i]
        if not (asked[i] > 0 and remainder >= ROUNDING):
            continue
        # clearly later than the latest in the heap: spare the division. 1.5 and 1e-6 cover all rounding, so that only
        # sources that would lose anyway are skipped
        if n == left and (1 - remainder) > (due[0] + 1.5) * asked[i] * 1.000001:
            continue
        # the heap holds the `left` soonest sources so far, the latest of them on top
        when = np.ceil((1 - remainder) / asked[i] - ROUNDING)
        if n < left:
            heap[n], due[n], rest[n] = i, when, remainder
            n += 1
            if n == left:
                for at in range(n // 2 - 1, -1, -1):
                    _sift(heap, due, rest, n, at)
        elif _sooner(i, when, remainder, heap[0], due[0], rest[0]):
            heap[0], due[0], rest[0] = i, when, remainder
            _sift(heap, due, rest, n, 0)
    for j in range(n):
        counts[heap[j]] += 1
    return n


@compiled
def _apportion(credit, asked, slots, counts, heap, due, rest):  # type: ignore[no-untyped-def]
    left = slots
    for i in range(len(asked)):
        counts[i] = max(0, math.floor(credit[i] + ROUNDING)) if asked[i] > 0 else 0
        left -= counts[i]
    if left > 0:
        left -= _give_soonest(credit, asked, counts, left, heap, due, rest)
    # sources that are off keep their credit, so whole credits may be fewer or more than the slots
    while left > 0:
        best = -1
        for i in range(len(asked)):
            if asked[i] > 0 and (best < 0 or credit[i] - counts[i] > credit[best] - counts[best]):
                best = i
        counts[best] += 1
        left -= 1
    while left < 0:
        best = -1
        for i in range(len(asked)):
            if counts[i] > 0 and (best < 0 or credit[i] - counts[i] < credit[best] - counts[best]):
                best = i
        counts[best] -= 1
        left += 1


@compiled
def _independent(edges, slots, step_key, counts):  # type: ignore[no-untyped-def]
    counts[:] = 0
    for j in range(slots):
        bits = mix(step_key + np.uint64(j + 1) * GOLD_STEP)
        # times the last edge, since rounding may leave it beside the batch size: u must lie below it
        u = np.float64(bits >> _S11) * UNIT * edges[-1]
        counts[np.searchsorted(edges, u, side="right")] += 1


@compiled
def _arrange(counts, unit, slots):  # type: ignore[no-untyped-def]
    n = 0
    for i in range(len(counts)):
        for _ in range(counts[i] // unit * unit):
            slots[n] = i
            n += 1
    if unit > 1:
        for i in range(len(counts)):
            for _ in range(counts[i] % unit):
                slots[n] = i
                n += 1


@compiled
def _sorted_tags(step_key, tags):  # type: ignore[no-untyped-def]
    """Fill and sort the tags of a step's units, mixed numbers with the unit's index in their low bits; return these."""
    count = len(tags)
    bits = _ONE
    while count - 1 >= 1 << np.int64(bits):
        bits += _ONE
    # with the index in its low bits every tag differs, so each way of sorting gives numpy's order
    low = (_ONE << bits) - _ONE
    for j in range(count):
        tags[j] = (mix(step_key + np.uint64(j + 1) * GOLD_STEP) >> bits) << bits | np.uint64(j)
    if count > 64:
        tags.sort()
        return low
    # few tags: insertion is faster than a general sort
    for j in range(1, count):
        tag, at = tags[j], j
        while at > 0 and tags[at - 1] > tag:
            tags[at] = tags[at - 1]
            at -= 1
        tags[at] = tag
    return low


@compiled
def _row_of(draw, size, key, a, b):  # type: ignore[no-untyped-def]
    """Return the row of a source's draw."""
    epoch = draw // size
    epoch_key = mix(key + np.uint64(epoch + 1) * GOLD_STEP)
    x = np.uint64(draw - epoch * size)
    while True:
        # cycle walking: apply the network until the number lies within the source
        x = _network(x, epoch_key, a, b)
        if x < np.uint64(size):
            return np.int64(x)


@compiled
def rows_of_draws(first, count, size, key, a, b):  # type: ignore[no-untyped-def]
    """Return the rows [count] of a source's draws from `first` on."""
    row = np.empty(count, np.int64)
    for j in range(count):
        row[j] = _row_of(first + j, size, key, a, b)
    return row


@compiled
def place(  # type: ignore[no-untyped-def]
    counts, unit, step_key, cursor, sizes, keys, a, b, arranged, tags, source, row
):
    """Lay the slots of one step out, and move the cursors on."""
    _arrange(counts, unit, arranged)
    low = _sorted_tags(step_key, tags)
    for u in range(len(tags)):
        at = np.int64(tags[u] & low) * unit
        for c in range(unit):
            i = arranged[at + c]
            source[u * unit + c] = i
            row[u * unit + c] = _row_of(cursor[i], sizes[i], keys[i], a[i], b[i])
            cursor[i] += 1


@compiled
def _steps(  # type: ignore[no-untyped-def]
    first, iid, unit, shuffle_key, draw_key, asked, edges, credit, cursor, limits, sizes, keys, a, b, source, row
):
    k, slots = len(asked), source.shape[1]
    counts, arranged = np.zeros(k, np.int64), np.empty(slots, np.int64)
    heap, due, rest = np.empty(slots, np.int64), np.empty(slots), np.empty(slots)
    owed = np.empty(k)
    tags = np.empty(slots // unit, np.uint64)
    for t in range(len(source)):
        number = np.uint64(first + t + 1) * GOLD_STEP
        if iid:
            _independent(edges, slots, mix(draw_key + number), counts)
        else:
            for i in range(k):
                owed[i] = credit[i] + asked[i]
            _apportion(owed, asked, slots, counts, heap, due, rest)
        for i in range(k):
            # a source would run out: steps.careful_step takes this step
            if counts[i] > 0 and counts[i] > limits[i] - cursor[i]:
                return t
        if not iid:
            for i in range(k):
                credit[i] = owed[i] - counts[i]
        place(counts, unit, mix(shuffle_key + number), cursor, sizes, keys, a, b, arranged, tags, source[t], row[t])
    return len(source)
