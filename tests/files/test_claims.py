"""Claims with leases: one holder at a time, whatever the machines' clocks say and whoever dies."""

import dataclasses
import errno
import os
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mixwright.errors import InputError
from mixwright.files import claims
from mixwright.files.claims import BEAT, LEASE, Claim, Here

CODE = (
    "import sys; from pathlib import Path; from mixwright.files.claims import Claim\n"
    "claim = Claim(Path(sys.argv[1])); print(claim.take(), flush=True); sys.stdin.read()"
)


class World:
    """Time that tests move, and machines whose clocks are wrong by some seconds."""

    def __init__(self) -> None:
        self.now = 1_000_000.0
        self.alive: set[str] = set()

    def machine(self, name: str, wrong: float = 0.0) -> Here:
        """Return a process of a machine; `wrong`: of the time that it gives to files."""
        self.alive.add(name)

        def touch(path: Path) -> None:
            os.utime(path, (self.now + wrong,) * 2)

        def sleep(seconds: float) -> None:
            self.now += seconds

        return Here(name, name, 1, "1", lambda: self.now, sleep, touch, lambda process, started: name in self.alive)


def test_one_of_two_has_it_and_the_other_after_it(tmp_path):
    one, other = Claim(tmp_path / "c"), Claim(tmp_path / "c")
    assert one.take()
    assert not other.take()
    assert one.owner().process == os.getpid()
    one.release()
    assert one.owner() is None
    assert other.take()
    assert not one.beat()


def test_a_process_that_was_killed_holds_nothing_on_its_own_machine(tmp_path):
    process = subprocess.Popen([sys.executable, "-c", CODE, str(tmp_path)], stdin=subprocess.PIPE, stdout=-1, text=True)
    assert process.stdout.readline() == "True\n"
    assert not Claim(tmp_path).take()
    process.kill()
    process.wait()
    assert Claim(tmp_path).take()


@pytest.mark.parametrize("wrong", [0.0, 3600.0, -3600.0])
def test_a_lease_of_another_machine_runs_out_whatever_its_clock(tmp_path, wrong):
    world = World()
    one = Claim(tmp_path, where=world.machine("a", wrong))
    other = Claim(tmp_path, where=world.machine("b"))
    assert one.take()
    for _ in range(20):  # it lives and beats: nobody takes over
        world.now += BEAT
        assert one.beat()
        assert other.try_take() is not True
    started = world.now
    assert other.take(wait=True)
    assert world.now - started <= 2 * LEASE + 2
    assert not one.beat()
    assert one.lost
    one.release()  # what was lost is left as it is
    assert other.beat()


@pytest.mark.parametrize("wrong", [-300.0, 0.0, 300.0])
def test_who_only_reads_writes_nothing_and_sees_a_death_but_none_that_was_not(tmp_path, monkeypatch, wrong):
    world, waited = World(), 0.0
    monkeypatch.setattr(claims.time, "time", lambda: world.now + wrong)
    holder, reader = (
        Claim(tmp_path, where=world.machine("a")),
        Claim(tmp_path, where=world.machine("b"), reads_only=True),
    )
    holder.take()
    for _ in range(20):
        assert reader.held()
        holder.beat()
        world.now += BEAT
    before = {path: path.stat().st_mtime_ns for path in (tmp_path, *tmp_path.iterdir())}
    while reader.held():
        world.now += 2
        waited += 2
    assert 2 * BEAT < waited <= LEASE + BEAT
    assert {path: path.stat().st_mtime_ns for path in (tmp_path, *tmp_path.iterdir())} == before


def test_a_holder_that_died_long_ago_is_seen_to_be_gone_in_less_than_a_lease(tmp_path):
    world = World()
    assert Claim(tmp_path, where=world.machine("a")).take()
    world.now += 86_400
    started = world.now
    assert Claim(tmp_path, where=world.machine("b")).take()
    assert 2 * BEAT < world.now - started < LEASE


def test_a_claim_that_just_beat_is_refused_at_once(tmp_path):
    world = World()
    assert Claim(tmp_path, where=world.machine("a")).take()
    started = world.now
    assert not Claim(tmp_path, where=world.machine("b")).take()
    assert world.now == started


def test_a_damaged_claim_runs_out_too(tmp_path):
    (tmp_path / "claim.3").write_text("{")
    world = World()
    assert Claim(tmp_path, where=world.machine("b")).take(wait=True)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["claim.3", "claim.4"]


