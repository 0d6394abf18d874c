"""Rows drawn by q and weighted by w / q in the reference loop: the gradient by hand, today's numbers, refusals."""

import hashlib
import json

import numpy as np
import pytest
import torch

from mixwright.batch_losses import source_factors
from mixwright.errors import InputError
from mixwright.strategies import AMAR, GroupDRO, PiKE, Schedule, Static
from mixwright.text import byte_tokenizer
from mixwright.training import step as steps
from mixwright.training.batches import Batches
from mixwright.training.language_model import train
from mixwright.training.model import build_model
from mixwright.training.ranks import Ranks
from mixwright.training.settings import TrainingSettings

SPEC = {"model_type": "gpt_neox", "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
WEIGHTS, DRAWN = np.array([0.8, 0.2]), np.array([0.3, 0.7])


def settings(**changes):
    given = {"steps": 6, "batch_size": 8, "context": 16, "learning_rate": 3e-3, "observe_every": 2, "lag": 1}
    return TrainingSettings(**(given | changes))


def run(stores, folder, weights, sampling=None, progress=None, prior="uniform", **changes):
    tokens = byte_tokenizer()
    return train(SPEC, stores, weights, settings(**changes), folder, tokens, progress, prior=prior, sampling=sampling)


def model(double=True):
    made = build_model(SPEC, byte_tokenizer(), 16, 0)
    return made.double() if double else made


def objective(net, batch, weights, drawn):
    """Return the step's objective: 1 / B x the sum over its rows of w / q x the row's mean loss."""
    total = 0.0
    for source, row in zip(batch.source.tolist(), torch.from_numpy(batch.tokens), strict=True):
        logits = net(input_ids=row[None, :-1], use_cache=False).logits[0].float()
        total = total + weights[source] / drawn[source] * torch.nn.functional.cross_entropy(logits, row[1:]).double()
    return total / len(batch.source)


def gradient(net):
    return torch.cat([p.grad.flatten() for p in net.parameters() if p.grad is not None])


def by_hand(batch, weights=WEIGHTS, drawn=DRAWN):
    net = model()
    objective(net, batch, weights, drawn).backward()
    return gradient(net)


@pytest.mark.parametrize("accumulate", [1, 2, 4])
def test_the_gradient_is_that_of_the_weighted_objective(stores, monkeypatch, accumulate):
    monkeypatch.setattr(steps, "_CLIP", 1e9)
    wanted = settings(accumulate=accumulate)
    batches = Batches(stores, DRAWN, wanted)
    for step in range(2):  # .3 x 8 rows are 2 in one step and 3 in another
        batch = batches.next()
        net = model()
        stepper = steps.Stepper(net, wanted, Ranks(), 2, None)
        stepper.gradient(step, batch._replace(factors=source_factors(WEIGHTS, DRAWN)))
        expected = by_hand(batch)
        assert float((gradient(net) - expected).norm() / expected.norm()) < 1e-6


def test_where_sources_have_their_share_it_is_the_weighted_sum_of_their_mean_losses(stores, monkeypatch):
    monkeypatch.setattr(steps, "_CLIP", 1e9)
    drawn, wanted = np.array([0.25, 0.75]), settings()
    batch = Batches(stores, drawn, wanted).next()
    assert np.bincount(batch.source).tolist() == [2, 6]
    net = model()
    steps.Stepper(net, wanted, Ranks(), 2, None).gradient(0, batch._replace(factors=source_factors(WEIGHTS, drawn)))
    other = model()
    total = 0.0
    for source, weight in enumerate(WEIGHTS):
        rows = torch.from_numpy(batch.tokens[batch.source == source])
        logits = other(input_ids=rows[:, :-1], use_cache=False).logits.float()
        total = total + weight * torch.nn.functional.cross_entropy(logits.flatten(0, 1), rows[:, 1:].flatten()).double()
    total.backward()
    expected = gradient(other)
    assert float((gradient(net) - expected).norm() / expected.norm()) < 1e-6


def lines(folder, name="metrics.jsonl"):
    return [json.loads(line) for line in (folder / name).read_text().splitlines()]


def test_a_training_minimises_it_and_names_both(stores, tmp_path):
    found = run(stores, tmp_path / "r", WEIGHTS, {"abc": 0.3, "digits": 0.7})
    assert found.weights == pytest.approx({"abc": 0.8, "digits": 0.2})
    assert found.sampling == pytest.approx({"abc": 0.3, "digits": 0.7})
    assert [line["drawn"] for line in found.ledger["sources"]] == pytest.approx([14 / 48, 34 / 48], abs=0.02)
    first = lines(tmp_path / "r")[0]
    batch, net = Batches(stores, DRAWN, settings()).next(), model(double=False)
    total = objective(net, batch, WEIGHTS, DRAWN)
    total.backward()
    assert first["objective"] == pytest.approx(total.item(), rel=1e-6)
    assert first["gradient_norm"] == pytest.approx(float(gradient(net).norm()), rel=1e-5)
    seen = lines(tmp_path / "r", "decisions.jsonl")[0]
    assert seen["weights"] == pytest.approx([0.8, 0.2])
    assert seen["observation"]["planned"] == pytest.approx([0.3, 0.7])


def test_with_the_same_shares_it_is_the_training_of_today_bit_by_bit(stores, tmp_path):
    model_of = {}
    for name, sampling in (("today", None), ("same", [0.7, 0.3])):
        run(stores, tmp_path / name, Static([0.7, 0.3]), sampling, accumulate=2)
        model_of[name] = hashlib.sha256((tmp_path / name / "model" / "model.safetensors").read_bytes()).hexdigest()
    assert model_of["same"] == model_of["today"]
    ours, todays = lines(tmp_path / "same"), lines(tmp_path / "today")
    assert [{**line, "objective": None} for line in todays] == [{**line, "objective": None} for line in ours]


def test_a_strategy_that_observes_moves_the_weights_and_not_the_rows(stores, tmp_path):
    found = run(stores, tmp_path / "r", GroupDRO(learning_rate=0.5), "uniform", steps=8)
    assert [line["rows"] for line in found.ledger["sources"]] == [32, 32]
    weights = [line["weights"] for line in lines(tmp_path / "r", "decisions.jsonl")]
    assert len(weights) == 4
    assert weights[-1] != pytest.approx([0.5, 0.5], abs=0.01)
    assert all(line["observation"]["planned"] == [0.5, 0.5] for line in lines(tmp_path / "r", "decisions.jsonl"))


def test_statistics_are_of_the_rows_own_losses(stores, tmp_path):
    """The weights in the loss are divided out: a source with a small weight has the norm that it has anyway."""
    norms = []
    for name, sampling in (("today", None), ("apart", [0.5, 0.5])):
        weights = Schedule({0: [0.5, 0.5]}) if sampling is None else Schedule({0: [0.9, 0.1]})
        changes = {"statistics": "always", "learning_rate": 1e-12, "statistics_steps": 2}
        run(stores, tmp_path / name, weights, sampling, **changes)
        norms.append([line["observation"]["gram"] for line in lines(tmp_path / name, "decisions.jsonl")])
    np.testing.assert_allclose(norms[1], norms[0], rtol=1e-3, atol=1e-4)


def interrupt(stage, done, total, note):
    if done == 3:
        raise KeyboardInterrupt


def test_stopped_and_resumed_it_is_the_same_training(stores, tmp_path):
    strategy, options = GroupDRO(learning_rate=0.5), {"checkpoint_seconds": 0.0}
    run(stores, tmp_path / "whole", strategy, "uniform", **options)
    stopped = tmp_path / "stopped"
    with pytest.raises(KeyboardInterrupt):
        run(stores, stopped, strategy, "uniform", interrupt, **options)
    run(stores, stopped, strategy, "uniform", **options)
    for name in ("metrics.jsonl", "decisions.jsonl", "model/model.safetensors"):
        assert (stopped / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name


@pytest.mark.parametrize(
    ("strategy", "sampling", "message"),
    [
        (Static([0.5, 0.5]), [1.0, 0.0], "without bound, since none is drawn, for 'digits' at step 0"),
        (Static([0.5, 0.5]), [0.99, 0.01], "at most 20 times .* found 50 times for 'digits'"),
        (PiKE(), "uniform", "PiKE works with apply='sampling', found 'loss'"),
        (AMAR(0.05), None, "needs excess_loss"),
    ],
)
def test_what_cannot_be_is_refused_before_the_first_step(stores, tmp_path, strategy, sampling, message):
    with pytest.raises(InputError, match=message):
        run(stores, tmp_path / "r", strategy, sampling)
    assert not (tmp_path / "r").exists()


def test_other_shares_are_another_training(stores, tmp_path):
    first = run(stores, tmp_path / "r", WEIGHTS, "uniform")
    assert run(stores, tmp_path / "r", WEIGHTS, "uniform") == first
    assert run(stores, tmp_path / "r", WEIGHTS, [0.6, 0.4]).fingerprint != first.fingerprint
