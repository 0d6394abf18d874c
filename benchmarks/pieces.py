"""
The head of a run with many pieces: its seconds and its memory, with work that is done at once.

`python benchmarks/pieces.py` plans 1,000, 10,000 and 100,000 pieces and does them through the real head: keys,
descriptions, array scripts, `squeue`, claims, results. SLURM alone is pretended: `squeue` first does 500 of the tasks
that wait (claim, result, release) and then lists the others. What it takes itself is not counted. Each size runs in a
process of its own, and once more when all is done, as after a head that died. `--sources N` measures what a
configuration with that many sources costs the head and each worker. With --write the tables become
benchmarks/results/pieces.md.

`--ray N` does N pieces of next to no work (a classifier of one tree and 240 rows) with `local` and then on a real Ray
cluster of one node: what an engine adds to a piece. It needs ray and xgboost, and adds its table to the page (--write).
"""

import argparse
import json
import os
import platform
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import yaml

from mixwright.experiment import drive, load, make
from mixwright.experiment.core.parallel import Limits, Work
from mixwright.experiment.engines import on_slurm, pieces
from mixwright.experiment.engines.engine import do_pieces
from mixwright.experiment.engines.on_slurm import SlurmCluster
from mixwright.experiment.kinds import of_config
from mixwright.files.claims import Claim

CORES = 2  # that pieces have, with local and on Ray
AT_ONCE = 500  # tasks that are done between two looks
CONFIG = {
    "kind": "assays",
    "table": {"path": "t.csv", "features": ["x_*"]},
    "targets": ["target"],
    "arms": ["uniform", "natural"],
    "seeds": 2,
    "engine": "slurm",
}


class FakeSlurm:
    """Arrays whose tasks are done when somebody asks about them."""

    def __init__(self):
        self.tasks, self.jobs, self.seconds, self.asked = {}, 0, 0.0, 0

    def called(self, *line):
        started = time.perf_counter()
        try:
            return getattr(self, line[0])(*line[1:])
        finally:
            self.seconds += time.perf_counter() - started

    def sbatch(self, _, script):
        self.jobs += 1
        place = Path(script)
        for i, key in enumerate(place.with_suffix(".txt").read_text().split()):
            self.tasks[f"{self.jobs}_{i}"] = place.parent.parent / key, place.stem
        return str(self.jobs)

    def squeue(self, *_):
        self.asked += 1
        for task in list(self.tasks)[:AT_ONCE]:
            work(self.tasks.pop(task)[0])
        states = ["RUNNING|None"] * AT_ONCE + ["PENDING|Priority"] * len(self.tasks)
        return "".join(f"{i}|{s}|{name}\n" for (i, (_, name)), s in zip(self.tasks.items(), states, strict=False))


def work(place):
    """Do what a worker does with its piece, but for the work."""
    claim = Claim(place)
    assert claim.take()
    claim.about |= {"share": 1.0, "seconds": 0.0}
    piece = pieces.Piece(place.parent.parent, place.name, "", "", "", [])
    piece.keep({"seed": 0, "value": 0.5}, 0.0, "node1")
    claim.release()


def memory():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3


def measure(count, folder):
    """Plan and do pieces; return what the head took."""
    (folder / "t.csv").write_text("x_0,target\n0,1\n")
    config, run = make("compare", CONFIG, folder=folder), folder / "run"
    fake = FakeSlurm()
    on_slurm._called = fake.called
    SlurmCluster.poll = 0.0
    function, before = of_config(config).get("pieces")["cells"], memory()
    works = [Work(f"target, seed {i}", function, (config, run, "target", i)) for i in range(count)]
    found = {"pieces": count}
    for when in ("first", "again"):
        started, fake.seconds = time.perf_counter(), 0.0
        config._digest = None
        values = do_pieces(works, Limits(), lambda *_: None, "cells")
        found[when] = time.perf_counter() - started - fake.seconds
        assert len(values) == count
    return found | {"asked": fake.asked, "arrays": fake.jobs, "megabytes": memory() - before}


def measure_sources(count, folder):
    """Return what a configuration with many sources costs."""
    for i in range(count):
        (folder / f"s{i}.txt").write_text(f"document {i}\n" * 3)
    sources = {f"source {i}": f"s{i}.txt" for i in range(count)}
    values = {"sources": sources, "targets": {"t": "s0.txt"}, "engine": "slurm"}
    size = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    final = {"tokens": 2500, "batch_size": 4, "context": 32}
    values |= {"model": {"model_type": "gpt_neox", **size}, "proxy": {"tokens": 1500}, "final": final}
    path = folder / "search.yaml"
    path.write_text(yaml.safe_dump(values, sort_keys=False))
    started = time.perf_counter()
    config = load("search", path)
    loaded = time.perf_counter() - started
    started = time.perf_counter()
    pieces._depends(config)
    named = time.perf_counter() - started
    function, run = of_config(config).get("pieces")["proxy"], folder / "run"
    started = time.perf_counter()
    works = [Work(f"the proxy of {name}", function, (config, run, name)) for name in sources]
    pieces.plan(works, 1, "proxies")
    return {"sources": count, "load": loaded, "depends": named, "plan": time.perf_counter() - started}


