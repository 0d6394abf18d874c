"""Targets in a Trainer: inner products of gradients by hand, exact resume, the same numbers, refusals."""

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the Trainer needs torch")

from trainers import NAMES, STEPS, TARGETS, decisions, held_out, model, run, sources, trainer  # noqa: E402

from mixwright import GRAPE, DoGE, InputError, PiKE  # noqa: E402
from mixwright.integrations import targets as in_trainers  # noqa: E402
from mixwright.integrations.transformers import use_mixture  # noqa: E402


def by_hand(net, rows):
    """Return (mean loss per token, its gradient) of rows, one by one and without padding."""
    nats, tokens = 0.0, 0
    for row in rows:
        ids = torch.tensor(row["input_ids"][row["attention_mask"] > 0])
        logs = torch.log_softmax(net(input_ids=ids[None, :-1]).logits[0], -1)
        nats, tokens = nats - logs[torch.arange(len(ids) - 1), ids[1:]].sum(), tokens + len(ids) - 1
    net.zero_grad()
    (nats / tokens).backward()
    return float(nats.detach()) / tokens, torch.cat([p.grad.flatten() for p in net.parameters()]).double().numpy()


@pytest.mark.parametrize("strategy", [GRAPE(), DoGE(objective="targets")], ids=["GRAPE", "DoGE"])
def test_inner_products_are_those_of_plain_gradients(tmp_path, strategy):
    held, arguments = held_out(), {"learning_rate": 0.0, "per_device_eval_batch_size": 4}
    arguments["eval_dataset"] = held
    _, callback, _ = run(tmp_path, strategy, made=model(double=True), targets=TARGETS, arguments=arguments)
    net = model(double=True).eval()
    large = [held["prose"][i] for i in np.linspace(0, 79, 64).round().astype(int)]  # 64 rows from all over it
    found = {**{name: by_hand(net, held[name]) for name in (*NAMES, "law")}, "prose": by_hand(net, large)}
    expected = np.array([[found[name][1] @ found[target][1] for target in TARGETS] for name in NAMES])
    np.testing.assert_allclose(callback.observation.target_gram, expected, rtol=1e-6)
    if "target_loss" in strategy.needs:
        np.testing.assert_allclose(callback.observation.target_loss, [found[t][0] for t in TARGETS], rtol=1e-6)


def test_measuring_leaves_the_training_as_it_is(tmp_path):
    def trained(name, **options):
        arguments = {"eval_dataset": held_out(), "save_strategy": "no"}
        options = {"lag": 100, **options}  # its weights never act
        return run(tmp_path / name, made=model(), arguments=arguments, **options)[0].model.state_dict()

    with_targets = trained("with", strategy=GRAPE(), targets=["law"])
    without = trained("without", strategy=PiKE(rule="restoring"))
    for name, value in with_targets.items():
        torch.testing.assert_close(value, without[name], rtol=0, atol=0)


def test_a_target_draws_weight_to_the_source_that_is_like_it(tmp_path):
    options = {"targets": "law", "observe_every": 1, "lag": 1, "log": tmp_path / "log.jsonl"}
    arguments = {"eval_dataset": held_out(), "learning_rate": 3e-2}  # the rows of "law" have the words of "a"
    run(tmp_path / "r", DoGE(objective="targets", learning_rate=0.1), arguments=arguments, **options)
    products = np.array([line["observation"]["target_gram"] for line in decisions(tmp_path / "log.jsonl")])
    assert products.shape == (STEPS, 3, 1)
    assert (products[-3:, 0] > products[-3:, 1:].max(1)).all()


def test_stopped_and_resumed_the_observations_are_the_same(tmp_path):
    options = {"targets": TARGETS, "observe_every": 2, "lag": 1}
    arguments = {"eval_dataset": held_out()}
    whole, seen, _ = run(tmp_path / "whole", GRAPE(), arguments=arguments, **options)
    run(tmp_path / "part", GRAPE(), arguments=arguments, stop=4, **options)
    again, resumed, _ = run(
        tmp_path / "part", GRAPE(), resume=tmp_path / "part" / "checkpoint-3", arguments=arguments, **options
    )
    np.testing.assert_array_equal(resumed.observation.target_gram, seen.observation.target_gram)
    for name, value in whole.model.state_dict().items():
        torch.testing.assert_close(again.model.state_dict()[name], value, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("strategy", "options", "change", "message"),
    [
        (GRAPE(), {}, {}, "GRAPE needs target_gram, target_loss .*use_mixture with targets="),
        (PiKE(), {"targets": "law"}, {}, r"targets should go with a strategy that reads target_gram .* such as GRAPE"),
        (GRAPE(), {"targets": "poems"}, {}, r"with each source and target, found none of 'poems'; give held-out rows"),
        (GRAPE(), {"targets": "law"}, {"a": None}, "with each source and target, found none of 'a'"),
        (GRAPE(), {"targets": "law"}, {"law": iter(())}, r"eval_dataset\['law'\] should have rows and a length"),
        (GRAPE(), {"targets": ["law", "law"]}, {}, "law"),
    ],
)
def test_what_does_not_fit_is_refused_before_the_first_step(tmp_path, strategy, options, change, message):
    held = {name: rows for name, rows in (held_out() | change).items() if rows is not None}
    with pytest.raises(InputError, match=message):
        use_mixture(trainer(tmp_path, eval_dataset=held), sources(), strategy, **options)


def test_gradients_in_parts_are_refused(tmp_path):
    made = trainer(tmp_path, eval_dataset=held_out())
    made.is_fsdp_enabled = True
    with pytest.raises(InputError, match="whole gradients on each rank, found FSDP or DeepSpeed; use DDP"):
        in_trainers.target_measures(made, "law", NAMES, GRAPE())


@pytest.mark.parametrize("name", ["law", "a"])
def test_rows_without_labels_to_predict_are_refused_before_the_first_step(tmp_path, name):
    held = held_out() | {name: [{**row, "labels": np.full(8, -100)} for row in held_out()[name]]}
    with pytest.raises(InputError, match=rf"eval_dataset\['{name}'\] should have tokens to predict"):
        use_mixture(trainer(tmp_path, eval_dataset=held), sources(), GRAPE(), targets="law")
