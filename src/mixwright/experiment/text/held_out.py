"""Held-out documents of a source in two parts: those that strategies read, and those that results rest on."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterable, Sequence
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from mixwright.text import TokenStore

Ids = NDArray[np.integer]
_SALT = b"told"  # decides which documents strategies read: a change would move them in the runs of former versions
_PIECES = 16
REPORTED_PIECES = 50


def digest(ids: Ids) -> bytes:
    """Name the content of a document."""
    return hashlib.blake2b(np.asarray(ids, "<u4").tobytes(), digest_size=8, key=_SALT).digest()


def is_for_strategies(name: bytes) -> bool:
    """Say to which part a document belongs, by its content alone: to the same in every source and run."""
    return bool(name[0] & 1)


def reported_documents(store: TokenStore, tokens: int, shortest: int = 1) -> list[Ids]:
    """
    Return documents that results rest on, enough for about `tokens` by `reported_pieces`.

    They come from all over the store, in an order that does not depend on how many are asked for, so those for more
    tokens include those for fewer. Where no document is for results alone, any is.
    """
    longest = max(tokens // REPORTED_PIECES, shortest)
    found = _spread(store, tokens, longest, lambda name: not is_for_strategies(name))
    return found or _spread(store, tokens, longest, lambda name: True)


def reported_pieces(documents: Sequence[Ids], tokens: int, shortest: int = 1) -> list[Ids]:
    """
    Return the middles of documents that results rest on, about `tokens` in all.

    One book is not a source: at most a fiftieth of the tokens comes from a document, where there are enough, but at
    least `shortest` (a context), since a model with less before a token predicts it worse.
    """
    return middles(documents, tokens, max(tokens // REPORTED_PIECES, shortest))


def strategy_pieces(store: TokenStore, tokens: int, judged: Collection[bytes]) -> list[Ids]:
    """
    Return pieces of documents that strategies read and that are not `judged`, about `tokens` in all.

    Few tokens have to stand for a source, so they come from the middle of many documents: at most a sixteenth from each
    where there are enough.
    """
    documents = []
    for index in range(store.documents):
        ids = np.asarray(store.document(index))
        if ids.size and is_for_strategies(name := digest(ids)) and name not in judged:
            documents.append(ids)
            if len(documents) >= _PIECES and sum(min(d.size, tokens // _PIECES) for d in documents) >= tokens:
                break
    return middles(documents, tokens)


def middles(documents: Sequence[Ids], tokens: int, longest: int | None = None) -> list[Ids]:
    """
    Return the middle of each document, of equal length but for shorter ones, about `tokens` in all.

    The length is `longest` (by default a sixteenth of the tokens), or more where there are too few documents.
    """
    longest = max(tokens // _PIECES, 1) if longest is None else longest
    while sum(min(d.size, longest) for d in documents) < min(tokens, sum(d.size for d in documents)):
        longest *= 2
    found, size = [], 0
    for ids in documents:
        start = max(0, ids.size - longest) // 2
        found.append(ids[start : start + longest])
        size += found[-1].size
        if size >= tokens:
            break
    return found


def names_of(documents: Iterable[Iterable[Ids]]) -> frozenset[bytes]:
    """Return the names of lists of documents."""
    return frozenset(map(digest, chain.from_iterable(documents)))


def _spread(store: TokenStore, tokens: int, longest: int, wanted: Callable[[bytes], bool]) -> list[Ids]:
    documents, size = [], 0
    for index in np.random.default_rng(0).permutation(store.documents):
        if size >= tokens:
            break
        ids = np.asarray(store.document(int(index)))
        if ids.size and wanted(digest(ids)):
            documents.append(ids)
            size += min(ids.size, longest)
    return documents
