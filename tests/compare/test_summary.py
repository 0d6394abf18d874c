"""Cells to measures, verdicts and CSV."""

import csv
import dataclasses
import io
import json

import numpy as np
import pytest
from comparisons import ACCURACY, make_comparison

from mixwright import InputError
from mixwright.compare import LOSS, Cell, csv_text, summarise
from mixwright.compare.looks import Looks
from mixwright.report.comparison.words import lead, power_words, verdict_words


def test_what_the_comparison_could_have_seen():
    summary = summarise(dataclasses.replace(make_comparison(), detect=0.02))
    assert summary["detect"] == 0.02
    law = measures_of(summary)["law", "held-out loss"]
    base = np.mean(law["values"]["uniform"])
    for entry in law["differences"]:
        assert entry["goal"] == pytest.approx(0.02 * base)
        assert (entry["seeds_needed"] <= 3) == (entry["detectable"] <= entry["goal"])
        assert entry["detectable"] > entry["high"] - entry["difference"]
    said = power_words(law, summary, 4)
    assert said.startswith("With these seeds a true difference of 0.0")
    assert f"To see 2 % of uniform ({0.02 * base:.4f}) takes " in said.replace("\u202f", " ")
    assert "with a chance of about 80 %. From 3 seeds the spread is hardly known" in said
    single = summarise(make_comparison(seeds=(0,)))
    one = single["measures"][0]
    assert one["differences"][0]["detectable"] is None
    assert power_words(one, single, 4) == ""


def measures_of(summary):
    return {(m["name"], m["quantity"]): m for m in summary["measures"]}


def test_measures_verdicts_and_what_each_arm_cost():
    found = make_comparison()
    summary = json.loads(json.dumps(summarise(found), allow_nan=False))
    measures = measures_of(summary)
    for target in ("law", "code"):
        entry = {d["arm"]: d for d in measures[target, "held-out loss"]["differences"]}
        assert entry["mixmin"]["word"] == "better"
        assert entry["mixmin"]["low"] <= -0.1 <= entry["mixmin"]["high"]
        assert entry["natural"]["word"] == "no better"
        assert entry["mixmin"]["design"] in ("paired", "unpaired")
        accuracy = {d["arm"]: d for d in measures[target, "accuracy"]["differences"]}
        assert accuracy["mixmin"]["difference"] == pytest.approx(0.1, abs=0.02)
        assert accuracy["mixmin"]["word"] == "better"
    assert "mixmin better than uniform" in summary["verdict"]
    arms = {a["name"]: a for a in summary["arms"]}
    assert (arms["mixmin"]["search_cost"], arms["mixmin"]["total_cost"]) == (300, 1000)
    assert arms["uniform"]["amount"] == 1000
    assert [m["target"] for m in arms["mixmin"]["mixtures"]] == ["law", "code"]


def test_average_and_worst_over_targets_use_each_targets_own_mixture():
    found = make_comparison()
    measures = measures_of(summarise(found))
    for number, seed in enumerate(found.seeds):
        own = [
            next(c for c in found.cells if (c.arm, c.seed, c.target) == ("mixmin", seed, t)).values[LOSS.name][t]
            for t in found.targets
        ]
        assert measures["average of targets", LOSS.name]["values"]["mixmin"][number] == pytest.approx(np.mean(own))
        assert measures["worst target", LOSS.name]["values"]["mixmin"][number] == max(own)
        right = [
            next(c for c in found.cells if (c.arm, c.seed, c.target) == ("mixmin", seed, t)).values["accuracy"][t]
            for t in found.targets
        ]
        assert measures["worst target", "accuracy"]["values"]["mixmin"][number] == min(right)


def test_without_targets_the_average_of_the_sources_is_what_is_judged():
    found = make_comparison(targets=())
    summary = summarise(found)
    headline = [m for m in summary["measures"] if m["headline"]]
    assert [m["name"] for m in headline] == ["average of sources"]
    worst = measures_of(summary)["worst source", LOSS.name]
    assert worst["values"]["uniform"][0] == max(found.cells[0].source_loss.values())


