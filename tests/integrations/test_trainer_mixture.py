"""A mixture in the Trainer of transformers: what it is told, what follows, what is logged, resumed and refused."""

import json
import os
import shutil
import time

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the Trainer needs torch")

from trainers import (  # noqa: E402
    CONTEXT,
    NAMES,
    STEPS,
    VOCABULARY,
    Everything,
    by_hand,
    decisions,
    documents,
    model,
    run,
    sources,
    trainer,
    transformers,
)

from mixwright import BalancedPiKE, Constraints, InputError, Mixture, MixtureFile, PiKE, Schedule, Static, replay  # noqa: E402
from mixwright.integrations import trainer_mixture  # noqa: E402
from mixwright.integrations.transformers import use_mixture  # noqa: E402
from mixwright.simplex import entropy  # noqa: E402
from mixwright.stream import AnyRows, TokenRows  # noqa: E402

STILL = {"learning_rate": 0.0}  # the model stays, so that one can look at its steps afterwards


@pytest.mark.parametrize(
    ("kind", "accumulate", "arguments", "near"),
    [
        ("GPT2", 1, {}, 1e-4),
        ("GPT2", 2, {"average_tokens_across_devices": False}, 1e-4),
        ("GPTNeoX", 2, {"gradient_checkpointing": True}, 1e-4),
        ("GPT2", 2, {"bf16": True}, 0.05),
    ],
)
def test_the_mixture_is_told_what_one_backward_pass_for_each_row_says(tmp_path, kind, accumulate, arguments, near):
    made = model(kind)
    strategy = Everything(rate=0.0)
    _, callback, steps = run(
        tmp_path, strategy, accumulate=accumulate, made=made, arguments=STILL | arguments, statistics_steps=2
    )
    seen = callback.observation
    made.eval()
    loss, counts, gram, variance = by_hand(made, steps.batches[-2:])
    assert (seen.step, seen.batch_size) == (STEPS - 1, 12)
    assert seen.counts.tolist() == counts.tolist()
    np.testing.assert_allclose(seen.planned, 1 / 3)
    np.testing.assert_allclose(seen.loss, loss, rtol=min(near, 0.01))
    np.testing.assert_allclose(seen.gram, gram, rtol=near, atol=near * np.abs(gram).max())
    np.testing.assert_allclose(seen.grad_sq_norm, np.diag(gram), rtol=near, atol=near * np.abs(gram).max())
    np.testing.assert_allclose(seen.grad_variance, variance, rtol=near)


def test_accumulation_changes_no_loss(tmp_path):
    found = [run(tmp_path / str(a), Everything(), accumulate=a, log=tmp_path / f"{a}.jsonl") for a in (1, 2)]
    once, twice = (decisions(tmp_path / f"{a}.jsonl") for a in (1, 2))
    assert len(once) == len(twice) == STEPS // 2
    for one, other in zip(once, twice, strict=True):
        assert one["observation"]["counts"] == other["observation"]["counts"]
        np.testing.assert_allclose(one["observation"]["loss"], other["observation"]["loss"], rtol=1e-4)
        np.testing.assert_allclose(one["weights"], other["weights"], rtol=1e-4)
    for one, other in zip(*(t.model.parameters() for t, *_ in found), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4)


def test_weights_follow_the_strategy(tmp_path):
    path = tmp_path / "decisions.jsonl"
    limits = Constraints(caps={"a": 0.4})
    _, callback, steps = run(tmp_path, Everything(), lag=2, constraints=limits, log=path, observe_every=1)
    assert len(decisions(path)) == STEPS
    told = replay(path, Everything())
    for decision, weights in zip(decisions(path), told, strict=True):
        np.testing.assert_allclose(decision["strategy_weights"], weights)
    for i, decision in enumerate(decisions(path)[:-2]):
        assert decision["begins"] == i + 2
        assert steps.batches[i + 2][0].weights.tolist() == decision["weights"]
    assert max(w["weights"][0] for w in decisions(path)) <= 0.4 + 1e-12
    assert callback.mixture.weights_for(STEPS + 1).tolist() != [1 / 3] * 3