def test_without_links_claims_are_exclusive_too(tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise OSError(errno.EPERM, "no links here")

    monkeypatch.setattr(os, "link", refuse)
    one, other = Claim(tmp_path), Claim(tmp_path)
    assert one.take()
    assert not other.take()
    one.release()
    assert other.take()


def test_an_answer_of_the_server_that_was_lost_is_a_success(tmp_path, monkeypatch):
    link = os.link

    def twice(*names):
        link(*names)
        link(*names)

    monkeypatch.setattr(os, "link", twice)
    assert Claim(tmp_path).take()


def test_a_full_disk_is_one_error_and_beats_go_on(tmp_path, monkeypatch):
    world = World()
    one = Claim(tmp_path, where=world.machine("a"))
    assert one.take()

    def full(self, held):
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(Claim, "_written", full)
    before = one.age()
    world.now += BEAT
    assert one.beat()
    assert one.age() == before  # its time was renewed in place
    with pytest.raises(InputError, match="the disk is full"):
        Claim(tmp_path / "other", where=world.machine("b")).take()
    one.release()  # by a process that lives on
    assert one.owner() is None
    assert one.last_owner().process == 1


def test_files_do_not_pile_up(tmp_path):
    for _ in range(9):
        claim = Claim(tmp_path)
        assert claim.take()
        claim.release()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["claim.8", "claim.9"]


def test_a_process_that_cannot_be_seen_is_judged_by_its_lease(tmp_path):
    world = World()
    one = Claim(tmp_path, where=world.machine("a"))
    assert one.take()
    other = Claim(tmp_path, where=dataclasses.replace(world.machine("a"), lives=lambda process, started: None))
    assert other.take() is False
    world.now += 10 * LEASE
    assert other.take() is True


def test_a_process_of_somebody_else_is_no_dead_one(monkeypatch):
    def refused(process, signal):
        raise PermissionError

    monkeypatch.setattr(os, "kill", refused)
    monkeypatch.setattr(claims.Path, "read_text", lambda *_, **__: (_ for _ in ()).throw(FileNotFoundError))
    assert claims.here().lives(4711, "12345") is None


moves = st.lists(
    st.tuples(
        st.sampled_from(["try", "beat", "stand", "release", "die", "wait"]),
        st.integers(0, 3),
        st.sampled_from([1.0, 5.0, BEAT, 30.0, LEASE, 100.0]),
    ),
    max_size=60,
)


@settings(max_examples=100, deadline=None)
@given(moves, st.lists(st.sampled_from([0.0, 3600.0, -3600.0, 20.0]), min_size=4, max_size=4), st.booleans())
def test_nobody_takes_from_one_that_beats_and_one_can_always_take_in_the_end(moves, wrong, same_machine):
    """Four workers take, beat, stand still, release and die in any order, and their clocks are wrong."""
    with TemporaryDirectory() as folder:
        world = World()
        names = ["a", "a" if same_machine else "d", "b", "c"]
        workers = [Claim(Path(folder), where=world.machine(n, w)) for n, w in zip(names, wrong, strict=True)]
        holder: int | None = None  # who holds, and stands by its lease
        standing: set[int] = set()
        for move, who, seconds in moves:
            if move == "wait":
                _pass(world, workers, holder, standing, seconds)
            elif move == "try":
                if workers[who].try_take() is True:
                    assert holder is None or holder in standing or names[holder] not in world.alive
                    holder = who
                    standing.discard(who)
            elif who == holder:
                if move == "beat" and who not in standing:
                    assert workers[who].beat()
                elif move == "release":
                    workers[who].release()
                    holder = None
                elif move == "die" and not same_machine:
                    world.alive.discard(names[who])
                    standing.add(who)
                elif move == "stand" and not same_machine:
                    standing.add(who)
        fresh = Claim(Path(folder), where=world.machine("new"))
        if holder is not None and holder not in standing:
            assert fresh.try_take() is not True
            workers[holder].release()
        assert fresh.take(wait=True)
        assert [i for i, worker in enumerate(workers) if worker.beat()] == []


def _pass(world: World, workers: list[Claim], holder: int | None, standing: set[int], seconds: float) -> None:
    """Let time go by: who holds beats, unless it stands still or is dead; the others look."""
    for _ in range(int(seconds / 5) + 1):
        world.now += 5
        if holder is not None and holder not in standing and round(world.now) % 10 == 0:
            assert workers[holder].beat()
