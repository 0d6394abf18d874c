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
import threading
import time
from functools import cache
from itertools import pairwise
from pathlib import Path

from pike import MODEL, SETTINGS, config, costs, plot, run, small_stores, weights

TOKENS, BATCH, CONTEXT, EVERY = 204_800, 16, 64, 5
SEEDS = 3
SMALL = {**MODEL, "hidden_size": 64, "num_hidden_layers": 2}
BALANCED = {"name": "BalancedPiKE", "tau": 2, "rule": "restoring", "loss": "loss", "wrap": ["Guard"]}
PIKE = {"name": "PiKE", "rule": "restoring", "wrap": ["Guard"]}  # without Every: as it was when this was measured
ARMS = [
    "uniform",
    "natural",
    {"name": "PiKE", "strategy": PIKE},
    {"name": "Balanced-PiKE 2", "strategy": BALANCED},
    "GroupDRO",
    "ODM",
    {"name": "ADO, warm-up 10", "strategy": {"name": "ADO", "warmup": 10, "refit": 5}},
    "DoGE",
    {"name": "DoGE, then fixed", "search": "doge"},
    {"name": "DoGE, not charged", "search": "doge", "charge": False},
    {"name": "DoReMi, then fixed", "search": "doremi"},
    {"name": "DoReMi, not charged", "search": "doremi", "charge": False},
    "SkillIt",
    "Aioli",
    "LossRatio",
    {"name": "LossRatio, not charged", "strategy": "LossRatio", "charge": False},
]
PERIODS = 12  # of 10 steps, in a training for its cost
WAYS = {
    "PiKE": PIKE,
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


def in_turn(stores, strategy, more):
    """
    Return the CPU seconds of each 10 steps with fixed weights, and with a strategy: [2, PERIODS].

    Two trainings take turns, 10 steps each, so that what else runs on the machine slows both alike.
    """
    from mixwright.text import byte_tokenizer
    from mixwright.training import TrainingSettings, train

    turns, at = (threading.Semaphore(1), threading.Semaphore(0)), ([], [])

    def training(number, weights, more):
        mine, other = turns[number], turns[1 - number]

        def progress(stage, done, total, note):
            if done % 10 == 0:
                at[number].append(time.thread_time())
                other.release()
                mine.acquire()

        settings = TrainingSettings(steps=PERIODS * 10 + 10, batch_size=BATCH, context=CONTEXT, checkpoint_seconds=1e6)
        with tempfile.TemporaryDirectory() as place, mine:
            train(SMALL, stores, weights, settings, place, byte_tokenizer(), progress, **more)
        other.release()

    uniform = threading.Thread(target=training, args=(0, [1 / len(stores)] * len(stores), {}))
    uniform.start()
    training(1, strategy, more)
    uniform.join()
    return [[b - a for a, b in pairwise(times)][:PERIODS] for times in at]


def measure_costs(data, folder):
    """Write FOLDER/cost.json: what 10 steps take with each strategy, over 10 steps with fixed weights beside them."""
    from mixwright.strategies import from_config

    found, extra = {}, {}
    for what, (sources, _) in SETTINGS.items():
        found[what], plain = {"ratios": {}}, []
        with tempfile.TemporaryDirectory() as place:
            stores = small_stores(data, sources, Path(place))
            for way, given in WAYS.items():
                strategy, passed = from_config(given, sources), []
                more = observed(stores, strategy, passed)
                fixed, took = in_turn(stores, strategy, more)
                plain += fixed
                found[what]["ratios"][way] = [b / a for a, b in zip(fixed, took, strict=True)]
                each = sum(passed) / ((PERIODS + 1) * 10 * BATCH * CONTEXT)
                extra.setdefault(way, []).append(each + (more["reference"] is not None))
                print(what, way, f"{statistics.median(found[what]['ratios'][way]):.3f}", flush=True)
        found[what]["plain"] = statistics.median(plain) / 10
        (folder / "cost.json").write_text(json.dumps({"found": found, "extra": extra}))


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
    lines = [*costs(measured, WAYS, HOW.splitlines()), "### Forward passes on top", "", *PASSES.splitlines(), ""]
    lines += [f"| way | {' | '.join(measured['found'])} |", "|---|" + "---|" * len(measured["found"])]
    for way in WAYS:
        lines.append(f"| {way} | {' | '.join(f'{extra:.2f}' for extra in measured['extra'][way])} |")
    return [*lines, ""]


HOW = f"""CPU time of 10 steps over that of 10 steps with fixed weights: median of {PERIODS} such stretches (least to
largest), one thread. The two trainings take turns, so that what else runs on the machine slows both. Settings have
their defaults: an observation every 10 steps, statistics of 4 of them; rows and model as above. Statistics, held-out
losses, the reference's passes, strategy and log are in it. References and proxy runs, which come before, are not."""
PASSES = """Tokens that go forward once more, for each token that is trained on: held-out losses (5,000 tokens of each
source at each observation, of 10,240 tokens that are trained on here) and the reference. A forward pass alone is about
a third of a step. Where steps have more tokens, or observations are rarer, held-out losses cost less in proportion."""
HEAD = """# Every strategy on two settings of texts

`python benchmarks/online_text.py run languages`, `... run domains`, `... cost`, `... table --write`; a GPT-NeoX of .13
million parameters over bytes (2 layers of 64), rows of 64 bytes, 16 in a step, 200 steps, AdamW, learning rate .002
with a cosine, x86-64 CPU, one thread a training, three paired seeds. Sources are as in [`pike.md`](pike.md). The model
is an eighth as large and sees a fifth of the bytes, so that a setting ends in half an hour on a busy machine.

Weights start uniform, strategies observe every 5 steps (gradients of 2 of them) and act on the next step: 40 updates.
They have their defaults, but for two. ADO waits 10 updates and fits its laws every 5: by default it would wait for all
40. Balanced-PiKE is the restoring rule in a Guard with tau 2, on training losses. PiKE is what the name alone gives in
a configuration: restoring, in a Guard.

"Then fixed": the mean weights of a proxy run that observes every step (`search: doremi`, `search: doge`), for a final
training. References and proxies are of the same model, with a quarter of the steps. Their cost is taken out of the
200 steps ("charged", in tokens), and so are the passes of a reference. "Not charged" has all 200 steps.

UniMax is uniform here, since no source is gone through once. GRAPE is missing: it needs gradients of targets, which
no comparison measures yet. Held-out losses that a strategy reads are of other documents than the results.
"""
NOTE = """
What they say:

- **No method is better than uniform on the average of the sources, in either setting.** Those that cost nothing, or are
  not charged, are within .010 of it on the languages and .021 on the domains, inside the intervals. Natural weights
  are no better either; the sources are of similar size.
- **Charged, references and proxy runs are worse** (by .05 to .26): they take a quarter to more than half of these short
  trainings. A real run is longer, and the share smaller. Not charged, they are no better on average.
- **The worst source, languages** (English): none is better. DoReMi and LossRatio are worse even if they are not charged
  (+.086 and +.046): they give about half of the rows to Japanese, the language with the least loss per byte. SkillIt,
  GroupDRO and Balanced-PiKE are .006 to .010 below uniform, no better.
- **The worst source, domains** (LaTeX). **Balanced-PiKE 2 is better**: -.043 (-.084 to -.001, all three seeds), and no
  better on average (+.006). GroupDRO (-.035) and SkillIt (-.019) are no better. PiKE (+.060), Aioli (+.047), DoGE and
  LossRatio, not charged (+.072, +.047), are worse: they give LaTeX fewer rows than uniform. PiKE gains on code (-.10),
  whose gradients are large.
- **Who moves.** ODM and SkillIt, and DoGE on the languages, stay near their start. Balanced-PiKE takes most from
  Japanese (.10 of the rows). Aioli's weights are perturbations in a quarter of the updates (its last ones on the
  languages are one).
- **Small and short.** .13 million parameters and .2 million bytes: losses fall fast everywhere, and 40 updates are few.
  Differences below .01 to .03 are not seen. It says that no method pays by itself, not that none can pay.
- PiKE and Balanced-PiKE were measured before sources that are too small to be measured came back from their floor
  (decision 212).
- The two arms "DoGE, not charged" and "LossRatio, not charged" were added after the others had been seen. All
  intervals hold for the sixteen arms together.
"""


def write(folder):
    """Write results/online_text.md and its plots."""
    results = Path(__file__).with_name("results")
    for what in SETTINGS:
        if (path := folder / what / "summary.json").exists():
            plot(what, json.loads(path.read_text()), results / f"online_text-{what}.svg")
    (results / "online_text.md").write_text((HEAD + NOTE + "\n" + table(folder)).rstrip() + "\n")


def main():
    """Parse and do."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("do", choices=["run", "cost", "table"])
    parser.add_argument("what", choices=[*SETTINGS], nargs="?")
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--folder", type=Path, default=Path("runs/online_text"))
    parser.add_argument("--cores", type=int, default=2)
    parser.add_argument("--write", action="store_true", help="also write results/online_text.md and its plots")
    arguments = parser.parse_args()
    if arguments.do == "run":
        what = arguments.what or parser.error(f"run what: {' or '.join(SETTINGS)}?")
        made = configuration(what, arguments.data.resolve(), arguments.cores)
        run(made, arguments.folder / what, f"python benchmarks/online_text.py run {what}")
    elif arguments.do == "cost":
        measure_costs(arguments.data, arguments.folder)
    else:
        print(table(arguments.folder))
        if arguments.write:
            write(arguments.folder)


if __name__ == "__main__":
    main()
