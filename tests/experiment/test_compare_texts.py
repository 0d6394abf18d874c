"""A comparison of texts from beginning to end."""

import json
import shutil
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

from comparing import FIRST, SECOND, SMALL, THIRD, make, rows_of
from golden_files import check_run
from tiny import write_jsonl

from mixwright import strategies
from mixwright.decisions import read_decisions
from mixwright.errors import InputError
from mixwright.experiment import drive
from mixwright.experiment import make as configured
from mixwright.experiment.core.arms import MEASURED
from mixwright.experiment.text import compare_work
from mixwright.experiment.text.compare import TextComparisonRun
from mixwright.experiment.text.comparing import training as arm_training
from mixwright.experiment.text.comparing.training import check_begun
from mixwright.mixture_file import MixtureFile
from mixwright.strategies import PiKE, Temperature


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    folder = tmp_path_factory.mktemp("comparison")
    summary = drive(make(folder), folder / "run")
    return folder, summary


def trainings(run: Path) -> list[dict]:
    return [json.loads(p.read_text())["result"] for p in sorted(run.glob("trainings/*/done.json"))]


def test_keys_and_fingerprints_are_the_golden_ones(done):
    check_run("compare-text", done[0] / "run", done[0])


def test_every_arm_is_measured_on_every_target_and_source(done):
    folder, summary = done
    rows = rows_of(folder / "run")
    assert {(r["arm"], r["seed"]) for r in rows} == {(a, s) for a in SMALL["arms"] for s in "01"}
    assert {r["measured_on"] for r in rows if r["quantity"] == "held-out loss"} == {
        "target mix",
        "target quiz",
        *(f"source {name}" for name in (FIRST, SECOND, THIRD)),
    }
    accuracy = [float(r["value"]) for r in rows if r["quantity"] == "accuracy"]
    assert accuracy
    assert all(0 <= value <= 1 for value in accuracy)
    for result in trainings(folder / "run"):
        right = result["questions"]["accuracy"]["quiz"]  # of each: those that are in a source are counted without it
        assert set(right) <= {0.0, 1.0}
        assert len(right) == len(result["documents"]["quiz"][0])
        assert np.mean(right) in accuracy
    measures = {(m["name"], m["quantity"]): m for m in summary["measures"]}
    own = [r for r in rows if (r["arm"], r["mixture_for"], r["measured_on"]) == ("mixmin", "quiz", "target quiz")]
    own = [float(r["value"]) for r in own if r["quantity"] == "held-out loss"]
    assert measures["quiz", "held-out loss"]["values"]["mixmin"] == own
    answers = measures["quiz", "answer loss"]
    assert answers["unit"] == "nats per byte"
    own = [r for r in rows if (r["arm"], r["mixture_for"], r["measured_on"]) == ("mixmin", "quiz", "target quiz")]
    own = [float(r["value"]) for r in own if r["quantity"] == "answer loss"]
    assert answers["values"]["mixmin"] == own
    assert answers["questions"]["mixmin"]["value"] == pytest.approx(np.mean(own))
    assert ("mix", "answer loss") not in measures
    assert any("quiz: " in note and "held-out questions are few" in note for note in summary["notes"])
    assert (folder / "run" / "report.html").stat().st_size > 10_000
    assert "Over questions" in (folder / "run" / "report.html").read_text(encoding="utf-8")


def test_loss_and_accuracy_without_the_rows_that_are_in_a_source() -> None:
    run = object.__new__(TextComparisonRun)
    run.contamination = SimpleNamespace(clean=lambda target: np.array([True, False, True, True]))  # type: ignore
    documents = {"quiz": [[4.0, 90.0, 2.0, 6.0], [1, 1, 2, 3]]}
    values, own = (
        {"held-out loss": {"quiz": 9.0}},
        {"accuracy": [1.0, 0.0, None, 0.0], "answer loss": [1.0, 9.0, 3.0, 5.0]},
    )
    answers = {quantity: {"quiz": each} for quantity, each in own.items()}
    found = run._with_clean({"documents": documents, "questions": answers, "values": values})
    assert found["clean"] == {"held-out loss": {"quiz": 2.0}, "accuracy": {"quiz": 0.5}, "answer loss": {"quiz": 3.0}}
    assert found["values"] == {**values, "accuracy": {"quiz": 1 / 3}, "answer loss": {"quiz": 4.5}}
    assert run._with_clean({"documents": documents, "values": values})["clean"] == {"held-out loss": {"quiz": 2.0}}


