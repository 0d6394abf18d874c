"""Gradient statistics in a training: which steps, what strategies are told, resume, and steps that are skipped."""

import json

import numpy as np
import pytest
import torch
from test_language_model import SPEC, digest, run

from mixwright import BalancedPiKE, PiKE, Static
from mixwright.errors import InputError
from mixwright.gradients.adam import AdamMetric
from mixwright.strategies import by_name
from mixwright.text import byte_tokenizer
from mixwright.training import step as step_module
from mixwright.training.batches import Batches
from mixwright.training.language_model import DivergedError, train
from mixwright.training.model import build_model
from mixwright.training.settings import TrainingSettings
from mixwright.watching.statistics import SampledStatistics, level_for

TOLD = {"steps": 12, "batch_size": 8, "observe_every": 4, "statistics_steps": 2, "lag": 1}


def decisions(folder):
    return [json.loads(line) for line in (folder / "decisions.jsonl").read_text().splitlines()]


def rows_of(model, batch):
    """Return the gradient of each row, [rows, parameters]."""
    rows = []
    for tokens in torch.from_numpy(batch.tokens):
        model.zero_grad()
        logits = model(input_ids=tokens[None, :-1]).logits[0]
        torch.nn.functional.cross_entropy(logits, tokens[1:]).backward()
        rows.append(torch.cat([p.grad.flatten() for p in model.parameters()]).double().numpy())
    return np.array(rows)


def by_rows(model, batch, k=2, scale=1.0):
    """Return norms, variances and inner products from one backward pass per row; gradients are divided by `scale`."""
    rows = rows_of(model, batch) / scale
    sums = np.array([rows[batch.source == i].sum(0) for i in range(k)])
    n = np.bincount(batch.source, minlength=k)
    squares = np.array([(rows[batch.source == i] ** 2).sum() for i in range(k)])
    norm = ((sums**2).sum(1) - squares) / (n * (n - 1))
    gram = sums @ sums.T / np.outer(n, n)
    np.fill_diagonal(gram, norm)
    return norm, squares / n - norm, gram


def test_the_level_is_what_the_strategy_reads():
    assert level_for({"loss", "grad_sq_norm", "grad_variance"}) == "example"
    assert level_for({"grad_sq_norm"}) == level_for({"gram"}) == "source"
    assert level_for({"loss", "eval_loss"}) is None


def test_the_last_steps_before_an_observation_are_sampled():
    due = [s for s in range(20) if SampledStatistics(2, every=10, steps=4).due(s)]
    assert due == [6, 7, 8, 9, 16, 17, 18, 19]
    assert all(SampledStatistics(2, every=3, steps=8).due(s) for s in range(6))


def test_the_first_observation_is_that_of_one_backward_pass_per_row(stores, tmp_path):
    changes = TOLD | {"steps": 1, "observe_every": 1}
    run(stores, tmp_path / "r", PiKE(), warmup=0, **changes)
    (told,) = decisions(tmp_path / "r")
    model = build_model(SPEC, byte_tokenizer(), 16, 0)
    settings = TrainingSettings(context=16, **changes)
    batch = Batches(stores, [0.5, 0.5], settings, pairs=True).next()
    norm, variance, gram = by_rows(model, batch)
    seen = told["observation"]
    np.testing.assert_allclose(seen["grad_sq_norm"], norm, rtol=1e-3)
    np.testing.assert_allclose(seen["grad_variance"], variance, rtol=1e-3)
    np.testing.assert_allclose(seen["gram"], gram, rtol=1e-3)
    assert sum(seen["counts"]) == 8


def test_norms_in_adams_metric_are_of_gradients_as_adam_scales_them(stores, tmp_path, monkeypatch):
    """With a learning rate of nothing the model stays, and Adam's moment after a step is its gradient, squared."""
    monkeypatch.setattr(step_module, "_CLIP", 1e9)
    changes = TOLD | {"steps": 2, "observe_every": 2, "statistics_steps": 1, "learning_rate": 1e-12}
    run(stores, tmp_path / "r", PiKE(), warmup=0, statistics_metric="adam", **changes)
    seen = decisions(tmp_path / "r")[0]["observation"]
    model = build_model(SPEC, byte_tokenizer(), 16, 0)
    batches = Batches(stores, [0.5, 0.5], TrainingSettings(context=16, **changes), pairs=True)
    first, second = batches.next(), batches.next()
    squares = rows_of(model, first).mean(0) ** 2
    ends = np.cumsum([p.numel() for p in model.parameters()])[:-1]
    raised = [np.maximum(v, 1e-3 * v.mean() or np.inf) for v in np.split(squares, ends)]  # a thousandth of its mean
    scale = np.sqrt(np.concatenate(raised)) + 1e-8
    norm, variance, gram = by_rows(model, second, scale=scale)
    np.testing.assert_allclose(seen["grad_sq_norm"], norm, rtol=1e-2)
    np.testing.assert_allclose(seen["grad_variance"], variance, rtol=1e-2)
    np.testing.assert_allclose(seen["gram"], gram, rtol=1e-2)