@pytest.mark.parametrize("workers", [0, 2])
def test_a_training_that_was_interrupted_goes_on_as_if_it_had_not_been(tmp_path, workers):
    # checkpoint-3 lies between two sampled steps of one observation, and between two lines of the log
    options = {"observe_every": 4, "statistics_steps": 2, "accumulate": 2, "num_workers": workers, "lag": 3}
    whole, _, steps = run(tmp_path / "whole", PiKE(), log=tmp_path / "whole.jsonl", **options)
    run(tmp_path / "parts", PiKE(), log=tmp_path / "parts.jsonl", stop=5, **options)
    checkpoint = tmp_path / "parts" / "checkpoint-3"
    again, _, after = run(tmp_path / "parts", PiKE(), checkpoint, log=tmp_path / "parts.jsonl", **options)
    assert decisions(tmp_path / "parts.jsonl") == decisions(tmp_path / "whole.jsonl")
    assert [b[0].weights.tolist() for b in after.batches] == [b[0].weights.tolist() for b in steps.batches[3:]]

    def ours(logs):
        return [{name: value for name, value in line.items() if name.startswith("mixture/")} for line in logs]

    assert ours(after.logs) == ours(steps.logs)[1:]
    for one, other in zip(whole.model.parameters(), again.model.parameters(), strict=True):
        assert torch.equal(one, other)
    with pytest.raises(InputError, match="observe_every should be the checkpoint's"):
        run(tmp_path / "parts", PiKE(), checkpoint, **options | {"observe_every": 2})


def test_what_is_logged_reaches_every_callback(tmp_path):
    weights = {0: [0.5, 0.25, 0.25], 4: [0.25, 0.25, 0.5]}
    made = model()
    made.loss_type = "ForCausalLM"  # else the Trainer counts the first token of each row too
    new, _, steps = run(tmp_path, Schedule(weights), made=made, arguments=STILL, padded=False)
    lines = [line for line in steps.logs if "loss" in line]
    assert len(lines) == STEPS // 2
    for line, share in zip(lines, (weights[0], weights[0], weights[4], weights[4]), strict=True):
        assert [line[f"mixture/weight/{name}"] for name in NAMES] == share
        assert line["mixture/entropy"] == pytest.approx(entropy(np.array(share)))
        assert line["mixture/alarms"] == 0
        losses = [line[f"mixture/loss/{name}"] for name in NAMES]
        assert np.dot(losses, share) == pytest.approx(line["loss"], abs=2e-4)  # rows of one length
    assert sum("mixture/loss/a" in line for line in new.state.log_history) == len(lines)


def test_without_a_strategy_that_reads_them_no_statistics_are_taken(tmp_path, monkeypatch):
    from mixwright.gradients import GradientStatistics

    def refuse(*arguments, **options):
        raise AssertionError("statistics were taken")

    monkeypatch.setattr(GradientStatistics, "__init__", refuse)
    _, callback, steps = run(tmp_path, {"a": 0.5, "b": 0.25, "c": 0.25}, arguments={"max_steps": 2})
    assert callback.observation.grad_sq_norm is None
    assert [b[0].weights.tolist() for b in steps.batches] == [[0.5, 0.25, 0.25]] * 2
    with pytest.raises(AssertionError, match="statistics were taken"):
        use_mixture(trainer(tmp_path), sources(), PiKE())


def test_statistics_are_taken_on_sampled_steps_alone(tmp_path, monkeypatch):
    from mixwright.gradients import GradientStatistics

    taken, observe = [], GradientStatistics.observe
    monkeypatch.setattr(GradientStatistics, "observe", lambda self, *a: taken.append(a) or observe(self, *a))
    _, callback, _ = run(tmp_path, PiKE(variance=False), observe_every=4, accumulate=2)
    assert len(taken) == 2 * STEPS // 4
    assert callback.observation.grad_variance is None  # source level is enough


