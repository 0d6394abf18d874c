"""Pieces of work for the tests of processes; as a script, two of them that wait in the folder that is named."""

import os
import sys
import time
from pathlib import Path

import numpy as np

from mixwright.errors import InputError
from mixwright.experiment.core.parallel import Limits, Work, run_all
from mixwright.experiment.core.stages import silent


def double(x, report):
    report(0.5)
    return 2 * x


def fail(name, report):
    raise InputError(f"{name} is wrong")


def vanish(report):
    os._exit(9)


def eat(size, report):
    return int(np.ones(size, np.uint8)[-1])


def interrupted(folder, report):
    (Path(folder) / f"{os.getpid()}.pid").touch()
    try:
        time.sleep(600)
    except KeyboardInterrupt:
        (Path(folder) / f"{os.getpid()}.saved").touch()
        raise


if __name__ == "__main__":
    run_all([Work(f"w{i}", interrupted, (sys.argv[1],)) for i in range(2)], Limits(2), silent, "pieces")
