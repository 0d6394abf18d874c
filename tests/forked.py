"""Processes that have torch and its company from the start, and nothing of ours: forks of a server with them."""

import multiprocessing
import os
import sys
import traceback
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from subprocess import CompletedProcess
from tempfile import TemporaryDirectory

PRELOADED = (
    "numpy", "torch", "transformers.trainer", "peft", "pydantic", "yaml", "sybil", "pyarrow", "sklearn",
    "scipy.optimize", "scipy.special", "jinja2", "rich.console", "typer",
)  # fmt: skip


def forked(function, *arguments):
    """Start a function in a process of its own; what cannot be imported is left out."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(PRELOADED))
    process = context.Process(target=function, args=arguments)
    process.start()
    return process


def exit_code(function, *arguments):
    """Call a function in a process of its own; return how it ended."""
    process = forked(function, *arguments)
    process.join()
    return process.exitcode


def command(*words, cwd=".", **environment):
    """Run `mixwright WORDS` in a process of its own, as a person does."""
    with TemporaryDirectory() as folder:
        out, err = Path(folder, "out"), Path(folder, "err")
        status = exit_code(_command, [str(word) for word in words], cwd, {**os.environ, **environment}, out, err)
        return CompletedProcess(words, status, out.read_text(), err.read_text())


def _command(words, cwd, environment, out, err):
    os.chdir(cwd)
    os.environ.update(environment)
    for path, descriptor in ((out, 1), (err, 2)):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT), descriptor)
    sys.argv = ["mixwright", *words]
    from mixwright.cli.main import main

    main()


def in_a_fresh_process(work, *arguments):
    """Return `work(*arguments)` from a process that has not imported mixwright; its error is an AssertionError."""
    here, there = multiprocessing.Pipe(duplex=False)
    process = forked(_answer, there, work, arguments)
    there.close()
    try:
        result, error = here.recv()
    except EOFError:
        process.join()
        raise AssertionError(f"the process ended with {process.exitcode}") from None
    process.join()
    assert error is None, error
    return result


def _answer(there, work, arguments):
    try:
        there.send((work(*arguments), None))
    except BaseException:
        there.send((None, traceback.format_exc()))


def printed(code):
    """Return what a text of Python prints."""
    with redirect_stdout(StringIO()) as out:
        exec(code, {"__name__": "__main__"})
    return out.getvalue()
