"""
PiKE by its own measure: pre-training from nothing, judged on what models answer to questions.

    python benchmarks/pike_questions.py choose [domains|languages] --data ../shared/data --folder runs/pike_questions
    python benchmarks/pike_questions.py run [domains|languages] --size 1M --data ../shared/data --folder ...
    python benchmarks/pike_questions.py table --write

`choose` trains PiKE with plain norms and with Adam's, observing every 5 and every 20 steps, with seeds 100 and 101 at
the size 1M, and asks every second question of a set; the one with the least answer loss, on the mean over question sets
and seeds, is an arm of `run`, which has the seeds 0, 1 and 2 and the other questions. What was trained is kept in
results/rows/pike_questions.jsonl, a line for each arm and seed: a run goes on where it was, also on another machine.
Sizes: tiny (a smoke test), 1M and 5M (CPU), 30M and 100M (one GPU).
"""

from __future__ import annotations

import argparse
import gzip
import json
import statistics
from pathlib import Path

import numpy as np

from mapping import Differences, add_rows, grid, judged, machine, read_rows
from online_text import BALANCED, PIKE
from pike import DOMAINS

SETTINGS = {"domains": DOMAINS, "languages": ("pydocs_en", "pydocs_es", "pydocs_fr", "pydocs_ja")}
QUESTIONS = {  # name: file, how a question is written
    "arc_easy": ("arc_easy.validation", None),
    "hellaswag": ("hellaswag.validation_part", "{question}"),  # the choices go on with it
    "piqa": ("piqa.validation", None),
    "sciq": ("sciq.validation", None),
}
SIZES = {  # hidden size, layers, vocabulary; documents of a source; questions of a set, and bytes of each; the training
    "tiny": {"shape": (16, 1, 300), "documents": 12, "questions": 12, "bytes": 120, "tokens": 12_288, "rows": (4, 96)},
    "1M": {"shape": (128, 4, 2048), "documents": 200, "questions": 200, "bytes": 240, "tokens": 211_968},
    "5M": {"shape": (256, 6, 2048), "documents": 200, "questions": 200, "bytes": 240, "tokens": 409_600},
    "30M": {
        "shape": (512, 8, 8192),
        "documents": 200,
        "questions": 900,
        "bytes": 900,
        "tokens": 8_388_608,
        "rows": (32, 512),
    },
    "100M": {"shape": (768, 12, 16_384), "questions": 900, "bytes": 900, "tokens": 16_777_216, "rows": (64, 512)},
}
KEPT = Path(__file__).with_name("results") / "rows" / "pike_questions.jsonl"
CHOOSING, JUDGING = 100, 0  # the first seed of each
CANDIDATES = {
    f"PiKE, {metric}, every {every}": {"strategy": PIKE, "statistics_metric": metric, "observe_every": every}
    for metric in ("plain", "adam")
    for every in (5, 20)
}
ARMS = {
    "uniform": {"baseline": "uniform"},
    "natural": {"baseline": "natural"},
    "PiKE": {"strategy": PIKE},
    "PiKE, adam": {"strategy": PIKE, "statistics_metric": "adam"},
    "Balanced-PiKE 2": {"strategy": BALANCED},
    "Balanced-PiKE 3": {"strategy": {**BALANCED, "tau": 3}},
    "worst regret, counts": {"search": "worst_regret"},
}
FEWER = {  # what a size, or a setting, has of these arms; the tuned one comes beside
    "5M": ("uniform", "PiKE", "Balanced-PiKE 2"),
    "100M": ("uniform", "PiKE", "PiKE, adam", "Balanced-PiKE 2"),
    "languages": ("uniform", "natural", "PiKE", "PiKE, adam", "Balanced-PiKE 2"),
}
JUDGED = {  # quantity and name of a measure: in words
    ("answer loss", "average of targets"): "answer loss, mean of sets",
    ("accuracy", "average of targets"): "accuracy, mean of sets",
    ("held-out loss", "average of sources"): "loss, average of sources",
    ("held-out loss", "worst source"): "loss, worst source",
}
HIGHER = {"accuracy"}
HEAD = """# PiKE by its own measure: what models answer

`python benchmarks/pike_questions.py choose`, `... run --size 1M`, `... table --write`. GPT-NeoX models with tied
embeddings, from nothing, on BPE tokens of the sources; AdamW, learning rate .002 (100M: .001) with a cosine. `domains`
are six English sources, `languages` the documentation of Python in four. Question sets are arc_easy, hellaswag, piqa
and sciq, in English, a question with its longest choice at most {short} bytes (GPU: {long}). The choice of settings has
every second question of a set, the verdict the others, and half of these are for the search. Answer loss is nats per
byte of the right answer, accuracy the share where the right choice has the highest log-likelihood per byte, losses of
sources are nats per token. PiKE and Balanced-PiKE have the library's defaults, but for what their names say: "adam" is
the metric of norms; "tuned" has the metric and the interval that were chosen.

Differences are to uniform, and the intervals of all arms of a column hold together.
"""
NOTE = """
## In short

- **At 1M nothing separates PiKE from uniform.** Neither PiKE nor Balanced-PiKE, with plain norms, with Adam's or with
  what was chosen, is better or worse than uniform by any of these four measures, on domains or on languages. Accuracy
  is what guessing gives: .29 where guesses have .31. So the paper's claim about accuracy cannot be seen at this size.
- **At 5M PiKE is worse where it trains.** The average of the sources is worse by .043 and the worst source by .191;
  with what was chosen on other seeds and questions, by .044 and .169. It gives math_latex, where gradients are large,
  .3 of the rows, and takes them from code and PEPs. Answers are no better or worse.
- **Balanced-PiKE 2 gives books .39 of the rows at 5M.** The average of the sources that are measured is worse (+.127).
  Answers to hellaswag and piqa, which read like books, are better by the tests of these sets; the mean over sets is no
  better.
- **What helps answers is to search for them.** The count models' worst regret has .086 nats per byte less than uniform,
  and pays with the sources (+.79 on average). It gives books .66 of the rows.
- Books and pydocs_en have no document in the held-out hundredth, so the losses of sources are of four domains.

![Domains](pike_questions-domains.svg)

![Languages](pike_questions-languages.svg)
"""
Rows = list[dict]
Measure = tuple[str, str]


