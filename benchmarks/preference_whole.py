"""
What a whole preference training costs with its specialists, full and LoRA, beside plain DPO.

    python benchmarks/preference_whole.py --data ../shared/data --base FOLDER --write

`mixwright prefer train` from beginning to end, pooled (plain DPO) and AMA-R, all parameters and LoRA (rank 8), on the
sources of benchmarks/preference.py cut to a third; one process, one thread. CPU seconds by stage. --base is the model
of benchmarks/preference_base.py, or another folder of transformers.
"""

import argparse
import tempfile
import time
from pathlib import Path

import preference

STAGES = {"reference": "reference scored", "specialists": "specialists", "train": "generalist", "rest": "the rest"}
CUT, HELD_OUT = 3, 30


def config(data, base, weighting, adapter):
    """Return the configuration of a training."""
    told = preference.config(data, base, 1)
    for source in told["sources"].values():
        source.update(max_pairs=source["max_pairs"] // CUT, max_held_out=HELD_OUT)
    for key in ("arms", "seeds", "compute", "title"):
        del told[key]
    told["training"] = {"epochs": 1, "batch_size": 16, "learning_rate": 1e-3, "evaluate_every": 10**6}
    if weighting == "pooled":
        del told["specialists"]
    return told | ({"adapter": {"rank": 8}} if adapter else {}) | weighting_of(weighting)


def weighting_of(name):
    return {"weights": "pooled"} if name == "pooled" else {"strategy": {"name": name, "learning_rate": 0.1}}


def seconds(told):
    """Return the CPU seconds of a training by stage, its steps, and those of its specialists together."""
    from mixwright.experiment import drive, make

    spent, at = dict.fromkeys(STAGES, 0.0), ["rest", time.process_time()]

    def progress(stage, done, total, note=""):
        now = time.process_time()
        spent[at[0]] += now - at[1]
        at[:] = [stage if stage in STAGES and done < total else "rest", now]

    with tempfile.TemporaryDirectory() as folder:
        made = make("prefer train", told)
        summary = drive(made, Path(folder) / "run", progress)
    progress("rest", 1, 1)
    return spent, summary


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--base", type=Path, required=True)
    parser.add_argument("--write", action="store_true", help="also write results/preference_whole.md")
    given = parser.parse_args()
    import torch

    torch.set_num_threads(1)
    seconds(config(given.data, given.base, "pooled", False))  # imports and caches are not a contender's
    rows, base = [], {}
    for adapter in (False, True):
        for weighting in ("pooled", "AMAR"):
            spent, summary = seconds(config(given.data, given.base, weighting, adapter))
            whole = sum(spent.values())
            base.setdefault(adapter, whole)
            name = f"{'AMA-R' if weighting == 'AMAR' else weighting}, {'LoRA' if adapter else 'full'}"
            cells = [f"{spent[stage]:.1f}" for stage in STAGES]
            rows.append(f"| {name} | {' | '.join(cells)} | {whole:.1f} | {whole / base[adapter]:.2f} |")
            print(rows[-1], flush=True)
    steps = summary["steps"]
    head = [
        "# A whole preference training with its specialists",
        "",
        f"`python benchmarks/preference_whole.py --base FOLDER --write`; torch {torch.__version__}, one thread,",
        f"a shared x86-64 machine. A GPT-NeoX of 1.1 million parameters, six sources, {steps} steps of 16 pairs,",
        "specialists of one epoch each (so together as many steps). CPU seconds, one run each.",
        "",
        f"| training | {' | '.join(STAGES.values())} | together | over pooled |",
        "|---" * (len(STAGES) + 3) + "|",
    ]
    text = "\n".join([*head, *rows]) + "\n"
    print(text)
    if given.write:
        Path(__file__).with_name("results").joinpath("preference_whole.md").write_text(text)


if __name__ == "__main__":
    main()
