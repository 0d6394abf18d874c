"""Two commands, or tasks of two, on one run folder: nothing at the same time, and the one that lost keeps nothing."""

import errno
import json
import os
import subprocess
import sys
import threading
import time
from contextlib import suppress

import pytest

pytest.importorskip("xgboost")
pytest.importorskip("sklearn")

from test_compare_assays_run import make_assays
from works import double

from mixwright.errors import InputError
from mixwright.experiment import drive
from mixwright.experiment.core import parallel
from mixwright.experiment.core.parallel import Limits, Work, run_all
from mixwright.experiment.core.stages import Stage, at_work, check_held, open_run
from mixwright.experiment.engines import work
from mixwright.experiment.engines.pieces import planned
from mixwright.experiment.engines.work import do_again, do_piece
from mixwright.files.claims import Claim
from mixwright.files.holder import ClaimLost


def take_over(place, number=2):
    """Let another machine take what is claimed in a folder."""
    owner = json.loads((place / f"claim.{number - 1}").read_text())
    (place / f"claim.{number}").write_text(json.dumps({**owner, "machine": "another", "host": "other", "id": "x"}))


def taken(folder):
    claim = Claim(folder)
    assert claim.take()
    return claim


# ------------------------------------------------------------------ stages


def test_one_process_at_a_time_works_in_a_stage(tmp_path):
    said, order = [], []
    begun, other = threading.Event(), taken(tmp_path / "another piece")

    def first():
        with at_work(taken(tmp_path / "piece")):
            stage = Stage(tmp_path / "s", {"a": 1})
            stage.begin()
            stage.begin()  # its own is no obstacle
            begun.set()
            time.sleep(0.5)
            order.append("first is done")
            stage.finish({"x": 1})

    thread = threading.Thread(target=first)
    thread.start()
    assert begun.wait(20)
    with at_work(other, lambda *call: said.append(call[3])):
        stage = Stage(tmp_path / "s", {"a": 2})
        stage.begin()
        order.append("second begins")
        assert [p.name for p in stage.folder.iterdir()] in (["begin.json", ".claims"], [".claims", "begin.json"])
    thread.join()
    assert order == ["first is done", "second begins"]
    assert said[0].startswith(f"waiting for {tmp_path / 's'}, where process ")
    assert Claim(tmp_path / "s" / ".claims").owner() is None  # released though it was not finished


def test_a_stage_that_was_taken_over_is_not_finished_by_the_loser(tmp_path):
    stage = Stage(tmp_path / "s", {"a": 1})
    with pytest.raises(ClaimLost), at_work(taken(tmp_path / "piece")):  # noqa: PT012 - the context is what is tested
        stage.begin()
        take_over(tmp_path / "s" / ".claims")
        stage.finish({"x": 1})
    assert stage.result() is None


def test_stages_outside_a_run_have_no_claims(tmp_path):
    stage = Stage(tmp_path / "s", {"a": 1})
    stage.begin()
    stage.finish({})
    assert not (tmp_path / "s" / ".claims").exists()


# ------------------------------------------------------------------ heads


def test_a_head_that_lost_its_run_writes_no_result(tmp_path):
    run = tmp_path / "run"

    def lose(stage, done, total, note=""):
        if stage == "cells" and not (run / ".head" / "claim.2").exists():
            take_over(run / ".head")

    with pytest.raises(InputError, match=r"should have shown every 60 s that it works in .*run, .*another one took"):
        drive(make_assays(tmp_path), run, lose)
    assert not (run / "summary.json").exists()
    assert Claim(run / ".head").owner().host == "other"  # what the other one has is left as it is


def test_a_head_that_lost_its_run_is_interrupted_while_it_waits_for_processes(tmp_path, monkeypatch):
    monkeypatch.setattr(parallel, "_LOOK", 0.05)
    looked = []

    def lose(stage, done, total, note=""):
        check_held()
        looked.append(note)
        take_over(tmp_path / ".head", 2 if not (tmp_path / ".head" / "claim.2").exists() else 3)
        check_held(now=True)

    waits = [Work(str(i), time.sleep, (0.01,)) for i in range(2)]
    with pytest.raises(InputError, match="took over"), open_run(tmp_path, "x"):
        run_all(waits, Limits(2, 1), lose, "waits")
    assert len(looked) == 1


def test_reports_come_while_processes_work(monkeypatch):
    monkeypatch.setattr(parallel, "_LOOK", 0.01)
    seen = []
    works = [Work(str(i), double, (i,)) for i in range(2)]
    assert run_all(works, Limits(2, 1), lambda *call: seen.append(call), "doubles") == [0, 2]
    assert len(seen) > 10  # the start of a process alone takes longer than that


def test_the_second_of_two_heads_is_refused_and_says_when_a_dead_one_is_free(tmp_path, monkeypatch):
    inside = []

    def second(stage, done, total, note=""):
        if stage == "cells" and not inside:
            inside.append(True)
            with pytest.raises(InputError, match=r"another command is at work in .*run; wait for it, or choose"):
                drive(make_assays(tmp_path), tmp_path / "run")

    drive(make_assays(tmp_path), tmp_path / "run", second)
    claim = taken(tmp_path / "run" / ".head")
    monkeypatch.setattr("mixwright.files.claims._machine", lambda: "another")
    with pytest.raises(
        InputError, match=r"last seen 0 s ago\); wait for it \(if it died, the folder is free in \d\d s\)"
    ):
        drive(make_assays(tmp_path), tmp_path / "run")
    claim.release()


