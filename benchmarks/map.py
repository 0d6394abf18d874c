"""
When does each method help? One thing is varied at a time, on small models trained on real text.

    python benchmarks/map.py run A|B [REGIME ...] --data ../shared/data --folder runs/map
    python benchmarks/map.py table --write

A regime changes one thing of the plain one: four English sources of 400 kB. Half A has other sources than half
B: settings are chosen on A, the verdicts on B are of seeds and texts that nothing was chosen on. What was trained is
kept in results/rows/map.jsonl, a line for each arm and seed: a run goes on where it was, also on another machine.
"""

from __future__ import annotations

import argparse
import gzip
import json
import random
import statistics
from collections.abc import Callable
from pathlib import Path

import numpy as np

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
from online_text import BALANCED, PIKE, SMALL
from summaries import panels

ROWS = rows_path("map")
HALVES = {
    "A": ("books_en", "code_python_stdlib", "math_latex", "web_k8s_en"),
    "B": ("encyclopedia_factbook", "pydocs_en", "shakespeare", "spec_peps"),
}
TARGETS = {"A": "pydocs_en", "B": "web_k8s_en"}  # of the searches; no source of its half
SEEDS = {"A": 3, "B": 5}
FIRST_SEED = {"A": 100, "B": 0}
BYTES, PIECE = 400_000, 2_000
FINAL = {
    "tokens": 204_800,
    "context": 64,
    "batch_size": 16,
    "learning_rate": 2e-3,
    "evaluate_every": 1_000,
    "observe_every": 5,
    "statistics_steps": 2,
    "lag": 1,
}
ARMS = [
    "uniform",
    "natural",
    {"name": "PiKE", "strategy": PIKE},
    {"name": "Balanced-PiKE 2", "strategy": BALANCED},
    "GroupDRO",
    "ODM",
    {"name": "ADO", "strategy": {"name": "ADO", "warmup": 10, "refit": 5}},
    "DoGE",
    {"name": "DoReMi", "strategy": "DoReMi", "charge": False},
]
SEARCHES = [
    "natural",
    {"name": "best single", "baseline": "best_single", "charge": False},
    {"name": "MixMin", "search": "mixmin", "charge": False},
    {"name": "MixMin, count models", "search": "mixmin", "proxy": "ngram"},
]
KNOBS = {  # group: what the final trainings have otherwise, and the arms
    "rule and tau": (
        {},
        [
            {"name": "PiKE exponentiated", "strategy": {"name": "PiKE", "rule": "exponentiated"}},
            {"name": "PiKE optimal", "strategy": {"name": "PiKE", "rule": "optimal"}},
            {"name": "PiKE, no variance", "strategy": {"name": "PiKE", "rule": "exponentiated", "variance": False}},
            {
                "name": "PiKE, floor .1",
                "strategy": {"name": "PiKE", "rule": "exponentiated", "wrap": [{"name": "Floor", "floor": 0.1}]},
            },
            {"name": "Balanced-PiKE 1", "strategy": {**BALANCED, "tau": 1}},
            {"name": "Balanced-PiKE 4", "strategy": {**BALANCED, "tau": 4}},
        ],
    ),
    "adam": (
        {"statistics_metric": "adam"},
        [
            {"name": "PiKE, Adam's metric", "strategy": PIKE},
            {"name": "Balanced-PiKE 2, Adam's metric", "strategy": BALANCED},
        ],
    ),
    "pooled": (  # observed as all others, updated every 20 steps with what was observed in between
        {},
        [
            {
                "name": "PiKE, Every 20",
                "strategy": {"name": "PiKE", "rule": "restoring", "wrap": [{"name": "Every", "steps": 20}, "Guard"]},
            },
            {
                "name": "Balanced-PiKE 2, Every 20",
                "strategy": {**BALANCED, "wrap": [{"name": "Every", "steps": 20}, "Guard"]},
            },
        ],
    ),
    "seldom": (
        {"observe_every": 20, "statistics_steps": 4},
        [
            {"name": "PiKE, every 20 steps", "strategy": PIKE},
            {"name": "Balanced-PiKE 2, every 20 steps", "strategy": BALANCED},
        ],
    ),
}
CHECKED = (  # on half B, by what half A said
    "PiKE exponentiated",
    "Balanced-PiKE 1",
    "PiKE, Adam's metric",
    "PiKE, every 20 steps",
    "Balanced-PiKE 2, every 20 steps",
    "PiKE, Every 20",
    "Balanced-PiKE 2, Every 20",
)
_BOILERPLATE, _DUPLICATES, _NOISE, _SHIFTED = "boilerplate", "near duplicates", "noise", "shifted letters"
MADE = (_BOILERPLATE, _DUPLICATES, _NOISE, _SHIFTED)  # no real texts
HEAD = """# When does each method help?

`python benchmarks/map.py run A`, `... run B`, `... table --write`; a GPT-NeoX of .13 million parameters over bytes
(2 layers of 64), rows of 64 bytes, 16 in a step, 200 steps unless a regime says otherwise, AdamW, learning rate .002
with a cosine, x86-64 CPU. Strategies observe every 5 steps and have their defaults, except where a name says otherwise;
ADO waits 10 updates and fits every 5. References are of the same model with a quarter of the steps, not charged.
Average and worst are over the sources of real text: what was made (boilerplate, near duplicates, noise, shifted
letters) is drawn and trained on, but is not in them.

| regime | |
|---|---|
"""
NOTE = """
![Average](map-average.svg)

![Worst source](map-worst.svg)

What half B says, with five seeds. `PiKE` is updated at each observation, as it was when this began; as a name it is
"PiKE, Every 20" now:

- **On plain texts no strategy is better than uniform**, on average or on the worst source. All are within .005 of it
  on average, but PiKE, which is worse (+.010). There is little to win: if the sources did not help each other, the
  best fixed weights would take 1 % off where one source has twice as much to learn
  ([below](#what-could-be-won-at-most)). Of the worst source they would take 13 to 34 %.
- **Boilerplate is a trade.** Its loss falls to .80 under uniform, that of the texts to 2.6. What follows losses takes
  rows from it: DoReMi, GroupDRO and Balanced-PiKE give it .09, .13 and .13 of the rows in place of .25. The texts are
  better (-.100, -.081, -.075; half A: -.093, -.094, -.062), the boilerplate is worse (2.47, 1.83 and 1.68 in place of
  .80). Counted with the texts, all three would be worse than uniform (+.34, +.20, +.16). So it is a gain where nobody
  wants the boilerplate, and then fixed weights with little of it, which were no arm here, may do as well.
- **PiKE and ADO do the opposite:** .43 and .49 of the rows go to the paragraph, and the texts pay (+.128, +.129).
  Counted with it, they equal uniform. PiKE takes a large gradient for much to be won. In the log of one run the
  paragraph's |g|^2 stays as large as that of the texts (.3 to 2.3) while its training loss falls to .3, and more than
  that cannot be won there. Near a minimum |g|^2 is about twice the curvature times what is left.
- **Near-duplicates make no difference yet:** in 200 steps the page is not learnt by heart, and no arm differs.
- **A noisy source draws whatever follows losses.** Balanced-PiKE, GroupDRO and DoReMi give it .61, .41 and .34 of the
  rows in place of .20, and all other texts pay: +.140, +.061 and +.051 on average, worse. DoReMi's reference has a
  quarter of the steps, so the model soon beats it on real texts, and the noise may be all that keeps an excess (not
  checked). **ADO and DoGE are better** (-.012, -.007; ADO on the worst source, too, -.029). ADO follows how fast a loss
  still falls, and gives the noise .15 of the rows. ODM and PiKE are no better or worse.
- **A conflicting source** draws PiKE and Balanced-PiKE (.28 and .32 of the rows in place of .20): +.040 and +.045,
  worse.
- **Unequal sizes** (400 to 26 kB, the smallest seen twice): natural shares are worse (+.072), PiKE too (+.013), and
  nothing is better. On the worst source Balanced-PiKE is worse (+.034). Before, this regime was cut in pieces of 2,000
  characters, so that no source was below 70 kB and none repeated. Balanced-PiKE was better on the worst source there
  (-.031): what is described shows no such gain.
- **A source that is gone through six times** is where static shares matter. Natural shares are better on average
  (-.035) and worse on the worst source (+.047): the 20 kB get .02 of the rows. No strategy is better on either.
- **Before, PiKE was stuck.** In batches of 16 a source at its floor has too few rows to be measured, and stayed there
  (decision 212). Both PiKEs were trained again after it; averages moved by at most .006, worst sources by at most
  .016.
- **Read with care.** Each column of a table has its own 5 %, and there are 14: expect a false verdict somewhere.
  The regimes "noisy" and "conflicting" were trained again, with a fifth source of text that no other source has.
  Before, held-out pieces were in it in another form; PiKE was then worse with noise (+.019), and ADO no better.
- **With a target, a search helps where strategies do not.** The target is Kubernetes' documentation, which no source
  has. MixMin, count models (charged) and the best single source are better there than uniform: on plain texts by .036,
  .044 and .051, with noise by .033, .032 and .034, with unequal sizes by .040, .023 and .016. MixMin gives the noise
  .03 of the rows in place of .20. Other texts pay (+.008 to +.052 on average with MixMin, +.051 to +.100 with count
  models, +.074 to +.137 with one source). With unequal sizes the smallest source is most like the target, has half of
  the rows, and is seen four times. Neural proxies and the best single source are not charged.
- **Half A says the same** in the five regimes that it has: natural is worse where sizes differ (+.037), PiKE is worse
  in three, Balanced-PiKE, GroupDRO and DoReMi with noise (+.116, +.064, +.062), and ADO is better there (-.020).
- **How often a strategy acts matters most.** On half A, of fourteen settings of PiKE and Balanced-PiKE, an update every
  20 steps with all that was observed in between (`Every`) is the best, on average and on the worst source: PiKE +.015
  in place of +.053, Balanced-PiKE -.001 in place of +.013. The exponentiated and the optimal rule, a floor of .1 and no
  variance are worse than the restoring rule in a Guard. Adam's metric and tau change the means by less.
- **Half B confirms the interval:** PiKE is then no worse on plain texts and unequal sizes (+.002 each; it was worse,
  +.010 and +.013), **better with noise** (-.005) and still worse with a conflicting source (+.015; it was +.040).
  On the worst source it is still worse with unequal sizes (+.021; it was +.073) and the conflict (+.010; +.080).
  Balanced-PiKE halves its loss with noise (+.059) and with the conflict (+.026). The exponentiated rule and Adam's
  metric are worse in all four. So `PiKE` as a name has `Every` 20 since (decision 267). In 200 steps that is ten
  updates: weights that move less harm less, and with noise what PiKE sees is right.
- **Not run:** the regime "long"; on half A "repeated" and "soon learnt"; searches in the other regimes.
"""
LIMITS = """\
Four sources that do not help each other. The reducible loss of a source after n of its tokens is A n^-slope; A is
the same for three of them, and larger or smaller for the fourth by the factor at the head of a column. Percent of
the reducible loss that the best fixed weights take off that of equal shares:
"""
Documents = dict[str, list[str]]


