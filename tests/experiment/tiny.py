"""A search run that takes seconds: words of three kinds, a model of a few thousand parameters."""

import json
import random
from pathlib import Path
from typing import Any

TIMES = {"created", "seconds", "hours", "command"}  # what differs between two runs with the same result

KINDS = {"greek": "alpha beta gamma delta", "<b>&/numbers": "one two three four", "letters": "x y z w"}

SETTINGS: dict[str, Any] = {
    "sources": {name: f"source{i}.jsonl" for i, name in enumerate(KINDS)},
    "targets": {"mix": "target.jsonl"},
    "model": {
        "model_type": "gpt_neox",
        "hidden_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 32,
    },
    "proxy": {"tokens": 1500},
    "final": {"tokens": 2500, "batch_size": 4, "context": 32, "learning_rate": 3e-3, "evaluate_every": 10},
}


def words(rng: random.Random, kind: str, count: int) -> str:
    return " ".join(rng.choice(kind.split()) for _ in range(count))


def write_jsonl(path: Path, texts: list[str]) -> None:
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts), encoding="utf-8")


def write_tiny(folder: Path, **more: Any) -> Path:
    """Write the data and `search.yaml` (JSON is YAML); return its path."""
    rng = random.Random(0)
    kinds = list(KINDS.values())
    for i, kind in enumerate(kinds):
        write_jsonl(folder / f"source{i}.jsonl", [words(rng, kind, 40) for _ in range(20 + 20 * i)])
    write_jsonl(folder / "target.jsonl", [words(rng, kinds[rng.random() < 0.3], 15) for _ in range(40)])
    rows = [
        {
            "question": words(rng, kinds[0], 4),
            "choices": [words(rng, kinds[0], 2), words(rng, kinds[1], 2)],
            "answer": 0,
        }
        for _ in range(30)
    ]
    (folder / "questions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    path = folder / "search.yaml"
    path.write_text(json.dumps(SETTINGS | more))
    return path


def without_times(value: Any) -> Any:
    """Return a summary, or another record of a run, without what differs between two runs with the same result."""
    if isinstance(value, dict):
        return {key: without_times(inner) for key, inner in value.items() if key not in TIMES}
    return [without_times(inner) for inner in value] if isinstance(value, list) else value


def results_of(folder: Path) -> dict[str, Any]:
    """Return what a run left, by the names of the files: numbers without times, and the bytes of tables and models."""
    found: dict[str, Any] = {}
    for path in folder.rglob("*"):
        name = path.relative_to(folder).as_posix()
        if path.suffix == ".json" and not name.startswith("pieces/"):
            found[name] = without_times(json.loads(path.read_text(encoding="utf-8")))
        elif path.suffix in (".jsonl", ".csv", ".f64", ".npy", ".bin", ".safetensors"):
            found[name] = path.read_bytes()
    return found