def test_two_commands_that_begin_at_once_make_one_result(tmp_path):
    drive(make_assays(tmp_path), tmp_path / "local")
    run, file = tmp_path / "run", tmp_path / "local" / "config.yaml"
    line = [sys.executable, "-m", "mixwright.cli.main", "compare", str(file), "--run", str(run), "--quiet"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    both = [subprocess.Popen(line, stderr=subprocess.PIPE, text=True, env=environment) for _ in range(2)]
    said = [process.communicate()[1] for process in both]
    statuses = [process.returncode for process in both]
    assert sorted(statuses) in ([0, 2], [0, 0]), said  # the second may begin when the first has ended
    assert all("another command is at work" in text for text, status in zip(said, statuses, strict=True) if status)
    assert (run / "cells.csv").read_bytes() == (tmp_path / "local" / "cells.csv").read_bytes()
    assert {piece.state()["state"] for piece in planned(run)} == {"done"}


@pytest.mark.parametrize("first", [0, 2, 5, 9, 14, 20])
def test_a_disk_that_is_full_for_a_while_loses_nothing(tmp_path, monkeypatch, first):
    drive(make_assays(tmp_path), tmp_path / "local")
    replace, count = os.replace, iter(range(10**6))

    def full(*names):
        if first <= next(count) < first + 3:
            raise OSError(errno.ENOSPC, "No space left on device")
        replace(*names)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", full)
        with suppress(InputError):  # claims bear it, all else is one error
            drive(make_assays(tmp_path), tmp_path / "run")
    assert next(count) > first
    assert Claim(tmp_path / "run" / ".head").owner() is None
    drive(make_assays(tmp_path), tmp_path / "run")
    assert (tmp_path / "run" / "cells.csv").read_bytes() == (tmp_path / "local" / "cells.csv").read_bytes()


def test_a_run_in_another_thread_learns_of_its_loss_by_its_reports(tmp_path):
    said, run = [], tmp_path / "run"

    def lose(stage, done, total, note=""):
        if stage == "cells" and not (run / ".head" / "claim.2").exists():
            take_over(run / ".head")

    def notebook():
        try:
            drive(make_assays(tmp_path), run, lose)
        except InputError as error:
            said.append(str(error))

    thread = threading.Thread(target=notebook)
    thread.start()
    thread.join()
    assert "took over" in said[0]
    assert not (run / "summary.json").exists()


def test_a_former_command_that_may_be_dead_is_waited_for_with_a_word(tmp_path, monkeypatch):
    said = []
    taken(tmp_path / ".head")
    (tmp_path / ".mixwright-run").touch()
    monkeypatch.setattr("mixwright.files.claims._machine", lambda: "another")
    real = Claim._ran_out
    monkeypatch.setattr(Claim, "_ran_out", lambda self, waited, age: real(self, 25 * waited, age + 70))
    with open_run(tmp_path, "x", lambda *call: said.append(call[3])):
        pass
    assert said == [f"looking whether a former command still works in {tmp_path}; this takes half a minute"]


def test_a_command_of_a_former_version_that_is_at_work_is_seen(tmp_path):
    fcntl = pytest.importorskip("fcntl")
    (tmp_path / ".mixwright-run").touch()
    with open(tmp_path / ".lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(InputError, match="another command, of a former version, is at work in"):
            drive(make_assays(tmp_path), tmp_path)


# ------------------------------------------------------------------ pieces


@pytest.fixture
def open_piece(tmp_path):
    drive(make_assays(tmp_path, arms=["uniform"], seeds=2, targets=["target"]), tmp_path / "run")
    piece = planned(tmp_path / "run")[0]
    value = piece.result()["value"]
    (piece.place / "result.json").unlink()
    return piece, value


def losing(monkeypatch, winner):
    """Let the next piece be taken over while it is done; `winner(piece)` is what the other one does."""
    real, lost = work._done, []

    def done(piece, config, claim, report, ranks):
        if lost:
            return real(piece, config, claim, report, ranks)
        lost.append(claim)
        number = claim._number + 1
        take_over(piece.place, number)
        winner(piece, piece.place / f"claim.{number}")
        return check_held(now=True)

    monkeypatch.setattr(work, "_done", done)


def test_a_worker_that_lost_its_piece_ends_and_keeps_nothing(open_piece, monkeypatch):
    piece, _ = open_piece
    losing(monkeypatch, lambda *_: None)
    with pytest.raises(InputError, match=r"target, seed 0: another worker took over .*, since this one stood still"):
        do_piece(piece.folder, piece.key, lambda share: None)
    assert piece.result() is None
    assert piece.failure() is None


def test_a_command_whose_process_lost_a_piece_waits_for_the_winner(open_piece, monkeypatch, tmp_path):
    piece, value = open_piece

    def wins(piece, claim):
        piece.keep(value, 1.0, "other")
        claim.write_text(json.dumps({**json.loads(claim.read_text()), "held": False}))

    losing(monkeypatch, wins)
    config = make_assays(tmp_path, arms=["uniform"], seeds=2, targets=["target"])
    assert do_again(piece, config, lambda share: None) == value
    assert piece.result()["host"] == "other"


def test_no_report_goes_on_after_a_loss(open_piece):
    piece, _ = open_piece
    with pytest.raises(ClaimLost), at_work(claim := taken(piece.place)):  # noqa: PT012 - the context is what is tested
        take_over(piece.place, claim._number + 1)
        check_held()  # not seen yet
        check_held(now=True)