def test_held_out_losses_and_measures(tmp_path):
    held = {name: documents(i, 6, padded=False) for i, name in enumerate(NAMES)}
    held = {name: [{**row, "labels": row["input_ids"]} for row in rows] for name, rows in held.items()}
    new = trainer(tmp_path, max_steps=4, eval_strategy="steps", eval_steps=2, eval_dataset=held)
    callback = use_mixture(new, sources(), Everything(), observe_every=3)
    new.train()
    expected = [m[f"eval_{name}_loss"] for name in NAMES for m in new.state.log_history if f"eval_{name}_loss" in m]
    assert callback.observation.step == 2
    np.testing.assert_allclose(callback.observation.eval_loss, expected[::2])  # of step 2, not of step 4
    other = trainer(tmp_path / "measures", max_steps=1)
    callback = use_mixture(
        other, sources(), BalancedPiKE(2.0), observe_every=1, measures={"eval_loss": lambda model: [1, 2, 3]}
    )
    other.train()
    assert callback.observation.eval_loss.tolist() == [1, 2, 3]


def spoilt(folder, **options):
    """A model whose loss is not finite on rows of the source c."""
    made = model("GPTNeoX")
    made.gpt_neox.embed_in.weight.data[19:28] = float("nan")
    new = trainer(folder, made=made, max_steps=4)
    before = [p.detach().clone() for p in made.parameters()]
    callback = use_mixture(new, sources(), Static(), observe_every=2, log=folder / "log.jsonl", **options)
    return new, callback, before


def test_a_loss_that_is_not_finite_stops_before_the_step(tmp_path):
    new, _, before = spoilt(tmp_path)
    with pytest.raises(InputError, match="step 0: the loss is not finite in 'c'"):
        new.train()
    for one, other in zip(before, new.model.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0, equal_nan=True)


def test_a_step_whose_loss_is_not_finite_can_be_skipped(tmp_path):
    new, callback, before = spoilt(tmp_path, non_finite="skip")
    new.train()
    for one, other in zip(before, new.model.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0, equal_nan=True)
    assert decisions(tmp_path / "log.jsonl")[0]["observation"]["loss"] == [None] * 3
    assert callback.observation.counts.tolist() == [0, 0, 8]
    assert [line["mixture/non_finite"] for line in new.state.log_history if "loss" in line] == [2, 2]


def steep(folder, **options):
    """A model whose losses are finite and whose gradient is not."""
    made = model("GPTNeoX")
    made.gpt_neox.embed_in.weight.register_hook(lambda grad: grad * float("inf"))
    return made, use_mixture(trainer(folder, made=made, max_steps=2), sources(), Static(), observe_every=1, **options)


def test_a_gradient_that_is_not_finite_is_not_trained_on(tmp_path):
    made, callback = steep(tmp_path / "stop")
    before = [p.detach().clone() for p in made.parameters()]
    with pytest.raises(InputError, match="step 0: the losses are finite, but the gradient is not"):
        callback.trainer.train()
    for one, other in zip(before, made.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0)
    made, callback = steep(tmp_path / "skip", non_finite="skip")
    before = [p.detach().clone() for p in made.parameters()]
    callback.trainer.train()
    for one, other in zip(before, made.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0)


def test_a_loss_with_something_added_is_refused_with_statistics(tmp_path):
    class Own(transformers.Trainer):
        def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
            loss, outputs = super().compute_loss(model, inputs, True, num_items_in_batch)
            loss = loss + 0.1 * outputs.logits.square().mean() + 0.1
            return (loss, outputs) if return_outputs else loss

    new = trainer(tmp_path, kind=Own)
    use_mixture(new, sources(), PiKE(), observe_every=2)
    with pytest.raises(InputError, match="mean cross entropy"):
        new.train()
    plain = trainer(tmp_path, kind=Own, max_steps=1)
    use_mixture(plain, sources(), Static())
    plain.train()


