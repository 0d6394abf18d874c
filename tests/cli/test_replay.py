"""`mixwright replay` as a person runs it."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
from typer.testing import CliRunner

from mixwright import BalancedPiKE, Mixture, PiKE, replay
from mixwright.cli.app import app
from mixwright.testing import observations


def mixwright(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "mixwright.cli.main", *map(str, arguments)],
        capture_output=True,
        text=True,
        env=os.environ | {"COLUMNS": "120"},
        check=False,
    )


@pytest.fixture
def run(tmp_path):
    mixture = Mixture(["en", "[bold]hi", "sw"], PiKE(), log=tmp_path / "decisions.jsonl")
    for obs in observations(3, 6):
        mixture.observe(obs)
    return tmp_path


def test_replay(run):
    shown = mixwright("replay", run, "--strategy", "balanced-pike")
    assert shown.returncode == 0, shown.stderr
    assert "Weights on 6 observations (steps 6 to 41)" in shown.stdout
    assert "[bold]hi" in shown.stdout
    assert "a dry run" in shown.stdout
    (run / "strategy.yaml").write_text("strategy: {name: BalancedPiKE, tau: 3, wrap: [{name: Every, steps: 10}]}\n")
    arguments = ["replay", str(run / "decisions.jsonl"), "--strategy", str(run / "strategy.yaml"), "--json"]
    found = json.loads(CliRunner().invoke(app, arguments).stdout)
    assert found["strategy"].startswith("Every(strategy=BalancedPiKE(")
    assert found["steps"] == [6, 13, 20, 27, 34, 41]
    assert found["recorded_strategy"] == repr(PiKE())
    inline = ["--json", "replay", str(run), "--strategy", "{name: BalancedPiKE, tau: 3}"]
    found = json.loads(CliRunner().invoke(app, inline).stdout)
    np.testing.assert_allclose(found["replayed"], replay(run, BalancedPiKE(3)))
    differences = np.abs(np.array(found["replayed"]) - np.array(found["recorded"])).sum(1) / 2
    np.testing.assert_allclose(found["distance"], differences)


@pytest.mark.parametrize(
    ("strategy", "says"),
    [
        ("pyke", "did you mean 'PiKE'"),
        ("{name: PiKE, flor: 1}", "did you mean 'floor'"),
        ("{name: PiKE", "--strategy should be a name or a mapping in YAML"),
        ("none.yaml", "none.yaml should be a YAML file with a strategy, found no such file"),
    ],
)
def test_bad_strategies(run, strategy, says):
    shown = CliRunner().invoke(app, ["replay", str(run), "--strategy", strategy])
    assert shown.exit_code == 2
    assert says in shown.stderr


def test_bad_runs(tmp_path):
    shown = mixwright("replay", tmp_path / "nothing", "--strategy", "pike")
    assert shown.returncode == 2
    assert "decision log of a run" in shown.stderr
    assert "Traceback" not in shown.stderr
    assert CliRunner().invoke(app, ["replay", str(tmp_path)]).exit_code == 2
    assert "mixwright replay" in CliRunner().invoke(app, ["replay", "--help"]).stdout