def questions(data: Path, folder: Path, size: str, part: str) -> dict[str, dict]:
    """
    Write the questions that are short enough for a size; return the targets of a comparison.

    The choice has every second question of a set, and the verdict has the others.
    """
    sized = SIZES[size]
    folder.mkdir(parents=True, exist_ok=True)
    targets = {}
    for name, (file, prompt) in QUESTIONS.items():
        with gzip.open(data / "qa" / f"{file}.jsonl.gz", "rt", encoding="utf-8") as lines:
            rows = [json.loads(line) for line in lines]
        short = [r for r in rows if len(r["question"].encode()) + longest(r) <= sized["bytes"]]
        path = folder / f"{name}.jsonl"
        own = short[0 if part == "choose" else 1 :: 2]
        kept = ({key: row[key] for key in ("question", "choices", "answer")} for row in own)
        path.write_text("".join(json.dumps(row) + "\n" for row in kept), encoding="utf-8")
        written = {} if prompt is None else {"prompt": prompt}
        about = {"kind": "questions", "score": "answer", "max_documents": sized["questions"]}
        targets[name] = {"path": str(path.resolve()), **about, **written}
    return targets


def longest(row: dict) -> int:
    """Return the bytes of the longest choice."""
    return max(len(choice.encode()) for choice in row["choices"])


