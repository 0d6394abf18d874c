"""
Every strategy on two settings of texts, through `mixwright compare`: paired seeds, what a method costs charged.

    python benchmarks/online_text.py run languages|domains --data ../shared/data --folder runs/online_text
    python benchmarks/online_text.py cost --data ../shared/data --folder runs/online_text
    python benchmarks/online_text.py table --folder runs/online_text --write

A run goes on where it was. The settings are those of `pike.py`; the model is an eighth as large, the rows half as long.
"""

import argparse
import json
import statistics
import tempfile
from functools import cache, partial
from pathlib import Path

from pike import MODEL, SETTINGS, config, cost, costs, plot, run, step_seconds, weights

TOKENS, BATCH, CONTEXT, EVERY = 204_800, 16, 64, 5
SEEDS = 3
SMALL = {**MODEL, "hidden_size": 64, "num_hidden_layers": 2}
UNIFORM = "uniform, fixed weights"
BALANCED = {"name": "BalancedPiKE", "tau": 2, "rule": "restoring", "loss": "loss", "wrap": ["Guard"]}
ARMS = [
    "uniform",
    "natural",
    "PiKE",
    {"name": "Balanced-PiKE 2", "strategy": BALANCED},
    "GroupDRO",
    "ODM",
    {"name": "ADO, warm-up 10", "strategy": {"name": "ADO", "warmup": 10, "refit": 5}},
    "DoGE",
    {"name": "DoGE, then fixed", "search": "doge"},
    {"name": "DoReMi, then fixed", "search": "doremi"},
    {"name": "DoReMi, not charged", "search": "doremi", "charge": False},
    "SkillIt",
    "Aioli",
    "LossRatio",
]
PERIODS = 8  # of 10 steps, in a training for its cost; the first is not counted
WAYS = {
    "PiKE": "PiKE",
    "BalancedPiKE": BALANCED,
    **{name: name for name in ("GroupDRO", "ODM", "ADO", "DoGE", "DoReMi", "SkillIt", "Aioli", "LossRatio")},
}


