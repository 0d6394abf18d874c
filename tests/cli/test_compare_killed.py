"""`mixwright compare` as a person runs it: killed at random moments, in processes, with errors."""

import html
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

KILLS = int(os.environ.get("MIXWRIGHT_KILLS", "2"))
COMMAND = [sys.executable, "-m", "mixwright.cli.main", "compare"]
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


def start(config: Path, run: Path, *more: str) -> subprocess.Popen:
    environment = os.environ | {"COLUMNS": "120"}
    pipe = subprocess.PIPE
    return subprocess.Popen(
        [*COMMAND, str(config), "--run", str(run), *more], stdout=pipe, stderr=pipe, text=True, env=environment
    )


@pytest.mark.slow
def test_killed_at_random_moments_and_resumed_gives_the_same_table_and_page(tmp_path: Path) -> None:
    config = write_config(tmp_path)
    begun = time.monotonic()
    whole = start(config, tmp_path / "whole")
    out, err = whole.communicate()
    assert whole.returncode == 0, err
    assert "no better than" in out or "better" in out.lower()
    took = time.monotonic() - begun
    rng, run = random.Random(7), tmp_path / "run"
    for _ in range(KILLS):
        process = start(config, run)
        try:
            process.wait(rng.uniform(0.3, 0.9) * took)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
        process.communicate()
    last = start(config, run, "--json")
    out, err = last.communicate()
    assert last.returncode == 0, err
    assert (run / "cells.csv").read_bytes() == (tmp_path / "whole" / "cells.csv").read_bytes()
    summaries, pages = [], []
    for folder in (run, tmp_path / "whole"):
        summary = json.loads((folder / "summary.json").read_text())
        command = html.escape(summary.pop("command"))
        summary.pop("created")
        page = (folder / "report.html").read_text()
        assert command in page
        summaries.append(summary)
        pages.append(page.replace(command, ""))
    assert summaries[0] == summaries[1]
    assert pages[0] == pages[1]
    assert json.loads(out)["verdict"]


def test_errors_are_one_line_and_leave_nothing(tmp_path: Path) -> None:
    config = write_config(tmp_path)
    values = json.loads(config.read_text())
    config.write_text(json.dumps(values | {"arms": ["uniform", "Uniform"]}))
    process = start(config, tmp_path / "run")
    _, err = process.communicate()
    assert process.returncode == 2
    assert "there is no arm 'Uniform'; did you mean 'uniform'" in err
    assert "Traceback" not in err
    assert not (tmp_path / "run").exists()
