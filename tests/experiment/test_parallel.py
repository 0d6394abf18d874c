"""Pieces of work in processes of their own."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from works import double, eat, fail, vanish

from mixwright.errors import InputError
from mixwright.experiment.core.parallel import Limits, Work, run_all
from mixwright.experiment.core.stages import silent

TWO = Limits(processes=2)


@pytest.mark.parametrize("limits", [Limits(), TWO])
def test_results_come_in_order_and_progress_ends_whole(limits):
    told = []
    works = [Work(f"piece {i}", double, (i,), size=1 + i) for i in range(5)]
    results = run_all(works, limits, lambda *call: told.append(call), "pieces")
    assert results == [0, 2, 4, 6, 8]
    assert told[0][:3] == ("pieces", 0, 1000)
    assert told[-1][:3] == ("pieces", 1000, 1000)
    shares = [done for _, done, _, *_ in told]
    assert shares == sorted(shares)


@pytest.mark.parametrize("limits", [Limits(), TWO])
def test_the_first_failure_is_raised_as_it_is(limits):
    with pytest.raises(InputError, match="piece 1 is wrong"):
        run_all([Work("a", double, (1,)), Work("b", fail, ("piece 1",))], limits, silent, "pieces")


def test_a_process_that_vanishes_is_named():
    with pytest.raises(InputError, match=r"worked on (the one|the other).* was ended from outside.*memory"):
        run_all([Work("the one", vanish, ()), Work("the other", vanish, ())], TWO, silent, "pieces")


@pytest.mark.skipif(sys.platform != "linux", reason="the limit is Linux's")
def test_memory_beyond_the_limit_is_an_error_that_names_the_piece():
    limits = Limits(processes=1, memory=2**30)
    assert run_all([Work("small", double, (2,))], limits, silent, "pieces") == [4]
    with pytest.raises(InputError, match=r"large should fit into the memory .* raise compute: memory"):
        run_all([Work("large", eat, (2**31,))], limits, silent, "pieces")


def test_no_work_is_no_work():
    assert run_all([], TWO, silent, "pieces") == []


def test_processes_end_with_a_command_that_is_killed(tmp_path):
    script = Path(__file__).with_name("works.py")
    process = subprocess.Popen([sys.executable, str(script), str(tmp_path)])
    try:
        _until(lambda: len(list(tmp_path.glob("*.pid"))) == 2)
        pids = [int(p.stem) for p in tmp_path.glob("*.pid")]
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    _until(lambda: not any(_lives(pid) for pid in pids))


def test_ctrl_c_lets_processes_write_what_they_have(tmp_path):
    script = Path(__file__).with_name("works.py")
    process = subprocess.Popen(
        [sys.executable, str(script), str(tmp_path)], stderr=subprocess.DEVNULL, preexec_fn=_hear_ctrl_c
    )
    _until(lambda: len(list(tmp_path.glob("*.pid"))) == 2)
    process.send_signal(signal.SIGINT)
    assert process.wait() != 0
    assert len(list(tmp_path.glob("*.saved"))) == 2


def _hear_ctrl_c():
    """Undo what a shell does to commands in its background: they and all below them do not hear Ctrl-C."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def _until(true, seconds=120):
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.05)


def _lives(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z" if Path(f"/proc/{pid}").exists() else True
