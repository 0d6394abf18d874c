"""Races within claims: workers that are stopped and go on between any two operations on files."""

import os
import threading
from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mixwright.files.claims import BEAT, LEASE, Claim, Here

LOOKED_AT = ("listdir", "link", "replace", "unlink")


class Stage:
    """Threads of which one runs at a time, and which wait before each operation on files until it is their turn."""

    def __init__(self):
        self.now = 1_000_000.0
        self.turn = threading.Semaphore(0)
        self.ended = []
        self.threads = {}

    def machine(self, name, wrong):
        def touch(path):
            os.utime(path, (self.now + wrong,) * 2)

        return Here(name, name, 1, "1", lambda: self.now, lambda s: None, touch, lambda process, started: True)

    def begin(self, name, function):
        mine = threading.Semaphore(0)

        def run():
            mine.acquire()
            try:
                self.ended.append((name, function()))
            finally:
                del self.threads[threading.current_thread()]
                self.turn.release()

        thread = threading.Thread(target=run, daemon=True)
        self.threads[thread] = mine
        thread.start()

    def pause(self):
        mine = self.threads.get(threading.current_thread())
        if mine is not None:
            self.turn.release()
            mine.acquire()

    def step(self, number):
        """Let one of the threads do one operation."""
        if self.threads:
            waiting = list(self.threads.values())
            waiting[number % len(waiting)].release()
            self.turn.acquire()


def interleaved(stage, patch):
    for name in LOOKED_AT:
        real = getattr(os, name)

        def operation(*arguments, real=real, **more):
            stage.pause()
            return real(*arguments, **more)

        patch(name, operation)


steps = st.lists(st.integers(0, 5), max_size=80)
clocks = st.lists(st.sampled_from([0.0, 3600.0, -3600.0]), min_size=3, max_size=3)


def with_workers(wrong, test):
    stage, real = Stage(), {name: getattr(os, name) for name in LOOKED_AT}
    with TemporaryDirectory() as folder:
        workers = [Claim(Path(folder), where=stage.machine(f"m{i}", w)) for i, w in enumerate(wrong)]
        try:
            interleaved(stage, lambda name, function: setattr(os, name, function))
            test(stage, workers)
            for _ in range(500):  # what was begun ends
                stage.step(0)
        finally:
            for name, function in real.items():
                setattr(os, name, function)
        assert not stage.threads
        one_at_most_holds(workers)


def one_at_most_holds(workers):
    """In the end one at most holds: all others see that they have lost, or never had it."""
    assert sum(worker._number is not None and worker.look() for worker in workers) <= 1


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(steps, clocks)
def test_of_those_that_take_at_once_one_has_it(order, wrong):
    def test(stage, workers):
        for i, worker in enumerate(workers):
            stage.begin(i, worker.try_take)
        for number in order:
            stage.step(number)

    ended = {}

    def kept(stage, workers):
        test(stage, workers)
        ended["stage"] = stage

    with_workers(wrong, kept)
    took = [name for name, taken in ended["stage"].ended if taken is True]
    assert len(took) == 1


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(steps, clocks)
def test_one_that_beats_is_not_taken_from_between_any_two_operations(order, wrong):
    """Its lease has not run out: others look and beats are written in any order."""

    def test(stage, workers):
        holder, *others = workers
        assert holder.try_take()
        for worker in others:
            worker.try_take()
        beats = []
        for i, number in enumerate(order):
            if not stage.threads:
                stage.now += BEAT / 2
                beats.append(len(beats))
                stage.begin("beat", holder.beat)
                for j, worker in enumerate(others):
                    stage.begin(j, worker.try_take)
            stage.step(number + i)
        for _ in range(500):
            stage.step(0)
        assert all(taken for name, taken in stage.ended if name == "beat")
        assert not any(taken is True for name, taken in stage.ended if name != "beat")

    with_workers(wrong, test)


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(steps, clocks, st.booleans())
def test_a_holder_that_wakes_while_others_take_over_loses_or_keeps_and_both_know(order, wrong, releases):
    """Its lease ran out; it beats, or releases, between any two operations of two that take over."""

    def test(stage, workers):
        holder, *others = workers
        assert holder.try_take()
        for worker in others:  # they see it, and then nothing for a lease
            assert worker.try_take() is not True
        stage.now += 2 * LEASE
        stage.begin("holder", holder.release if releases else holder.beat)
        for j, worker in enumerate(others):
            stage.begin(j, worker.try_take)
        for number in order:
            stage.step(number)
        for _ in range(500):
            stage.step(0)
        took = [name for name, taken in stage.ended if taken is True and name != "holder"]
        assert len(took) <= 1
        if took:  # who lost sees it at the next look, whatever its last beat said
            assert releases or not holder.look()
            assert workers[1 + took[0]].look()

    with_workers(wrong, test)
