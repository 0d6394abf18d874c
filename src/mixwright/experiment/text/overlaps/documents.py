"""Documents of targets in the text of sources: word for word, and nearly (most of their shingles)."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mixwright.text import Question, Tokenizer
from mixwright.text.shingles import Shingled, shingle_size


def hash_of(text: str) -> int:
    """Return 64 bits that name a text."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")


def text_of(item: str | Question) -> str:
    """Return a document of a target as a source would hold it: a question with its answer."""
    return item if isinstance(item, str) else f"{item.prompt}{item.answer}"


class TargetDocuments:
    """
    Documents that are looked for in sources.

    Parameters
    ----------
    items
        [d], documents or questions.
    tokenizer
        Makes the tokens whose shingles are compared.
    """

    def __init__(self, items: Sequence[str | Question], tokenizer: Tokenizer) -> None:
        texts = [text_of(item) for item in items]
        self._tokenizer = tokenizer
        self._hashes = np.array([hash_of(text) for text in texts], np.uint64)
        self._known = set(self._hashes.tolist())
        self._shingled = Shingled(tokenizer.encode(texts), shingle_size(tokenizer.vocab_size))

    def found(self, hashes: NDArray[np.uint64], ids: NDArray[Any]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Return [d] and [d]: which are among documents with these hashes, and which others are nearly in a text."""
        exact = np.isin(self._hashes, hashes)
        return exact, self._shingled.contained(ids) & ~exact

    def without(self, texts: Iterator[str]) -> Iterator[tuple[str, bool]]:
        """Yield each text with whether it is clean: it is, and contains, none of the documents."""
        for text in texts:
            taken = hash_of(text) in self._known or self._shingled.any_in(self._tokenizer.encode([text])[0])
            yield text, not taken
