"""
What trackers cost: milliseconds that a step waits, and steps with a tracker against those without in the same run.

`python benchmarks/trackers.py` does steps of a fixed work. Each second one is passed to a tracker as in a training:
a line of 3 or 60 sources, and a decision with each tenth. Its time is compared with that of the steps between. All
trackers that are installed keep what they get on this disk. With --write the table becomes
benchmarks/results/trackers.md.
"""

import argparse
import os
import platform
import random
import statistics
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from mixwright.watching.trackers.tracked import Tracked
from mixwright.watching.trackers.tracker import TRACKERS, About

STEPS = 100  # with a tracker, and as many without
SIZE = 500  # of the matrices that a step multiplies


def here(folder):
    """Let all trackers keep what they get in a folder."""
    os.environ.update(WANDB_MODE="offline", WANDB_DIR=str(folder), TRACKIO_DIR=str(folder / "trackio"))
    os.environ["MLFLOW_TRACKING_URI"] = f"sqlite:///{folder}/mlflow.db"
    os.chdir(folder)


def line(step, names):
    own = {name: random.random() for name in names}
    return {"step": step, "loss": 2.0, "gradient_norm": 1.0, "learning_rate": 1e-3,
            "source_loss": own, "weights": own, "shares": own}  # fmt: skip


def measured(tracker, k, folder):
    """Return the ms that steps wait, the ms of steps with and without a tracker, and the seconds of its end."""
    names, waits, took = [f"source {i}" for i in range(k)], [], {True: [], False: []}
    tracked, matrix = Tracked([tracker], About("first", "group", folder)), np.ones((SIZE, SIZE))
    tracked.prepare()
    tracked.begin(0)
    seen = {"grad_sq_norm": [1.0] * k, "grad_variance": [1.0] * k}
    for step in range(1, 2 * STEPS + 1):
        told, now, started = step % 2 == 0, line(step, names), time.perf_counter()
        matrix @ matrix
        before = time.perf_counter()
        if told:
            tracked.line(now)
        if step % 20 == 0:
            decision = {"begins": step + 8, "weights": [1 / k] * k, "observation": {"step": step - 1, **seen}}
            tracked.decision(names, decision)
        waits += [1000 * (time.perf_counter() - before)] * told
        took[told].append(1000 * (time.perf_counter() - started))
    started = time.perf_counter()
    tracked.end()
    if tracked.notes:
        raise SystemExit(tracked.notes[0])
    return waits, took[True], took[False], time.perf_counter() - started


def row(tracker, k, folder):
    own = folder / f"{tracker}_{k}"
    own.mkdir()
    waits, told, between, end = measured(tracker, k, own)
    step, ratio = statistics.median(between), statistics.median(told) / statistics.median(between)
    numbers = [statistics.median(waits), max(waits), step]
    return f"| {tracker} | {k} | {' | '.join(f'{n:.2f}' for n in numbers)} | {ratio:.3f} | {end:.1f} |"


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true")
    given, out = parser.parse_args(), Path(__file__).parent / "results" / "trackers.md"
    lines = ["| tracker | sources | waits, ms | longest, ms | step without, ms | ratio | end, s |"]
    lines.append("|---|---:|---:|---:|---:|---:|---:|")
    with tempfile.TemporaryDirectory() as name:
        here(Path(name))
        for tracker in (name for name in TRACKERS if find_spec(name)):
            for k in (3, 60):
                lines.append(row(tracker, k, Path(name)))
                print(lines[-1], flush=True)
        os.chdir("/")
    head = f"""# What trackers cost

`python benchmarks/trackers.py --write`; {platform.machine()}, Python {platform.python_version()}, a local disk, two
cores with much other work on the machine (load {os.getloadavg()[0]:.0f}), which stretches all times. Trackers
keep what they get on this disk (wandb offline, MLflow with SQLite). `waits` is what a step waits for the tracker,
`ratio` the time of a step with it against one without in the same run (medians of {STEPS} each), `end` what closing
takes, with all that the tracker has not written by then. See the docstring of the script and
[Trackers](../../docs/tracking.md).

"""
    if given.write:
        out.write_text(head + "\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
