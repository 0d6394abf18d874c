"""Work in a fresh interpreter, cheaply: forked from a server that has loaded other packages and none of ours."""

import importlib.util
import multiprocessing
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

HEAVY = ("numpy", "torch", "transformers", "pydantic", "yaml", "sybil", "pyarrow", "sklearn")


def in_a_fresh_process(work: Callable[..., Any], *arguments: Any) -> Any:
    """Return `work(*arguments)` from a process that has not imported mixwright; its error is an AssertionError."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([name for name in HEAVY if importlib.util.find_spec(name)])
    here, there = context.Pipe(duplex=False)
    process = context.Process(target=_answer, args=(there, work, arguments))
    process.start()
    there.close()
    try:
        result, error = here.recv()
    except EOFError:
        process.join()
        raise AssertionError(f"the process ended with {process.exitcode}") from None
    process.join()
    assert error is None, error
    return result


def _answer(there: Connection, work: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    try:
        there.send((work(*arguments), None))
    except BaseException:
        there.send((None, traceback.format_exc()))
