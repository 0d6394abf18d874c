"""
Which shrinkage a small target should have: candidate rules over a wide family of simulated targets, and real tables.

`python benchmarks/shrinkage.py run family` simulates, one file per setting under --folder, and can be stopped and run
again; so do `run issue`, `run verdicts` and `run real`. `choose` prints all candidates on the settings with an even
seed. `table --write` puts the chosen rule beside the former one, on what was not used to choose, in
benchmarks/results/shrinkage.md.
"""

import argparse
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

import shrinkage_text
from mixwright import MixMin
from mixwright.search.resampling.resample import SearchProblem, assign_folds, fit_folds
from mixwright.search.solver.evidence import Evidence
from mixwright.search.table.table import LikelihoodTable
from shrinkage_rules import CANDIDATES, GRID, SHOWN, excesses, former, interval, now

HEAD = """# Shrinkage on small targets

`python benchmarks/shrinkage.py run family|gains|issue|verdicts|real`, then `table --write`. One thread a run; seeds are
in the script. Losses are in nats per row, in excess of the best weights, on 4,000 fresh rows.

**Before** is the largest shrinkage within 3 nats of the best; **now** is decision 5 as revised
(docs/decisions/search.md). Rules and their numbers were chosen with `choose`, on the settings with an even number, the
existing tests of small samples, and a first look at the settings of the issue. The tables of the family and of small
gains are of odd numbers only.

**The family.** Every setting draws all of this: 6 to 99 sources; truths uniform, Dirichlet of concentration 5, 1, .3 or
.1, or one to four sources; sources over 2,000 symbols with normal log-probabilities (half) or normal distributions in
3 or 8 directions; a strength from .3 to 1.5 (standard deviation of log-probabilities or centres); 30 to 1,000
documents; documents of one row, of ten rows whose weights vary, or of five draws from one source in one row; groups of
four similar sources (two fifths); three tenths of the target from a source without a proxy (three tenths).

**Real likelihoods** are of count models of order 4 on half of the documents of the files of shared/data/text. A target
is one file whose own model is left out, or two or three files with all models; documents of 400 bytes, in rows of 16 or
100 bytes. Excess is over the optimum of the other documents.

"ratio" is the excess plus .001, divided by that of the best shrinkage on the grid (which nobody knows): geometric mean,
90 % quantile, largest. An interval is right if it covers the gain of the weights that it belongs to; the goal is 85 to
95 %. "falsely": called better, and the true gain is not above 0.

**Unfavourable.** Averages of weights are better than one shrinkage on sparse truths over many sources, and worse where
uniform is nearly right. Some settings lose: see "better / worse". Draws are few where the table says so.

"""
SYMBOLS, FRESH = 2000, 4000


@dataclass(frozen=True)
class Setting:
    """A target to draw: `n` documents from `truth` over `k` sources of a kind and strength; see `draw`."""

    kind: str  # symbols; directions 3 or 8
    k: int
    truth: str
    strength: float
    n: int
    rows: str = "single"
    similar: float = 0.0
    outside: float = 0.0
    seed: int = 0


def setting(seed):
    """Return a setting of the family: everything about it is drawn."""
    r = np.random.default_rng([15, seed])
    kind = str(r.choice(["symbols", "directions 3", "directions 8"], p=[0.5, 0.25, 0.25]))
    truths = ["uniform", "dirichlet 5", "dirichlet 1", "dirichlet 0.3", "dirichlet 0.1", "few"]
    k, truth = int(r.choice([6, 12, 30, 60, 99])), str(r.choice(truths, p=[0.1, 0.1, 0.2, 0.2, 0.2, 0.2]))
    strength = float(np.exp(r.uniform(np.log(0.3), np.log(1.5))))
    n, rows = (
        int(r.choice([30, 50, 100, 200, 500, 1000])),
        str(r.choice(["single", "many", "whole"], p=[0.6, 0.2, 0.2])),
    )
    similar, outside = float(r.choice([0, 0.7], p=[0.6, 0.4])), float(r.choice([0, 0.3], p=[0.7, 0.3]))
    return Setting(kind, k, truth, strength, min(n, 200) if rows == "many" else n, rows, similar, outside, seed)


def small_gain(seed):
    """Return a setting with many sources and a small gain, where the interval of the improvement was too narrow."""
    r = np.random.default_rng([17, seed])
    k, n = int(r.choice([30, 60])), int(r.choice([100, 200, 300]))
    truth, strength = str(r.choice(["few", "dirichlet 0.3"])), float(r.uniform(0.35, 0.65))
    return Setting("symbols", k, truth, strength, n, seed=700_000 + seed)


