"""The summary of a search over assays: what the page, `mixwright show` and other tools read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from mixwright.assays.arms import held_out_labels
from mixwright.assays.compare import CALIBRATION_WORDS, judge_of, judged_arms, verdict
from mixwright.assays.data import AssayTable, Ints
from mixwright.assays.judge import Judge, few_positives, mean_count
from mixwright.assays.plan import AssayPlan
from mixwright.assays.splits import trainable
from mixwright.assays.trial import ALONE, BORROWED, ENOUGH, MIXTURE, Trial
from mixwright.experiment.core.searches import search_entry, without_weights
from mixwright.mixture_file import MixtureFile
from mixwright.search.mixmin import MixMinResult

if TYPE_CHECKING:
    from mixwright.experiment.assays.config import AssaysConfig
    from mixwright.experiment.assays.seed_run import SeedRun

_NEXT = (
    "The row weights are in row_weights.parquet: one line per (row of the table, source), to be given to any model of "
    "your own as sample_weight. Molecules that are held out are not in it."
)


def assay_search_entry(
    config: AssaysConfig, plan: AssayPlan, found: MixMinResult, file: MixtureFile, calibration: str, trial: Trial | None
) -> dict[str, Any]:
    """Return what the summary says about a search, with its weights; `documents` are molecules."""
    return {
        **search_entry(found, file, config.target, config.search),
        "method": f"MixMin, proxies {CALIBRATION_WORDS[calibration]}",
        "calibration": calibration,
        "documents": len(np.unique(plan.table.molecules[plan.split.train])),
        "scaffolds": int(found.documents) if plan.split.kind == "scaffold" else None,
        "trial": None if trial is None else _trial(trial),
    }


def make_summary(config: AssaysConfig, table: AssayTable, runs: Sequence[SeedRun], reading: float) -> dict[str, Any]:
    """Return the summary of a run without its head; `reading`: seconds that the table and its fingerprints took."""
    first = runs[0]
    plan, target = first.plan, config.target
    names = [*plan.sources, *([target] if target not in plan.sources else [])]
    arms = list(first.arms)
    judge = judge_of(
        [(run.plan, {name: trained.probability for name, trained in run.arms.items()}) for run in runs],
        config.search.level,
    )
    held = mean_count([_held_out_molecules(run) for run in runs])
    rows, positives = held_out_counts([run.plan for run in runs])
    return {
        "seeds": [run.seed for run in runs],
        "split": config.split.kind,
        "sources": [
            {"name": name, "documents": len(trainable(table, name, plan.split.allowed)), "tokens": None}
            for name in names
        ],
        "targets": [
            {
                "name": target,
                "documents": len(np.unique(table.molecules[plan.split.train])),
                "rows": len(plan.split.train),
                "positives": int(plan.labels.sum()),
                "held_out_documents": held,
                "held_out_rows": rows,
                "held_out_positives": positives,
                "held_out_tokens": None,
            }
        ],
        "searches": _searches(first),
        "mixtures": [_mixture(arm.arm, names) for arm in first.arms.values()],
        "runs": [_run(name, runs, target) for name in first.arms],
        "comparisons": _comparisons(target, judge, first),
        "cost": _cost(runs, reading),
        "notes": _notes(table, runs, judge, few_positives(rows, positives)),
        "verdict": verdict(judge, arms, target),
    }


def _searches(first: SeedRun) -> list[dict[str, Any]]:
    """Return the searches of the first seed, without weights; intervals get a place for the target where it is none."""
    names = [arm.arm.name for arm in first.arms.values() if arm.arm.kind == "search"]
    entries = []
    for name, entry in zip(names, without_weights(list(first.searches.values())), strict=True):
        if entry["interval"] and first.plan.split.target not in first.plan.sources:
            entry["interval"] = [*entry["interval"], [0.0, 0.0]]
        entries.append({"mixture": name, **entry})
    return entries


def _mixture(arm: Any, names: Sequence[str]) -> dict[str, Any]:
    weights = dict(zip(arm.sources, arm.weights, strict=True))
    return {"name": arm.name, "kind": arm.kind, "weights": [weights.get(name, 0.0) for name in names]}


def _run(name: str, runs: Sequence[SeedRun], target: str) -> dict[str, Any]:
    arms = [run.arms[name] for run in runs]
    scores = [arm.average_precision for arm in arms]
    return {
        "mixture": name,
        "rows": arms[0].rows,
        "seconds": round(sum(arm.seconds for arm in arms), 3),
        "average_precision": {target: float(np.mean(scores))},
        "by_seed": scores,
    }


def held_out_counts(plans: Sequence[AssayPlan]) -> tuple[float, float]:
    """Return how many rows of the target are held out, and how many of them have a 1: means over seeds."""
    labels = [held_out_labels(plan) for plan in plans]
    return float(np.mean([len(part) for part in labels])), float(np.mean([(part == 1).sum() for part in labels]))


def _comparisons(target: str, judge: Judge, first: SeedRun) -> list[dict[str, Any]]:
    """Return every arm over uniform, and the searches over what else they have to beat."""
    entries = []
    kinds = {name: trained.arm.kind for name, trained in first.arms.items()}
    for name, kind in kinds.items():
        for over in kinds:
            wanted = over == "uniform" or (kind == "search" and kinds[over] != "search")
            if name != over and wanted:
                found = judge.differences(judged_arms(kinds, name), over)[name]
                entries.append(
                    {
                        "target": target,
                        "mixture": name,
                        "over": over,
                        "difference": found.value,
                        "low": found.low,
                        "high": found.high,
                        "level": found.level,
                        "among": found.among,
                        "drawn": found.drawn,
                        "verdict": found.verdict(over),
                    }
                )
    return entries


def _held_out_molecules(run: SeedRun) -> Ints:
    return run.plan.table.molecules[run.plan.split.test]


def _cost(runs: Sequence[SeedRun], reading: float) -> dict[str, Any]:
    """Return seconds by stage over all seeds, and the proxies' time as a multiple of one final training."""
    final = sum(run.arms["search"].seconds for run in runs)
    proxies = sum(run.seconds["proxies"] + run.seconds["search"] for run in runs)
    seconds = {
        "table": round(reading, 3),
        "proxies": round(sum(run.seconds["proxies"] for run in runs), 3),
        "search": round(sum(run.seconds["search"] for run in runs), 3),
        "final": round(sum(arm.seconds for run in runs for arm in run.arms.values()), 3),
    }
    empty = dict.fromkeys(("proxy_tokens", "proxy_flops", "final_tokens", "final_flops"))
    share = (proxies + reading) / final if final > 0 else None
    return {**empty, "share": share, "final_seconds": final / len(runs), "seconds": seconds}


