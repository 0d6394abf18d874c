"""What the examples read when they are given no data: small files that they write in `runs/tiny`, no network needed."""

import inspect
import json
import sysconfig
import textwrap
import unicodedata
from functools import cache
from importlib import import_module
from pathlib import Path
from pydoc_data.topics import topics

import numpy as np

FOLDER = Path("runs/tiny")


def lines(name, rows):
    """Write rows as JSON lines, which is what the examples read of yours, too; return the path."""
    return _written(f"{name}.jsonl", [json.dumps(row) for row in rows])


def _written(name, rows):
    path = FOLDER / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(rows) + "\n", encoding="utf-8")
    return str(path)


@cache
def texts():
    """Return {source: file} and the target's file: texts that come with Python, and NumPy's documentation."""
    library = sorted(Path(sysconfig.get_path("stdlib")).glob("*.py"))
    names = [unicodedata.name(chr(code), "") for code in range(0x20, 0x1000)]
    documents = {
        "code": [path.read_text("utf-8")[-4000:] for path in library[:60]],
        "manual": list(topics.values())[:40],
        "names": ["\n".join(names[i : i + 100]) for i in range(0, len(names), 100)],
    }
    target = sorted({text for item in vars(np).values() if len(text := str(item.__doc__)) > 500})[:100]
    sources = {name: lines(name, [{"text": text} for text in found]) for name, found in documents.items()}
    return sources, lines("target", [{"text": text} for text in target])


def tasks():
    """Return {task: file} of prompts and completions: what a function of the standard library does, and its call."""
    return {name: lines(f"task_{name}", rows) for name, rows in _questions().items()}


def pairs():
    """Return {task: file} of preference pairs: the rejected answer is about another function."""
    found = {}
    for name, rows in _questions().items():
        others = [row["completion"] for row in rows[1:] + rows[:1]]
        found[f"pairs_{name}"] = [
            {"prompt": row["prompt"], "chosen": row["completion"], "rejected": other}
            for row, other in zip(rows, others, strict=True)
            if row["completion"] != other
        ]
    return {name.removeprefix("pairs_"): lines(name, rows) for name, rows in found.items()}


def _questions():
    names = ("base64", "calendar", "os.path", "random", "shutil", "statistics", "tempfile", "textwrap")
    found = {"explain": [], "call": []}
    for module in map(import_module, names):
        for name, item in inspect.getmembers(module, inspect.isfunction):
            if (text := inspect.getdoc(item)) and not name.startswith("_"):
                first = textwrap.shorten(text.partition("\n\n")[0], 60)
                found["explain"].append({"prompt": f"What does {name} do?\n", "completion": first})
                call = textwrap.shorten(f"{name}{inspect.signature(item)}", 60)
                found["call"].append({"prompt": f"How do I call {name}?\n", "completion": call})
    return found


def model():
    """Return the folder of a model: random weights, 40 thousand parameters, a token for each byte."""
    from transformers import LlamaConfig, LlamaForCausalLM, set_seed

    from mixwright.preference import load_pair_tokenizer
    from mixwright.text import byte_tokenizer

    folder = FOLDER / "model"
    byte_tokenizer().save(FOLDER / "bytes")
    tokenizer = load_pair_tokenizer(FOLDER / "bytes")
    set_seed(0)
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = LlamaConfig(vocab_size=len(tokenizer), max_position_embeddings=256, **sizes)
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


def molecules():
    """Return the file of a table of made-up molecules: amines and alcohols, and three assays that mostly tell which."""
    rng = np.random.default_rng(0)
    rows = ["smiles,target,twin,other"]
    for i in range(160):
        amine, chain = i % 2, 1 + i // 8
        flips = rng.random(3) < [0.1, 0.2, 0.5]
        labels = ",".join(f"{amine ^ flip:d}" for flip in flips)
        rows.append(f"{'C' * chain}{'N' if amine else 'O'}{'C' * (i // 2 % 4)},{labels}")
    return _written("molecules.csv", rows)


def runs():
    """Return the file of a table of runs: 24 planned mixtures of the texts, each with the loss that it had."""
    from mixwright import RunDesign

    sources, _ = texts()
    plan = RunDesign(runs=24).plan(list(sources), seed=0)
    rows = [",".join(["run", *(f"w:{name}" for name in sources), "loss:target"])]
    for run, weights in zip(plan.runs, plan.weights, strict=True):
        rows.append(",".join([run, *(f"{weight:.12f}" for weight in weights), f"{train(weights):.6f}"]))
    return _written("runs.csv", rows)


def train(weights):
    """Return the loss on the target, nats per byte, of a tiny model of a mixture: each byte given the one before."""
    sources, target = texts()
    shares = sum(weight * _pairs_of_bytes(path) for weight, path in zip(weights, sources.values(), strict=True))
    counts = 10_000 * shares + 10  # trained on 10,000 bytes; the 10 leave every pair some probability
    return float(-(_pairs_of_bytes(target) * np.log(counts / counts.sum(1, keepdims=True))).sum())


@cache
def _pairs_of_bytes(path):
    """Return the shares [256, 256] of all pairs: a byte, and the one after it."""
    text = np.frombuffer(Path(path).read_bytes(), np.uint8).astype(int)
    counts = np.bincount(256 * text[:-1] + text[1:], minlength=256**2).reshape(256, 256)
    return counts / counts.sum()
