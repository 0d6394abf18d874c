"""A piece in a process of its own, and its ranks, which that process starts as torchrun does."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from mixwright.experiment.engines.pieces import PARENT, PIECES

GRACE = 15.0  # seconds that a piece gets to write what it has
_POLL = 0.1  # seconds between two looks at a process
_LOOK = 2.0  # seconds between two calls of what is called now and then


def command(folder: Path, key: str) -> list[str]:
    """Return what follows `python` to do a piece."""
    return ["-m", "mixwright.cli.main", "piece", str(folder), key, "--quiet"]


def in_a_process(folder: Path, key: str, look: Callable[[], object] = lambda: None) -> int:
    """
    Do a piece as `mixwright piece`, and return the status of that process, which ends with this one.

    Parameters
    ----------
    folder, key
        The run folder and the piece, whose log gets what it writes to the terminal.
    look
        Called now and then; what it raises ends the process.
    """
    environment = {**os.environ, PARENT: str(os.getpid())}
    with open(folder / PIECES / key / "log.txt", "ab") as log:
        process = subprocess.Popen([sys.executable, *command(folder, key)], stdout=log, stderr=log, env=environment)
        try:
            looked = time.monotonic()
            while process.poll() is None:
                if time.monotonic() - looked >= _LOOK:  # it reads files
                    looked = time.monotonic()
                    look()
                time.sleep(_POLL)
        finally:
            _end(process)
    return process.returncode


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(GRACE)
        except subprocess.TimeoutExpired:
            process.kill()
