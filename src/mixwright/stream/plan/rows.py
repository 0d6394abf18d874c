"""From counts to rows: keyed permutations, and the keyed order of a batch. All numpy; nothing here has a state."""

from __future__ import annotations

import hashlib
import math

import numpy as np
from numpy.typing import NDArray

Keys = NDArray[np.uint64]
Ints = NDArray[np.int64]

GOLD = 0x9E3779B97F4A7C15
MIX_1, MIX_2 = 0xBF58476D1CE4E5B9, 0x94D049BB133111EB
ROUNDS = 6


def key_of(*parts: object) -> int:
    """Return a number of 64 bits that depends on `parts` alone."""
    return int.from_bytes(hashlib.sha256("\0".join(map(str, parts)).encode()).digest()[:8], "little")


def mix(x: Keys) -> Keys:
    """Return 64 well mixed bits for each number (the finaliser of SplitMix64: Steele, Lea and Flood, 2014)."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(MIX_1)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(MIX_2)
    return x ^ (x >> np.uint64(31))


def halves(size: int) -> tuple[int, int]:
    """Return (a, b), about equal, with a * b >= size and hardly above it: the halves of the permutation's numbers."""
    a = max(1, math.isqrt(max(size - 1, 0)) + 1)
    return a, max(1, -(-size // a))


def permuted(position: Ints, size: Ints, key: Keys, a: Keys, b: Keys) -> Ints:
    """
    Return where keyed permutations send positions; all arguments have one shape.

    Parameters
    ----------
    position, size
        A number in 0 .. size - 1.
    key
        Of the permutation: one per source and epoch.
    a, b
        `halves(size)`.

    Notes
    -----
    A Feistel network on pairs (l, r) in a x b: l += F(r) mod a, then r += F(l) mod b, three times each. Every round can
    be undone, so it permutes a * b numbers; where one falls outside the size the network is applied again until it does
    not (cycle walking), so it permutes 0 .. size - 1 with no memory (Black and Rogaway, Ciphers with Arbitrary Finite
    Domains, 2002).
    """
    found = _network(position.astype(np.uint64), key, a, b)
    outside = np.flatnonzero(found >= size.astype(np.uint64))
    # a * b is hardly above the size, so nearly all are inside after one round
    while outside.size:
        found[outside] = _network(found[outside], key[outside], a[outside], b[outside])
        outside = outside[found[outside] >= size[outside].astype(np.uint64)]
    return found.astype(np.int64)


def _network(x: Keys, key: Keys, a: Keys, b: Keys) -> Keys:
    l, r = x // b, x % b  # noqa: E741
    for i in range(0, ROUNDS, 2):
        l = l + _below(r, key + np.uint64(i * GOLD & MASK), a)  # noqa: E741
        l = np.where(l >= a, l - a, l)  # noqa: E741
        r = r + _below(l, key + np.uint64((i + 1) * GOLD & MASK), b)
        r = np.where(r >= b, r - b, r)
    return l * b + r


MASK = 2**64 - 1


def _below(x: Keys, key: Keys, limit: Keys) -> Keys:
    """Return a number in 0 .. limit - 1 for each x; limit < 2^32."""
    # the high half of h times the limit, shifted: below the limit, without a division
    h = (x + key) * np.uint64(MIX_1)
    h = (h ^ (h >> np.uint64(32))) * np.uint64(MIX_2)
    return ((h >> np.uint64(32)) * limit) >> np.uint64(32)


def rows_of(source: Ints, draw: Ints, sizes: Ints, keys: Keys, a: Keys, b: Keys) -> Ints:
    """Return the row of each draw (from 0) of each source: every row once per epoch, a fresh order each epoch."""
    size = sizes[source]
    # an epoch's order has a key of its own, so a row's place needs no memory of earlier draws
    epoch, position = np.divmod(draw, size)
    key = mix(keys[source] + (epoch.astype(np.uint64) + np.uint64(1)) * np.uint64(GOLD))
    return permuted(position, size, key, a[source], b[source])


def numbers(key: int, first_step: int, steps: int, count: int) -> Keys:
    """Return [steps, count] mixed numbers, keyed by (key, step, position)."""
    step = np.arange(first_step + 1, first_step + steps + 1, dtype=np.uint64)
    step_key = mix(np.uint64(key) + step * np.uint64(GOLD))
    return mix(step_key[:, None] + np.arange(1, count + 1, dtype=np.uint64) * np.uint64(GOLD))


def shuffled(slots: Ints, key: int, first_step: int, unit: int = 1) -> Ints:
    """Return slots [steps, B] with the units of each step (neighbouring slots) in a keyed order."""
    steps, batch = slots.shape
    count = batch // unit
    bits = np.uint64(max(1, (count - 1).bit_length()))
    # the index in the low bits makes all tags of a step differ: the sort needs no rule for ties
    tagged = numbers(key, first_step, steps, count) >> bits << bits | np.arange(count, dtype=np.uint64)
    tagged.sort(axis=1)
    order = (tagged & ((np.uint64(1) << bits) - np.uint64(1))).astype(np.int64)
    if unit > 1:
        order = (order[:, :, None] * unit + np.arange(unit)).reshape(steps, batch)
    return np.take_along_axis(slots, order, 1)


def dealt(slots: Ints, draws: Ints) -> Ints:
    """Return the draw of each slot [steps, B]; `draws` belong to the slots sorted by source, and keep slot order."""
    found = np.empty_like(draws)
    np.put_along_axis(found, np.argsort(slots, axis=1, kind="stable"), draws, 1)
    return found
