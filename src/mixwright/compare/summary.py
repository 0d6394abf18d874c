"""From trained cells to a summary: measures, paired differences, verdicts, costs."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from mixwright.compare.cells import (
    AVERAGE_OF_SOURCES,
    AVERAGE_OF_TARGETS,
    LOSS,
    WORST_SOURCE,
    WORST_TARGET,
    ArmInfo,
    Cell,
    Comparison,
    Quantity,
    tables_of_tasks,
)
from mixwright.compare.documents import doubt_of, doubt_of_several, fewest_clean, make_unverified
from mixwright.compare.questions import add_average, add_intervals
from mixwright.compare.statistics import PairedDifference, paired_differences
from mixwright.version import __version__

SCHEMA = 2  # of summary.json, of all kinds of runs


def summarise(found: Comparison) -> dict[str, Any]:
    """
    Return what the page, the commands and `summary.json` say of a comparison.

    Returns
    -------
    dict
        "measures": for targets, their average and worst, metrics and sources, each with values by arm and seed and the
        paired differences; "arms" with weights and costs; "curves"; "steps_to_baseline"; "verdicts".
    """
    measures = [*_target_measures(found), *_task_measures(found), *_source_measures(found)]
    verdicts = [
        {"measure": m["name"], "arm": d["arm"], "verdict": d["verdict"]}
        for m in measures
        if m["headline"]
        for d in m["differences"]
    ]
    return {
        "schema": SCHEMA,
        "kind": "comparison",
        "version": __version__,
        "seeds": list(found.seeds),
        "over": found.over,
        "level": found.level,
        "error": found.error,
        "detect": found.detect,
        "looks": None if found.looks is None else asdict(found.looks),
        "unit": found.unit,
        "targets": list(found.targets),
        "sources": list(found.sources),
        "arms": [_arm_entry(found, arm) for arm in found.arms],
        "measures": measures,
        "curves": _curves(found),
        "steps_to_baseline": _steps_to_baseline(found),
        "verdicts": verdicts,
        "verdict": _verdict(measures),
        "notes": list(dict.fromkeys(note for cell in found.cells for note in cell.notes)),
    }


def _target_measures(found: Comparison) -> list[dict[str, Any]]:
    """Return a measure for each quantity and target, and for the average and the worst of several targets."""
    measures = []
    for number, quantity in enumerate(found.quantities):
        targets = [t for t in found.targets if _everywhere(found, quantity, t)]
        if not targets:
            continue

        def value(arm: ArmInfo, seed: int, target: str, name: str = quantity.name) -> float:
            return float(found.cell(arm, seed, target).values[name][target])

        for target in targets:
            table = {a.name: [value(a, seed, target) for seed in found.seeds] for a in found.arms}
            measure = _measure(found, target, "target", quantity, table, headline=number == 0)
            measures.append(measure)
            cells = {a.name: [found.cell(a, seed, target) for seed in found.seeds] for a in found.arms}
            add_intervals(measure, cells, quantity, found.level)
            if target in found.held_out:
                _doubt(found, measure, quantity)
        single = measures[len(measures) - len(targets) :]
        if len(targets) > 1:
            for name, join in ((AVERAGE_OF_TARGETS, _mean), (WORST_TARGET, max if not quantity.higher else min)):
                table = {
                    a.name: [float(join([value(a, seed, t) for t in targets])) for seed in found.seeds]
                    for a in found.arms
                }
                measures.append(_measure(found, name, "all targets", quantity, table))
                if name == AVERAGE_OF_TARGETS:
                    add_average(measures[-1], single)
                doubt_of_several(measures[-1], single)
    return measures


def _doubt(found: Comparison, measure: dict[str, Any], quantity: Quantity) -> None:
    """Make verdicts unverified that rest on few documents, or that the documents which no source has do not share."""
    target = measure["name"]
    overlap, clean, documents = found.held_out[target]
    rest, settled = {d["arm"]: d["word"] for d in measure["differences"]}, clean < fewest_clean(documents)
    if overlap and clean >= fewest_clean(documents):
        cells = {a.name: [found.cell(a, seed, target) for seed in found.seeds] for a in found.arms}
        table = {
            arm: [cell.clean.get(quantity.name, {}).get(target, math.nan) for cell in own] for arm, own in cells.items()
        }
        known = np.isfinite(list(table.values())).all()
        own, settled = _measure(found, target, "target", quantity, table)["differences"] if known else [], not known
        rest = dict.fromkeys(rest, "not known: run it again in a new folder") | {d["arm"]: d["word"] for d in own}
    for entry in measure["differences"]:
        doubt = doubt_of(overlap, clean, entry["word"], rest[entry["arm"]], documents)
        if doubt and entry["word"] != "unverified":
            make_unverified(entry, doubt, settled)


def _everywhere(found: Comparison, quantity: Quantity, target: str) -> bool:
    """Whether every arm and seed measured a quantity on a target, with the mixture that is for it."""
    cells = [found.cell(arm, seed, target) for arm in found.arms for seed in found.seeds]
    return all(target in cell.values.get(quantity.name, {}) for cell in cells)


def _source_measures(found: Comparison) -> list[dict[str, Any]]:
    """Return measures of the sources for each quantity that all cells have; an arm's mixtures apart."""
    measures = []
    for quantity in found.source_quantities:
        if found.sources and all(set(found.sources) <= set(c.of_sources(quantity)) for c in found.cells):
            measures += _quantity_of_sources(found, quantity)
    return measures


