"""Forecasts of comparisons: read, fixed before the first training, scored after the last."""

import csv
import json
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("pydantic")

from comparing import FIRST, SECOND, SMALL, THIRD, make

from mixwright.errors import InputError
from mixwright.experiment import drive
from mixwright.experiment.core.forecasts import check_names, read_forecast

OURS = {FIRST: 0.6, SECOND: 0.3, THIRD: 0.1}
ONE = {"arm": "ours", "predicted": 2.0, "low": 0.5, "high": 9.0}


def write(path: Path, *entries: dict[str, Any], **more: Any) -> Path:
    path.write_text(json.dumps({"forecasts": list(entries), **more}))
    return path


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "should hold the key forecasts"),
        ("forecasts: []", "should not be empty"),
        ("forecasts: [{arm: a}]", "line 1, key forecasts.0.predicted: this key is missing"),
        ("forecasts:\n- {arm: a, predicted: 1, lo: 0}", "there is no such key; did you mean 'low'"),
        ("forecasts: [{arm: a, predicted: 1, low: 2}]", "should hold the prediction 1, found 2 to open"),
        ("forecasts: [{arm: a, predicted: 1}, {arm: a, predicted: 2}]", "found a twice"),
        ("forecasts: [{arm: a, predicted: .nan}]", "should be a finite number"),
        ("forecasts: [{arm: a, predicted: 1}]\nlevel: 90", "should be below 1"),
        ("schema: 2\nforecasts: [{arm: a, predicted: 1}]", "should be at most 1"),
    ],
)
def test_a_file_that_is_no_forecast_is_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "forecast.yaml"
    path.write_text(text)
    with pytest.raises(InputError, match=r"forecast\.yaml") as error:
        read_forecast(path)
    assert message in str(error.value)
    with pytest.raises(InputError, match="there should be a forecast at"):
        read_forecast(tmp_path / "none.yaml")


def test_arms_and_targets_that_are_not_there() -> None:
    def check(*entries: dict[str, Any], measures: tuple[str, ...] = ("law", "code")) -> None:
        check_names({"forecasts": entries}, ["mixmin", "uniform"], measures, len(measures) > 1)

    with pytest.raises(InputError, match="found 'mixmim'; is it 'mixmin'"):
        check({"arm": "mixmim", "target": "law"}, {"arm": "uniform", "target": "law"})
    with pytest.raises(InputError, match="should say its target, one of law, code"):
        check({"arm": "mixmin"})
    with pytest.raises(InputError, match="found 'lwa'; did you mean 'law'"):
        check({"arm": "mixmin", "target": {"lwa": 0.5, "code": 0.5}})
    with pytest.raises(InputError, match="found proposal, natural; give the arms those names"):
        check({"arm": "proposal", "target": "law"}, {"arm": "natural", "target": "law"})
    check({"arm": "proposal", "target": "law"}, {"arm": "uniform", "target": "law"})  # one of them is there
    check({"arm": "mixmin"}, measures=("law",))


pytest.importorskip("torch")
pytest.importorskip("transformers")


def config_of(folder: Path, **more: Any) -> Any:
    arms = ["uniform", {"name": "ours", "weights": OURS}]
    final = {**SMALL["final"], "tokens": 1500}
    return make(folder, targets={"mix": "target.jsonl"}, arms=arms, final=final, **more)


def test_a_forecast_is_fixed_before_the_first_training_and_scored_after(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, run = tmp_path / "forecast.json", tmp_path / "run"
    difference = {"arm": "ours", "over": "uniform", "predicted": 5.0, "low": 4.0}
    write(path, {**ONE, "weights": OURS}, difference, {"arm": "natural", "predicted": 2.0}, made_by="me")
    fixed: list[bool] = []
    from mixwright.experiment.text import compare

    trained = compare.do_pieces

    def watched(works: Any, *rest: Any) -> Any:
        fixed.append((run / "forecast.json").exists())
        return trained(works, *rest)

    monkeypatch.setattr(compare, "do_pieces", watched)
    summary = drive(config_of(tmp_path, forecast="forecast.json"), run)
    assert fixed
    assert all(fixed)
    found = summary["forecast"]
    measure = summary["measures"][0]
    ours, over = found["scores"]
    assert ours["by_seed"] == measure["values"]["ours"]
    assert ours["error"] == pytest.approx(sum(measure["values"]["ours"]) / 2 - 2.0)
    assert (ours["inside"], over["inside"], found["left_out"]) == (True, False, ["natural"])
    assert over["measured"] == pytest.approx(measure["differences"][0]["difference"])
    rows = list(csv.DictReader((run / "forecast.csv").read_text().splitlines()))
    assert [float(row["measured"]) for row in rows] == [ours["measured"], over["measured"]]
    assert "1 of 2 inside the interval" in (run / "report.html").read_text()
    assert found["fingerprint"] in (run / "report.html").read_text()

    again = drive(config_of(tmp_path, forecast="forecast.json"), run)  # trains nothing, keeps when it was fixed
    assert again["forecast"] == found
    before = (run / "summary.json").read_bytes()
    write(path, {**ONE, "predicted": ours["measured"]}, made_by="me")  # after the fact
    with pytest.raises(InputError, match="should be the one that was fixed before the first training"):
        drive(config_of(tmp_path, forecast="forecast.json"), run)
    assert (run / "summary.json").read_bytes() == before


def test_a_forecast_that_comes_later_or_is_for_other_weights_is_refused(tmp_path: Path) -> None:
    drive(config_of(tmp_path), tmp_path / "run")
    write(tmp_path / "forecast.json", ONE)
    with pytest.raises(InputError, match="of another configuration"):
        drive(config_of(tmp_path, forecast="forecast.json"), tmp_path / "run")
    write(tmp_path / "forecast.json", {**ONE, "weights": {FIRST: 1.0}})
    with pytest.raises(InputError, match="is for other weights"):
        drive(config_of(tmp_path, forecast="forecast.json"), tmp_path / "new")
    write(tmp_path / "forecast.json", {**ONE, "target": "mixx"})
    with pytest.raises(InputError, match=r"key forecast: .*found 'mixx'; did you mean 'mix'"):
        drive(config_of(tmp_path, forecast="forecast.json"), tmp_path / "new")
    assert not (tmp_path / "new").exists()
