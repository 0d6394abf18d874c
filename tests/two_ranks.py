"""Ranks of one process group (gloo, CPU). Where they meet is held open from here, so that no port is lost to others."""

import atexit
import gc
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager


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
    paths = os.pathsep.join([os.path.dirname(script), *filter(None, sys.path)])
    with meeting(size) as environment:
        ranks = [
            subprocess.Popen(
                [sys.executable, str(script), str(rank), *map(str, arguments)],
                env=os.environ | environment | {"PYTHONPATH": paths, "RANK": str(rank), "LOCAL_RANK": str(rank)},
                stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
            )
            for rank in range(size)
        ]  # fmt: skip
        errors = [rank.communicate(timeout=900)[1] for rank in ranks]
    assert [rank.returncode for rank in ranks] == [0] * size, "\n".join(errors)[-4000:]
