"""What a confirmation says of a fit; the trainings are given by hand here."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")
pytest.importorskip("pydantic")
pytest.importorskip("typer")
pytest.importorskip("jinja2")

from tiny import KINDS, SETTINGS, write_tiny
from typer.testing import CliRunner

from mixwright import MixtureFile
from mixwright.cli.app import app
from mixwright.errors import InputError
from mixwright.experiment import drive, make
from mixwright.experiment.runs.confirm import BEST, confirm
from mixwright.report import render

SOURCES = list(KINDS)
NOISE = np.array([0.001, -0.001, 0.0])
Trainings = Callable[..., None]


@pytest.fixture
def config(tmp_path: Path) -> Path:
    write_tiny(tmp_path)
    own = {key: value for key, value in SETTINGS.items() if key != "proxy"}
    path = tmp_path / "train.yaml"
    path.write_text(json.dumps(own | {"targets": dict.fromkeys(("qa", "cases"), "target.jsonl")}))
    return path


@pytest.fixture
def trainings(monkeypatch: pytest.MonkeyPatch) -> Trainings:
    """Return what sets the losses {target: {arm: [by seed]}} that the comparison measures."""

    def measure(losses: dict[str, dict[str, Any]], **differences: Any) -> None:
        def comparison(made: Any, *_: Any) -> dict[str, Any]:
            arms = [arm.title for arm in made.arms]
            assert (made.over, made.seed, made.seeds) == ("incumbent", 1000, 3)
            measures = [
                {
                    "kind": "target", "quantity": "loss", "higher": False, "name": name,
                    "values": {arm: list(map(float, values[arm])) for arm in arms},
                    "differences": [{"arm": "proposal", "word": "better", "verdict": "", **differences}],
                }
                for name, values in losses.items()
            ]  # fmt: skip
            return {"targets": list(losses), "measures": measures, "seeds": [1000, 1001, 1002]}

        monkeypatch.setattr("mixwright.experiment.runs.confirm.drive", comparison)

    return measure


def fitted(folder: Path, target: Any = "qa", shift: float = 0.0, **more: Any) -> dict[str, Any]:
    """Fit a table in which greek helps qa, and letters cases; return the summary of `folder / "fit"`."""
    W = np.random.default_rng(0).dirichlet([1, 1, 1], 30)
    rows = [",".join(["run", *(f"w:{s}" for s in SOURCES), "loss:qa", "loss:cases"])]
    for i, w in enumerate(W):
        rows.append(
            ",".join(map(str, [f"r{i}", *w, 3 + shift - w[0] + 0.01 * np.sin(9 * i), 2 - w[2] + 0.01 * np.cos(9 * i)]))
        )
    (folder / "runs.csv").write_text("\n".join(rows) + "\n")
    values = {"table": str(folder / "runs.csv"), "target": target, "law": "linear", **more}
    return drive(make("runs fit", values), folder / "fit")


def mixwright(*words: Any) -> str:
    done = CliRunner().invoke(app, [str(word) for word in words], env={"COLUMNS": "250"})
    assert done.exit_code == 0, done.output
    return " ".join(done.output.split())


@pytest.mark.parametrize(
    ("lead", "word", "says"),
    [
        (-0.2, "better", f"better than {BEST} by 0.2 loss"),
        (0.0, "no better", f"no better than {BEST} on this evidence"),
        (0.2, "worse", f"no better than {BEST}: worse by 0.2 loss"),
    ],
)
def test_the_fit_says_what_its_confirmation_found(
    tmp_path: Path, config: Path, trainings: Trainings, lead: float, word: str, says: str
) -> None:
    before = fitted(tmp_path)
    best = 2.3 + NOISE
    trainings({"qa": {"incumbent": best, "proposal": best + lead + 0.01 * NOISE[::-1], "uniform": 2.7 + NOISE}})
    found = confirm(tmp_path / "fit", config, tmp_path / "confirm")
    assert (found["word"], found["verdict"].startswith(says)) == (word, True)
    assert found["difference"]["estimate"] == pytest.approx(lead)
    assert found["difference"]["low"] < lead < found["difference"]["high"]
    summary = json.loads((tmp_path / "fit" / "summary.json").read_text())
    assert summary["verdict"] == found["verdict"] == MixtureFile.read(tmp_path / "fit" / "mixture.json").verdict
    assert {**summary, "verdict": before["verdict"]} == {**before, "confirmed": found}
    page = (tmp_path / "fit" / "report.html").read_text(encoding="utf-8")
    assert f"{word.capitalize()} than the best measured run" in page
    assert "not trained" not in page.lower()
    said = mixwright("show", tmp_path / "fit")
    assert f"verdict: {says}" in said
    assert "forecast: the intervals have" in said
    assert (
        drive(make("runs fit", json_config(tmp_path)), tmp_path / "fit")["verdict"] == found["verdict"]
    )  # fitted again
    mixwright("report", tmp_path / "fit")
    assert f"{word.capitalize()} than the best" in (tmp_path / "fit" / "report.html").read_text(encoding="utf-8")


def json_config(folder: Path) -> dict[str, Any]:
    return {"table": str(folder / "runs.csv"), "target": "qa", "law": "linear"}


def test_the_forecast_is_scored(tmp_path: Path, config: Path, trainings: Trainings) -> None:
    forecast = {one["name"]: one for one in fitted(tmp_path)["mixtures"]}
    errors = {"proposal": 0.004, "incumbent": -0.002, "uniform": 5.0}
    trainings({"qa": {name: forecast[name]["predicted"] + error + NOISE for name, error in errors.items()}})
    found = confirm(tmp_path / "fit", config, tmp_path / "confirm")
    assert [one["error"] for one in found["mixtures"]] == pytest.approx(list(errors.values()))
    assert [one["inside"] for one in found["mixtures"]] == [True, True, False]
    assert found["forecast"] == {"of": 3, "inside": 2, "shift": pytest.approx(5.002 / 3)}
    predicted = forecast["proposal"]["predicted"] - forecast["incumbent"]["predicted"]
    assert found["difference"]["predicted"] == pytest.approx(predicted)
    assert found["difference"]["estimate"] == pytest.approx(predicted + 0.006)
    said = mixwright("show", tmp_path / "fit")
    assert "the intervals have 2 of 3 measured losses" in said
    assert "another size" not in said
    page = (tmp_path / "fit" / "report.html").read_text(encoding="utf-8")
    states = [page.count(f'<span class="state {state}</span>') for state in ('better">inside', 'worse">outside')]
    assert states == [2, 1]
    summary = json.loads((tmp_path / "fit" / "summary.json").read_text())
    nothing = {"predicted": None, "low": None, "high": None, "error": None, "inside": None}
    summary["confirmed"]["mixtures"][2] |= nothing
    assert '<span class="under"><bdi>no forecast</bdi></span></th><td class="num">–</td>' in render("runs", summary)
    summary["confirmed"]["mixtures"][2] |= {"inside": "perhaps"}
    with pytest.raises(InputError, match=r"confirmed\.mixtures\[2\]\.inside should be true, false or null"):
        render("runs", summary)


def test_trainings_of_another_size_move_all_losses(tmp_path: Path, config: Path, trainings: Trainings) -> None:
    forecast = fitted(tmp_path)["mixtures"]
    trainings({"qa": {one["name"]: one["predicted"] - 1 + NOISE for one in forecast}})
    found = confirm(tmp_path / "fit", config, tmp_path / "confirm")
    assert found["forecast"] == {"of": 3, "inside": 0, "shift": pytest.approx(-1)}
    assert "another size" in mixwright("show", tmp_path / "fit")
    assert "another size" in (tmp_path / "fit" / "report.html").read_text(encoding="utf-8")


def test_several_targets_count_by_their_shares(tmp_path: Path, config: Path, trainings: Trainings) -> None:
    fitted(tmp_path, {"qa": 3, "cases": 1})
    qa = {"incumbent": 2.4 + NOISE, "proposal": 2.2 + NOISE, "uniform": 2.7 + NOISE}
    cases = {"incumbent": 1.6 + NOISE, "proposal": 1.8 + NOISE, "uniform": 1.7 - NOISE}
    trainings({"qa": qa, "cases": cases})
    found = {one["name"]: one for one in confirm(tmp_path / "fit", config, tmp_path / "confirm")["mixtures"]}
    assert found["proposal"]["measured"] == pytest.approx(0.75 * 2.2 + 0.25 * 1.8)
    assert found["uniform"]["by_seed"] == pytest.approx(0.75 * 2.7 + 0.25 * 1.7 + 0.5 * NOISE)


def test_the_worst_regret_is_measured_by_what_the_law_expects_of_each_target_alone(
    tmp_path: Path, config: Path, trainings: Trainings
) -> None:
    summary = fitted(tmp_path, ["qa", "cases"], objective="worst_regret")
    alone = {target["name"]: target["alone"] for target in summary["targets"]}
    assert alone == pytest.approx({"qa": 2, "cases": 1}, abs=0.05)  # of one source alone
    qa = {"incumbent": 2.4 + NOISE, "proposal": 2.5 + NOISE, "uniform": 2.7 + NOISE}
    cases = {"incumbent": 1.7 + NOISE, "proposal": 1.5 - NOISE, "uniform": 1.1 + NOISE}
    trainings({"qa": qa, "cases": cases})
    found = {one["name"]: one for one in confirm(tmp_path / "fit", config, tmp_path / "confirm")["mixtures"]}
    assert found["incumbent"]["by_seed"] == pytest.approx(1.7 + NOISE - alone["cases"])
    assert found["uniform"]["by_seed"] == pytest.approx(2.7 + NOISE - alone["qa"])
    worse = np.maximum(2.5 + NOISE - alone["qa"], 1.5 - NOISE - alone["cases"])
    assert found["proposal"]["by_seed"] == pytest.approx(worse)


def test_what_the_comparison_doubts_is_not_confirmed(tmp_path: Path, config: Path, trainings: Trainings) -> None:
    fitted(tmp_path)
    losses = {"incumbent": 2.4 + NOISE, "proposal": 2.2 + NOISE, "uniform": 2.7 - NOISE}
    trainings({"qa": losses}, word="unverified", verdict="unverified: 30 documents are in greek")
    found = confirm(tmp_path / "fit", config, tmp_path / "confirm")
    assert (found["word"], found["verdict"]) == ("unverified", "unverified: 30 documents are in greek")


def test_another_fit_in_the_folder_is_not_confirmed(tmp_path: Path, config: Path, trainings: Trainings) -> None:
    forecast = fitted(tmp_path)["mixtures"]
    trainings({"qa": {one["name"]: one["predicted"] + NOISE for one in forecast}})
    confirm(tmp_path / "fit", config, tmp_path / "confirm")
    with pytest.raises(InputError, match=r"holds a fit of another configuration .*choose another folder"):
        fitted(tmp_path, "cases")
    assert json.loads((tmp_path / "fit" / "summary.json").read_text())["targets"][0]["name"] == "qa"
    again = fitted(tmp_path, shift=0.1)  # the same settings, and a table with other losses
    assert again["verdict"].startswith("unverified")
    assert "confirmed" not in again
    assert any("is of another fit" in note for note in again["notes"])
    trainings({"qa": {one["name"]: one["predicted"] + NOISE for one in again["mixtures"]}})
    confirm(tmp_path / "fit", config, tmp_path / "confirm_again")
    once_more = json.loads((tmp_path / "fit" / "summary.json").read_text())
    assert once_more["confirmed"]
    assert once_more["notes"] == [note for note in again["notes"] if "is of another fit" not in note]
    assert "is of another fit" not in (tmp_path / "fit" / "report.html").read_text()


def test_what_cannot_be_trained_beside_is_said_first(tmp_path: Path, config: Path) -> None:
    fitted(tmp_path)
    with pytest.raises(InputError, match=r"should be a mixture\.json, found none"):
        confirm(tmp_path / "fit", config, tmp_path / "confirm", beside={"ours": tmp_path / "no.json"})
    with pytest.raises(InputError, match="another name than proposal, incumbent, uniform"):
        confirm(tmp_path / "fit", config, tmp_path / "confirm", beside={"uniform": tmp_path / "no.json"})
    assert not (tmp_path / "confirm").exists()
    assert not (tmp_path / "fit" / "confirmed.json").exists()
