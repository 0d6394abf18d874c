"""
Means of laws: would "auto" gain by trying them, or by picking with the linear law?

    python benchmarks/run_picks.py run        (measures what is not in runs/benchmark-picks.jsonl yet; stop it anywhere)
    python benchmarks/run_picks.py table --write

RegMix: fits to 32 and 64 of the runs at 1M, picks among 256 other mixtures, at 1M and 60M. Olmix and Marin: out of
fold, picks among all mixtures and within each fold. Needs ../shared/data/runs and the extra `runs`.
"""

import argparse
import json
from collections import defaultdict
from pathlib import Path

import numpy as np

from mixwright.runs.folds import held_out, partitions
from mixwright.runs.laws import law_named
from mixwright.runs.measured import Measured
from mixwright.runs.scores import score
from runs import read

DONE = Path("runs/benchmark-picks.jsonl")
LAWS = ("linear", "log_linear", "bimix", "gaussian_process")
ONE = ("linear", "log_linear", "gaussian_process", "exposure")  # what "auto" chooses from
TRIED = ("gaussian_process + bimix", "gaussian_process + exposure")  # and what it might try besides
MEANS = (*TRIED, "gaussian_process + linear", "gaussian_process + log_linear")
TABLES = (
    ("olmix_dclm", slice(4, None, 9)),
    ("marin_delphi39_fit", slice(None)),
    ("olmix_dclm", slice(0, None, 9)),
)
NOTE = """
What it says.

- **Means of the Gaussian process with BiMix or the exposure law**, taken where their error out of fold is the least,
  looked good where they were found: on draws 0 and 1 of RegMix the regret at 64 runs fell from .061 to .036, on 13
  targets of Olmix from .51 to .38, on Marin from .23 to .16. On draws 2 and 3 it went from .056 to .055, and at 32
  runs the rank correlation fell from .954 to .943. On 6 other targets of Olmix regret rose from .29 to .35, but fell
  within folds (.10 to .06), and the rank correlation rose (.942 to .948). That is no clear gain: "auto" stays with one
  law.
- **The mean with the linear law** has a small regret on RegMix, where the mixture with most of one source is the best,
  but orders mixtures worse everywhere (by .02 to .04). And these are picks among mixtures that were measured: a
  proposal is sought in the whole simplex, where a linear law knows no best share and goes to a corner.
"""


def regmix(draws=4):
    small, large = read("regmix_1m_60m", "1M"), read("regmix_1m_60m", "60M")
    train = np.array([i for i, name in enumerate(small.runs) if name.startswith("train")])
    tests = small.take(np.setdiff1d(np.arange(small.n), train)), large
    for draw in range(draws):
        for n in (64, 32):
            rows = np.random.default_rng([draw, n]).permutation(train)[:n]
            for target in small.targets:
                yield f"regmix {n} {draw} {target}", lambda r=rows, t=target: unseen(small.take(r), tests, t)


def unseen(table, tests, target):
    """Return for each law and mean [rank correlation, RMSE, regret at 1M, regret at 60M], and what is chosen."""
    measured = Measured.of(table, [target], None, None)
    fitted = {name: law_named(name).fit(measured.runs(0)) for name in LAWS}
    found = {}
    small, large = (with_means({name: law.predict(t.weights) for name, law in fitted.items()}) for t in tests)
    unit = float(np.std(tests[0].target(target)))
    for name in small:
        one, other = (score(p[name], t.target(target)) for p, t in zip((small, large), tests, strict=True))
        found[name] = [one.spearman, one.rmse / unit, one.regret, other.regret]
    return {**found, "chosen": chosen(inner(measured))}


def inner(measured):
    """Return {law or mean: its squared error out of fold}."""
    errors = defaultdict(list)
    for fold in partitions(measured.n, 0):
        held = with_means({name: held_out(law_named(name), measured, fold).predicted[:, 0] for name in LAWS})
        for name, predicted in held.items():
            errors[name].append(float(np.mean((predicted - measured.Y[:, 0]) ** 2)))
    return {name: float(np.mean(each)) for name, each in errors.items()}


def chosen(errors):
    """Return what "auto" would take without and with means."""
    return [min((name for name in names if name in errors), key=errors.get) for names in (ONE, (*ONE, *TRIED))]


def folds():
    for name, some in TABLES:
        table = read(name)
        for target in table.targets[some]:
            yield f"folds {name} {target}", lambda t=table, of=target: out_of_fold(t, of)


