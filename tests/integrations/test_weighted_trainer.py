"""Rows drawn by q and weighted by w / q in a Trainer: the gradient by hand, on ranks, today's numbers, refusals."""

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the Trainer needs torch")

from trainers import CONTEXT, NAMES, STEPS, Steps, decisions, documents, model, run, sources, trainer, transformers  # noqa: E402
from weighted_on_a_rank import DRAWN, WEIGHTS, Ranks, loop_gradient, steps, trained, weighted_gradient  # noqa: E402

from mixwright import GroupDRO, InputError, Mixture, PiKE, Static  # noqa: E402
from mixwright.integrations.transformers import use_mixture  # noqa: E402
from mixwright.stream import AnyRows  # noqa: E402
from mixwright.stream.trainer import language_model_inputs  # noqa: E402
from mixwright.text import byte_tokenizer, write_tokens  # noqa: E402
from two_ranks import run_ranks  # noqa: E402


def apart(one, other):
    return float((one - other).norm() / other.norm())


@pytest.mark.parametrize(("accumulate", "pack"), [(1, False), (2, False), (4, False), (2, True)])
def test_the_gradient_is_that_of_the_weighted_objective(tmp_path, accumulate, pack):
    new, _, gradients = trained(tmp_path, accumulate=accumulate, pack=pack)
    for found, batches in zip(gradients.found, gradients.batches, strict=True):
        assert apart(found, weighted_gradient(new, batches, double=True)) < 1e-6
    unweighted = weighted_gradient(new, gradients.batches[-1], DRAWN, double=True)
    assert apart(gradients.found[-1], unweighted) > 0.01


@pytest.mark.slow
@pytest.mark.skipif(not torch.distributed.is_available(), reason="torch was built without distributed")
@pytest.mark.parametrize("size", [2, 4])
def test_ranks_have_the_gradient_of_one_process(tmp_path, monkeypatch, size):
    monkeypatch.setattr(steps, "_CLIP", 1e9)
    for i, name in enumerate(NAMES):
        write_tokens(tmp_path / "tokens" / name, [f"{j * j + i} " * 9 for j in range(100)], byte_tokenizer())
    run_ranks(size, Path(__file__).with_name("weighted_on_a_rank.py"), size, tmp_path)
    *_, alone = trained(tmp_path / "alone")
    loop = loop_gradient(tmp_path / "tokens", Ranks())
    for rank in range(size):
        found = torch.load(tmp_path / f"{size} {rank}.pt")
        for one, other in zip(found["trainer"], alone.found, strict=True):
            assert apart(one, other) < 1e-6
        assert apart(found["loop"], loop) < 1e-6


def weights_of(net):
    return torch.cat([p.detach().flatten() for p in net.parameters()])


def test_with_the_same_shares_it_is_the_training_of_today_bit_by_bit(tmp_path):
    found = []
    for sampling in (None, WEIGHTS):
        new, _, gradients = trained(tmp_path, sampling=sampling, net=model(), learning_rate=1e-2)
        found.append((weights_of(new.model), gradients.found))
    assert torch.equal(found[0][0], found[1][0])
    assert all(torch.equal(one, other) for one, other in zip(found[0][1], found[1][1], strict=True))


def test_a_strategy_moves_the_weights_and_not_the_rows(tmp_path):
    log = tmp_path / "log.jsonl"
    _, callback, seen = run(tmp_path / "r", GroupDRO(learning_rate=0.5), sampling="uniform", lag=1, log=log)
    drawn = [line.drawn for line in callback.loader.ledger().lines]
    np.testing.assert_allclose(drawn, 1 / 3, atol=0.02)
    lines = decisions(log)
    assert len(lines) == STEPS // 2
    assert all(line["observation"]["planned"] == pytest.approx([1 / 3] * 3) for line in lines)
    assert max(lines[-1]["weights"]) > 0.34
    logged = [line for line in seen.logs if "mixture/weight/a" in line][-1]
    assert logged["mixture/sampling/a"] == pytest.approx(1 / 3)
    assert logged["mixture/weight/a"] == pytest.approx(callback.mixture.weights_for(STEPS - 1)[0])


