"""Two ranks (gloo, CPU) under DDP are one process with the same batches; a training that was killed goes on."""

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the Trainer needs torch")

from preference_on_a_rank import CASES, run  # noqa: E402

from mixwright.preference.trainer import last_complete_checkpoint  # noqa: E402

HERE = Path(__file__).parent


def started(arguments, **environment):
    paths = os.pathsep.join([str(HERE), *filter(None, sys.path)])
    return subprocess.Popen(
        [sys.executable, str(HERE / "preference_on_a_rank.py"), *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1", **environment},
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


@pytest.mark.skipif(not torch.distributed.is_available(), reason="torch was built without distributed")
def test_two_ranks_are_one_process_with_the_same_batches(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    meeting = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": "2"}
    ranks = [started([rank, tmp_path], **meeting, RANK=str(rank), LOCAL_RANK=str(rank)) for rank in (0, 1)]
    errors = [rank.communicate(timeout=600)[1] for rank in ranks]
    assert [rank.returncode for rank in ranks] == [0, 0], "\n".join(errors)[-4000:]
    first, second = (json.loads((tmp_path / f"{rank}.json").read_text()) for rank in (0, 1))
    assert first == second
    assert first["resumed"]["parameters"] == first["AMAR-source"]["parameters"]  # bit by bit
    assert first["resumed"]["observation"] == first["AMAR-source"]["observation"]
    assert first["resumed"]["lines"] == first["AMAR-source"]["lines"][1:]
    assert "the loss of the source 'c', row 7 (2.jsonl, line 8) is not finite" in first["bad"]
    for name, clip in CASES:
        here = first[f"{name}-{clip}"]
        alone = run(tmp_path / f"alone-{name}-{clip}", name, clip, accumulate=4)  # its pieces are the ranks' slices
        np.testing.assert_allclose(here["parameters"], alone["parameters"], rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(here["weights"], alone["weights"], rtol=1e-5)
        for field, values in alone["observation"].items():
            seen = np.array(here["observation"][field], float)  # None: a source that was not seen
            np.testing.assert_allclose(seen, np.array(values, float), rtol=1e-4, atol=1e-6)
        for one, other in zip(here["lines"], alone["lines"], strict=True):
            assert one == pytest.approx(other, rel=1e-3, abs=1e-6)
        assert here["evaluated"] == pytest.approx(alone["evaluated"], rel=1e-4)


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no SIGKILL on this system")
def test_a_training_that_was_killed_while_it_saved_goes_on(tmp_path):
    killed = started(["killed", tmp_path / "killed"])
    assert killed.wait(timeout=600) == -signal.SIGKILL, killed.stderr.read()[-4000:]
    assert (tmp_path / "killed" / "checkpoint-4" / "optimizer.pt").exists()
    assert last_complete_checkpoint(tmp_path / "killed") == str(tmp_path / "killed" / "checkpoint-2")
    torch.set_num_threads(1)
    whole = run(tmp_path / "whole", "AMAR", "example")
    again = run(tmp_path / "killed", "AMAR", "example", resume=True)
    assert again["parameters"] == whole["parameters"]
    assert again["observation"] == whole["observation"]
    assert again["lines"] == whole["lines"][1:]