def test_trainings_of_a_former_version_are_measured_again_not_trained(done, tmp_path, monkeypatch):
    folder, summary = done
    shutil.copytree(folder / "run", tmp_path / "run")
    for path in (tmp_path / "run").glob("trainings/*/done.json"):
        record = json.loads(path.read_text())
        record["result"]["right"] = record["result"].pop("questions")["accuracy"]
        path.write_text(json.dumps(record))
    monkeypatch.setattr(arm_training, "train", None)
    again = drive(make(folder), tmp_path / "run")
    assert again["measures"] == summary["measures"]


def test_budgets_are_equal_with_what_the_search_cost_and_counted(done):
    folder, summary = done
    step, budget = 4 * 32, SMALL["final"]["tokens"]
    arms = {arm["name"]: arm for arm in summary["arms"]}
    assert arms["uniform"]["search_cost"] == 0
    assert arms["mixmin"]["search_cost"] > 0
    for arm in arms.values():
        assert budget - step < arm["total_cost"] <= budget
    for result in trainings(folder / "run"):
        assert result["tokens"] == result["steps"] * step
    for path in (folder / "run" / "trainings").glob("*/metrics.jsonl"):
        steps = json.loads((path.parent / "done.json").read_text())["result"]["steps"]
        assert len(path.read_text().splitlines()) == steps
        ledger = json.loads((path.parent / "result.json").read_text())["ledger"]
        assert sum(line["rows"] for line in ledger["sources"]) == 4 * steps


def test_arms_of_a_seed_begin_alike_and_the_search_differs_by_seed(done):
    folder, summary = done
    first: dict = {}
    for path in (folder / "run" / "trainings").glob("*/begin.json"):
        inputs = json.loads(path.read_text())["inputs"]
        first.setdefault(inputs["settings"]["seed"], []).append(inputs)
    assert set(first) == {0, 1}
    mixmin = next(arm for arm in summary["arms"] if arm["name"] == "mixmin")
    weights = mixmin["mixtures"][0]["weights"]
    assert any(values[0] != values[1] for values in weights.values())
    assert sum(values[0] for values in weights.values()) == pytest.approx(1)


def test_again_gives_the_same_and_trains_nothing(done, monkeypatch):
    folder, summary = done
    csv, page = (folder / "run" / "cells.csv").read_bytes(), (folder / "run" / "report.html").read_bytes()
    monkeypatch.setattr(arm_training, "train", None)
    assert {**drive(make(folder), folder / "run"), "created": ""} == {**summary, "created": ""}
    assert (folder / "run" / "cells.csv").read_bytes() == csv
    assert (folder / "run" / "report.html").read_bytes() == page


def test_arms_and_seeds_can_be_added_and_what_is_trained_is_kept(done, tmp_path, monkeypatch):
    folder, summary = done
    shutil.copytree(folder / "run", tmp_path / "run")
    made = MixtureFile([THIRD, FIRST, SECOND], [0.2, 0.5, 0.3])
    made.write(folder / "mine.json")
    trained = []
    train = arm_training.train
    monkeypatch.setattr(arm_training, "train", lambda *a, **k: trained.append(a[2]) or train(*a, **k))
    schedule = {"name": "Schedule", "weights": {"0": {FIRST: 1, SECOND: 0, THIRD: 0}, "9": [0, 0, 1]}}
    new = [
        "mine.json",
        {"name": "same", "weights": {FIRST: 0.5, SECOND: 0.3, THIRD: 0.2}},
        {"name": "turn", "strategy": schedule},
        "worst_regret",
    ]
    added = drive(make(folder, arms=[*SMALL["arms"], *new]), tmp_path / "run")
    assert len(trained) == 2 + 2 + 2  # mine and same are one training; the schedule; worst_regret, where it is new
    values = {m["name"]: m["values"] for m in added["measures"] if m["quantity"] == "held-out loss"}
    assert values["mix"]["mine"] == values["mix"]["same"]
    before = {m["name"]: m["values"] for m in summary["measures"] if m["quantity"] == "held-out loss"}
    assert values["mix"]["mixmin"] == before["mix"]["mixmin"]
    turn = next(arm for arm in added["arms"] if arm["name"] == "turn")
    assert turn["mixtures"][0]["start"][FIRST] == [1 / 3, 1 / 3]
    assert turn["mixtures"][0]["weights"][THIRD] == [1.0, 1.0]
    steps = 5000 // 128
    assert turn["mixtures"][0]["epochs"][FIRST][0] > 0
    assert turn["steps"] == steps