def measure_ray(count, folder):
    """Do the same small pieces on this machine and on Ray; return the seconds of each."""
    from ray.cluster_utils import Cluster

    rows = [f"{i},{i * i % 97},{i % 2},{i % 3 % 2}" for i in range(240)]
    (folder / "t.csv").write_text("\n".join(["x_0,x_1,target,near", *rows]) + "\n")
    small = {"arms": ["uniform"], "seeds": count, "classifier": {"trees": 1, "depth": 1}, "own_rows": False}
    values = {**CONFIG, **small, "threads": 1, "compute": {"cores": CORES}}
    os.environ |= {"PYTHONPATH": os.pathsep.join(p for p in sys.path if p), "RAY_worker_niceness": "0"}
    found = {
        "pieces": count,
        "local": timed(make("compare", {**values, "engine": "local"}, folder=folder), folder / "a"),
    }
    nodes = Cluster(initialize_head=True, head_node_args={"num_cpus": CORES})
    engine = {"kind": "ray", "address": nodes.address}
    found["ray"] = timed(make("compare", values | {"engine": engine}, folder=folder), folder / "b")
    nodes.shutdown()
    assert (folder / "a" / "cells.csv").read_bytes() == (folder / "b" / "cells.csv").read_bytes()
    return found


def timed(config, run):
    """Return the seconds of a run between its plan of pieces and the end of the last one."""
    seen = []

    def progress(stage, done, total, note=""):
        if stage == "cells":
            seen.append(time.perf_counter())

    started = time.perf_counter()
    drive(config, run, progress)
    return {"pieces": seen[-1] - seen[0], "run": time.perf_counter() - started}


def ray_table(found):
    """Return the table of what an engine adds to a piece."""
    lines = [
        "| engine | pieces | s for all pieces | s per piece and core | whole command, s |",
        "|---|---:|---:|---:|---:|",
    ]
    for name in ("local", "ray"):
        s = found[name]
        each = s["pieces"] * CORES / found["pieces"]
        lines.append(f"| `{name}` | {found['pieces']} | {s['pieces']:.1f} | {each:.2f} | {s['run']:.1f} |")
    ratio = found["ray"]["pieces"] / found["local"]["pieces"]
    return "\n".join([*lines, "", f"Ray takes {ratio:.1f} times as long for pieces of next to no work."]) + "\n"


def in_a_process(*arguments):
    folder = tempfile.mkdtemp(prefix="pieces-")
    try:
        line = [sys.executable, __file__, *map(str, arguments), "--folder", folder]
        return json.loads(subprocess.run(line, check=True, capture_output=True, text=True).stdout)
    finally:
        shutil.rmtree(folder)


def report(rows, sources):
    """Return the tables."""
    lines = ["| pieces | head, s | s per 1,000 | begun again, s | s per 1,000 | arrays | looks | MB | MB per 1,000 |"]
    lines += ["|---:" * 9 + "|"]
    for r in rows:
        k = r["pieces"] / 1000
        lines.append(
            f"| {r['pieces']:,} | {r['first']:.1f} | {r['first'] / k:.2f} | {r['again']:.1f} | {r['again'] / k:.2f} | "
            f"{r['arrays']} | {r['asked']} | {r['megabytes']:.0f} | {r['megabytes'] / k:.2f} |"
        )
    lines += ["", "| sources | read the configuration, s | look at its files, s | plan a piece for each, s |"]
    lines += ["|---:" * 4 + "|"]
    lines += [f"| {s['sources']:,} | {s['load']:.2f} | {s['depends']:.2f} | {s['plan']:.2f} |" for s in sources]
    return "\n".join(lines) + "\n"


def write_ray(table, given):
    """Print the table, and put it at the end of the page."""
    print(table)
    page = Path(__file__).parent / "results" / "pieces.md"
    if given.write:
        head = (
            f"## What Ray adds to a piece\n\n`python benchmarks/pieces.py --ray {given.ray} --write`; {CORES} cores, "
            "Ray on the same machine, other work on it: compare the two\nengines rather than seconds. `local` keeps "
            "its processes from piece to piece, Ray starts one for each.\n\n"
        )
        page.write_text(page.read_text().partition("\n## What Ray")[0].rstrip() + "\n\n" + head + table)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pieces", type=int, nargs="*", default=[1_000, 10_000, 100_000])
    parser.add_argument("--sources", type=int, nargs="*", default=[1_000, 10_000])
    parser.add_argument("--folder", type=Path, help="measure one size there, and print JSON")
    parser.add_argument("--ray", type=int, help="pieces that are done with local and on Ray, in place of the rest")
    parser.add_argument("--write", action="store_true")
    given = parser.parse_args()
    if given.ray:
        with tempfile.TemporaryDirectory(prefix="pieces-") as folder:
            write_ray(ray_table(measure_ray(given.ray, Path(folder))), given)
        return
    if given.folder:
        found = (
            measure(given.pieces[0], given.folder) if given.pieces else measure_sources(given.sources[0], given.folder)
        )
        print(json.dumps(found))
        return
    rows = [in_a_process("--pieces", n, "--sources") for n in given.pieces]
    text = report(rows, [in_a_process("--sources", n, "--pieces") for n in given.sources])
    print(text)
    if given.write:
        head = (
            "# The head of a run with many pieces\n\n"
            f"`python benchmarks/pieces.py --write`; {platform.machine()}, Python {platform.python_version()}, a local "
            "disk, other work on the\nmachine. SLURM is pretended and does the work at once; what it takes is not "
            "counted. See the docstring of the script\nand [Engines](../../docs/engines.md).\n\n"
        )
        page = Path(__file__).parent / "results" / "pieces.md"
        kept = page.read_text().partition("\n## What Ray") if page.exists() else ("", "", "")
        page.write_text(head + text + "".join(kept[1:]))


if __name__ == "__main__":
    main()