@pytest.mark.parametrize("strategy", [PiKE(rule="restoring"), BalancedPiKE(3.0), PiKE(variance=False)], ids=repr)
def test_pike_in_a_training(stores, tmp_path, strategy):
    result = run(stores, tmp_path / "r", strategy, **TOLD)
    lines = decisions(tmp_path / "r")
    assert [line["observation"]["step"] for line in lines] == [3, 7, 11]
    for line in lines:
        assert all(v is not None for v in line["observation"]["grad_sq_norm"])
        assert ("grad_variance" in line["observation"]) == strategy.reads_variance
        assert sum(line["observation"]["counts"]) == 32  # the losses are those of all steps
    assert lines[-1]["weights"] != [0.5, 0.5]
    assert list(result.weights.values()) == pytest.approx(lines[-2]["weights"])
    assert not result.notes


def test_statistics_change_the_training_by_rounding_alone(stores, tmp_path):
    run(stores, tmp_path / "with", Static([0.5, 0.5]), statistics="always", **TOLD)
    run(stores, tmp_path / "without", Static([0.5, 0.5]), **TOLD)
    losses = [
        [json.loads(line)["loss"] for line in (tmp_path / name / "metrics.jsonl").read_text().splitlines()]
        for name in ("with", "without")
    ]
    # pairs reorder the rows of a source within the run by a few steps; the first step has the same rows
    assert losses[0][0] == pytest.approx(losses[1][0], rel=1e-6)
    assert set(decisions(tmp_path / "with")[0]["observation"]) >= {"grad_sq_norm", "grad_variance", "gram"}
    assert "gram" not in decisions(tmp_path / "without")[0]["observation"]


def test_the_order_of_rows_within_a_step_changes_nothing(stores, tmp_path, monkeypatch):
    run(stores, tmp_path / "sorted", PiKE(), **TOLD)
    parts = step_module.TokenBatch.parts
    monkeypatch.setattr(step_module.TokenBatch, "parts", lambda self, n: [self] if n == 1 else parts(self, n))
    run(stores, tmp_path / "as planned", PiKE(), **TOLD)
    ends = [decisions(tmp_path / name)[-1]["weights"] for name in ("sorted", "as planned")]
    assert ends[0] == pytest.approx(ends[1], rel=1e-4)


@pytest.mark.parametrize("stop", [3, 7, 8])
def test_stopped_within_sampled_steps_and_resumed_is_the_same(stores, tmp_path, stop):
    def interrupt(stage, done, total, note):
        if done == stop:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(stores, tmp_path / "a", PiKE(), progress=interrupt, **TOLD)
    run(stores, tmp_path / "a", PiKE(), **TOLD)
    run(stores, tmp_path / "b", PiKE(), **TOLD)
    assert digest(tmp_path / "a") == digest(tmp_path / "b")
    for name in ("decisions.jsonl", "metrics.jsonl"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_a_source_with_one_row_in_each_batch_is_unknown_and_said(stores, tmp_path):
    changes = TOLD | {"batch_size": 2}
    result = run(stores, tmp_path / "r", Static([0.5, 0.5]), statistics="always", accumulate=2, **changes)
    assert all(v is None for line in decisions(tmp_path / "r") for v in line["observation"]["grad_sq_norm"])
    assert "the gradient norm of abc was unknown in 3 of 3 observations" in result.notes[0]


def test_accumulation_is_the_same_batch_in_parts(stores, tmp_path):
    one = run(stores, tmp_path / "one", (0.5, 0.5), steps=6, batch_size=8)
    two = run(stores, tmp_path / "two", (0.5, 0.5), steps=6, batch_size=8, accumulate=4)
    assert [p["train_loss"] for p in one.curve] == pytest.approx([p["train_loss"] for p in two.curve], rel=1e-5)
    with pytest.raises(InputError, match=r"batch_size should be a multiple of accumulate \(3\), found 8"):
        run(stores, tmp_path / "x", (0.5, 0.5), batch_size=8, accumulate=3)


def test_accumulated_statistics_are_sums_over_parts(stores, tmp_path):
    changes = TOLD | {"steps": 1, "observe_every": 1, "warmup": 0, "statistics": "always"}
    for number in (1, 2):
        run(stores, tmp_path / str(number), Static([0.5, 0.5]), accumulate=number, **changes)
    first, second = (decisions(tmp_path / name)[0]["observation"] for name in ("1", "2"))
    np.testing.assert_allclose(np.add(first["grad_sq_norm"], first["grad_variance"]),
                               np.add(second["grad_sq_norm"], second["grad_variance"]), rtol=1e-4)  # fmt: skip


def broken(monkeypatch, steps, source=1):
    """Make the loss of one source's rows not finite in some steps."""
    backward, at = step_module.Stepper._tokens_backward, []
    of_step = step_module.Stepper._backward

    def in_step(self, step, part):
        at[:] = [step]
        return of_step(self, step, part)

    def rows(self, part, share):
        found = backward(self, part, share)
        if at[0] in steps:
            found[part.source == source] = np.nan
        return found

    monkeypatch.setattr(step_module.Stepper, "_backward", in_step)
    monkeypatch.setattr(step_module.Stepper, "_tokens_backward", rows)


def test_a_loss_that_is_not_finite_stops_or_is_skipped_and_the_source_is_named(stores, tmp_path, monkeypatch):
    broken(monkeypatch, {3, 5})
    with pytest.raises(DivergedError, match=r"found loss nan .* in rows of digits at step 3; .*non_finite: skip"):
        run(stores, tmp_path / "stop", (0.5, 0.5))
    result = run(stores, tmp_path / "skip", (0.5, 0.5), non_finite="skip")
    lines = [json.loads(line) for line in (tmp_path / "skip" / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if line.get("skipped") == ["digits"]] == [4, 6]
    assert set(lines[3]["source_loss"]) == {"abc"}
    assert result.skipped == 2
    assert "2 steps made no update" in result.notes[0]


def test_a_training_that_skips_on_and_on_stops(stores, tmp_path, monkeypatch):
    broken(monkeypatch, set(range(4, 100)))
    with pytest.raises(DivergedError, match="after 20 skipped steps in a row"):
        run(stores, tmp_path / "r", (0.5, 0.5), steps=60, non_finite="skip")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"precision": "fp8"}, "precision should be auto or float32 or bfloat16, found 'fp8'"),
        ({"non_finite": "hope"}, "non_finite should be stop or skip"),
        ({"statistics": "no"}, "statistics should be needed or always"),
        ({"statistics_steps": 0}, "statistics_steps should be a whole number of at least 1"),
        ({"statistics_metric": "sgd"}, "statistics_metric should be plain or adam, found 'sgd'"),
    ],
)
def test_bad_settings_of_statistics(change, message):
    with pytest.raises(InputError, match=message):
        TrainingSettings(steps=1, **change)


