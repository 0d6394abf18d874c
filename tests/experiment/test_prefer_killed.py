"""kill -9 while a specialist and while the generalist is trained: the numbers are those of an undisturbed run."""

import multiprocessing
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")
pytest.importorskip("peft")

sys.path.insert(0, str(Path(__file__).parents[1] / "preference"))

from tiny_pairs import write_all

from mixwright.experiment.text.summary import read_summary

TRAINING = {"steps": 12, "batch_size": 6, "learning_rate": 3e-3, "evaluate_every": 5}
FILES = ("metrics.jsonl", "decisions.jsonl", "evaluation.jsonl", "model/model.safetensors")


def train(values: dict[str, Any], folder: Path, run: Path) -> None:
    """Do the training in this process."""
    import torch

    from mixwright.experiment.preference.config import make_prefer_config
    from mixwright.experiment.preference.train import run_prefer_train
    from mixwright.experiment.preference.train_config import PreferConfig

    torch.set_num_threads(1)
    run_prefer_train(make_prefer_config(PreferConfig, values, folder=folder), run)


@pytest.fixture(scope="module")
def processes():
    """Processes that begin with everything imported."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["mixwright.experiment.preference.train", "mixwright.preference.fitting", "peft"])
    return context


def kill_when(process: Any, place: Path, pattern: str) -> None:
    process.start()
    until = time.monotonic() + 300
    while not any(place.glob(pattern)):
        assert process.is_alive(), f"ended before there was {pattern}"
        assert time.monotonic() < until
        time.sleep(0.001)
    process.kill()
    process.join()
    assert process.exitcode == -9


def test_killed_in_a_specialist_and_in_the_generalist(tmp_path: Path, processes) -> None:
    values = write_all(tmp_path) | {"training": TRAINING}
    often = values | {"training": {**TRAINING, "checkpoint_every": 1e-6}}
    whole, run = tmp_path / "whole", tmp_path / "run"
    for pattern in (
        "specialists/abc/whole/checkpoints/checkpoint-2/trainer_state.json",
        "trained/checkpoints/checkpoint-5/trainer_state.json",
    ):
        kill_when(processes.Process(target=train, args=(often, tmp_path, run)), run, pattern)
        assert not (run / "summary.json").exists()
    ends = [processes.Process(target=train, args=(values, tmp_path, folder)) for folder in (run, whole)]
    for process in ends:
        process.start()
    for process in ends:
        process.join()
        assert process.exitcode == 0
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
