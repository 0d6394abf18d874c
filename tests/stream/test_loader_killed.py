"""Trainings that are killed: no row is lost or repeated against the undisturbed run."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="the loader needs torch")

from streams import SIZES, plan, take

from mixwright.steering.known import read_record

SCRIPT = Path(__file__).with_name("training.py")
STEPS = 60


def logged(folder, rank=0):
    return [json.loads(line) for line in (folder / f"rows{rank}.log").read_text().splitlines()]


def start(folder, steps, workers, *more, launcher=()):
    return run(*launcher, str(SCRIPT), str(folder), str(steps), str(workers), *map(str, more))


def run(*arguments):
    environment = {
        **os.environ,
        "PYTHONPATH": f"{SCRIPT.parent}:{os.environ.get('PYTHONPATH', '')}",
    }
    environment["TORCH_DISABLE_SHARE_RDZV_TCP_STORE"] = "1"  # else a restart can meet the addresses of the dead group
    return subprocess.Popen(
        [sys.executable, *arguments],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )


def finish(process):
    _, errors = process.communicate(timeout=240)
    assert process.returncode == 0, errors.decode()[-2000:]


@pytest.mark.slow
def test_kill_9_with_two_workers_at_20_random_moments(tmp_path):
    folder = tmp_path / "killed"
    code = f"import training; from pathlib import Path; training.killed(Path({str(folder)!r}), 2, 20)"
    finish(run("-c", code))
    steps = len((folder / "rows0.log").read_bytes().splitlines()) + 10
    finish(start(folder, steps, 2))
    finish(start(tmp_path / "whole", steps, 0))
    assert logged(folder) == logged(tmp_path / "whole")
    assert [step for step, _ in logged(folder)] == list(range(steps))


@pytest.mark.slow
def test_two_ranks_under_torchrun_one_of_them_killed_and_restarted(tmp_path):
    launcher = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "--max-restarts=1")
    finish(start(tmp_path / "whole", STEPS, 0))
    finish(start(tmp_path / "two", STEPS, 1, 41, launcher=launcher))
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
    launcher = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "--max-restarts=1")
    finish(start(two, STEPS, 2, 41, launcher=launcher))
    assert (two / "killed").exists()
    record = read_record(two)
    assert [line.get("at") for line in record] == [19, None, None, 34, 45]
    whole.mkdir()
    schedule = [{**line["order"], "at": line["at"]} for line in record if "at" in line]
    (whole / "control.yaml").write_text(json.dumps(schedule) + "\n")
    finish(start(whole, STEPS, 0))
    halves = [logged(two, rank) for rank in (0, 1)]
    assert [(step, a + b) for (step, a), (_, b) in zip(*halves, strict=True)] == [tuple(line) for line in logged(whole)]
    shares = [sum(s == 2 for step, rows in logged(whole) if begin <= step < end for s, _ in rows)
              for begin, end in ((19, 34), (45, 60))]  # fmt: skip
    assert shares == [0, 15 * 12 // 2]


@pytest.mark.slow
def test_a_source_that_is_split_under_two_ranks_with_workers_that_are_killed(tmp_path):
    launcher = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "--max-restarts=1")
    for name, workers, at, more in (
        ("two", 1, 20, {"launcher": launcher}),
        ("late", 2, 45, {"launcher": launcher}),
        ("whole", 0, 20, {}),
        ("whole late", 0, 45, {}),
    ):
        (tmp_path / name).mkdir()
        (tmp_path / name / "change.json").write_text(str(at))
        finish(start(tmp_path / name, STEPS, workers, *([41] if more else []), **more))
    for name, undisturbed in (("two", "whole"), ("late", "whole late")):
        assert (tmp_path / name / "killed").exists()
        halves = [logged(tmp_path / name, rank) for rank in (0, 1)]
        rows = [(step, a + b) for (step, a), (_, b) in zip(*halves, strict=True)]
        assert rows == [tuple(line) for line in logged(tmp_path / undisturbed)]
    assert logged(tmp_path / "whole")[:20] == logged(tmp_path / "whole late")[:20]
    drawn = [row for _, rows in logged(tmp_path / "whole") for source, row in rows if source == 0]
    assert max(drawn.count(row) for row in range(37)) - min(drawn.count(row) for row in range(37)) <= 3
