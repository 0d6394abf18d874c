"""
Own swarms from nothing: plan, train, fit, propose, confirm, with the shipped commands; models of a million parameters.

    python benchmarks/swarm.py run three|six --data ../shared/data --folder runs/swarm   (goes on where it was)
    python benchmarks/swarm.py run three --alone ...     (confirms without MixMin's mixture)
    python benchmarks/swarm.py large three|six ...       (confirms once more, with trainings three times as long)
    python benchmarks/swarm.py table --data ../shared/data --folder runs/swarm --write

three: documentation of Python in English, Spanish and Japanese; the target is the French one, which is no source.
six: six English sources; the target is half Kubernetes documentation, half science questions (ARC-Easy).
"""

import argparse
import gzip
import json
import shutil
import subprocess
import sys
from pathlib import Path

MODEL = {"model_type": "gpt_neox", "hidden_size": 144, "num_hidden_layers": 4, "num_attention_heads": 4}
STEP, LONGER = 16 * 128, 3  # tokens of a step; how much longer the large trainings are than the runs
PARAMETERS = 1.1e6
DOMAINS = ("books_en", "code_python_stdlib", "encyclopedia_factbook", "math_latex", "pydocs_en", "spec_peps")
# sources, runs, steps of a run
SETTINGS = {"three": (("pydocs_en", "pydocs_es", "pydocs_ja"), 12, 40), "six": (DOMAINS, 24, 100)}
TARGETS = {"three": "french", "six": "manuals_and_questions"}
PIECE = 1000  # characters of a document of the target
HEAD = """# Own swarms

`python benchmarks/swarm.py run three`, `run six`, then `table --write`; 2026-11-29, one thread, other work on
both cores. Models of 1.1 million parameters that read bytes; losses are nats per byte on held-out documents of the
target.
Each mixture was confirmed with 3 paired seeds that no run of the swarm had. Differences and verdicts come from the
judge (`mixwright compare`), over all mixtures together.
"""
NOTE = """
What it says:

- **The swarm of six sources did not pay.** Its proposal is no better than its best run, and nor are uniform weights,
  which have a lower mean. MixMin from count models, which takes seconds, is better than the best run. The swarm
  took 24 times the tokens of the training that it was for; charged for them, uniform weights could train 25 times as
  long. A swarm is for a training that is very much longer than its runs.
- **With three sources nothing is shown:** no mixture is better or worse than the best run over three seeds. The
  proposal was forecast to be .007 above that run and is: shrinkage 1, which cross-validation chose on 12 runs, pulls it
  to natural weights. MixMin from count models has the least mean (-.005 to the best run, no better), with
  .08 M tokens of training in place of 1.06 M. Runs had 40 steps here.
- **The best run of six sources was lucky.** It had 2.7995 in the swarm and has 2.8405 over three other seeds, a little
  above uniform weights. So a confirmation takes other seeds, and the best run counts as measured there. (The intervals
  of six sources are of a [former judge](rejudged.md); no verdict changes.)
- **The forecasts held**: all eight intervals have the measured loss. With six sources the errors of the two mixtures
  that were picked are +.042 and +.051, of the two that were not +.003 and +.000; the expected optimism of the proposal
  was +.026. With three sources all errors are within .013.
- **Limits.** 100 steps teach these models little more than the frequencies of letters, so mixtures differ by little
  more than seeds do. The documents that picked the proposal and the best run are also measured in the confirmation;
  MixMin did not see them.
"""


def rows(path):
    with gzip.open(path, "rt", encoding="utf-8") as handle:
        return [json.loads(line) for line in handle]


def pieces(texts):
    """Return short texts joined to documents of about PIECE characters."""
    found, part = [], ""
    for text in texts:
        part = f"{part}{text}\n"
        if len(part) >= PIECE:
            found, part = [*found, part], ""
    return found


def target(what, data):
    """Return the documents of a target: equally many of each kind, of about equal length."""
    if what == "three":
        return [row["text"][:PIECE] for row in rows(data / "text/pydocs_fr.jsonl.gz")][:96]
    manuals = [row["text"][:PIECE] for row in rows(data / "text/web_k8s_en.jsonl.gz")]
    asked = rows(data / "qa/arc_easy.train.jsonl.gz")
    questions = pieces(f"Question: {row['question']}\nAnswer: {row['choices'][row['answer']]}" for row in asked)
    return [*manuals[::20][:48], *questions[:48]]


