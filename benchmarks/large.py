"""
Tables larger than memory, many sources, and a solve beside a previous one.

`python benchmarks/large.py` prints a Markdown table; with --write it becomes benchmarks/results/large.md too. Tables
are written to a temporary folder first (2.6 GB for 10,000,000 x 32, removed at the end). Each case is a process of its
own: its memory is the largest resident size of the whole process (ru_maxrss).
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

import numpy as np

from mixwright import LikelihoodTable, MixMin
from solver import simulate

ROWS = 1_000_000  # written at a time
NOTE = """
Goals: 1.5 GB of resident memory at 10,000,000 x 32; a time per row that is no worse there than at 1,000,000; a
certificate at 20,000 x 10,000; one source more at least 3 times faster than from scratch.

The time per row does not rise with the rows among tables that are streamed. A table that fits into memory computes
its exponentials once, and is quicker per row than a streamed one, which computes them in each pass: against that the
goal is not reached. Beside a previous result the goal is reached where the new source is not used; one that takes a
quarter of the weight moves the optimum far, and then only what is saved on reading counts.
"""
LOAD = os.getloadavg()[0]  # other processes at work, before this one


def write(folder, n, k, seed=0, dimensions=8, spread=0.6, used=4):
    """Write the table of `solver.simulate`, a million rows at a time."""
    if n * k <= 2e8:
        LikelihoodTable.from_array(simulate(n, k, seed, used=used)).save(folder)
        return
    rng = np.random.default_rng(seed)
    centre = rng.normal(size=(k, dimensions)) * spread
    weights = np.zeros(k)
    weights[rng.choice(k, used, replace=False)] = rng.dirichlet(np.full(used, 3.0))
    table = LikelihoodTable.create(folder, [f"source_{i}" for i in range(k)], documents=np.arange(n), unit="row")
    for start in range(0, n, ROWS):
        m = min(ROWS, n - start)
        x = centre[rng.choice(k, m, p=weights)] + rng.normal(size=(m, dimensions))
        square = (x**2).sum(1)
        for i in range(k):
            table.append(f"source_{i}", -0.5 * (square - 2 * x @ centre[i] + (centre[i] ** 2).sum()))
    for source in table.sources:
        table.finish(source)


def fit(folder, **settings):
    """Return the figures of one search over a table on disk, opening it included."""
    begin = time.perf_counter()
    table = LikelihoodTable.open(folder)
    result = MixMin(shrinkage=0.0, **settings).fit(table)
    seconds = time.perf_counter() - begin
    rows = result._search.whole if not result._search.partial else None
    return {
        "n": table.n,
        "k": table.k,
        "seconds": seconds,
        "gap": result.gap,
        "used": int(np.count_nonzero(result.weights)),
        "passes": getattr(rows, "passes", None),
        "megabytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3,
    }


def beside(folder, used):
    """Return the seconds of a search with one source more, from scratch and beside the result without it (medians)."""
    table = LikelihoodTable.open(folder)
    order = np.argsort(-MixMin(shrinkage=0.0).fit(table).weights, kind="stable")
    source = table.sources[order[1] if used else order[-1]]
    less = table.without_source(source)
    previous = MixMin(shrinkage=0.0).fit(less)
    logs = table.block(0, table.n)[:, table.sources.index(source)].copy()
    seconds = {"cold": [], "warm": []}
    for _ in range(7):
        for name, start in (("cold", None), ("warm", previous)):
            begin = time.perf_counter()
            wider = less.with_source(source, logs)
            result = MixMin(shrinkage=0.0).fit(wider, start=start)
            seconds[name].append(time.perf_counter() - begin)
    found = {name: float(np.median(values)) for name, values in seconds.items()}
    weight = float(result.weights[wider.sources.index(source)])
    return {"n": table.n, "k": table.k, "gap": result.gap, "weight": weight, **found}


def case(action, folder, *arguments, **settings):
    """Return what an action returns in a process of its own."""
    call = json.dumps([action, str(folder), arguments, settings])
    one = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    command = [sys.executable, __file__, "--call", call]
    output = subprocess.run(command, check=True, stdout=subprocess.PIPE, env=os.environ | one)
    return json.loads(output.stdout.decode().splitlines()[-1])


def size(found):
    return f"{found['n']:,} x {found['k']:,}"


def fits(folder):
    """Yield the rows of the table: what, seconds, microseconds per row, memory, note."""

    def row(what, found, note=""):
        per_row = f"{1e6 * found['seconds'] / found['n']:.2f}"
        note = f"gap {found['gap']:.1e}, {found['used']} sources used{note}"
        return f"{size(found)}: {what}", f"{found['seconds']:.2f}", per_row, f"{found['megabytes']:,.0f}", note

    small, large, wide = folder / "small", folder / "large", folder / "wide"
    case("write", small, 1_000_000, 32)
    case("write", large, 10_000_000, 32)
    yield row("held in memory (default)", case("fit", small))
    found = case("fit", small, memory=1.2e8)
    yield row("streamed (memory=1.2e8)", found, f", {found['passes']} passes")
    found = case("fit", large)
    yield row("streamed (default)", found, f", {found['passes']} passes")
    yield row("max_rows=500,000", case("fit", large, max_rows=500_000), " (the gap bounds the loss on all rows)")
    shutil.rmtree(large)
    case("write", wide, 20_000, 10_000)
    yield row("held in memory (default)", case("fit", wide))
    shutil.rmtree(wide)
    two = folder / "two"
    case("write", two, 1_000_000, 2, used=2)
    yield row("held in memory (default)", case("fit", two))


def adds(folder):
    """Yield the rows of the table: what, seconds from scratch, seconds beside the previous result, ratio, note."""
    case("write", folder / "middle", 60_000, 500)
    for name, used in (("middle", False), ("middle", True), ("small", False), ("small", True)):
        found = case("beside", folder / name, used)
        ratio = f"{found['cold'] / found['warm']:.1f}"
        note = f"its weight {found['weight']:.3f}, gap {found['gap']:.1e}"
        yield size(found), f"{found['cold']:.3f}", f"{found['warm']:.3f}", ratio, note


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="write benchmarks/results/large.md")
    parser.add_argument("--call", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.call:
        action, folder, positional, settings = json.loads(arguments.call)
        print(json.dumps({"write": write, "fit": fit, "beside": beside}[action](folder, *positional, **settings)))
        return
    lines = []

    def show(*cells):
        lines.append("| " + " | ".join(cells) + " |")
        print(lines[-1], flush=True)

    if shutil.disk_usage(tempfile.gettempdir()).free < 6e9:
        sys.exit("the tables need 6 GB in the temporary folder; found less; set TMPDIR")
    with tempfile.TemporaryDirectory() as temporary:
        show("a search over a table on disk, `shrinkage=0.0`", "seconds", "µs per row", "peak MB", "note")
        show("---", "---:", "---:", "---:", "---")
        for cells in fits(Path(temporary)):
            show(*cells)
        lines.append("")
        show("one source more", "from scratch, s", "beside the previous result, s", "ratio", "note")
        show("---", "---:", "---:", "---:", "---")
        for cells in adds(Path(temporary)):
            show(*cells)
    where = f"{os.cpu_count()} cores, {platform.machine()}, numpy {np.__version__}"
    head = f"# Large tables\n\n`python benchmarks/large.py --write`; {where}. Files are in the page cache;\n"
    head += f"linear algebra on one thread (blocks of rows share the cores); load at the start {LOAD:.1f}.\n\n"
    if arguments.write:
        text = head + "\n".join(lines) + "\n" + NOTE
        Path(__file__).with_name("results").joinpath("large.md").write_text(text)


if __name__ == "__main__":
    main()
