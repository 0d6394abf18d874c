"""
Own rows as a source: how good are the target alone, MixMin without and with own rows, by own positives?

    python benchmarks/own_rows.py run --data ../shared/data --folder runs/own_rows --pool tox21 | toxcast   (resumable)
    python benchmarks/own_rows.py table --folder runs/own_rows --write     (writes benchmarks/results/own_rows.md)

The target's training rows are subsampled at its base rate to 10, 30, 100, 300 and all positives. The held-out quarter
is that of the seed, the same for all sizes. Rules were chosen on the targets of `CHOSEN_ON`, and on
seed 0 of the others; the tables are about other seeds and targets.

- tox21: all 12 assays.
- toxcast: 16 assays evenly spaced, by rows, among those with 300 rows and 30 of each class.

Targets are the 12 of each pool with most positives (fewer where there are no more) that nothing was chosen on. The
limit of 150 positives was set on seed 0 of the 4 with most of each pool (`LOOKED_AT`): the others are wholly new.

For time: 30 trees with a learning rate of .3, 3 folds, and the proxies of other assays are trained once for each seed,
out of fold over all training rows. A line of JSON for each (pool, target, seed, size) in FOLDER/results.jsonl.
"""

import argparse
import json
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

SEEDS = (1, 2, 3, 4, 5)
SIZES = (10, 30, 100, 300, None)
SOURCES, TARGETS, ROWS, EACH, FOLDS = 16, 12, 300, 30, 3
FEWEST = 3  # seeds of a target for a verdict
CHOSEN_ON = {
    *("NR-AR", "SR-HSE", "NR-AhR", "SR-p53", "NR-AR-LBD", "NR-Aromatase"),
    *("TOX21_AR_BLA_Agonist_ch2", "BSK_LPS_Eselectin_down", "BSK_SAg_CD40_down", "BSK_BE3C_HLADR_down"),
}
LOOKED_AT = {
    "SR-ARE",
    "OT_FXR_FXRSRC1_0480",
    "TOX21_VDR_BLA_antagonist_ratio",
    "SR-MMP",
    "APR_HepG2_CellCycleArrest_72h_dn",
    "NR-ER",
    "TOX21_PPARg_BLA_Agonist_ch2",
    "NR-ER-LBD",
}
ARMS = ("target_alone", "borrowed", "search", "mixture", "natural", "uniform")
RESULTS = Path(__file__).parent / "results" / "own_rows.md"


def pool_of(table, name):
    """Return the assays of a pool, and its targets."""
    ones, zeros = (table.labels == 1).sum(0), (table.labels == 0).sum(0)
    chosen = np.flatnonzero((ones + zeros >= ROWS) & (ones >= EACH) & (zeros >= EACH))
    if name == "toxcast":
        ordered = chosen[np.argsort(-(ones + zeros)[chosen], kind="stable")]
        chosen = ordered[np.linspace(0, len(ordered) - 1, SOURCES).round().astype(int)]
    able = [i for i in chosen[np.argsort(-ones[chosen], kind="stable")] if table.assays[i] not in CHOSEN_ON]
    return [table.assays[i] for i in chosen], [table.assays[i] for i in able[:TARGETS]]


def subsampled(table, split, positives, seed):
    """Return the table and the split with so many own positives, at the target's base rate; None if there are fewer."""
    column = table.column(split.target)
    labels = table.labels[split.train, column]
    if positives is None:
        return table, split
    ones = int((labels == 1).sum())
    if positives >= ones:
        return None
    rng = np.random.default_rng([seed, positives, 7])
    wanted = {1: positives, 0: max(round((labels == 0).sum() * positives / ones), 10)}
    kept = np.concatenate([rng.choice(split.train[labels == c], n, replace=False) for c, n in wanted.items()])
    fewer = table.labels.copy()
    fewer[np.setdiff1d(split.train, kept), column] = -1
    return replace(table, labels=fewer), replace(split, train=np.sort(kept))


