"""Count models: exactly normalised n-gram models over token ids."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mixwright.checks import whole_number
from mixwright.errors import InputError
from mixwright.text.grams import Ids, Ints, ngrams, places
from mixwright.text.target_rows import TargetRows
from mixwright.text.tokens import TokenStore

Floats = NDArray[np.float64]
_PLAIN = (0.0, 0.5, 1.0, 1.5)  # discounts where the counts of counts allow no estimate, as KenLM's fallback


@dataclass(frozen=True, eq=False)
class _Level:
    """
    The m-grams of one length m, with what interpolation needs of their contexts (the (m-1)-grams).

    keys [u]: context * vocabulary + token, rising, so the extensions of a context stand together; counts [u]: the
    adjusted counts; total [c]: the sum of counts by context; spare [c]: the sum of discounts, the mass that goes to the
    shorter context; discounts [4]: by count, 3 standing for 3 and more.
    """

    keys: Ints
    counts: NDArray[np.int32]
    total: Floats
    spare: Floats
    discounts: Floats


@dataclass(frozen=True, eq=False)
class NgramModel:
    """
    An n-gram model with interpolated modified Kneser-Ney smoothing, over a uniform base.

        p(w | h) = (c(hw) - D(c(hw))) / c(h.) + spare(h) / c(h.) * p(w | h')

    - c: counts at the longest context; below it the number of different tokens seen before hw (n-grams at the start of
      a document, which nothing precedes, keep their counts).
    - D: three discounts per level (counts of 1, 2, and 3 or more), from the counts of counts.
    - h': h without its first token; the last step is uniform over the vocabulary, so nothing is impossible.

    For every context the probabilities of all tokens have the sum 1. No hashing: contexts are numbered exactly.

    Make one with `count_ngrams`. Memory: about 28 bytes for each different n-gram of each order. Counting takes 5
    or 9 bytes a token and 40 for each of the longest n-grams (measured: benchmarks/results/ngram.md).

    References
    ----------
    Chen, Goodman, "An empirical study of smoothing techniques for language modeling", 1999, section 3.4.
    """

    order: int
    vocab_size: int
    bos: int
    tokens: int
    levels: tuple[_Level, ...]

    def log_probabilities(self, tokens: ArrayLike, starts: ArrayLike) -> Floats:
        """
        Return the log-probability of each token given those before it in its document, nats [t].

        Parameters
        ----------
        tokens
            [t] ids, documents end to end, without BOS.
        starts
            [d] where each document starts in `tokens`, rising; each is read after a BOS.

        Raises
        ------
        InputError
            An id is outside the vocabulary.
        """
        given, starts = np.asarray(tokens, np.int64), np.asarray(starts, np.int64)
        if given.size and not (given.min() >= 0 and given.max() < self.vocab_size):
            wrong = given.min() if given.min() < 0 else given.max()
            raise InputError(f"token ids should be from 0 to {self.vocab_size - 1}, found {wrong}; use one tokenizer")
        places = np.arange(given.size) + np.searchsorted(starts, np.arange(given.size), "right")
        ids = np.full(given.size + starts.size, self.bos, np.int64)
        ids[places] = given
        depth = _depths(ids.size, starts + np.arange(starts.size))
        return np.log(self._probabilities(ids, depth)[places])

    def score(self, rows: TargetRows) -> Floats:
        """
        Return the log-likelihood of each row of a target, nats [n].

        A chunk in the middle of a document is read after the tokens before it, not after a BOS.
        """
        return rows.sums(self.log_probabilities(rows.tokens, rows.document_starts))

    def _probabilities(self, ids: Ints, depth: Ints) -> Floats:
        """Return the probability of each id [n] given the ids before it; `depth` [n] of them are in its document."""
        p = np.full(ids.size, 1 / self.vocab_size)
        known, before = ids, np.zeros(ids.size, np.int64)  # the number of each position's context, -1: never seen
        for length, level in enumerate(self.levels, start=1):
            at = np.flatnonzero((before >= 0) & (depth >= length - 1))
            at = at[level.total[before[at]] > 0]
            context = before[at]
            keys = context * self.vocab_size + ids[at]
            where = np.minimum(places(level.keys, keys), level.keys.size - 1)
            found = level.keys[where] == keys
            counts = np.where(found, level.counts[where], 0)
            kept = counts - level.discounts[np.minimum(counts, 3)]
            p[at] = (kept + level.spare[context] * p[at]) / level.total[context]
            if length > 1:
                known = np.full(ids.size, -1, np.int64)
                known[at[found]] = where[found]
            before = np.concatenate([[-1], known[:-1]])
        return p


def count_ngrams(store: TokenStore, order: int = 4, max_tokens: int | None = None, seed: int = 0) -> NgramModel:
    """
    Count the n-grams of a source.

    Parameters
    ----------
    store
        Its tokens; a BOS stands before each document.
    order
        The longest n-gram, at least 1; a context is `order` - 1 tokens.
    max_tokens
        Count whole documents in random order, up to about this many tokens. Default: all.
    seed
        Of that order.

    Raises
    ------
    InputError
        `order` or `max_tokens` is no whole number of at least 1, or larger than the longest document allows.
    """
    whole_number(order, "order", least=1)
    ids, offsets = _sampled(store, max_tokens, seed)
    longest = int(np.diff(offsets).max()) - 1
    if order - 1 > longest:
        raise InputError(
            f"order should be at most {longest + 1}: the longest document of {store.name!r} has {longest} tokens, "
            f"found {order}; lower the order or add text"
        )
    levels = tuple(_levels(ids, offsets, order, store.vocab_size))
    return NgramModel(order, store.vocab_size, store.bos, ids.size, levels)


def _sampled(store: TokenStore, max_tokens: int | None, seed: int) -> tuple[Ids, Ints]:
    """Return the ids of documents with their BOS, and where each document starts, with the end of the last."""
    if max_tokens is None or max_tokens >= store.tokens:
        return store.data, np.asarray(store.offsets)
    whole_number(max_tokens, "max_tokens", least=1)
    drawn = np.random.default_rng([seed, 21]).permutation(store.documents)
    ends = np.cumsum(np.diff(store.offsets)[drawn])
    count = 1 + int(np.searchsorted(ends, max_tokens))
    parts = [store.data[store.offsets[i] : store.offsets[i + 1]] for i in drawn[:count]]
    ids = np.concatenate(parts)[:max_tokens]  # the last document is cut: one long document is not all or nothing
    return ids, np.concatenate([[0], ends[: count - 1], [ids.size]])


def _depths(size: int, starts: Ints) -> Ints:
    """Return how far each of `size` positions is from the start of its document."""
    at = np.zeros(size, np.int64)
    at[starts] = starts
    return np.arange(size) - np.maximum.accumulate(at)


def _levels(ids: Ids, offsets: Ints, order: int, vocab_size: int) -> Iterator[_Level]:
    """Yield the levels 1 .. order; a level counts the left neighbours of the next."""
    keys, counts = ngrams(ids, offsets, order, vocab_size)
    starts, sizes = offsets[:-1], np.diff(offsets)
    first = ids[starts].astype(np.int64)  # the number of the m-gram that starts each document that is long enough
    shorter = np.zeros(vocab_size, np.int64)  # [u] the number of each m-gram without its first token
    contexts = 1
    for length, (own, longer) in enumerate(pairwise(keys), start=1):
        context, token = np.divmod(longer, vocab_size)
        shorter = token if length == 1 else places(own, shorter[context] * vocab_size + token)
        neighbours = np.bincount(shorter, minlength=own.size)
        if length > 1:  # what starts a document has no left neighbour, and keeps its count
            neighbours += np.bincount(first, minlength=own.size)
        yield _level(own, neighbours, contexts, vocab_size, length)
        contexts = own.size
        starts, first = starts[sizes > length], first[sizes > length]
        sizes = sizes[sizes > length]
        first = np.searchsorted(longer, first * vocab_size + ids[starts + length])
    yield _level(keys[-1], counts, contexts, vocab_size, order)


def _level(keys: Ints, counts: Ints, contexts: int, vocab_size: int, length: int) -> _Level:
    """Return a level: its discounts from the counts of counts, and the sums by context."""
    discounts = _discounts(counts)
    context = keys // vocab_size if length > 1 else np.zeros(keys.size, np.int64)
    total = np.bincount(context, counts, contexts).astype(np.float64)
    spare = np.bincount(context, discounts[np.minimum(counts, 3)], contexts).astype(np.float64)
    return _Level(keys, counts.astype(np.int32), total, spare, discounts)


def _discounts(counts: Ints) -> Floats:
    """Return modified Kneser-Ney's D for counts of 0, 1, 2 and 3 or more (Chen and Goodman, equation 17)."""
    n1, n2, n3, n4 = (int(np.count_nonzero(counts == i)) for i in range(1, 5))
    if min(n1, n2, n3, n4) == 0:
        return np.array(_PLAIN)
    y = n1 / (n1 + 2 * n2)
    found = np.array([0.0, 1 - 2 * y * n2 / n1, 2 - 3 * y * n3 / n2, 3 - 4 * y * n4 / n3])
    fits = bool((found[1:] > 0).all() and (found <= np.arange(4)).all())
    return found if fits else np.array(_PLAIN)
