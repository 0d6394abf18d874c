from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mixwright.errors import InputError
from mixwright.text.target_rows import TargetRows
from mixwright.training.model import build_model
from mixwright.training.scoring import WINDOW, chunk_values, evaluate, loss_gradient, row_values, score

CONTEXT, BOS = 6, 256
DOCUMENTS = [[1, 2, 3], [], list(range(20)), [7] * 6, [9], list(range(40, 53))]
UNITS = ("sequence", "chunk", "token")


@pytest.fixture
def model(spec, tokenizer):
    return build_model(spec, tokenizer, CONTEXT, 0)


def scored(model, rows, **kwargs):
    return np.concatenate(list(score(model, rows, **kwargs)))


def by_hand(model, ids):
    """Sum log-probabilities one token at a time, with nothing of the library."""
    found = []
    for start in range(0, len(ids), CONTEXT):
        read = [BOS]
        for token in ids[start : start + CONTEXT]:
            with torch.no_grad():
                logits = model(torch.tensor([read])).logits[0, -1].double()
            found.append(float(torch.log_softmax(logits, 0)[token]))
            read.append(token)
    return np.array(found)


@pytest.mark.parametrize("unit", UNITS)
def test_the_gradient_of_the_loss_is_that_of_a_plain_loop(model, unit):
    parameters = list(model.parameters())
    parameters[0].requires_grad_(False)
    model.train()
    rows = TargetRows.from_documents([np.array(ids, np.int32) for ids in DOCUMENTS], CONTEXT, unit, BOS)
    found = loss_gradient(model, rows, batch_size=3)
    losses = []
    for ids in DOCUMENTS:
        for start in range(0, len(ids), CONTEXT):
            piece = ids[start : start + CONTEXT]
            logits = model(torch.tensor([[BOS, *piece[:-1]]])).logits[0]
            losses.append(torch.nn.functional.cross_entropy(logits, torch.tensor(piece), reduction="sum"))
    (sum(losses) / sum(map(len, DOCUMENTS))).backward()
    expected = torch.cat([p.grad.flatten() for p in parameters[1:]])
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)
    assert model.training


def test_units_against_a_direct_computation(model):
    tokens = [by_hand(model, ids) for ids in DOCUMENTS]
    expected = {
        "token": np.concatenate(tokens),
        "chunk": [t[i : i + CONTEXT].sum() for t in tokens for i in range(0, len(t), CONTEXT)],
        "sequence": [t.sum() for t in tokens if len(t)],
    }
    documents = {
        "token": np.repeat(range(6), [len(t) for t in tokens]),
        "chunk": [0, 2, 2, 2, 2, 3, 4, 5, 5, 5],
        "sequence": [0, 2, 3, 4, 5],
    }
    for unit in UNITS:
        rows = TargetRows.from_documents(DOCUMENTS, CONTEXT, unit, BOS)
        values = scored(model, rows, batch_size=2)
        assert values.dtype == np.float64
        assert rows.n == len(values) == len(expected[unit])
        np.testing.assert_allclose(values, expected[unit], atol=1e-4)
        np.testing.assert_array_equal(rows.documents, documents[unit])
        losses = evaluate(model, rows)
        np.testing.assert_allclose(losses.nats, [-t.sum() for t in tokens], atol=1e-4)
        assert losses.tokens.tolist() == [len(ids) for ids in DOCUMENTS]
        assert losses.loss == pytest.approx(-np.concatenate(tokens).mean(), abs=1e-5)


@pytest.mark.parametrize("unit", ["joint", "answer"])
def test_questions_against_a_direct_computation(model, unit):
    questions = [([1, 2], [3, 4]), ([], [5]), (list(range(9)), [1, 2, 3]), ([1], [9] * 6)]
    rows = TargetRows.from_questions(questions, CONTEXT, unit, BOS)
    if unit == "joint":
        expected = [by_hand(model, p + a).sum() for p, a in questions]
    else:
        kept = [(p[max(0, len(p) + len(a) - CONTEXT) :], a) for p, a in questions]
        expected = [by_hand(model, p + a)[len(p) :].sum() for p, a in kept]
    np.testing.assert_allclose(scored(model, rows, batch_size=3), expected, atol=1e-4)
    assert rows.documents.tolist() == [0, 1, 2, 3]
    lengths = [len(a) + (len(p) if unit == "joint" else 0) for p, a in questions]
    assert evaluate(model, rows).tokens.tolist() == lengths


