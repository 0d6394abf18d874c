"""Holding claims: leases are renewed, and who lost one is interrupted whatever it does."""

import errno
import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from mixwright.files.claims import Claim
from mixwright.files.holder import ClaimLost, Holder

ALONE = """
import sys, time, threading
from pathlib import Path
from mixwright.files.claims import Claim
from mixwright.files.holder import ClaimLost, Holder
claim = Claim(Path(sys.argv[1]), beat=0.05)
claim.take()
try:
    with Holder(claim):
        (Path(sys.argv[1]) / "claim.2").write_text("{}")
        threading.Event().wait(60)
except ClaimLost as lost:
    print("lost", lost.claim is claim)
"""


def taken(folder, **more):
    claim = Claim(folder, beat=0.01, **more)
    assert claim.take()
    return claim


def take_over(folder):
    (folder / "claim.2").write_text("{}")


def test_leases_are_renewed_and_released(tmp_path):
    claim, other = taken(tmp_path / "a"), taken(tmp_path / "b")
    with Holder(claim) as held:
        held.add(other)
        while min(claim.owner().beat, other.owner().beat) < 2:
            held.check(now=True)
        held.release(other)
        assert other.owner() is None
        assert held.has(claim)
        assert not held.has(other)
    assert claim.owner() is None
    assert signal.getsignal(signal.SIGURG) == signal.SIG_DFL


@pytest.mark.parametrize("begun", ["", "trap '' INT; "])
def test_who_lost_is_interrupted_where_it_waits_for_a_lock_and_where_ctrl_c_is_ignored(tmp_path, begun):
    line = f"{begun}exec {sys.executable} -c '{ALONE}' {tmp_path}"
    started = time.monotonic()
    done = subprocess.run(["sh", "-c", line], capture_output=True, text=True, timeout=50)
    assert done.stdout == "lost True\n", done.stderr
    assert time.monotonic() - started < 40


def test_another_thread_learns_of_it_when_it_looks(tmp_path):
    said = []

    def work():
        claim = taken(tmp_path)
        try:
            with Holder(claim) as held:
                take_over(tmp_path)
                while True:
                    held.check()
                    time.sleep(0.01)
        except ClaimLost as lost:
            said.append(lost.claim is claim)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join(20)
    assert said == [True]


def test_one_is_interrupted_once_and_what_it_does_then_is_not(tmp_path):
    claim, cleaned = taken(tmp_path), []
    with pytest.raises(ClaimLost), Holder(claim) as held:  # noqa: PT012 - the context is what is tested
        take_over(tmp_path)
        try:
            time.sleep(30)
        finally:
            until = time.monotonic() + 0.2
            while time.monotonic() < until:
                time.sleep(0.01)
            cleaned.append(True)
            with pytest.raises(ClaimLost):  # who goes on is stopped at the next report
                held.check()
    assert cleaned == [True]


def test_who_stood_still_for_a_lease_looks_before_it_goes_on(tmp_path):
    claim = Claim(tmp_path, seconds=0.2, beat=30)  # its thread sleeps, as it does in a process that was stopped
    assert claim.take()
    with pytest.raises(ClaimLost), Holder(claim) as held:  # noqa: PT012 - the context is what is tested
        held.check()
        take_over(tmp_path)
        held.check()  # the last beat is not long ago
        time.sleep(0.25)
        held.check()


def test_the_loss_of_the_outer_claim_ends_what_is_within(tmp_path):
    outer, inner = taken(tmp_path / "outer"), taken(tmp_path / "inner")
    with pytest.raises(ClaimLost) as caught, Holder(outer), Holder(inner):  # noqa: PT012 - as above
        take_over(tmp_path / "outer")
        time.sleep(30)
    assert caught.value.claim is outer
    assert inner.owner() is None


def test_storage_that_is_away_for_a_moment_is_no_loss(tmp_path, monkeypatch):
    away, listed, real = [], os.listdir, Claim._last
    claim = taken(tmp_path)

    def stale(folder):
        if folder == tmp_path and len(away) < 3:
            away.append(True)
            raise OSError(errno.ESTALE, "stale file handle")
        return listed(folder)

    def gone(self):
        away.append(True)
        if len(away) < 6:
            raise OSError(errno.EIO, "input/output error")
        return real(self)

    monkeypatch.setattr(os, "listdir", stale)
    monkeypatch.setattr(Claim, "_last", gone)
    with Holder(claim):
        while len(away) < 12:
            pass
    assert not claim.lost
    assert claim.owner() is None  # released


def test_storage_that_is_away_for_a_lease_is_a_loss(tmp_path, monkeypatch):
    claim = taken(tmp_path, seconds=0.05)

    def gone(self):
        raise OSError(errno.EIO, "input/output error")

    monkeypatch.setattr(Claim, "_last", gone)
    with pytest.raises(ClaimLost), Holder(claim):
        time.sleep(30)


def test_a_beat_that_hangs_is_not_written_after_the_release(tmp_path, monkeypatch):
    claim = Claim(tmp_path, beat=0.05)
    assert claim.take()
    let, hangs, real = threading.Event(), threading.Event(), Claim._write

    def write(self, held):
        if held:
            hangs.set()
            let.wait(20)
        real(self, held)

    monkeypatch.setattr(Claim, "_write", write)
    with Holder(claim):
        assert hangs.wait(20)
    assert claim.owner().held  # nothing was written over it: its lease runs out
    let.set()
