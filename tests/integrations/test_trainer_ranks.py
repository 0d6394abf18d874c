"""Two ranks (gloo, CPU) under the Trainer's DDP: one Mixture, the observations of a single process."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the Trainer needs torch")

from trainer_on_a_rank import SETTINGS, told  # noqa: E402
from trainers import decisions, run  # noqa: E402

from mixwright import PiKE  # noqa: E402

HERE = Path(__file__).parent


@pytest.mark.skipif(not torch.distributed.is_available(), reason="torch was built without distributed")
def test_two_ranks(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    meeting = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": "2", "OMP_NUM_THREADS": "1"}
    paths = {"PYTHONPATH": os.pathsep.join(filter(None, [str(HERE), *sys.path]))}
    ranks = [
        subprocess.Popen(
            [sys.executable, str(HERE / "trainer_on_a_rank.py"), str(rank), str(tmp_path)],
            env={**os.environ, **meeting, **paths, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        )
        for rank in (0, 1)
    ]  # fmt: skip
    errors = [rank.communicate(timeout=600)[1] for rank in ranks]
    assert [rank.returncode for rank in ranks] == [0, 0], "\n".join(errors)[-4000:]
    first, second = (json.loads((tmp_path / f"{rank}.json").read_text()) for rank in (0, 1))
    assert first["whole"]["weights"] == second["whole"]["weights"]
    assert first["whole"]["observation"] == second["whole"]["observation"]
    assert len(decisions(tmp_path / "log.jsonl")) == 2
    for rank in (first, second):  # bit by bit
        assert rank["after"]["weights"] == rank["whole"]["weights"][3:]
        assert rank["after"]["observation"] == rank["whole"]["observation"]
    _, *alone = run(tmp_path / "alone", PiKE(), accumulate=2, **SETTINGS)  # its pieces are the ranks' slices
    one = json.loads(json.dumps(told(*alone)))
    np.testing.assert_allclose(first["whole"]["weights"], one["weights"], rtol=1e-4)
    for name, values in one["observation"].items():
        np.testing.assert_allclose(
            np.array(first["whole"]["observation"][name], float),
            np.array(values, float),
            rtol=1e-3,
            atol=1e-3,
            err_msg=name,
        )
