"""
Rows per second of the stream and its peers, in the set-up of one machine, one run and a warm cache.

`python benchmarks/stream.py` prints a Markdown table; with --write it becomes benchmarks/results/stream.md. Fifty
thousand rows of 1,024 int32 tokens in K memory-mapped files, batches of 32, no workers. Each contender runs in a
process of its own, in turn, for several rounds; the best window of all rounds counts, for the limit too. Peers that
are not installed are left out and named.
"""

import argparse
import itertools
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np

ROWS, WIDTH, BATCH = 50_000, 1024, 32
FIRST = 1_000  # batches in the column that includes the start
WINDOW, WINDOWS = 0.25, 6


def weights_of(k):
    return np.random.default_rng(0).dirichlet(np.full(k, 2.0))


def opened(folder, k):
    return [np.load(path, mmap_mode="r") for path in sorted(Path(folder).glob(f"{k}_*.npy"))]


def memory_copy(folder, k):
    """The limit: np.take on one array in memory, every row once per pass in a random order."""
    whole = np.concatenate([np.asarray(a) for a in opened(folder, k)])
    rng = np.random.default_rng(0)
    picks = itertools.cycle(rng.permutation(len(whole))[: len(whole) // BATCH * BATCH].reshape(-1, BATCH))
    return lambda: (np.take(whole, pick, axis=0) for pick in picks)


def memory_copy_cached(folder, k):
    """np.take on the first 16,384 rows alone, part of which stay in the processor's cache."""
    whole = np.concatenate([np.asarray(a) for a in opened(folder, k)])[:16_384].copy()
    picks = itertools.cycle(np.random.default_rng(0).permutation(len(whole)).reshape(-1, BATCH))
    return lambda: (np.take(whole, pick, axis=0) for pick in picks)


def mixwright_loader(folder, k, compiled=None):
    from mixwright.stream import MixtureLoader, Plan, Sources, TokenRows

    def start():
        files = sorted(Path(folder).glob(f"{k}_*.npy"))
        sources = Sources({path.stem: TokenRows(path) for path in files}, compiled=compiled)
        plan = Plan(sources.sizes, weights_of(k), batch_size=BATCH, compiled=compiled)
        return (batch.inputs for batch in MixtureLoader(sources, plan))

    return start


def mixwright_numpy(folder, k):
    return mixwright_loader(folder, k, compiled=False)


def torch_weighted(folder, k):
    """WeightedRandomSampler over ConcatDataset, rows as tensors, torch's own collate."""
    import torch
    from torch.utils.data import ConcatDataset, DataLoader, Dataset, WeightedRandomSampler

    class Rows(Dataset):
        def __init__(self, array):
            self.rows = torch.from_numpy(np.asarray(array))

        def __len__(self):
            return len(self.rows)

        def __getitem__(self, i):
            return self.rows[i]

    def start():
        parts = [Rows(a) for a in opened(folder, k)]
        each = np.concatenate([np.full(len(p), w / len(p)) for p, w in zip(parts, weights_of(k), strict=True)])
        sampler = WeightedRandomSampler(torch.from_numpy(each), 10_000_000)
        return iter(DataLoader(ConcatDataset(parts), BATCH, sampler=sampler))

    return start


def torchdata_nodes(folder, k):
    """MultiNodeWeightedSampler over shuffled map-style nodes, stacked by batch."""
    import torch
    from torch.utils.data import RandomSampler
    from torchdata.nodes import Batcher, Loader, Mapper, MapStyleWrapper, MultiNodeWeightedSampler

    def start():
        arrays = opened(folder, k)
        nodes = {
            str(i): MapStyleWrapper(torch.from_numpy(np.asarray(a)), RandomSampler(a)) for i, a in enumerate(arrays)
        }
        weights = {str(i): float(w) for i, w in enumerate(weights_of(k))}
        mixed = MultiNodeWeightedSampler(nodes, weights, stop_criteria="CYCLE_FOREVER")
        return iter(Loader(Mapper(Batcher(mixed, BATCH), torch.stack)))

    return start


def datasets_of(folder, k):
    import datasets
    import pyarrow as pa

    made = []
    for array in opened(folder, k):
        column = pa.FixedSizeListArray.from_arrays(pa.array(np.asarray(array).ravel()), WIDTH)
        made.append(datasets.Dataset(pa.table({"ids": column})).with_format("numpy"))
    return made


def hf_map(folder, k):
    """interleave_datasets of map-style data sets, read in numpy batches."""
    import datasets

    def start():
        mixed = datasets.interleave_datasets(
            datasets_of(folder, k), probabilities=weights_of(k).tolist(), seed=0, stopping_strategy="all_exhausted"
        )
        return (batch["ids"] for _ in itertools.count() for batch in mixed.iter(BATCH))

    return start


def hf_iterable(folder, k):
    """interleave_datasets of iterable data sets, batched."""
    import datasets

    def start():
        streams = [d.to_iterable_dataset().with_format("numpy") for d in datasets_of(folder, k)]
        mixed = datasets.interleave_datasets(
            streams, probabilities=weights_of(k).tolist(), seed=0, stopping_strategy="all_exhausted"
        )
        return (batch["ids"] for _ in itertools.count() for batch in mixed.iter(BATCH))

    return start


def grain_mix(folder, k):
    """MapDataset.mix of shuffled sources, batched, read in the process itself."""
    import grain

    def start():
        sources = [grain.MapDataset.source(a).shuffle(seed=i).repeat() for i, a in enumerate(opened(folder, k))]
        mixed = grain.MapDataset.mix(sources, weights=weights_of(k).tolist()).batch(BATCH)
        return iter(mixed.to_iter_dataset(grain.ReadOptions(num_threads=0, prefetch_buffer_size=0)))

    return start


CONTENDERS = {
    "memory copy (np.take on one array)": (memory_copy, "numpy"),
    "memory copy, 16,384 rows again and again": (memory_copy_cached, "numpy"),
    "mixwright MixtureLoader": (mixwright_loader, "mixwright"),
    "mixwright MixtureLoader, without numba": (mixwright_numpy, "mixwright"),
    "torchdata MultiNodeWeightedSampler": (torchdata_nodes, "torchdata"),
    "WeightedRandomSampler + ConcatDataset": (torch_weighted, "torch"),
    "datasets interleave, map-style": (hf_map, "datasets"),
    "datasets interleave, iterable": (hf_iterable, "datasets"),
    "grain mix": (grain_mix, "grain"),
}


def measured(name, folder, k):
    """Return rows/s of the best window, rows/s of the first batches with the start, and seconds to the first batch."""
    start = CONTENDERS[name][0](folder, k)
    begin = time.perf_counter()
    batches = start()
    next(batches)
    first = time.perf_counter() - begin
    count = 1
    while count < FIRST and time.perf_counter() - begin < 20:
        next(batches)
        count += 1
    with_start = count * BATCH / (time.perf_counter() - begin)
    for _ in range(3_000):  # compiled paths are taken after 65,536 rows
        next(batches)
        if time.perf_counter() - begin > 20:
            break
    best = 0.0
    for _ in range(WINDOWS):
        begin, count = time.perf_counter(), 0
        while (spent := time.perf_counter() - begin) < WINDOW:
            for _ in range(8):
                next(batches)
            count += 8
        best = max(best, count * BATCH / spent)
    return best, with_start, first


def write_files(folder, k):
    rng = np.random.default_rng(0)
    for i in range(k):
        size = ROWS // k + (i < ROWS % k)
        np.save(Path(folder) / f"{k}_{i:03d}.npy", rng.integers(0, 50_000, (size, WIDTH), dtype=np.int32))


def known(package):
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def table(k, found):
    limit = max(found["memory copy (np.take on one array)"][0])
    lines = [
        f"| K = {k} | rows/s | share of the limit | rows/s with the start ({FIRST:,} batches) | first batch, s |",
        "|---|---|---|---|---|",
    ]
    for name, (steady, with_start, first) in found.items():
        share = max(steady) / limit
        lines.append(f"| {name} | {max(steady):,.0f} | {share:.1%} | {max(with_start):,.0f} | {min(first):.3f} |")
    peers = {n: max(v[0]) for n, v in found.items() if "mixwright" not in n and "memory" not in n}
    if peers:
        fastest = max(peers, key=peers.get)
        ours = max(found["mixwright MixtureLoader"][0])
        lines += [
            "",
            f"MixtureLoader: {ours / limit:.0%} of the limit, {ours / peers[fastest]:.1f} times the fastest peer "
            f"({fastest}).",
        ]
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[1])
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--one", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        name, folder, k = arguments.one
        print(json.dumps(measured(name, folder, int(k))))
        return
    there = {name: known(package) for name, (_, package) in CONTENDERS.items()}
    parts, load = [], [os.getloadavg()[0]]
    with tempfile.TemporaryDirectory() as folder:
        for k in (8, 64):
            write_files(folder, k)
            found = {name: ([], [], []) for name, there_is in there.items() if there_is}
            for _, name in itertools.product(range(arguments.rounds), list(found)):
                call = [sys.executable, __file__, "--one", name, folder, str(k)]
                result = subprocess.run(
                    call,
                    capture_output=True,
                    text=True,
                    env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"},
                )
                if result.returncode:
                    print(f"{name}: {result.stderr[-600:]}", file=sys.stderr)
                    found.pop(name, None)
                    continue
                if name in found:
                    for values, value in zip(found[name], json.loads(result.stdout.splitlines()[-1]), strict=True):
                        values.append(value)
            load.append(os.getloadavg()[0])
            parts.append(table(k, found))
    names = ", ".join(
        f"{p} {known(p)}" for p in ("torch", "torchdata", "datasets", "grain", "numba", "numpy") if known(p)
    )
    absent = ", ".join(name for name, there_is in there.items() if not there_is)
    head = [
        "# Throughput of the stream",
        "",
        f"`python benchmarks/stream.py --write --rounds {arguments.rounds}`, {platform.machine()},",
        f"{os.cpu_count()} cores, Python {platform.python_version()}, {names}.",
        f"{ROWS:,} rows of {WIDTH:,} int32 tokens in K memory-mapped files, batches of {BATCH}, no workers, one",
        f"thread, warm cache; best window of {arguments.rounds} rounds, a process each. Load of the machine",
        f"(1 minute) at the start and after each K: {', '.join(f'{x:.1f}' for x in load)} (1 is the contender).",
        "The start is the time to make the objects, without the imports of the packages.",
        *([f"Not installed: {absent}."] if absent else []),
    ]
    text = "\n".join([*head, "", "\n\n".join(parts)]) + "\n"
    print(text)
    if arguments.write:
        Path(__file__).with_name("results").joinpath("stream.md").write_text(text)


if __name__ == "__main__":
    main()