VERDICTS = [  # uniform is the truth: any "better" is false
    Setting("symbols", 6, "uniform", 0.5, 300),
    Setting("symbols", 30, "uniform", 0.5, 50),
    Setting("directions 3", 30, "uniform", 0.7, 300),
    Setting("symbols", 60, "uniform", 1.0, 100),
]
ISSUE = {  # as the issue names them; it does not say how its sources were made, so strengths give its loss of uniform
    "K = 60, Dirichlet(.1)": Setting("directions 3", 60, "dirichlet 0.1", 0.8, 50),
    "K = 60, dense": Setting("symbols", 60, "dirichlet 1", 1.5, 50),
    "K = 60, uniform truth": Setting("symbols", 60, "uniform", 1.5, 50),
    "K = 30, Dirichlet(.3), weaker": Setting("symbols", 30, "dirichlet 0.3", 1.0, 50),
    "K = 99, few": Setting("symbols", 99, "few", 0.5, 50),
    "K = 12, Dirichlet(.3)": Setting("symbols", 12, "dirichlet 0.3", 0.7, 50),
}


def truth_weights(s, r):
    """Return the weights [k + 1] that the target is drawn with; the last is of a source that has no proxy."""
    w = np.full(s.k, 1 / s.k)
    if s.truth == "few":
        used = min(int(r.integers(1, 5)), s.k)
        w = np.zeros(s.k)
        w[r.choice(s.k, used, replace=False)] = r.dirichlet(np.full(used, 3.0))
    elif s.truth != "uniform":
        w = r.dirichlet(np.full(s.k, float(s.truth.split()[1])))
    return np.append((1 - s.outside) * w, s.outside)