def _quantity_of_sources(found: Comparison, quantity: Quantity) -> list[dict[str, Any]]:
    """Return a measure for the average, the worst and each source."""
    rows, over = _rows(found), _over(found)
    worst = min if quantity.higher else max
    joins: list[tuple[str, Callable[[Mapping[str, float]], float]]] = [
        (AVERAGE_OF_SOURCES, lambda values: _mean([values[s] for s in found.sources])),
        (WORST_SOURCE, lambda values: worst(values[s] for s in found.sources)),
    ]
    joins += [(source, lambda values, source=source: values[source]) for source in found.sources]  # type: ignore[misc]
    measures = []
    for number, (name, join) in enumerate(joins):
        table = {arm: [float(join(cell.of_sources(quantity))) for cell in cells] for arm, cells in rows.items()}
        kind = "source" if number > 1 else "all sources"
        headline = (quantity.name, name) in found.judged and kind == "all sources" and not found.targets
        measures.append(_measure(found, name, kind, quantity, table, headline=headline, over=over))
    return measures


def _task_measures(found: Comparison) -> list[dict[str, Any]]:
    """Return a measure for each task and metric of another evaluator; an arm's mixtures apart."""
    tables, over = tables_of_tasks(_rows(found)), _over(found)
    return [_measure(found, task, "task", quantity, table, over=over) for task, quantity, table in tables]


def _rows(found: Comparison) -> dict[str, list[Cell]]:
    """Return the cells by seed of each arm, and of each mixture where an arm has one for each target."""
    return {
        _variant(arm, target): [found.cell(arm, seed, target) for seed in found.seeds]
        for arm in found.arms
        for target in (found.targets if arm.per_target else [None])
    }


def _over(found: Comparison) -> str:
    """Return the name in `_rows` of what the others are compared with."""
    base = next(arm for arm in found.arms if arm.name == found.over)
    return _variant(base, _first(base, found))


def _first(arm: ArmInfo, found: Comparison) -> str | None:
    return found.targets[0] if arm.per_target else None


def _variant(arm: ArmInfo, target: str | None) -> str:
    return f"{arm.name} ({target})" if arm.per_target else arm.name


def _measure(
    found: Comparison,
    name: str,
    kind: str,
    quantity: Quantity,
    table: Mapping[str, list[float]],
    headline: bool = False,
    over: str | None = None,
) -> dict[str, Any]:
    names = list(table)
    differences = paired_differences(
        [table[arm] for arm in names],
        names,
        over or found.over,
        found.level,
        found.error,
        quantity.words,
        quantity.higher,
        found.looks,
        found.detect,
    )
    return {
        "name": name,
        "kind": kind,
        "quantity": quantity.name,
        "unit": quantity.unit,
        "higher": quantity.higher,
        "headline": headline,
        "values": dict(table),
        "differences": [_difference_entry(d) for d in differences],
    }


def _difference_entry(d: PairedDifference) -> dict[str, Any]:
    known = math.isfinite(d.low)
    return {
        "arm": d.arm,
        "over": d.over,
        "difference": d.difference,
        "low": d.low if known else None,
        "high": d.high if known else None,
        "unpaired": None,  # of comparisons of former versions
        "design": d.design,
        "p": d.p if known else None,
        "p_worse": d.p_worse if known else None,
        "detectable": d.detectable if math.isfinite(d.detectable) else None,
        "goal": d.goal,
        "seeds_needed": d.needed,
        **({} if d.looks is None else {"decided": d.decided, "small": d.small and d.word == "no better"}),
        "word": d.word,
        "verdict": d.verdict,
    }


