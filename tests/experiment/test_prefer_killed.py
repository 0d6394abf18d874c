"""kill -9 while a specialist and while the generalist is trained: the numbers are those of an undisturbed run."""

import signal
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")
pytest.importorskip("peft")

sys.path.insert(0, str(Path(__file__).parents[1] / "preference"))

from tiny_pairs import write_all

from forked import exit_code
from killing import Die
from mixwright.experiment import drive, make, read_summary
from mixwright.experiment.core.stages import silent

TRAINING = {"steps": 12, "batch_size": 6, "learning_rate": 3e-3, "evaluate_every": 5}
FILES = ("metrics.jsonl", "decisions.jsonl", "evaluation.jsonl", "model/model.safetensors")


def train(values: dict[str, Any], folder: Path, run: Path, progress: Any = silent) -> None:
    drive(make("prefer train", values, folder=folder), run, progress)


@pytest.mark.slow
def test_killed_in_a_specialist_and_in_the_generalist(tmp_path: Path) -> None:
    values = write_all(tmp_path) | {"training": TRAINING}
    often = values | {"training": {**TRAINING, "checkpoint_every": 1e-6}}
    whole, run = tmp_path / "whole", tmp_path / "run"
    for stage, at, place in (("specialists", 150, "specialists/abc/whole"), ("train", 400, "trained")):
        assert exit_code(train, often, tmp_path, run, Die(stage, at)) == -signal.SIGKILL
        assert any((run / place).glob("checkpoints/checkpoint-*/trainer_state.json"))
        assert not (run / "summary.json").exists()
    for folder in (run, whole):
        assert exit_code(train, values, tmp_path, folder) == 0
    for name in FILES:
        assert (run / name).read_bytes() == (whole / name).read_bytes(), name
    names = [sorted(path.name for path in (folder / "cache").glob("*.npz")) for folder in (run, whole)]
    assert names[0] == names[1]
    for name in names[0]:
        with np.load(run / "cache" / name) as one, np.load(whole / "cache" / name) as other:
            for key in one.files:
                np.testing.assert_array_equal(one[key], other[key])
    summaries = [read_summary(folder) for folder in (run, whole)]
    assert summaries[0]["sources"] == summaries[1]["sources"]
    assert summaries[0]["curve"] == summaries[1]["curve"]