def out_of_fold(table, target):
    """Return for each law and mean [rank correlation, RMSE, regret, regret within folds] in standard deviations."""
    measured = Measured.of(table, [target], table.sizes, None)
    y, each = measured.Y[:, 0], defaultdict(list)
    for fold in partitions(measured.n, 0):
        parts = [fold == f for f in range(int(fold.max()) + 1)]
        held = {name: np.zeros(measured.n) for name in dict.fromkeys((*LAWS, *ONE))}
        for out in parts:
            runs = measured.take(np.flatnonzero(~out)).runs(0)
            for name, values in held.items():
                values[out] = law_named(name).fit(runs).predict(measured.W[out])
        for name, values in with_means(held).items():
            inside = [y[out][values[out].argmin()] - y[out].min() for out in parts]
            of = score(values, y)
            each[name].append([of.spearman, *(np.array([of.rmse, of.regret, np.mean(inside)]) / y.std())])
    found = {name: np.mean(rows, axis=0).tolist() for name, rows in each.items()}
    return {**found, "chosen": chosen({name: row[1] for name, row in found.items()})}


def with_means(predicted):
    """Return predictions by law, and the means of those that are there."""
    members = {name: name.split(" + ") for name in MEANS}
    means = {name: [predicted[one] for one in ones] for name, ones in members.items() if set(ones) <= set(predicted)}
    return predicted | {name: np.mean(parts, axis=0) for name, parts in means.items()}


def done():
    lines = DONE.read_text(encoding="utf-8").splitlines() if DONE.exists() else []
    return dict(json.loads(line) for line in lines)


def run():
    known = done()
    DONE.parent.mkdir(parents=True, exist_ok=True)
    for part in (regmix, folds):
        for key, job in part():
            if key not in known:
                with open(DONE, "a", encoding="utf-8") as handle:
                    handle.write(json.dumps([key, job()]) + "\n")
                print(key, flush=True)


def table():
    lines = [
        "# Means of laws",
        "",
        "`python benchmarks/run_picks.py run`, then `table --write`; 2026-11-29, one thread.",
        "",
    ]
    columns = "Spearman | RMSE | regret@1 | regret@1 {} | fits |"
    for start, title, last in (
        *((f"regmix {n} ", f"RegMix, {n} runs, regret in nats", "at 60M") for n in (32, 64)),
        *((f"folds {name} ", f"{name}, out of fold, in standard deviations", "in folds") for name in dict(TABLES)),
    ):
        values = defaultdict(list)
        for key, one in done().items():
            if key.startswith(start):
                for name, row in zip(("auto", "auto with means"), one["chosen"], strict=True):
                    values[name].append(one[row])
                for name, row in one.items():
                    if name != "chosen":
                        values[name].append(row)
        lines += [f"| {title} | {columns.format(last)}", "|---|---|---|---|---|---|"]
        for name, rows in values.items():
            a, b, c, d = np.mean(rows, axis=0)
            lines.append(f"| {name} | {a:.3f} | {b:.2f} | {c:.3f} | {d:.3f} | {len(rows)} |")
        lines.append("")
    return "\n".join([*lines, *found_and_others(), NOTE])


def found_and_others():
    """Return a table of what is chosen where means were found to be good, and elsewhere."""
    known, parts = done(), {}
    for n in (32, 64):
        for draws in ("01", "23"):
            keys = [key for key in known if key.startswith(f"regmix {n} ") and key.split()[2] in draws]
            parts[f"RegMix, {n} runs, draws {' and '.join(draws)}"] = keys
    for name, some in TABLES:
        keys = [key for of in read(name).targets[some] if (key := f"folds {name} {of}") in known]
        parts[f"{name}, {len(keys)} targets"] = keys
    lines = [
        "| auto, then auto with means | Spearman | regret@1 | regret@1 at 60M or in folds | fits |",
        "|---|---|---|---|---|",
    ]
    for title, keys in parts.items():
        rows = [np.mean([known[key][known[key]["chosen"][i]] for key in keys], axis=0) for i in (0, 1)]
        cells = [" / ".join(f"{row[column]:.3f}" for row in rows) for column in (0, 2, 3)]
        lines.append(f"| {title} | {' | '.join(cells)} | {len(keys)} |")
    return lines


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["run", "table"])
    parser.add_argument("--write", action="store_true")
    given = parser.parse_args()
    if given.what == "run":
        run()
    else:
        text = table()
        print(text)
        if given.write:
            Path(__file__).parent.joinpath("results", "run_picks.md").write_text(text, encoding="utf-8")