def read(data: Path, names: tuple[str, ...], start: int = 0) -> Documents:
    """Return pieces of about 2,000 characters of each source, 400 kB in a fixed random order, after `start` bytes."""
    made = {}
    for name in names:
        with gzip.open(data / "text" / f"{name}.jsonl.gz", "rt", encoding="utf-8") as lines:
            texts = [json.loads(line)["text"] for line in lines]
        pieces = [text[i : i + PIECE] for text in texts for i in range(0, len(text), PIECE)]
        random.Random(name).shuffle(pieces)
        before = len(first(pieces, start)) if start else 0
        made[name] = first(pieces[before:], BYTES)
    return made


def first(pieces: list[str], size: int) -> list[str]:
    """Return the first pieces that are at most so many bytes together; at least 40, to hold some out."""
    kept, total = [], 0
    for piece in pieces:
        total += len(piece.encode())
        if total > size and len(kept) >= 40:
            break
        kept.append(piece)
    return kept


def imbalance(found: Documents, _: Documents) -> Documents:
    """Make each source 2.5 times smaller than the one before it, in pieces of 400 characters."""
    short = {
        name: [piece[i : i + 400] for piece in pieces for i in range(0, len(piece), 400)]
        for name, pieces in found.items()
    }
    return {name: first(pieces, round(BYTES / 2.5**i)) for i, (name, pieces) in enumerate(short.items())}


