"""Losses of pairs and log-probabilities of answers; pairs as a source of the stream."""

import math
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pairings import CONTEXT, VOCABULARY, model, token_pairs, torch, transformers

from mixwright import InputError
from mixwright.preference import heads
from mixwright.preference.losses import (
    PairLoss,
    answer_log_probabilities,
    reference_log_probabilities,
    score_pairs,
)
from mixwright.preference.pairs.rows import PairBatch, PairRows, TokenPairs, collate_pairs
from mixwright.stream import Sources

LOGS = st.floats(-300, 0)


@given(LOGS, LOGS, LOGS, LOGS, st.integers(1, 90), st.integers(1, 90), st.floats(1e-3, 10), st.floats(0, 3))
def test_losses_are_their_formulas(c, r, c0, r0, nc, nr, beta, gamma):
    def found(kind):
        values = (torch.tensor([v], dtype=torch.float64) for v in (c, r))
        reference, lengths = torch.tensor([[c0, r0]], dtype=torch.float64), torch.tensor([[nc, nr]])
        return [v.item() for v in PairLoss(kind, beta, gamma).of(*values, reference, lengths)]

    def minus_log_sigmoid(x):
        return math.log1p(math.exp(-x)) if x > -30 else -x + math.log1p(math.exp(x))

    margin = beta * ((c - c0) - (r - r0))
    assert found("sigmoid") == pytest.approx([minus_log_sigmoid(margin), margin], rel=1e-9, abs=1e-12)
    h = (c - c0) / nc - (r - r0) / nr
    assert found("ipo") == pytest.approx([(h - 1 / (2 * beta)) ** 2, beta * h], rel=1e-9, abs=1e-9)
    margin = beta * (c / nc - r / nr)
    assert found("simpo") == pytest.approx([minus_log_sigmoid(margin - gamma), margin], rel=1e-9, abs=1e-12)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("hinge",), "'sigmoid', 'ipo', 'simpo', found 'hinge'"),
        (("sigmoid", 0), "beta of the loss should be a number above 0, found 0"),
        (("sigmoid", math.nan), "beta"),
        (("sigmoid", "0.1"), "beta"),
        (("simpo", 1.0, -0.1), "gamma of the loss should be a number of at least 0"),
        (("simpo", 1.0, math.inf), "gamma"),
    ],
)
def test_losses_that_there_are_not(arguments, message):
    with pytest.raises(InputError, match=message):
        PairLoss(*arguments)


def test_a_loss_says_what_it_needs_and_is_named_by_it():
    one = torch.tensor([-1.0])
    with pytest.raises(InputError, match="'ipo' needs the reference"):
        PairLoss("ipo").of(one, one)
    with pytest.raises(InputError, match="'simpo' needs the tokens"):
        PairLoss("simpo").of(one, one)
    assert not PairLoss("simpo").needs_reference
    assert PairLoss("sigmoid", 0.1).fingerprint == PairLoss("sigmoid", 0.1, gamma=2.0).fingerprint
    names = {PairLoss(*a).fingerprint for a in (("sigmoid", 0.1), ("sigmoid", 0.2), ("ipo", 0.1), ("simpo", 0.1))}
    assert len(names | {PairLoss("simpo", 0.1, 0.6).fingerprint}) == 5
    assert PairLoss("sigmoid", 1).fingerprint == PairLoss("sigmoid", 1.0).fingerprint


def by_hand(made, encoded):
    found = np.zeros((len(encoded), 2))
    for i in range(len(encoded)):
        for j, answer in enumerate((encoded.chosen(i), encoded.rejected(i))):
            ids = torch.tensor([*encoded.prompt(i), *answer])[None]
            logits = made(input_ids=ids).logits[0].double().log_softmax(-1)
            found[i, j] = sum(
                logits[t - 1, ids[0, t]].item() for t in range(max(1, len(encoded.prompt(i))), ids.shape[1])
            )
    return found


@settings(max_examples=15)
@given(
    st.integers(0, 2**31), st.integers(1, 7), st.sampled_from(["GPTNeoX", "Llama"]), st.sampled_from([1, 100, 1 << 24])
)
def test_log_probabilities_are_sums_over_the_answers_tokens(seed, n, kind, numbers):
    encoded, made = token_pairs(n, seed), model(kind).eval()
    before, heads._NUMBERS = heads._NUMBERS, numbers  # in pieces or at once
    try:
        found = reference_log_probabilities(made, encoded, batch_size=3)
    finally:
        heads._NUMBERS = before
    np.testing.assert_allclose(found, by_hand(made, encoded), rtol=1e-5)
    assert found.dtype == np.float32


def test_an_answer_without_a_prompt_begins_with_its_second_token():
    encoded, made = TokenPairs([[], []], [[3, 4, 5], [6]], [[7, 8], [9, 10, 11]]), model().eval()
    found = reference_log_probabilities(made, encoded)
    np.testing.assert_allclose(found, by_hand(made, encoded), rtol=1e-5, atol=1e-6)
    assert found[1, 0] == 0


