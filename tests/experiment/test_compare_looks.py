"""Comparisons that add seeds until every arm is decided."""

import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

from comparing import FIRST, SECOND, THIRD, make, rows_of

from mixwright.compare import Cell
from mixwright.errors import InputError
from mixwright.experiment import drive
from mixwright.experiment.text.compare import TextComparisonRun
from mixwright.experiment.text.comparing import training as arm_training
from mixwright.report.comparison.words import lead

ALONE = {"name": "alone", "weights": {FIRST: 1.0, SECOND: 0.0, THIRD: 0.0}}
DECIDED = {"until": "decided", "at_least": 2, "at_most": 4}


def plain(folder, **changes):
    return make(folder, targets={}, arms=["uniform", ALONE], seeds=DECIDED, **changes)


def make_cells(gains):
    """Return a `cells` that invents losses: seeds move by .1, the second arm is better by the gain of its seed."""

    def cells(self, progress):
        return [
            Cell(
                arm.title,
                seed,
                None,
                {FIRST: 1.0},
                {},
                dict.fromkeys(self.source_names, 3.0 + 0.1 * seed - number * gains[seed]),
                amount=1,
            )
            for seed in self.seeds
            for number, arm in enumerate(self.config.arms)
        ]

    return cells


@pytest.mark.parametrize(
    ("gains", "seeds", "word"),
    [
        ([2.0, 2.001, 2.0, 2.0], 2, "better"),
        ([1.1, 1.5, 1.3, 1.3], 3, "better"),
        ([-1.1, -1.5, -1.3, -1.3], 3, "worse"),
        ([0.1, -0.1, 0.1, -0.05], 4, "no better"),
    ],
)
def test_it_stops_where_every_arm_is_decided(tmp_path, monkeypatch, gains, seeds, word):
    monkeypatch.setattr(TextComparisonRun, "cells", make_cells(gains))
    said = []
    summary = drive(plain(tmp_path), tmp_path / "run", lambda *report: said.append(report[3:]))
    assert summary["seeds"] == list(range(seeds))
    (d,) = summary["measures"][0]["differences"]
    assert d["word"] == word
    assert f"2 to 4 seeds, stopped at {seeds}" in d["verdict"]
    assert {row["seed"] for row in rows_of(tmp_path / "run")} == {str(s) for s in range(seeds)}
    assert ("2 of at most 4 seeds, not decided: alone",) in said or seeds == 2
    assert any("4 to 8 trainings" in text for report in said for text in report)


def test_a_margin_ends_it_where_nothing_is_to_be_found(tmp_path, monkeypatch):
    monkeypatch.setattr(TextComparisonRun, "cells", make_cells([0.001, -0.001, 0.001, -0.001]))
    config = make(tmp_path, targets={}, arms=["uniform", ALONE], seeds={**DECIDED, "margin": "1 %"})
    summary = drive(config, tmp_path / "run")
    assert len(summary["seeds"]) == 3
    (d,) = summary["measures"][0]["differences"]
    assert (d["word"], d["decided"]) == ("no better", True)
    assert "smaller than 0.03" in d["verdict"]
    assert lead(summary).endswith("Difference smaller than 1\u202f% of uniform: alone")
    assert "smaller than the margin" in (tmp_path / "run/report.html").read_text()


def test_arms_that_are_not_decided_are_named(tmp_path, monkeypatch):
    monkeypatch.setattr(TextComparisonRun, "cells", make_cells([0.1, -0.1, 0.1, -0.05]))
    summary = drive(plain(tmp_path), tmp_path / "run")
    assert lead(summary) == "No arm is better than uniform on this evidence. Not decided after 4 seeds: alone"


