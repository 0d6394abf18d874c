"""
Several targets and squared error: seconds and certificates.

`python benchmarks/targets.py` prints a Markdown table; with --write it becomes benchmarks/results/targets.md too.
"""

import argparse
import os
import platform
from pathlib import Path

import numpy as np

from mixwright import Constraints, LikelihoodTable, MixMin, SquaredError, WorstRegret, pareto
from solver import timed

NOTE = """
Other work ran on the two cores at the time. Most of WorstRegret's time is the best of each target alone, where sources
are many or constraints go beyond bounds.
"""


def simulate(m, n, k, seed=0, dimensions=8, spread=0.6, used=4):
    """Return a table of m targets of n rows each: k Gaussian sources, each target a mixture of 4 of them."""
    rng = np.random.default_rng(seed)
    centre = rng.normal(size=(k, dimensions)) * spread
    logs = []
    for _ in range(m):
        weights = np.zeros(k)
        weights[rng.choice(k, used, replace=False)] = rng.dirichlet(np.full(used, 3.0))
        x = centre[rng.choice(k, n, p=weights)] + rng.normal(size=(n, dimensions))
        logs.append(-0.5 * ((x**2).sum(1)[:, None] - 2 * x @ centre.T + (centre**2).sum(1)))
    names = [f"target_{t}" for t in range(m)]
    return LikelihoodTable.from_array(np.vstack(logs), targets=np.repeat(np.arange(m), n), target_names=names)


def several(m, n, k):
    table = simulate(m, n, k)
    what = f"{m} targets, {m * n:,} x {k}"
    names = list(table.sources)
    third = Constraints(groups={"g": names[: k // 3]}, group_caps={"g": 0.2}, max_distance=1.5)
    _, alone = timed(lambda: [MixMin(shrinkage=0.0).fit(table.select(t)) for t in table.target_names])
    yield f"{what}: one MixMin(shrinkage=0.0) for each target", f"{alone:.2f} s", ""
    for label, arguments, settings in (
        ("WorstRegret()", {}, {}),
        ("WorstRegret(shrinkage=0.01)", {}, {"shrinkage": 0.01}),
        ("WorstRegret(), a group's cap and a distance", {"constraints": third}, {}),
    ):
        result, seconds = timed(lambda a=arguments, s=settings: WorstRegret(**s).fit(table, **a))
        deciding = sum(x > 1e-6 for x in result.target_weights.values())
        note = f"gap {result.gap:.1e} nats, worst {result.worst:.4f}, {deciding} targets decide"
        yield f"{what}: {label}", f"{seconds:.2f} s", f"{note}, {np.count_nonzero(result.weights)} sources used"
    curve, seconds = timed(lambda: pareto(table, table.target_names[:2]))
    yield (
        f"{what}: pareto, {len(curve)} points",
        f"{seconds:.2f} s",
        f"largest gap {max(p.gap for p in curve):.1e} nats",
    )


def uncertain(m, n, k):
    table = simulate(m, n, k)
    result = WorstRegret().fit(table)
    (_, low, high), seconds = timed(result.improvement)
    yield f"{m} targets, {m * n:,} x {k}: improvement out of fold", f"{seconds:.1f} s", f"{low:.3f} to {high:.3f}"
    _, seconds = timed(result.interval)
    yield f"{m} targets, {m * n:,} x {k}: interval", f"{seconds:.1f} s", "100 draws"


def verdicts(runs=100, m=3, n=60, k=6):
    """Uniform is the best mixture for all targets together: how often the interval lies above 0."""
    wrong = 0
    for seed in range(runs):
        rng = np.random.default_rng(1000 + seed)
        centre = rng.normal(size=(k, 4)) * 0.8
        x = centre[rng.integers(0, k, m * n)] + rng.normal(size=(m * n, 4))
        logs = -0.5 * ((x[:, None] - centre) ** 2).sum(2)
        table = LikelihoodTable.from_array(logs, targets=np.repeat(np.arange(m), n), target_names=list("abc"))
        wrong += WorstRegret().fit(table).improvement()[1] > 0
    yield f"uniform is the truth, {m} targets of {n} rows, {k} sources", f"{wrong} of {runs}", "90 % interval above 0"


def squared(n, k):
    rng = np.random.default_rng(0)
    F = rng.normal(size=(n, 1)) + rng.normal(size=(n, k))
    y = F @ np.where(np.arange(k) < 4, 0.25, 0.0) + rng.normal(size=n)
    result, seconds = timed(lambda: SquaredError(shrinkage=0.0).fit(F, y))
    yield f"{n:,} x {k}: SquaredError(shrinkage=0.0)", f"{seconds:.2f} s", f"gap {result.gap:.1e}, var(y) {y.var():.1f}"
    result, seconds = timed(lambda: SquaredError().fit(F, y))
    yield f"{n:,} x {k}: SquaredError()", f"{seconds:.2f} s", f"tau {result.shrinkage:g}, gap {result.gap:.1e}"
    (_, low, high), seconds = timed(result.improvement)
    yield f"{n:,} x {k}: its improvement", f"{seconds:.2f} s", f"{low:.3f} to {high:.3f}"
    _, seconds = timed(result.interval)
    yield f"{n:,} x {k}: its interval", f"{seconds:.2f} s", "200 draws"


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--write", action="store_true")
    write = arguments.parse_args().write
    head = (
        "# Several targets, squared error\n\n`python benchmarks/targets.py --write`; "
        f"{os.cpu_count()} cores, {platform.machine()}, numpy {np.__version__}.\n\n"
    )
    lines = ["| what | figure | note |", "|---|---|---|"]
    print("\n".join(lines))
    parts = (several(3, 10_000, 100), several(10, 3_000, 200), several(20, 5_000, 500), uncertain(3, 10_000, 100))
    for part in (*parts, verdicts(), squared(30_000, 100)):
        for what, figure, note in part:
            lines.append(f"| {what} | {figure} | {note} |")
            print(lines[-1], flush=True)
    if write:
        Path(__file__).with_name("results").joinpath("targets.md").write_text(head + "\n".join(lines) + "\n" + NOTE)


if __name__ == "__main__":
    main()
