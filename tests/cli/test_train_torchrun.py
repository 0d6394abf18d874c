"""`mixwright train` as torchrun starts it: two ranks on the CPU find what one process with two micro-batches does."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")
sys.path.append(str(Path(__file__).parents[1] / "experiment"))

from safetensors.numpy import load_file  # noqa: E402
from tiny import SETTINGS, write_tiny  # noqa: E402

from mixwright.experiment import drive, make  # noqa: E402

TORCHRUN = shutil.which("torchrun", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))
CONFIG = {
    "sources": SETTINGS["sources"], "held_out": 0.2, "model": SETTINGS["model"],
    "strategy": {"name": "PiKE", "rule": "restoring"},
}  # fmt: skip
TRAINING = {"steps": 8, "batch_size": 8, "context": 32, "learning_rate": 3e-3, "observe_every": 2, "lag": 1}


def left(folder):
    """Return the losses of the steps, the weights of the decisions, and the model."""
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    decided = [json.loads(line)["weights"] for line in (folder / "decisions.jsonl").read_text().splitlines()]
    return [line["loss"] for line in lines], decided, load_file(folder / "model" / "model.safetensors")


@pytest.fixture(scope="module")
def one(tmp_path_factory):
    folder = tmp_path_factory.mktemp("one")
    write_tiny(folder)
    drive(make("train", CONFIG | {"training": TRAINING | {"accumulate": 2}}, folder=folder), folder / "run")
    return folder, left(folder / "run")


@pytest.mark.slow
@pytest.mark.skipif(TORCHRUN is None or not torch.distributed.is_available(), reason="torchrun is not installed")
def test_two_ranks_under_torchrun_are_one_process(one):
    """DDP alone: FSDP2 differs in how the model is wrapped, which tests/training/test_ranks.py is about."""
    folder, (losses, decided, model) = one
    kind = "ddp"
    config = CONFIG | {"training": TRAINING | {"parallel": kind}}
    (folder / f"{kind}.yaml").write_text(json.dumps(config))  # JSON is YAML
    command = [TORCHRUN, "--standalone", "--nproc-per-node", "2", "-m", "mixwright.cli.main"]
    command += ["train", f"{kind}.yaml", "--folder", f"runs/{kind}"]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr[:4000]
    assert done.stdout.count("held-out: average") == 1  # rank 0 alone speaks
    found = left(folder / "runs" / kind)
    np.testing.assert_allclose(found[0], losses, rtol=1e-4)
    np.testing.assert_allclose(found[1], decided, atol=2e-3)
    for name, values in model.items():
        if not name.endswith("query_key_value.bias"):  # a key's bias has no gradient but rounding
            np.testing.assert_allclose(found[2][name], values, atol=2e-3, err_msg=name)
