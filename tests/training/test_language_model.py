import hashlib
import json
import os
import signal
from typing import NamedTuple

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from forked import exit_code
from killing import Die
from mixwright.errors import AlarmWarning, InputError
from mixwright.files.claims import Claim
from mixwright.files.holder import ClaimLost
from mixwright.strategies import Schedule
from mixwright.strategy import Strategy
from mixwright.stream import Plan
from mixwright.text import TokenStore, byte_tokenizer, train_bpe
from mixwright.training.batches import Batches
from mixwright.training.checkpoint import read_position
from mixwright.training.language_model import DivergedError, TrainingResult, train
from mixwright.training.model import build_model
from mixwright.training.settings import TrainingSettings, learning_rate_at

SETTINGS = {"steps": 12, "batch_size": 4, "context": 16, "learning_rate": 3e-3, "warmup": 3, "evaluate_every": 5}
SPEC = {"model_type": "gpt_neox", "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}


def digest(folder):
    return hashlib.sha256((folder / "model" / "model.safetensors").read_bytes()).hexdigest()


def run(stores, folder, weights=(0.75, 0.25), spec=SPEC, evaluate=None, progress=None, tokenizer=None, **changes):
    measured = changes.pop("measures", None)
    settings = TrainingSettings(**(SETTINGS | changes))
    tokens = tokenizer or byte_tokenizer()
    return train(spec, stores, weights, settings, folder, tokens, progress, evaluate, measures=measured)


def test_loss_falls_on_a_trivial_source(stores, spec, tmp_path):
    result = run(stores, tmp_path / "r", (1.0, 0.0), spec, steps=60, learning_rate=2e-2)
    losses = [json.loads(line)["loss"] for line in (tmp_path / "r" / "metrics.jsonl").read_text().splitlines()]
    assert len(losses) == 60
    assert losses[0] > 5
    assert losses[-1] < 1.5
    assert result.curve[-1]["train_loss"] == pytest.approx(np.mean(losses[55:]))


def test_result_and_curve(stores, tmp_path):
    calls = []
    folder = tmp_path / "r"
    result = run(
        stores,
        folder,
        evaluate=lambda model: {"x": float(next(model.parameters()).sum().detach())},
        progress=lambda *call: calls.append(call),
    )
    assert (result.steps, result.tokens, result.folder) == (12, 12 * 4 * 16, folder)
    assert [point["step"] for point in result.curve] == [5, 10, 12]
    assert [point["tokens"] for point in result.curve] == [320, 640, 768]
    assert all(set(point["loss"]) == {"x"} for point in result.curve)
    assert [call[:3] for call in calls] == [("train", i + 1, 12) for i in range(12)]
    assert TrainingResult.read(folder) == result
    assert sorted(os.listdir(folder)) == ["metrics.jsonl", "model", "result.json"]
    model = build_model({"path": result.model_folder}, byte_tokenizer(), 16, 0)
    assert float(next(model.parameters()).sum().detach()) == pytest.approx(result.curve[-1]["loss"]["x"])


def test_finished_returns_at_once_and_anything_else_starts_anew(stores, tmp_path):
    folder, steps = tmp_path / "r", []
    first = run(stores, folder)
    before = digest(folder)
    again = run(stores, folder, progress=lambda *call: steps.append(call), checkpoint_seconds=1)
    assert again == first
    assert not steps
    assert run(stores, folder, (0.5, 0.5)).fingerprint != first.fingerprint
    assert digest(folder) != before
    assert len((folder / "metrics.jsonl").read_text().splitlines()) == 12
    assert run(stores, folder) == TrainingResult.read(folder)
    assert digest(folder) == before


def test_a_source_without_weight_changes_nothing(stores, tmp_path):
    run(stores, tmp_path / "a", (1.0, 0.0))
    run({"abc": stores["abc"]}, tmp_path / "b", (1.0,))
    assert digest(tmp_path / "a") == digest(tmp_path / "b")


def test_the_plan_is_delivered(stores):
    sizes = {name: store.rows(16) for name, store in stores.items()}
    batches = Batches(stores, [0.6, 0.4], TrainingSettings(**(SETTINGS | {"batch_size": 10})))
    for planned, _ in zip(Plan(sizes, [0.6, 0.4], batch_size=10), range(9), strict=False):
        expected = [list(stores.values())[s].row(r, 16) for s, r in zip(planned.source, planned.row, strict=True)]
        batch = batches.next()
        np.testing.assert_array_equal(batch.tokens, expected)
        np.testing.assert_array_equal(batch.source, planned.source)


def test_one_step_by_hand(stores, tmp_path):
    changes = {"steps": 1, "warmup": 0, "weight_decay": 0.5}
    run(stores, tmp_path / "r", (0.5, 0.5), **changes)
    model = build_model(SPEC, byte_tokenizer(), 16, 0)
    tokens = torch.from_numpy(Batches(stores, [0.5, 0.5], TrainingSettings(**(SETTINGS | changes))).next().tokens)
    model(input_ids=tokens, labels=tokens).loss.backward()
    trained = build_model({"path": tmp_path / "r" / "model"}, byte_tokenizer(), 16, 0)
    scale = min(1.0, 1 / torch.nn.utils.get_total_norm([p.grad for p in model.parameters()]).item())
    for before, after in zip(model.parameters(), trained.parameters(), strict=True):
        gradient = before.grad * scale
        decay = 3e-3 * 0.5 if before.ndim >= 2 else 0.0
        expected = before * (1 - decay) - 3e-3 * gradient / (gradient.abs() + 1e-8)
        sure = gradient.abs() > 1e-5
        torch.testing.assert_close(after[sure], expected[sure], atol=1e-5, rtol=0)


class ByLoss(Strategy):
    """Weights in proportion to the last loss of each source, held-out where it is told."""

    needs = frozenset({"loss", "eval_loss"})

    def init(self, prior):
        return State(prior.copy())

    def update(self, state, obs):
        return State(obs.loss * obs.eval_loss / (obs.loss * obs.eval_loss).sum())

    def weights(self, state):
        return state.weights

    def __repr__(self):
        return "ByLoss()"


class State(NamedTuple):
    weights: np.ndarray


def measures(calls=None):
    def held_out(model):
        if calls is not None:
            calls.append(model.training)
        return np.array([1.0, 2.0])

    return {"eval_loss": held_out}


@pytest.mark.parametrize(
    ("weights", "stop"),
    [((0.75, 0.25), 1), ((0.75, 0.25), 4), ((0.75, 0.25), 11), ((0.75, 0.25), 12), (ByLoss(), 5), (ByLoss(), 12)],
)
def test_interrupted_and_resumed_is_the_same(stores, tmp_path, weights, stop):
    def interrupt(stage, done, total, note):
        if done == stop:
            raise KeyboardInterrupt

    spec = SPEC | {"hidden_dropout": 0.1}

    def watch(model):
        return {"x": float(next(model.parameters()).sum().detach())}

    same = {"spec": spec, "evaluate": watch, "observe_every": 3, "lag": 2, "measures": measures()}
    with pytest.raises(KeyboardInterrupt):
        run(stores, tmp_path / "a", weights, progress=interrupt, **same)
    assert (tmp_path / "a" / "checkpoints/last.safetensors").exists()
    steps = []
    resumed = run(stores, tmp_path / "a", weights, progress=lambda *call: steps.append(call[1]), **same)
    assert steps == list(range(stop + 1, 13))
    undisturbed = run(stores, tmp_path / "b", weights, **same)
    assert digest(tmp_path / "a") == digest(tmp_path / "b")
    assert (tmp_path / "a" / "metrics.jsonl").read_text() == (tmp_path / "b" / "metrics.jsonl").read_text()
    assert (resumed.curve, resumed.ledger) == (undisturbed.curve, undisturbed.ledger)
    if isinstance(weights, Strategy):
        assert (tmp_path / "a" / "decisions.jsonl").read_text() == (tmp_path / "b" / "decisions.jsonl").read_text()


def test_a_training_that_another_process_took_over_writes_no_checkpoint(stores, tmp_path):
    def lost(stage, done, total, note):
        if done == 4:
            raise ClaimLost(Claim(tmp_path))

    with pytest.raises(ClaimLost):  # each step is one to save after
        run(stores, tmp_path / "a", (0.75, 0.25), progress=lost, checkpoint_seconds=1e-9)
    assert read_position(tmp_path / "a" / "checkpoints/last.safetensors")["step"] == 3


def test_a_strategy_is_told_each_sources_loss_and_its_weights_act(stores, tmp_path):
    calls = []
    result = run(stores, tmp_path / "r", ByLoss(), observe_every=4, lag=1, measures=measures(calls))
    lines = [json.loads(line) for line in (tmp_path / "r" / "decisions.jsonl").read_text().splitlines()]
    assert [line["observation"]["step"] for line in lines] == [3, 7, 11]
    assert [line["begins"] for line in lines] == [4, 8, 12]
    losses = [json.loads(line)["loss"] for line in (tmp_path / "r" / "metrics.jsonl").read_text().splitlines()]
    first = lines[0]["observation"]
    assert sum(first["counts"]) == 16
    assert np.dot(first["counts"], first["loss"]) / 16 == pytest.approx(np.mean(losses[:4]))
    assert first["planned"] == [0.5, 0.5]
    assert lines[1]["observation"]["planned"] == pytest.approx(lines[0]["weights"])
    assert list(result.weights.values()) == pytest.approx(lines[1]["weights"])
    drawn = {line["source"]: line["rows"] for line in result.ledger["sources"]}
    asked = 4 * 4 * (np.array([0.5, 0.5]) + lines[0]["weights"] + lines[1]["weights"])
    assert list(drawn.values()) == pytest.approx(asked, abs=2)
    assert len(calls) == 3


def test_a_schedule_needs_no_observation(stores, tmp_path):
    result = run(stores, tmp_path / "r", Schedule({0: [1.0, 0.0], 6: [0.0, 1.0]}))
    assert {line["source"]: line["rows"] for line in result.ledger["sources"]} == {"abc": 24, "digits": 24}
    assert result.weights == {"abc": 0.0, "digits": 1.0}


def test_orders_for_weights_that_are_numbers_are_ignored_with_an_alarm(stores, tmp_path):
    for name in "ab":
        (tmp_path / name).mkdir()
    (tmp_path / "a" / "control.yaml").write_text("pin: {abc: 0.5}\n")
    with pytest.warns(AlarmWarning, match="control.yaml is ignored: .* Static"):
        run(stores, tmp_path / "a", (0.75, 0.25), steps=3)
    run(stores, tmp_path / "b", (0.75, 0.25), steps=3)
    assert digest(tmp_path / "a") == digest(tmp_path / "b")


def test_a_strategy_that_cannot_be_fed_is_refused_before_the_first_step(stores, tmp_path):
    with pytest.raises(InputError, match="ByLoss needs eval_loss"):
        run(stores, tmp_path / "r", ByLoss())
    assert not (tmp_path / "r").exists()


def test_epochs_are_limited(stores, tmp_path):
    rows = {name: store.rows(16) for name, store in stores.items()}
    steps = sum(rows.values()) // 4
    result = run(stores, tmp_path / "r", (0.99, 0.01), steps=steps, max_epochs=1.0)
    epochs = {line["source"]: line["epochs"] for line in result.ledger["sources"]}
    assert epochs["abc"] == 1
    assert epochs["digits"] > 0.5
    with pytest.raises(InputError, match=r"should give .* rows within max_epochs 1, found"):
        run(stores, tmp_path / "s", (0.99, 0.01), steps=steps + 1, max_epochs=1.0)


LONG = {"steps": 60, "evaluate_every": 20, "warmup": 0, "checkpoint_seconds": 0.0}


def train_and_die(tokens, folder):
    run({name: TokenStore.open(tokens / name) for name in ("abc", "digits")}, folder, progress=Die("train", 20), **LONG)


@pytest.mark.slow
def test_killed_and_resumed_is_bitwise_the_same(stores, tmp_path):
    killed = tmp_path / "killed"
    assert exit_code(train_and_die, tmp_path / "tokens", killed) == -signal.SIGKILL
    assert not (killed / "result.json").exists()
    steps = []
    run(stores, killed, progress=lambda *call: steps.append(call[1]), **LONG)
    assert steps[0] >= 20
    run(stores, tmp_path / "whole", **LONG)
    assert digest(killed) == digest(tmp_path / "whole")
    assert (killed / "metrics.jsonl").read_bytes() == (tmp_path / "whole" / "metrics.jsonl").read_bytes()


@pytest.mark.parametrize("damage", ["checkpoint", "metrics"])
def test_damaged_leftovers_start_anew(stores, tmp_path, damage):
    def interrupt(*call):
        raise KeyboardInterrupt

    folder = tmp_path / "a"
    with pytest.raises(KeyboardInterrupt):
        run(stores, folder, progress=interrupt)
    path = folder / {"checkpoint": "checkpoints/last.safetensors", "metrics": "metrics.jsonl"}[damage]
    path.write_bytes(path.read_bytes()[:20])
    run(stores, folder)
    run(stores, tmp_path / "b")
    assert digest(folder) == digest(tmp_path / "b")


def rewritten(path, change):
    with safe_open(path, "pt") as file:
        tensors, head = {name: file.get_tensor(name) for name in file.keys()}, dict(file.metadata())  # noqa: SIM118
    position = json.loads(head["position"])
    change(tensors, position)
    save_file(tensors, path, {**head, "position": json.dumps(position)})


@pytest.mark.parametrize(
    "change",
    [
        lambda tensors, position: position.pop("plan"),
        lambda tensors, position: position.update(losses=[1, None]),
        lambda tensors, position: position["plan"].update(credit=[1e40, 0]),
        lambda tensors, position: position["observer"]["mixture"].update(state=[]),
        lambda tensors, position: tensors.pop(next(name for name in tensors if name.startswith("model/"))),
        lambda tensors, position: tensors.update({name: torch.ones(3) for name in tensors if "exp_avg_sq" in name}),
    ],
)
def test_a_damaged_checkpoint_is_refused_and_stays(stores, tmp_path, change):
    def interrupt(*call):
        if call[1] == 4:
            raise KeyboardInterrupt

    same = {"observe_every": 3, "lag": 2, "measures": measures()}
    with pytest.raises(KeyboardInterrupt):
        run(stores, tmp_path, ByLoss(), progress=interrupt, **same)
    path = tmp_path / "checkpoints/last.safetensors"
    rewritten(path, change)
    before = path.read_bytes()
    damaged = r"last.safetensors(: the state of the \w+)? is damaged|last.safetensors: .* strategy's state should have"
    with pytest.raises(InputError, match=damaged):
        run(stores, tmp_path, ByLoss(), **same)
    assert path.read_bytes() == before


def test_errors_name_what_is_wrong(stores, tmp_path):
    with pytest.raises(InputError, match="the source 'digits' should have at least"):
        run(stores, tmp_path / "r", context=5000)
    with pytest.raises(InputError, match=r"one weight per source \(2\), found shape \(3,\)"):
        run(stores, tmp_path / "r", (0.5, 0.25, 0.25))
    with pytest.raises(InputError, match="the tokens of 'abc' were made with another tokenizer"):
        run(stores, tmp_path / "r", tokenizer=train_bpe(["abc"], 260))
    with pytest.raises(InputError, match=r"should stay finite, found .* at step [1-9]"):
        run(stores, tmp_path / "r", learning_rate=1e30, warmup=0, weight_decay=0.0)
    with pytest.raises(DivergedError, match="found a model with outputs that are not finite at step 1;"):
        run(stores, tmp_path / "r", steps=1, learning_rate=1e38, warmup=0, weight_decay=0.0)
    with pytest.raises(DivergedError, match="found evaluation loss nan at step "):
        run(stores, tmp_path / "r", evaluate=lambda model: {"t": float("nan")})
    with pytest.raises(InputError, match="there should be a finished training"):
        TrainingResult.read(tmp_path / "r")
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot write"):
        run(stores, tmp_path / "file" / "r")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"steps": 0}, "steps should be a whole number of at least 1, found 0"),
        ({"batch_size": 2.5}, "batch_size should be a whole number"),
        ({"warmup": 13}, r"warmup should be at most the number of steps \(12\), found 13"),
        ({"learning_rate": 0.0}, "learning_rate should be a number above 0"),
        ({"learning_rate": float("nan")}, "learning_rate should be a number above 0"),
        ({"weight_decay": -1}, "weight_decay should be a number of at least 0, found -1"),
        ({"seed": -1}, "seed should be a whole number of at least 0"),
    ],
)
def test_bad_settings(change, message):
    with pytest.raises(InputError, match=message):
        TrainingSettings(**(SETTINGS | change))


def test_learning_rate():
    settings = TrainingSettings(steps=110, warmup=10, learning_rate=1.0)
    assert learning_rate_at(0, settings) == pytest.approx(0.1)
    assert learning_rate_at(9, settings) == learning_rate_at(10, settings) == pytest.approx(1.0)
    assert learning_rate_at(60, settings) == pytest.approx(0.55)
    assert learning_rate_at(110, settings) == pytest.approx(0.1)
