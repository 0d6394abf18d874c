"""A comparison of assays from beginning to end."""

import csv
import json

import numpy as np
import pytest
import yaml

pytest.importorskip("xgboost")
pytest.importorskip("sklearn")

from golden_files import check_run

from mixwright.errors import InputError
from mixwright.experiment import drive, load, make
from mixwright.experiment.assays import compare as compare_assays
from mixwright.mixture_file import MixtureFile

SMALL = {
    "kind": "assays",
    "table": {"path": "t.csv", "features": ["x_*"]},
    "targets": ["target", "other"],
    "classifier": {"trees": 10, "depth": 3},
    "proxy": {"folds": 2},
    "search": {"shrinkage": 0.05},
    "own_rows": False,
    "threads": 1,
    "arms": ["uniform", "natural", "target_alone", "best_single", "mixmin"],
    "seeds": 2,
    "compute": {"cores": 1},
}


def write_assays(folder, n=240):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(n, 4)).round(6)
    rules = [X[:, 0] > 0.5, X[:, 0] + 0.2 * rng.normal(size=n) > 0, X[:, 1] > 0, X[:, 1] + X[:, 2] > 0.2]
    lines = ["x_0,x_1,x_2,x_3,target,twin,other,near"]
    lines += [",".join(map(str, [*row, *map(int, label)])) for row, *label in zip(X, *rules, strict=True)]
    (folder / "t.csv").write_text("\n".join(lines) + "\n")


def make_assays(folder, **changes):
    write_assays(folder)
    return make("compare", SMALL | changes, folder=folder)


def test_a_comparison_of_assays(tmp_path):
    summary = drive(make_assays(tmp_path), tmp_path / "run")
    check_run("compare-assays", tmp_path / "run", tmp_path)
    with open(tmp_path / "run" / "cells.csv", newline="") as handle:
        rows = list(csv.DictReader(handle))
    assert len(rows) == 2 * 2 * 5 * 2  # targets, seeds, arms, quantities
    measures = {(m["name"], m["quantity"]): m for m in summary["measures"]}
    precision = measures["target", "average precision"]
    assert precision["higher"]
    assert precision["headline"]
    assert np.mean(precision["values"]["mixmin"]) > np.mean(precision["values"]["uniform"])
    arms = {arm["name"]: arm for arm in summary["arms"]}
    mixtures = {m["target"]: m["weights"] for m in arms["mixmin"]["mixtures"]}
    assert min(mixtures["target"]["twin"]) > 0.5
    assert "target" not in {s for s, w in mixtures["target"].items() if max(w) > 0}
    assert mixtures["other"]["near"][0] > 0.5
    assert arms["target_alone"]["mixtures"][0]["weights"] == {"target": [1.0, 1.0]}
    assert summary["budget"] is None

    before = (tmp_path / "run" / "cells.csv").read_bytes()
    again = load("compare", tmp_path / "run" / "config.yaml")
    assert {**drive(again, tmp_path / "run"), "created": ""} == {**summary, "created": ""}
    assert (tmp_path / "run" / "cells.csv").read_bytes() == before


def test_search_and_compare_say_the_same_of_the_same_numbers(tmp_path):
    both = {"classifier": {"trees": 8, "depth": 2}, "proxy": {"folds": 2}, "search": {"shrinkage": 0.05}, "threads": 1}
    both["own_rows"] = True
    changes = both | {"targets": ["other"], "seeds": 3, "arms": SMALL["arms"]}
    compared = drive(make_assays(tmp_path, **changes), tmp_path / "compare")
    own = {"kind": "assays", "table": SMALL["table"], "target": "other", "split": {"seeds": 3}}
    found = drive(make("search", own | both, folder=tmp_path), tmp_path / "search")
    differences = {d["arm"]: d for d in compared["measures"][0]["differences"]}
    differences["search"] = differences.pop("mixmin")
    over = {c["mixture"]: c for c in found["comparisons"] if c["over"] == "uniform"}
    for name, judged in differences.items():
        for end in ("difference", "low", "high"):
            assert over[name][end] == pytest.approx(judged[end])
        assert over[name]["verdict"].startswith(judged["word"])
    about = compared["measures"][0]["about"]
    assert "of 60 held-out rows have a 1 (base rate 0." in about
    assert about in (tmp_path / "compare" / "report.html").read_text()


def test_where_the_target_alone_is_better_that_comes_first(tmp_path, capsys):
    arms = ["uniform", "target_alone", "mixmin"]
    changes = {"targets": ["target"], "sources": ["other", "near"], "arms": arms, "seeds": 3}
    summary = drive(make_assays(tmp_path, **changes), tmp_path / "run")
    says = "Train on the target alone (target): it is better than mixmin"
    assert summary["verdict"].startswith(says)
    assert summary["notes"][0] == says
    assert says in (tmp_path / "run" / "report.html").read_text()


