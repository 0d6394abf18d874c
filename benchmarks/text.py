"""
Is the mixture worth it on real text? Uniform, natural, best single source and MixMin at equal tokens, paired seeds.

    python benchmarks/text.py run --data ../shared/data --folder runs/text --seed 0     (one process per seed)
    python benchmarks/text.py table --folder runs/text                                  (reads what is there)

Six English sources, three targets that are none of them: Kubernetes documentation, Shakespeare, and ARC-Easy (question
and right answer as one text, as in the paper). Proxies have two layers and an eighth of the final model's parameters;
`large` runs the search again with proxies of the final model's size, and trains with what they found.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import yaml

SOURCES = ("books_en", "code_python_stdlib", "encyclopedia_factbook", "math_latex", "pydocs_en", "spec_peps")
TARGETS = {
    "kubernetes_docs": {"path": "text/web_k8s_en.jsonl.gz", "max_documents": 60},
    "shakespeare": {"path": "text/shakespeare.jsonl.gz", "max_documents": 20},
    "arc_easy": {"path": "qa/arc_easy.train.jsonl.gz", "kind": "questions", "score": "joint"},
}
SMALL = {"model_type": "gpt_neox", "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
FINAL = {"model_type": "gpt_neox", "hidden_size": 128, "num_hidden_layers": 4, "num_attention_heads": 4}


def config(data, seed, size):
    """Return the configuration of one seed; `size` is the size of the proxies, small or large."""
    targets = {name: {**part, "path": str(data / part["path"])} for name, part in TARGETS.items()}
    return {
        "title": f"Six English sources, {size} proxies, seed {seed}",
        "seed": seed,
        "sources": {name: str(data / f"text/{name}.jsonl.gz") for name in SOURCES},
        "targets": targets,
        "held_out": 0.02,
        "tokenizer": "bytes",
        "model": FINAL,
        "proxy": {"model": SMALL if size == "small" else FINAL, "tokens": 500_000, "learning_rate": 3e-3},
        "search": {"likelihood": ["chunk", "token"] if size == "small" else ["chunk"]},
        "final": {
            "tokens": 1_000_000,
            "context": 128,
            "learning_rate": 2e-3,
            "equal_cost": size == "small",
            "evaluate_every": 61,
            "mixtures": ["uniform", "natural", "best_single", "search"] if size == "small" else ["uniform", "search"],
        },
    }


def run(data, folder, seed, size):
    """Run, or go on with, the search of one seed."""
    from mixwright.experiment import drive, load

    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{size}-{seed}.yaml"
    file.write_text(yaml.safe_dump(config(data.resolve(), seed, size), sort_keys=False))
    last = None

    def progress(stage, done, total, note=""):
        nonlocal last
        if stage != last:
            last = stage
            print(stage, done, total, note, flush=True)

    drive(load("search", file), folder / f"{size}-{seed}", progress)


def summaries(folder, size):
    """Return {seed: [summaries]}; the searches of one seed may be spread over several runs (small-2, small-2-token)."""
    out = {}
    for path in sorted(folder.glob(f"{size}-*/summary.json")):
        summary = json.loads(path.read_text())
        out.setdefault(summary["seed"], []).append(summary)
    return out


def losses(found, target):
    """Return {mixture: {seed: held-out loss on one target}}, nats per token (a token is a byte here)."""
    out = {}
    for seed, parts in found.items():
        for summary in parts:
            full = {s["mixture"]: f"search_{s['target']}_{s['unit']}" for s in summary["searches"]}
            for entry in summary["runs"]:
                out.setdefault(full.get(entry["mixture"], entry["mixture"]), {})[seed] = entry["loss"][target]
    return out


def row(name, values, uniform):
    """Return a line of the table."""
    difference = {seed: value - uniform[seed] for seed, value in values.items()}
    cells = []
    for part, form in ((values, ".4f"), (difference, "+.4f")):
        cells += [" / ".join(f"{part[seed]:{form}}" for seed in sorted(part)), f"{np.mean(list(part.values())):{form}}"]
    return f"| {name} | {', '.join(map(str, sorted(values)))} | " + " | ".join(cells) + " |"


def table(folder):
    """Print the Markdown tables."""
    small, large = summaries(folder, "small"), summaries(folder, "large")
    share = [parts[0]["cost"]["share"] for parts in small.values()]
    print(f"Cost of the proxies and their scores: {np.mean(share):.0%} of the compute of one final run.")
    for target in TARGETS:
        print(f"\n## {target}\n")
        print("| trained with | seeds | held-out loss, nats per byte | mean | paired difference to uniform | mean |")
        print("|---|---|---|---|---|---|")
        found = losses(small, target)
        for name, values in found.items():
            if name.startswith(("search_", "best_single_")) and target not in name:
                continue
            print(row(name, values, found["uniform"]))
        bigger = losses(large, target)
        for name, values in bigger.items():
            if target in name:
                print(row(f"{name}, proxies of the final size", values, bigger["uniform"]))
    print("\n## What the searches found\n")
    print(f"Weights of {', '.join(SOURCES)}.\n")
    for size, found in (("small", small), ("large", large)):
        for summary in (part for parts in found.values() for part in parts):
            for search in summary["searches"]:
                weights = next(m["weights"] for m in summary["mixtures"] if m["name"] == search["mixture"])
                words = ", ".join(f"{w:.3f}" for w in weights)
                name = f"{size} proxies, seed {summary['seed']}, {search['target']} per {search['unit']}"
                print(f"- {name}: tau {search['shrinkage']:g}, [{words}]; {search['verdict']}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["run", "table"])
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--folder", type=Path, default=Path("runs/text"))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--size", choices=["small", "large"], default="small")
    arguments = parser.parse_args()
    if arguments.what == "run":
        run(arguments.data, arguments.folder, arguments.seed, arguments.size)
    else:
        table(arguments.folder)


if __name__ == "__main__":
    main()
