"""Which documents are in a text, whole or nearly: their shingles (runs of tokens), looked for in one pass over it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

SHARE = 0.8  # of a document's shingles: a text that has at least this share of them has the document
_CHUNK = 1 << 20  # tokens at a time
_BASE = 0x9E3779B97F4A7C15  # odd, so that no power of it is 0 modulo 2^64
_WORD = (1 << 64) - 1
Ids = NDArray[np.integer]


def shingle_size(vocabulary: int) -> int:
    """Return how many tokens a shingle has: 64 where tokens are bytes, else 16, about as much text."""
    return 64 if vocabulary <= 512 else 16


def shingles(ids: Ids, size: int) -> NDArray[np.uint64]:
    """
    Return a hash of every run of `size` tokens, [n - size + 1]: a polynomial modulo 2^64.

    Parameters
    ----------
    ids
        [n], tokens.
    size
        A power of two, since runs are doubled: log2(size) passes over the array.
    """
    if len(ids) < size:
        return np.empty(0, np.uint64)
    hashes, width, factor = _mixed(ids), 1, _BASE
    while width < size:
        hashes = hashes[:-width] * np.uint64(factor) + hashes[width:]
        width, factor = 2 * width, factor * factor & _WORD
    return hashes


def _mixed(ids: Ids) -> NDArray[np.uint64]:
    """Return ids spread over 64 bits (splitmix64): low bits of a polynomial in small numbers would be poor."""
    mixed = (ids.astype(np.uint64) + np.uint64(1)) * np.uint64(_BASE)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        mixed = (mixed ^ (mixed >> np.uint64(shift))) * np.uint64(factor)
    return mixed ^ (mixed >> np.uint64(31))


class Shingled:
    """
    Documents whose shingles are looked for.

    Parameters
    ----------
    documents
        [d], the tokens of each. One that is shorter than a shingle is never found.
    size
        Tokens of a shingle.
    """

    def __init__(self, documents: Sequence[Ids], size: int) -> None:
        self._size, own = size, [np.unique(shingles(ids, size)) for ids in documents]
        self._counts = np.array([len(hashes) for hashes in own], np.int64)
        self._owners = np.repeat(np.arange(len(own)), self._counts)
        joined = np.concatenate(own) if own else np.empty(0, np.uint64)
        self._hashes, self._positions = np.unique(joined, return_inverse=True)
        bits = min(26, max(10, len(joined).bit_length() + 4))
        self._mask = np.uint64((1 << bits) - 1)
        self._table = np.zeros(1 << bits, bool)  # most tokens of a text end here: a search of the sorted hashes is dear
        self._table[self._hashes & self._mask] = True

    def contained(self, ids: Ids) -> NDArray[np.bool_]:
        """Return [d], whether a text has at least 80 % of each document's shingles; `ids` may be memory-mapped."""
        found = np.zeros(len(self._hashes), bool)
        for start in range(0, len(ids), _CHUNK):
            found[self._places(ids[start : start + _CHUNK + self._size - 1])] = True
        if not found.any():
            return np.zeros(len(self._counts), bool)
        held = np.bincount(self._owners[found[self._positions]], minlength=len(self._counts))
        return np.asarray((held >= SHARE * self._counts) & (self._counts > 0))

    def any_in(self, ids: Ids) -> bool:
        """Return whether a text contains any of the documents."""
        return bool(self._places(ids).size) and bool(self.contained(ids).any())

    def _places(self, ids: Ids) -> NDArray[np.intp]:
        """Return where in the sorted hashes the shingles of a text are that are there."""
        hashes = shingles(ids, self._size)
        hashes = hashes[self._table[hashes & self._mask]]
        if not hashes.size:
            return np.empty(0, np.intp)
        places = np.minimum(np.searchsorted(self._hashes, hashes), len(self._hashes) - 1)
        return np.asarray(places[self._hashes[places] == hashes])
