"""`mixwright prefer` as a person runs it: killed while specialists and while the generalist are trained, and errors."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")
pytest.importorskip("peft")

sys.path.insert(0, str(Path(__file__).parents[1] / "preference"))

from tiny_pairs import write_all
from typer.testing import CliRunner

from mixwright.cli.app import app

COMMAND = [sys.executable, "-m", "mixwright.cli.main", "prefer"]


def write_config(folder: Path, **changes) -> Path:
    values = {key: value for key, value in (write_all(folder) | changes).items() if value is not None}
    path = folder / f"prefer{len(list(folder.glob('*.yaml')))}.yaml"
    path.write_text(json.dumps(values), encoding="utf-8")
    return path


def start(*arguments: str | Path) -> subprocess.Popen:
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    pipe = subprocess.PIPE
    command = [*COMMAND, *map(str, arguments)]
    return subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, env=environment)


def kill_when(process: subprocess.Popen, place: Path, pattern: str) -> None:
    """Kill a command as soon as there is a file of its work."""
    until = time.monotonic() + 120
    while not any(place.glob(pattern)):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < until
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.communicate()


def test_killed_in_a_specialist_and_in_the_generalist_the_numbers_are_the_same(tmp_path: Path) -> None:
    training = {"steps": 12, "batch_size": 6, "learning_rate": 3e-3, "evaluate_every": 5}
    config = write_config(tmp_path, training=training)
    whole = start("train", config, "--run", tmp_path / "whole")
    run = tmp_path / "run"
    config = write_config(tmp_path, training={**training, "checkpoint_every": 1e-6})
    for pattern in ("specialists/abc/whole/checkpoints/checkpoint-2/trainer_state.json",
                    "trained/checkpoints/checkpoint-5/trainer_state.json"):  # fmt: skip
        kill_when(start("train", config, "--run", run), run, pattern)
    assert not (run / "summary.json").exists()
    last = start("train", config, "--run", run, "--json")
    out, err = last.communicate()
    assert last.returncode == 0, err
    _, err = whole.communicate()
    assert whole.returncode == 0, err
    for name in ("metrics.jsonl", "decisions.jsonl", "evaluation.jsonl", "model/model.safetensors"):
        assert (run / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name
    names = [sorted(p.name for p in (folder / "cache").glob("*.npz")) for folder in (run, tmp_path / "whole")]
    assert names[0] == names[1]
    for name in names[0]:
        with np.load(run / "cache" / name) as one, np.load(tmp_path / "whole" / "cache" / name) as other:
            for key in one.files:
                np.testing.assert_array_equal(one[key], other[key])
    assert json.loads(out)["sources"] == json.loads((tmp_path / "whole" / "summary.json").read_text())["sources"]


def test_specialists_show_and_report_in_the_terminal(tmp_path: Path) -> None:
    config = write_config(tmp_path, strategy=None, weights="uniform")
    runner = CliRunner()
    made = runner.invoke(app, ["prefer", "specialists", str(config), "--run", str(tmp_path / "s"), "-q"])
    assert made.exit_code == 0, made.output
    shown = runner.invoke(app, ["show", str(tmp_path / "s")])
    assert "Specialists of abc, digits, upper" in shown.output
    assert "dropped" in shown.output
    refused = runner.invoke(app, ["report", str(tmp_path / "s")])
    assert refused.exit_code == 2
    assert "which has no page; show it: mixwright show" in refused.output
    trained = runner.invoke(app, ["prefer", "train", str(config), "--run", str(tmp_path / "t")])
    assert trained.exit_code == 0, trained.output
    assert "average" in trained.output
    page = (tmp_path / "t" / "report.html").read_bytes()
    (tmp_path / "t" / "report.html").unlink()
    assert runner.invoke(app, ["report", str(tmp_path / "t")]).exit_code == 0
    assert (tmp_path / "t" / "report.html").read_bytes() == page
    assert "accuracy" in runner.invoke(app, ["show", str(tmp_path / "t")]).output


def test_schema_and_errors(tmp_path: Path) -> None:
    runner = CliRunner()
    schema = json.loads(runner.invoke(app, ["prefer", "train", "--schema"]).output)
    assert {"specialists", "strategy", "weights", "loss", "adapter"} <= set(schema["properties"])
    config = write_config(tmp_path, training={"stesp": 3})
    found = runner.invoke(app, ["prefer", "train", str(config), "--run", str(tmp_path / "run")])
    assert found.exit_code == 2
    assert "did you mean 'steps'?" in found.output
    assert not (tmp_path / "run").exists()