def _drawn(cells: Sequence[Cell], sources: Sequence[str]) -> dict[str, Any]:
    """Return what the rows of a mixture were drawn by over seeds, if not by its weights."""
    if not all(cell.sampling for cell in cells):
        return {}
    return {"sampling": {s: [(cell.sampling or {}).get(s, 0.0) for cell in cells] for s in sources}}


def _arm_entry(found: Comparison, arm: ArmInfo) -> dict[str, Any]:
    """Return an arm with its mixtures, by target, over seeds, and what it cost."""
    cells = [c for c in found.cells if c.arm == arm.name]
    mixtures = []
    for target in found.targets if arm.per_target else [None]:
        own = [found.cell(arm, seed, target) for seed in found.seeds]
        mixtures.append(
            {
                "target": target,
                "weights": {s: [c.weights.get(s, 0.0) for c in own] for s in _sources_of(found, own)},
                "start": {s: [c.start.get(s, 0.0) for c in own if c.start] for s in _sources_of(found, own)}
                if all(c.start for c in own)
                else None,
                "epochs": {s: [c.epochs.get(s, 0.0) for c in own] for s in _sources_of(found, own)}
                if any(c.epochs for c in own)
                else None,
                **_drawn(own, _sources_of(found, own)),
            }
        )
    return {
        "name": arm.name,
        "kind": arm.kind,
        "words": arm.words,
        "per_target": arm.per_target,
        "mixtures": mixtures,
        "steps": _mean([c.steps for c in cells]),
        "amount": _mean([c.amount for c in cells]),
        "search_cost": _mean([c.search_cost for c in cells]),
        "total_cost": _mean([c.total_cost for c in cells]),
        "most_epochs": max(c.most_epochs for c in cells),
    }


def _sources_of(found: Comparison, cells: Sequence[Cell]) -> list[str]:
    """Return the sources of the comparison, and those that only these cells have (the target's own rows)."""
    return list(dict.fromkeys([*found.sources, *(s for c in cells for s in c.weights)]))


def _curves(found: Comparison) -> list[dict[str, Any]]:
    """Return the loss curves of every target, arm and seed."""
    curves = []
    for target in found.goals:
        for arm in found.arms:
            for seed in found.seeds:
                points = _points(found.cell(arm, seed, target), target)
                if len(points) > 1:
                    curves.append({"target": target, "arm": arm.name, "seed": seed, "points": points})
    return curves


def _points(cell: Cell, target: str) -> list[dict[str, Any]]:
    return [
        {"step": p["step"], "amount": p["amount"], "loss": p["loss"][target]} for p in cell.curve if target in p["loss"]
    ]


def _steps_to_baseline(found: Comparison) -> list[dict[str, Any]]:
    """
    Return at which step each arm's curve is as low as that of `over` at its end.

    Steps are those at which losses were measured; None where the arm never comes that low.
    """
    base = next(arm for arm in found.arms if arm.name == found.over)
    entries = []
    for target in found.goals:
        ends = [_points(found.cell(base, seed, target), target) for seed in found.seeds]
        if not all(ends):
            continue
        for arm in found.arms:
            reached = []
            for seed, end in zip(found.seeds, ends, strict=True):
                points = _points(found.cell(arm, seed, target), target)
                reached.append(next((p["step"] for p in points if p["loss"] <= end[-1]["loss"]), None))
            entries.append(
                {"target": target, "arm": arm.name, "steps": reached, "of": [end[-1]["step"] for end in ends]}
            )
    return entries


def _verdict(measures: Sequence[Mapping[str, Any]]) -> str:
    """Return one sentence for all arms and headline measures."""
    parts = []
    for measure in measures:
        if measure["headline"]:
            words: dict[str, list[str]] = {}
            for d in measure["differences"]:
                words.setdefault(d["word"], []).append(d["arm"])
            over = measure["differences"][0]["over"] if measure["differences"] else ""
            said = [
                f"{', '.join(arms)} {'unverified against' if word == 'unverified' else word + ' than'} {over}"
                for word, arms in words.items()
            ]
            parts.append(f"{_named(measure)}: {'; '.join(said) or 'one arm, nothing to compare'}")
    return ". ".join(parts)


def _named(measure: Mapping[str, Any]) -> str:
    """Return a measure's name, with its quantity where that is not the loss or of a target."""
    plain = measure["quantity"] == LOSS.name or measure["kind"] != "all sources"
    return measure["name"] if plain else f"{measure['quantity']}, {measure['name']}"


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values))
