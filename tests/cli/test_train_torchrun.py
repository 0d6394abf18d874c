"""`mixwright train` as torchrun starts it: two ranks on the CPU find what one process with two micro-batches does."""

import json
import os
import shutil
import socket
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
    return folder


def start(folder, name, *launch):
    """Start torchrun with `mixwright train` in a folder."""
    config = CONFIG | {"training": TRAINING | {"parallel": "ddp"}}
    (folder / f"{name}.yaml").write_text(json.dumps(config))  # JSON is YAML
    command = [TORCHRUN, *launch, "-m", "mixwright.cli.main", "train", f"{name}.yaml", "--folder", f"runs/{name}"]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    return subprocess.Popen(command, cwd=folder, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def check(folder, name, launchers):
    """Wait for launchers, and assert that together they left what one process did."""
    said = [launcher.communicate(timeout=900) for launcher in launchers]
    assert [launcher.returncode for launcher in launchers] == [0] * len(said), "".join(err for _, err in said)[:4000]
    assert "".join(out for out, _ in said).count("held-out: average") == 1  # rank 0 alone speaks
    (losses, decided, model), found = left(folder / "run"), left(folder / "runs" / name)
    np.testing.assert_allclose(found[0], losses, rtol=1e-4)
    np.testing.assert_allclose(found[1], decided, atol=2e-3)
    for key, values in model.items():
        if not key.endswith("query_key_value.bias"):  # a key's bias has no gradient but rounding
            np.testing.assert_allclose(found[2][key], values, atol=2e-3, err_msg=key)


on_torchrun = pytest.mark.skipif(
    TORCHRUN is None or not torch.distributed.is_available(), reason="torchrun is not installed"
)


@pytest.mark.slow
@on_torchrun
def test_two_ranks_under_torchrun_are_one_process(one):
    """DDP alone: FSDP2 differs in how the model is wrapped, which tests/training/test_ranks.py is about."""
    check(one, "ddp", [start(one, "ddp", "--standalone", "--nproc-per-node", "2")])


@pytest.mark.slow
@on_torchrun
def test_two_launchers_that_meet_as_two_nodes_do_are_one_process(one):
    """Each has one rank, and they find each other by the rendezvous that docs/train.md shows."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        place = f"localhost:{free.getsockname()[1]}"
    launch = ["--nnodes", "2", "--nproc-per-node", "1", "--rdzv-backend", "c10d", "--rdzv-id", "first"]
    launch += ["--rdzv-endpoint", place, "--local-addr", "localhost"]
    check(one, "nodes", [start(one, "nodes", *launch) for _ in range(2)])
