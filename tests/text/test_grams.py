"""The different n-grams of documents: those of a plain count, however they are numbered."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mixwright.errors import InputError
from mixwright.text import grams

VOCAB = 7
documents = st.lists(st.lists(st.integers(0, VOCAB - 1), max_size=25), min_size=1, max_size=6)


def joined(texts: list[list[int]]) -> tuple[np.ndarray, np.ndarray]:
    """Return documents end to end, each after a BOS (0), and where they start and end."""
    whole = [[0, *text] for text in texts]
    return np.concatenate(whole).astype(np.uint16), np.cumsum([0, *map(len, whole)])


def spelled(keys: list[np.ndarray]) -> list[list[tuple[int, ...]]]:
    """Return the tokens of every n-gram, by length."""
    found = [[(int(token),) for token in keys[0]]]
    for each in keys[1:]:
        found.append([(*found[-1][key // VOCAB], int(key % VOCAB)) for key in each])
    return found


@settings(max_examples=80)
@given(texts=documents, order=st.integers(1, 6), largest=st.sampled_from([2**63 - 1, 10_000]), part=st.integers(1, 40))
def test_they_are_those_of_a_plain_count(texts, order, largest, part):
    ids, offsets = joined(texts)
    order = min(order, max(map(len, texts)) + 1)
    with pytest.MonkeyPatch.context() as patch:  # small numbers and short parts: ranks in place of digits, many borders
        patch.setattr(grams, "_LARGEST", largest)
        patch.setattr(grams, "_PART", part)
        keys, counts = grams.ngrams(ids, offsets, order, VOCAB)
    whole = [(0, *text) for text in texts]
    for length, found in enumerate(spelled(keys), start=1):
        plain = Counter(d[i : i + length] for d in whole for i in range(len(d) - length + 1))
        assert found == (sorted(plain) if length > 1 else [(token,) for token in range(VOCAB)])
        assert (np.diff(keys[length - 1]) > 0).all()
    if order == 1:
        plain -= Counter({(0,): len(texts)})  # the BOS of the documents
    assert counts.tolist() == [plain[gram] for gram in found]


def test_a_small_limit_needs_several_ranks(monkeypatch):
    monkeypatch.setattr(grams, "_LARGEST", 200)
    ids, offsets = joined([[1, 2, 3, 1, 2, 3, 4, 5, 6, 1], [3, 1, 2]])
    keys, counts = grams.ngrams(ids, offsets, 8, VOCAB)
    assert spelled(keys)[-1] == [(0, 1, 2, 3, 1, 2, 3, 4), (1, 2, 3, 1, 2, 3, 4, 5), (2, 3, 1, 2, 3, 4, 5, 6),
                                 (3, 1, 2, 3, 4, 5, 6, 1)]  # fmt: skip
    assert counts.tolist() == [1, 1, 1, 1]


def test_too_many_to_number(monkeypatch):
    monkeypatch.setattr(grams, "_LARGEST", 20)
    with pytest.raises(InputError, match=r"contexts x 7 tokens are too many to number; set max_tokens"):
        grams.ngrams(*joined([[1, 2, 3, 4, 5, 6, 1, 2]]), 4, VOCAB)


def test_places_are_those_of_searchsorted(monkeypatch):
    monkeypatch.setattr(grams, "_PART", 16)
    rng = np.random.default_rng(0)
    known, wanted = np.unique(rng.integers(0, 99, 40)), rng.integers(-5, 105, 200)
    assert grams.places(known, wanted).tolist() == np.searchsorted(known, wanted).tolist()
