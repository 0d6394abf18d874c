"""Training a plan of runs, and what a fit proposed, through comparisons."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mixwright.compare.statistics import paired_differences
from mixwright.errors import InputError
from mixwright.experiment.core.stages import Progress, silent
from mixwright.experiment.core.summary import read_summary
from mixwright.experiment.run import drive, load
from mixwright.files import write_json
from mixwright.runs.design.collect import fill
from mixwright.runs.reading import read_columns
from mixwright.runs.table import RunTable

CONFIRMED = "confirmed.json"
OTHER_SEEDS = 1000  # a confirmation's seeds begin so far behind those of the runs: the incumbent was chosen by its luck


def train_plan(
    plan: Path, config: Path, folder: Path, out: Path, progress: Progress = silent, command: str = "train_plan"
) -> RunTable:
    """
    Train the runs of a plan that `RunPlan.write` wrote, write them with their losses, and return them.

    Parameters
    ----------
    plan
        The .csv file.
    config
        The YAML file of a comparison without `arms`: sources, targets, model, budgets.
    folder
        The run folder; runs that repeat a mixture are comparisons with another seed, in folders beside each other.
        Stopped and called again, it resumes.
    out
        The table of runs to write.
    progress, command
        As for `mixwright.experiment.drive`.

    Raises
    ------
    InputError
        For a plan or a configuration that does not fit; before anything is trained.
    """
    columns = read_columns(plan)
    table = RunTable.from_frame(
        {**_without_losses(columns), "loss:": [0.0] * len(next(iter(columns.values())))}, losses=["loss:"]
    )
    groups = _by_seed(table)
    configs = [_config(config, _arms(table, rows), number) for number, rows in enumerate(groups)]
    values: dict[str, dict[str, float]] = {}
    for number, (one, rows) in enumerate(zip(configs, groups, strict=True)):
        summary = drive(one, folder / f"seed_{number}", progress, command)
        measured = losses_of(summary)
        values |= {table.runs[i]: {t: by_arm[table.runs[i]][0] for t, by_arm in measured.items()} for i in rows}
    return fill(_without_losses(columns), values, out)


def confirm(
    fit: Path, config: Path, folder: Path, seeds: int = 3, progress: Progress = silent, command: str = "confirm"
) -> dict[str, Any]:
    """
    Train a proposal beside the best measured run, natural and uniform weights; compare with what was predicted.

    Parameters
    ----------
    fit
        The folder of a finished `mixwright runs fit`, whose predictions were written before.
    config
        The YAML file that the runs of the table were trained with: that of a comparison, without `arms`.
    folder
        The run folder, which gets `confirmed.json` too.
    seeds
        How many trainings of each mixture, with seeds that no run of a plan has.
    progress, command
        As for `mixwright.experiment.drive`.

    Returns
    -------
    dict
        "verdict", "difference" of the proposal from the incumbent over paired seeds, and per mixture the predicted and
        the measured loss, with their difference and whether the interval has it.

    Raises
    ------
    InputError
        For a fit or a configuration that does not fit; before anything is trained.
    """
    found = read_summary(fit)
    if found.get("kind") != "runs":
        raise InputError(f"{fit} should be a run of mixwright runs fit, found {found.get('kind')!r}")
    if found["fit"]["objective"] != "sum":
        raise InputError(
            f"{fit} should be a fit of one target or of a sum; found objective {found['fit']['objective']}"
        )
    sources = [source["name"] for source in found["sources"]]
    arms = [_arm(one["name"], sources, one["weights"]) for one in found["mixtures"]]
    made = _config(config, arms, OTHER_SEEDS, seeds=seeds, over="incumbent")
    shares = {target["name"]: target["share"] for target in found["targets"] if target["share"] > 0}
    if missing := [name for name in shares if name not in made.targets]:
        raise InputError(f"{config} should have the target {missing[0]!r} of the fit, found none of that name")
    measured = losses_of(drive(made, folder, progress, command))
    result = _scored(found, {m["name"]: _sum(measured, shares, m["name"]) for m in found["mixtures"]})
    write_json(folder / CONFIRMED, result)
    return result


def losses_of(summary: Mapping[str, Any]) -> dict[str, dict[str, list[float]]]:
    """Return {target: {arm: [loss by seed]}} of a comparison; of its sources where it has no targets."""
    kind = "target" if summary["targets"] else "source"
    measures = [m for m in summary["measures"] if m["kind"] == kind]
    first = measures[0]["quantity"] if measures else ""
    own = [m for m in measures if m["quantity"] == first]
    if not own or own[0]["higher"]:
        raise InputError("the comparison should measure losses, lower is better; found none")
    return {m["name"]: m["values"] for m in own}


def _without_losses(columns: Mapping[str, list[Any]]) -> dict[str, list[Any]]:
    return {name: values for name, values in columns.items() if not name.startswith("loss:")}


def _by_seed(table: RunTable) -> list[list[int]]:
    """Return the runs of each seed: a mixture's first run, then its repeats one by one."""
    groups: dict[int, list[int]] = {}
    counted: dict[int, int] = {}
    for i, mixture in enumerate(table.mixtures.tolist()):
        of = table.repeats[i] if table.repeats else None
        elsewhere = of is not None and of not in table.runs  # trained with the first seed in an earlier batch
        number = counted.get(mixture, int(elsewhere))
        counted[mixture] = number + 1
        groups.setdefault(number, []).append(i)
    return [groups.get(number, []) for number in range(max(groups) + 1)]


