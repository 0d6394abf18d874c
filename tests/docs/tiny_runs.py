"""What the pages presuppose, in seconds: runs and tables of the same shape as theirs, in the current folder."""

import json
import random
from pathlib import Path

import numpy as np

MODEL = {
    "model_type": "gpt_neox",
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 32,
}
SMALL = {
    "tokenizer": {"kind": "bpe", "vocab_size": 300},
    "model": MODEL,
    "proxy": {"tokens": 2000},
    "final": {"tokens": 2000, "batch_size": 4, "context": 32, "learning_rate": 3e-3},
}


def tiny_demo() -> None:
    """Make `runs/demo` as `mixwright demo` does: its sources, its target, few words, very small models."""
    from mixwright.experiment import drive, make
    from mixwright.experiment.demo.data import SOURCES
    from mixwright.experiment.demo.demo import TARGET

    rng = random.Random(0)
    Path("data").mkdir()
    paths = {}
    for name, _ in SOURCES.items():
        words = [f"{name[:3]}{i}" for i in range(20)]
        paths[name] = _write(name, [" ".join(rng.choices(words, k=60)) for _ in range(40)])
    mixed = [*(f"pyt{i}" for i in range(20)), *(f"doc{i}" for i in range(10))]
    target = _write("target", [" ".join(rng.choices(mixed, k=40)) for _ in range(40)])
    config = {"sources": paths, "targets": {TARGET: target}} | SMALL
    drive(make("search", config | {"final": SMALL["final"] | {"mixtures": []}}), Path("runs/demo"))


def tiny_tox21(name: str = "tox21.parquet") -> None:
    """Write a table like Tox21: rings with and without nitrogen, labels that hang on it, gaps, a text that is none."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    rng = np.random.default_rng(0)
    rings = ["c1ccccc1", "c1ccncc1", "C1CCCCC1", "C1CCNCC1", "c1ccoc1", "c1ccc2[nH]ccc2c1", "C1CCOC1", "c1ccsc1"]
    smiles = [ring + "C" * (i // 8 % 12) + ("N" if i % 3 else "O") for i, ring in enumerate(rings * 20)]
    active = np.array(["N" in text or "n" in text for text in smiles])
    columns = {"smiles": [*smiles, "not a molecule"]}
    for assay, noise in (("SR-p53", 0.1), ("SR-ARE", 0.15), ("NR-AhR", 0.3)):
        labels = (active ^ (rng.random(len(smiles)) < noise)).astype(int).tolist()
        columns[assay] = [*(value if rng.random() > 0.1 else None for value in labels), 1]
    Path(name).parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), name)


def tiny_scores(
    name: str = "scores.parquet",
    sources: tuple[str, ...] = ("books", "code", "law"),
    targets: tuple[str, ...] = ("target",),
) -> None:
    """Write a table of log-likelihoods: a column per source, `document` and `target`."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    rng = np.random.default_rng(0)
    n = 200
    columns = {source: rng.normal(-100, 3, n) for source in sources}
    columns |= {"document": np.arange(n) // 4, "target": [targets[i // 4 % len(targets)] for i in range(n)]}
    pq.write_table(pa.table(columns), name)


def _write(name: str, texts: list[str]) -> str:
    path = Path("data") / f"{name}.jsonl"
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    return str(path)
