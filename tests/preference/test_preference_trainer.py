"""The preference trainer: what a step learns, what the Mixture is told, what is logged, resumed and refused."""

import json

import numpy as np
import pytest
from pairings import (
    NAMES,
    Logs,
    PairRows,
    PreferenceTrainer,
    arguments,
    model,
    parameters,
    sources,
    token_pairs,
    torch,
    trainer,
    transformers,
)

from mixwright import (
    AMAR,
    AMAS,
    Constraints,
    GroupDRO,
    InputError,
    Mixture,
    MixtureFile,
    Schedule,
    Static,
    excess_losses,
    replay,
    row_weights,
)
from mixwright.preference.losses import PairLoss, reference_log_probabilities, score_pairs
from mixwright.preference.trainer import last_complete_checkpoint, normalised_weights

PLAIN = {"optim": "sgd", "learning_rate": 0.5, "max_grad_norm": 0.0, "max_steps": 1, "save_strategy": "no"}
STILL = {"learning_rate": 0.0}


def row_losses(made, rows, source, row, loss=None):
    """Return the losses [B] of pairs, one by one, with their graph; and the specialists' losses."""
    loss, found, specialist = loss or PairLoss(), [], []
    for i, r in zip(source, row, strict=True):
        pair = rows[NAMES[i]][r]
        each = []
        for answer in (pair.chosen, pair.rejected):
            ids = torch.tensor([*pair.prompt, *answer])[None].long()
            logits = made(input_ids=ids).logits[0, :-1].log_softmax(-1)
            each.append(logits.gather(1, ids[0, 1:, None])[len(pair.prompt) - 1 :, 0].sum())
        c0, r0 = pair.reference
        found.append(-torch.nn.functional.logsigmoid(loss.beta * ((each[0] - float(c0)) - (each[1] - float(r0)))))
        specialist.append(pair.specialist)
    return torch.stack(found), np.array(specialist)