@pytest.mark.parametrize(
    ("rule", "strategy", "metric"),
    [("PiKE", PiKE(), "plain"), ("Adam's metric", PiKE(zeta1=0.1, zeta2=0.01), "adam")],
)
def test_a_training_of_a_former_rule_does_not_go_on_by_todays(rule, strategy, metric, stores, tmp_path, monkeypatch):
    def interrupt(stage, done, total, note):
        if done == 5:
            raise KeyboardInterrupt

    values = {**TOLD, "statistics_metric": metric}
    settings = TrainingSettings(context=16, learning_rate=3e-3, warmup=3, evaluate_every=5, **values)
    with monkeypatch.context() as former:
        former.setattr(PiKE, "revision", 1)
        former.setattr(AdamMetric, "revision", 1)
        run(stores, tmp_path / "done", strategy, **values)
        for name in ("killed", "again"):
            with pytest.raises(KeyboardInterrupt):
                run(stores, tmp_path / name, strategy, progress=interrupt, **values)
    for name in ("done", "killed"):
        before = {path: path.read_bytes() for path in (tmp_path / name).rglob("*.*") if path.is_file()}
        said = f"the training in .*{name} was begun with an earlier rule of {rule} than this version's; begin in a new"
        with pytest.raises(InputError, match=said):
            train(SPEC, stores, strategy, settings, tmp_path / name, byte_tokenizer(), anew=False)
        assert {path: path.read_bytes() for path in before} == before
    again = train(SPEC, stores, strategy, settings, tmp_path / "again", byte_tokenizer())  # where it may begin anew
    assert len((again.folder / "metrics.jsonl").read_text().splitlines()) == settings.steps


def test_another_trainings_checkpoint_is_refused_where_asked(stores, tmp_path):
    def interrupt(*call):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(stores, tmp_path / "r", PiKE(), progress=interrupt, **TOLD)
    settings = TrainingSettings(context=16, learning_rate=3e-3, warmup=3, evaluate_every=5, **TOLD)
    swapped = {"abc": stores["digits"], "digits": stores["abc"]}
    for sources, strategy, named in ((swapped, PiKE(), "sources"), (stores, PiKE(floor=0.1), "strategy")):
        with pytest.raises(InputError, match=f"holds a checkpoint that was made with other {named};"):
            train(SPEC, sources, strategy, settings, tmp_path / "r", byte_tokenizer(), anew=False)
    with pytest.raises(InputError, match=r"the training in .* was begun with PiKE\(.*: write 'rule: exponentiated'"):
        train(SPEC, stores, by_name("pike"), settings, tmp_path / "r", byte_tokenizer(), anew=False)
    assert (tmp_path / "r" / "checkpoints" / "last.safetensors").exists()
