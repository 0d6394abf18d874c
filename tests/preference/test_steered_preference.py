"""A PreferenceTrainer, and `mixwright prefer train`, whose weights are changed by hand under way."""

import json

import numpy as np
import pytest
from pairings import NAMES, Logs, parameters, torch, trainer
from tiny_pairs import TRAINING, write_all
from typer.testing import CliRunner

from mixwright import AMAR, AMAS
from mixwright.cli.app import app
from mixwright.errors import AlarmWarning
from mixwright.experiment import drive
from mixwright.experiment import make as configured
from mixwright.steering.known import read_record
from mixwright.steering.orders import CONTROL
from orders_by_hand import Orders


def run(folder, strategy, orders=(), resume=None, **options):
    settings = {"max_steps": 9, "save_steps": 2, "logging_steps": 1}
    new = trainer(folder, strategy, settings=settings, log=folder / "log.jsonl", **options)
    logs = Logs(new.steps)
    new.add_callback(logs)
    new.add_callback(Orders(folder, orders))
    new.train(resume_from_checkpoint=resume)
    weights = [[line[f"mixture/weight/{name}"] for name in NAMES] for line in logs.lines if "loss" in line]
    return new, weights, (folder / "log.jsonl").read_text()


@pytest.mark.parametrize("strategy", [AMAR(2.0), AMAS(2.0)])
def test_a_steered_training_resumed_from_before_the_orders_is_that_schedule(tmp_path, strategy):
    orders = {2: {"pin": {"a": 0.5}}, 3: {"weights": {"a": 0.5, "c": 0.5}, "at": 6}, 6: {"undo": True}}
    steered, weights, decided = run(tmp_path / "steered", strategy, orders)
    record = read_record(tmp_path / "steered")
    assert [line.get("at") for line in record] == [None, 4, 6, 8]
    (tmp_path / "whole").mkdir()
    schedule = [{**line["order"], "at": line["at"]} for line in record[1:]]
    (tmp_path / "whole" / CONTROL).write_text(json.dumps(schedule) + "\n")
    whole, scheduled, decisions = run(tmp_path / "whole", strategy)
    again, after, decided_again = run(tmp_path / "steered", strategy, resume=str(tmp_path / "steered" / "checkpoint-2"))
    assert weights == scheduled
    assert after == scheduled[2:]
    assert decided == decided_again == decisions
    for other in (steered, again):
        assert torch.equal(parameters(other.model), parameters(whole.model))
    assert [round(w[0], 9) == 0.5 for w in weights] == [False] * 4 + [True] * 5
    assert weights[6] == weights[7] == [0.5, 0.0, 0.5]
    assert weights[8][1] > 0


def test_bad_orders_are_ignored_with_an_alarm_and_the_training_goes_on(tmp_path):
    orders = {1: "- pin: {a: 0.2", 2: "- pin: {nobody: 0.2}\n- {weights: {b: 1.0}, at: 6}\n"}
    with pytest.warns(AlarmWarning) as said:
        _, weights, _ = run(tmp_path, "uniform", orders)
    alarms = [str(each.message) for each in said if each.category is AlarmWarning]
    assert len(alarms) == 2
    assert "should end with a line break" in alarms[0]
    assert "'nobody'" in alarms[1]
    np.testing.assert_allclose(weights, [[1 / 3] * 3] * 6 + [[0, 1, 0]] * 3)


@pytest.mark.parametrize("weights", [{"strategy": "AMAS"}, {"weights": "uniform"}])
def test_the_command_is_steered_stopped_and_resumed(tmp_path, weights):
    values = {key: value for key, value in write_all(tmp_path).items() if key != "strategy"} | weights
    values["training"] = {**TRAINING, "checkpoint_every": 1e-6}
    config, folder = configured("prefer train", values, folder=tmp_path), tmp_path / "run"

    def mixwright(*words):
        done = CliRunner().invoke(app, [*map(str, words)], env={"COLUMNS": "200", "TERM": "dumb"})
        assert done.exit_code == 0, done.output
        return done.output

    names, calls = list(config.sources), []

    def progress(stage, done, total, note=""):
        if stage == "train":
            calls.append(done)
            if len(calls) == 2:
                mixwright("steer", folder, "--pin", f"{names[0]}=.5")
            if len(calls) == 4:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        drive(config, folder, progress)
    (folder / CONTROL).write_text((folder / CONTROL).read_text() + "- pin: {nobody: 0.1}\n")
    with pytest.warns(AlarmWarning, match="'nobody'"):
        summary = drive(config, folder)
    assert [line.get("at") is not None for line in summary["steering"]] == [True, False]
    at = summary["steering"][0]["at"]
    assert f"changed by hand in the run: pin {names[0]} 0.5 (from step {at})" in mixwright("show", folder)
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    pinned = [line[f"mixture/weight/{names[0]}"] == pytest.approx(0.5) for line in lines]
    assert pinned == [False] * at + [True] * (len(lines) - at)
    assert "by hand: pins" in (folder / "report.html").read_text()
    whole = tmp_path / "whole"
    whole.mkdir()
    (whole / CONTROL).write_text(json.dumps([{**summary["steering"][0]["order"], "at": at}]) + "\n")
    drive(config, whole)
    for name in ("metrics.jsonl", "decisions.jsonl", "model/model.safetensors"):
        assert (whole / name).read_bytes() == (folder / name).read_bytes()
