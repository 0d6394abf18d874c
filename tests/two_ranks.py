"""Ranks of one process group (gloo, CPU). Where they meet is held open from here, so that no port is lost to others."""

import atexit
import gc
import os
import runpy
import signal
import sys
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from forked import forked


@contextmanager
def meeting(size: int) -> Iterator[dict[str, str]]:
    """Yield the environment in which `size` ranks find each other by `env://`, as torchrun gives it."""
    from torch.distributed import TCPStore

    store = TCPStore("127.0.0.1", 0, size, is_master=True, wait_for_workers=False)
    yield {
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(store.port),
        "WORLD_SIZE": str(size),
        "TORCHELASTIC_USE_AGENT_STORE": "True",
    }


def leave() -> None:
    """
    Leave the group once every rank is here; call it last in a function.

    A thread of gloo that lets go of a tensor while Python shuts down aborts the process (pytorch issue 190489). The
    group ends its threads when nothing refers to it; models under DDP live in circles of references, so collect them.
    """
    from torch import distributed

    distributed.barrier()
    distributed.destroy_process_group()
    atexit.register(gc.collect)


def run_two_ranks(script, *arguments) -> None:
    """Run `script RANK *arguments` as two ranks; an error with what they said if one fails."""
    run_ranks(2, script, *arguments)


def run_ranks(size, script, *arguments) -> None:
    """Run `script RANK *arguments` as so many ranks; an error with what they said if one fails."""
    with meeting(size) as environment, TemporaryDirectory() as folder:
        said = [Path(folder, str(rank)) for rank in range(size)]
        ranks = [
            forked(_as_rank, rank, {**os.environ, **environment}, said[rank], str(script), arguments)
            for rank in range(size)
        ]
        for rank in ranks:
            rank.join(900)
        errors = "\n".join(path.read_text() for path in said)
    assert [rank.exitcode for rank in ranks] == [0] * size, errors[-4000:]


def _as_rank(rank, environment, said, script, arguments) -> None:
    os.environ.update(environment, RANK=str(rank), LOCAL_RANK=str(rank))
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    os.dup2(os.open(said, os.O_WRONLY | os.O_CREAT), 2)
    sys.path.insert(0, os.path.dirname(script))
    sys.argv = [script, str(rank), *map(str, arguments)]
    runpy.run_path(script, run_name="__main__")


def in_ranks(size, work, *arguments):
    """Run `work(*arguments)` on so many ranks, forks of this process; return their exit codes, -9 for one ended."""
    with meeting(size) as environment:
        os.environ.update(environment)
        ranks = []
        for rank in range(size):
            ranks.append(os.fork())
            if not ranks[-1]:
                os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank))
                try:
                    work(*arguments)
                    os._exit(0)
                except BaseException:
                    traceback.print_exc()
                    os._exit(1)
        return ended(ranks)


def ended(ranks):
    """Wait for the ranks; one that still waits for another that has failed is ended."""
    size = len(ranks)
    codes, until = {}, time.monotonic() + 900
    while len(codes) < size:
        for rank, pid in enumerate(ranks):
            if rank not in codes and (found := os.waitpid(pid, os.WNOHANG))[0]:
                codes[rank] = os.waitstatus_to_exitcode(found[1])
                until = min(until, time.monotonic() + (60 if codes[rank] else 900))
        if time.monotonic() > until:
            for rank, pid in enumerate(ranks):
                if rank not in codes:
                    os.kill(pid, signal.SIGKILL)
            until = float("inf")
        time.sleep(0.01)
    return [codes[rank] for rank in range(size)]
