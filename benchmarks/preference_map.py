"""
When does AutoMixAlign help? One thing is varied at a time: four sources of preference pairs, a small model.

    python benchmarks/preference_base.py runs/base ../shared/data        # once, ten minutes of one core
    python benchmarks/preference_map.py run A|B [REGIME ...] --base runs/base/sft --data ../shared/data
    python benchmarks/preference_map.py table --write

Half A has other tasks than half B: the learning rate of the weights is chosen on A, with seeds from 100 on; the
verdicts on B are of tasks and seeds that nothing was chosen on. What was trained is kept in
results/rows/preference_map.jsonl, a line for each arm and seed: a run goes on where it was, also on another machine.
"""

from __future__ import annotations

import argparse
import gzip
import json
import random
import statistics
from collections.abc import Callable
from pathlib import Path

from mapping import (
    Differences,
    by_arm,
    by_regime,
    done_arms,
    grid,
    judged,
    keep_new,
    machine,
    means,
    named,
    read_rows,
    rows_path,
)
from summaries import panels, shower

ROWS = rows_path("preference_map")
HALVES = {
    "A": ("interest-in-science", "agreeableness", "openness", "conscientiousness"),
    "B": ("risk-averse", "extraversion", "interest-in-music", "neuroticism"),
}
SEEDS = {"A": 2, "B": 5}
FIRST_SEED = {"A": 100, "B": 0}
PAIRS, HELD_OUT = 400, 150
RANDOM, EASY, SWAPPED = "random labels", "letters", "swapped"
MADE = (RANDOM, EASY)  # no real tasks
TRAINING: dict = {"steps": 120, "batch_size": 12, "learning_rate": 1e-3, "evaluate_every": 1_000}
RATES = (0.02, 0.05, 0.2)  # of the weights
CHOOSING = ("sizes", "random labels")  # the regimes of half A that choose them
NAMES = {"AMAR": "AMA-R", "AMAS": "AMA-S"}
Rows = list[dict]


def ama(name: str, rate: float) -> dict:
    """Return an arm of AMA-R or AMA-S, or of Group DRO."""
    smoothing = {"smoothing": 0.1} if name == "AMAS" else {}
    words = f"{NAMES.get(name, name)} {rate:g}"
    return {"strategy": {"name": name, "learning_rate": rate, **smoothing}, "name": words}


GATE = {"strategy": {"name": "AMAR", "learning_rate": 1e-6}, "name": "gate alone"}  # AMA-R whose weights stay equal
PEERS: dict[str, list[dict]] = {"A": [], "B": [GATE, ama("GroupDRO", 0.05)]}


def arms(half: str) -> list:
    """Return the arms of a half: all rates on A, on B those that A chose."""
    rates = dict.fromkeys(NAMES, RATES) if half == "A" else {name: (rate,) for name, rate in chosen().items()}
    both = [ama(name, rate) for name, own in rates.items() for rate in own]
    without = [{**arm, "train_on": "loss", "name": f"{arm['name']}, on the loss"} for arm in both if half == "B"]
    return ["uniform", "pooled", *both, *without, *PEERS[half]]


def plain(found: dict[str, Rows]) -> dict[str, Rows]:
    """Take the same number of pairs of each."""
    return {name: rows[:PAIRS] for name, rows in found.items()}


def sizes(found: dict[str, Rows]) -> dict[str, Rows]:
    """Make all but the first small."""
    counts = (800, 100, 60, 40)
    return {name: rows[:count] for (name, rows), count in zip(found.items(), counts, strict=True)}


def _last(found: dict[str, Rows], name: str, rows: Rows) -> dict[str, Rows]:
    """Put another source in the place of the last one."""
    first = plain(found)
    del first[next(reversed(first))]
    return first | {name: rows}


def random_labels(found: dict[str, Rows]) -> dict[str, Rows]:
    """Swap the two answers of the last source at random: nothing can be learnt there."""
    chance, last = random.Random(3), list(found.values())[-1][:PAIRS]
    return _last(found, RANDOM, [_swapped(row) if chance.random() < 0.5 else row for row in last])


def soon_learnt(found: dict[str, Rows]) -> dict[str, Rows]:
    """Put random letters for the worse answer of the last source: learnt in a few steps."""
    chance, last = random.Random(4), list(found.values())[-1][:PAIRS]
    return _last(found, EASY, [{**row, "rejected": "".join(chance.choices("bcdfghjklm", k=6))} for row in last])


