"""Independent pieces of work in processes of their own, with a limit on cores and memory."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from mixwright.errors import InputError
from mixwright.experiment.core.stages import Progress

Report = Callable[[float], None]  # the share of a piece that is done, 0 to 1
_LOOK = 2.0  # seconds between two reports, in which a command also sees that its run was taken over
_GRACE = 15.0  # seconds that a process gets to write its checkpoint when the command is stopped


def part_of(report: Report, number: int, parts: int) -> Report:
    """Return what part `number` of equal parts reports its own share to."""
    return lambda share: report((number + share) / parts)


@dataclass(frozen=True)
class Work:
    """A piece of work: `function(*arguments, report)`, picklable; `size` is what it weighs in the progress."""

    name: str
    function: Callable[..., Any]
    arguments: tuple[Any, ...]
    size: float = 1.0


@dataclass(frozen=True)
class Limits:
    """
    What a command may use.

    Parameters
    ----------
    processes
        Pieces at work at the same time.
    threads
        Of each piece. A training's last digits depend on it.
    memory
        Bytes that each process may take for itself; None: no limit. Only where the system can enforce it (Linux).
    """

    processes: int = 1
    threads: int = 1
    memory: int | None = None


def run_all(works: Sequence[Work], limits: Limits, progress: Progress, stage: str) -> list[Any]:
    """
    Do all pieces of work and return their results, in order.

    Each process ends when this one does, in whatever way; one that is stopped with Ctrl-C gets some seconds to write
    what it has. The first failure ends all.

    Parameters
    ----------
    works
        The pieces. With one process, and no limit of memory, they are done here.
    limits
        Processes, threads and memory.
    progress, stage
        Called with how far all are together, and about how long it will take.

    Raises
    ------
    InputError
        What a piece raised; or a process needs more memory than it may have, or was ended from outside.
    """
    if not works:
        return []
    shown = _Shown(works, progress, stage)
    shown.draw()
    if limits.processes == 1 and limits.memory is None:
        with _threads(limits.threads):
            results = [w.function(*w.arguments, shown.reporter(i)) for i, w in enumerate(works)]
    else:
        results = _in_processes(works, limits, shown)
    progress(stage, 1000, 1000)
    return results


class _Shown:
    """Adds up how far the pieces are."""

    def __init__(self, works: Sequence[Work], progress: Progress, stage: str) -> None:
        self._works, self._progress, self._stage = works, progress, stage
        self._done = [0.0] * len(works)
        self._lock = threading.Lock()

    def reporter(self, index: int) -> Report:
        """Return what a piece reports to."""
        return lambda share: self.set(index, share)

    def set(self, index: int, share: float) -> None:
        """Take in how far a piece is."""
        with self._lock:
            self._done[index] = max(self._done[index], min(share, 1.0))
            self.draw()

    def look(self) -> None:
        """Report what was reported before."""
        with self._lock:
            self.draw()

    def draw(self) -> None:
        """Report."""
        total = sum(w.size for w in self._works)
        share = sum(w.size * done for w, done in zip(self._works, self._done, strict=True)) / total
        finished = sum(done >= 1 for done in self._done)
        note = f"{finished} of {len(self._works)}"
        self._progress(self._stage, min(round(1000 * share), 999), 1000, note)


def _in_processes(works: Sequence[Work], limits: Limits, shown: _Shown) -> list[Any]:
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    listener = threading.Thread(target=_listen, args=(queue, shown), daemon=True)
    listener.start()
    processes = min(limits.processes, len(works))
    pool = ProcessPoolExecutor(processes, context, _start, (queue, limits, os.getpid()))
    futures: dict[Future[Any], int] = {}
    try:
        futures = {pool.submit(_do, w, i): i for i, w in enumerate(works)}
        left = set(futures)
        while left:
            ended, left = wait(left, _LOOK, FIRST_COMPLETED)
            for future in ended:
                future.result()
                shown.set(futures[future], 1.0)
            if not ended:
                shown.look()
        pool.shutdown()
        return [future.result() for future in futures]
    except BrokenProcessPool:
        raise InputError(
            f"a process that worked on {_unfinished(works, futures)} was ended from outside, most often since memory "
            "ran out (compute: fewer cores, smaller batches), or because a script that calls this from Python does it "
            'outside `if __name__ == "__main__":`; correct that and run it again: finished work is saved'
        ) from None
    finally:
        _stop(pool)
        queue.put(None)
        listener.join(5)


def _unfinished(works: Sequence[Work], futures: dict[Future[Any], int]) -> str:
    names = [works[i].name for f, i in futures.items() if not f.done() or f.exception() is not None]
    return " or ".join(names[:2]) or "this"


def _listen(queue: Any, shown: _Shown) -> None:
    while (message := queue.get()) is not None:
        shown.set(*message)


def _stop(pool: ProcessPoolExecutor) -> None:
    """End the pool's processes: ask, wait, then insist."""
    processes = list((getattr(pool, "_processes", None) or {}).values())
    pool.shutdown(wait=False, cancel_futures=True)
    for process in processes:
        if process.is_alive():
            _signal(process.pid, signal.SIGINT)
    until = time.monotonic() + _GRACE
    for process in processes:
        process.join(max(0.0, until - time.monotonic()))
        if process.is_alive():
            process.kill()


def _signal(pid: int | None, number: int) -> None:
    try:
        os.kill(pid or 0, number)
    except (OSError, ProcessLookupError):
        return


_QUEUE: Any = None  # of this process, where it is one of a pool
_BUSY = False


def _start(queue: Any, limits: Limits, parent: int) -> None:
    """Make a process of the pool ready: it ends with its parent, and keeps to its limits."""
    global _QUEUE
    _QUEUE = queue
    signal.signal(signal.SIGINT, _interrupt)
    threading.Thread(target=end_with, args=(parent,), daemon=True).start()
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = str(limits.threads)
    _set_threads(limits.threads)
    if limits.memory is not None and sys.platform == "linux":
        import resource

        resource.setrlimit(resource.RLIMIT_DATA, (limits.memory, limits.memory))


def end_with(parent: int) -> None:
    """End this process when its parent is gone: nobody would wait for its result, and another may do its work."""
    while os.getppid() == parent:
        time.sleep(0.2)
    os._exit(1)


def _interrupt(number: int, frame: Any) -> None:
    """Stop what is at work, once: a second signal does not disturb the writing of a checkpoint."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if not _BUSY:
        os._exit(130)
    raise KeyboardInterrupt


def _do(work: Work, index: int) -> Any:
    global _BUSY
    _BUSY = True
    try:
        return _reported(work, index)
    except KeyboardInterrupt:
        os._exit(130)  # what the work had is written; no other one is begun
    finally:
        _BUSY = False


def _reported(work: Work, index: int) -> Any:
    last = 0.0

    def report(share: float) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= 0.5 or share >= 1:
            last = now
            _QUEUE.put((index, share))

    try:
        return work.function(*work.arguments, report)
    except (MemoryError, RuntimeError) as error:
        if isinstance(error, MemoryError) or "alloc" in str(error).lower():
            raise InputError(
                f"{work.name} should fit into the memory that each process may have, found that it does not ({error}); "
                "raise compute: memory, use fewer processes, or smaller batches"
            ) from None
        raise


@contextmanager
def _threads(count: int) -> Iterator[None]:
    """Compute with `count` threads for a while."""
    torch = sys.modules.get("torch")
    if torch is None:
        yield
        return
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _set_threads(count: int) -> None:
    try:
        import torch
    except ImportError:
        return
    torch.set_num_threads(count)