@pytest.mark.parametrize("numbers", [VOCABULARY * 4, 1 << 24])
def test_the_gradient_is_that_of_all_logits_at_once(monkeypatch, numbers):
    monkeypatch.setattr(heads, "_NUMBERS", numbers)
    made = model().double()
    batch = PairBatch.of([PairRows(token_pairs(6))[i] for i in range(6)], pad=2)
    weights = torch.arange(12, dtype=torch.float64).view(6, 2) - 5
    found = torch.autograd.grad((answer_log_probabilities(made, batch) * weights).sum(), list(made.parameters()))
    logits = made(input_ids=batch.input_ids, attention_mask=batch.attention_mask).logits[:, :-1].log_softmax(-1)
    tokens = logits.gather(2, batch.input_ids[:, 1:, None])[:, :, 0] * batch.completion_mask[:, 1:]
    plain = torch.stack(tokens.sum(1).chunk(2), 1)
    expected = torch.autograd.grad((plain * weights).sum(), list(made.parameters()))
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-12)


def test_the_head_sees_the_answers_positions_alone_and_low_precision_is_widened():
    made, seen = model(), []
    batch = PairBatch.of([PairRows(token_pairs(6))[i] for i in range(6)], pad=2)
    made.get_output_embeddings().register_forward_hook(lambda module, args, out: seen.append(out))
    with torch.autocast("cpu", torch.bfloat16):
        found = answer_log_probabilities(made, batch)
    assert [list(out.shape) for out in seen] == [[int(batch.completion_mask.sum()), VOCABULARY]]
    assert seen[0].dtype == torch.bfloat16
    assert found.dtype == torch.float32
    expected = seen[0].float().log_softmax(-1).gather(1, batch.input_ids[batch.completion_mask.bool()][:, None])
    assert found.sum().item() == pytest.approx(expected.sum().item(), rel=1e-5)
    assert not made.get_output_embeddings()._forward_pre_hooks  # nothing is left behind
    found.sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in made.parameters())


def test_a_wrapper_that_casts_has_no_logits_to_cast_after_the_first_pass():
    made, cast = model(), []
    batch = PairBatch.of([PairRows(token_pairs(6))[i] for i in range(6)], pad=2)
    forward = made.forward

    def wrapped(*arguments, **named):
        found = forward(*arguments, **named)
        cast.append(tuple(found.logits.shape))
        return found

    made.forward = wrapped
    n = int(batch.completion_mask.sum())
    first, second = (answer_log_probabilities(made, batch) for _ in range(2))
    assert cast == [(n, VOCABULARY), (n, 1)]
    assert torch.equal(first, second)
    grads = [torch.autograd.grad(found.square().sum(), list(made.parameters())) for found in (first, second)]
    assert all(torch.equal(one, other) for one, other in zip(*grads, strict=True))


def test_what_a_model_does_to_its_logits_is_part_of_them():
    config = transformers.Gemma2Config(
        vocab_size=VOCABULARY, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, num_key_value_heads=1,
        head_dim=8, intermediate_size=32, max_position_embeddings=CONTEXT, final_logit_softcapping=0.05,
    )  # fmt: skip
    torch.manual_seed(0)
    made, encoded = transformers.AutoModelForCausalLM.from_config(config).eval(), token_pairs(5)
    assert made(input_ids=torch.arange(9)[None]).logits.abs().max() <= 0.05
    for _ in range(2):
        np.testing.assert_allclose(reference_log_probabilities(made, encoded), by_hand(made, encoded), rtol=1e-5)


def test_prompt_tuning_is_scored_at_the_rows_own_positions():
    peft = pytest.importorskip("peft", reason="peft is not installed")
    torch.manual_seed(0)
    made = peft.get_peft_model(model(), peft.PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=3)).eval()
    encoded = token_pairs(4)
    found = score_pairs(made, encoded, PairLoss("simpo")).log_probabilities
    for i in range(4):
        ids = torch.tensor([*encoded.prompt(i), *encoded.chosen(i)])[None].long()
        logits = made(input_ids=ids).logits[0, 3:-1].log_softmax(-1)
        tokens = logits.gather(1, ids[0, 1:, None])[len(encoded.prompt(i)) - 1 :]
        assert found[i, 0] == pytest.approx(tokens.sum().item(), rel=1e-5)