def test_sources_losses_keep_the_mixtures_of_an_arm_apart():
    measures = measures_of(summarise(make_comparison()))
    names = set(measures["web", LOSS.name]["values"])
    assert names == {"uniform", "natural", "best_single (law)", "best_single (code)", "mixmin (law)", "mixmin (code)"}


def test_steps_to_the_baselines_final_loss():
    found = make_comparison(gain=0.3)
    steps = {(s["target"], s["arm"]): s for s in summarise(found)["steps_to_baseline"]}
    assert steps["law", "uniform"]["steps"] == [10, 10, 10]
    assert all(n in (2, 3) for n in steps["law", "mixmin"]["steps"])  # 1/n - .3 <= 1/10, seeds move it by little
    worse = {(s["target"], s["arm"]): s for s in summarise(make_comparison(gain=-1.0))["steps_to_baseline"]}
    assert worse["law", "mixmin"]["steps"] == [None, None, None]


def test_one_seed_gives_no_verdict():
    summary = json.loads(json.dumps(summarise(make_comparison(seeds=(0,))), allow_nan=False))
    assert all(d["word"] == "unverified" and d["low"] is None for m in summary["measures"] for d in m["differences"])
    assert "unverified against uniform" in summary["verdict"]


def test_the_csv_gives_every_number_back_exactly():
    found = make_comparison()
    rows = list(csv.DictReader(io.StringIO(csv_text(found.cells, found.quantities))))
    cell = found.cells[0]
    loss = next(r for r in rows if r["arm"] == cell.arm and r["seed"] == "0" and r["measured_on"] == "target law")
    assert float(loss["value"]) == cell.values[LOSS.name]["law"]
    assert len(rows) == len(found.cells) * (2 * 2 + 3)
    assert {r["quantity"] for r in rows} == {LOSS.name, ACCURACY.name}


def test_a_cell_survives_json():
    cell = make_comparison().cells[-1]
    assert Cell.from_json(json.loads(json.dumps(cell.to_json()))) == cell


def test_a_missing_or_doubled_cell_is_named():
    found = make_comparison()
    with pytest.raises(InputError, match="arm mixmin, seed 2, target code"):
        dataclasses.replace(found, cells=found.cells[:-1])
    with pytest.raises(InputError, match="twice"):
        dataclasses.replace(found, cells=[*found.cells, found.cells[0]])
    with pytest.raises(InputError, match="best_single has a mixture for each target, but there are no targets"):
        dataclasses.replace(found, targets=())


def test_a_mixture_for_one_target_need_not_be_measured_on_the_others():
    found = make_comparison()
    cells = [
        dataclasses.replace(
            c, values={q: {t: v for t, v in by.items() if c.target in (None, t)} for q, by in c.values.items()}
        )
        for c in found.cells
    ]
    assert measures_of(summarise(dataclasses.replace(found, cells=cells))) == measures_of(summarise(found))
    del cells[0].values[LOSS.name]["law"]
    assert ("law", LOSS.name) not in measures_of(summarise(dataclasses.replace(found, cells=cells)))


def doubted(clean_gain, held_out, looks=None):
    """Return the headline entries of `mixmin`, which is better by 0.1, and by something else on clean documents."""
    found = make_comparison(targets=("law",))
    cells = []
    for cell in found.cells:
        loss = cell.values[LOSS.name]["law"] + (0.1 - clean_gain) * (cell.arm == "mixmin")
        cells.append(dataclasses.replace(cell, clean={LOSS.name: {"law": loss}}))
    summary = summarise(dataclasses.replace(found, cells=cells, held_out={"law": held_out}, looks=looks))
    entry = measures_of(summary)["law", LOSS.name]["differences"][-1]
    assert entry["arm"] == "mixmin"
    assert next(v for v in summary["verdicts"] if v["arm"] == "mixmin")["verdict"] == entry["verdict"]
    return entry, summary