def test_an_arm_that_is_not_charged_trains_as_long_as_the_others(tmp_path):
    config = make(
        tmp_path, arms=["uniform", {"search": "mixmin", "charge": False}], seeds=1, targets={"mix": "target.jsonl"}
    )
    summary = drive(config, tmp_path / "run")
    arms = {arm["name"]: arm for arm in summary["arms"]}
    assert arms["mixmin"]["amount"] == arms["uniform"]["amount"]
    assert arms["mixmin"]["total_cost"] > arms["uniform"]["total_cost"]
    assert summary["budget"] == {"amount": 5000, "charged": False}
    assert {d["word"] for m in summary["measures"] for d in m["differences"]} == {"unverified"}  # one seed


def test_without_targets_sources_are_judged_and_strategies_are_told_losses(tmp_path):
    pike = {
        "name": "told",
        "strategy": {"name": "Smooth", "rate": 0.5, "strategy": {"name": "Temperature", "temperature": 2}},
    }
    config = make(tmp_path, targets={}, arms=["natural", pike], over="natural")
    summary = drive(config, tmp_path / "run")
    assert [m["name"] for m in summary["measures"] if m["headline"]] == ["average of sources"]
    assert summary["curves"][0]["target"] == "average of sources"
    assert [s["arm"] for s in summary["steps_to_baseline"]] == ["natural", "told"]


def test_one_limit_of_epochs_for_all_arms(tmp_path):
    only = {"weights": {FIRST: 1.0}}
    config = make(tmp_path, arms=["uniform", only], seeds=1, targets={"mix": "target.jsonl"})
    free = drive(config, tmp_path / "free")
    final = SMALL["final"] | {"max_epochs": 0.5}
    config = make(tmp_path, arms=["uniform", only], seeds=1, targets={"mix": "target.jsonl"}, final=final)
    with pytest.raises(InputError, match=r"max_epochs: .* the arm weights uses .* within max_epochs 0\.5"):
        drive(config, tmp_path / "run")
    assert not (tmp_path / "run" / "trainings").exists()
    assert max(arm["most_epochs"] for arm in free["arms"]) > 0.5


BAD = [
    ({"arms": ["uniform", {"weights": {"nobody": 1.0}}]}, r"arms\.1.* should name the sources .*, found 'nobody'"),
    ({"arms": ["uniform", {"weights": {FIRST: 0.6}}]}, r"arms\.1.* should sum to 1, found 0\.6"),
    ({"arms": ["uniform", "other.json"]}, r"arms\.1.*other\.json should name the sources .*, found 'web'"),
    ({"arms": ["uniform", "none.json"]}, r"arms\.1.*none\.json"),
    ({"arms": ["uniform", "pikee"]}, r"arms\.1.*no arm 'pikee'; did you mean 'PiKE'"),
    ({"arms": ["mixmin"], "proxy": {"tokens": 90_000}}, r"arms\.0.*has 5,000 tokens, but finding its mixture costs"),
    ({"arms": ["uniform", {"search": "mixmin", "settings": {"caps": {"nobody": 0.5}}}]}, r"arms\.1.*nobody"),
    ({"final": {**SMALL["final"], "tokens": 10}}, "should be at least 128, one step"),
]


@pytest.mark.parametrize(("change", "message"), BAD)
def test_bad_arms_are_said_before_anything_is_trained(tmp_path, change, message, monkeypatch):
    MixtureFile(["web"], [1.0]).write(tmp_path / "other.json")
    monkeypatch.setattr(arm_training, "train", None)
    monkeypatch.setattr(compare_work, "train_proxy", None)
    with pytest.raises(InputError, match=message):
        drive(make(tmp_path, **change), tmp_path / "run")
    assert not (tmp_path / "run" / "proxies").exists()
    assert not (tmp_path / "run" / "summary.json").exists()


class Excess(Temperature):
    """What no training of texts can feed: there is no reference model."""

    needs = frozenset({"excess_loss"})


