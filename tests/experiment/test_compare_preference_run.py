"""A comparison on preference pairs: arms, costs, resume, later arms, and what does not fit."""

import csv
import json
import random
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml

pytest.importorskip("torch")
pytest.importorskip("transformers")
pytest.importorskip("peft")

sys.path.insert(0, str(Path(__file__).parents[1] / "preference"))

from golden_files import check_run
from tiny_pairs import LETTERS, TRAINING, write_all

from mixwright.errors import InputError
from mixwright.experiment import drive
from mixwright.experiment import make as configured
from mixwright.experiment.preference.compare_config import ComparePreferenceConfig
from mixwright.experiment.run import json_schema

AMAR = {"strategy": {"name": "AMAR", "learning_rate": 0.5}}
AMAS = {"strategy": {"name": "AMAS", "learning_rate": 0.5}}
ARMS = ["pooled", "uniform", "normalised", {"specialist": "all"}, {"merge": "ties"}, {"merge": "dare"}, AMAR, AMAS]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pairs")
    values = write_all(folder)
    del values["strategy"]
    return folder, values | {"kind": "preference", "arms": ARMS, "seeds": 2, "compute": {"cores": 1}}


def make(data, **changes) -> ComparePreferenceConfig:
    whole = {key: value for key, value in (data[1] | changes).items() if value is not None}
    config = configured("compare", whole, folder=data[0])
    assert isinstance(config, ComparePreferenceConfig)
    return config


@pytest.fixture(scope="module")
def done(data, tmp_path_factory):
    run = tmp_path_factory.mktemp("runs") / "run"
    return run, drive(make(data), run)


def rows_of(run: Path) -> list[dict[str, str]]:
    with open(run / "cells.csv", encoding="utf-8", newline="") as handle:
        return list(csv.DictReader(handle))


def test_keys_and_fingerprints_are_the_golden_ones(done, data) -> None:
    check_run("compare-preference", done[0], data[0])


def test_every_arm_is_measured_on_every_source(done) -> None:
    run, summary = done
    names = [arm["name"] for arm in summary["arms"]]
    assert names == ["pooled", "uniform", "normalised", *(f"specialist {n}" for n in LETTERS), "merge ties",
                     "merge dare", "AMAR", "AMAS"]  # fmt: skip
    measures = {(m["quantity"], m["name"]): m for m in summary["measures"]}
    for quantity in ("held-out loss", "preference accuracy", "excess over the specialist"):
        assert [name for q, name in measures if q == quantity] == ["average of sources", "worst source", *LETTERS]
        for name in names:
            values = np.array([measures[quantity, source]["values"][name] for source in LETTERS])
            worst = values.min(0) if quantity == "preference accuracy" else values.max(0)
            np.testing.assert_allclose(measures[quantity, "average of sources"]["values"][name], values.mean(0))
            np.testing.assert_allclose(measures[quantity, "worst source"]["values"][name], worst)
    for source in LETTERS:
        own = measures["excess over the specialist", source]["values"][f"specialist {source}"]
        np.testing.assert_allclose(own, 0, atol=1e-6)
    judged = [(m["quantity"], m["name"]) for m in summary["measures"] if m["headline"]]
    assert judged == [("held-out loss", "average of sources"), ("excess over the specialist", "worst source")]
    assert summary["over"] == "uniform"
    assert len(rows_of(run)) == len(names) * 2 * 3 * len(LETTERS)
    assert "excess over the specialist" in (run / "report.html").read_text(encoding="utf-8")


def test_arms_have_as_many_steps_and_costs_are_named(done) -> None:
    arms = {arm["name"]: arm for arm in done[1]["arms"]}
    trained = TRAINING["steps"] * TRAINING["batch_size"]
    for name in ("pooled", "uniform", "normalised", "AMAR", "AMAS"):
        assert (arms[name]["steps"], arms[name]["amount"]) == (TRAINING["steps"], trained)
    for name in ("pooled", "uniform", "normalised", "specialist abc"):
        assert arms[name]["search_cost"] == 0
    assert arms["AMAR"]["search_cost"] == arms["AMAS"]["search_cost"] == arms["merge ties"]["search_cost"] > 60
    assert done[1]["budget"] == {"amount": trained, "charged": False}
    assert any("the specialists of a seed cost as much as training on" in note for note in done[1]["notes"])


