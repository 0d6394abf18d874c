"""Count models: normalised, equal to a plain reading of the equations, and better with longer contexts."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mixwright.errors import InputError
from mixwright.text import Tokenizer, TokenStore, byte_tokenizer, write_tokens
from mixwright.text.ngram import count_ngrams
from mixwright.text.target_rows import TargetRows


class Letters:
    """A tokenizer of a few letters; BOS is 0."""

    vocab_size, bos, fingerprint = 5, 0, "letters"

    def encode(self, texts):
        return [np.array(["_abcd".index(c) for c in text], np.int64) for text in texts]


def store_of(folder: Path, texts: list[str], tokenizer: Tokenizer | Letters) -> TokenStore:
    return write_tokens(folder / "tokens", texts, tokenizer)


def by_hand(texts: list[str], order: int, vocab: int, discounts: list[np.ndarray]) -> "dict":
    """Return p(h, w) by the equations, with dictionaries; contexts are tuples with a BOS (0) in front."""
    documents = [(0, *("_abcd".index(c) for c in text)) for text in texts]
    counts = []
    for m in range(1, order + 1):
        raw = Counter(d[i - m + 1 : i + 1] for d in documents for i in range(1, len(d)) if i - m + 1 >= 0)
        if m == order:
            counts.append(raw)
            continue
        longer = {d[i - m : i + 1] for d in documents for i in range(1, len(d)) if i - m >= 0}
        left = Counter(gram[1:] for gram in longer)
        for gram, count in raw.items():
            if gram[0] == 0:
                left[gram] += count
        counts.append(left)

    def p(h: tuple, w: int) -> float:
        m = len(h) + 1
        lower = 1 / vocab if m == 1 else p(h[1:], w)
        seen = {g[-1]: c for g, c in counts[m - 1].items() if g[:-1] == h and c}
        if not seen:
            return lower
        d = discounts[m - 1]
        spare = sum(d[min(c, 3)] for c in seen.values())
        kept = seen[w] - d[min(seen[w], 3)] if w in seen else 0.0
        return (kept + spare * lower) / sum(seen.values())

    return p


texts_of_letters = st.lists(st.text("abcd", min_size=4, max_size=30), min_size=1, max_size=6)


@settings(max_examples=60)
@given(texts=texts_of_letters, scored=st.text("abcd", min_size=1, max_size=12), order=st.integers(1, 4))
def test_probabilities_are_those_of_the_equations_and_sum_to_one(tmp_path_factory, texts, scored, order):
    model = count_ngrams(store_of(tmp_path_factory.mktemp("n"), texts, Letters()), order)
    p = by_hand(texts, order, 5, [level.discounts for level in model.levels])
    ids = ["_abcd".index(c) for c in scored]
    logs = model.log_probabilities(ids, [0])
    for i, w in enumerate(ids):
        h = (0, *ids[:i])[-(order - 1) :] if order > 1 else ()
        assert logs[i] == pytest.approx(np.log(p(h, w)), abs=1e-12)
        every = [model.log_probabilities([*ids[:i], v], [0])[-1] for v in range(5)]
        assert np.exp(every).sum() == pytest.approx(1, abs=1e-12)


def test_documents_do_not_see_each_other(tmp_path):
    model = count_ngrams(store_of(tmp_path, ["abcabcabd", "dcbadcba"], Letters()), 3)
    one, other = [1, 2, 3, 1], [4, 3]
    apart = np.concatenate([model.log_probabilities(one, [0]), model.log_probabilities(other, [0])])
    assert model.log_probabilities(one + other, [0, 4]).tolist() == apart.tolist()


def test_longer_contexts_predict_held_out_text_better_and_a_sample_is_a_sample(tmp_path):
    import pydoc

    text = Path(pydoc.__file__).read_text(encoding="utf-8")
    half, tokenizer = len(text) // 2, byte_tokenizer()
    parts = [text[:half][i : i + 2000] for i in range(0, half, 2000)]
    store = store_of(tmp_path, parts, tokenizer)
    (held_out,) = tokenizer.encode([text[half:]])
    losses = [-count_ngrams(store, n).log_probabilities(held_out, [0]).mean() for n in (1, 2, 3, 4)]
    assert losses[0] > losses[1] > losses[2] > losses[3]
    assert losses[3] < 1.9 < 3 < losses[0]  # nats per byte
    few = count_ngrams(store, 4, max_tokens=10_000, seed=1)
    assert few.tokens == 10_000
    assert -few.log_probabilities(held_out, [0]).mean() > losses[3]
    again = count_ngrams(store, 4, max_tokens=10_000, seed=1)
    assert again.log_probabilities(held_out, [0]).tolist() == few.log_probabilities(held_out, [0]).tolist()


@pytest.mark.parametrize(
    ("order", "max_tokens", "said"),
    [
        (0, None, "order should be a whole number of at least 1, found 0"),
        (12, None, "order should be at most 5: the longest document of 'tokens' has 4 tokens, found 12"),
        (2, 0, "max_tokens should be a whole number of at least 1, found 0"),
    ],
)
def test_orders_and_samples_that_cannot_be(tmp_path, order, max_tokens, said):
    with pytest.raises(InputError, match=said):
        count_ngrams(store_of(tmp_path, ["abca", "bd"], Letters()), order, max_tokens)


def test_an_id_outside_the_vocabulary_is_refused(tmp_path):
    model = count_ngrams(store_of(tmp_path, ["abca"], Letters()), 2)
    with pytest.raises(InputError, match="token ids should be from 0 to 4, found 7"):
        model.log_probabilities([1, 7], [0])


def test_rows_of_a_target_are_sums_over_their_tokens(tmp_path):
    model = count_ngrams(store_of(tmp_path, ["abcabcabd", "dcbadcba"], Letters()), 3)
    documents = [[1, 2, 3, 1, 2], [], [4, 3, 2]]
    each = [model.log_probabilities(d, [0]) for d in documents if d]
    expected = {
        "token": np.concatenate(each),
        "chunk": [each[0][:2].sum(), each[0][2:4].sum(), each[0][4:].sum(), each[1][:2].sum(), each[1][2:].sum()],
        "sequence": [each[0].sum(), each[1].sum()],
    }
    for unit, values in expected.items():
        found = model.score(TargetRows.from_documents(documents, 2, unit, 0))
        assert found == pytest.approx(values, abs=1e-12)
    answers = TargetRows.from_questions([([1, 2], [3, 1]), ([4], [3])], 4, "answer", 0)
    expected_answers = [model.log_probabilities([1, 2, 3, 1], [0])[2:].sum(), model.log_probabilities([4, 3], [0])[1]]
    assert model.score(answers) == pytest.approx(expected_answers, abs=1e-12)
