"""`mixwright compare` in processes that are killed at random moments; with an error."""

import html
import json
import os
import random
import signal
from pathlib import Path

import pytest
from typer.testing import CliRunner

pytest.importorskip("torch")
pytest.importorskip("transformers")

from forked import command, exit_code
from killing import Die
from mixwright.cli.app import app
from mixwright.experiment import drive, load

KILLS = int(os.environ.get("MIXWRIGHT_KILLS", "2"))
MODEL = {"model_type": "gpt_neox", "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}


def write_config(folder: Path) -> Path:
    rng = random.Random(1)
    for name, kind in (("a", "alpha beta gamma"), ("b", "one two three"), ("t", "alpha one two")):
        texts = [" ".join(rng.choice(kind.split()) for _ in range(40)) for _ in range(60)]
        (folder / f"{name}.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    config = {
        "sources": {"a": "a.jsonl", "b": "b.jsonl"},
        "targets": {"t": "t.jsonl"},
        "held_out": 0.2,
        "model": MODEL,
        "proxy": {"tokens": 1500},
        "search": {"shrinkage": 0.1},
        "final": {"tokens": 8000, "batch_size": 4, "context": 32, "learning_rate": 3e-3},
        "arms": ["uniform", "mixmin", {"strategy": {"name": "Temperature", "temperature": 2}, "prior": "natural"}],
        "seeds": 2,
        "compute": {"cores": 2},
    }
    path = folder / "compare.yaml"
    path.write_text(json.dumps(config))
    return path


def compare_and_die(config: Path, run: Path, stage: str, at: int) -> None:
    drive(load("compare", config), run, Die(stage, at))


@pytest.mark.slow
def test_killed_at_random_moments_and_resumed_gives_the_same_table_and_page(tmp_path: Path) -> None:
    config, run, alone = write_config(tmp_path), tmp_path / "run", tmp_path / "alone.yaml"
    alone.write_text(json.dumps(json.loads(config.read_text()) | {"compute": {"cores": 1}}))
    whole = command("compare", alone, "--run", tmp_path / "whole")
    assert whole.returncode == 0, whole.stderr
    assert "no better than" in whole.stdout or "better" in whole.stdout.lower()
    rng = random.Random(7)
    for stage, at in [("proxies", 1), *(("trainings", rng.randint(1, 500)) for _ in range(KILLS - 1))]:
        assert exit_code(compare_and_die, alone, run, stage, at) == -signal.SIGKILL
    last = command("compare", config, "--run", run, "--json")  # goes on with two cores
    assert last.returncode == 0, last.stderr
    assert (run / "cells.csv").read_bytes() == (tmp_path / "whole" / "cells.csv").read_bytes()
    summaries, pages = [], []
    for folder in (run, tmp_path / "whole"):
        summary = json.loads((folder / "summary.json").read_text())
        words = html.escape(summary.pop("command"))
        summary.pop("created")
        page = (folder / "report.html").read_text()
        assert words in page
        summaries.append(summary)
        pages.append(page.replace(words, ""))
    assert summaries[0] == summaries[1]
    assert pages[0] == pages[1]
    assert json.loads(last.stdout)["verdict"]


def test_errors_are_one_line_and_leave_nothing(tmp_path: Path) -> None:
    config = write_config(tmp_path)
    values = json.loads(config.read_text())
    config.write_text(json.dumps(values | {"arms": ["uniform", "Uniform"]}))
    shown = CliRunner().invoke(app, ["compare", str(config), "--run", str(tmp_path / "run")], env={"COLUMNS": "120"})
    assert shown.exit_code == 2
    assert "there is no arm 'Uniform'; did you mean 'uniform'" in shown.stderr
    assert "Traceback" not in shown.stderr
    assert not (tmp_path / "run").exists()
