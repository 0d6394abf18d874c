"""
Which mixtures to train: designed against random ones of the same number, on published tables.

`python benchmarks/run_designs.py run` measures what is not in runs/benchmark-run-designs.jsonl yet (stop it anywhere);
`table` prints Markdown, and with --write it becomes benchmarks/results/run_designs.md too. Needs
../shared/data/runs and the extra `runs`.

A design chooses among the mixtures that somebody trained; a law is fitted to those, and scored on others.
"""

import argparse
import json
from collections import defaultdict
from datetime import date
from pathlib import Path

import numpy as np

from mixwright import RunTable
from mixwright.runs.design.coverage import Coverage
from mixwright.runs.design.information import features, most_informative
from mixwright.runs.folds import fit_all
from mixwright.runs.laws import law_named
from mixwright.runs.measured import Measured
from mixwright.runs.scores import score

DATA = Path(__file__).parents[1] / ".." / "shared" / "data" / "runs"
DONE = Path("runs/benchmark-run-designs.jsonl")
WRITTEN = Path(__file__).parent / "results" / "run_designs.md"
WAYS, LAWS, COUNTS = ("random", "i_optimal", "d_optimal"), ("log_linear", "gaussian_process"), (8, 16, 32)


def tables():
    """Yield name, table, target, and which mixtures may be trained."""
    regmix = RunTable.from_file(DATA / "regmix_1m_60m.runs.parquet").at_scale("1M")
    for target in regmix.targets:
        yield "RegMix 1M", regmix, target, lambda names: np.array([name.startswith("train") for name in names])
    olmix = RunTable.from_file(DATA / "olmix_dclm.runs.parquet")
    for target in [name for name in olmix.targets if name == "avg_bpb" or name.startswith("family_")]:
        yield "Olmix DCLM", olmix, target, lambda names: np.ones(len(names), bool)


def chosen(way, W, count, rng):
    """Return `count` of the mixtures, of which a tenth is left out so that draws differ."""
    some = rng.permutation(len(W))[: int(0.9 * len(W))]
    if way == "random":
        return some[:count]
    if way == "i_optimal":
        return some[Coverage(W[some], len(some)).best([], count, 0.0)]
    return some[most_informative(features(["log_linear"], W[some], None, rng), W[some], [], count, 0.0)]


def measure(table, target, may_train, way, count, draw):
    """Return {law: scores} on mixtures that the law has not seen; errors in standard deviations of the losses."""
    measured = Measured.of(table, [target], None, None)
    trained = np.flatnonzero(may_train(measured.names))
    rows = trained[chosen(way, measured.W[trained], count, np.random.default_rng([draw, count]))]
    others = np.setdiff1d(np.arange(measured.n), trained)
    test = others if others.size else np.setdiff1d(trained, rows)
    unit, out = float(measured.Y.std()), {}
    for name in LAWS:
        fitted = fit_all(law_named(name), measured.take(rows))[0]
        found = score(fitted.predict(measured.W[test]), measured.Y[test, 0])
        picked = measured.Y[test[int(np.argmin(fitted.predict(measured.W[test])))], 0]
        best = measured.Y[others if others.size else trained, 0].min()
        out[name] = {"spearman": found.spearman, "rmse": found.rmse / unit, "regret": float(picked - best) / unit}
    return out


def run(draws):
    done = {json.loads(line)["key"] for line in DONE.read_text().splitlines()} if DONE.exists() else set()
    DONE.parent.mkdir(exist_ok=True)
    with DONE.open("a") as handle:
        for draw in range(draws):
            for name, table, target, may_train in tables():
                for count in COUNTS:
                    for way in WAYS:
                        key = f"{name}|{target}|{count}|{way}|{draw}"
                        if key not in done:
                            found = measure(table, target, may_train, way, count, draw)
                            handle.write(json.dumps({"key": key, "found": found}) + "\n")
                            handle.flush()


def text():
    values, draws, targets = defaultdict(list), set(), defaultdict(set)
    for line in DONE.read_text().splitlines():
        entry = json.loads(line)
        name, target, count, way, draw = entry["key"].split("|")
        draws.add(draw)
        targets[name].add(target)
        for law, scores in entry["found"].items():
            values[name, law, int(count), way].append([scores[k] for k in ("spearman", "rmse", "regret")])
    lines = [
        "# Designed runs against random ones",
        "",
        f"Measured on {date.today().isoformat()}.",
        "",
        "`python benchmarks/run_designs.py run`, then `table --write`. A design chooses among mixtures that were",
        "trained; a law is fitted to its choice and scored on mixtures that it has not seen (RegMix: its 256 test",
        "mixtures; Olmix: all others). Error and regret@1 are in standard deviations of the losses. RegMix has 17",
        "sources, Olmix 24.",
        "",
        f"Means over draws {', '.join(sorted(draws))} and "
        + ", ".join(f"{len(found)} targets of {name}" for name, found in targets.items())
        + ".",
        "",
        "| table | law | runs | " + " | ".join(f"{way}: rank, error, regret" for way in WAYS) + " |",
        "|---|---|---|" + "---|" * len(WAYS),
    ]
    for name in targets:
        for law in LAWS:
            for count in COUNTS:
                cells = [", ".join(f"{v:.3f}" for v in np.mean(values[name, law, count, way], axis=0)) for way in WAYS]
                lines.append(f"| {name} | {law} | {count} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=("run", "table"))
    parser.add_argument("--draws", type=int, default=5)
    parser.add_argument("--write", action="store_true")
    given = parser.parse_args()
    if given.command == "run":
        run(given.draws)
    else:
        print(text())
        if given.write:
            WRITTEN.write_text(text(), encoding="utf-8")