def config(what, data, folder, steps):
    """Return the configuration of a training without arms."""
    file = folder / "target.jsonl"
    if not file.exists():
        file.write_text("".join(json.dumps({"text": text}) + "\n" for text in target(what, data)), encoding="utf-8")
    return {
        "sources": {name: str(data / f"text/{name}.jsonl.gz") for name in SETTINGS[what][0]},
        "targets": {TARGETS[what]: str(file)},
        "held_out": 0.001,
        "tokenizer": "bytes",
        "model": MODEL,
        "final": {
            "tokens": steps * STEP,
            "context": 128,
            "batch_size": 16,
            "learning_rate": 2e-3,
            "evaluate_every": SETTINGS[what][2],  # an evaluation in between costs as much as ten steps
        },
        "compute": {"cores": 1},
    }


def mixwright(*words):
    """Do a command of mixwright, as a user would."""
    print("mixwright", *words, flush=True)
    call = [sys.executable, "-c", "from mixwright.cli.main import main; main()"]
    subprocess.run([*call, *map(str, words), "-q"], check=True)


def run(what, data, folder, large, alone, seeds=3):
    """Do all of a setting, or the rest of it."""
    folder = folder.resolve() / what
    folder.mkdir(parents=True, exist_ok=True)
    small, longer, plan, table = (folder / name for name in ("small.yaml", "large.yaml", "plan.csv", "runs.csv"))
    names, runs, steps = SETTINGS[what]
    for path, times in ((small, 1), (longer, LONGER)):
        if not path.exists():
            path.write_text(json.dumps(config(what, data.resolve(), folder, times * steps), indent=1))
    sources = [word for name in names for word in ("--source", f"{name}={sizes(data)[name]}")]
    if not plan.exists():
        mixwright("runs", "plan", "--runs", runs, *sources, "--tokens", steps * STEP, "--target", TARGETS[what],
                  "--parameters", PARAMETERS, "--out", plan)  # fmt: skip
    mixwright("runs", "train", plan, small, "--run", folder / "swarm", "--out", table)
    sizes_of = [word for name in names for word in ("--size", f"{name}={sizes(data)[name]}")]
    mixwright("runs", "fit", table, "--target", TARGETS[what], *sizes_of, "--run", folder / "fit")
    without = {key: value for key, value in read(small).items() if key != "compute"}
    (folder / "search.yaml").write_text(json.dumps(without, indent=1))
    mixwright("search", folder / "search.yaml", "--quick", "--run", folder / "mixmin")
    beside = () if alone else ("--beside", f"mixmin={folder / 'mixmin' / 'mixture.json'}")
    if large:  # the fit in the folder keeps what the confirmation at its own size said
        shutil.copytree(folder / "fit", folder / "fit_large", dirs_exist_ok=True)
    fit, name, path = ("fit_large", "large", longer) if large else ("fit", "confirm", small)
    mixwright("runs", "confirm", folder / fit, path, "--run", folder / name, "--seeds", seeds, *beside)


def sizes(data):
    """Return the bytes of each source."""
    return {
        name: sum(len(row["text"].encode()) for row in rows(data / f"text/{name}.jsonl.gz"))
        for name in {name for names, *_ in SETTINGS.values() for name in names}
    }


def read(path):
    return json.loads(path.read_text(encoding="utf-8"))


def scale(data):
    """Return what trainings of 1 and of 60 million parameters on the same mixtures of RegMix say of each other."""
    import numpy as np

    from mixwright import RunTable
    from mixwright.runs.transfer import transfers

    whole = RunTable.from_file(data / "runs/regmix_1m_60m.runs.parquet")
    small, large = whole.at_scale("1M"), whole.at_scale("60M")
    place = {w.tobytes(): i for i, w in enumerate(small.weights)}
    at = [place[w.tobytes()] for w in large.weights]
    found = []
    for name in whole.targets:
        up = next(one for one in transfers(whole, name) if one.of == "1M")
        slope = np.polyfit(small.target(name)[at], large.target(name), 1)[0]
        found.append((up.spearman, up.regret, slope, float(np.mean(large.target(name) - small.target(name)[at]))))
    a = np.array(found)
    return [
        "## Scale: RegMix's 256 mixtures at 1M and at 60M parameters, 13 targets",
        "",
        "| | mean | least | largest |",
        "|---|---|---|---|",
        *(
            f"| {words} | {a[:, i].mean():.3f} | {a[:, i].min():.3f} | {a[:, i].max():.3f} |"
            for i, words in enumerate(("rank correlation", "loss at 60M of the best at 1M, minus the least, nats",
                                       "difference at 60M for a difference of 1 at 1M", "loss at 60M minus at 1M"))
        ),
        "",
        f"The best mixture at 1M is the best one at 60M on {int((a[:, 1] == 0).sum())} of {len(a)} targets.",
        "",
    ]  # fmt: skip


def table(data, folder):
    """Return the Markdown of all that was run."""
    lines = [HEAD]
    for what in SETTINGS:
        if (folder / what / "confirm" / "confirmed.json").exists():
            lines += setting(what, folder / what)
    return "\n".join([*lines, *scale(data), NOTE])


