"""
Is the mixture worth it on assays? Average precision of MixMin and its baselines on Tox21 and ToxCast, paired seeds.

    python benchmarks/assays.py run --data ../shared/data --folder runs/assays --pool tox21      (goes on where it was)
    python benchmarks/assays.py table --folder runs/assays                                       (reads what is there)

Pools, by rules that were fixed before these runs (a trial had used the assays of `random`):

- tox21: all 12 assays, each the target in turn.
- first: the first 62 assays of the ToxCast file that have at least 300 rows and 30 of each class (the paper takes the
  first 100 of PCBA); 10 targets evenly spaced among those with at least 100 of each class.
- random: 62 of them drawn at random (seed 0); the first 10 with at least 100 of each class are targets.
- large: the 62 of them with most rows; 10 targets evenly spaced as in `first`. (Added after `first` was seen to have
  little to find; with --folds 3, for time.)

One booster for every proxy and every arm. A line of JSON for each (pool, split, target, seed) in FOLDER/results.jsonl.
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np

SEEDS = (0, 1, 2)
ROWS, EACH, TARGET_EACH, POOL, TARGETS = 300, 30, 100, 62, 10


def pool_of(table, name):
    """Return the assays of a pool and its targets."""
    if name == "tox21":
        return list(table.assays), list(table.assays)
    ones, zeros = (table.labels == 1).sum(0), (table.labels == 0).sum(0)
    eligible = np.flatnonzero((ones + zeros >= ROWS) & (ones >= EACH) & (zeros >= EACH))
    if name == "first":
        chosen = eligible[:POOL]
    elif name == "large":
        chosen = eligible[np.argsort(-(ones + zeros)[eligible], kind="stable")][:POOL]
    else:
        chosen = np.random.default_rng(0).permutation(eligible)[:POOL]
    able = [i for i in chosen if min(ones[i], zeros[i]) >= TARGET_EACH]
    if name != "random":
        able = [able[i] for i in np.linspace(0, len(able) - 1, TARGETS).round().astype(int)]
    return [table.assays[i] for i in chosen], [table.assays[i] for i in able[:TARGETS]]


def one(table, assays, target, seed, kind, booster, folds, quick):
    """Return the record of one target and seed."""
    from mixwright import MixMin
    from mixwright.assays.arms import Arm, baseline_arms, train_arm
    from mixwright.assays.judge import average_precision
    from mixwright.assays.plan import make_plan
    from mixwright.assays.search import search_weights
    from mixwright.assays.splits import split_target

    split = split_target(table, target, kind, 0.25, seed)
    sources = [name for name in assays if name != target]
    same = {"model": booster, "seed": seed}
    plan = make_plan(table, split, sources, folds=folds, own_rows=False, unusable="drop", **same)
    own = make_plan(table, split, plan.sources, folds=folds, unusable="drop", **same)
    started = time.perf_counter()
    P = np.stack([plan.probabilities(source) for source in plan.sources], axis=1)
    seconds = {"proxies": time.perf_counter() - started}
    started = time.perf_counter()
    found = {"search": search_weights(plan, P, "intercept", MixMin())[0]}
    seconds["search"] = time.perf_counter() - started
    found["search_uncalibrated"] = search_weights(plan, P, "none", MixMin())[0]
    found["search_exact"] = search_weights(plan, P, "intercept", MixMin(shrinkage=0.0))[0]
    found["search_prior_natural"] = search_weights(plan, P, "intercept", MixMin(prior="natural"))[0]
    if not quick:
        seen = make_plan(table, split, plan.sources, folds=0, own_rows=False, **same)
        started = time.perf_counter()
        once = np.stack([seen.probabilities(source) for source in plan.sources], axis=1)
        seconds["proxies_once"] = time.perf_counter() - started
        found["search_seen"] = search_weights(seen, once, "intercept", MixMin())[0]
    Q = np.column_stack([P, own.probabilities(target)])
    with_own = search_weights(own, Q, "intercept", MixMin())[0]
    arms = baseline_arms(plan, plan.log_likelihood(P, "intercept"))
    alike = [average_precision(plan.labels, P[:, k]) for k in range(P.shape[1])]
    best = tuple(float(i == int(np.argmax(alike))) for i in range(len(alike)))
    arms.append(Arm("best_single_by_ap", "best_single", plan.sources, best))
    arms += [Arm(name, "search", plan.sources, tuple(r.weights)) for name, r in found.items()]
    arms += [
        Arm(f"{arm.name}_own", arm.kind, arm.sources, arm.weights)
        for arm in baseline_arms(own, own.log_likelihood(Q, "intercept"), ("uniform", "natural"))
    ]
    arms.append(Arm("search_own", "search", own.sources, tuple(with_own.weights)))
    results = {arm.name: train_arm(plan, arm) for arm in arms}
    seconds["final"] = {name: r.seconds for name, r in results.items()}
    order = np.argsort(-found["search"].weights)
    estimate, low, high = found["search"].improvement()
    return {
        "target": target,
        "seed": seed,
        "split": kind,
        "folds": folds,
        "sources": len(plan.sources),
        "train": len(split.train),
        "train_ones": int(plan.labels.sum()),
        "test": len(split.test),
        "test_ones": int((table.labels[split.test, table.column(target)] == 1).sum()),
        "ap": {name: r.average_precision for name, r in results.items()},
        "rows": {name: r.rows for name, r in results.items()},
        "seconds": seconds,
        "gap": found["search"].gap,
        "shrinkage": found["search"].shrinkage,
        "improvement": [estimate, low, high],
        "own_weight": float(with_own.weights[-1]) if own.sources[-1] == target else None,
        "best_proxy_ap": float(max(alike)),
        "top": [[plan.sources[i], float(found["search"].weights[i]), float(alike[i])] for i in order[:5]],
    }


def run(args):
    from mixwright.assays import Booster, read_assays

    started = time.perf_counter()
    file = args.data / "chem" / ("tox21.parquet" if args.pool == "tox21" else "toxcast.parquet")
    table = read_assays(file, invalid_smiles="skip")
    reading = time.perf_counter() - started
    args.folder.mkdir(parents=True, exist_ok=True)
    path = args.folder / "results.jsonl"
    lines = path.read_text().splitlines() if path.exists() else []
    done = {(r["pool"], r["split"], r["target"], r["seed"]) for r in map(json.loads, lines)}
    assays, targets = pool_of(table, args.pool)
    booster = Booster(threads=args.threads)
    for seed in args.seeds:
        for target in targets:
            if (args.pool, args.split, target, seed) in done:
                continue
            record = {"pool": args.pool, "reading": reading, "threads": args.threads}
            record |= one(table, assays, target, seed, args.split, booster, args.folds, args.quick)
            with open(path, "a") as handle:
                handle.write(json.dumps(record) + "\n")
            shown = {name: round(value, 3) for name, value in record["ap"].items()}
            print(args.pool, args.split, target, seed, shown, flush=True)


SHOWN = (
    "natural",
    "uniform",
    "target_alone",
    "best_single",
    "best_single_by_ap",
    "search_uncalibrated",
    "search_exact",
    "search_prior_natural",
    "search_seen",
)
OWN = ("natural_own", "uniform_own", "target_alone")


def interval(values):
    """Return mean and 90 % interval over targets (Student; targets share molecules and sources: a lower bound)."""
    from scipy import stats

    if len(values) < 2:
        return values[0], float("nan"), float("nan")
    mean = float(np.mean(values))
    return mean, *(float(end) for end in stats.t.interval(0.9, len(values) - 1, mean, stats.sem(values)))


def by_target(records, one, other):
    """Return {target: differences over seeds}."""
    out = {}
    for r in records:
        if one in r["ap"] and other in r["ap"]:
            out.setdefault(r["target"], []).append(r["ap"][one] - r["ap"][other])
    return out


def print_arms(records, one, others):
    print(f"| arm | average precision | {one} - arm, mean | 90 % interval over targets | better on | worse on |")
    print("|---|---|---|---|---|---|")
    print(f"| **{one}** | {np.mean([r['ap'][one] for r in records]):.3f} | | | | |")
    for other in others:
        found = by_target(records, one, other)
        if not found:
            continue
        means = [float(np.mean(v)) for v in found.values()]
        mean, low, high = interval(means)
        signs = [sum(m > 0 for m in means), sum(m < 0 for m in means)]
        sure = [sum(all(d > 0 for d in v) for v in found.values()), sum(all(d < 0 for d in v) for v in found.values())]
        ap = np.mean([r["ap"][other] for r in records if other in r["ap"]])
        cells = [f"{n} of {len(means)} ({s} in every seed)" for n, s in zip(signs, sure, strict=True)]
        print(f"| {other} | {ap:.3f} | {mean:+.3f} | {low:+.3f} to {high:+.3f} | {cells[0]} | {cells[1]} |")
    print()


def print_targets(records):
    names = "natural | uniform | target alone | best single | search | search - natural, by seed"
    print(f"| target | rows, share of 1 | {names} |")
    print("|---|---|---|---|---|---|---|---|")
    order = {}
    for r in records:
        order.setdefault(r["target"], []).append(r)
    gain = {name: np.mean([r["ap"]["search"] - r["ap"]["natural"] for r in parts]) for name, parts in order.items()}
    for target, parts in sorted(order.items(), key=lambda item: -gain[item[0]]):
        arms = ("natural", "uniform", "target_alone", "best_single", "search")
        cells = [f"{np.mean([r['ap'][name] for r in parts]):.3f}" for name in arms]
        seeds = " / ".join(f"{r['ap']['search'] - r['ap']['natural']:+.3f}" for r in parts)
        share = parts[0]["train_ones"] / parts[0]["train"]
        print(f"| {target} | {parts[0]['train']:,}, {share:.3f} | {' | '.join(cells)} | {seeds} |")
    print()


def print_found(records):
    print(
        "| target | largest weights (mean over seeds) | best proxy's average precision / share of 1 | evidence says |"
    )
    print("|---|---|---|---|")
    order = {}
    for r in records:
        order.setdefault(r["target"], []).append(r)
    for target, parts in order.items():
        weights = {}
        for r in parts:
            for name, weight, _ in r["top"]:
                weights[name] = weights.get(name, 0) + weight / len(parts)
        top = ", ".join(f"{n} {w:.2f}" for n, w in sorted(weights.items(), key=lambda item: -item[1])[:3])
        lift = np.mean([r["best_proxy_ap"] * r["train"] / r["train_ones"] for r in parts])
        better = sum(r["improvement"][1] > 0 for r in parts)
        print(f"| {target} | {top} | {lift:.1f} | better than uniform in {better} of {len(parts)} seeds |")
    print()


def print_time(records):
    seconds = [r["seconds"] for r in records]
    proxies, search = (np.mean([s[name] for s in seconds]) for name in ("proxies", "search"))
    final, largest = (np.mean([s["final"][name] for s in seconds]) for name in ("search", "uniform"))
    reading = np.mean([r["reading"] for r in records])
    whole = reading + proxies + search + final
    print(
        f"Time per search, one thread, mean: table and fingerprints {reading:.1f} s, proxies {proxies:.1f} s "
        f"({100 * proxies / whole:.0f} % of all), search {search:.2f} s, final model {final:.2f} s (uniform, on all "
        f"rows: {largest:.2f} s). Proxies: {records[0]['sources']} sources x {records[0].get('folds', 5)} folds.\n"
    )


def print_tables(folder):
    lines = (folder / "results.jsonl").read_text().splitlines()
    records = [json.loads(line) for line in lines]
    for pool, split in dict.fromkeys((r["pool"], r["split"]) for r in records):
        part = [r for r in records if (r["pool"], r["split"]) == (pool, split)]
        targets, seeds = {r["target"] for r in part}, sorted({r["seed"] for r in part})
        sources = sorted({r["sources"] for r in part})
        print(f"## {pool}, {split} split\n")
        print(
            f"{len(targets)} targets, {' or '.join(map(str, sources))} sources each, "
            f"seeds {', '.join(map(str, seeds))} ({len(part)} searches), {part[0].get('folds', 5)} folds.\n"
        )
        print_arms(part, "search", SHOWN)
        print("With the target's own training rows as one more source:\n")
        print_arms(part, "search_own", OWN)
        print_targets(part)
        print_found(part)
        print_time(part)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    doing = commands.add_parser("run", help="train and measure what is not in the folder yet")
    doing.add_argument("--data", type=Path, default=Path("../shared/data"))
    doing.add_argument("--pool", choices=("tox21", "first", "random", "large"), required=True)
    doing.add_argument("--split", choices=("random", "scaffold"), default="random")
    doing.add_argument("--seeds", type=int, nargs="+", default=SEEDS)
    doing.add_argument("--folds", type=int, default=5)
    doing.add_argument("--quick", action="store_true", help="without the arm of proxies that have seen what they score")
    doing.add_argument("--threads", type=int, default=1)
    for command in (doing, commands.add_parser("table", help="print the tables of what is there")):
        command.add_argument("--folder", type=Path, default=Path("runs/assays"))
    args = parser.parse_args()
    run(args) if args.command == "run" else print_tables(args.folder)


if __name__ == "__main__":
    main()