class Stopped(Exception):
    pass


def test_stopped_and_resumed_and_with_a_later_arm_the_table_is_the_same(data, done, tmp_path) -> None:
    training = data[1]["training"] | {"checkpoint_every": 1e-6}
    arms = ["uniform", AMAS]
    for stage, calls in (("specialists", 4), ("specialists", 9), ("arms", 3), ("arms", 5)):
        left = calls

        def progress(now: str, finished: int, total: int, note: str = "", stage: str = stage) -> None:
            nonlocal left
            left -= now == stage
            if left == 0:
                raise Stopped

        with pytest.raises(Stopped):
            drive(make(data, arms=arms, training=training), tmp_path / "run", progress)
    first = drive(make(data, arms=arms, training=training), tmp_path / "run")
    before = {p.parent.name: p.stat().st_mtime_ns for p in (tmp_path / "run" / "trainings").glob("*/done.json")}
    wanted = [row for row in rows_of(done[0]) if row["arm"] in ("uniform", "AMAS")]
    assert rows_of(tmp_path / "run") == wanted
    assert len(first["arms"]) == 2
    drive(make(data, arms=[*arms, "pooled", {"merge": "ties"}], training=training), tmp_path / "run")
    after = {p.parent.name: p.stat().st_mtime_ns for p in (tmp_path / "run" / "trainings").glob("*/done.json")}
    assert before.items() <= after.items()
    wanted = [row for row in rows_of(done[0]) if row["arm"] in ("uniform", "AMAS", "pooled", "merge ties")]
    key = lambda row: (row["arm"], row["seed"], row["quantity"], row["measured_on"])  # noqa: E731
    assert sorted(rows_of(tmp_path / "run"), key=key) == sorted(wanted, key=key)


def test_seeds_are_added_until_every_arm_is_decided(data, tmp_path) -> None:
    seeds = {"until": "decided", "at_least": 2, "at_most": 3}
    added = drive(make(data, arms=["uniform", "pooled"], seeds=seeds), tmp_path / "added")
    taken = len(added["seeds"])
    judged = [d for measure in added["measures"] if measure["headline"] for d in measure["differences"]]
    assert taken == 3 or all(d["decided"] for d in judged)
    fixed = drive(make(data, arms=["uniform", "pooled"], seeds=taken), tmp_path / "fixed")
    assert [m["values"] for m in fixed["measures"]] == [m["values"] for m in added["measures"]]


def test_specialists_that_learned_their_pairs_by_heart_are_noted(data, tmp_path) -> None:
    rng, sources = random.Random(0), {}
    for name in ("one", "two"):  # which answer is right is a matter of chance: there is nothing else to learn
        answers = [rng.sample(["abc", "bca", "cab", "acb", "bac", "cba"], 2) for _ in range(60)]
        rows = [{"prompt": f"{i}: ", "chosen": good, "rejected": bad} for i, (good, bad) in enumerate(answers)]
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        sources[name] = str(tmp_path / f"{name}.jsonl")
    specialists = {"epochs": 60, "learning_rate": 0.02}
    config = make(data, sources=sources, held_out=0.4, arms=["uniform", AMAR], specialists=specialists, seeds=2)
    notes = drive(config, tmp_path / "run")["notes"]
    found = [note for note in notes if "learned its pairs by heart" in note]
    assert found
    assert all(note.startswith(("seed 3: the specialist of ", "seed 4: the specialist of ")) for note in found)
    assert len(found) == len({note.split(" learned")[0].split(" of ")[1] for note in found})  # one of each source
    assert [n for n in drive(config, tmp_path / "run")["notes"] if "by heart" in n] == found  # after a resume, too


def test_specialists_of_equal_steps_go_more_often_through_a_small_source(data, tmp_path) -> None:
    config = make(data, arms=["uniform", {"specialist": "all"}], specialists={"steps": 6}, seeds=1)
    arms = {arm["name"]: arm for arm in drive(config, tmp_path / "run")["arms"]}
    seen = 6 * config.training.batch_size
    for name, pairs in (("abc", 30), ("digits", 18), ("upper", 12)):
        arm = arms[f"specialist {name}"]
        assert (arm["steps"], arm["amount"]) == (6, seen)
        assert arm["most_epochs"] == pytest.approx(seen / pairs)


