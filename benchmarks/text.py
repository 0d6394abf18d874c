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
    """Return the configuration of one seed; `size` is that of the proxies, small or large."""
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
    from mixwright.experiment.config import load_config
    from mixwright.experiment.search_run import run_search

    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{size}-{seed}.yaml"
    file.write_text(yaml.safe_dump(config(data.resolve(), seed, size), sort_keys=False))
    last = None

    def progress(stage, done, total, note=""):
        nonlocal last
        if stage != last:
            last = stage
            print(stage, done, total, note, flush=True)

    run_search(load_config(file), folder / f"{size}-{seed}", progress)


def summaries(folder, size):
    return [json.loads(path.read_text()) for path in sorted(folder.glob(f"{size}-*/summary.json"))]


def losses(found, target):
    """Return {mixture: [seeds]} of held-out losses on one target, nats per token (a token is a byte here)."""
    out = {}
    for summary in found:
        for entry in summary["runs"]:
            out.setdefault(entry["mixture"], []).append(entry["loss"][target])
    return {name: np.array(values) for name, values in out.items() if len(values) == len(found)}


def table(folder):
    """Print the Markdown tables."""
    small, large = summaries(folder, "small"), summaries(folder, "large")
    share = [summary["cost"]["share"] for summary in small]
    print(f"Seeds: {[s['seed'] for s in small]}. Cost of proxies and scoring: {np.mean(share):.0%} of one final run.\n")
    for target in TARGETS:
        found = losses(small, target)
        print(f"\n## {target}\n")
        print("| trained with | held-out loss by seed | mean | paired difference to uniform by seed | mean |")
        print("|---|---|---|---|---|")
        for name, values in found.items():
            if "search" in name and target not in name and len(TARGETS) > 1:
                continue
            if "best_single" in name and target not in name and f"best_single_{target}" in " ".join(found):
                continue
            difference = values - found["uniform"]
            row = [" / ".join(f"{x:.4f}" for x in values), f"{values.mean():.4f}"]
            row += [" / ".join(f"{x:+.4f}" for x in difference), f"{difference.mean():+.4f}"]
            print(f"| {name} | " + " | ".join(row) + " |")
        for name, values in losses(large, target).items():
            if target in name:
                difference = values - losses(large, target)["uniform"]
                row = [" / ".join(f"{x:.4f}" for x in values), f"{values.mean():.4f}"]
                row += [" / ".join(f"{x:+.4f}" for x in difference), f"{difference.mean():+.4f}"]
                print(f"| {name}, proxies of the final size | " + " | ".join(row) + " |")
    for size, found in (("small", small), ("large", large)):
        for summary in found:
            for search in summary["searches"]:
                weights = next(m["weights"] for m in summary["mixtures"] if m["name"] == search["mixture"])
                words = ", ".join(f"{w:.3f}" for w in weights)
                name = f"{size} seed {summary['seed']} {search['mixture']} tau {search['shrinkage']:g}"
                print(f"\n{name}: [{words}]; {search['verdict']}")


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
