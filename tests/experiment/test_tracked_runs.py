"""Runs of every kind with a tracker: what it has equals what the run wrote down."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")
pytest.importorskip("tensorboard")

sys.path.insert(0, str(Path(__file__).parents[1] / "preference"))

from comparing import FIRST, make
from test_likelihoods_run import write_csv
from typer.testing import CliRunner

from event_files import read_events
from mixwright.cli.app import app
from mixwright.errors import AlarmWarning, InputError
from mixwright.experiment import drive
from mixwright.experiment import make as configured
from mixwright.watching.trackers.tracker import tracker_of

TRACK = {"track": ["tensorboard"]}
SHORT = {"tokens": 640, "batch_size": 4, "context": 32, "evaluate_every": 5}


def lines_of(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def same(found, lines, key):
    """Whether a tracker has a number of each line that has one, as a float32."""
    wanted = [(line["step"], np.float32(key(line))) for line in lines if key(line) is not None]
    return len(wanted) > 0 and found == wanted


def test_each_training_of_a_comparison_is_a_run_of_its_own(tmp_path, monkeypatch):
    compared = {"arms": ["uniform"], "targets": {"mix": "target.jsonl"}, "final": SHORT, **TRACK}
    drive(make(tmp_path, **compared), tmp_path / "run")
    for folder in (tmp_path / "run" / "trainings").iterdir():
        numbers, words = read_events(folder / "tensorboard")
        about = json.loads(words["config"][0].strip("`\n"))
        assert (about["group"], about["arm"], about["name"]) == ("run", "uniform", f"uniform, seed {about['seed']}")
        lines = lines_of(folder)
        assert same(numbers["loss"], lines, lambda line: line["loss"])
        assert same(numbers[f"loss/{FIRST}"], lines, lambda line: line["source_loss"].get(FIRST))
        assert same(numbers[f"weight/{FIRST}"], lines, lambda line: line["weights"][FIRST])
        assert "target_loss/mix" in numbers
    monkeypatch.setattr("mixwright.watching.trackers.tracker.find_spec", lambda name: None)
    with pytest.raises(InputError, match="tensorboard should be installed"):
        drive(make(tmp_path, **compared, seeds=3), tmp_path / "run")


def test_a_preference_training_and_its_held_out_pairs(tmp_path):
    pytest.importorskip("peft")
    from tiny_pairs import write_all

    config = configured(
        "prefer train", {**write_all(tmp_path), "specialists": None, "strategy": "GroupDRO", **TRACK}, folder=tmp_path
    )
    drive(config, tmp_path / "run")
    numbers, words = read_events(tmp_path / "run" / "tensorboard")
    lines = lines_of(tmp_path / "run")
    for key in ("weight", "loss", "share", "accuracy"):
        assert same(numbers[f"{key}/abc"], lines, lambda line, key=key: line.get(f"mixture/{key}/abc")), key
    assert len(words["decision"]) == len((tmp_path / "run" / "decisions.jsonl").read_text().splitlines())
    measured = [json.loads(line) for line in (tmp_path / "run" / "evaluation.jsonl").read_text().splitlines()]
    assert same(numbers["held_out_accuracy/abc"], measured, lambda line: line["sources"]["abc"]["accuracy"])


def test_a_search_has_its_weights_and_its_verdict(tmp_path):
    config = {
        "kind": "likelihoods",
        "table": {"path": str(write_csv(tmp_path))},
        "targets": ["law"],
        "search": {"shrinkage": 0.1},
    }
    summary = drive(configured("search", config | TRACK, folder=tmp_path), tmp_path / "run")
    numbers, words = read_events(tmp_path / "run" / "tensorboard")
    mixture = json.loads((tmp_path / "run" / "mixture.json").read_text())
    for name, weight in zip(mixture["sources"], mixture["weights"], strict=True):
        assert numbers[f"weight/{name}"] == [(0, np.float32(weight))]
    assert words["verdict"] == [summary["verdict"]]


def test_a_tracker_that_fails_at_its_end_is_noted_in_the_summary_and_on_the_page(tmp_path, monkeypatch):
    class Failing(tracker_of("tensorboard")):
        def close(self, failed):
            raise OSError("the server is gone")

    monkeypatch.setattr("mixwright.watching.trackers.tracked.tracker_of", lambda name: Failing)
    config = {"kind": "likelihoods", "table": str(write_csv(tmp_path)), "search": {"shrinkage": 0.1}, **TRACK}
    with pytest.warns(AlarmWarning, match="the server is gone"):
        summary = drive(configured("search", config, folder=tmp_path), tmp_path / "run")
    note = "the tracker tensorboard failed and got nothing from then on (OSError: the server is gone)"
    assert [note in each for each in summary["notes"]].count(True) == 1
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["notes"] == summary["notes"]
    assert note in (tmp_path / "run" / "report.html").read_text()


def test_trackers_are_chosen_in_the_file_or_on_the_command_line_alone(tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)  # asks for nothing
    path = write_csv(tmp_path)
    (tmp_path / "search.yaml").write_text(
        f"kind: likelihoods\ntable: {path}\ntargets: law\nsearch: {{shrinkage: 0.1}}\n"
    )
    words = ["search", str(tmp_path / "search.yaml"), "--run"]
    assert CliRunner().invoke(app, [*words, str(tmp_path / "plain")]).exit_code == 0
    assert not (tmp_path / "plain" / "tracked.json").exists()
    assert CliRunner().invoke(app, [*words, str(tmp_path / "run"), "--track", "tensorboard"]).exit_code == 0
    assert json.loads((tmp_path / "run" / "tracked.json").read_text())["ended"] is True
    wrong = CliRunner().invoke(app, [*words, str(tmp_path / "other"), "--track", "tensorbord"])
    assert wrong.exit_code == 2
    assert "should be 'tensorboard', 'wandb', 'mlflow' or 'trackio'" in " ".join(wrong.output.split())
    monkeypatch.setattr("mixwright.watching.trackers.tracker.find_spec", lambda name: None)
    with pytest.raises(InputError, match="key track: tensorboard should be installed"):
        drive(configured("search", {"kind": "likelihoods", "table": str(path), **TRACK}), tmp_path / "none")
    assert not (tmp_path / "none").exists()