def config(part: str, setting: str, size: str, given: argparse.Namespace, arms: dict[str, dict]) -> dict:
    """Return the configuration of a comparison, but for its seeds."""
    sized = SIZES[size]
    hidden, layers, vocabulary = sized["shape"]
    batch, context = sized.get("rows", (12, 128))
    sample = {"max_documents": sized["documents"]} if "documents" in sized else {}
    return {
        "title": f"PiKE on {setting}, {size} parameters",
        "sources": {
            name: {"path": str(given.data.resolve() / f"text/{name}.jsonl.gz"), **sample} for name in SETTINGS[setting]
        },
        "targets": questions(given.data, given.folder / "questions" / size / part, size, part),
        "held_out": 0.01 if size != "tiny" else 0.2,
        "tokenizer": {"kind": "bpe", "vocab_size": vocabulary},
        "model": {
            "model_type": "gpt_neox",
            "hidden_size": hidden,
            "intermediate_size": 4 * hidden,
            "num_hidden_layers": layers,
            "num_attention_heads": max(2, hidden // 64),
            "tie_word_embeddings": True,
        },
        "proxy": {"kind": "ngram", "max_tokens": 400_000},
        "final": {
            "tokens": sized["tokens"],
            "context": context,
            "batch_size": batch,
            "learning_rate": 2e-3 if size != "100M" else 1e-3,
            "evaluate_every": sized["tokens"] // (batch * context),  # once, at the end
        },
        "arms": [{"name": name, **arm} for name, arm in arms.items()],
        "compute": {"cores": given.cores},
    }


def compare(part: str, setting: str, size: str, given: argparse.Namespace, arms: dict[str, dict]) -> None:
    """Train the arms with seeds that are not there yet, and keep what came out."""
    first, number = (CHOOSING, given.seeds or 2) if part == "choose" else (JUDGING, given.seeds or 3)
    done = {(row["arm"], row["seed"]) for row in read_rows(given.rows, part=part, setting=setting, size=size)}
    if {(arm, first + i) for arm in arms for i in range(number)} <= done:
        return
    from mixwright.experiment import drive, make
    from summaries import shower

    values = config(part, setting, size, given, arms) | {"seed": first, "seeds": number}
    place = given.folder / size / part / setting
    summary = drive(make("compare", values), place, shower(), f"python benchmarks/pike_questions.py {part}")
    keep(given.rows, summary, done, {"part": part, "setting": setting, "size": size, "machine": machine()})
    print(f"{part} {setting} {size}: {summary['verdict']}", flush=True)


def keep(path: Path, summary: dict, done: set, about: dict[str, str]) -> None:
    """Add a line for each arm and seed that is not there."""
    lines = []
    for arm in summary["arms"]:
        for i, seed in enumerate(summary["seeds"]):
            if (arm["name"], seed) in done:
                continue
            (mixture,) = arm["mixtures"]
            shares = {source: round(values[i], 4) for source, values in mixture["weights"].items()}
            values = [[m["quantity"], m["name"], round(m["values"][arm["name"]][i], 6)] for m in summary["measures"]]
            row = {**about, "arm": arm["name"], "seed": seed, "tokens": arm["amount"], "weights": shares}
            lines.append({**row, "values": values})
    add_rows(path, lines)


def value(row: dict, measure: Measure) -> float:
    """Return what a row has of a measure."""
    return next(found for quantity, name, found in row["values"] if (quantity, name) == measure)


def chosen(path: Path, setting: str, size: str) -> str | None:
    """Return the candidate with the least answer loss, in the choice at this size or else at 1M; None without any."""
    choices = ((path, size), (path, "1M"), (KEPT, "1M"))
    rows = next((r for p, s in choices if (r := read_rows(p, part="choose", setting=setting, size=s))), [])
    found = {
        name: [value(row, ("answer loss", "average of targets")) for row in rows if row["arm"] == name]
        for name in CANDIDATES
    }
    means = {name: statistics.mean(values) for name, values in found.items() if values}
    return min(means, key=lambda name: means[name], default=None)


def arms_of(path: Path, setting: str, size: str) -> dict[str, dict]:
    """Return the arms of a verdict; the tuned one is there once it was chosen."""
    names = [name for name in ARMS if all(name in FEWER[key] for key in (setting, size) if key in FEWER)]
    tuned = chosen(path, setting, size)
    if tuned is None:
        print(f"{setting}, {size}: no arm PiKE, tuned, since nothing was chosen yet", flush=True)
    return {name: ARMS[name] for name in names} | ({"PiKE, tuned": CANDIDATES[tuned]} if tuned else {})


def differences(rows: Rows, measure: Measure) -> Differences:
    """Return what each arm has more than uniform."""
    return judged(rows, lambda row: value(row, measure), higher=measure[0] in HIGHER)


def verdicts(rows: Rows) -> list[str]:
    """Return a table: a row for each arm, a column for each measure that is judged."""
    return grid({words: differences(rows, measure) for measure, words in JUDGED.items()}, "minus uniform")


def means(rows: Rows) -> list[str]:
    """Return a table of all measures, means over seeds, and one of the last weights."""
    arms = {arm: [row for row in rows if row["arm"] == arm] for arm in dict.fromkeys(row["arm"] for row in rows)}
    lines = [f"| | {' | '.join(arms)} |", "|---" * (len(arms) + 1) + "|"]
    for quantity, name, _ in rows[0]["values"]:
        own = (statistics.mean(value(row, (quantity, name)) for row in each) for each in arms.values())
        lines.append(f"| {quantity}, {name} | {' | '.join(f'{mean:.4f}' for mean in own)} |")
    for source in rows[0]["weights"]:
        own = (statistics.mean(row["weights"][source] for row in each) for each in arms.values())
        lines.append(f"| weight at the end, {source} | {' | '.join(f'{mean:.2f}' for mean in own)} |")
    return [*lines, ""]


def table(path: Path) -> str:
    """Return the Markdown of all that was trained."""
    lines = []
    for part, words in (("run", "Verdicts"), ("choose", "The choice")):
        for size in SIZES:
            for setting in SETTINGS:
                if rows := read_rows(path, part=part, setting=setting, size=size):
                    seeds = ", ".join(str(seed) for seed in sorted({row["seed"] for row in rows}))
                    where = "; ".join(sorted({row["machine"] for row in rows}))
                    lines += [f"## {words}: {setting}, {size}", ""]
                    lines += [f"{rows[0]['tokens']:,.0f} tokens; seeds {seeds}; {where}.", ""]
                    lines += [
                        *(verdicts(rows) if part == "run" else [f"Chosen: {chosen(path, setting, size)}.", ""]),
                        *means(rows),
                    ]
    return "\n".join(lines)


def plot(kept: Path, setting: str, path: Path) -> None:
    """Draw a panel for each measure and size: differences to uniform with their intervals."""
    from svg import COLOURS, Picture, intervals

    sizes = {size: rows for size in SIZES if (rows := read_rows(kept, part="run", setting=setting, size=size))}
    if not sizes:
        return
    drawn = [*ARMS, "PiKE, tuned"][1:]  # an arm has one colour at all sizes
    picture = Picture(20 + 380 * len(JUDGED), 60 + 260 * len(sizes))
    for down, (size, rows) in enumerate(sizes.items()):
        for right, (measure, words) in enumerate(JUDGED.items()):
            found = [d for d in differences(rows, measure).values() if np.isfinite(d.low)]
            own = [(d.arm, COLOURS[drawn.index(d.arm)], d.difference, d.low, d.high) for d in found]
            intervals(picture, (20 + 380 * right, 40 + 260 * down, 360, 220), f"{size}: {words}", own)
    picture.write(path, f"Differences to uniform on {setting}, 90 % intervals")


def write(rows: Path) -> None:
    """Write pike_questions.md and its plots beside the folder of the rows."""
    results = rows.resolve().parents[1]
    for setting in SETTINGS:
        plot(rows, setting, results / f"pike_questions-{setting}.svg")
    head = HEAD.format(short=SIZES["1M"]["bytes"], long=SIZES["30M"]["bytes"])
    (results / "pike_questions.md").write_text((head + NOTE + "\n" + table(rows)).rstrip() + "\n", encoding="utf-8")


def main() -> None:
    """Parse and do."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("do", choices=["choose", "run", "table"])
    parser.add_argument("setting", choices=[*SETTINGS], nargs="?", help="default: both, one after the other")
    parser.add_argument("--size", choices=[*SIZES], default="1M")
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--folder", type=Path, default=Path("runs/pike_questions"))
    parser.add_argument("--seeds", type=int, help="default: 2 to choose, 3 to judge")
    parser.add_argument("--cores", type=int, default=2)
    parser.add_argument("--write", action="store_true", help="also write results/pike_questions.md and its plots")
    parser.add_argument("--rows", type=Path, help=f"what was trained is kept here; default: {KEPT.name} of results")
    given = parser.parse_args()
    given.rows = given.rows or (given.folder / "rows" / KEPT.name if given.size == "tiny" else KEPT)
    if given.do == "table":
        print(table(given.rows))
        if given.write:
            write(given.rows)
        return
    for setting in [given.setting] if given.setting else SETTINGS:
        arms = (
            {"uniform": ARMS["uniform"], **CANDIDATES}
            if given.do == "choose"
            else arms_of(given.rows, setting, given.size)
        )
        compare(given.do, setting, given.size, given, arms)


if __name__ == "__main__":
    main()