def one(table, split, plan, others, positives, booster):
    """Return the record of one size: average precision by arm, and what the search chose."""
    from mixwright import MixMin
    from mixwright.assays.arms import Arm, train_arm
    from mixwright.assays.plan import make_plan
    from mixwright.assays.search import search_weights

    started = time.perf_counter()
    own = make_plan(table, split, plan.sources, model=booster, folds=FOLDS, seed=split.seed)
    of_target = np.isin(plan.split.train, split.train)
    P = np.column_stack([others[of_target], own.probabilities(split.target)])
    _, trial = search_weights(own, P, "intercept", MixMin())
    weights = {
        **trial.weights,
        "natural": own.sizes / own.sizes.sum(),
        "uniform": np.full(len(own.sources), 1 / len(own.sources)),
    }
    made = {name: train_arm(own, Arm(name, name, own.sources, tuple(w))) for name, w in weights.items()}
    ap = {name: result.average_precision for name, result in made.items()}
    return {
        "positives": int((own.labels == 1).sum()),
        "train": len(split.train),
        "test_ones": int((table.labels[split.test, table.column(split.target)] == 1).sum()),
        "ap": {"search": ap[trial.chosen], **ap},
        "own_weight": float(trial.weights["mixture"][-1]),
        "trial": dict(trial.average_precision),
        "gain": {name: [gain.value, gain.low, gain.high] for name, gain in trial.gain.items()},
        "chosen": trial.chosen,
        "seconds": time.perf_counter() - started,
    }


def run(args):
    from mixwright.assays import Booster, read_assays, split_target
    from mixwright.assays.plan import make_plan

    table = read_assays(args.data / "chem" / f"{args.pool}.parquet", invalid_smiles="skip")
    args.folder.mkdir(parents=True, exist_ok=True)
    path = args.folder / "results.jsonl"
    lines = path.read_text().splitlines() if path.exists() else []
    done = {(r["pool"], r["target"], r["seed"], r["size"]) for r in map(json.loads, lines)}
    assays, targets = pool_of(table, args.pool)
    booster = Booster(trees=30, learning_rate=0.3, threads=1)
    for seed in args.seeds:
        for target in targets:
            split = split_target(table, target, "random", 0.25, seed)
            sizes = [size for size in SIZES if (args.pool, target, seed, size) not in done]
            parts = [(size, part) for size in sizes if (part := subsampled(table, split, size, seed)) is not None]
            if not parts:
                continue
            sources = [name for name in assays if name != target]
            settings = {"model": booster, "folds": FOLDS, "unusable": "drop", "seed": seed}
            plan = make_plan(table, split, sources, own_rows=False, **settings)
            others = np.stack([plan.probabilities(source) for source in plan.sources], axis=1)
            for size, (own_table, own_split) in parts:
                record = {"pool": args.pool, "target": target, "seed": seed, "size": size}
                record |= one(own_table, own_split, plan, others, size, booster)
                with open(path, "a") as handle:
                    handle.write(json.dumps(record) + "\n")
                print(args.pool, target, seed, size, {k: round(v, 3) for k, v in record["ap"].items()}, flush=True)


def judged(parts, arm, over):
    """Return what the corrected test of a comparison says of an arm over another, from the records of one target."""
    from mixwright.compare import paired_differences

    names = [name for name in ARMS if name != "mixture"]
    values = [[part["ap"][name] for part in parts] for name in names]
    (found,) = (d for d in paired_differences(values, names, over, unit="", higher=True) if d.arm == arm)
    return "better" if found.p <= found.error else "worse" if found.p_worse <= found.error else "neither"


def chosen(parts):
    """Return how often the search took the mixture, borrowed rows and the target alone."""
    return ", ".join(
        str(sum(part["chosen"] == name for part in parts)) for name in ("mixture", "borrowed", "target_alone")
    )


def difference(parts, over):
    """Return the search minus an arm over targets and seeds: mean, 90 % interval (cells as independent), signs."""
    from scipy import stats

    each = np.array([part["ap"]["search"] - part["ap"][over] for part in parts])
    mean = f"{each.mean():+.3f}"
    if len(each) < 3 or each.std() == 0:
        return mean
    low, high = stats.t.interval(0.9, len(each) - 1, each.mean(), stats.sem(each))
    return f"{mean} ({low:+.3f} to {high:+.3f}); {(each > 0).sum()} up, {(each < 0).sum()} down"