def test_a_strategy_that_cannot_be_fed_is_refused_before_anything_is_trained(tmp_path, monkeypatch):
    monkeypatch.setattr(strategies, "Excess", Excess, raising=False)
    monkeypatch.setattr(strategies, "__all__", [*strategies.__all__, "Excess"])
    monkeypatch.setattr(arm_training, "train", None)
    arm = {"strategy": {"name": "Excess", "temperature": 2}}
    with pytest.raises(InputError, match=r"arms\.1.*Excess needs excess_loss in each observation"):
        drive(make(tmp_path, arms=["uniform", arm]), tmp_path / "run")
    assert not (tmp_path / "run" / "summary.json").exists()


def test_strategies_that_read_gradients_are_arms(tmp_path):
    arms = [
        "uniform",
        {"name": "restoring", "strategy": {"name": "PiKE", "rule": "restoring"}},
        {"name": "printed", "strategy": {"name": "PiKE", "rule": "exponentiated"}},
        {"name": "balanced", "strategy": {"name": "BalancedPiKE", "tau": 3}},
    ]
    final = {**SMALL["final"], "tokens": 3072, "observe_every": 4, "lag": 2}  # 24 steps
    summary = drive(make(tmp_path, targets={}, arms=arms, seeds=1, final=final), tmp_path / "run")
    mixtures = {arm["name"]: arm["mixtures"][0]["weights"] for arm in summary["arms"]}
    assert len({json.dumps(weights) for weights in mixtures.values()}) == 4
    logs = [read_decisions(path) for path in (tmp_path / "run" / "trainings").glob("*/decisions.jsonl")]
    assert len(logs) == 3
    assert all({"grad_sq_norm", "grad_variance", "gram"} <= log.given for log in logs)


def test_a_folder_of_another_configuration_is_refused_and_left_as_it_was(done, tmp_path):
    folder, _ = done
    before = {p: p.read_bytes() for p in (folder / "run").rglob("*") if p.is_file() and p.parent.name != ".head"}
    with pytest.raises(InputError, match=r"comparison of another .* \(proxy.tokens: 600 there, 700 here\)"):
        drive(make(folder, proxy={"tokens": 700}), folder / "run")
    assert before == {
        p: p.read_bytes() for p in (folder / "run").rglob("*") if p.is_file() and p.parent.name != ".head"
    }
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match="should be a run or an empty folder"):
        drive(make(folder), tmp_path)


def test_two_arms_with_one_strategy_are_one_training(tmp_path):
    turn = {"name": "Schedule", "weights": {"0": [1, 0, 0], "9": [0, 0, 1]}}
    arms = ["uniform", {"name": "a", "strategy": turn}, {"name": "b", "strategy": turn}]
    config = make(tmp_path, arms=arms, seeds=1, targets={"mix": "target.jsonl"})
    values = drive(config, tmp_path / "run")["measures"][0]["values"]
    assert values["a"] == values["b"] != values["uniform"]
    assert len(trainings(tmp_path / "run")) == 2


