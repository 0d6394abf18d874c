"""Trainings that are killed: no row is lost or repeated against the undisturbed run."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="the loader needs torch")

from streams import SIZES, plan, take

import training
from forked import exit_code
from mixwright.steering.known import read_record
from two_ranks import in_ranks

SCRIPT = Path(__file__).with_name("training.py")
STEPS = 60


def logged(folder, rank=0):
    return [json.loads(line) for line in (folder / f"rows{rank}.log").read_text().splitlines()]


def train(folder, steps, workers):
    assert exit_code(training.main, folder, steps, workers) == 0


def train_on_ranks(folder, workers):
    """Train on two ranks; once one of them is killed, both begin again."""
    assert exit_code(_killed_once, folder, workers) == 0


def _killed_once(folder, workers):
    assert in_ranks(2, training.main, folder, STEPS, workers, 41)[1] == -signal.SIGKILL
    assert in_ranks(2, training.main, folder, STEPS, workers, 41) == [0, 0]


@pytest.mark.slow
def test_kill_9_with_two_workers_at_20_random_moments(tmp_path):
    folder = tmp_path / "killed"
    assert exit_code(training.killed, folder, 2, 20) == 0
    steps = len((folder / "rows0.log").read_bytes().splitlines()) + 10
    train(folder, steps, 2)
    train(tmp_path / "whole", steps, 0)
    assert logged(folder) == logged(tmp_path / "whole")
    assert [step for step, _ in logged(folder)] == list(range(steps))


@pytest.mark.slow
def test_two_ranks_under_torchrun_one_of_them_killed_and_restarted(tmp_path):
    train(tmp_path / "whole", STEPS, 0)
    # torchrun looks for a free port, and rank 0 takes it once it has imported all: another program may have it by then,
    # and that costs a restart, too
    launcher = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "--max-restarts=3")
    more = {
        "PYTHONPATH": f"{SCRIPT.parent}:{SCRIPT.parents[1]}:{os.environ.get('PYTHONPATH', '')}",
        "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1",  # else a restart can meet the addresses of the dead group
    }
    command = [sys.executable, *launcher, str(SCRIPT), str(tmp_path / "two"), str(STEPS), "1", "41"]
    done = subprocess.run(
        command, env=os.environ | more, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, timeout=900
    )
    assert done.returncode == 0, done.stderr.decode()[-2000:]
    assert (tmp_path / "two" / "killed").exists()
    whole, halves = logged(tmp_path / "whole"), [logged(tmp_path / "two", rank) for rank in (0, 1)]
    assert all(len(half) == STEPS for half in halves)
    for (step, rows), (a, first), (b, second) in zip(whole, *halves, strict=True):
        assert a == b == step
        assert first + second == rows
        assert len(first) == len(second) == len(rows) // 2
    assert len(take(plan(), 1)[0].row) == 12


@pytest.mark.slow
def test_steered_ranks_with_workers_killed_and_resumed_have_the_rows_of_that_schedule(tmp_path):
    names, two, whole = list(SIZES), tmp_path / "two", tmp_path / "whole"
    first = f"- weights: {{{names[0]}: 0.3, {names[1]}: 0.7}}\n"
    orders = {
        10: first,
        20: first + f"- pin: {{{names[2]}: 0.2, ",  # cut off
        25: f"{first}- {{pin: {{nobody: 0.2}}}}\n- {{undo: true}}\n- {{pin: {{{names[2]}: 0.5}}, at: 45}}\n",
    }
    two.mkdir()
    (two / "orders.json").write_text(json.dumps(orders))
    train_on_ranks(two, 2)
    assert (two / "killed").exists()
    record = read_record(two)
    assert [line.get("at") for line in record] == [19, None, None, 34, 45]
    whole.mkdir()
    schedule = [{**line["order"], "at": line["at"]} for line in record if "at" in line]
    (whole / "control.yaml").write_text(json.dumps(schedule) + "\n")
    train(whole, STEPS, 0)
    halves = [logged(two, rank) for rank in (0, 1)]
    assert [(step, a + b) for (step, a), (_, b) in zip(*halves, strict=True)] == [tuple(line) for line in logged(whole)]
    shares = [sum(s == 2 for step, rows in logged(whole) if begin <= step < end for s, _ in rows)
              for begin, end in ((19, 34), (45, 60))]  # fmt: skip
    assert shares == [0, 15 * 12 // 2]


@pytest.mark.slow
def test_a_source_that_is_split_under_two_ranks_with_workers_that_are_killed(tmp_path):
    for name, workers, at in (("two", 1, 20), ("late", 2, 45), ("whole", 0, 20), ("whole late", 0, 45)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "change.json").write_text(str(at))
        if workers:
            train_on_ranks(tmp_path / name, workers)
        else:
            train(tmp_path / name, STEPS, 0)
    for name, undisturbed in (("two", "whole"), ("late", "whole late")):
        assert (tmp_path / name / "killed").exists()
        halves = [logged(tmp_path / name, rank) for rank in (0, 1)]
        rows = [(step, a + b) for (step, a), (_, b) in zip(*halves, strict=True)]
        assert rows == [tuple(line) for line in logged(tmp_path / undisturbed)]
    assert logged(tmp_path / "whole")[:20] == logged(tmp_path / "whole late")[:20]
    drawn = [row for _, rows in logged(tmp_path / "whole") for source, row in rows if source == 0]
    assert max(drawn.count(row) for row in range(37)) - min(drawn.count(row) for row in range(37)) <= 3