@pytest.mark.parametrize(
    ("first", "then", "noted"),
    [
        (3, 4, True),
        (4, 3, True),
        (3, DECIDED, True),
        ({**DECIDED, "at_most": 3}, DECIDED, True),
        (DECIDED, 4, True),
        (3, 3, False),
        (DECIDED, DECIDED, False),
        (1, 3, False),  # one seed gives no verdict that could have been false
    ],
)
def test_another_number_of_seeds_after_results_were_seen_is_noted_for_good(tmp_path, monkeypatch, first, then, noted):
    monkeypatch.setattr(TextComparisonRun, "cells", make_cells([0.1, -0.1, 0.1, -0.05]))
    for seeds in (first, then, then):
        config = make(tmp_path, targets={}, arms=["uniform", ALONE], seeds=seeds)
        summary = drive(config, tmp_path / "run")
    said = "seeds was changed after results were seen: the 5 % does not hold for these verdicts"
    assert (said in lead(summary)) == noted
    assert (said in (tmp_path / "run/report.html").read_text()) == noted


def test_stopped_between_two_looks_and_resumed_it_ends_with_the_same_table(tmp_path, monkeypatch):
    whole = drive(plain(tmp_path), tmp_path / "whole")
    assert 2 <= len(whole["seeds"]) <= 4
    train, done = arm_training.train, []

    def breaking(*arguments, **more):
        done.append(1)
        if len(done) == 4:
            raise KeyboardInterrupt
        return train(*arguments, **more)

    monkeypatch.setattr(arm_training, "train", breaking)
    with pytest.raises(KeyboardInterrupt):
        drive(plain(tmp_path), tmp_path / "killed")
    assert not (tmp_path / "killed" / "summary.json").exists()
    again = drive(plain(tmp_path), tmp_path / "killed")
    assert again["measures"] == whole["measures"]
    assert (tmp_path / "killed/cells.csv").read_bytes() == (tmp_path / "whole/cells.csv").read_bytes()
    assert len(done) == 2 * len(whole["seeds"]) + 1  # no training twice, but the one that was stopped


@pytest.mark.parametrize(
    ("seeds", "words"),
    [
        (0, "seeds: should be at least 1, found 0"),
        ("many", r"seeds: should be a (whole number|mapping \{key: value\}), found 'many'"),
        ({"until": "decided"}, "seeds.at_most: this key is missing"),
        ({"until": "better", "at_most": 5}, r"seeds.until: should be 'decided', found 'better'"),
        ({"until": "decided", "at_most": 2}, r"at_most should be at least at_least \(3\), found 2; raise at_most"),
        ({"until": "decided", "at_most": 1000}, "seeds: there should be at most 50 looks, found 998"),
        ({"until": "decided", "at_most": 1}, "seeds.at_most: should be at least 2, found 1"),
        ({"until": "decided", "at_most": 5, "at_least": True}, "seeds.at_least: should be a number, found True"),
        (
            {"until": "decided", "at_most": 5, "margins": 1},
            "seeds.margins: there is no such key; did you mean 'margin'",
        ),
        ({"until": "decided", "at_most": 5, "margin": "some"}, "seeds.margin: should be a share such as 0.01, or 1 %"),
        ({"until": "decided", "at_most": 5, "margin": "0 %"}, "seeds.margin: should be above 0"),
    ],
)
def test_bad_seeds_are_named(tmp_path, seeds, words):
    with pytest.raises(InputError, match=words) as raised:
        make(tmp_path, seeds=seeds)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("detect", "words"), [("1", "a share such as 0.01, or 1 %"), (0, "above 0"), ("200 %", "below 1")]
)
def test_a_bad_difference_to_detect_is_named(tmp_path, detect, words):
    with pytest.raises(InputError, match=f"detect: should be {words}"):
        make(tmp_path, detect=detect)
    assert make(tmp_path, detect="0.5 %").detect == pytest.approx(0.005)


def test_the_plan_says_for_how_many_seeds_proxies_are_trained(tmp_path, monkeypatch):
    def cells(self, progress):
        raise KeyboardInterrupt

    monkeypatch.setattr(TextComparisonRun, "cells", cells)
    said, config = [], make(tmp_path, arms=["uniform", "mixmin"], seeds=DECIDED)
    with pytest.raises(KeyboardInterrupt):
        drive(config, tmp_path / "run", lambda *report: said.append(str(report[3:])))
    assert any("for each of 2 to 4 seeds " in text and "(2 arms, 2 to 4 seeds)" in text for text in said)