def test_rows_of_ragged_tables_go_through_the_trainers_collator(tmp_path):
    datasets = pytest.importorskip("datasets", reason="datasets is not installed")

    def collate(rows):
        width = max(len(row["input_ids"]) for row in rows)
        ids = torch.tensor([row["input_ids"] + [0] * (width - len(row["input_ids"])) for row in rows])
        return {"input_ids": ids, "labels": ids.masked_fill(ids == 0, -100)}

    tables = {
        name: datasets.Dataset.from_list(
            [{"input_ids": row["input_ids"][row["input_ids"] > 0]} for row in documents(i, 9)]
        )
        for i, name in enumerate(NAMES)
    }
    new = trainer(tmp_path, max_steps=2)
    new.data_collator = collate
    callback = use_mixture(new, tables, [0.5, 0.25, 0.25], observe_every=1, collate="trainer")
    new.train()
    assert callback.observation.counts.tolist() == [6, 3, 3]


def test_weights_come_from_a_mixture_file_too(tmp_path):
    file = MixtureFile(sources=("c", "a", "b"), weights=(0.5, 0.25, 0.25))
    file.write(tmp_path / "mixture.json")
    tokens = {name: TokenRows(np.arange(80), CONTEXT) for name in NAMES}
    for weights in (file, tmp_path / "mixture.json", str(tmp_path / "mixture.json")):
        callback = use_mixture(trainer(tmp_path), tokens, weights)
        assert callback.mixture.weights_for(0).tolist() == [0.25, 0.25, 0.5]
        begun = use_mixture(trainer(tmp_path), tokens, PiKE(), prior=weights)
        assert begun.mixture.weights_for(0).tolist() == [0.25, 0.25, 0.5]
    with pytest.raises(InputError, match="shares of tokens"):
        use_mixture(trainer(tmp_path), tokens, MixtureFile(sources=NAMES, weights=(0.5, 0.25, 0.25), unit="tokens"))


@pytest.mark.parametrize(
    ("weights", "arguments", "options", "message"),
    [
        (PiKE(), {}, {"statistics": None}, "PiKE needs grad_sq_norm, grad_variance"),
        (PiKE(), {}, {"statistics": {"level": "source"}}, "PiKE needs grad_variance"),
        (PiKE(), {}, {"statistics": {"levle": "source"}}, "options of GradientStatistics"),
        (PiKE(), {}, {"lag": 2, "num_workers": 2}, "lag should be at least 5, found 2"),
        (PiKE(), {}, {"statistics_steps": 11}, "at most observe_every"),
        (PiKE(), {"per_device_train_batch_size": 1}, {}, "at least 2 with gradient statistics"),
        (PiKE(), {"label_smoothing_factor": 0.1}, {}, "label_smoothing_factor"),
        (BalancedPiKE(1.0, loss="eval_loss"), {}, {}, "eval_loss"),
        (Static(), {"max_steps": -1}, {}, "max_steps"),
        (Static(), {"auto_find_batch_size": True}, {}, "auto_find_batch_size"),
        (Static(), {}, {"non_finite": "ignore"}, "'stop', 'skip' or 'keep'"),
        (Static(), {}, {"collate": "own"}, "'trainer'"),
        ({"a": 0.5, "b": 0.5}, {}, {}, "should name the sources"),
        ([0.5, 0.5], {}, {}, r"one number per source \(3\), found 2"),
        ("pikee", {}, {}, "did you mean 'PiKE'"),
        (Mixture(["a", "b"], Static()), {}, {}, "same sources"),
        (Mixture(NAMES, Static()), {}, {"lag": 4}, "has its own lag"),
        (Mixture(NAMES, Static()), {}, {"prior": "natural"}, "has its own prior"),
    ],
)
def test_what_does_not_fit_is_refused_before_the_first_step(tmp_path, weights, arguments, options, message):
    with pytest.raises(InputError, match=message):
        use_mixture(trainer(tmp_path, **arguments), sources(), weights, **options)


