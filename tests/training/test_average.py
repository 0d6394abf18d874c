"""Averaged weights: the average by hand, and trainings that are the same with and without it."""

import signal

import numpy as np
import pytest
import torch
from test_language_model import LONG, SPEC, ByLoss, digest, measures, run

from forked import exit_code
from killing import Die
from mixwright.errors import InputError
from mixwright.strategies import PiKE
from mixwright.text import TokenStore, byte_tokenizer
from mixwright.training.average import WeightAverage
from mixwright.training.model import build_model
from mixwright.training.result import TrainingResult
from mixwright.training.settings import TrainingSettings, described, ema_notes


def averages(values, steps):
    """Return the average after each update of a model whose weight has these values."""
    model = torch.nn.Linear(1, 1, bias=False)
    average, found = WeightAverage(model, steps), []
    for value in values:
        with torch.no_grad():
            model.weight.fill_(value)
        average.update(model)
        found.append(average.model.weight.item())
    return found


def test_the_average_by_hand():
    # d = 1/2: 1, (1/2 + 2) / (3/2), (1/4 + 2/2 + 4) / (7/4)
    assert averages([1.0, 2.0, 4.0], 2) == pytest.approx([1, 5 / 3, 3])


def test_few_updates_are_averaged_about_equally_and_one_step_is_the_model():
    assert averages([1.0, 2.0, 6.0], 1e6) == pytest.approx([1, 1.5, 3], rel=1e-5)  # not 1 for a million updates
    assert averages([1.0, 2.0, 6.0], 1) == [1, 2, 6]


def test_the_weights_before_the_first_update_have_no_part():
    model = torch.nn.Linear(1, 1)
    average = WeightAverage(model, 10)
    with torch.no_grad():
        model.weight.fill_(1e30)
    average.update(model)
    with torch.no_grad():
        model.weight.fill_(3.0)
    assert average.model.weight.item() == pytest.approx(1e30)


def test_what_is_not_trained_is_not_copied():
    model = torch.nn.Linear(2, 1)
    model.weight.requires_grad_(False)
    average = WeightAverage(model, 2)
    for value in (1.0, 4.0):
        with torch.no_grad():
            model.bias.fill_(value)
        average.update(model)
    assert average.model.weight.data_ptr() == model.weight.data_ptr()
    assert average.model.bias.item() == pytest.approx(3.0)  # (1/2 + 4) / (3/2)


def parameters(model):
    return {name: p.detach().double().numpy().copy() for name, p in model.named_parameters()}


def test_a_training_measures_and_keeps_the_average_of_its_weights_after_each_step(stores, tmp_path):
    seen = []

    def watch(model):
        seen.append(parameters(model))
        return {"x": float(next(model.parameters()).sum().detach())}

    plain = run(stores, tmp_path / "plain", evaluate=watch, evaluate_every=1)
    kept = run(stores, tmp_path / "kept", evaluate=watch, ema=0.25)  # 3 of 12 steps: d = 2/3
    share = (2 / 3) ** np.arange(11, -1, -1)
    model = build_model({"path": kept.model_folder}, byte_tokenizer(), 16, 0)
    for name, found in parameters(model).items():
        expected = sum(w * step[name] for w, step in zip(share / share.sum(), seen[:12], strict=True))
        np.testing.assert_allclose(found, expected, atol=1e-6, err_msg=name)
    assert kept.curve[-1]["loss"]["x"] == float(next(model.parameters()).sum().detach())
    assert kept.curve[-1]["last_weights_loss"] == plain.curve[-1]["loss"]
    assert ["last_weights_loss" in point for point in kept.curve] == [False, False, True]
    assert "last_weights_loss" not in plain.curve[-1]