def _arms(table: RunTable, rows: Sequence[int]) -> list[dict[str, Any]]:
    return [_arm(table.runs[i], table.sources, table.weights[i].tolist()) for i in rows]


def _arm(name: str, sources: Sequence[str], weights: Sequence[float]) -> dict[str, Any]:
    whole = np.array(weights) / np.sum(weights)
    return {"name": name, "weights": dict(zip(sources, whole.tolist(), strict=True))}


def _config(path: Path, arms: list[dict[str, Any]], later: int, seeds: int = 1, **more: Any) -> Any:
    """Return the comparison of some arms, with seeds that begin later than the configuration's own."""
    if not arms:
        return None
    first = load("compare", path, arms=arms, seeds=seeds, **more)
    return load("compare", path, arms=arms, seeds=seeds, seed=first.seed + later, **more) if later else first


def _sum(measured: Mapping[str, Mapping[str, list[float]]], shares: Mapping[str, float], arm: str) -> list[float]:
    """Return the sum of the targets by their shares [seeds]."""
    return np.sum([share * np.array(measured[name][arm]) for name, share in shares.items()], axis=0).tolist()


def _scored(found: Mapping[str, Any], measured: Mapping[str, list[float]]) -> dict[str, Any]:
    level, names = found["fit"]["level"], list(measured)
    differences = paired_differences([measured[name] for name in names], names, "incumbent", level, unit="loss")
    own = next(d for d in differences if d.arm == "proposal")
    mixtures = []
    for one in found["mixtures"]:
        mean, expected = float(np.mean(measured[one["name"]])), one["predicted"]
        inside = None if expected is None else one["low"] <= mean <= one["high"]
        error = None if expected is None else mean - expected
        mixtures.append(
            {key: one[key] for key in ("name", "predicted", "low", "high")}
            | {"measured": mean, "by_seed": measured[one["name"]], "error": error, "inside": inside}
        )
    known = np.isfinite(own.low)
    return {
        "verdict": f"proposal: {own.verdict}",
        "difference": {
            "estimate": own.difference,
            "low": own.low if known else None,
            "high": own.high if known else None,
            "level": level,
        },
        "expected_optimism": found["fit"]["optimism"],
        "mixtures": mixtures,
    }
