"""
A small base model for preference data where no pre-trained one can be had: pre-trained, then fine-tuned.

    python benchmarks/preference_base.py FOLDER ../shared/data

About ten minutes of one core. What is done is kept: called again, it goes on or returns at once. With a model of your
own (Qwen, Llama, Pythia on disk) start at the second part: `mixwright prefer sft`.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from mixwright.experiment import drive, make
from mixwright.experiment.core.stages import Progress, silent

_TEXT = {
    "books_en": 0.35,
    "encyclopedia_factbook": 0.1,
    "pydocs_en": 0.15,
    "web_k8s_en": 0.15,
    "shakespeare": 0.05,
    "code_python_stdlib": 0.2,
}
_JOIN = {"harmless_hh": " "}  # its prompts end with "Assistant:"
PAIRS = ("code_bugs2fix", "harmless_hh", "helpful_llmbar_clean", "honest_truthfulqa", "persona_evals")


def pair_sources(data: Path | str, names: tuple[str, ...] = PAIRS) -> dict[str, dict[str, Any]]:
    """Return the sources of pairs as a configuration has them: every run from the base model reads them this way."""
    folder = Path(data).resolve() / "pref"
    return {name: {"path": str(folder / f"{name}.jsonl.gz"), "join": _JOIN.get(name, "\n")} for name in names}


def pretraining(data: Path | str, tiny: bool = False) -> dict[str, Any]:
    """Return the configuration of `mixwright train`."""
    folder = Path(data).resolve() / "text"
    weights = {"books_en": 0.5, "shakespeare": 0.5} if tiny else _TEXT
    documents = {"max_documents": 8} if tiny else {}
    width, layers, vocabulary = (32, 1, 300) if tiny else (128, 4, 2048)
    training = {"steps": 20, "batch_size": 4, "context": 64} if tiny else {"tokens": 1_600_000, "batch_size": 16}
    return {
        "title": "Base model: pre-training",
        "sources": {name: {"path": str(folder / f"{name}.jsonl.gz"), **documents} for name in weights},
        "held_out": 0.3 if tiny else 0.02,
        "tokenizer": {"kind": "bpe", "vocab_size": vocabulary},
        "model": {
            "model_type": "gpt_neox",
            "hidden_size": width,
            "num_hidden_layers": layers,
            "num_attention_heads": 4,
            "max_position_embeddings": 512,
            "tie_word_embeddings": True,
        },
        "weights": weights,
        "training": {"learning_rate": 3e-3, "evaluate_every": 1_000_000, **training},
    }


def fine_tuning(data: Path | str, model: Path | str, tiny: bool = False) -> dict[str, Any]:
    """Return the configuration of `mixwright prefer sft`."""
    sources = pair_sources(data, ("honest_truthfulqa", "persona_evals") if tiny else PAIRS)
    training: dict[str, Any] = {"steps": 200, "batch_size": 32, "learning_rate": 2e-3}
    if tiny:
        sources = {name: {**source, "max_pairs": 40, "max_held_out": 40} for name, source in sources.items()}
        training = {"steps": 10, "batch_size": 4, "learning_rate": 3e-3}
    return {
        "title": "Base model: fine-tuning on the chosen answers",
        "model": str(model),
        "sources": sources,
        "pairs": {"max_length": 64 if tiny else 256, "long_prompts": "truncate"},
        "weights": "uniform",
        "training": training,
    }


def base_model(folder: Path | str, data: Path | str, tiny: bool = False, progress: Progress = silent) -> Path:
    """
    Return the folder of the base model (a run of `prefer sft`), which is made once.

    Parameters
    ----------
    folder
        Gets `pretrained/` and `sft/`.
    data
        The folder with `text/` and `pref/`.
    tiny
        A model of seconds, for tests.
    progress
        As for `run_train`.
    """
    folder = Path(folder)
    drive(make("train", pretraining(data, tiny)), folder / "pretrained", progress)
    drive(
        make("prefer sft", fine_tuning(data, (folder / "pretrained").resolve(), tiny)),
        folder / "sft",
        progress,
    )
    return folder / "sft"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("--tiny", action="store_true")
    given = parser.parse_args()
    from mixwright.cli.output import Output

    with Output(False, False).bars() as progress:
        print(base_model(given.folder, given.data, given.tiny, progress))


if __name__ == "__main__":
    main()
