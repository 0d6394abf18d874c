"""The different n-grams of documents: exact numbers, from one sort of the longest ones."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mixwright.errors import InputError

Ids = NDArray[np.unsignedinteger[Any]]
Ints = NDArray[np.int64]
_PART = 1 << 18  # positions that are numbered at a time: they stay in the processor's cache
_LARGEST = np.iinfo(np.int64).max


def ngrams(ids: Ids, offsets: Ints, order: int, vocab_size: int) -> tuple[list[Ints], Ints]:
    """
    Return the different m-grams of each length m = 1 .. `order`, and how often each of the longest occurs.

    An n-gram is a number whose digits are its tokens, so one sort finds the longest ones. All shorter ones begin a
    longer one, or end a document: from there on only different n-grams are sorted.

    Parameters
    ----------
    ids
        [n] documents end to end, each with its BOS.
    offsets
        [d + 1] where each document starts, and the end.
    order
        At most the length of the longest document.
    vocab_size
        Above all ids.

    Returns
    -------
    keys
        For each m [u_m], rising: number of the (m-1)-gram that it begins with * `vocab_size` + its last token; a number
        is a place in the keys of that length. Length 1 has every token: [0 .. vocab_size - 1].
    counts
        [u_order]; for order 1 without the BOS of the documents.

    Raises
    ------
    InputError
        There are too many different n-grams to number in 63 bits.
    """
    text = _Text(ids, offsets, vocab_size)
    keys = [np.arange(vocab_size)]
    if order == 1:
        return keys, text.count_tokens(vocab_size)
    segments = [_Segment(0, 1, None, np.zeros(1, np.int64))]
    while True:
        length = min(order, text.reach(segments[-1]))
        codes, counts = _distinct(text.codes(segments[-1], length))
        if length == order:
            break
        segments.append(_Segment(length, codes.size, text.ranks(segments[-1], length, codes), codes))
    return keys + _shorter(text, segments, order, codes, vocab_size)[::-1], counts


def places(known: Ints, wanted: Ints) -> Ints:
    """Return where each of `wanted` is, or would be, in the rising `known`, as np.searchsorted does, but faster."""
    out = np.empty(wanted.size, np.int64)
    for start in range(0, wanted.size, _PART):
        part = wanted[start : start + _PART]
        order = np.argsort(part)  # neighbours are looked up one after the other: far fewer cache misses
        out[start + order] = np.searchsorted(known, part[order])
    return out


@dataclass(frozen=True, eq=False)
class _Segment:
    """
    How n-grams longer than `length` are numbered: their first `length` tokens are one digit, the rank of that gram.

    base: how many of these there are; ranks [n]: of the one at each position; codes [base]: their numbers in the
    segment before.
    """

    length: int
    base: int
    ranks: Ints | None
    codes: Ints


class _Text:
    """Documents end to end, and the numbers of the n-grams in them."""

    def __init__(self, ids: Ids, offsets: Ints, vocab_size: int) -> None:
        self.ids, self.starts, self.ends = ids, offsets[:-1], offsets[1:]
        seen = np.zeros(vocab_size, bool)
        for start in range(0, ids.size, _PART):
            seen[ids[start : start + _PART]] = True
        self.tokens = np.flatnonzero(seen)  # the digits stand for these: numbers are smaller than with all tokens
        self._digits = np.cumsum(seen) - 1

    def count_tokens(self, vocab_size: int) -> Ints:
        """Return how often each token occurs, without the BOS of documents."""
        counts = -np.bincount(self.ids[self.starts], minlength=vocab_size)
        for start in range(0, self.ids.size, _PART):
            counts += np.bincount(self.ids[start : start + _PART], minlength=vocab_size)
        return counts

    def reach(self, segment: _Segment) -> int:
        """Return the longest n-grams that a segment can number."""
        length, largest = segment.length, segment.base
        while largest <= _LARGEST // self.tokens.size and length < self.ids.size:
            length, largest = length + 1, largest * self.tokens.size
        if length == segment.length:
            raise InputError(
                f"{segment.base:,} contexts x {self.tokens.size:,} tokens are too many to number; set max_tokens"
            )
        return length

    def codes(self, segment: _Segment, length: int) -> NDArray[Any]:
        """Return the number of the n-gram of a length at each position where one starts, in a small type."""
        fits = segment.base * self.tokens.size ** (length - segment.length) <= 1 << 32
        out = np.empty(int(np.maximum(self.ends - self.starts - length + 1, 0).sum()), np.uint32 if fits else np.int64)
        done = 0
        for _, codes in self._parts(segment, length, out.dtype):
            out[done : done + codes.size] = codes
            done += codes.size
        return out

    def ranks(self, segment: _Segment, length: int, known: Ints) -> Ints:
        """Return the place in `known` of the n-gram at each position [n]; anything where none starts."""
        out = np.zeros(self.ids.size, np.int64)
        for at, codes in self._parts(segment, length, np.dtype(np.int64)):
            out[at] = places(known, codes)
        return out

    def last(self, segment: _Segment, length: int) -> Ints:
        """Return the number of the n-gram that ends each document that is long enough."""
        ends = self.ends[self.ends - self.starts >= length]
        window = ends[:, None] - length + np.arange(length)
        first = None if segment.ranks is None else segment.ranks[window[:, 0]]
        return self._code(first, self._digits[self.ids[window[:, segment.length :]]].T)

    def _parts(self, segment: _Segment, length: int, dtype: np.dtype[Any]) -> Iterator[tuple[Ints, NDArray[Any]]]:
        """Yield positions where an n-gram starts, and the numbers of these n-grams."""
        starts_here = np.ones(self.ids.size, bool)
        for back in range(1, length):
            starts_here[np.maximum(self.ends - back, self.starts)] = False
        digits, last = self._digits.astype(dtype), self.ids.size - length + 1
        for start in range(0, last, _PART):
            stop = min(start + _PART, last)
            found = digits[self.ids[start + segment.length : stop + length - 1]]
            first = None if segment.ranks is None else segment.ranks[start:stop]
            shifted = [found[i : i + stop - start] for i in range(length - segment.length)]
            at = np.flatnonzero(starts_here[start:stop])
            yield start + at, self._code(first, shifted)[at]

    def _code(self, first: Any, digits: Any) -> Any:
        """Return the numbers with these digits, the first of them that of a rank if there is one."""
        code = digits[0].copy() if first is None else first * self.tokens.size + digits[0]
        for digit in digits[1:]:
            code *= self.tokens.size
            code += digit
        return code


def _distinct(codes: NDArray[Any]) -> tuple[Ints, Ints]:
    """Return the different numbers, rising, and how often each occurs; `codes` is sorted in its place."""
    codes.sort()
    new = np.flatnonzero(np.concatenate([[True], codes[1:] != codes[:-1]]))
    return codes[new].astype(np.int64), np.diff(new, append=codes.size)


def _shorter(text: _Text, segments: list[_Segment], order: int, codes: Ints, vocab_size: int) -> list[Ints]:
    """Return the keys of the lengths `order` .. 2, from the numbers of the longest n-grams."""
    keys, base = [], text.tokens.size
    for length in range(order, 1, -1):
        if length == segments[-1].length:
            codes = segments.pop().codes
        begins = codes // base
        token = text.tokens[codes - begins * base]
        if length == 2:
            context = text.tokens[begins]
        elif length - 1 == segments[-1].length:  # the beginning is one digit: a rank
            context = begins
        else:
            change = np.concatenate([[True], begins[1:] != begins[:-1]])
            different = begins[change]
            codes, _ = _distinct(np.concatenate([different, text.last(segments[-1], length - 1)]))
            context = np.searchsorted(codes, different)[np.cumsum(change) - 1]
        keys.append(context * vocab_size + token)
    return keys