def test_weights_by_a_word_as_in_a_configuration(tmp_path):
    for word, weights in (("uniform", [1 / 3] * 3), ("natural", [40 / 90, 30 / 90, 20 / 90])):
        callback = use_mixture(trainer(tmp_path), sources(), word)
        assert callback.mixture.weights_for(0).tolist() == pytest.approx(weights)


def test_a_folder_or_a_file_of_other_sources_in_place_of_the_mixture_is_named(tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    for given in (run, str(run)):
        with pytest.raises(InputError, match=f"found the folder {run}; it has none"):
            use_mixture(trainer(tmp_path), sources(), given)
    file = run / "mixture.json"
    MixtureFile(["a", "web"], [0.5, 0.5]).write(file)
    with pytest.raises(InputError, match=f"found the folder {run}; give {file}"):
        use_mixture(trainer(tmp_path), sources(), Static(), prior=run)
    for given in ({"weights": str(file)}, {"weights": Static(), "prior": file}):
        with pytest.raises(InputError, match=rf"{file} should be a mixture of the sources \['a', 'b', 'c'\], found"):
            use_mixture(trainer(tmp_path), sources(), **given, context=CONTEXT)


def test_rows_that_are_wider_than_the_learned_positions_are_refused_before_the_first_step(tmp_path):
    long = {name: TokenRows(np.arange(400) % 9, 2 * CONTEXT) for name in NAMES}
    said = (
        rf"rows of the source 'a' should have at most {CONTEXT} tokens, .* found {2 * CONTEXT}; give rows of context=8,"
    )
    with pytest.raises(InputError, match=said):
        use_mixture(trainer(tmp_path), long, Static())
    made = trainer(tmp_path)
    use_mixture(made, long, Static(), collate=lambda rows: {"input_ids": torch.tensor(np.stack(rows))})
    with pytest.raises(InputError, match=f"rows should have at most {CONTEXT} tokens"):
        made.train()
    tensors = {name: [{"input_ids": torch.ones(2 * CONTEXT, dtype=torch.int64)}] for name in NAMES}
    with pytest.raises(InputError, match=said):
        use_mixture(trainer(tmp_path), tensors, Static())
    rotary = trainer(tmp_path, made=model("GPTNeoX"), max_steps=1)  # its positions have no end
    use_mixture(rotary, long, Static())
    rotary.train()
    packed = {"input_ids": torch.ones(1, 2 * CONTEXT, dtype=torch.int64)}
    packed["position_ids"] = torch.arange(2 * CONTEXT)[None] % CONTEXT  # two rows behind each other
    batches = made.get_train_dataloader()
    batches._check_tokens(next(iter(batches.loader)), packed)


def test_positions_that_are_counted_from_the_padding_on_are_fewer(tmp_path):
    sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    config = transformers.RobertaConfig(
        vocab_size=VOCABULARY, max_position_embeddings=CONTEXT, pad_token_id=1, is_decoder=True, **sizes
    )
    made = transformers.AutoModelForCausalLM.from_config(config)
    wide = {name: TokenRows(np.arange(400) % 9, CONTEXT - 1) for name in NAMES}
    with pytest.raises(InputError, match=f"should have at most {CONTEXT - 2} tokens, .* found {CONTEXT - 1}; give"):
        use_mixture(trainer(tmp_path, made=made), wide, Static())
    fits = trainer(tmp_path, made=made, max_steps=1)
    use_mixture(fits, {name: TokenRows(2 + np.arange(400) % 7, CONTEXT - 2) for name in NAMES}, Static())
    fits.train()


def test_a_resume_with_other_sources_says_what_a_trainer_can_do(tmp_path):
    run(tmp_path, Static(), arguments={"max_steps": 3})
    other = trainer(tmp_path / "other", max_steps=4)
    use_mixture(other, {name: rows for name, rows in sources().items() if name != "c"}, Static())
    with pytest.raises(
        InputError, match=r"no longer there: 'c'.*; give a Trainer what its checkpoint had, or"
    ) as error:
        other.train(resume_from_checkpoint=str(tmp_path / "checkpoint-3"))
    assert "load_state_dict" not in str(error.value)


def test_a_token_that_the_model_does_not_have_is_named(tmp_path):
    far = {"input_ids": np.full(8, 40), "attention_mask": np.ones(8, np.int64)}
    made = trainer(tmp_path)
    use_mixture(made, {**sources(), "b": AnyRows([far] * 30)}, Static())
    with pytest.raises(InputError, match="the source 'b' has the token 40, but the model has 31 embeddings"):
        made.train()


@pytest.mark.parametrize("way", ["enlarged later", "a placeholder for an image"])
def test_tokens_of_an_enlarged_model_and_placeholders_are_no_error(tmp_path, way):
    made = trainer(tmp_path)
    use_mixture(made, sources(), Static())
    batches, inputs = made.get_train_dataloader(), {"input_ids": torch.full((2, 8), 40)}
    batch = next(iter(batches.loader))
    with pytest.raises(InputError, match="a source has the token 40"):  # two rows are not those of the batch
        batches._check_tokens(batch, inputs)
    if way == "enlarged later":
        made.model.resize_token_embeddings(41)
    else:
        made.model.config.image_token_id = 40
    batches._check_tokens(batch, inputs)


@pytest.mark.parametrize(("rows", "found"), [([{"text": "one"}] * 9, "rows with 'text'"), (["one", "two"], "texts")])
def test_texts_are_refused_before_the_first_step(tmp_path, rows, found):
    given = {**sources(), "b": AnyRows(rows)}
    with pytest.raises(InputError, match=f"the source 'b' should have rows of tokens, found {found}"):
        use_mixture(trainer(tmp_path), given, Static())


def test_a_parameter_that_no_layer_covers_is_named(tmp_path):
    made = model()
    made.extra = torch.nn.Parameter(torch.zeros(3))
    with pytest.raises(InputError, match="'extra'"):
        use_mixture(trainer(tmp_path, made=made), sources(), PiKE())
    use_mixture(trainer(tmp_path, made=made), sources(), Static())


def test_a_second_call_and_another_runs_log_are_refused(tmp_path):
    new, _, _ = run(tmp_path, Static(), log=tmp_path / "log.jsonl", arguments={"max_steps": 2})
    with pytest.raises(InputError, match="second call"):
        use_mixture(new, sources(), Static())
    for strategy in (Static(), Static([0.5, 0.25, 0.25])):  # the same run, which has a checkpoint; another one
        other = trainer(tmp_path if strategy == Static() else tmp_path / "other")
        use_mixture(other, sources(), strategy, log=tmp_path / "log.jsonl")
        with pytest.raises(InputError, match=r"log\.jsonl holds the decisions of an earlier run; .* remove the file"):
            other.train()


def test_a_training_that_left_no_checkpoint_begins_again_and_its_decisions_are_kept(tmp_path, caplog):
    log, begun = tmp_path / "log.jsonl", {"max_steps": STEPS, "save_strategy": "no"}
    kept = [tmp_path / f"log.before-{n}.jsonl" for n in (1, 2)]
    for stop in (2, 4, None):
        run(tmp_path, Everything(), log=log, arguments=begun, stop=stop)
        rest(log)
    assert [len(decisions(path)) for path in (*kept, log)] == [1, 2, STEPS // 2]
    assert decisions(log)[:2] == decisions(kept[1])
    assert f"left no checkpoint in {tmp_path}: they are in {kept[1]} now" in caplog.text
    log.write_text(log.read_text()[:40])  # what a kill while the first line was written leaves
    rest(log)
    with pytest.raises(InputError, match="remove the file to begin again"):
        run(tmp_path, Everything(), log=log, arguments=begun)


def rest(log):
    """Let the log look as if nobody had written it for eleven minutes."""
    os.utime(log, (0, time.time() - 11 * 60))


def test_a_log_that_may_be_another_trainings_stays_where_it_is(tmp_path):
    begun = {"max_steps": 2, "save_strategy": "no"}
    for log, said in ((tmp_path / "log.jsonl", "remove the file"), (tmp_path / "out" / "log.jsonl", "the last 10 min")):
        run(tmp_path / "out", Everything(), log=log, arguments=begun)
        if log.parent == tmp_path:  # a training with checkpoints elsewhere may go on with it, however long it rests
            rest(log)
        before = log.read_text()
        with pytest.raises(InputError, match=rf"log\.jsonl holds the decisions of an earlier run; .*{said}"):
            run(tmp_path / "out", Everything(), log=log, arguments=begun)
        assert log.read_text() == before
        assert not list(tmp_path.rglob("*before*"))


def test_parameters_that_are_saved_under_another_name_are_there_after_a_resume(tmp_path):
    """Transformers 5 saves GPT-NeoX's head as embed_out, and its Trainer does not rename it back."""
    steps = {"max_steps": 4}
    whole, *_ = run(tmp_path / "whole", Static(), made=model("GPTNeoX"), arguments=steps)
    checkpoint = tmp_path / "whole" / "checkpoint-3"
    again, *_ = run(tmp_path / "again", Static(), checkpoint, made=model("GPTNeoX"), arguments=steps)
    for one, other in zip(whole.model.parameters(), again.model.parameters(), strict=True):
        assert torch.equal(one, other)
    again.state.best_model_checkpoint = str(checkpoint)
    again._load_best_model()
    for name, value in transformers.AutoModelForCausalLM.from_pretrained(checkpoint).state_dict().items():
        assert torch.equal(again.model.state_dict()[name], value), name


def test_a_checkpoint_of_another_training_is_refused(tmp_path):
    run(tmp_path, Static(), arguments={"max_steps": 3})
    checkpoint = tmp_path / "checkpoint-3"
    with pytest.raises(InputError, match="strategy"):
        run(tmp_path / "other", Static([0.5, 0.25, 0.25]), checkpoint, arguments={"max_steps": 4})
    state = json.loads((checkpoint / "trainer_state.json").read_text())
    del state["stateful_callbacks"]["TrainerMixture"]["attributes"]["observing"]
    shutil.copytree(checkpoint, tmp_path / "checkpoint-1003")
    (tmp_path / "checkpoint-1003" / "trainer_state.json").write_text(json.dumps(state))
    with pytest.raises(InputError, match="none of its observations"):
        run(tmp_path / "other", Static(), tmp_path / "checkpoint-1003", arguments={"max_steps": 4})


@pytest.mark.parametrize("kind", ["GPT2", "GPTNeoX"])
def test_losses_need_no_second_cross_entropy(tmp_path, monkeypatch, kind):
    monkeypatch.setattr(trainer_mixture, "token_nats", None)
    _, callback, steps = run(tmp_path / "kept", Everything(), made=model(kind), accumulate=2)
    monkeypatch.undo()
    monkeypatch.setattr(trainer_mixture, "kept_nats", lambda *_: None)
    _, other, again = run(tmp_path / "anew", Everything(), made=model(kind), accumulate=2)
    assert callback.observation.to_json() == other.observation.to_json()
    assert [line.get("loss") for line in steps.logs] == [line.get("loss") for line in again.logs]


def test_another_object_is_no_trainer():
    with pytest.raises(TypeError, match=r"should be a transformers.Trainer, found NoneType; make the Trainer first"):
        use_mixture(None, {"a": [1]}, [1.0])
