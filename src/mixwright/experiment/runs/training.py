"""Training a plan of runs through comparisons."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mixwright.errors import DryRun, InputError
from mixwright.experiment.core.stages import Progress, silent
from mixwright.experiment.run import drive, load
from mixwright.experiment.text.source_files import source_documents
from mixwright.runs.design.collect import fill
from mixwright.runs.design.launch import planned, seed_numbers
from mixwright.runs.reading import read_columns
from mixwright.runs.table import RunTable

SAME = 0.01  # numbers of tokens that differ by less, as a share, count as the same
LEAST = 2  # documents of a source: one may be held out


def train_plan(
    plan: Path,
    config: Path,
    folder: Path,
    out: Path,
    progress: Progress = silent,
    command: str = "train_plan",
    engine: Any = None,
    track: Any = None,
) -> RunTable:
    """
    Train the runs of a plan that `RunPlan.write` wrote, write them with their losses, and return them.

    Parameters
    ----------
    plan
        The .csv file.
    config
        The YAML file of a comparison without `arms`: sources, targets, model, budgets.
        It has the same tokens as the plan. Where the plan stands for a longer training (`final_tokens`), the runs draw
        from as small a share of each source's documents, and so repeat them as often.
    folder
        The run folder; runs that repeat a mixture are comparisons with another seed, in folders beside each other.
        Stopped and called again, it resumes.
    out
        The table of runs to write.
    progress, command
        As for `mixwright.experiment.drive`.
    engine, track
        In place of the keys of the configuration.

    Raises
    ------
    InputError
        For a plan or a configuration that does not fit; before anything is trained.
    """
    columns = read_columns(plan)
    table = planned(plan)
    groups = _by_seed(table)
    more = _as_planned(config, columns, _arms(table, range(table.n))) | {
        key: value for key, value in (("engine", engine), ("track", track)) if value is not None
    }
    configs = [comparison_of(config, _arms(table, rows), number, **more) for number, rows in enumerate(groups)]
    values, written = dict[str, dict[str, float]](), list[DryRun]()
    for number, (one, rows) in enumerate(zip(configs, groups, strict=True)):
        try:
            measured = measures_of(drive(one, folder / f"seed_{number}", progress, command))
        except DryRun as ended:  # the groups do not build on each other
            written.append(ended)
            continue
        values |= {table.runs[i]: {t: by_arm[table.runs[i]][0] for t, by_arm in measured.items()} for i in rows}
    if written:
        raise DryRun("\n".join(f"{ended}" for ended in written), [path for ended in written for path in ended.scripts])
    return fill(_without_losses(columns), values, out)


def measures_of(summary: Mapping[str, Any]) -> dict[str, dict[str, list[float]]]:
    """Return {target: {arm: [loss by seed]}} of a comparison; of its sources where it has no targets."""
    kind = "target" if summary["targets"] else "source"
    measures = [m for m in summary["measures"] if m["kind"] == kind]
    first = measures[0]["quantity"] if measures else ""
    own = [m for m in measures if m["quantity"] == first]
    if not own or own[0]["higher"]:
        raise InputError("the comparison should measure losses, lower is better; found none")
    return {m["name"]: m["values"] for m in own}


def _as_planned(path: Path, columns: Mapping[str, list[Any]], arms: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the sources to draw from; InputError where the configuration trains on other numbers of tokens."""
    planned, final = (columns.get(name, [None])[0] for name in ("tokens", "epoch_budget_tokens"))
    config = load("compare", path, arms=arms)
    if planned is not None and abs(float(planned) / config.final.tokens - 1) > SAME:
        raise InputError(
            f"{config.where('final', 'tokens')}: should be the tokens of the plan, {float(planned):.12g}, found "
            f"{config.final.tokens}; make them the same"
        )
    return {} if final is None else repeating(config, float(final))


def repeating(config: Any, final: float) -> dict[str, Any]:
    """Return sources so small that a comparison repeats them as often as a training of `final` tokens would."""
    share = config.final.tokens / final
    if share > 1 - SAME:
        return {}
    sources = {}
    for name, source in config.sources.items():
        documents = sum(1 for _ in source_documents(source))
        if (part := round(share * documents)) < LEAST:
            raise InputError(
                f"{config.where('sources', name)}: to repeat it as a training of {final:.3g} tokens would, runs draw "
                f"from {100 * share:.3g} % of it: {part} of {documents} documents, and should have {LEAST}; plan "
                "longer runs (--tokens), or split its documents"
            )
        sources[name] = {**source.model_dump(mode="json", exclude_none=True), "max_documents": part}
    return {"sources": sources}


def _without_losses(columns: Mapping[str, list[Any]]) -> dict[str, list[Any]]:
    return {name: values for name, values in columns.items() if not name.startswith("loss:")}


def _by_seed(table: RunTable) -> list[list[int]]:
    """Return the runs of each seed: a mixture's first run, then its repeats one by one."""
    groups: dict[int, list[int]] = {}
    for i, number in enumerate(seed_numbers(table)):
        groups.setdefault(number, []).append(i)
    return [groups.get(number, []) for number in range(max(groups) + 1)]


def _arms(table: RunTable, rows: Sequence[int]) -> list[dict[str, Any]]:
    return [arm_of(table.runs[i], table.sources, table.weights[i].tolist()) for i in rows]


def arm_of(name: str, sources: Sequence[str], weights: Sequence[float]) -> dict[str, Any]:
    """Return the arm of a comparison that has these weights."""
    whole = np.array(weights) / np.sum(weights)
    return {"name": name, "weights": dict(zip(sources, whole.tolist(), strict=True))}


def comparison_of(path: Path, arms: list[dict[str, Any]], later: int, seeds: int = 1, **more: Any) -> Any:
    """Return the comparison of some arms, with seeds that begin later than the configuration's own."""
    if not arms:
        return None
    first = load("compare", path, arms=arms, seeds=seeds, **more)
    return load("compare", path, arms=arms, seeds=seeds, seed=first.seed + later, **more) if later else first
