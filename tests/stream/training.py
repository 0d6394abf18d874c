"""
A training that can be killed at any moment: rows are logged, and stream, mixture and log are one checkpoint.

python training.py FOLDER STEPS WORKERS [KILL_AT]: under torchrun each rank has its own log, and rank 1 is killed once,
at step KILL_AT. FOLDER/orders.json, if it is there, has control files by the step after which each is written, and
FOLDER/change.json the step before which the source "a" is split into even and odd rows.
"""

import contextlib
import json
import os
import random
import signal
import sys
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch.distributed as dist
from streams import SIZES, plan, rows_of, sources

from mixwright.files import write_json
from mixwright.mixture import Mixture
from mixwright.observation import Observation
from mixwright.source_change import SourceChange
from mixwright.steering.control import Control, follow
from mixwright.steering.orders import CONTROL
from mixwright.strategy import Strategy, carrying
from mixwright.stream.loader import MixtureLoader
from two_ranks import leave

PARTS = {"even": np.arange(0, SIZES["a"], 2), "odd": np.arange(1, SIZES["a"], 2)}
SPLIT = SourceChange.split(tuple(SIZES), "a", {name: len(rows) for name, rows in PARTS.items()})


class Shares(NamedTuple):
    logits: np.ndarray


class Follow(Strategy[Shares]):
    """Weights that depend on every observation, so that a lost or repeated one would show."""

    needs = frozenset({"loss"})
    carries = carrying(logs="logits")

    def init(self, prior):
        return Shares(np.log(prior))

    def update(self, state, obs):
        return Shares(0.9 * state.logits + np.where(obs.counts > 0, 0.3 * obs.loss, 0.0))

    def weights(self, state):
        w = np.exp(state.logits)
        return w / w.sum()

    def __repr__(self):
        return "Follow()"


def main(folder, steps, workers, kill_at=-1):
    rank, world = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
    if world > 1:
        dist.init_process_group("gloo")
    folder.mkdir(parents=True, exist_ok=True)
    mixture = Mixture(SIZES, Follow(), lag=8)
    loader = MixtureLoader(sources(), plan(weights=mixture), rank, world, num_workers=workers, steps=steps)
    checkpoint = folder / "checkpoint.json"
    position = 0
    change_at = json.loads((folder / "change.json").read_text()) if (folder / "change.json").exists() else -1
    if checkpoint.exists():
        saved = json.loads(checkpoint.read_text())
        split = len(saved["stream"]["plan"]["sources"]) > len(SIZES)
        if split:
            loader = loader.with_sources(SPLIT, {}, rows=PARTS, state=saved["stream"])
            mixture = loader.plan.driver
        else:
            loader.load_state_dict(saved["stream"])
        position = saved["logs"][rank]
    control, orders = Control(folder, mixture), folder / "orders.json"
    orders = json.loads(orders.read_text()) if orders.exists() else {}
    first = saved["stream"]["plan"]["step"] if checkpoint.exists() else 0
    follow(mixture, together(control.take(first) if rank == 0 else None, world)[0])
    with open(folder / f"rows{rank}.log", "ab") as log:
        log.truncate(position)
        log.seek(position)
        batches = iter(loader)
        while True:
            if loader.step == change_at and mixture.k == len(SIZES):
                loader = loader.with_sources(SPLIT, {}, rows=PARTS)
                mixture, batches = loader.plan.driver, iter(loader)
            batch = next(batches, None)
            if batch is None:
                break
            rows = rows_of(batch) if mixture.k == len(SIZES) else batch.inputs[:, :2].tolist()
            log.write(json.dumps([batch.step, rows]).encode() + b"\n")
            log.flush()
            if batch.step == kill_at and rank == 1 and not (folder / "killed").exists():
                (folder / "killed").touch()
                os.kill(os.getpid(), signal.SIGKILL)
            every = together([rows, log.tell()], world)
            seen = [pair for part, _ in every for pair in part]
            if mixture.k > len(SIZES):  # the parts stand where "a" stood
                seen = [(s + 1 if s else r % 2, r) for s, r in seen]
            counts = np.bincount([s for s, _ in seen], minlength=mixture.k)
            loss = [np.mean([r for s, r in seen if s == i] or [0]) / 37 for i in range(mixture.k)]
            mixture.observe(Observation(batch.step, len(seen), counts, loss=np.array(loss)))
            if rank == 0 and str(batch.step) in orders:
                (folder / CONTROL).write_text(orders[str(batch.step)])
            follow(mixture, together(control.take(batch.step + 1) if rank == 0 else None, world)[0])
            if rank == 0:
                write_json(checkpoint, {"stream": loader.state_dict(), "logs": [at for _, at in every]})
            together(None, world)
            time.sleep(0.002)
    (folder / f"done{rank}").touch()
    if world > 1:
        leave()


def killed(folder, workers, kills):
    """Start the training again and again, as a fork that has imported all, and kill each at a random moment."""
    log, rng = folder / "rows0.log", random.Random(5)
    for life in range(kills):
        before = log.stat().st_size if log.exists() else 0
        child = os.fork()
        if child == 0:
            os.setsid()
            main(folder, 10**9, workers)
        while life % 2 and (not log.exists() or log.stat().st_size <= before):  # until it goes on
            assert os.waitpid(child, os.WNOHANG) == (0, 0)
            time.sleep(0.001)
        time.sleep(rng.random() * 0.25)
        os.kill(child, signal.SIGKILL)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
        with contextlib.suppress(ProcessLookupError):  # a worker that was just made does not notice the death by itself
            os.killpg(child, signal.SIGKILL)


def together(value, world):
    """Return every rank's value."""
    if world == 1:
        return [value]
    values = [None] * world
    dist.all_gather_object(values, value)
    return values


if __name__ == "__main__":
    main(Path(sys.argv[1]), *map(int, sys.argv[2:]))
