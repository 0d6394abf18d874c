"""Forecasts that are scored: errors and intervals by hand."""

import csv

import pytest

from mixwright.compare import LOSS, ArmInfo, Cell, Comparison, Quantity, summarise
from mixwright.compare.forecast import csv_of_scores, error_of, forecast, score

ACCURACY = Quantity("accuracy", "", higher=True)
LOSSES = {  # arm: [seed: (law, code)]
    "uniform": [(3.0, 2.0), (3.2, 2.2)],
    "ours": [(2.8, 2.4), (2.9, 2.5)],
}


def summary_of(targets=("law", "code")):
    cells = [
        Cell(
            arm,
            seed,
            None,
            {"web": 0.5, "git": 0.5},
            {LOSS.name: dict(zip(targets, losses, strict=False)), ACCURACY.name: dict.fromkeys(targets, 0.25)},
        )
        for arm, by_seed in LOSSES.items()
        for seed, losses in enumerate(by_seed)
    ]
    arms = [ArmInfo(arm, "weights", arm) for arm in LOSSES]
    return summarise(Comparison(arms, [0, 1], list(targets), ["web", "git"], cells, (LOSS, ACCURACY)))


def only(**entry):
    scored = score(forecast("me", 0.9, [{"arm": "ours", "predicted": 0.0, **entry}]), summary_of())
    return scored["scores"][0]


def test_error_and_interval_by_hand():
    one = only(target="law", predicted=2.75, low=2.7, high=2.84)  # measured 2.85
    assert one["measured"] == pytest.approx(2.85)
    assert one["by_seed"] == pytest.approx([2.8, 2.9])
    assert one["error"] == pytest.approx(0.10)
    assert one["inside"] is False
    assert only(target="law", predicted=2.75, low=2.7, high=2.86)["inside"] is True
    assert (one["quantity"], one["unit"]) == ("held-out loss", "nats per token")


def test_a_difference_is_of_the_same_seeds():
    one = only(target="law", over="uniform", predicted=-0.1, high=-0.2)
    assert one["by_seed"] == pytest.approx([-0.2, -0.3])
    assert one["measured"] == pytest.approx(-0.25)
    assert one["inside"] is True  # the low end is open


def test_a_weighted_sum_of_targets_and_an_average():
    one = only(target={"law": 0.75, "code": 0.25}, predicted=2.7)
    assert one["measured"] == pytest.approx(0.75 * 2.85 + 0.25 * 2.45)
    assert one["target"] == "0.75 law + 0.25 code"
    assert one["inside"] is None  # no interval
    assert only(target="average of targets")["measured"] == pytest.approx((2.85 + 2.45) / 2)
    assert only(target="code", quantity="accuracy")["measured"] == 0.25


def test_open_ends():
    assert error_of({"predicted": 1.0, "low": 0.5, "high": None}, 9.0) == (8.0, True)
    assert error_of({"predicted": 1.0, "low": 0.5, "high": None}, 0.4)[1] is False
    assert error_of({"predicted": None, "low": None, "high": None}, 0.4) == (None, None)


def test_other_weights_are_not_judged_and_absent_arms_are_left_out():
    given = {"predicted": 2.8, "low": 2.0, "high": 3.0, "target": "law"}
    made = forecast(
        "me",
        0.8,
        [
            {"arm": "ours", **given, "weights": {"web": 0.7, "git": 0.3}},
            {"arm": "uniform", **given, "weights": {"web": 0.5, "git": 0.5}},
            {"arm": "natural", **given},
            {"arm": "ours", **given, "over": "natural"},
        ],
    )
    scored = score(made, summary_of())
    first, second = scored["scores"]
    assert (first["inside"], first["error"]) == (None, None)
    assert "other weights" in first["note"]
    assert "0.2" in first["note"]
    assert (second["inside"], second["note"]) == (False, None)  # 3.1
    assert scored["left_out"] == ["natural", "ours"]
    assert (scored["inside"], scored["intervals"]) == (0, 1)


def test_what_was_not_measured_is_said():
    one = only(target="law", quantity="speed")
    assert (one["measured"], one["note"]) == (None, "was not measured")


def test_csv_reads_back_exactly():
    scored = score(
        forecast("me", 0.9, [{"arm": "ours", "target": "law", "predicted": 2.75, "low": 0.1 + 0.2}]), summary_of()
    )
    (row,) = csv.DictReader(csv_of_scores(scored).splitlines())
    assert (row["arm"], row["measured_on"], row["over"], row["high"]) == ("ours", "law", "", "")
    assert float(row["low"]) == 0.1 + 0.2
    assert float(row["error"]) == scored["scores"][0]["error"]
    assert row["inside"] == "True"