def verdicts(groups, over):
    """Return how the corrected test judges the search over an arm, target by target, where there are seeds enough."""
    words = [judged(parts, "search", over) for parts in groups if len(parts) >= FEWEST]
    return ", ".join(f"{words.count(word)} {word}" for word in ("better", "neither", "worse")) if words else ""


def size_table(records):
    """Return the lines of the main table: means over targets and seeds by number of own positives, and the verdicts."""
    over = ("target_alone", "borrowed")
    names = [
        *ARMS,
        "chose mixture, borrowed, alone",
        *(f"search - {arm}" for arm in over),
        *(f"test, {arm}" for arm in over),
    ]
    lines = [f"| own positives | targets, cells | {' | '.join(names)} |", "|" + "---|" * (2 + len(names))]
    for size in SIZES:
        parts = [record for record in records if record["size"] == size]
        if not parts:
            continue
        by_target = {}
        for part in parts:
            by_target.setdefault(part["target"], []).append(part)
        cells = [f"{np.mean([part['ap'][arm] for part in parts]):.3f}" for arm in ARMS]
        cells += [chosen(parts), *(difference(parts, arm) for arm in over)]
        cells += [verdicts(by_target.values(), arm) for arm in over]
        lines.append(f"| {size or 'all'} | {len(by_target)}, {len(parts)} | {' | '.join(cells)} |")
    return lines


def target_table(records):
    """Return the lines of a table of targets and sizes."""
    lines = [
        "| target | own positives | seeds | " + " | ".join(ARMS) + " | chose |",
        "|" + "---|" * (4 + len(ARMS)),
    ]
    groups = {}
    for record in records:
        groups.setdefault((record["target"], SIZES.index(record["size"])), []).append(record)
    for (target, _), parts in sorted(groups.items()):
        cells = [f"{np.mean([r['ap'][arm] for r in parts]):.3f}" for arm in ARMS]
        size = f"{np.mean([r['positives'] for r in parts]):.0f}"
        lines.append(f"| {target} | {size} | {len(parts)} | {' | '.join(cells)} | {chosen(parts)} |")
    return lines


def tables(folder):
    """Return the measured part of the results."""
    records = [json.loads(line) for line in (folder / "results.jsonl").read_text().splitlines()]
    new = [r for r in records if r["target"] not in LOOKED_AT]
    out = [
        "## Both pools",
        "",
        *size_table(records),
        "",
        "## Targets that nothing was set on",
        "",
        *size_table(new),
        "",
    ]
    for pool in dict.fromkeys(r["pool"] for r in records):
        part = [r for r in records if r["pool"] == pool]
        out += [f"## {pool}", "", *size_table(part), "", *target_table(part), ""]
    return "\n".join(out)


def write(text):
    """Replace the measured part of the results file: what stands behind its marker."""
    marker = "<!-- measured -->\n"
    head = RESULTS.read_text().split(marker)[0] if RESULTS.exists() else "# Own rows as a source\n\n"
    RESULTS.write_text(f"{head}{marker}\n{text}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    doing = commands.add_parser("run", help="train and measure what is not in the folder yet")
    doing.add_argument("--data", type=Path, default=Path("../shared/data"))
    doing.add_argument("--pool", choices=("tox21", "toxcast"), required=True)
    doing.add_argument("--seeds", type=int, nargs="+", default=SEEDS)
    showing = commands.add_parser("table", help="print the tables of what is there")
    showing.add_argument("--write", action="store_true", help="into benchmarks/results/own_rows.md")
    for command in (doing, showing):
        command.add_argument("--folder", type=Path, default=Path("runs/own_rows"))
    args = parser.parse_args()
    if args.command == "run":
        run(args)
    else:
        write(tables(args.folder)) if args.write else print(tables(args.folder))


if __name__ == "__main__":
    main()