def _notes(table: AssayTable, runs: Sequence[SeedRun], judge: Judge, few: str | None) -> list[str]:
    alone = [f"There is one source, {runs[0].plan.sources[0]}, so there is nothing to decide: its weight is 1."]
    notes = [
        *(alone if len(runs[0].plan.sources) == 1 else []),
        *([few] if few else []),
        *table.notes,
        *runs[0].plan.notes,
        *runs[0].plan.split.notes,
        *_tried(runs),
    ]
    if len(runs) > 1:
        weights = np.array([next(iter(run.searches.values()))["weights"] for run in runs])
        moved = float(np.abs(weights - weights.mean(0)).max())
        notes.append(
            f"Average precision is the mean over {len(runs)} seeds, {_splits(runs)}; the weights shown and "
            f"handed out come from seed {runs[0].seed}. Over the seeds no weight is more than {moved:.3f} from its "
            "mean."
        )
    if {"search_calibrated", "search_uncalibrated"} & set(runs[0].arms):
        other = "search_uncalibrated" if "search_uncalibrated" in runs[0].arms else "search_calibrated"
        found = judge.differences(judged_arms(runs[0].arms, other), other)["search"]
        notes.append(f"Calibration of the proxies: search is {found.verdict(other)}.")
    if runs[0].plan.fold is None:
        notes.append(
            "Proxies were not trained out of fold: where assays share molecules they have seen those that they score."
        )
    return [*notes, _NEXT]


def _tried(runs: Sequence[SeedRun]) -> list[str]:
    """Return a note on what the trials of the main search chose, or nothing."""
    trials = [trial for run in runs if (trial := next(iter(run.searches.values()))["trial"]) is not None]
    if not trials:
        return []
    words = {MIXTURE: "the mixture", BORROWED: "borrowed rows alone", ALONE: "the target alone"}
    found = {
        name: [trial["average_precision"][name] for trial in trials]
        for name in words
        if all(name in trial["average_precision"] for trial in trials)
    }
    means = ", ".join(f"{words[name]} {np.mean(values):.3f}" for name, values in found.items())
    chosen = [trial["chosen"] for trial in trials]
    counts = ", ".join(f"{words[name]} in {chosen.count(name)}" for name in words if name in chosen)
    several = len(trials) > 1
    taken = f"Of {len(trials)} seeds it took {counts}." if several else f"Here it took {words[chosen[0]]}."
    return [
        "Average precision out of fold on the target's training rows"
        f"{', mean over seeds' if several else ''}: {means}. The search takes the mixture, unless "
        f"another is better (with fewer than {ENOUGH} positives: by more than a standard error). {taken}"
    ]


def _trial(trial: Trial) -> dict[str, Any]:
    gain = {name: [found.value, found.low, found.high] for name, found in trial.gain.items()}
    return {"average_precision": dict(trial.average_precision), "gain": gain, "chosen": trial.chosen}


def _splits(runs: Sequence[SeedRun]) -> str:
    """Say whether the seeds differ in what they hold out."""
    different = len({run.plan.split.test.tobytes() for run in runs})
    if different == 1:
        return "all on the same split (they differ in folds and models alone)"
    return "each with its own split" if different == len(runs) else f"on {different} different splits"
