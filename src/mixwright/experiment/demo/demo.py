"""The demo: an ordinary search run over text that this machine has, with an answer that is known beforehand."""

from __future__ import annotations

import importlib.metadata
import platform
from pathlib import Path
from typing import Any

from mixwright.experiment.core.stages import Progress, Stage, check_folder, silent
from mixwright.experiment.demo.data import TARGET_PACKAGES, write_demo_data
from mixwright.experiment.run import drive, make
from mixwright.experiment.text.config import SearchConfig

TARGET = "package_code"
SETTINGS: dict[str, Any] = {
    "title": "Demo: what to train on to be good at the Python code of " + ", ".join(TARGET_PACKAGES),
    "seed": 0,
    "tokenizer": {"kind": "bpe", "vocab_size": 1024},
    "model": {
        "model_type": "gpt_neox",
        "hidden_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 512,
    },
    "proxy": {"tokens": 75_000},
    "search": {"likelihood": "chunk"},
    "final": {
        "tokens": 450_000,
        "batch_size": 16,
        "context": 128,
        "learning_rate": 2e-3,
        "evaluate_every": 44,
        "mixtures": ["uniform", "natural", "best_single", "search"],
    },
}
_COST = (
    "the proxies look dear because the demo's final runs are tiny; the same proxies serve runs of any length, and "
    "their share of a real one is small"
)


def run_demo(
    folder: Path | str, progress: Progress = silent, command: str = "mixwright demo", quick: bool = False
) -> dict[str, Any]:
    """
    Write the demo's data into `folder`, do the search run there, and note whether the expected answer was found.

    The quick search and the whole one share the folder: tokens are made once, and each is resumed by itself.

    Parameters
    ----------
    folder
        The run folder.
    progress
        Called as `progress(stage, done, total, note)`.
    command
        What the summary says the run was made with.
    quick
        Search with count models and train nothing: seconds.

    Raises
    ------
    InputError
        This Python has too little text.
    """
    folder = Path(folder)
    check_folder(folder)
    data = demo_data(folder, progress)
    config = demo_config(folder, data["sources"], quick)

    def notes(summary: dict[str, Any]) -> list[str]:
        return [*data["absent"], expectation(summary, data), *([] if quick else [_COST])]

    return drive(config, folder, progress, command, notes)


def demo_data(folder: Path, progress: Progress = silent) -> dict[str, Any]:
    """Write the demo's sources and target into `folder/data`, once; return what is there."""
    installed = sorted(f"{d.metadata['Name']} {d.version}" for d in importlib.metadata.distributions())
    stage = Stage(folder / "data", {"stage": "demo data", "python": platform.python_version(), "installed": installed})
    result = stage.result()
    if result is None:
        stage.begin()
        sources, absent, code_share = write_demo_data(stage.folder, progress)
        result = stage.finish({"sources": sources, "absent": absent, "code_share": code_share})
    progress("data", 1, 1)
    return result


def demo_config(folder: Path, sources: list[str], quick: bool = False) -> SearchConfig:
    """Return the demo's configuration, or that of its quick search."""
    paths = {
        "sources": {name: {"path": f"data/{name}.jsonl"} for name in sources},
        "targets": {TARGET: {"path": "data/target.jsonl"}},
    }
    config: SearchConfig = make("search", paths | SETTINGS | {"quick": quick}, folder=folder)
    return config


def expectation(summary: dict[str, Any], data: dict[str, Any]) -> str:
    """Say what was known before the search, and whether the search found it."""
    name = summary["searches"][0]["mixture"]
    weights = next(mixture["weights"] for mixture in summary["mixtures"] if mixture["name"] == name)
    found = dict(zip([source["name"] for source in summary["sources"]], weights, strict=True))
    code, prose = found.get("python_code", 0.0), found.get("docstrings", 0.0)
    as_expected = max(found, key=lambda source: found[source]) == "python_code" and code + prose > 0.5
    return (
        f"known beforehand: {100 * data['code_share']:.0f} % of the target's characters are code, the rest docstrings "
        f"and comments, so python_code should weigh most, and with docstrings more than half. Found: python_code "
        f"{code:.2f}, docstrings {prose:.2f}: {'as expected' if as_expected else 'NOT as expected'}"
    )
