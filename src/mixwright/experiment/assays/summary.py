"""The summary of a search over assays: what the page, `mixwright show` and other tools read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from mixwright.assays.arms import Difference, compare, held_out_labels, mean_count
from mixwright.assays.compare import CALIBRATION_WORDS
from mixwright.assays.data import AssayTable, Ints
from mixwright.assays.plan import AssayPlan
from mixwright.assays.splits import trainable
from mixwright.mixture_file import MixtureFile
from mixwright.search.mixmin import MixMinResult

if TYPE_CHECKING:
    from mixwright.experiment.assays.config import AssaysConfig
    from mixwright.experiment.assays.seed_run import SeedRun

_NEXT = (
    "The row weights are in row_weights.parquet: one line per (row of the table, source), to be given to any model of "
    "your own as sample_weight. Molecules that are held out are not in it."
)


def search_entry(
    config: AssaysConfig, plan: AssayPlan, found: MixMinResult, file: MixtureFile, calibration: str
) -> dict[str, Any]:
    """Return what the summary says about a search, with its weights; `documents` are molecules."""
    return {
        "target": config.target,
        "unit": "row",
        "method": f"MixMin, proxies {CALIBRATION_WORDS[calibration]}",
        "calibration": calibration,
        "prior": config.search.prior if isinstance(config.search.prior, str) else "given",
        "shrinkage": float(found.shrinkage),
        "loss": float(found.loss),
        "objective": float(found.objective),
        "gap": float(found.gap),
        "tolerance": config.search.tolerance,
        "rows": int(found.rows),
        "documents": len(np.unique(plan.table.molecules[plan.split.train])),
        "scaffolds": int(found.documents) if plan.split.kind == "scaffold" else None,
        "level": config.search.level,
        "interval": file.uncertainty.get("interval"),
        "improvement": file.uncertainty.get("improvement"),
        "binding": file.certificate.get("binding", []),
        "verdict": file.verdict,
        "weights": list(file.weights),
    }


def make_summary(config: AssaysConfig, table: AssayTable, runs: Sequence[SeedRun], reading: float) -> dict[str, Any]:
    """Return the summary of a run without its head; `reading`: seconds that the table and its fingerprints took."""
    first = runs[0]
    plan, target = first.plan, config.target
    names = [*plan.sources, *([target] if target not in plan.sources else [])]
    comparisons = _comparisons(config, runs)
    held = mean_count([_held_out_molecules(run) for run in runs])
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
                "held_out_positives": int(held_out_labels(plan).sum()),
                "held_out_tokens": None,
            }
        ],
        "searches": _searches(first),
        "mixtures": [_mixture(arm.arm, names) for arm in first.arms.values()],
        "runs": [_run(name, runs, target) for name in first.arms],
        "comparisons": comparisons,
        "cost": _cost(runs, reading),
        "notes": _notes(config, table, runs),
        "verdict": _verdict(target, comparisons),
    }


def _searches(first: SeedRun) -> list[dict[str, Any]]:
    """Return the searches of the first seed, without weights; intervals get a place for the target where it is none."""
    names = [arm.arm.name for arm in first.arms.values() if arm.arm.kind == "search"]
    entries = []
    for name, search in zip(names, first.searches.values(), strict=True):
        entry = {key: value for key, value in search.items() if key not in ("weights", "seconds")}
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


def _comparisons(config: AssaysConfig, runs: Sequence[SeedRun]) -> list[dict[str, Any]]:
    """Return every arm over uniform, and the search over what else it has to beat."""
    entries = []
    for name in runs[0].arms:
        for over in runs[0].arms:
            wanted = over == "uniform" or (name == "search" and runs[0].arms[over].arm.kind != "search")
            if name != over and wanted:
                found = _compare(runs, name, over, config.search.level)
                entries.append(
                    {
                        "target": config.target,
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


def _compare(runs: Sequence[SeedRun], name: str, over: str, level: float) -> Difference:
    return compare(
        [held_out_labels(run.plan) for run in runs],
        [_held_out_molecules(run) for run in runs],
        [run.arms[name].probability for run in runs],
        [run.arms[over].probability for run in runs],
        level,
    )


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


def _notes(config: AssaysConfig, table: AssayTable, runs: Sequence[SeedRun]) -> list[str]:
    notes = [*table.notes, *runs[0].plan.notes, *runs[0].plan.split.notes]
    if len(runs) > 1:
        weights = np.array([next(iter(run.searches.values()))["weights"] for run in runs])
        moved = float(np.abs(weights - weights.mean(0)).max())
        notes.append(
            f"Average precision is the mean over {len(runs)} seeds, {_splits(runs)}; the weights shown and "
            f"handed out are those of seed {runs[0].seed}. Over the seeds no weight is more than {moved:.3f} from its "
            "mean."
        )
    if {"search_calibrated", "search_uncalibrated"} & set(runs[0].arms):
        other = "search_uncalibrated" if "search_uncalibrated" in runs[0].arms else "search_calibrated"
        found = _compare(runs, "search", other, config.search.level)
        notes.append(f"Calibration of the proxies: search is {found.verdict(other)}.")
    if runs[0].plan.fold is None:
        notes.append(
            "Proxies were not trained out of fold: where assays share molecules they have seen those that they score."
        )
    return [*notes, _NEXT]


def _splits(runs: Sequence[SeedRun]) -> str:
    """Say whether the seeds differ in what they hold out."""
    different = len({run.plan.split.test.tobytes() for run in runs})
    if different == 1:
        return "all on the same split (they differ in folds and models alone)"
    return "each with its own split" if different == len(runs) else f"on {different} different splits"


def _verdict(target: str, comparisons: Sequence[dict[str, Any]]) -> str:
    """Return one sentence about the search: over uniform with figures, over the rest in words."""
    own = [c for c in comparisons if c["mixture"] == "search"]
    parts = [f"search on {target}: {next(c['verdict'] for c in own if c['over'] == 'uniform')}"]
    words: dict[str, list[str]] = {}
    for comparison in own:
        if comparison["over"] != "uniform" and comparison["low"] is not None:
            word = "better" if comparison["low"] > 0 else "worse" if comparison["high"] < 0 else "no better"
            words.setdefault(word, []).append(comparison["over"])
    return "; ".join(parts + [f"{word} than {' and '.join(names)}" for word, names in words.items()])