def setting(what, folder):
    """Return what is said of a setting."""
    found, mixmin = read(folder / "fit" / "summary.json"), read(folder / "mixmin" / "mixture.json")
    names, runs, steps = SETTINGS[what]
    fit, cost = found["fit"], runs * steps * STEP
    weights = {one["name"]: one["weights"] for one in found["mixtures"]}
    weights["mixmin"] = [dict(zip(mixmin["sources"], mixmin["weights"], strict=True))[name] for name in names]
    lines = [f"## {what.capitalize()} sources, {runs} runs", ""]
    lines += [f"| mixture | {' | '.join(names)} |", "|---|" + "---|" * len(names)]
    lines += [f"| {name} | {' | '.join(f'{w:.3f}' for w in row)} |" for name, row in weights.items()]
    laws = sorted(fit["laws"], key=lambda law: law["rmse"])
    scores = ", ".join(f"{law['name']} {law['spearman']:.2f} / {law['rmse']:.3f}" for law in laws)
    lines += [
        "",
        f"Law: {fit['law']}. Out of fold, rank correlation / RMSE: {scores}. The best run, {fit['incumbent']['run']}, "
        f"had {fit['incumbent']['loss']:.4f}. The swarm took {cost / 1e6:.2f} M tokens, {6 * PARAMETERS * cost:.1e} "
        f"operations; count models {seconds(folder):.0f} s and no training.",
        "",
    ]
    lines += confirmed(folder / "confirm", f"Confirmed as the runs were trained: {steps} steps", cost, True)
    if (folder / "large" / "confirmed.json").exists():
        lines += confirmed(folder / "large", f"Three times as long: {LONGER * steps} steps", cost, False)
    return lines


def seconds(folder):
    return sum(read(folder / "mixmin" / "summary.json")["cost"]["seconds"].values())


def confirmed(folder, title, swarm, forecast):
    """Return the table of a confirmation."""
    found, summary = read(folder / "confirmed.json"), read(folder / "summary.json")
    measure = next(m for m in summary["measures"] if m["kind"] == "target")
    against = {d["arm"]: d for d in measure["differences"]}
    steps = {arm["name"]: arm["steps"] for arm in summary["arms"]}
    lines = [f"### {title}", "", "| mixture | loss | by seed | minus best run | verdict | tokens, search included | "]
    lines[-1] += "predicted | interval | error |" if forecast else ""
    lines += ["|---|---|---|---|---|---|" + ("---|---|---|" if forecast else "")]
    for one in found["mixtures"]:
        name, d = one["name"], against.get(one["name"])
        tokens = steps[name] * STEP + (swarm if name in ("proposal", "incumbent") else 0)
        cells = [name, f"{one['measured']:.4f}", " / ".join(f"{v:.4f}" for v in one["by_seed"])]
        cells += [f"{d['difference']:+.4f} ({d['low']:+.4f} to {d['high']:+.4f})", d["word"]] if d else ["", ""]
        cells += [f"{tokens / 1e6:.2f} M"]
        if forecast and one["predicted"] is not None:
            cells += [f"{one['predicted']:.4f}", f"{one['low']:.4f} to {one['high']:.4f}", f"{one['error']:+.4f}"]
        elif forecast:
            cells += ["", "", ""]
        lines.append(f"| {' | '.join(cells)} |")
    by, expected = found["difference"], found["expected_optimism"]
    lead = f"Proposal minus best run: predicted {by['predicted']:+.4f}, measured {by['estimate']:+.4f}."
    lines += ["", f"Verdict: {found['verdict']}.", "", lead]
    if forecast:
        proposal, n = found["mixtures"][0], found["forecast"]
        lines[-1] += (
            f" Intervals with the measured loss: {n['inside']} of {n['of']}. Optimism of the proposal: expected "
            f"{expected['estimate']:+.4f} ({expected['low']:+.4f} to {expected['high']:+.4f}), real "
            f"{proposal['error']:+.4f}."
        )
    return [*lines, ""]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["run", "large", "table"])
    parser.add_argument("setting", nargs="?", choices=[*SETTINGS])
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--folder", type=Path, default=Path("runs/swarm"))
    parser.add_argument("--alone", action="store_true", help="confirm without MixMin's mixture")
    parser.add_argument("--write", action="store_true")
    given = parser.parse_args()
    if given.what != "table":
        run(given.setting, given.data, given.folder, given.what == "large", given.alone)
    else:
        text = table(given.data, given.folder)
        print(text)
        if given.write:
            Path(__file__).parent.joinpath("results", "swarm.md").write_text(text, encoding="utf-8")
