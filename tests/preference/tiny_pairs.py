"""Preference pairs, a model of some thousand parameters and configurations that take seconds."""

import json
import random
from pathlib import Path
from typing import Any

LETTERS = {"abc": "abc", "digits": "012", "upper": "XYZ"}
SIZES = {"abc": 40, "digits": 24, "upper": 16}
TRAINING = {"steps": 6, "batch_size": 6, "learning_rate": 3e-3, "evaluate_every": 3, "evaluate_pairs": 4}


def write_pairs(folder: Path, seed: int = 1) -> None:
    """Write a file of pairs for each source: the chosen answer repeats a letter, the rejected one does not."""
    rng = random.Random(seed)
    for name, letters in LETTERS.items():
        rows = []
        for i in range(SIZES[name]):
            good = rng.choice(letters)
            answers = good * 3, "".join(rng.sample(letters, 3))
            split = "test" if i % 4 == 3 else "train"
            rows.append({"prompt": f"{name} {i}: ", "chosen": answers[0], "rejected": answers[1], "split": split})
        text = "".join(json.dumps(row) + "\n" for row in rows)
        (folder / f"{name}.jsonl").write_text(text, encoding="utf-8")


def write_model(folder: Path, seed: int = 0, positions: int = 64) -> Path:
    """Write a tiny model with a tokeniser of bytes."""
    import torch
    from transformers import GPTNeoXConfig, GPTNeoXForCausalLM

    from mixwright.text import byte_tokenizer

    torch.manual_seed(seed)
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    tokenizer = byte_tokenizer()
    config = GPTNeoXConfig(**sizes, vocab_size=tokenizer.vocab_size, max_position_embeddings=positions)
    GPTNeoXForCausalLM(config).save_pretrained(folder)
    tokenizer.save(folder)
    return folder


def write_all(folder: Path) -> dict[str, Any]:
    """Write pairs and model; return a configuration of a training with AMA-R."""
    write_pairs(folder)
    write_model(folder / "base")
    return {
        "model": "base",
        "sources": {name: f"{name}.jsonl" for name in LETTERS},
        "pairs": {"max_length": 40},
        "strategy": {"name": "AMAR", "learning_rate": 0.5},
        "training": dict(TRAINING),
        "seed": 3,
    }