def test_scores_do_not_depend_on_the_batch_and_leave_the_model_as_it_was():
    encoded, made = token_pairs(11), model(dropout=0.5).train()
    reference, done = np.zeros((11, 2)), []
    first = score_pairs(made, encoded, PairLoss(), reference, batch_size=11)
    again = score_pairs(made, encoded, PairLoss(), reference, batch_size=2, progress=done.append, pad=5)
    for one, other in zip(first, again, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)
    assert made.training
    assert done == [2, 4, 6, 8, 10, 11]
    low = score_pairs(made, encoded, PairLoss(), reference, precision=torch.bfloat16)
    assert 1e-5 < np.abs(low.log_probabilities - first.log_probabilities).max() < 1


def test_a_spoilt_model_is_named_with_the_pair():
    encoded, made = token_pairs(4, 7), model()
    with torch.no_grad():
        made.get_input_embeddings().weight[int(encoded.chosen(2)[0])] = torch.nan
    bad = next(
        i
        for i in range(4)
        if encoded.chosen(2)[0] in np.concatenate([encoded.prompt(i), encoded.chosen(i), encoded.rejected(i)])
    )
    for score in (
        lambda: score_pairs(made, encoded, PairLoss("simpo")),
        lambda: reference_log_probabilities(made, encoded),
    ):
        with pytest.raises(
            InputError, match=rf"should be finite, found .*nan.* for pair {bad} \(7.jsonl, line {bad + 1}\)"
        ):
            score()


def rows_like(encoded=None, **numbers):
    return PairRows(encoded or token_pairs(3), **numbers)


def test_pairs_are_a_source():
    rows = rows_like(reference=np.arange(6).reshape(3, 2), specialist=[0.5, 0.6, 0.7])
    pair = rows.gather(np.array([2, 0, 2]))[0]
    assert pair.reference.tolist() == [4, 5]
    assert pair.specialist == pytest.approx(0.7)
    assert rows.where(2) == "0.jsonl, line 3"
    assert pickle.loads(pickle.dumps(rows)).fingerprint == rows.fingerprint
    other = rows_like(token_pairs(2, 5), reference=np.zeros((2, 2)), specialist=[0, 1])
    read = Sources({"a": rows, "b": other}).read(np.array([0, 1, 0]), np.array([1, 1, 0]))
    batch = collate_pairs(2)(read)
    assert batch["input_ids"].shape[0] == 6
    assert batch["reference"].tolist() == [[2, 3], [0, 0], [0, 1]]
    assert batch["specialist"].tolist() == pytest.approx([0.6, 1, 0.5])
    assert "specialist" not in collate_pairs()([rows_like()[0]])
    begin = len(token_pairs(3).prompt(1))
    assert (
        batch["input_ids"][0, begin : begin + len(token_pairs(3).chosen(1))].tolist()
        == token_pairs(3).chosen(1).tolist()
    )


def test_the_fingerprint_is_of_tokens_and_numbers():
    reference, specialist = np.zeros((3, 2)), np.zeros(3)
    other = TokenPairs([[1], [2], [3]], [[1], [2], [3]], [[4], [5], [6]])
    moved = TokenPairs([[1], [2], [3]], [[1, 2], [], [3]], [[4], [5], [6]])
    assert other.fingerprint != moved.fingerprint
    names = {
        rows_like().fingerprint,
        rows_like(reference=reference).fingerprint,
        rows_like(reference=reference + 1e-3).fingerprint,
        rows_like(specialist=specialist).fingerprint,
        rows_like(reference=reference, specialist=specialist).fingerprint,
        rows_like(other).fingerprint,
    }
    assert len(names) == 6
    assert rows_like(reference=reference).fingerprint == rows_like(reference=reference.tolist()).fingerprint


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (lambda: PairRows(TokenPairs([], [], [])), "at least one pair, found none"),
        (
            lambda: PairRows(TokenPairs([[1]], [[]], [[2]], ["x.jsonl, line 9"])),
            r"chosen answer of pair 0 \(x.jsonl, line 9\)",
        ),
        (lambda: rows_like(reference=np.zeros((2, 2))), r"shape \[3, 2\], found \[2, 2\]"),
        (lambda: rows_like(specialist=np.zeros((3, 2))), r"shape \[3\], found \[3, 2\]"),
        (
            lambda: rows_like(specialist=[0, math.nan, 0]),
            r"specialist's losses should be finite, found nan for pair 1 \(0.jsonl, line 2\)",
        ),
        (lambda: rows_like(reference=[[0, 0], [0, 0], [0, math.inf]]), "pair 2"),
        (lambda: rows_like(specialist=["a", "b", "c"]), "should be numbers"),
        (lambda: TokenPairs([[1]], [[2], [3]], [[4]]), "one row per pair"),
        (lambda: TokenPairs([[1.5]], [[2]], [[4]]), "tokens of pair 0 should be whole numbers"),
        (lambda: TokenPairs([[1]], [[-2]], [[4]]), "at least 0"),
        (lambda: rows_like().gather(np.array([3])), "between 0 and 2, found 3"),
    ],
)
def test_bad_pairs_are_named(made, message):
    with pytest.raises(InputError, match=message):
        made()
