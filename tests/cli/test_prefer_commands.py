"""`mixwright prefer specialists` and `prefer train` as a person runs them: what is shown, and errors."""

import json
import sys
from pathlib import Path

import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")
pytest.importorskip("peft")

sys.path.insert(0, str(Path(__file__).parents[1] / "preference"))

from tiny_pairs import write_all
from typer.testing import CliRunner

from mixwright.cli.app import app


def write_config(folder: Path, **changes) -> Path:
    values = {key: value for key, value in (write_all(folder) | changes).items() if value is not None}
    path = folder / f"prefer{len(list(folder.glob('*.yaml')))}.yaml"
    path.write_text(json.dumps(values), encoding="utf-8")
    return path


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