def configuration(what, data, cores):
    """Return the configuration of a comparison: that of `pike.py` with these arms, and smaller steps."""
    own = config(what, data, cores)
    changed = {"tokens": TOKENS, "batch_size": BATCH, "context": CONTEXT, "evaluate_every": 50, "observe_every": EVERY}
    return {
        **own,
        "title": f"{own['title']}: every strategy",
        "proxy": {"tokens": TOKENS // 4},
        "model": SMALL,
        "final": {**own["final"], **changed, "statistics_steps": 2, "lag": 1},
        "reference": {"train": "prior"},
        "arms": ARMS,
        "seeds": SEEDS,
    }


@cache
def reference_model():
    """Return the folder of a model to compare with; what it has learnt does not matter to what it costs."""
    from mixwright.text import TokenStore, byte_tokenizer, write_tokens
    from mixwright.training import TrainingSettings, train

    place = Path(tempfile.mkdtemp())
    write_tokens(place / "text", ["abc " * 400], byte_tokenizer())
    stores = {"text": TokenStore.open(place / "text")}
    return train(SMALL, stores, [1.0], TrainingSettings(steps=1, batch_size=4), place, byte_tokenizer()).model_folder


def observed(stores, strategy, passed):
    """Return what `train` measures for a strategy; `passed` gets the tokens of each forward pass of a measure."""
    from mixwright.experiment.text.evaluation import HeldOut
    from mixwright.experiment.text.inputs import TokenSource
    from mixwright.experiment.text.reference import reference_measure
    from mixwright.text import byte_tokenizer
    from mixwright.training import Reference

    reference = Reference(reference_model(), strategy.excess_clip)
    held = HeldOut([], [TokenSource(n, s, s) for n, s in stores.items()], byte_tokenizer(), CONTEXT, BATCH)

    def eval_loss(model):
        hook = model.register_forward_pre_hook(lambda m, a, k: passed.append(k["input_ids"].numel()), with_kwargs=True)
        try:
            return held.strategy_source_losses(model)
        finally:
            hook.remove()

    measures = {"eval_loss": eval_loss, "reference_loss": reference_measure(reference, held, CONTEXT)}
    return {"measures": measures, "reference": reference if "excess_loss" in strategy.needs else None}


def seconds(extra, stores, way):
    """Return the CPU seconds of a step with a strategy; `extra` gets the tokens of more forward passes per token."""
    from mixwright.strategies import from_config

    how = {"model": SMALL, "of": min, "steps": PERIODS * 10, "batch_size": BATCH, "context": CONTEXT}
    if way == UNIFORM:
        return step_seconds(stores, [1 / len(stores)] * len(stores), **how)
    strategy, passed = from_config(WAYS[way], [*stores]), []
    more = observed(stores, strategy, passed)
    took = step_seconds(stores, strategy, observed=more, **how)
    each = sum(passed) / (PERIODS * 10 * BATCH * CONTEXT)
    extra.setdefault(way, {})[len(stores)] = each + (more["reference"] is not None)
    return took


def measure_costs(data, folder, rounds):
    """Write FOLDER/cost.json: what a step takes with each strategy, over a step with fixed weights."""
    extra = {}
    cost(data, folder, rounds, [UNIFORM, *WAYS], partial(seconds, extra))
    path = folder / "cost.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "extra": extra}))


def table(folder):
    """Return the Markdown of all that was run."""
    lines = []
    for what in SETTINGS:
        if (path := folder / what / "summary.json").exists():
            lines += setting(what, json.loads(path.read_text()))
    if (path := folder / "cost.json").exists():
        lines += cost_table(json.loads(path.read_text()))
    return "\n".join(lines)


def setting(what, summary):
    """Return the table of all methods in one setting, the plot, and the last weights."""
    seeds = " / ".join(map(str, summary["seeds"]))
    lines = [f"## {summary['title'].partition(':')[0]}", "", f"{len(summary['sources'])} sources, seeds {seeds}."]
    lines += ["", f"![Differences to uniform](online_text-{what}.svg)", ""]
    average, worst = summary["measures"][:2]
    lines += ["| method | tokens trained | charged | average | minus uniform | 90 % | verdict | worst source |"]
    lines[-1] += " minus uniform | 90 % | verdict |"
    lines += ["|---" * 11 + "|"]
    for arm in summary["arms"]:
        tokens = f"{arm['amount']:,.0f} | {arm['total_cost'] - arm['amount']:,.0f}"
        lines.append(f"| {arm['name']} | {tokens} | {judged(average, arm['name'])} | {judged(worst, arm['name'])} |")
    lines += ["", "By seed, average of the sources and worst source:", ""]
    lines += ["| method | average | worst source |", "|---|---|---|"]
    for arm in average["values"]:
        cells = [" / ".join(f"{v:.4f}" for v in measure["values"][arm]) for measure in (average, worst)]
        lines.append(f"| {arm} | {' | '.join(cells)} |")
    return [*lines, "", *weights(summary)]


def judged(measure, arm):
    """Return four cells: the mean, the difference to uniform, its interval, the verdict."""
    mean = f"{statistics.mean(measure['values'][arm]):.4f}"
    found = next((d for d in measure["differences"] if d["arm"] == arm), None)
    if found is None:
        return f"{mean} | | | "
    return f"{mean} | {found['difference']:+.4f} | {found['low']:+.4f} to {found['high']:+.4f} | {found['word']}"


def cost_table(measured):
    """Return what a step takes with each strategy, and the tokens that pass forward once more."""
    how = f"the least of {PERIODS - 1} stretches of 10 steps with an observation each"
    lines = [*costs(measured, WAYS, how), "### Forward passes on top", ""]
    lines += ["| way | 3 sources | 6 sources |", "|---|---|---|"]
    for way in WAYS:
        extra = measured["extra"][way]
        lines.append(f"| {way} | {' | '.join(f'{extra[k]:.2f}' for k in ('3', '6'))} |")
    return [*lines, ""]


HEAD = """# Every strategy on two settings of texts

"""


def write(folder):
    """Write results/online_text.md and its plots."""
    results = Path(__file__).with_name("results")
    for what in SETTINGS:
        if (path := folder / what / "summary.json").exists():
            plot(what, json.loads(path.read_text()), results / f"online_text-{what}.svg")
    (results / "online_text.md").write_text((HEAD + table(folder)).rstrip() + "\n")


def main():
    """Parse and do."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("do", choices=["run", "cost", "table"])
    parser.add_argument("what", choices=[*SETTINGS], nargs="?")
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--folder", type=Path, default=Path("runs/online_text"))
    parser.add_argument("--cores", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--write", action="store_true", help="also write results/online_text.md and its plots")
    arguments = parser.parse_args()
    if arguments.do == "run":
        what = arguments.what or parser.error(f"run what: {' or '.join(SETTINGS)}?")
        made = configuration(what, arguments.data.resolve(), arguments.cores)
        run(made, arguments.folder / what, f"python benchmarks/online_text.py run {what}")
    elif arguments.do == "cost":
        measure_costs(arguments.data, arguments.folder, arguments.rounds)
    else:
        print(table(arguments.folder))
        if arguments.write:
            write(arguments.folder)


if __name__ == "__main__":
    main()