def test_other_choices_of_a_question_are_measured_anew(tmp_path):
    quiz = {"path": "questions.jsonl", "kind": "questions", "score": "joint"}
    config = make(tmp_path, arms=["uniform"], seeds=1, targets={"quiz": quiz})
    drive(config, tmp_path / "run")
    rows = [json.loads(line) for line in (tmp_path / "questions.jsonl").read_text().splitlines()]
    for row in rows:
        row["choices"] = [row["choices"][0], "x y"]
    (tmp_path / "questions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    drive(config, tmp_path / "run")
    assert len(trainings(tmp_path / "run")) == 2


def test_a_choice_longer_than_the_context_is_said_before_training(tmp_path, monkeypatch):
    config = make(tmp_path, arms=["uniform"], seeds=1)
    rows = [json.loads(line) for line in (tmp_path / "questions.jsonl").read_text().splitlines()]
    long = [row | {"choices": [row["choices"][0], "x " * 30]} for row in rows]
    (tmp_path / "questions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in long))
    monkeypatch.setattr(arm_training, "train", None)
    with pytest.raises(InputError, match=r"targets\.quiz: a choice .* at most 32 tokens .*, found 61 in 'x x"):
        drive(config, tmp_path / "run")


def test_a_strategy_is_told_held_out_losses_of_sources_also_where_they_are_judged(tmp_path):
    arm = {"name": "follows", "strategy": {"name": "GroupDRO", "learning_rate": 0.1, "loss": "eval_loss"}}
    drive(make(tmp_path, targets={}, arms=["uniform", arm], seeds=1, held_out=0.4), tmp_path / "run")
    (log,) = [read_decisions(p.parent) for p in (tmp_path / "run").glob("trainings/*/decisions.jsonl")]
    for training in trainings(tmp_path / "run"):
        if training["start"]:
            told, judged = log.observations[-1].eval_loss.tolist(), list(training["source_loss"].values())
            assert np.isfinite(told).all()
            assert not set(told) & set(judged)  # of which documents: test_told.py
    assert sorted(MEASURED) == ["eval_loss"]  # of targets nothing


def test_averaged_weights_are_measured_and_the_trainings_are_the_same(tmp_path, monkeypatch):
    small = {"arms": ["uniform", "natural"], "seeds": 1, "targets": {"mix": "target.jsonl"}}
    final, found, metrics = {**SMALL["final"], "tokens": 1300}, [], []  # 10 steps
    for name, own in (("plain", final), ("kept", {**final, "ema": 0.3})):
        found.append(drive(make(tmp_path, **small, final=own), tmp_path / name))
        metrics.append(sorted(p.read_bytes() for p in (tmp_path / name).glob("trainings/*/metrics.jsonl")))
    assert metrics[0] == metrics[1]
    losses = [summary["measures"][0]["values"] for summary in found]
    assert all(losses[0][arm] != losses[1][arm] for arm in ("uniform", "natural"))
    assert [sum("averaged weights" in note for note in summary["notes"]) for summary in found] == [0, 1]
    config = make(tmp_path, **small, final={**final, "ema": 0.3})
    assert arm_training.training_settings(config, 7).ema == 0.3
    assert arm_training.settings_for(config, 600, proxy=True).ema is None
    with pytest.raises(InputError, match=r"^key final\.ema: ema should be over at least 2 steps, found 0\.1 of 10;"):
        make(tmp_path, **small, final={**final, "ema": 0.1})
    arms = ["uniform", {"search": "mixmin", "settings": {"shrinkage": 0.05}}]  # the search leaves it fewer steps
    monkeypatch.setattr(arm_training, "train", None)
    monkeypatch.setattr("mixwright.experiment.text.proxies.neural.train", None)
    with pytest.raises(InputError, match=r"^key final\.ema: ema should be over at least 2 steps, found 0\.06 of [12]"):
        drive(make(tmp_path, **{**small, "arms": arms}, final={**final, "tokens": 5000, "ema": 0.06}), tmp_path / "bad")


def test_a_source_that_changed_is_trained_anew(tmp_path):
    config = make(tmp_path, arms=["uniform", "natural"], seeds=1, targets={"mix": "target.jsonl"})
    first = drive(config, tmp_path / "run")
    write_jsonl(tmp_path / "source0.jsonl", ["alpha beta gamma " * 12] * 1 + [f"delta {i} " * 20 for i in range(40)])
    second = drive(config, tmp_path / "run")
    values = [next(m for m in s["measures"] if m["name"] == "mix")["values"]["uniform"][0] for s in (first, second)]
    assert values[0] != values[1]
    assert np.isfinite(values).all()


def test_documents_that_are_in_a_source_do_not_decide(tmp_path):
    make(tmp_path)
    rows = [json.loads(line)["text"] for line in (tmp_path / "target.jsonl").read_text().splitlines()]
    given = {"targets": {"mix": "target.jsonl"}, "arms": ["uniform", {"name": "mine", "weights": {FIRST: 1.0}}]}
    config = configured("compare", SMALL | given | {"held_out": 0.01}, folder=tmp_path)
    for shared, counted in ((20, "are also in source"), (len(rows), "are in none; a verdict needs at least 10")):
        others = [f"{i} gamma delta beta " * 20 for i in range(9)]
        write_jsonl(tmp_path / "source0.jsonl", rows[:shared] + others)
        summary = drive(config, tmp_path / f"run{shared}")
        (note,) = [n for n in summary["notes"] if "held-out documents of the target mix are also" in n]
        (measure,) = [m for m in summary["measures"] if m["headline"]]
        (found,) = trainings_of(tmp_path / f"run{shared}", measure["values"])
        nats, tokens = (np.array(part) for part in found["documents"]["mix"])
        assert nats.sum() / tokens.sum() == measure["values"]["uniform"][0]
        if shared == len(rows):
            assert counted in measure["differences"][0]["verdict"]
            assert measure["differences"][0]["word"] == "unverified"
        assert counted in note + measure["differences"][0]["verdict"]


def trainings_of(run, values):
    """Return the result of the training of uniform with the first seed."""
    return [r for r in trainings(run) if r["values"]["held-out loss"]["mix"] == values["uniform"][0]]


def test_an_arm_may_observe_more_often_and_in_another_metric(tmp_path, monkeypatch):
    pike = {"name": "PiKE", "rule": "restoring", "wrap": ["Guard"]}
    arms = [
        "uniform",
        {"name": "PiKE", "strategy": pike},
        {"name": "often", "strategy": pike, "observe_every": 4},
        {"name": "scaled", "strategy": pike, "statistics_metric": "adam"},
        {"name": "as in final", "strategy": pike, "observe_every": 10},
    ]
    final = {**SMALL["final"], "tokens": 2500, "statistics_steps": 2}
    more = {"arms": arms, "targets": {}, "seeds": 1, "final": final}
    summary = drive(make(tmp_path, **more), tmp_path / "run")
    logs = [read_decisions(path) for path in (tmp_path / "run" / "trainings").glob("*/decisions.jsonl")]
    assert sorted(len(log.observations) for log in logs) == [
        1,
        1,
        4,
    ]  # in 20 steps, not at the end; the last arm is the second
    starts = {round(float(log.observations[0].grad_sq_norm.sum()), 9) for log in logs if len(log.observations) == 1}
    assert len(starts) == 2  # plain, and Adam's
    weights = {arm["name"]: arm["mixtures"][0]["weights"] for arm in summary["arms"]}
    assert weights["as in final"] == weights["PiKE"]
    assert weights["scaled"] != weights["PiKE"] != weights["often"]
    monkeypatch.setattr(arm_training, "train", None)
    assert drive(make(tmp_path, **more), tmp_path / "run")["measures"] == summary["measures"]
    for path in (tmp_path / "run" / "trainings").glob("*/begin.json"):
        record = json.loads(path.read_text())
        inputs = record["inputs"]
        inputs.pop("revisions", None)
        if inputs["settings"].get("statistics_metric") == "adam":  # only the metric changed
            inputs["revisions"] = {"PiKE": 2}
        path.write_text(json.dumps(record))
    for kept, named in ((arms, "PiKE"), ([arms[0], arms[3]], "Adam's metric")):
        said = rf"arms\.1: the arm \w+ in .* was begun with an earlier rule of {named} than this version's; begin in a"
        with pytest.raises(InputError, match=said):
            drive(make(tmp_path, **{**more, "arms": kept, "seeds": 2}), tmp_path / "run")
    drive(make(tmp_path, **{**more, "arms": arms[:1]}), tmp_path / "run")  # the others go on


def test_an_arm_begun_with_what_pike_by_name_meant_before_is_refused(tmp_path):
    config = make(tmp_path, targets={}, arms=["uniform", {"strategy": {"name": "PiKE", "floor": 0.05}}])
    stage = tmp_path / "run" / "trainings" / "one"
    stage.mkdir(parents=True)
    for before, refused in ((PiKE(floor=0.1), False), (PiKE(floor=0.05), True)):
        (stage / "begin.json").write_text(json.dumps({"inputs": {"strategy": [repr(before), "uniform"]}}))
        said = r"arms\.1: the arm PiKE in .*run was begun with PiKE\(.*: write 'rule: exponentiated' beside the name"
        with pytest.raises(InputError, match=said) if refused else nullcontext():
            check_begun(config, tmp_path / "run")


@pytest.mark.parametrize("key", [{"observe_every": 4}, {"statistics_metric": "adam"}])
def test_only_a_strategy_observes(key, tmp_path):
    (name,) = key
    with pytest.raises(
        InputError, match=rf"arms\.0.*{name} belongs to a strategy; remove it \(final: {name} is for all"
    ):
        make(tmp_path, arms=[{"baseline": "uniform", **key}])
