"""
PiKE and Balanced-PiKE in pre-training: paired seeds, equal steps, judged on the sources' held-out documents.

    python benchmarks/pike.py run languages|domains --data ../shared/data --folder runs/pike   (goes on where it was)
    python benchmarks/pike.py cost --data ../shared/data --folder runs/pike                    (what a strategy costs)
    python benchmarks/pike.py table --folder runs/pike --write                                 (tables and plots)

languages: the documentation of Python in English, Spanish and Japanese, 3 seeds. domains: six English sources, 2 seeds.
"""

import argparse
from pathlib import Path

LANGUAGES = ("pydocs_en", "pydocs_es", "pydocs_ja")
DOMAINS = ("books_en", "code_python_stdlib", "encyclopedia_factbook", "math_latex", "pydocs_en", "spec_peps")
SETTINGS = {"languages": (LANGUAGES, 3), "domains": (DOMAINS, 2)}
MODEL = {"model_type": "gpt_neox", "hidden_size": 144, "num_hidden_layers": 4, "num_attention_heads": 4}
STRATEGIES = {
    "PiKE exponentiated": {"name": "PiKE", "rule": "exponentiated"},
    "PiKE restoring": {"name": "PiKE", "rule": "restoring"},
    "PiKE optimal": {"name": "PiKE", "rule": "optimal"},
    "Balanced-PiKE 1": {"name": "BalancedPiKE", "tau": 1},
    "Balanced-PiKE 3": {"name": "BalancedPiKE", "tau": 3},
    "Balanced-PiKE 5": {"name": "BalancedPiKE", "tau": 5},
}


def config(what, data, cores):
    """Return the configuration of a comparison; the strategies have their defaults."""
    sources, seeds = SETTINGS[what]
    return {
        "title": {"languages": "Three languages", "domains": "Six English domains"}[what],
        "sources": {name: str(data / f"text/{name}.jsonl.gz") for name in sources},
        "held_out": 0.02,
        "tokenizer": "bytes",
        "model": MODEL,
        "final": {
            "tokens": 1_000_000,
            "context": 128,
            "batch_size": 32,
            "learning_rate": 2e-3,
            "evaluate_every": 20,
            "observe_every": 20,
        },
        "arms": ["uniform", "natural", *({"name": n, "strategy": s} for n, s in STRATEGIES.items())],
        "seeds": seeds,
        "compute": {"cores": cores},
    }


def run(what, data, folder, cores):
    """Do a comparison, or the rest of one."""
    from mixwright.experiment.compare_config import make_compare_config
    from mixwright.experiment.compare_run import run_compare

    made = make_compare_config(config(what, data.resolve(), cores))
    shown = {}

    def progress(stage, done, total, note=""):
        if 40 * done // total != shown.get(stage):
            shown[stage] = 40 * done // total
            print(f"{stage}: {100 * done // total} % {note}", flush=True)

    summary = run_compare(made, folder / what, progress, f"python benchmarks/pike.py run {what}")
    print(summary["verdict"])


def main():
    """Parse and do."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("do", choices=["run", "cost", "table"])
    parser.add_argument("what", choices=[*SETTINGS], nargs="?")
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--folder", type=Path, default=Path("runs/pike"))
    parser.add_argument("--cores", type=int, default=2)
    parser.add_argument("--write", action="store_true", help="also write results/pike.md and its plots")
    arguments = parser.parse_args()
    if arguments.do == "run":
        what = arguments.what or parser.error(f"run what: {' or '.join(SETTINGS)}?")
        run(what, arguments.data, arguments.folder, arguments.cores)


if __name__ == "__main__":
    main()