def test_arms_with_and_without_own_rows(tmp_path):
    arms = ["target_alone", "uniform", "mixmin", {"search": "mixmin", "own_rows": True}]
    changes = {"targets": ["target"], "arms": [*arms, {"baseline": "natural", "own_rows": True}]}
    summary = drive(make_assays(tmp_path, **changes), tmp_path / "run")
    mixtures = {arm["name"]: arm["mixtures"][0]["weights"] for arm in summary["arms"]}
    assert list(mixtures) == ["target_alone", "uniform", "mixmin", "mixmin_with_own_rows", "natural_with_own_rows"]
    assert "target" not in {name for name, w in mixtures["mixmin"].items() if max(w) > 0}
    words = {arm["name"]: arm["words"] for arm in summary["arms"]}
    assert words["mixmin_with_own_rows"] == "MixMin per molecule, with the target's own rows"
    assert mixtures["uniform"]["twin"] == pytest.approx([1 / 3, 1 / 3])
    assert min(mixtures["mixmin_with_own_rows"]["target"]) > 0.5
    assert mixtures["natural_with_own_rows"]["target"] == pytest.approx([0.25, 0.25])
    assert summary["verdict"].startswith("Train on the target alone (target)")


def test_a_misspelt_name_is_called_by_its_key(tmp_path):
    for changes, key in (({"targets": ["targt"]}, "targets"), ({"sources": ["twni", "near"]}, "sources")):
        with pytest.raises(InputError, match=f"key {key}: an assay should be one of the table's"):
            drive(make_assays(tmp_path, **changes), tmp_path / "run")


def test_arms_of_ones_own_and_named_sources(tmp_path):
    MixtureFile(["near", "twin"], [0.25, 0.75]).write(tmp_path / "mine.json")
    changes = {"targets": ["target"], "sources": ["twin", "near"], "arms": ["uniform", "mine.json"], "seeds": 1}
    summary = drive(make_assays(tmp_path, **changes), tmp_path / "run")
    arms = {arm["name"]: arm for arm in summary["arms"]}
    assert arms["mine"]["mixtures"][0]["weights"] == {"twin": [0.75], "near": [0.25]}
    assert not (tmp_path / "run" / "targets" / "target" / "proxies").exists()  # no arm needs proxies


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"arms": ["uniform", "pike"]}, "the arm pike changes weights during training, which a classifier"),
        ({"arms": ["uniform", "worst_regret"]}, "assays have search: mixmin"),
        ({"target": "target"}, "write targets"),
        (
            {"arms": ["uniform", {"baseline": "target_alone", "own_rows": True}]},
            "own_rows belongs to a search, uniform",
        ),
        ({"split": {"seeds": 3}}, "the number of seeds is the key seeds"),
        (
            {"table": {"path": "t.csv", "features": ["x_0", "x_1", "x_2"], "time": "x_3"}, "split": {"kind": "time"}},
            "should hold out different molecules, found 100% shared for target",
        ),
        ({"targets": ["target", "target"]}, "found target twice"),
        ({"targets": ["target", "nothing"]}, "nothing"),
        ({"arms": ["uniform", {"weights": {"nothing": 1.0}}]}, "should name the sources .*, found 'nothing'"),
        ({"final": {"mixtures": ["uniform", "search"]}}, "there is no key mixtures in a comparison"),
        ({"compute": {"cores": 1, "threads": 2}}, "threads should be at most cores"),
        ({"compute": {"memory": "12"}}, "should be a size such as 12 GB"),
        ({"compute": {"cores": 2, "memory": "300 MB"}}, "memory should be at least 2 GB, 1 GB for each of 2"),
    ],
)
def test_bad_configurations(tmp_path, changes, message, monkeypatch):
    monkeypatch.setattr(compare_assays, "assay_work", None)
    with pytest.raises(InputError, match=message):
        drive(make_assays(tmp_path, **changes), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_table_that_changed_is_read_anew(tmp_path):
    changes = {"targets": ["target"], "arms": ["uniform"], "seeds": 2}
    first = drive(make_assays(tmp_path, **changes), tmp_path / "run")
    config = make_assays(tmp_path, **changes)
    write_assays(tmp_path, 200)
    second = drive(config, tmp_path / "other")
    values = [s["measures"][0]["values"]["uniform"] for s in (first, second)]
    assert values[0] != values[1]


def test_the_yaml_names_the_line(tmp_path):
    write_assays(tmp_path)
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(SMALL | {"arms": ["uniform", "uniform"]}))
    with pytest.raises(InputError, match=r"c\.yaml.*found uniform twice"):
        load("compare", tmp_path / "c.yaml")
    (tmp_path / "d.yaml").write_text(json.dumps(SMALL | {"kind": "images"}))
    with pytest.raises(InputError, match="kind should be text, assays or preference, found 'images'"):
        load("compare", tmp_path / "d.yaml")


def test_seeds_are_added_until_every_arm_is_decided(tmp_path):
    seeds = {"until": "decided", "at_least": 2, "at_most": 3}
    changes = {"targets": ["target"], "sources": ["other", "near"], "arms": ["uniform", "target_alone"]}
    added = drive(make_assays(tmp_path, **changes, seeds=seeds), tmp_path / "added")
    taken = len(added["seeds"])
    measure = added["measures"][0]
    decided = [d["decided"] for d in measure["differences"]]
    assert taken == 3 or all(decided)
    fixed = drive(make_assays(tmp_path, **changes, seeds=taken), tmp_path / "fixed")
    assert fixed["measures"][0]["values"] == measure["values"]
    assert fixed["measures"][0]["about"] == measure["about"]  # of the seeds that were taken
    assert f"2 to 3 seeds, stopped at {taken}" in measure["differences"][0]["verdict"]
