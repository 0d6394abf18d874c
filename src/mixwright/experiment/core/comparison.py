"""What all comparisons do: check, prepare, train every cell, then the table of all numbers and the summary."""

from __future__ import annotations

import json
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from types import MappingProxyType
from typing import Any, TypeVar

from mixwright.compare import (
    AVERAGE_OF_SOURCES,
    LOSS,
    WORST_SOURCE,
    ArmInfo,
    Cell,
    Comparison,
    Quantity,
    csv_text,
    summarise,
)
from mixwright.compare.cells import AVERAGE_OF_TARGETS, DETECT, WORST_TARGET
from mixwright.compare.forecast import csv_of_scores, score
from mixwright.experiment.core.compare_config import ArmConfig, ComparisonConfig
from mixwright.experiment.core.errors import named
from mixwright.experiment.core.forecasts import check_fixed, check_names, check_weights, fix, read_forecast
from mixwright.experiment.core.repeats import Of, repeats_of_arms
from mixwright.experiment.core.stages import PLAN, Progress
from mixwright.experiment.run import Run
from mixwright.files import atomic_write

CSV = "cells.csv"
SCORES = "forecast.csv"
Config = TypeVar("Config", bound=ComparisonConfig)


class ComparisonRun(Run[Config]):
    """A comparison at work. Its kind says what the cells are, and makes them."""

    unit = "tokens"  # what trainings are counted in
    _taken: int | None = None  # how many seeds this look has

    @property
    def title(self) -> str:
        """Return the heading of the report where the configuration gives none."""
        return f"{len(self.config.arms)} mixtures on {', '.join(self.config.targets) or 'their sources'}"

    @property
    def seeds(self) -> Sequence[int]:
        """Return the seeds: those of this look, or before the first one all that there may be."""
        return range(self.config.seed, self.config.seed + (self._taken or self.config.most_seeds))

    @property
    @abstractmethod
    def arms(self) -> Sequence[ArmInfo]:
        """Return the arms as reports name them."""

    @property
    @abstractmethod
    def quantities(self) -> Sequence[Quantity]:
        """Return what is measured on targets; verdicts are about the first one."""

    @property
    @abstractmethod
    def source_names(self) -> Sequence[str]:
        """Return the sources whose held-out losses are measured; none where they are not."""

    @property
    def source_quantities(self) -> Sequence[Quantity]:
        """Return what is measured on sources."""
        return (LOSS,)

    @property
    def judged(self) -> Sequence[tuple[str, str]]:
        """Return the (quantity, measure) of the verdicts where there are no targets."""
        return ((LOSS.name, AVERAGE_OF_SOURCES),)

    @property
    def held_out(self) -> Mapping[str, tuple[str, int, int]]:
        """Return, for targets of documents, which held-out ones are in a source, how many in none, and all of them."""
        return {}

    @property
    @abstractmethod
    def level(self) -> float:
        """Return the confidence level of intervals."""

    @abstractmethod
    def cells(self, progress: Progress) -> Sequence[Cell]:
        """Make all cells, or those that are not there yet."""

    @abstractmethod
    def notes(self, cells: Sequence[Cell]) -> Sequence[str]:
        """Return sentences that belong beside the result."""

    @abstractmethod
    def budget(self) -> Mapping[str, Any] | None:
        """Return what each arm could spend; None where that has no number."""

    def repeated(
        self, cells: Sequence[Cell], advice: str, of: Of, copies: Mapping[str, float] = MappingProxyType({})
    ) -> list[str]:
        """Return a sentence for each arm that goes many times through a source; `copies` as in `repeats`."""
        return repeats_of_arms([arm.name for arm in self.arms], cells, advice, of, copies)

    def plan(self) -> str:
        """Return how many trainings there will be, of what size."""
        own = len(self.config.targets) or 1
        each_seed = sum(own if arm.per_target else 1 for arm in self.arms)
        budget, looks = self.budget(), self.config.looks
        size = f" of up to {budget['amount']:,} {self.unit}" if budget else ""
        counted = f"{len(self.seeds) * each_seed:,}"
        if looks is not None:
            counted = f"{looks.at_least * each_seed:,} to {counted}"
        return f"{counted} trainings{size} ({len(self.arms)} arms, {self.planned_seeds} seeds), the same one once"

    @property
    def planned_seeds(self) -> str:
        """Return how many seeds there will be, as text: "3", or "3 to 12" where they are added."""
        looks, most = self.config.looks, self.config.most_seeds
        return f"{most}" if looks is None else f"{looks.at_least} to {most}"

    _forecast: dict[str, Any] | None = None

    def check_forecast(self) -> None:
        """Read the forecast; raise InputError if it does not fit, or is not the one that was fixed in the folder."""
        if self.config.forecast is None:
            return
        targets, sources = list(self.config.targets), list(self.config.sources)
        measures = [*targets, AVERAGE_OF_TARGETS, WORST_TARGET] if len(targets) > 1 else targets
        with named(self.config.where("forecast")):
            self._forecast = read_forecast(self.config.forecast)
            arms = [arm.title for arm in self.config.arms]
            check_names(
                self._forecast, arms, measures or [AVERAGE_OF_SOURCES, WORST_SOURCE, *sources], len(targets) > 1
            )
            check_fixed(self._forecast, self.folder)

    def check_forecast_of(self, arm: ArmConfig, sources: Sequence[str], weights: Sequence[float] | None) -> None:
        """Raise InputError if an arm's weights [k], where they are known, are not those that its forecast is for."""
        if self._forecast is not None and weights is not None and arm.baseline != "natural":  # sizes are known later
            check_weights(self._forecast, arm.title, dict(zip(sources, weights, strict=True)))

    def _scored_forecast(self, summary: dict[str, Any]) -> dict[str, Any]:
        """Return the forecast with its scores, which are also written to `forecast.csv`."""
        if self._forecast is None:
            return {}
        scored = {**score(self._forecast, summary), **fix(self._forecast, self.folder), "csv": SCORES}
        with atomic_write(self.folder / SCORES) as handle:
            handle.write(csv_of_scores(scored))
        return {"forecast": scored}

    def work(self, progress: Progress) -> dict[str, Any]:
        """Make all cells; write `cells.csv`, and return the summary without its head."""
        if self._forecast is not None:
            fix(self._forecast, self.folder)
        changed = self._seeds_changed()
        for seeds in self.config.looks.numbers if self.config.looks else (self.config.most_seeds,):
            self._taken = seeds
            summary = self._look(progress)
            if not (undecided := _undecided(summary)):
                break
            if seeds < self.config.most_seeds:
                said = f"{seeds} of at most {self.config.most_seeds} seeds, not decided: {', '.join(undecided)}"
                progress(PLAN, 0, 1, said)
        return {**summary, **changed, **self._scored_forecast(summary), "budget": self.budget(), "csv": CSV}

    def _seeds_changed(self) -> dict[str, str]:
        """Return a note if the folder has results of another plan of seeds, or had them; one seed gives no verdict."""
        before = self._results()
        if "seeds_changed" in before:
            return {"seeds_changed": before["seeds_changed"]}
        planned, looks, seen = self.config.looks, before.get("looks"), len(before.get("seeds", ()))
        same = looks == asdict(planned) if planned else not looks and seen == self.config.most_seeds
        if seen < 2 or same:
            return {}
        note = f"The number of seeds was changed after results were seen: the {100 * self.config.error:g} % does not "
        return {"seeds_changed": f"{note}hold for these verdicts"}

    def _results(self) -> dict[str, Any]:
        """Return the summary that the folder has; empty without one, or where it cannot be read."""
        try:
            found = json.loads((self.folder / "summary.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}

    def _look(self, progress: Progress) -> dict[str, Any]:
        """Make the cells of all seeds so far; write `cells.csv`, and return the summary with its notes."""
        cells = self.cells(progress)
        found = Comparison(
            arms=self.arms,
            seeds=list(self.seeds),
            targets=list(self.config.targets),
            sources=self.source_names,
            cells=cells,
            quantities=self.quantities,
            source_quantities=self.source_quantities,
            judged=self.judged,
            over=self.config.baseline,
            level=self.level,
            error=self.config.error,
            unit=self.unit,
            held_out=self.held_out,
            detect=self.config.detect or DETECT,
            looks=self.config.looks,
        )
        with atomic_write(self.folder / CSV) as handle:
            handle.write(csv_text(cells, self.quantities, self.source_quantities, self.unit))
        summary = summarise(found)
        return {**summary, "notes": [*summary["notes"], *self.notes(cells)]}


def _undecided(summary: Mapping[str, Any]) -> list[str]:
    """Return the arms that are neither better nor worse on a measure that is judged, nor smaller than the margin."""
    judged = [d for measure in summary["measures"] if measure["headline"] for d in measure["differences"]]
    return list(dict.fromkeys(d["arm"] for d in judged if not d.get("decided", True)))
