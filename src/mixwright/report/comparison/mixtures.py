"""Weights, epochs and losses of the sources, arranged for the page of a comparison."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mixwright.report.charts import weight_chart
from mixwright.report.comparison.charts import ArmView
from mixwright.report.comparison.schema import variants
from mixwright.report.looks import Look

SHOWN_SOURCES = 12  # in a chart of weights; the table has all
SHOWN_MIXTURES = 4  # in a chart of weights
_ONE_TABLE = 8  # columns; with more, the mixtures for one target have a table of their own

Series = Mapping[str, Sequence[float]]


@dataclass(frozen=True)
class Spread:
    """The mean of some numbers, and how far they reach."""

    mean: float
    low: float
    high: float

    @property
    def moves(self) -> bool:
        """Say whether they differ."""
        return self.high > self.low


@dataclass(frozen=True)
class ArmWeights:
    """A mixture over seeds: weights asked, those at the start where they changed, epochs, what rows are drawn by."""

    arm: ArmView
    weights: Series
    start: Series | None
    epochs: Series | None
    sampling: Series | None

    def spread(self, field: str, source: str) -> Spread | None:
        """Return what the seeds say of a source: of its weights, start, epochs or sampling."""
        series = getattr(self, field)
        values = series.get(source) if series else None
        return Spread(sum(values) / len(values), min(values), max(values)) if values else None

    def average(self, source: str) -> float:
        """Return the mean weight of a source."""
        found = self.spread("weights", source)
        return found.mean if found else 0.0


def weight_groups(summary: Mapping[str, Any], arms: Mapping[str, ArmView]) -> list[dict[str, Any]]:
    """Return the mixtures for all targets, then those for each target, with a chart and the rows of tables."""
    columns: dict[str | None, list[ArmWeights]] = {}
    for arm in summary["arms"]:
        for mixture in arm["mixtures"]:
            more = (mixture.get(field) for field in ("start", "epochs", "sampling"))
            column = ArmWeights(arms[arm["name"]], mixture["weights"], *more)
            columns.setdefault(mixture.get("target"), []).append(column)
    order = [None, *summary["targets"]]
    groups = []
    for index, target in enumerate(t for t in order if t in columns):
        own = columns[target]
        drawn = [column for column in own if column.arm.kind != "uniform"][:SHOWN_MIXTURES]
        sources = _by_weight([*summary["sources"], *(s for c in own for s in c.weights)], drawn or own)
        groups.append(
            {
                "target": target,
                "columns": own,
                "sources": sources,
                "drawn": [column.arm for column in drawn],
                "chart": _chart(f"weights-{index}", sources, drawn, len(summary["sources"] or sources))
                if drawn
                else None,
                "shown": min(len(sources), SHOWN_SOURCES),
                "epochs": any(column.epochs for column in own),
                "apart": any(column.sampling for column in own),
                "adapts": any(column.start for column in own),
            }
        )
    return groups


def _by_weight(names: Iterable[str], columns: Sequence[ArmWeights]) -> list[str]:
    """Return the sources, those first that some mixture gives most; the natural one counts only alone."""
    sources = list(dict.fromkeys(names))
    found = [c for c in columns if c.arm.kind != "natural"] or columns
    return sorted(sources, key=lambda s: (-max(c.average(s) for c in found), sources.index(s)))


def _chart(name: str, sources: Sequence[str], columns: Sequence[ArmWeights], k: int) -> Any:
    """Return the chart of mean weights with their range over seeds; a start of its own is an open mark."""
    entries = []
    for column in columns:
        if column.start:
            look = Look(column.arm.look.colour, f"{column.arm.look.symbol.removesuffix('-open')}-open", "dot")
            entries.append(_entry(f"{column.arm.name}, start", look, column, "start", sources))
        entries.append(_entry(column.arm.name, column.arm.look, column, "weights", sources))
    return weight_chart(name, sources, range(min(len(sources), SHOWN_SOURCES)), entries, 1 / max(k, 1))


def _entry(name: str, look: Look, column: ArmWeights, field: str, sources: Sequence[str]) -> dict[str, Any]:
    nothing = Spread(0.0, 0.0, 0.0)
    spreads = [column.spread(field, source) or nothing for source in sources]
    interval = [(s.low, s.high) for s in spreads] if any(s.moves for s in spreads) else None
    return {"name": name, "look": look, "weights": [s.mean for s in spreads], "interval": interval}


def source_groups(
    measures: Sequence[Mapping[str, Any]], named: Mapping[str, ArmView], summary: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """
    Return tables of what was measured on the sources, quantity by quantity, with the average and the worst.

    Each has the columns of one group of mixtures (those for all targets, those for one), the baseline always among
    them; few columns make one table.
    """
    views = []
    for quantity in dict.fromkeys(measure["quantity"] for measure in measures):
        views += _groups_of([m for m in measures if m["quantity"] == quantity], named, summary)
    return views


def _groups_of(
    measures: Sequence[Mapping[str, Any]], named: Mapping[str, ArmView], summary: Mapping[str, Any]
) -> list[dict[str, Any]]:
    over, found = measures[0]["over"], variants(summary)
    names = list(measures[0]["values"])
    targets = {name: found[name][1] for name in names}
    groups: dict[str | None, list[str]] = {}
    for name in names:
        groups.setdefault(targets[name] if len(names) > _ONE_TABLE else None, []).append(name)
    views = []
    for target, own in groups.items():
        shown = own if over in own else [over, *own]
        rows = []
        for measure in measures:
            by_name = {row["arm"].name: row for row in measure["rows"]}
            rows.append({"measure": measure, "cells": [by_name[name] for name in shown if name in by_name]})
        arms = [named[name] for name in shown]
        first = {key: measures[0][key] for key in ("quantity", "in_unit", "higher")}
        views.append({"target": target, "arms": arms, "over": over, "rows": rows, **first})
    return views
