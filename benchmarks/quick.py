"""
Count models against neural proxies: six targets, three seeds, the cost of the search taken out of the budget.

    python benchmarks/quick.py run --folder runs/quick       (a comparison, part by part; goes on where it was)
    python benchmarks/quick.py grid --folder runs/quick      (weights and seconds of every kind; likewise)
    python benchmarks/quick.py table --folder runs/quick --write

Five English sources and a Spanish one. Targets: three domains that are no source (Kubernetes documentation,
Shakespeare, and Python's PEPs, kept aside for it) and three sets of questions (ARC-Easy, PIQA, SciQ: question and right
answer as one text; a choice of more than 240 bytes does not fit the context, and its question is left out).
"""

import argparse
import gzip
import itertools
import json
import resource
import subprocess
import sys
from pathlib import Path
from statistics import mean

from compare import costs, measures

FINAL = {"model_type": "gpt_neox", "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
SMALL = {"model_type": "gpt_neox", "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
SOURCES = ("books_en", "code_python_stdlib", "encyclopedia_factbook", "math_latex", "pydocs_en", "pydocs_es")
DOMAINS = {"kubernetes_docs": "web_k8s_en", "shakespeare": "shakespeare", "peps": "spec_peps"}
QUESTIONS = {"arc_easy": "arc_easy.train", "piqa": "piqa.validation", "sciq": "sciq.validation"}
ORDERS, SIZES, WHOLE = (2, 3, 4, 5, 6), (100_000, 1_000_000, None), 50_000_000
OTHERS = ((4, 100_000), (4, None), (2, 1_000_000), (6, 1_000_000))  # besides order 4 and a million tokens
PARTS = (("main", 1), ("few", 2), ("few", 3), ("all", 1), ("all", 2), ("all", 3))
MIDDLE = "ngram 4, 1000k"
SEEDS = 3
NOTE = """
**Some verdicts are of a former judge:** [those that change](rejudged.md) under the one of today.

What it says, with ten arms and three seeds:

- **Count models are better than uniform on five of six targets**, by .03 to .16 nats per byte, with every order and
  sample size that was trained with (order 2 is not sure on Kubernetes), and no better on SciQ. **Neural MixMin is
  better on one** (Shakespeare) and no better on five. Both pay for their search: 27 % of the budget goes to neural
  proxies and their scores, nothing to counting, which takes 3 to 4 processor seconds with the search (neural: 16). On
  average over the targets: -.067 to -.073 and -.012.
- **Order and sample size matter little**: the five kinds of count models are within .02 of each other on every
  target, and order 2 is not the worst of them.
- **The best single source** is worse than uniform on Kubernetes and PEPs (+.05 to +.13), and near MixMin on questions.
  **Natural** is no better than uniform anywhere.
- **The kinds disagree most on questions**: the weights of SciQ are 1.4 to 1.8 apart (of 2). Count models take books,
  neural proxies of 60,000 tokens the Python documentation, which did not help. On documents they are .3 to .5 apart.
- **Accuracy** is at chance with models of this size and says nothing.

Limits: final models have 133,000 parameters and 500,000 bytes of training, so they know letters and short words, which
is what count models see best: at this size the comparison favours them. Of the grid of orders and sizes, orders 3 and 5
have weights, distances and seconds alone. Sample sizes are given by `max_tokens`; "all" was the default once. Seconds
are of the processor, one thread, November 2026.
"""


def size_words(size):
    """Return a number of counted tokens in words."""
    return "all" if size is None else f"{size // 1000}k"


def counts(order, size):
    """Return the settings of count models."""
    return {"kind": "ngram", "order": order, "max_tokens": size or WHOLE}


def prepared(data, folder, file, kept):
    """Return a file of the rows of another one as `kept` leaves them; None: left out."""
    path = folder / f"{Path(file).name}.jsonl"
    if not path.exists():
        with gzip.open(data / f"{file}.jsonl.gz", "rt", encoding="utf-8") as handle:
            rows = [row for line in handle if (row := kept(json.loads(line))) is not None]
        folder.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def beginning(row):
    """Return a document's first 4,000 characters: many short documents say more than a few long ones."""
    return {"text": row["text"][:4000]}


def short(row):
    """Return a question whose choices fit the context."""
    return row if max(len(choice.encode()) for choice in row["choices"]) <= 240 else None


def base(data, folder):
    """Return what comparison and searches share."""
    targets = {
        name: {"path": prepared(data, folder, f"text/{file}", beginning), "max_documents": 48}
        for name, file in DOMAINS.items()
    }
    questions = {
        name: {"path": prepared(data, folder, f"qa/{file}", short), "kind": "questions", "max_documents": 120}
        for name, file in QUESTIONS.items()
    }
    return {
        "sources": {name: str(data / f"text/{name}.jsonl.gz") for name in SOURCES},
        "targets": targets | questions,
        "held_out": 0.003,
        "model": FINAL,
        "proxy": {"model": SMALL, "tokens": 60_000, "learning_rate": 5e-3},
        "final": {"tokens": 500_000, "context": 256, "batch_size": 8, "learning_rate": 4e-3, "evaluate_every": 120},
    }


def arms(which):
    """Return the arms of a part of the comparison: the three that matter most, the main ones, or all."""
    main = {"search": "mixmin", "proxy": counts(4, 1_000_000), "name": MIDDLE}
    if which == "few":
        return ["uniform", "mixmin", main]
    single = {"baseline": "best_single", "proxy": counts(4, 1_000_000)}
    others = [{"search": "mixmin", "proxy": counts(o, s), "name": f"ngram {o}, {size_words(s)}"} for o, s in OTHERS]
    return ["uniform", "natural", "best_single", single, "mixmin", main, *(others if which == "all" else [])]


def run(data, folder):
    """Compare, the most telling part first, so that there is a result whenever it is stopped."""
    from mixwright.experiment import drive, make

    for which, seeds in PARTS:
        done = folder / f"summary-{which}-{seeds}.json"
        if not done.exists():
            about = {"title": "Count models and neural proxies", "arms": arms(which), "seeds": seeds}
            config = make("compare", {**base(data, folder), **about, "compute": {"cores": 1}})
            summary = drive(config, folder / "compare", _progress())
            done.write_text(json.dumps(summary))
            print(summary["verdict"], flush=True)


def _progress():
    shown = {}

    def progress(stage, done, total, note=""):
        if 50 * done // max(total, 1) != shown.get(stage):
            shown[stage] = 50 * done // max(total, 1)
            print(f"{stage}: {100 * done // max(total, 1)} % {note}", flush=True)

    return progress


def kinds():
    """Return (name, seed, settings of the proxies) of every search; whole sources are the same for each seed."""
    for seed in range(SEEDS):
        yield "neural", seed, None
        for size, order in itertools.product(SIZES, ORDERS):
            if size is not None or seed == 0:
                yield f"ngram {order}, {size_words(size)}", seed, counts(order, size)


def grid(data, folder):
    """Search with every kind of proxies, each in a process of its own; what is there is not done again."""
    for name, seed, _ in kinds():
        if not _result(folder, name, seed).exists():
            command = [sys.executable, __file__, "one", "--data", str(data), "--folder", str(folder)]
            subprocess.run([*command, "--kind", name, "--seed", str(seed)], check=True)
            print(name, seed, flush=True)


def _result(folder, name, seed):
    return folder / "grid" / f"{name.replace(' ', '-').replace(',', '')}-{seed}.json"


def one(data, folder, kind, seed):
    """Do one search; write its weights, and the seconds of the processor that proxies, scores and searches took."""
    from mixwright.experiment import drive, make

    proxy = next(settings for name, s, settings in kinds() if (name, s) == (kind, seed))
    config = {**base(data, folder), "title": kind, "seed": seed}
    config = config | ({"quick": True, "proxy": proxy} if proxy else {})
    config["final"] = {**config["final"], "mixtures": []}
    at = {}

    def progress(stage, done, total, note=""):
        used = resource.getrusage(resource.RUSAGE_SELF)
        at.setdefault(stage, used.ru_utime + used.ru_stime)

    summary = drive(make("search", config), folder / f"search-{seed}", progress)
    used = resource.getrusage(resource.RUSAGE_SELF)
    start = at.get("proxies", at["scores"])
    seconds = {"proxies": at["search"] - start, "search": used.ru_utime + used.ru_stime - at["search"]}
    weights = {mixture["name"]: mixture["weights"] for mixture in summary["mixtures"]}
    found = {
        s["target"]: {"weights": weights[s["mixture"]], **{key: s[key] for key in ("verdict", "shrinkage")}}
        for s in summary["searches"]
    }
    shown = {"kind": kind, "seed": seed, "seconds": seconds, "targets": found, "notes": summary["notes"]}
    _result(folder, kind, seed).parent.mkdir(parents=True, exist_ok=True)
    _result(folder, kind, seed).write_text(json.dumps(shown))


def distance(one, other):
    """Return the L1 distance of two lists of weights."""
    return sum(abs(a - b) for a, b in zip(one, other, strict=True))


def found_weights(folder):
    """Return {kind: {seed: the search}} of what there is."""
    every = {}
    for name, seed, _ in kinds():
        if (path := _result(folder, name, seed)).exists():
            every.setdefault(name, {})[seed] = json.loads(path.read_text())
    return every


def seconds_table(every):
    """Return the lines of a table: processor seconds of a search by kind, for all six targets together."""
    lines = ["| proxies | proxies and scores | search | by seed |", "|---|--:|--:|---|"]
    for name, found in every.items():
        parts = {key: [one["seconds"][key] for one in found.values()] for key in ("proxies", "search")}
        by_seed = " / ".join(f"{a + b:.1f}" for a, b in zip(*parts.values(), strict=True))
        lines.append(f"| {name} | {mean(parts['proxies']):.1f} s | {mean(parts['search']):.1f} s | {by_seed} |")
    return lines


def weights_table(every, target):
    """Return the lines of a table: the weights of each kind, and their L1 distances."""
    neural, middle = ({s: r["targets"][target]["weights"] for s, r in every[n].items()} for n in ("neural", MIDDLE))
    lines = [f"### {target}", "", f"| proxies | {' | '.join(SOURCES)} | to neural | to {MIDDLE} | between seeds |"]
    lines += ["|---|" + "--:|" * (len(SOURCES) + 3)]
    for name, found in every.items():
        own = {seed: result["targets"][target]["weights"] for seed, result in found.items()}
        cells = [f"{mean(values):.2f}" for values in zip(*own.values(), strict=True)]
        for others in (neural, middle):
            apart = [
                distance(w, other) for s, w in own.items() for t, other in others.items() if others != own or s < t
            ]
            cells.append(f"{mean(apart):.2f}" if apart else "")
        apart = [distance(a, b) for a, b in itertools.combinations(own.values(), 2)]
        lines.append(f"| {name} | {' | '.join(cells)} | {f'{mean(apart):.2f}' if apart else ''} |")
    return [*lines, ""]


def verdicts_table(summary):
    """Return the lines of a table: difference to uniform and verdict by arm and target."""
    found = [
        m for m in summary["measures"] if m["kind"] in ("target", "all targets") and m["quantity"] == "held-out loss"
    ]
    lines = [f"| arm | {' | '.join(m['name'] for m in found)} |", "|---|" + "---|" * len(found)]
    for arm in (a["name"] for a in summary["arms"] if a["name"] != summary["over"]):
        each = [next(d for d in m["differences"] if d["arm"] == arm) for m in found]
        cells = [f"{d['difference']:+.3f} {d['word']}" for d in each]
        lines.append(f"| {arm} | {' | '.join(cells)} |")
    return lines


def table(folder):
    """Return the page of results: of the seeds that are done."""
    parts = {
        part: json.loads(p.read_text()) for part in PARTS if (p := folder / "summary-{}-{}.json".format(*part)).exists()
    }
    every = found_weights(folder)
    lines = ["# Count models and neural proxies", "", *(__doc__ or "").strip().splitlines()[2:], "", NOTE]
    for (which, seeds), summary in parts.items():
        if (which, seeds + 1) in parts or (("all", SEEDS) in parts and which != "all"):
            continue
        lines += [f"## The comparison of {len(summary['arms'])} arms, {seeds} of {SEEDS} seeds", "", *costs(summary)]
        lines += ["Held-out loss minus that of uniform, nats per byte, and the verdict:", ""]
        lines += [*verdicts_table(summary), ""]
    lines += ["## What a search takes", "", "Processor seconds, one thread, six targets together:", ""]
    lines += [*seconds_table(every), "", "## Weights", "", "Means over the seeds; distances are L1 (0 to 2).", ""]
    lines += [line for target in base_targets() for line in weights_table(every, target)]
    most = parts[max(parts, key=lambda part: (part[1], part[0] == "all"))]
    return "\n".join([*lines, "## Every measure, in the comparison with the most seeds", "", *measures(most)])


def base_targets():
    """Return the names of the targets."""
    return [*DOMAINS, *QUESTIONS]


def main():
    """Parse and do."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("do", choices=["run", "grid", "one", "table"])
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--folder", type=Path, default=Path("runs/quick"))
    parser.add_argument("--kind")
    parser.add_argument("--seed", type=int)
    parser.add_argument("--write", action="store_true", help="also write results/quick.md")
    given = parser.parse_args()
    data, folder = given.data.resolve(), given.folder.resolve()
    if given.do == "one":
        one(data, folder, given.kind, given.seed)
    elif given.do != "table":
        {"run": run, "grid": grid}[given.do](data, folder)
    else:
        text = table(folder)
        print(text)
        if given.write:
            Path(__file__).with_name("results").joinpath("quick.md").write_text(text)


if __name__ == "__main__":
    main()