@pytest.fixture(scope="module")
def fixed():
    from mixwright.text import byte_tokenizer

    spec = {"model_type": "gpt_neox", "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
    return build_model(spec, byte_tokenizer(), CONTEXT, 0)


@settings(max_examples=40)
@given(
    st.lists(st.lists(st.integers(0, 255), max_size=60), min_size=1, max_size=12).filter(any),
    st.sampled_from(UNITS),
    st.integers(1, 3),
    st.data(),
)
def test_batch_size_and_start_do_not_matter(fixed, documents, unit, batch_size, data):
    rows = TargetRows.from_documents(documents, CONTEXT, unit, BOS)
    whole = scored(fixed, rows, batch_size=50)
    blocks = list(score(fixed, rows, batch_size))
    assert all(len(block) for block in blocks)
    np.testing.assert_allclose(np.concatenate(blocks), whole, atol=1e-4)
    start = data.draw(st.integers(0, rows.n))
    rest = np.concatenate([np.empty(0), *score(fixed, rows, batch_size, start)])
    np.testing.assert_array_equal(rest, np.concatenate(blocks)[start:])  # to the last digit


@settings(max_examples=40)
@given(
    st.lists(st.lists(st.integers(0, 255), max_size=60), min_size=1, max_size=12).filter(any),
    st.sampled_from(UNITS),
    st.data(),
)
def test_parts_of_whole_windows_give_the_same_to_the_last_digit(fixed, documents, unit, data):
    rows = TargetRows.from_documents(documents, CONTEXT, unit, BOS)
    chunks, window = len(rows.ends) - 1, WINDOW
    cuts = sorted({0, *data.draw(st.sets(st.integers(0, chunks // window).map(lambda i: i * window))), chunks})
    parts = [np.concatenate([*chunk_values(fixed, rows, 1, a, b)]) for a, b in pairwise(cuts)]
    start = data.draw(st.integers(0, rows.n - 1))
    found = np.concatenate([*row_values(rows, parts, 0, start)])
    np.testing.assert_array_equal(found, scored(fixed, rows, batch_size=1)[start:])


def test_rows_are_kept_on_disk_and_damage_is_seen(tmp_path):
    rows = TargetRows.from_questions([([1, 2], [3]), ([4], [5, 6])], 4, "answer", BOS)
    rows.save(tmp_path)
    found = TargetRows.load(tmp_path)
    assert found.fingerprint == rows.fingerprint
    assert (found.n, found.unit, found.skip.tolist()) == (2, "answer", [2, 1])
    np.save(tmp_path / "skip.npy", [0, 1])
    with pytest.raises(InputError, match="should hold the rows of a target, found other contents"):
        TargetRows.load(tmp_path)
    (tmp_path / "ends.npy").write_bytes(b"cut")
    with pytest.raises(InputError, match="should hold the rows of a target, found"):
        TargetRows.load(tmp_path)


def test_documents_longer_than_a_window_and_many_blocks(fixed):
    documents = [[1, 2], list(range(250)) * 3, [3], list(range(200)) * 2]
    rows = TargetRows.from_documents(documents, CONTEXT, "sequence", BOS)
    np.testing.assert_allclose(scored(fixed, rows, batch_size=1), scored(fixed, rows, batch_size=500), atol=1e-3)
    tokens = TargetRows.from_documents(documents, CONTEXT, "token", BOS)
    assert len(list(score(fixed, tokens, 1))) > 5


def test_the_context_is_never_exceeded(fixed, monkeypatch):
    longest, forward = 0, fixed.forward

    def watched(*args, input_ids, **kwargs):
        nonlocal longest
        longest = max(longest, input_ids.shape[1])
        assert (input_ids[:, 0] == BOS).all()
        return forward(*args, input_ids=input_ids, **kwargs)

    monkeypatch.setattr(fixed, "forward", watched)
    scored(fixed, TargetRows.from_documents([range(100), range(6)], CONTEXT, "chunk", BOS))
    assert longest == CONTEXT


def test_the_mode_of_the_model_is_kept(fixed):
    fixed.train()
    scored(fixed, TargetRows.from_documents([[1]], CONTEXT, "chunk", BOS))
    assert fixed.training


def test_fingerprint_names_the_content():
    make = TargetRows.from_documents
    a = make([[1, 2], [3]], 4, "chunk", BOS).fingerprint
    assert a == make([[1, 2], [3]], 4, "chunk", BOS).fingerprint
    others = [
        make([[1], [2, 3]], 4, "chunk", BOS),
        make([[1, 2], [3]], 4, "token", BOS),
        make([[1, 2], [3]], 5, "chunk", BOS),
        make([[1, 2], [3]], 4, "chunk", 0),
        make([[1, 2], [4]], 4, "chunk", BOS),
        make([[1, 2], [3], []], 4, "chunk", BOS),
    ]
    assert len({a, *(rows.fingerprint for rows in others)}) == 7


def test_bad_rows(fixed):
    with pytest.raises(InputError, match="one of sequence, chunk, token, found 'row'"):
        TargetRows.from_documents([[1]], 4, "row", BOS)
    with pytest.raises(InputError, match="one of joint, answer, found 'chunk'"):
        TargetRows.from_questions([([1], [2])], 4, "chunk", BOS)
    with pytest.raises(InputError, match="at least one target document"):
        TargetRows.from_documents([[], []], 4, "chunk", BOS)
    with pytest.raises(InputError, match=r"an answer should have 1 to 4 tokens .* found 5 in question 2"):
        TargetRows.from_questions([([1], [2]), ([1], [2] * 5)], 4, "answer", BOS)
    with pytest.raises(InputError, match="reads at most 6 tokens at once, found a context of 7"):
        list(score(fixed, TargetRows.from_documents([[1]], 7, "chunk", BOS)))
    with pytest.raises(InputError, match="from 0 to 1, found 2"):
        list(score(fixed, TargetRows.from_documents([[1]], 4, "chunk", BOS), start_row=2))