def sources(s, r):
    """
    Return (draw, logs): draw(z, length) gives what sources z [m] say, logs(x) log-likelihoods [m, k] of it.

    Sources are distributions over symbols with normal log-probabilities, or normal distributions around centres in 3 or
    8 directions. `similar` is the correlation of groups of four, `strength` the spread of log-probabilities or centres.
    """
    width = SYMBOLS if s.kind == "symbols" else int(s.kind.split()[1])
    group = np.append(np.arange(s.k) // 4, s.k // 4 + 1)
    own, shared = r.normal(size=(width, s.k + 1)), r.normal(size=(width, group[-1] + 1))
    X = s.strength * (np.sqrt(1 - s.similar) * own + np.sqrt(s.similar) * shared[:, group])
    if s.kind != "symbols":

        def places(z, length):
            return X.T[z][:, None] + r.normal(size=(z.size, length, width))

        def near(x):
            square = (x**2).sum((1, 2))[:, None] + x.shape[1] * (X[:, :-1] ** 2).sum(0)
            return x.sum(1) @ X[:, :-1] - square / 2

        return places, near
    X -= np.log(np.exp(X).sum(0))
    P = np.exp(X)

    def symbols(z, length):
        out = np.empty((z.size, length), np.int64)
        for source in np.unique(z):
            inside = z == source
            out[inside] = r.choice(SYMBOLS, (int(inside.sum()), length), p=P[:, source] / P[:, source].sum())
        return out

    return symbols, lambda x: X[x, : s.k].sum(1)


def draw(s):
    """
    Return log-likelihoods [rows, k], the document of each row, those of a large fresh sample, and the best weights.

    The best are None where a source has no proxy.

    rows: "single", documents are rows; "many", ten rows a document, whose weights vary about the truth (Dirichlet of
    concentration 10); "whole", a row is a document of five draws from one source.
    """
    r = np.random.default_rng([16, s.seed])
    w = truth_weights(s, r)
    say, logs = sources(s, r)
    length = 5 if s.rows == "whole" else 1
    fresh, best = logs(say(r.choice(s.k + 1, FRESH, p=w), length)), None if s.outside else w[:-1]
    if s.rows != "many":
        return logs(say(r.choice(s.k + 1, s.n, p=w), length)), np.arange(s.n), fresh, best
    own = r.gamma(np.maximum(10 * w, 1e-12), size=(s.n, s.k + 1)) + 1e-300
    z = np.concatenate([r.choice(s.k + 1, 10, p=v / v.sum()) for v in own])
    return logs(say(z, 1)), np.repeat(np.arange(s.n), 10), fresh, best


def losses(L, W):
    """Return the losses [grid, rows] of weights [grid, k]."""
    top = L.max(1, keepdims=True)
    return -(np.log(np.maximum(np.exp(L - top) @ W.T, 1e-300)) + top).T


def least(fresh, best):
    """
    Return the least loss that weights can have.

    Of the best weights if they are known. Otherwise the optimum of the fresh rows is too low by d / 2R for d free
    weights and R rows, and each half under the optimum of the other is too high by d / R.
    """
    if best is not None:
        return losses(fresh, best[None])[0].mean()

    def fitted(L):
        table = LikelihoodTable.from_array(L, values="log_likelihood")
        return MixMin(shrinkage=0.0, tolerance=1e-5).fit(table).weights[None]

    halves = fresh[::2], fresh[1::2]
    across = np.mean([losses(a, fitted(b)).mean() for a, b in (halves, halves[::-1])])
    return (2 * losses(fresh, fitted(fresh)).mean() + across) / 3


def record(path, L, document, fresh, best, seed, nested=True):
    """Write what the rules need: losses in sample, out of fold, without pairs of folds (nested), on the fresh rows."""
    n, k = L.shape
    table = LikelihoodTable.from_array(L, documents=document, values="log_likelihood")
    c, prior = np.full(n, 1 / n), np.full(k, 1 / k)
    problem = SearchProblem(Evidence(table, np.arange(k), c), np.zeros(k), np.ones(k), prior, document)
    fold = assign_folds(problem.share, seed)[document]
    alone = fit_folds(problem, fold, GRID, pairs=False)
    folds = len(alone.left_out)
    out, without = np.empty((len(GRID), n)), np.full((folds if nested else 0, len(GRID), n), np.nan)
    for position, (left,) in enumerate(alone.left_out):
        out[:, fold == left] = losses(L[fold == left], alone.weights[:, position])
    pairs = fit_folds(problem, fold, GRID, pairs=True) if nested else None
    for position, pair in enumerate(pairs.left_out if pairs else ()):
        for outer, inner in (pair, pair[::-1]):
            without[outer][:, fold == inner] = losses(L[fold == inner], pairs.weights[:, position])
    W, start = np.empty((len(GRID), k)), prior[None]
    for position in range(len(GRID) - 1, -1, -1):
        start = problem.solve_many(c[:, None], GRID[position], start)
        W[position] = start[0]
    found = {
        "out": out,
        "without": without,
        "fold": fold,
        "document": document,
        "inside": losses(L, W),
        "fresh": losses(fresh, W),
        "uniform": losses(L, prior[None])[0],
        "uniform_fresh": losses(fresh, prior[None])[0],
        "best": least(fresh, best),
    }
    kept = {name: np.float32(x) if x.ndim > 1 else x for name, x in found.items()}
    part = path.with_suffix(".part.npz")
    np.savez_compressed(part, **kept)
    part.rename(path)


def run(jobs):
    """Write the records that are missing: (path, what `record` needs) each."""
    for path, make in jobs:
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            record(path, *make())
            print(path, flush=True)


def family(folder, count):
    """Return the jobs of the family."""
    return [(folder / f"{i}.npz", lambda i=i: (*draw(setting(i)), i, i % 2 == 1)) for i in range(count)]


def gains(folder, count):
    """Return the jobs of the settings with a small gain."""
    return [(folder / f"{i}.npz", lambda i=i: (*draw(small_gain(i)), i)) for i in range(count)]


def drawn(folder, settings, draws, first):
    """Return the jobs of settings that are drawn several times."""
    jobs = []
    for i in range(draws):
        for number, s in enumerate(settings):
            own = replace(s, seed=first + 1000 * number + i)
            jobs.append((folder / f"{number}-{i}.npz", lambda own=own: (*draw(own), own.seed)))
    return jobs


def read(folder, part=None):
    """Return {name: record} of a folder; of even (0) or odd (1) numbers only, where a part is named."""
    paths = [path for path in sorted(folder.glob("*.npz")) if not path.name.startswith("table")]
    return {p.stem: np.load(p) for p in paths if ".part" not in p.name and (part is None or int(p.stem) % 2 == part)}


def rule_lines(records, rules):
    """Yield the lines of a table of rules: excess losses, and their ratios to the best shrinkage of the grid."""
    found = [excesses(record, rules) for record in records.values()]
    small = np.array([len(np.unique(record["document"])) <= 100 for record in records.values()])
    x = {name: np.array([f[name] for f in found]) for name in found[0]}
    yield "| rule | n <= 100 | n > 100 | ratio, mean | 90 % | largest | better / worse than before |"
    yield "|---|--:|--:|--:|--:|--:|--:|"
    before = x[next(iter(rules))]
    for name, excess in x.items():
        # .001 nats are added to both: a ratio of two differences of nothing says nothing
        ratio = np.maximum(excess + 1e-3, 1e-4) / np.maximum(x["best of the grid"] + 1e-3, 1e-4)
        cells = [f"{excess[small].mean():.4f}", f"{excess[~small].mean():.4f}", f"{np.exp(np.log(ratio).mean()):.2f}"]
        cells += [f"{np.quantile(ratio, 0.9):.2f}", f"{ratio.max():.1f}"]
        won, lost = (excess < before - 1e-9).mean(), (excess > before + 1e-9).mean()
        yield f"| {name} | " + " | ".join(cells) + f" | {won:.0%} / {lost:.0%} |"


def group_lines(groups, rules, what):
    """Yield the lines of a table of groups of records: mean excess losses."""
    names = [*rules, "uniform", "exact", "best of the grid"]
    yield f"| {what} | runs | " + " | ".join(names) + " |"
    yield "|---|--:" + "|--:" * len(names) + "|"
    for group, records in groups.items():
        found = [excesses(record, rules) for record in records]
        means = [f"{max(0.0, np.mean([f[name] for f in found])):.4f}" for name in names]
        yield f"| {group} | {len(records)} | " + " | ".join(means) + " |"


def interval_lines(groups):
    """Yield the lines of a table of intervals: coverage, bias, width and verdicts, before and now."""
    yield "| truths | rule | runs | covered | truth below / above | bias | mean truth | width | 'better' | falsely |"
    yield "|---|---|" + "--:|" * 8
    for group, records in groups.items():
        for name, rule, middle in (("before", former, False), ("now", now, True)):
            x = np.array([interval(record, rule, middle) for record in records])
            estimate, low, high, truth = x.T
            shares = [
                (low > truth).mean(),
                (high < truth).mean(),
                (low > 0).mean(),
                ((low > 0) & (truth <= 1e-9)).mean(),
            ]
            below, above, better, false = (f"{v:.0%}" for v in shares)
            inside = f"{((low <= truth) & (truth <= high)).mean():.0%}"
            yield (
                f"| {group} | {name} | {len(x)} | {inside} | {below} / {above} | {(estimate - truth).mean():+.4f} | "
                f"{truth.mean():.4f} | {np.median(high - low):.4f} | {better} | {false} |"
            )


def by(records, key):
    """Return {key: records} in the order of the keys."""
    out = {}
    for name, found in records.items():
        out.setdefault(key(name), []).append(found)
    return dict(sorted(out.items(), key=lambda item: str(item[0])))


def tables(folder):
    """Yield the lines of all tables."""
    shown = read(folder / "family", 1)
    rules = {name: CANDIDATES[name] for name in SHOWN} | {"now": now}
    short = {"before": former, "now": now, "average 1/2": CANDIDATES["average 1/2"]}
    yield f"## The family, {len(shown)} settings that chose nothing\n"
    yield from rule_lines(shown, rules)
    yield ""
    yield from group_lines(by(shown, lambda i: setting(int(i)).truth), short, "truth")
    yield ""
    yield from group_lines(by(shown, lambda i: setting(int(i)).rows), short, "rows of a document")
    named = list(ISSUE)
    yield "\n## The settings of the issue\n"
    yield from group_lines(by(read(folder / "issue"), lambda i: named[int(i.split("-")[0])]), short, "setting, n = 50")
    yield "\n## Real likelihoods\n"
    real = read(folder / "real")
    yield from group_lines(by(real, lambda i: f"{i.split('-')[-2]:>4}"), short, "documents")
    yield ""
    yield from group_lines(by(real, lambda i: "mixed" if "+" in i else i.split("-")[0]), short, "target")
    yield "\n## The interval of the improvement over uniform, 90 %\n"
    groups = {f"uniform, {s.kind}, K = {s.k}, n = {s.n}": [] for s in VERDICTS}
    for name, found in read(folder / "verdicts").items():
        groups[list(groups)[int(name.split("-")[0])]].append(found)
    groups |= {
        "small gain, K = 30 and 60": list(read(folder / "gains", 1).values()),
        "the family": list(shown.values()),
    }
    yield from interval_lines(groups)


def main():
    """Simulate, or print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("action", choices=["run", "choose", "table"])
    parser.add_argument("what", nargs="?", choices=["family", "gains", "issue", "verdicts", "real"])
    parser.add_argument("--folder", type=Path, default=Path("runs/shrinkage"))
    parser.add_argument("--count", type=int, default=400, help="settings of the family; half of them choose")
    parser.add_argument("--draws", type=int, default=16, help="of a setting that is drawn several times")
    parser.add_argument("--write", action="store_true", help="write benchmarks/results/shrinkage.md")
    args = parser.parse_args()
    folder = args.folder / (args.what or "")
    if args.action == "run":
        jobs = {
            "family": lambda: family(folder, args.count),
            "gains": lambda: gains(folder, args.count),
            "issue": lambda: drawn(folder, ISSUE.values(), args.draws, 900_000),
            "verdicts": lambda: drawn(folder, VERDICTS, args.draws, 800_000),
            "real": lambda: shrinkage_text.jobs(folder, args.draws),
        }
        run(jobs[args.what]())
        return
    if args.action == "choose":
        print("\n".join(rule_lines(read(args.folder / "family", 0), CANDIDATES)))
        return
    text = "\n".join(tables(args.folder)) + "\n"
    print(text)
    if args.write:
        Path(__file__).with_name("results").joinpath("shrinkage.md").write_text(HEAD + text)


if __name__ == "__main__":
    main()
