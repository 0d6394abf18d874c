"""Trainings that are killed: no row is lost or repeated against the undisturbed run."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="the loader needs torch")

from streams import plan, take

SCRIPT = Path(__file__).with_name("training.py")
STEPS = 60
KILLS = int(os.environ.get("MIXWRIGHT_KILLS", "3"))  # 20 in the slow run, see benchmarks/results/stream.md


def logged(folder, rank=0):
    return [json.loads(line) for line in (folder / f"rows{rank}.log").read_text().splitlines()]


def start(folder, workers, *more, launcher=()):
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(SCRIPT.parent)}
    environment["TORCH_DISABLE_SHARE_RDZV_TCP_STORE"] = "1"  # else a restart can meet the addresses of the dead group
    command = [sys.executable, *launcher, str(SCRIPT), str(folder), str(STEPS), str(workers), *map(str, more)]
    return subprocess.Popen(
        command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True
    )


def finish(process):
    _, errors = process.communicate(timeout=240)
    assert process.returncode == 0, errors.decode()[-2000:]


def test_kill_9_with_two_workers_at_random_moments(tmp_path):
    finish(start(tmp_path / "whole", 0))
    folder, rng, kills = tmp_path / "killed", random.Random(5), 0
    while kills < KILLS:
        process, seen = start(folder, 2), time.monotonic()
        log = folder / "rows0.log"
        before = log.stat().st_size if log.exists() else 0
        while process.poll() is None and time.monotonic() - seen < 60:  # until it goes on, then a random moment
            if log.exists() and log.stat().st_size != before:
                break
            time.sleep(0.001)
        time.sleep(rng.random() * 0.9 / KILLS)
        if process.poll() is None:
            os.kill(process.pid, signal.SIGKILL)
            kills += 1
        process.communicate(timeout=60)
        if (folder / "done0").exists():
            break
    assert kills >= 1  # a fast machine may be done before the others
    finish(start(folder, 2))
    assert logged(folder) == logged(tmp_path / "whole")
    assert [step for step, _ in logged(folder)] == list(range(STEPS))


def test_two_ranks_under_torchrun_one_of_them_killed_and_restarted(tmp_path):
    launcher = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "--max-restarts=1")
    finish(start(tmp_path / "whole", 0))
    finish(start(tmp_path / "two", 1, 41, launcher=launcher))
    assert (tmp_path / "two" / "killed").exists()
    whole, halves = logged(tmp_path / "whole"), [logged(tmp_path / "two", rank) for rank in (0, 1)]
    assert all(len(half) == STEPS for half in halves)
    for (step, rows), (a, first), (b, second) in zip(whole, *halves, strict=True):
        assert a == b == step
        assert first + second == rows
        assert len(first) == len(second) == len(rows) // 2
    assert len(take(plan(), 1)[0].row) == 12