def test_the_cost_of_specialists_can_be_taken_off(data, tmp_path) -> None:
    training = data[1]["training"] | {"steps": 20}
    config = make(data, arms=["uniform", AMAR], charge_specialists=True, training=training, seeds=1)
    summary = drive(config, tmp_path / "run")
    arms = {arm["name"]: arm for arm in summary["arms"]}
    assert arms["uniform"]["amount"] == 20 * TRAINING["batch_size"]
    total = arms["AMAR"]["amount"] + arms["AMAR"]["search_cost"]
    assert abs(total - arms["uniform"]["amount"]) <= TRAINING["batch_size"]
    with pytest.raises(InputError, match=r"arm AMAR: its specialists cost .* which is all of its 6 steps of 6"):
        drive(make(data, arms=["uniform", AMAR], charge_specialists=True, seeds=1), tmp_path / "short")
    assert not (tmp_path / "short").exists()


def test_adapters_are_compared_and_merged(data, tmp_path) -> None:
    arms = ["uniform", {"merge": "linear"}, {"merge": "dare", "density": 0.9}, {"specialist": "digits"}]
    drive(make(data, adapter={"rank": 2}, arms=arms, seeds=1), tmp_path / "run")
    found = {
        (row["arm"], row["measured_on"], row["quantity"]): float(row["value"]) for row in rows_of(tmp_path / "run")
    }
    assert found["specialist digits", "source digits", "excess over the specialist"] == pytest.approx(0, abs=1e-6)
    assert len({found[arm, "source abc", "held-out loss"] for arm in ("uniform", "merge linear", "merge dare")}) == 3


def test_an_arm_has_a_clip_of_its_own_and_the_configuration_can_be_read_again(data, tmp_path) -> None:
    arms = [AMAR, {**AMAR, "name": "unclipped", "clip": "none"}, {**AMAR, "name": "ungated", "train_on": "loss"}]
    config = make(data, arms=[*arms, "uniform"], seeds=1)
    drive(config, tmp_path / "run")
    again = configured("compare", yaml.safe_load((tmp_path / "run" / "config.yaml").read_text()))
    assert again.dumped() == config.dumped()
    losses = {
        row["arm"]: row["value"]
        for row in rows_of(tmp_path / "run")
        if row["quantity"] == "held-out loss" and row["measured_on"] == "source abc"
    }
    assert len(set(losses.values())) == 4


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"arms": ["uniform", "Uniform"]}, "there is no strategy 'Uniform'"),
        ({"arms": [{"specialist": "law"}]}, r"should name a source \(abc, digits, upper\), found 'law'"),
        ({"arms": [{"merge": "linear", "density": 0.5}]}, "density belongs to a merge with ties or dare"),
        ({"arms": [{"merge": "ties", "weights": {"abc": 1.0}}]}, "should name every source"),
        ({"arms": [{"weights": {"abc": 0.5, "digits": 0.5, "upper": 0.5}}]}, "with the sum 1"),
        ({"arms": ["uniform", {"baseline": "uniform", "clip": "none"}]}, "belong to a strategy"),
        ({"arms": ["uniform", {"merge": "ties", "specialist": "abc"}]}, "found specialist and merge"),
        ({"arms": ["uniform", "PiKE"]}, "needs grad_sq_norm, grad_variance in each observation"),
        ({"specialists": {"keep": True}}, "remove specialists.run and .keep"),
        ({"over": "natural"}, "over should be one of the arms"),
        ({"kind": "prefer"}, "kind should be text, assays or preference, found 'prefer'"),
        ({"sources": {"abc": "nothing.jsonl"}}, "nothing.jsonl"),
    ],
)
def test_what_does_not_fit_is_said_before_anything_is_written(data, tmp_path, changes, words) -> None:
    with pytest.raises(InputError, match=words):
        drive(configured("compare", data[1] | changes, folder=data[0]), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_the_schema_has_all_kinds() -> None:
    text = json.dumps(json_schema("compare"))
    for word in ("ComparePreferenceConfig", "CompareAssaysConfig", "CompareConfig", "charge_specialists"):
        assert word in text
