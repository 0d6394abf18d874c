"""What a comparison of texts prepared, as the processes of its pieces see it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from mixwright.experiment.core.parallel import Report
from mixwright.experiment.core.stages import Progress
from mixwright.experiment.text.compare_config import CompareConfig
from mixwright.experiment.text.inputs import Target, TokenSource, open_sources, read_target
from mixwright.text import Tokenizer, load_tokenizer


@dataclass(frozen=True)
class Prepared:
    """Tokenizer, sources and targets."""

    tokenizer: Tokenizer
    sources: list[TokenSource]
    targets: list[Target]


def of_seed(folder: Path, seed: int) -> Path:
    """Return the folder of what is made for a seed."""
    return folder / f"seed_{seed}"


_OPEN: dict[Path, Prepared] = {}


def prepared(config: CompareConfig, folder: Path) -> Prepared:
    """Return what was prepared in a run folder; read once in each process."""
    if folder not in _OPEN:
        _OPEN.clear()
        targets = [read_target(name, t, config.where("targets", name)) for name, t in config.targets.items()]
        sources = open_sources(list(config.sources), folder)
        _OPEN[folder] = Prepared(load_tokenizer(folder / "tokenizer"), sources, targets)
    return _OPEN[folder]


def forget() -> None:
    """Forget what was read in this process: it may have been prepared again."""
    _OPEN.clear()


def progress_of(report: Report) -> Progress:
    """Return a report as the progress of work that knows nothing of it."""
    return lambda stage, done, total, note="": report(done / max(total, 1))