def conflicting(found: dict[str, Rows]) -> dict[str, Rows]:
    """Put the first source with its answers swapped in the last one's place: no model can have both."""
    first = next(iter(found.values()))
    return _last(found, SWAPPED, [_swapped(row) for row in first[len(first) // 2 :][:PAIRS]])


def _swapped(row: dict) -> dict:
    return {**row, "chosen": row["rejected"], "rejected": row["chosen"]}


REGIMES: dict[str, tuple[Callable[[dict[str, Rows]], dict[str, Rows]], str]] = {
    "plain": (plain, "four tasks of 400 pairs, each seen about once"),
    "sizes": (sizes, "800, 100, 60 and 40 pairs: equal shares go nine times through the smallest"),
    "soon learnt": (soon_learnt, "the worse answers of the last source are random letters"),
    "random labels": (random_labels, "the answers of the last source are swapped at random"),
    "conflicting": (conflicting, "the last source is the first with its answers swapped, on other statements"),
}


def tasks(data: Path, half: str) -> dict[str, Rows]:
    """Return the pairs of each task of a half, in the file's order."""
    with gzip.open(data / "pref" / "persona_evals.jsonl.gz", "rt", encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    return {task: [row for row in rows if row["task"] == task] for task in HALVES[half]}


def written(found: dict[str, Rows], folder: Path) -> dict[str, dict]:
    """Write the pairs of each source; return the sources of a configuration."""
    folder.mkdir(parents=True, exist_ok=True)
    sources = {}
    for name, rows in found.items():
        train = folder / f"{name.replace(' ', '_')}.jsonl"
        train.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        sources[name] = {"path": str(train.resolve()), "join": "\n", "max_held_out": HELD_OUT}
    return sources


def config(regime: str, half: str, data: Path, base: Path, folder: Path, trained: list, cores: int) -> dict:
    """Return the configuration of a comparison."""
    change, words = REGIMES[regime]
    whole = tasks(data, half)
    train = {name: [row for row in rows if row["split"] == "train"] for name, rows in whole.items()}
    test = {name: [row for row in rows if row["split"] != "train"] for name, rows in whole.items()}
    place = folder / "pairs" / f"{half}_{regime.replace(' ', '_')}"
    sources = written(change(train), place)
    for name, source in written(change(test), place / "held_out").items():
        sources[name]["test"] = source["path"]
    return {
        "kind": "preference",
        "title": f"{regime}, half {half}: {words}",
        "model": str(base.resolve()),
        "sources": sources,
        "pairs": {"max_length": 96, "long_prompts": "truncate"},
        "loss": {"beta": 0.1},
        "specialists": {"steps": 40, "folds": 2},
        "training": TRAINING,
        "arms": trained,
        "seed": FIRST_SEED[half],
        "seeds": SEEDS[half],
        "compute": {"cores": cores},
    }


def run(regime: str, half: str, data: Path, base: Path, folder: Path, cores: int) -> None:
    """Train the arms of a regime that are not there yet."""
    from mixwright.experiment import drive, make

    done = done_arms(read_rows(ROWS, regime=regime, half=half), SEEDS[half])
    wanted = arms(half)
    missing = [arm for arm in wanted if named(arm) not in done]
    if not missing:
        return
    trained = missing if "uniform" in missing else ["uniform", *missing]  # a pair for each seed
    made = make("compare", config(regime, half, data, base, folder, trained, cores))
    part = "" if len(missing) == len(wanted) else "_" + "_".join(map(named, missing))
    place = folder / "runs" / f"{half}_{regime}{part}".replace(" ", "_").replace(",", "")
    summary = drive(made, place, shower(), "python benchmarks/preference_map.py run")
    keep(summary, regime, half)
    print(regime, half, summary["verdict"], flush=True)


QUANTITIES = {
    "held-out loss": "loss",
    "preference accuracy": "accuracy",
    "excess over the specialist": "excess",
}


def keep(summary: dict, regime: str, half: str) -> None:
    """Add a line for each arm and seed that is not there."""
    measures = [m for m in summary["measures"] if m["kind"] != "all sources"]
    lines = []
    for arm in summary["arms"]:
        for i, seed in enumerate(summary["seeds"]):
            row = {"regime": regime, "half": half, "arm": arm["name"], "seed": seed}
            row["machine"] = machine()
            for quantity, key in QUANTITIES.items():
                own = [m for m in measures if m["quantity"] == quantity]
                row[key] = {m["name"]: round(m["values"][arm["name"]][i], 6) for m in own}
            mixtures = arm.get("mixtures") or []
            row["weights"] = {n: round(v[i], 4) for m in mixtures[:1] for n, v in m["weights"].items()}
            lines.append(row)
    keep_new(ROWS, lines, ("regime", "half", "arm", "seed"))


def real(values: dict[str, float]) -> list[float]:
    """Return the values of the real tasks."""
    return [value for name, value in values.items() if name not in MADE]


MEASURES: dict[str, tuple[str, Callable[[list[float]], float]]] = {
    "worst excess over the specialist": ("excess", max),
    "worst loss": ("loss", max),
    "average loss": ("loss", statistics.mean),
    "average accuracy": ("accuracy", statistics.mean),
}


def differences(half: str, measure: str) -> dict[str, Differences]:
    """Return what each arm has more than uniform, by regime."""
    key, one = MEASURES[measure]
    found = by_regime(read_rows(ROWS, half=half), REGIMES)
    return {
        regime: judged(rows, lambda row: one(real(row[key])), higher=key == "accuracy")
        for regime, rows in found.items()
    }


def chosen() -> dict[str, float]:
    """Return the rate of AMA-R and of AMA-S with the least worst excess on half A, on the mean of its regimes."""
    judgements = differences("A", "worst excess over the specialist")
    if not set(CHOOSING) <= set(judgements):
        raise SystemExit(f"run half A first ({', '.join(CHOOSING)}): the rates of the weights are chosen there")
    found = {regime: judgements[regime] for regime in CHOOSING}
    mean = {
        (name, rate): statistics.mean(regime[ama(name, rate)["name"]].difference for regime in found.values())
        for name in NAMES
        for rate in RATES
    }
    return {name: min(RATES, key=lambda rate: mean[name, rate]) for name in NAMES}


def shares(half: str) -> list[str]:
    """Return the last weight of the last source, by arm and regime; means over seeds."""
    rows = [row for row in read_rows(ROWS, half=half) if row["weights"]]
    return means(by_regime(rows, REGIMES), lambda row: list(row["weights"].values())[-1])


def table() -> str:
    """Return the Markdown of all that was trained."""
    lines = []
    for half, words in (("B", "Verdicts"), ("A", "The half that the learning rate is chosen on")):
        if not read_rows(ROWS, half=half):
            continue
        seeds = f"seeds {FIRST_SEED[half]} to {FIRST_SEED[half] + SEEDS[half] - 1}"
        lines += [f"## {words}: half {half} ({', '.join(HALVES[half])}; {seeds})", ""]
        for measure, (key, _) in MEASURES.items():
            side = "more is better" if key == "accuracy" else "nats per pair"
            lines += [f"### {measure.capitalize()}, minus uniform, {side}", "", *grid(differences(half, measure))]
        lines += ["### Last weight of the last source", "", *shares(half)]
    return "\n".join(lines)


def write() -> None:
    """Write results/preference_map.md and its plot."""
    results = Path(__file__).with_name("results")
    words = "worst excess over the specialist, minus uniform, by regime (left is better), 90 % intervals"
    panels(results / "preference_map.svg", words, by_arm(differences("B", "worst excess over the specialist")))
    rows = "".join(f"| {name} | {words} |\n" for name, (_, words) in REGIMES.items())
    (results / "preference_map.md").write_text((HEAD + rows + NOTE + "\n" + table()).rstrip() + "\n", encoding="utf-8")


HEAD = """# When does AutoMixAlign help?

`python benchmarks/preference_map.py run A`, `... run B`, `... table --write`; a GPT-NeoX of 1.1 million parameters
(`preference_base.py`), 120 steps of 12 pairs, AdamW, learning rate .001, DPO with beta .1; specialists of 40 steps,
each pair scored by one that was trained without it (two folds). Numbers behind a name are the learning rate of the
weights; AMA-S has smoothing .1. Average and worst are over real tasks: what was made is trained on, but is not in them.

| regime | |
|---|---|
"""
NOTE = """
![Worst excess](preference_map.svg)

What it says so far (other regimes of half B are not run yet):

- **Unequal sizes: no better.** On half B, with the rates that half A chose and five seeds, AMA-R and AMA-S are no
  better than uniform on the worst excess over the specialist (-.009, +.005), which is what they minimise, and worse
  in accuracy (-.050, -.033). On half A, where the rates were chosen by this measure and with two seeds, they were
  better (-.10 to -.13).
- **The gate alone** is AMA-R whose weights stay equal: pairs below their specialist's loss are not trained on. It,
  too, is worse in accuracy (-.041). So the weights are not what costs accuracy there. On [six other
  sources](preference.md) the gate was not the reason; arms without it are not run here yet.
- **Group DRO, which has no gate,** is no better or worse on any measure.
- **Pooled** is worse on half B on everything: the small tasks are hardly seen.
- **Random labels** (half A): no better or worse at larger rates, and a worse average loss with small ones.
- **Few pairs:** a task has 82 to 113 held-out pairs, and in "sizes" the small ones only 40 to 100.
"""


def main() -> None:
    """Parse and do."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("do", choices=["run", "table"])
    parser.add_argument("half", choices=[*HALVES], nargs="?")
    parser.add_argument("regimes", nargs="*", help=f"default: {', '.join(REGIMES)}")
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--base", type=Path, default=Path("runs/base/sft"))
    parser.add_argument("--folder", type=Path, default=Path("runs/preference_map"))
    parser.add_argument("--cores", type=int, default=2)
    parser.add_argument("--write", action="store_true", help="also write results/preference_map.md")
    given = parser.parse_args()
    if given.do == "run":
        for regime in given.regimes or REGIMES:
            half = given.half or parser.error("run which half: A or B?")
            run(regime, half, given.data, given.base, given.folder, given.cores)
        return
    print(table())
    if given.write:
        write()


if __name__ == "__main__":
    main()