@pytest.mark.parametrize("weights", [(0.75, 0.25), ByLoss(), PiKE()], ids=["numbers", "held-out losses", "gradients"])
def test_a_training_is_the_same_with_and_without(stores, tmp_path, weights):
    shown = []

    def held_out(model):
        shown.append(float(next(model.parameters()).sum().detach()))
        return np.array([1.0, 2.0 + shown[-1]])

    same = {"spec": SPEC | {"hidden_dropout": 0.1}, "observe_every": 3, "measures": {"eval_loss": held_out}}
    same["evaluate"] = lambda model: {"x": float(next(model.parameters()).sum().detach())}
    plain = run(stores, tmp_path / "a", weights, **same)
    before, shown[:] = list(shown), []
    kept = run(stores, tmp_path / "b", weights, ema=0.3, **same)
    assert shown == before
    assert kept.curve[-1]["last_weights_loss"] == plain.curve[-1]["loss"] != kept.curve[-1]["loss"]
    assert (kept.weights, kept.ledger) == (plain.weights, plain.ledger)
    for name in ("metrics.jsonl", "decisions.jsonl"):
        files = [tmp_path / folder / name for folder in "ab"]
        assert files[0].exists() == (name == "metrics.jsonl" or not isinstance(weights, tuple))
        assert not files[0].exists() or files[0].read_bytes() == files[1].read_bytes()
    assert digest(tmp_path / "a") != digest(tmp_path / "b")
    assert kept.fingerprint != plain.fingerprint


@pytest.mark.parametrize("stop", [1, 6, 12])
def test_interrupted_and_resumed_is_the_same(stores, tmp_path, stop):
    def interrupt(stage, done, total, note):
        if done == stop:
            raise KeyboardInterrupt

    same = {"ema": 0.25, "evaluate": lambda model: {"x": float(next(model.parameters()).sum().detach())}}
    same["measures"] = measures()
    with pytest.raises(KeyboardInterrupt):
        run(stores, tmp_path / "a", ByLoss(), progress=interrupt, **same)
    resumed, whole = (run(stores, tmp_path / name, ByLoss(), **same) for name in "ab")
    assert digest(tmp_path / "a") == digest(tmp_path / "b")
    assert resumed.curve == whole.curve


def train_and_die(tokens, folder):
    stores = {name: TokenStore.open(tokens / name) for name in ("abc", "digits")}
    run(stores, folder, progress=Die("train", 20), ema=0.2, **LONG)


@pytest.mark.slow
def test_killed_and_resumed_is_the_same(stores, tmp_path):
    killed, steps = tmp_path / "killed", []
    assert exit_code(train_and_die, tmp_path / "tokens", killed) == -signal.SIGKILL
    run(stores, killed, progress=lambda *call: steps.append(call[1]), ema=0.2, **LONG)
    assert steps[0] >= 20
    run(stores, tmp_path / "whole", ema=0.2, **LONG)
    assert digest(killed) == digest(tmp_path / "whole")


def test_a_checkpoint_without_the_average_is_of_another_training(stores, tmp_path):
    def interrupt(*call):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(stores, tmp_path / "a", progress=interrupt)
    run(stores, tmp_path / "a", ema=0.25)  # from the beginning, since the former checkpoint has no average
    run(stores, tmp_path / "b", ema=0.25)
    assert digest(tmp_path / "a") == digest(tmp_path / "b")
    assert TrainingResult.read(tmp_path / "a").curve[-1]["step"] == 12


@pytest.mark.parametrize(
    ("ema", "message"),
    [
        (0, r"above 0 and at most 0\.5 \(0\.05, or 5 %, is usual\), found 0;"),
        (0.999, r"found 0\.999; a decay d is 1 / \(\(1 - d\) x steps\) as a share"),
        (-0.1, r"found -0\.1"),
        (float("nan"), "found nan"),
        (True, "found True"),
        ("5 %", "found '5 %'"),
        (0.05, r"ema should be over at least 2 steps, found 0\.05 of 20; raise it, train for longer, or remove it"),
    ],
)
def test_a_share_that_cannot_be_averaged_over(ema, message):
    with pytest.raises(InputError, match=message):
        TrainingSettings(steps=20, ema=ema)


def test_what_was_trained_before_is_still_known():
    assert "ema" not in described(TrainingSettings(steps=40))
    assert described(TrainingSettings(steps=40, ema=0.05))["ema"] == 0.05
    assert ema_notes(None) == []
    assert "over about 5 % of the steps" in ema_notes(0.05)[0]