def decisions(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def whole_batch(batches):
    source = np.concatenate([batch.source.numpy() for batch in batches])
    return source, np.concatenate([batch.row.numpy() for batch in batches])


# Every pair of settings meets, with one micro-batch and with three.
@pytest.mark.parametrize(
    ("train_on", "clip", "apply", "accumulate"),
    [
        (train_on, clip, apply, (1, 3)[(i + j + k) % 2])
        for i, train_on in enumerate(("excess", "loss"))
        for j, clip in enumerate(("example", "source", "none"))
        for k, apply in enumerate(("loss", "sampling"))
    ],
)
def test_a_step_is_what_one_pair_after_the_other_says(tmp_path, clip, train_on, apply, accumulate):
    rows, weights = sources(), [0.5, 0.2, 0.3]
    settings = PLAIN | {"per_device_train_batch_size": 12 // accumulate, "gradient_accumulation_steps": accumulate}
    new = trainer(
        tmp_path, weights, rows=rows, settings=settings, clip=clip, train_on=train_on, apply=apply,
    )  # fmt: skip
    before = parameters(new.model)
    logs = Logs(new.steps)
    new.add_callback(logs)
    new.train()
    source, row = whole_batch(logs.batches[0])
    counts = np.bincount(source, minlength=3)
    made = model()
    loss, specialist = row_losses(made, rows, source, row)
    excess = excess_losses(loss.detach(), specialist, source, 3, clip)
    assert 0 < excess.gates.mean() < 1 or clip == "none"
    gate = excess.gates if train_on == "excess" else np.ones(12)
    share = row_weights(weights, source) if apply == "loss" else np.ones(12)
    assert counts.tolist() == ([4, 4, 4] if apply == "loss" else [6, 2, 4])
    (torch.from_numpy(gate * share).float() * loss).mean().backward()
    gradient = torch.cat([p.grad.flatten() for p in made.parameters()])
    torch.testing.assert_close(before - parameters(new.model), 0.5 * gradient, rtol=1e-4, atol=1e-6)
    seen = new.steps.observation
    np.testing.assert_allclose(seen.excess_loss, excess.mean, rtol=1e-4, atol=1e-7)
    np.testing.assert_allclose(seen.loss, [loss[source == i].mean().item() for i in range(3)], rtol=1e-5)
    np.testing.assert_allclose(seen.planned, [1 / 3] * 3 if apply == "loss" else weights)


@pytest.mark.parametrize("clip", ["example", "source"])
def test_accumulation_changes_nothing(tmp_path, clip):
    found = []
    for accumulate in (1, 3):
        settings = {"per_device_train_batch_size": 12 // accumulate, "gradient_accumulation_steps": accumulate}
        settings |= {"optim": "sgd", "learning_rate": 0.3}  # Adam makes differences of rounding large
        new = trainer(
            tmp_path / str(accumulate), AMAR(2.0), settings=settings, clip=clip, log=tmp_path / f"{accumulate}.jsonl"
        )
        new.train()
        found.append((new, decisions(tmp_path / f"{accumulate}.jsonl")))
    (one, first), (other, second) = found
    assert len(first) == len(second) == 6
    for a, b in zip(first, second, strict=True):
        np.testing.assert_allclose(a["weights"], b["weights"], rtol=1e-4)
        np.testing.assert_allclose(
            a["observation"]["excess_loss"], b["observation"]["excess_loss"], rtol=1e-3, atol=1e-5
        )
    torch.testing.assert_close(parameters(one.model), parameters(other.model), rtol=1e-3, atol=1e-4)


def test_weights_follow_the_excess_one_step_later(tmp_path):
    strategy, path = AMAR(3.0), tmp_path / "log.jsonl"
    new = trainer(tmp_path, strategy, log=path)
    seen = []

    class Weights(transformers.TrainerCallback):
        def on_step_end(self, args, state, control, **more):
            seen.append(new.steps.weights.tolist())

    new.add_callback(Weights())
    assert (new.mixture.lag, new.steps.settings.apply, new.steps.settings.train_on) == (1, "loss", "excess")
    new.train()
    lines = decisions(path)
    assert [line["begins"] for line in lines] == [1, 2, 3, 4, 5, 6]
    assert seen == [[1 / 3] * 3] + [line["weights"] for line in lines[:-1]]
    assert max(abs(np.array(seen[-1]) - 1 / 3)) > 0.01
    np.testing.assert_allclose(replay(path, strategy), [line["weights"] for line in lines])
    assert [sum(line["observation"]["counts"]) for line in lines] == [12.0] * 6


def test_sampling_draws_independently_with_the_weights_of_its_step(tmp_path):
    path = tmp_path / "log.jsonl"
    new = trainer(tmp_path, AMAS(3.0, smoothing=0.1), log=path, settings={"max_steps": 8})
    logs = Logs(new.steps)
    new.add_callback(logs)
    assert (new.steps.settings.apply, new.loader.plan.settings.draw) == ("sampling", "iid")
    new.train()
    lines = decisions(path)
    for step, (batches, line) in enumerate(zip(logs.batches, lines, strict=True)):
        in_force = [1 / 3] * 3 if step == 0 else lines[step - 1]["weights"]
        assert batches[0].weights.tolist() == line["observation"]["planned"] == in_force
        source, _ = whole_batch(batches)
        assert line["observation"]["counts"] == np.bincount(source, minlength=3).tolist()
    assert len({tuple(line["observation"]["counts"]) for line in lines}) > 2  # independent: no fixed counts


def test_an_observation_of_several_steps_is_their_mean(tmp_path):
    rows = sources()
    new = trainer(tmp_path, GroupDRO(0.1), rows=rows, observe_every=3, apply="loss", settings=STILL)
    logs = Logs(new.steps)
    new.add_callback(logs)
    new.train()
    source, row = (np.concatenate(parts) for parts in zip(*map(whole_batch, logs.batches[3:]), strict=True))
    loss, specialist = row_losses(model(), rows, source, row)
    excess = excess_losses(loss.detach(), specialist, source, 3)
    np.testing.assert_allclose(new.steps.observation.excess_loss, excess.mean, rtol=1e-4)
    np.testing.assert_allclose(
        new.steps.observation.loss, [loss[source == i].mean().item() for i in range(3)], rtol=1e-4
    )
    assert new.steps.observation.counts.tolist() == [12, 12, 12]


def test_each_sources_mean_loss_counts_alike_where_pairs_are_drawn_by_size(tmp_path):
    rows = sources(specialists=False)
    new = trainer(tmp_path, "source-normalised", rows=rows, settings=PLAIN | {"per_device_train_batch_size": 48})
    before = parameters(new.model)
    new.train()  # a step takes every pair once
    made, total = model(), 0
    for i, name in enumerate(NAMES):
        n = len(rows[name])
        loss, _ = row_losses(made, rows, [i] * n, range(n))
        total = total + loss.mean() / 3
    total.backward()
    gradient = torch.cat([p.grad.flatten() for p in made.parameters()])
    torch.testing.assert_close(before - parameters(new.model), 0.5 * gradient, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(
        normalised_weights({name: len(rows[name]) for name in NAMES}), 48 / 3 / np.array([24, 15, 9])
    )


def test_baselines_draw_by_size_or_alike_and_train_on_the_loss(tmp_path):
    drawn = {}
    for name in ("pooled", "uniform"):
        new = trainer(tmp_path, name, settings={"per_device_train_batch_size": 48, "max_steps": 1})
        new.train()
        assert new.steps.settings.train_on == "loss"
        drawn[name] = new.steps.observation.counts.tolist()
        assert new.steps.observation.excess_loss is not None  # to compare with
    assert drawn == {"pooled": [24, 15, 9], "uniform": [16, 16, 16]}


def test_without_specialists_there_is_no_gate(tmp_path):
    rows = sources(specialists=False)
    new = trainer(tmp_path, GroupDRO(0.5), rows=rows, apply="loss")
    logs = Logs()
    new.add_callback(logs)
    new.train()
    line = next(line for line in logs.lines if "loss" in line)
    assert not [name for name in line if name.startswith(("mixture/excess", "mixture/gate"))]
    assert new.steps.observation.excess_loss is None
    with pytest.raises(InputError, match="AMAR needs the excess over specialists"):
        trainer(tmp_path, AMAR(), rows=rows)
    mixed = {"a": rows["a"], "b": sources()["b"]}
    with pytest.raises(InputError, match=r"either every source .* or none, found none in 'a'"):
        trainer(tmp_path, "uniform", rows=mixed)


def test_what_is_logged_is_of_the_steps_since_the_last_line(tmp_path):
    rows = sources()
    new = trainer(tmp_path, Schedule({0: [0.5, 0.25, 0.25], 2: [0.25, 0.25, 0.5]}), rows=rows, settings=STILL)
    logs = Logs(new.steps)
    new.add_callback(logs)
    new.train()
    lines = [line for line in logs.lines if "loss" in line]
    assert len(lines) == 3
    drawn = np.zeros(3)
    for at, line in enumerate(lines):
        source, row = (
            np.concatenate(p) for p in zip(*map(whole_batch, logs.batches[2 * at : 2 * at + 2]), strict=True)
        )
        loss, specialist = row_losses(model(), rows, source, row)
        excess = excess_losses(loss.detach(), specialist, source, 3)
        drawn += np.bincount(source, minlength=3)
        for i, name in enumerate(NAMES):
            assert line[f"mixture/loss/{name}"] == pytest.approx(loss[source == i].mean().item(), rel=1e-4)
            assert line[f"mixture/excess/{name}"] == pytest.approx(excess.mean[i], rel=1e-3)
            assert line[f"mixture/gate/{name}"] == pytest.approx(excess.gate_share[i])
            assert line[f"mixture/weight/{name}"] == (0.5 if (name == "a") == (at == 0) and name != "b" else 0.25)
            assert line[f"mixture/epochs/{name}"] == pytest.approx(drawn[i] / len(rows[name]))
            assert 0 <= line[f"mixture/accuracy/{name}"] <= 1
        assert line["loss"] == pytest.approx(loss.mean().item(), rel=1e-3)


@pytest.mark.parametrize(("strategy", "workers"), [(AMAR(2.0), 2), (AMAS(2.0), 0)])
def test_a_training_that_was_interrupted_goes_on_as_if_it_had_not_been(tmp_path, strategy, workers):
    settings = {"per_device_train_batch_size": 6, "gradient_accumulation_steps": 2, "max_steps": 7}
    options = {"settings": settings, "disable_dropout": False, "num_workers": workers, "lag": 3, "observe_every": 2}

    def run(folder, resume=None, stop=None):
        new = trainer(folder, strategy, made=model(dropout=0.1), log=folder / "log.jsonl", **options)
        logs = Logs(new.steps)
        new.add_callback(logs)
        if stop:
            new.add_callback(_Stop(stop))
        new.train(resume_from_checkpoint=resume)
        lines = [{n: v for n, v in line.items() if n.startswith("mixture/")} for line in logs.lines if "loss" in line]
        return new, lines, (folder / "log.jsonl").read_text()

    whole, lines, decisions = run(tmp_path / "whole")
    run(tmp_path / "parts", stop=5)
    again, after, decided = run(tmp_path / "parts", resume=True)  # checkpoint-5 was not written: from 3
    assert decided == decisions
    assert after == lines[1:]
    assert torch.equal(parameters(whole.model), parameters(again.model))
    with pytest.raises(InputError, match="clip should be the checkpoint's"):
        trainer(tmp_path / "parts", strategy, clip="none", **options).train(resume_from_checkpoint=True)


class _Stop(transformers.TrainerCallback):
    def __init__(self, step):
        self.step = step

    def on_step_end(self, args, state, control, **more):
        control.should_training_stop = control.should_training_stop or state.global_step >= self.step


def test_another_reference_or_specialist_is_not_resumed_with(tmp_path):
    rows = sources()
    trainer(tmp_path, AMAR(), rows=rows, settings={"max_steps": 3}).train()
    for part in ("reference", "specialist"):
        changed = dict(rows)
        values = {"reference": rows["b"].reference.copy(), "specialist": rows["b"].specialist.copy()}
        values[part][-1] += 0.25
        changed["b"] = PairRows(rows["b"].encoded, **values)
        with pytest.raises(InputError, match=r"'b' .* should have the rows and content"):
            trainer(tmp_path, AMAR(), rows=changed).train(resume_from_checkpoint=True)


def test_the_newest_complete_checkpoint_is_found(tmp_path):
    assert last_complete_checkpoint(tmp_path / "nothing") is None
    with pytest.raises(InputError, match="should hold a complete checkpoint"):
        trainer(tmp_path, AMAR()).train(resume_from_checkpoint=True)
    trainer(tmp_path, AMAR(), settings={"save_steps": 1}).train()
    assert last_complete_checkpoint(tmp_path) == str(tmp_path / "checkpoint-6")
    state = (tmp_path / "checkpoint-6" / "trainer_state.json").read_text()
    (tmp_path / "checkpoint-6" / "trainer_state.json").write_text(state[:-20])
    (tmp_path / "checkpoint-5" / "trainer_state.json").unlink()
    (tmp_path / "checkpoint-4" / "optimizer.pt").unlink()
    (tmp_path / "checkpoint-3" / "rng_state.pth").unlink()
    (tmp_path / "checkpoint-x").mkdir()
    assert last_complete_checkpoint(tmp_path) == str(tmp_path / "checkpoint-2")


def test_held_out_pairs_are_scored_by_source(tmp_path):
    held_out = {
        "a": sources((7,), reference=model(seed=1), names=("a",))["a"],
        "c": PairRows(token_pairs(5, 9), np.zeros((5, 2))),
    }
    settings = {"eval_strategy": "steps", "eval_steps": 3, "learning_rate": 0.0, "metric_for_best_model": "loss"}
    new = trainer(tmp_path, "uniform", settings=settings, eval_dataset=held_out)
    logs = Logs()
    new.add_callback(logs)
    new.train()
    line = next(line for line in logs.lines if "eval_loss" in line)
    for name, rows in held_out.items():
        scores = score_pairs(model(), rows.encoded, PairLoss(), rows.reference)
        assert line[f"eval_{name}_loss"] == pytest.approx(scores.loss.mean(), rel=1e-5)
        assert line[f"eval_{name}_accuracy"] == pytest.approx((scores.margin > 0).mean())
        assert line[f"eval_{name}_margin"] == pytest.approx(scores.margin.mean(), rel=1e-4)
        if rows.specialist is not None:
            excess = np.maximum(scores.loss - rows.specialist, 0).mean()
            assert line[f"eval_{name}_excess"] == pytest.approx(excess, rel=1e-4)
    assert "eval_c_excess" not in line
    assert line["eval_loss"] == pytest.approx((line["eval_a_loss"] + line["eval_c_loss"]) / 2)
    one = new.evaluate(held_out["c"], metric_key_prefix="test")
    assert one["test_loss"] == pytest.approx(line["eval_c_loss"])
    with pytest.raises(InputError, match="found none; give eval_dataset"):
        trainer(tmp_path, "uniform").evaluate()


def test_held_out_losses_reach_a_strategy_that_reads_them(tmp_path):
    held_out = {name: sources((5,), names=(name,))[name] for name in NAMES}
    settings = {"eval_strategy": "steps", "eval_steps": 1}
    new = trainer(tmp_path, GroupDRO(0.5, loss="eval_loss"), eval_dataset=held_out, apply="loss", settings=settings)
    new.train()
    assert np.isfinite(new.steps.observation.eval_loss).all()
    with pytest.raises(InputError, match="eval_loss"):
        trainer(tmp_path, GroupDRO(0.5, loss="eval_loss"))


def test_a_model_of_peft_trains_its_adapter(tmp_path):
    peft = pytest.importorskip("peft", reason="peft is not installed")

    def adapted():
        config = peft.LoraConfig(r=2, target_modules=["query_key_value"], init_lora_weights=False)
        torch.manual_seed(1)
        return peft.get_peft_model(model(), config)

    encoded = token_pairs(20)
    base, made = model(), adapted()
    reference = reference_log_probabilities(made, encoded)
    np.testing.assert_allclose(reference, reference_log_probabilities(base, encoded), rtol=1e-6)
    assert np.abs(score_pairs(made, encoded, PairLoss(), reference).margin).max() > 1e-3  # the adapter was on again
    rows = {
        "a": PairRows(encoded, reference, np.full(20, 0.5)),
        "b": PairRows(token_pairs(9, 1), np.zeros((9, 2)), np.zeros(9)),
    }
    whole = trainer(tmp_path / "whole", AMAR(1.0), made=made, rows=rows)
    whole.train()
    for name, value in base.state_dict().items():
        now = made.base_model.model.state_dict()
        assert torch.equal(now.get(name, now.get(name.replace("query_key_value", "query_key_value.base_layer"))), value)
    again = trainer(tmp_path / "again", AMAR(1.0), made=adapted(), rows=rows)
    again.train(resume_from_checkpoint=str(tmp_path / "whole" / "checkpoint-3"))
    assert torch.equal(parameters(again.model), parameters(whole.model))


def spoilt(pair):
    """Return sources of which one pair has a token that the others do not have, and a model that breaks on it."""
    made = model()
    encoded = token_pairs(15, 1)
    encoded._chosen[pair] = np.array([2], np.int32)
    with torch.no_grad():
        made.get_output_embeddings().weight.data = made.get_output_embeddings().weight.data.clone()
    rows = sources() | {"b": PairRows(encoded, np.zeros((15, 2)), np.zeros(15))}
    rows["b"].reference.flags.writeable = True
    rows["b"].reference[pair] = np.nan
    return made, rows


@pytest.mark.parametrize("accumulate", [1, 2])
def test_a_loss_that_is_not_finite_is_named_before_the_model_learns_from_it(tmp_path, accumulate):
    made, rows = spoilt(4)
    settings = {
        "per_device_train_batch_size": 12 // accumulate,
        "gradient_accumulation_steps": accumulate,
        "max_steps": 12,
    }
    new = trainer(tmp_path, "uniform", made=made, rows=rows, settings=settings)
    with pytest.raises(
        InputError, match=r"step \d+: the loss of the source 'b', row 4 \(1.jsonl, line 5\) is not finite"
    ):
        new.train()
    assert parameters(made).isfinite().all()
    assert new.state.global_step < 6
    skipping = trainer(tmp_path, AMAR(1.0), made=model(), rows=rows, settings=settings, non_finite="skip")
    logs = Logs()
    skipping.add_callback(logs)
    skipping.train()
    assert parameters(skipping.model).isfinite().all()
    assert sum(line.get("mixture/skipped", 0) for line in logs.lines) >= 2
    assert np.isfinite(skipping.mixture.weights_for(12)).all()


def test_a_gradient_that_is_not_finite_is_not_trained_on(tmp_path):
    made = model()
    made.get_input_embeddings().weight.register_hook(lambda grad: grad * float("inf"))
    new = trainer(tmp_path, "uniform", made=made, settings={"max_steps": 2})
    before = parameters(made).clone()
    with pytest.raises(InputError, match="step 0: the loss of every pair is finite, but the gradient is not finite"):
        new.train()
    torch.testing.assert_close(parameters(made), before, rtol=0, atol=0)


def test_dropout_is_off_unless_it_is_asked_for(tmp_path):
    off = trainer(tmp_path, "uniform", made=model(dropout=0.5))
    assert {m.p for m in off.model.modules() if isinstance(m, torch.nn.Dropout)} == {0.0}
    on = trainer(tmp_path, "uniform", made=model(dropout=0.5), disable_dropout=False)
    assert {m.p for m in on.model.modules() if isinstance(m, torch.nn.Dropout)} == {0.5}


def test_epochs_are_of_all_pairs_together(tmp_path):
    new = trainer(tmp_path, "pooled", settings={"max_steps": -1, "num_train_epochs": 2})
    new.train()
    assert new.state.global_step == 8  # 2 x 48 pairs, 12 a step
    assert [line.epochs for line in new.loader.ledger().lines] == [2, 2, 2]


def test_weights_come_as_numbers_files_and_mixtures(tmp_path):
    MixtureFile(sources=("c", "a", "b"), weights=(0.5, 0.25, 0.25)).write(tmp_path / "mixture.json")
    for weights in (
        {"c": 0.5, "a": 0.25, "b": 0.25},
        tmp_path / "mixture.json",
        Mixture(NAMES, Static([0.25, 0.25, 0.5])),
    ):
        assert trainer(tmp_path, weights).mixture.weights_for(0).tolist() == [0.25, 0.25, 0.5]
    new = trainer(tmp_path, {"name": "AMAR", "learning_rate": 9.0}, constraints=Constraints(caps={"a": 0.34}))
    new.train()
    assert new.mixture.weights_for(6)[0] <= 0.34 + 1e-9


@pytest.mark.parametrize(
    ("weights", "settings", "options", "message"),
    [
        (AMAR(), {}, {"clip": "exmaple"}, "clip should be 'example' or 'source' or 'none', found 'exmaple'"),
        (AMAR(), {}, {"train_on": "gate"}, "train_on should be 'excess' or 'loss'"),
        (AMAR(), {}, {"apply": "sampling"}, "AMAR works with apply='loss'"),
        (AMAS(), {}, {"apply": "loss"}, "AMAS works with apply='sampling'"),
        (AMAS(), {}, {"plan": {"draw": "carry"}}, "AMAS works with draw='iid'"),
        (AMAS(), {}, {"num_workers": 2, "lag": 2}, "lag should be at least 5, found 2"),
        (AMAR(), {"per_device_train_batch_size": 2}, {}, "found 2 pairs a step"),
        (AMAR(), {}, {"counts": "plan"}, "counts should be 'batch' or 'expected'"),
        (AMAR(), {}, {"non_finite": "keep"}, "non_finite should be 'stop' or 'skip'"),
        (AMAR(), {"auto_find_batch_size": True}, {}, "auto_find_batch_size"),
        ("pooled", {}, {"prior": "uniform"}, "prior should be left out"),
        ("source-normalised", {}, {"apply": "sampling"}, "apply should be 'loss'"),
        ("poled", {}, {}, "Known: .*Static"),
        ([0.5, 0.5], {}, {}, "found 2"),
        (AMAR(), {}, {"loss": PairLoss("ipo", beta=0.2), "pad_token_id": -1}, "pad_token_id"),
        (AMAR(), {}, {"eval_dataset": {"a": [1]}}, "'a' of eval_dataset should be PairRows"),
    ],
)
def test_what_does_not_fit_is_refused_before_the_first_step(tmp_path, weights, settings, options, message):
    with pytest.raises(InputError, match=message):
        trainer(tmp_path, weights, settings=settings, **options)


def test_a_loss_with_a_reference_is_refused_without_one(tmp_path):
    rows = sources(reference=False)
    with pytest.raises(InputError, match="source 'a' of sources has no reference, which the loss 'sigmoid' needs"):
        trainer(tmp_path, "uniform", rows=rows)
    new = trainer(tmp_path, AMAR(), rows=rows, loss=PairLoss("simpo", beta=2.0), settings={"max_steps": 2})
    new.train()
    assert new.steps.observation.counts.sum() == 12


def test_a_checkpoint_of_another_trainer_is_refused(tmp_path):
    new = trainer(tmp_path, "uniform", settings={"max_steps": 3})
    new.train()
    path = tmp_path / "checkpoint-3" / "trainer_state.json"
    state = json.loads(path.read_text())
    state["stateful_callbacks"]["PreferenceSteps"]["attributes"].pop("settings")
    path.write_text(json.dumps(state))
    with pytest.raises(InputError, match="should be of a PreferenceTrainer"):
        trainer(tmp_path, "uniform").train(resume_from_checkpoint=str(tmp_path / "checkpoint-3"))


def test_a_checkpoint_of_an_earlier_version_is_resumed(tmp_path):
    """It kept the sums beside the settings."""
    settings = {"max_steps": 5, "save_steps": 3}
    whole = trainer(tmp_path / "whole", AMAR(0.5), settings=settings, observe_every=2)
    whole.train()
    path = tmp_path / "whole" / "checkpoint-3" / "trainer_state.json"
    state = json.loads(path.read_text())
    saved = state["stateful_callbacks"]["PreferenceSteps"]["attributes"]
    observing = saved.pop("observing")
    assert observing["since"]["steps"] == 1
    saved |= {name: observing[name] for name in ("since", "logged", "alarms", "held_out", "observation")}
    path.write_text(json.dumps(state))
    again = trainer(tmp_path / "again", AMAR(0.5), settings=settings, observe_every=2)
    again.train(resume_from_checkpoint=str(path.parent))
    assert again.steps.observation.to_json() == whole.steps.observation.to_json()
    assert again.steps.watcher.state_dict() == whole.steps.watcher.state_dict()
    for one, other in zip(parameters(whole.model), parameters(again.model), strict=True):
        assert torch.equal(one, other)


def test_a_dpo_config_gives_the_loss_or_is_refused(tmp_path):
    trl = pytest.importorskip("trl", reason="trl is not installed")

    def made(**settings):
        return PreferenceTrainer(model(), arguments(tmp_path, trl.DPOConfig, **settings), sources(), "uniform")

    assert made().pair_loss == PairLoss("sigmoid", 0.1)
    assert made(loss_type="ipo", beta=0.5).pair_loss == PairLoss("ipo", 0.5)
    for settings, message in (
        ({"loss_type": "hinge"}, "loss_type of DPOConfig should be 'sigmoid' or 'ipo'"),
        ({"loss_type": ["sigmoid", "sft"]}, "one of them"),
        ({"label_smoothing": 0.1}, "label_smoothing of DPOConfig should be 0"),
        ({"ld_alpha": 0.5}, "ld_alpha"),
        ({"f_divergence_type": "js_divergence"}, "f_divergence_type"),
        ({"use_weighting": True}, "use_weighting"),
        ({"sync_ref_model": True}, "sync_ref_model"),
    ):
        with pytest.raises(InputError, match=message):
            made(**settings)
