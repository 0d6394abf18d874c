"""
The plan alone: rows planned per second, and the time to the first batch.

`python benchmarks/plan.py` prints a Markdown table; with --write it becomes benchmarks/results/plan.md too. The peers,
in the same run: a loop of numpy's multinomial and a permutation per source and epoch (what one writes by hand; no
carry, no resume), torch's WeightedRandomSampler (source indices alone, all drawn up front), and grain's mix of
shuffled ranges where it is installed (fixed weights; it hands over rows one by one).
"""

import argparse
import contextlib
import os
import platform
import time
import tracemalloc
from pathlib import Path

import numpy as np

from mixwright import Mixture, Plan, Static

BATCH = 32
HEAD = ("k", "plan", "rows/s", "x numpy loop")


def size_of(k):
    return 50_000 if k <= 64 else 500  # what the numpy loop can hold


def weights_of(k):
    return np.random.default_rng(0).dirichlet(np.ones(k))


class NumpyLoop:
    """Multinomial counts and one stored permutation per source."""

    def __init__(self, k):
        self.rng, self.k, self.weights = np.random.default_rng(0), k, weights_of(k)
        self.orders, self.cursor = [self.rng.permutation(size_of(k)) for _ in range(k)], np.zeros(k, np.int64)

    def __next__(self):
        counts = self.rng.multinomial(BATCH, self.weights)
        source, rows = np.repeat(np.arange(self.k), counts), []
        for i in np.flatnonzero(counts).tolist():
            if self.cursor[i] + counts[i] > len(self.orders[i]):
                self.orders[i], self.cursor[i] = self.rng.permutation(len(self.orders[i])), 0
            rows.append(self.orders[i][self.cursor[i] : self.cursor[i] + counts[i]])
            self.cursor[i] += counts[i]
        order = self.rng.permutation(BATCH)
        return source[order], np.concatenate(rows)[order]


def torch_sampler(k, batches):
    import torch
    from torch.utils.data import WeightedRandomSampler

    generator = torch.Generator().manual_seed(0)
    return WeightedRandomSampler(weights_of(k).tolist(), BATCH * batches, generator=generator)


def grain_mix(k):
    import grain

    parts = [grain.MapDataset.range(size_of(k)).shuffle(seed=i).repeat() for i in range(k)]
    return grain.MapDataset.mix(parts, weights_of(k))


def rate(work, rows, seconds=2.0):
    """Return rows per second in the best of many short spells, so that other work on the machine counts little."""
    work()
    best, end = np.inf, time.perf_counter() + seconds
    while time.perf_counter() < end:
        start = time.perf_counter()
        work()
        best = min(best, time.perf_counter() - start)
    return rows / best


def plan_rate(steps, spell=64):
    """Return the rate of an iterator of batches, over spells of 64 steps."""
    for _ in range(spell):
        next(steps)
    return rate(lambda: [next(steps) for _ in range(spell)], spell * BATCH)


def sampler_rate(k, batches=1000):
    return rate(lambda: list(torch_sampler(k, batches)), BATCH * batches)


def grain_rate(k, rows=500):
    mixed = grain_mix(k)
    return rate(lambda: [mixed[i] for i in range(rows)], rows)


def figures(k):
    sizes = {f"source_{i}": size_of(k) for i in range(k)}
    settings = {"batch_size": BATCH}
    found = {"numpy loop (multinomial, stored permutations)": plan_rate(NumpyLoop(k))}
    for name, compiled in (("compiled", True), ("numpy", False)):
        found[f"Plan, {name}"] = plan_rate(Plan(sizes, weights_of(k), compiled=compiled, **settings))
    found["Plan, compiled, draw='iid'"] = plan_rate(Plan(sizes, weights_of(k), draw="iid", compiled=True, **settings))
    driven = Plan(sizes, Mixture(sizes, Static(weights_of(k))), compiled=True, **settings)
    found["Plan, compiled, weights from a Mixture, step by step"] = plan_rate(driven)
    rng = np.random.default_rng(0)
    more = {"unit": "tokens", "lengths": {name: rng.integers(1, 2000, size) for name, size in sizes.items()}}
    for name, compiled in (("compiled", True), ("numpy", False)):
        found[f"Plan, {name}, unit='tokens'"] = plan_rate(
            Plan(sizes, weights_of(k), compiled=compiled, **more, **settings)
        )
    found["torch WeightedRandomSampler, sources alone"] = sampler_rate(k)
    if k <= 64:
        with contextlib.suppress(ImportError):
            found["grain mix, row by row"] = grain_rate(k)
    return found


def start_up():
    """Return seconds to the first batch, and the peak of memory, of 1,000 sources of 1e9 rows in all."""
    sizes = {f"source_{i}": 10**6 for i in range(1000)}
    start = time.perf_counter()
    next(Plan(sizes, np.full(1000, 1e-3), batch_size=256))
    seconds = time.perf_counter() - start
    tracemalloc.start()
    next(Plan(sizes, np.full(1000, 1e-3), batch_size=256))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return seconds, peak / 1e6


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--write", action="store_true")
    arguments = parser.parse_args()
    load = [os.getloadavg()[0]]
    seconds, megabytes = start_up()
    lines = [f"| {' | '.join(HEAD)} |", "|---|---|---|---|"]
    for k in (8, 64, 10_000):
        found = figures(k)
        base = found["numpy loop (multinomial, stored permutations)"]
        lines += [f"| {k:,} | {name} | {value:,.0f} | {value / base:.2f} |" for name, value in found.items()]
    load = ", ".join(f"{x:.1f}" for x in (*load, os.getloadavg()[0]))
    where = f"{os.cpu_count()} cores, {platform.machine()}, numpy {np.__version__}"
    text = f"""# The plan alone

`python benchmarks/plan.py --write`; {where}. Batches of {BATCH}, sources of 50,000 rows (500 at
k = 10,000). One thread; the best of many spells of 64 steps, since other work ran on the machine.

{chr(10).join(lines)}

Start-up: the first batch of 1,000 sources of 1e9 rows in all is there after {seconds:.3f} s, with
{megabytes:.1f} MB at the peak. The stored permutations of the numpy loop take 8 bytes per row; the plan's take none.
A Mixture is asked for each step by itself. Plans in tokens have rows of 1 to 2,000 tokens. The sampler of torch gives
source indices alone, all drawn up front. Load of the machine (1 minute) at the start and at the end: {load}.
"""
    print(text)
    if arguments.write:
        (Path(__file__).parent / "results" / "plan.md").write_text(text)


if __name__ == "__main__":
    main()