@pytest.mark.parametrize(("clean", "word"), [(0.1, "better"), (0.0, "unverified"), (None, "unverified")])
def test_accuracy_is_in_doubt_like_the_loss(clean, word):
    """`mixmin` is better by 0.1, and by `clean` on the questions that are in no source; None: not known."""
    cells = []
    found = make_comparison(targets=("law",))
    for cell in found.cells:
        loss, better = cell.values[LOSS.name]["law"], cell.arm == "mixmin"
        known = {} if clean is None else {ACCURACY.name: {"law": -loss - (0.1 - clean) * better}}
        values = {LOSS.name: {"law": loss}, ACCURACY.name: {"law": -loss}}  # as the loss moves, and higher is better
        cells.append(dataclasses.replace(cell, values=values, clean={LOSS.name: {"law": loss}, **known}))
    held_out = {"law": ("60 of 100 are also in source web", 40, 100)}
    whole = dataclasses.replace(found, cells=cells, held_out=held_out, quantities=(LOSS, ACCURACY))
    assert measures_of(summarise(whole))["law", ACCURACY.name]["differences"][-1]["word"] == word


def test_verdicts_hold_only_if_clean_documents_give_the_same_word():
    assert doubted(0.1, ("", 100, 100))[0]["word"] == "better"
    assert doubted(0.08, ("60 of 100 are also in source web", 40, 100))[0]["word"] == "better"
    entry, summary = doubted(0.0, ("60 of 100 are also in source web", 40, 100))
    assert entry["verdict"] == (
        "unverified: 60 of 100 are also in source web; with them the verdict is 'better', without them 'no better'"
    )
    assert "mixmin unverified against uniform" in summary["verdict"]
    assert "Unverified: mixmin" in lead(summary)
    assert verdict_words(entry, "", 3, 0.9, "3 seeds") == ("Unverified against uniform", entry["doubt"])


def test_verdicts_on_few_documents_are_unverified():
    entry, summary = doubted(0.1, ("", 9, 9))
    assert entry["verdict"] == "unverified: 9 held-out documents are too few; a verdict needs at least 10"
    assert lead(summary).startswith("Unverified against uniform: 9 held-out documents are too few")
    assert doubted(0.1, ("90 of 98 are also in source web", 8, 98))[0]["word"] == "unverified"


@pytest.mark.parametrize(
    ("clean_gain", "held_out", "decided"),
    [
        (0.1, ("", 100, 100), True),  # better
        (0.0, ("60 of 100 are also in source web", 40, 100), False),  # more seeds may settle what clean documents say
        (0.1, ("90 of 98 are also in source web", 8, 98), True),  # no number of seeds makes documents
        (float("nan"), ("60 of 100 are also in source web", 40, 100), True),  # nor measures clean ones
    ],
)
def test_seeds_are_added_only_where_they_can_settle_a_doubt(clean_gain, held_out, decided):
    entry, _ = doubted(clean_gain, held_out, Looks(3, 12))
    assert entry["decided"] is decided


def test_the_average_of_targets_is_in_doubt_where_one_of_them_is():
    found = make_comparison(targets=("law", "code"))
    held_out = {"law": ("90 of 98 are also in source web", 8, 98), "code": ("", 100, 100)}
    measures = measures_of(summarise(dataclasses.replace(found, held_out=held_out)))
    words = {name: measures[name, LOSS.name]["differences"][-1]["word"] for name in ("law", "code")}
    assert words == {"law": "unverified", "code": "better"}
    for name in ("average of targets", "worst target"):
        entry = measures[name, LOSS.name]["differences"][-1]
        assert entry["verdict"].startswith("unverified: law: 90 of 98 are also in source web")
    found = dataclasses.replace(found, quantities=(LOSS, ACCURACY))
    words = measures_of(summarise(dataclasses.replace(found, held_out=held_out)))
    assert (
        words["law", "accuracy"]["differences"][-1]["doubt"] == measures["law", LOSS.name]["differences"][-1]["doubt"]
    )
    assert words["code", "accuracy"]["differences"][-1]["word"] == "better"
    plain = measures_of(summarise(found))
    assert plain["law", "accuracy"]["differences"][-1]["word"] == "better"
    assert plain["average of targets", LOSS.name]["differences"][-1]["word"] == "better"