def test_shares_may_be_of_supervised_tokens(tmp_path):
    """Labels that are not masked count: a prompt's tokens do not."""
    rows, lengths = {}, {}
    for i, name in enumerate(NAMES):
        found = documents(i, 200, padded=False)
        for j, row in enumerate(found):
            learned = 1 + (i + j) % 2 + 2 * i  # of 8 tokens: 1 or 2, 3 or 4, 5 or 6
            row["labels"] = np.where(np.arange(CONTEXT) < CONTEXT - learned, -100, row["input_ids"])
        rows[name] = AnyRows(found)
        lengths[name] = [int((row["labels"] != -100).sum()) for row in found]
    new = trainer(tmp_path, max_steps=20, save_strategy="no")
    options = {"plan": {"unit": "tokens", "lengths": lengths}, "inputs": language_model_inputs}
    callback = use_mixture(new, rows, WEIGHTS, sampling=DRAWN, **options)
    seen = Steps(callback)
    new.add_callback(seen)
    new.train()
    tokens = np.zeros(len(NAMES))
    for batch in (batch for step in seen.batches for batch in step):
        np.add.at(tokens, batch.source.numpy(), (batch.inputs["labels"] != -100).sum(1).numpy())
    np.testing.assert_allclose(tokens / tokens.sum(), DRAWN, atol=0.02)
    np.testing.assert_allclose(WEIGHTS / DRAWN * tokens / tokens.sum(), WEIGHTS, atol=0.05)
    assert [line.drawn for line in callback.loader.ledger().lines] == pytest.approx(tokens / tokens.sum())


def test_a_resume_goes_on_bit_by_bit(tmp_path):
    options = {"sampling": [0.2, 0.3, 0.5], "lag": 1}
    strategy = GroupDRO(learning_rate=0.5)
    whole, first, _ = run(tmp_path / "whole", strategy, **options)
    again, second, _ = run(tmp_path / "again", strategy, tmp_path / "whole" / "checkpoint-3", **options)
    assert torch.equal(weights_of(whole.model), weights_of(again.model))
    assert first.mixture.state_dict() == second.mixture.state_dict()
    for other in ("uniform", None):
        with pytest.raises(InputError, match=r"sampling should be the checkpoint's \(\[0.2, 0.3, 0.5\]\)"):
            run(tmp_path / "other", strategy, tmp_path / "whole" / "checkpoint-3", **{**options, "sampling": other})


def test_statistics_are_of_the_rows_own_losses(tmp_path):
    seen = []
    for weights in ([0.2, 0.3, 0.5], [0.7, 0.2, 0.1]):
        options = {"sampling": [0.2, 0.3, 0.5], "statistics": {"level": "example"}, "arguments": {"learning_rate": 0.0}}
        _, callback, _ = run(tmp_path, Static(weights), **options)
        seen.append(callback.observation)
    for name in ("loss", "grad_sq_norm", "grad_variance", "gram"):
        np.testing.assert_allclose(getattr(seen[1], name), getattr(seen[0], name), rtol=1e-3, atol=1e-4, err_msg=name)


@pytest.mark.parametrize(
    ("weights", "sampling", "message"),
    [
        ([0.5, 0.5, 0.0], {"a": 1.0, "b": 0.0, "c": 0.0}, "without bound, since none is drawn, for 'b' at step 0"),
        ([0.5, 0.5, 0.0], [0.98, 0.01, 0.01], "at most 20 times .* found 50 times for 'b'"),
        (PiKE(), "uniform", "PiKE works with apply='sampling', found 'loss'"),
        (Mixture(NAMES, Static()), [0.98, 0.01, 0.01], "found 33.33 times for 'b'"),
    ],
)
def test_what_cannot_be_is_refused_before_the_first_step(tmp_path, weights, sampling, message):
    with pytest.raises(InputError, match=message):
        use_mixture(trainer(tmp_path), sources(), weights, sampling=sampling)


def test_a_loss_that_is_not_divided_by_the_tokens_of_the_step_is_refused(tmp_path):
    new = trainer(tmp_path, accumulate=2)
    new.model_accepts_loss_kwargs = False
    with pytest.raises(InputError, match="divided by the tokens of the whole step"):
        use_mixture(new, sources(), Static(), sampling=[0.2, 0.3, 0.5])


def test_a_loss_of_another_kind_is_refused_in_the_first_step(tmp_path):
    class Own(transformers.Trainer):
        def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
            found, outputs = super().compute_loss(model, inputs, True, num_items_in_batch)
            return (found * 2, outputs) if return_outputs else found * 2

    new = trainer(tmp_path, kind=Own)
    use_mixture(new, sources(), WEIGHTS, sampling=DRAWN)
    with pytest.raises(InputError, match="with weights that act on the loss the Trainer's loss should be the mean"):
        new.train()
