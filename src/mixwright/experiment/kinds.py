"""
The kinds of runs: one row for each task and data.

A new kind is a folder and a row here. The folder has the configuration, a `RunConfig`, and the run, a subclass of `Run`
with `check` (reads everything, writes nothing) and `work` (resumable stages, returns the summary). The row names both,
and the table that `mixwright show` prints. Then `load`, `drive`, the command with its `--schema` and `--json`, `show`,
`report` and the messages about run folders know it. Nothing is imported before it is used.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any

Key = tuple[str, ...]


@dataclass(frozen=True)
class Kind:
    """
    A kind of run; "module:name" stands for what is imported when it is needed.

    Parameters
    ----------
    task, data
        What is done, with what: "compare", "text".
    command
        What is typed: "prefer sft" for `mixwright prefer sft`. Rows with the same command differ in the configuration's
        key `kind`, which is the data; the first row is the default.
    label
        What `summary.json` calls this run under `kind`; None: it has no such key.
    config, run
        The `RunConfig` and the `Run`.
    table
        Prints a summary: called with a console, the summary and the run folder.
    page
        The name of its page, as for `mixwright.report.write`; None: it has none.
    noun
        What messages and config.yaml call it: "comparison".
    may_differ
        Keys of the configuration that may change between two commands in the same folder. None: all may, because each
        stage knows what it was made from.
    pieces
        {name: function} of the pieces that engines do; None: the run has none.
    spread
        Those that may have several ranks: their functions take `Ranks` as a last argument.
    """

    task: str
    data: str
    command: str
    label: str | None
    config: str
    run: str
    table: str
    page: str | None
    noun: str = "run"
    may_differ: tuple[Key, ...] | None = None
    pieces: str | None = None
    spread: tuple[str, ...] = ()

    def get(self, field: str) -> Any:
        """Import and return what one of the fields config, run, table and pieces names."""
        module, _, name = str(getattr(self, field)).partition(":")
        return getattr(import_module(module), name)


_HERE, _TABLES = "mixwright.experiment", "mixwright.cli.tables"
_NOT_RESULTS: tuple[Key, ...] = (
    ("title",),
    ("track",),
    *(("training", key) for key in ("checkpoint_every", "parallel", "compile")),
)
_OF_COMPARISONS: tuple[Key, ...] = (
    *((key,) for key in ("arms", "seeds", "over", "error", "detect", "title", "engine", "track")),
    *((key,) for key in ("charge_search", "charge_specialists", "keep_models", "evaluate")),
    ("compute", "cores"),
    ("compute", "memory"),
)

KINDS = (
    Kind(
        "search", "text", "search", None,
        f"{_HERE}.text.config:SearchConfig", f"{_HERE}.text.search:TextSearchRun",
        f"{_TABLES}.search:print_summary", "search", pieces=f"{_HERE}.text.proxies.pieces:PIECES",
        spread=("final run",),
    ),
    Kind(
        "search", "assays", "search", "assays",
        f"{_HERE}.assays.config:AssaysConfig", f"{_HERE}.assays.search:AssaySearchRun",
        f"{_TABLES}.search:print_summary", "search", pieces=f"{_HERE}.assays.search:PIECES",
    ),
    Kind(
        "search", "likelihoods", "search", "likelihoods",
        f"{_HERE}.likelihoods.config:LikelihoodsConfig", f"{_HERE}.likelihoods.search:LikelihoodSearchRun",
        f"{_TABLES}.search:print_summary", "search",
    ),
    Kind(
        "compare", "text", "compare", "comparison",
        f"{_HERE}.text.compare_config:CompareConfig", f"{_HERE}.text.compare:TextComparisonRun",
        f"{_TABLES}.comparison:print_comparison", "comparison", "comparison", _OF_COMPARISONS,
        f"{_HERE}.text.compare_work:PIECES", ("training",),
    ),
    Kind(
        "compare", "assays", "compare", "comparison",
        f"{_HERE}.assays.config:CompareAssaysConfig", f"{_HERE}.assays.compare:AssayComparisonRun",
        f"{_TABLES}.comparison:print_comparison", "comparison", "comparison", _OF_COMPARISONS,
        f"{_HERE}.assays.compare:PIECES",
    ),
    Kind(
        "compare", "preference", "compare", "comparison",
        f"{_HERE}.preference.compare_config:ComparePreferenceConfig",
        f"{_HERE}.preference.compare:PreferenceComparisonRun",
        f"{_TABLES}.comparison:print_comparison", "comparison", "comparison", _OF_COMPARISONS,
        f"{_HERE}.preference.compare_work:PIECES", ("specialist", "arm"),
    ),
    Kind(
        "fit", "runs", "runs fit", "runs",
        f"{_HERE}.runs.config:RunsConfig", f"{_HERE}.runs.fit:RunFit",
        f"{_TABLES}.runs:print_fit", "runs", "fit", (("title",), ("track",)),
    ),
    Kind(
        "train", "text", "train", "training",
        f"{_HERE}.text.train_config:TrainConfig", f"{_HERE}.text.train:TextTrainingRun",
        f"{_TABLES}.training:print_training", "training", "training",
        (*_NOT_RESULTS, ("evaluate",)),
    ),
    Kind(
        "sft", "preference", "prefer sft", "fine-tuning",
        f"{_HERE}.preference.config:SftConfig", f"{_HERE}.preference.sft:FineTuningRun",
        f"{_TABLES}.training:print_fine_tuning", None, "run", _NOT_RESULTS,
    ),
    Kind(
        "specialists", "preference", "prefer specialists", "specialists",
        f"{_HERE}.preference.train_config:SpecialistsRunConfig", f"{_HERE}.preference.train:SpecialistsRun",
        f"{_TABLES}.training:print_specialists", None, "run", (*_NOT_RESULTS, ("specialists", "keep"), ("engine",)),
        f"{_HERE}.preference.train:PIECES", ("specialist",),
    ),
    Kind(
        "train", "preference", "prefer train", "preference",
        f"{_HERE}.preference.train_config:PreferConfig", f"{_HERE}.preference.train:PreferenceTrainingRun",
        f"{_TABLES}.training:print_preference", "preference", "run", (*_NOT_RESULTS, ("specialists", "keep")),
    ),
)  # fmt: skip


def of_command(command: str) -> list[Kind]:
    """Return the rows of a command, the default first."""
    return [kind for kind in KINDS if kind.command == command]


def of_config(config: object) -> Kind:
    """Return the row of a configuration."""
    names = [f"{part.__module__}:{part.__qualname__}" for part in type(config).__mro__]
    return next(kind for name in names for kind in KINDS if kind.config == name)


def of_summary(summary: Mapping[str, Any]) -> Kind:
    """Return the row of a summary, which `read_summary` returned."""
    key = (summary["task"], summary["data"])
    return next(kind for kind in KINDS if (kind.task, kind.data) == key)