def repeated(found: Documents, _: Documents) -> Documents:
    """Cut the last source to 20 kB, in pieces of 250 characters."""
    *others, last = found
    short = [piece[:250] for piece in found[last]]
    return {name: found[name] for name in others} | {last: first(short, 20_000)}


def soon_learnt(found: Documents, _: Documents) -> Documents:
    """Put near-duplicates in the place of the last source: its first piece with 5 % of the characters changed."""
    *others, last = found
    chance, text = random.Random(1), found[last][0]
    copies = ["".join(c if chance.random() > 0.05 else chance.choice("etaoin ") for c in text) for _ in found[last]]
    return {name: found[name] for name in others} | {_DUPLICATES: copies}


def boilerplate(found: Documents, _: Documents) -> Documents:
    """Put boilerplate in the place of the last source: the first 300 characters of it, over and over."""
    *others, last = found
    text = found[last][0][:300]
    pages = [f"Page {number}\n" + text * (PIECE // 300) for number in range(len(found[last]))]
    return {name: found[name] for name in others} | {_BOILERPLATE: pages}


def noisy(found: Documents, more: Documents) -> Documents:
    """Add a fifth source: more text of the first one with four of ten characters replaced by random ones."""
    chance, letters = random.Random(2), "".join(chr(i) for i in range(33, 127))
    first = next(iter(more.values()))
    noise = ["".join(c if chance.random() > 0.4 else chance.choice(letters) for c in text) for text in first]
    return found | {_NOISE: noise}


def conflicting(found: Documents, more: Documents) -> Documents:
    """Add a fifth source: more text of the second, letters shifted by 13. What one teaches is wrong for the other."""
    table = {
        ord(c): chr((ord(c) - base + 13) % 26 + base) for base in (65, 97) for c in map(chr, range(base, base + 26))
    }
    second = list(more.values())[1]
    return found | {_SHIFTED: [text.translate(table) for text in second]}


def same(found: Documents, _: Documents) -> Documents:
    """Change nothing."""
    return found


Change = Callable[[Documents, Documents], Documents]
REGIMES: dict[str, tuple[Change, dict, str]] = {  # of 400 kB of each source, and of the 400 kB after them
    "plain": (same, {}, "four sources of 400 kB, each seen in part"),
    "imbalance": (imbalance, {}, "400, 160, 64 and 26 kB: equal shares go twice through the smallest"),
    "repeated": (
        repeated,
        {"tokens": 409_600},
        "the last source has 20 kB: equal shares go through it six times, in twice the steps",
    ),
    "soon learnt": (soon_learnt, {}, "the last source is one page, with 5 % of its characters changed each time"),
    "boilerplate": (
        boilerplate,
        {"tokens": 409_600},
        "the last source is one paragraph of 300 characters, over and over; twice the steps",
    ),
    "noisy": (noisy, {}, "a fifth source is more text of the first, with 40 % random characters"),
    "conflicting": (conflicting, {}, "a fifth source is more text of the second, with shifted letters"),
    "long": (same, {"tokens": 819_200}, "as plain, four times the steps"),
}


def written(documents: Documents, folder: Path) -> dict[str, str]:
    """Write each source as JSON lines, unless it is there; return the paths."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = {}
    for name, texts in documents.items():
        path = folder / f"{name.replace(' ', '_')}.jsonl"
        if not path.exists():
            path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts), encoding="utf-8")
        paths[name] = str(path.resolve())
    return paths


def config(regime: str, half: str, data: Path, folder: Path, changes: dict, arms: list, cores: int) -> dict:
    """Return the configuration of a comparison; searches have a target."""
    change, longer, words = REGIMES[regime]
    name = TARGETS[half]
    target = written(read(data, (name,)), folder / "text" / half) if any(arm in SEARCHES[1:] for arm in arms) else {}
    sources = change(read(data, HALVES[half]), read(data, HALVES[half], start=BYTES))
    return {
        **({"targets": target} if target else {}),
        "title": f"{regime}, half {half}: {words}",
        "sources": written(sources, folder / "text" / f"{half}_{regime.replace(' ', '_')}"),
        "held_out": 0.1,
        "tokenizer": "bytes",
        "model": SMALL,
        "proxy": {"tokens": FINAL["tokens"] // 4},
        "final": {**FINAL, **longer, **changes},
        **({"reference": {"train": "prior"}} if ARMS[-1] in arms else {}),
        "arms": arms,
        "seed": FIRST_SEED[half],
        "seeds": SEEDS[half],
        "compute": {"cores": cores},
    }


def run(regime: str, half: str, data: Path, folder: Path, cores: int, only: tuple[str, ...] = ()) -> None:
    """Train the arms of a regime that are not there yet, group by group."""
    from mixwright.experiment import drive, make
    from summaries import shower

    groups = {"methods": ({}, ARMS), "searches": ({}, SEARCHES), **(KNOBS if half == "A" else checked())}
    for group, (changes, arms) in groups.items():
        done = done_arms(read_rows(ROWS, regime=regime, half=half, group=group), SEEDS[half])
        missing = [arm for arm in arms if named(arm) not in done]
        if not missing or (only and group not in only):
            continue
        # uniform is the same training in each group of its settings: a pair for each seed
        trained = missing if "uniform" in missing else ["uniform", *missing]
        made = make("compare", config(regime, half, data, folder, changes, trained, cores))
        part = "" if len(missing) == len(arms) else "_" + "_".join(map(named, missing))
        place = folder / "runs" / f"{half}_{regime}_{group}{part}".replace(" ", "_")
        summary = drive(made, place, shower(), "python benchmarks/map.py run")
        keep(summary, regime, half, group)
        print(regime, half, group, summary["verdict"], flush=True)


def checked() -> dict[str, tuple[dict, list]]:
    """Return the settings that were chosen on half A, and the one that they replace: half B checks them."""
    found = {name: (changes, [arm for arm in arms if named(arm) in CHECKED]) for name, (changes, arms) in KNOBS.items()}
    return {name: (changes, arms) for name, (changes, arms) in found.items() if arms}


def keep(summary: dict, regime: str, half: str, group: str) -> None:
    """Add a line for each arm and seed that is not there."""
    lines = []
    for arm in summary["arms"]:
        for i, seed in enumerate(summary["seeds"]):
            row = {"regime": regime, "half": half, "group": group, "arm": arm["name"], "seed": seed}
            row["machine"] = machine()
            row["loss"] = measured(summary, "source", arm["name"], i)
            if group == "searches":
                row["target"] = measured(summary, "target", arm["name"], i)
            (mixture,) = arm["mixtures"]
            row["weights"] = {source: round(values[i], 4) for source, values in mixture["weights"].items()}
            row["epochs"] = {source: round(values[i], 3) for source, values in mixture["epochs"].items()}
            lines.append(row)
    keep_new(ROWS, lines, ("regime", "half", "group", "arm", "seed"))


def measured(summary: dict, kind: str, arm: str, seed: int) -> dict[str, float]:
    """Return an arm's losses of a kind; an arm with a mixture for its target is named with it: "MixMin (web)"."""
    found = {m["name"]: m["values"] for m in summary["measures"] if m["kind"] == kind}
    named = {arm, *(f"{arm} ({target})" for target in TARGETS.values())}
    return {name: round(next(v for a, v in values.items() if a in named)[seed], 6) for name, values in found.items()}


def average(row: dict) -> float:
    """Return the average over the sources of real text."""
    return statistics.mean(loss for source, loss in row["loss"].items() if source not in MADE)


def worst(row: dict) -> float:
    """Return the largest loss of the sources of real text."""
    return max(loss for source, loss in row["loss"].items() if source not in MADE)


def on_target(row: dict) -> float:
    """Return the loss on the one target of a search."""
    (loss,) = row["target"].values()
    return loss


MEASURES = {"average": average, "worst source": worst}


def differences(half: str, value: Callable[[dict], float], group: str = "methods") -> dict[str, Differences]:
    """Return what each arm of a half has more than uniform, by regime."""
    found = by_regime(read_rows(ROWS, half=half, group=group), REGIMES)
    return {regime: judged(rows, value) for regime, rows in found.items()}


def settings(half: str) -> list[str]:
    """Return what each setting does, as means over the regimes of a half that have all of them."""
    lines = ["| | average | worst source | regimes better / worse, average | ... worst source |", "|---" * 5 + "|"]
    groups = ("methods", *(KNOBS if half == "A" else checked()))
    found = [[differences(half, value, group) for value in MEASURES.values()] for group in groups]
    shared = [name for name in REGIMES if all(name in by_measure[0] for by_measure in found)]
    for by_measure in found:
        for arm in dict.fromkeys(arm for name in shared for arm in by_measure[0][name]):
            own = [[by_regime[name][arm] for name in shared] for by_regime in by_measure]
            means_ = [f"{statistics.mean(d.difference for d in each):+.4f}" for each in own]
            words = [[sum(d.word == word for d in each) for word in ("better", "worse")] for each in own]
            lines.append(f"| {arm} | {' | '.join(means_)} | {' | '.join(f'{b} / {w}' for b, w in words)} |")
    return [f"Regimes: {', '.join(shared)}.", "", *lines, ""]


def shares(half: str) -> list[str]:
    """Return the share of the rows that the last source had over the whole training, by arm and regime; seeds' mean."""
    rows = read_rows(ROWS, half=half, group="methods")
    uniform = {(row["regime"], row["seed"]): row["epochs"] for row in rows if row["arm"] == "uniform"}

    def share(row: dict) -> float:
        last = list(row["epochs"])[-1]
        return row["epochs"][last] / uniform[row["regime"], row["seed"]][last] / len(row["epochs"])  # of equal shares

    return means(by_regime(rows, REGIMES), share)


def made_losses(half: str) -> list[str]:
    """Return the loss of the source that was made, by arm and regime; means over seeds."""

    def loss(row: dict) -> float | None:
        return next((value for name, value in row["loss"].items() if name in MADE), None)

    return means(by_regime(read_rows(ROWS, half=half, group="methods"), REGIMES), loss)


def could_be_won(ratio: float, slope: float, k: int = 4) -> tuple[float, float]:
    """
    Return the shares of the reducible loss that the best fixed weights take off equal ones: average, worst source.

    k independent sources; the reducible loss of source i after n tokens is A_i n^-slope. A is `ratio` for one source
    and 1 for the others. The least average has w ~ A^(1 / (1 + slope)), the least worst has all A_i w_i^-slope equal.
    """
    scale = np.array([ratio] + [1.0] * (k - 1))
    equal = scale * k**slope
    shares = scale ** (1 / (1 + slope))
    best = scale * (shares / shares.sum()) ** -slope
    worst = np.sum(scale ** (1 / slope)) ** slope  # sum of (A_i / worst)^(1 / slope) is 1
    return 1 - best.mean() / equal.mean(), 1 - worst / equal.max()


def limits() -> list[str]:
    """Return the table of what could be won."""
    ratios, slopes = (0.1, 0.5, 1, 1.5, 2, 4, 10), (0.1, 0.3, 0.5)
    lines = [f"| | {' | '.join(f'{ratio:g}' for ratio in ratios)} |", "|---" * (len(ratios) + 1) + "|"]
    for i, measure in enumerate(MEASURES):
        for slope in slopes:
            shares = [f"{100 * could_be_won(ratio, slope)[i]:.1f}" for ratio in ratios]
            lines.append(f"| {measure}, slope {slope:g} | {' | '.join(shares)} |")
    return [*lines, ""]


def table() -> str:
    """Return the Markdown of all that was trained."""
    lines = []
    for half, words in (("B", "Verdicts"), ("A", "The half that settings are chosen on")):
        if not read_rows(ROWS, half=half):
            continue
        seeds = f"seeds {FIRST_SEED[half]} to {FIRST_SEED[half] + SEEDS[half] - 1}"
        lines += [f"## {words}: half {half} ({', '.join(HALVES[half])}; {seeds})", ""]
        for measure, value in MEASURES.items():
            lines += [f"### {measure.capitalize()}, minus uniform, nats per byte", "", *grid(differences(half, value))]
        lines += ["### Share of the rows that the last source had", "", *shares(half)]
        lines += ["### Loss of what was made, nats per byte (in no measure)", "", *made_losses(half)]
        if searched := differences(half, on_target, "searches"):
            lines += [f"### Searches: loss on {TARGETS[half]} (no source), minus uniform, nats per byte", ""]
            lines += grid(searched)
    for half, words in (("A", "all, on half A"), ("B", "those that half A chose, and what they replace, on half B")):
        lines += [f"## Settings: {words}; means over regimes, minus uniform", ""]
        lines += settings(half)
    lines += ["## What could be won at most", "", LIMITS, *limits()]
    return "\n".join(lines)


def regimes() -> str:
    """Return the rows of the table of regimes."""
    return "".join(f"| {name} | {words} |\n" for name, (_, _, words) in REGIMES.items())


def write() -> None:
    """Write results/map.md and its plots."""
    results = Path(__file__).with_name("results")
    for measure, value in MEASURES.items():
        words = f"{measure}, minus uniform, by regime (left is better), half B, 90 % intervals"
        pooled = differences("B", value, "pooled")  # the defaults that half A chose
        found = {name: {**arms, **pooled.get(name, {})} for name, arms in differences("B", value).items()}
        panels(results / f"map-{measure.split()[0]}.svg", words, by_arm(found))
    (results / "map.md").write_text((HEAD + regimes() + NOTE + "\n" + table()).rstrip() + "\n", encoding="utf-8")


def main() -> None:
    """Parse and do."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("do", choices=["run", "table"])
    parser.add_argument("half", choices=[*HALVES], nargs="?")
    parser.add_argument("regimes", nargs="*", help=f"default: {', '.join(REGIMES)}")
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--folder", type=Path, default=Path("runs/map"))
    parser.add_argument("--groups", nargs="*", default=[], help="on half A: methods, " + ", ".join(KNOBS))
    parser.add_argument("--cores", type=int, default=2)
    parser.add_argument("--write", action="store_true", help="also write results/map.md")
    given = parser.parse_args()
    if given.do == "run":
        for regime in given.regimes or REGIMES:
            half = given.half or parser.error("run which half: A or B?")
            run(regime, half, given.data, given.folder, given.cores, tuple(given.groups))
        return
    print(table())
    if given.write:
        write()


if __name__ == "__main__":
    main()
