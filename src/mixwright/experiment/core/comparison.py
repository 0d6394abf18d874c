"""A comparison from beginning to end: check, prepare, train every cell, then table, summary and page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import yaml

from mixwright.compare import ArmInfo, Cell, Comparison, Quantity, csv_text, summarise
from mixwright.errors import InputError
from mixwright.experiment.core.stages import Progress, check_folder, open_run, silent
from mixwright.experiment.text.compare_config import CompareAssaysConfig, CompareConfig, dumped
from mixwright.files import atomic_write, write_json
from mixwright.report import write_comparison

if TYPE_CHECKING:
    from mixwright.experiment.text.compare_config import AnyCompareConfig

CSV = "cells.csv"
_FREE = (
    "arms",
    "seeds",
    "over",
    "error",
    "compute",
    "title",
    "charge_search",
    "charge_specialists",
    "keep_models",
)  # may change in a folder: cells are kept


class Setting(Protocol):
    """What a comparison is done in: texts, assays, and what comes later. It says what the cells are and makes them."""

    @property
    def arms(self) -> Sequence[ArmInfo]:
        """Return the arms."""

    @property
    def seeds(self) -> Sequence[int]:
        """Return the seeds."""

    @property
    def quantities(self) -> Sequence[Quantity]:
        """Return what is measured on targets, first what verdicts are about."""

    @property
    def source_names(self) -> Sequence[str]:
        """Return the sources whose held-out losses are measured; none where they are not."""

    @property
    def source_quantities(self) -> Sequence[Quantity]:
        """Return what is measured on sources."""

    @property
    def judged(self) -> Sequence[tuple[str, str]]:
        """Return the (quantity, measure) of the verdicts where there are no targets."""

    def check(self, progress: Progress) -> None:
        """Check all that can be checked before anything is written."""

    def prepare(self, progress: Progress) -> None:
        """Make what all cells need."""

    def run(self, progress: Progress) -> Sequence[Cell]:
        """Make all cells, or those that are not there yet."""

    def notes(self, cells: Sequence[Cell]) -> Sequence[str]:
        """Return sentences that belong beside the result."""

    def budget(self) -> Mapping[str, Any] | None:
        """Return what each arm could spend; None where that has no number."""


def run_compare(
    config: AnyCompareConfig,
    folder: Path | str,
    progress: Progress = silent,
    command: str = "mixwright.run_compare",
) -> dict[str, Any]:
    """
    Do a comparison, or the rest of one, and return its summary.

    Stopped in whatever way and called again it goes on, and ends with the same cells to the last digit. Arms and seeds
    may be added later: what is trained is kept.

    Parameters
    ----------
    config
        From `load_compare_config` or `make_compare_config`.
    folder
        The run folder: a new one, an empty one, or one of the same comparison.
    progress
        Called as `progress(stage, done, total, note)`.
    command
        What the summary says the comparison was made with.

    Returns
    -------
    dict
        `summary.json`; beside it are `cells.csv`, with every number, and `report.html`.

    Raises
    ------
    InputError
        The configuration does not fit the data or the folder; all of that is said before anything is trained.
    """
    folder = Path(folder)
    check_folder(folder)
    _check_same(config, folder)
    setting = _setting(config, folder)
    setting.check(progress)
    with open_run(folder, _text(config)):
        setting.prepare(progress)
        cells = setting.run(progress)
        found = Comparison(
            arms=setting.arms,
            seeds=list(setting.seeds),
            targets=list(config.targets),
            sources=setting.source_names,
            cells=cells,
            quantities=setting.quantities,
            source_quantities=setting.source_quantities,
            judged=setting.judged,
            over=config.baseline,
            level=config.search.level if isinstance(config, CompareConfig | CompareAssaysConfig) else config.level,
            error=config.error,
        )
        summary = {
            **summarise(found),
            "title": config.title or _title(config),
            "command": command,
            "setting": config.kind,
            "budget": setting.budget(),
            "csv": CSV,
        }
        summary["notes"] = [*summary["notes"], *setting.notes(cells)]
        with atomic_write(folder / CSV) as handle:
            handle.write(csv_text(cells, setting.quantities, setting.source_quantities))
        write_json(folder / "summary.json", summary)
        write_comparison(summary, folder / "report.html")
        progress("report", 1, 1)
        return summary


def _title(config: AnyCompareConfig) -> str:
    if config.kind == "preference":
        return f"{len(config.arms)} arms on preference pairs of {len(config.sources)} sources"
    return f"{len(config.arms)} mixtures on {', '.join(config.targets) or 'their sources'}"


def _setting(config: AnyCompareConfig, folder: Path) -> Setting:
    """Return the setting of a configuration; each loads what it needs, and no more."""
    if isinstance(config, CompareAssaysConfig):
        from mixwright.experiment.assays.compare import AssayCells

        return AssayCells(config, folder)
    if not isinstance(config, CompareConfig):
        from mixwright.experiment.preference.compare import PreferenceComparison

        return PreferenceComparison(config, folder)
    from mixwright.experiment.text.compare import TextComparison

    return TextComparison(config, folder)


def _text(config: AnyCompareConfig) -> str:
    """Return the configuration as YAML."""
    head = "# The configuration of this comparison, with all defaults. Go on with: "
    head += "mixwright compare THIS_FILE --run THIS_FOLDER\n"
    return head + yaml.safe_dump(dumped(config), sort_keys=False, allow_unicode=True)


def _check_same(config: AnyCompareConfig, folder: Path) -> None:
    """Raise InputError if a folder holds another run: other data, models or budgets."""
    path = folder / "config.yaml"
    if not path.exists():
        return
    try:
        before = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError):
        before = None
    now = dumped(config)
    if not isinstance(before, dict) or "arms" not in before:
        raise InputError(f"{folder} should be a folder of this comparison, found another run; choose another (--run)")
    differs = [key for key in dict.fromkeys([*now, *before]) if key not in _FREE and before.get(key) != now.get(key)]
    if (before.get("compute") or {}).get("threads") != now["compute"]["threads"]:
        differs.append("compute.threads")  # the last digits depend on it
    if differs:
        raise InputError(
            f"{folder} holds the results of another configuration: {', '.join(differs)} {_differ(differs)}; choose "
            f"another folder (--run), or put back what was there ({path})"
        )


def _differ(names: Sequence[str]) -> str:
    return "differ" if len(names) > 1 else "differs"
