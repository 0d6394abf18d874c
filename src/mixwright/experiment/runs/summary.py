"""What the summary of a fit of a table of runs says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mixwright.compare.forecast import forecast
from mixwright.errors import InputError
from mixwright.mixture_file import MixtureFile
from mixwright.report.what_if.laws import sliders_refused, what_if_of_law
from mixwright.report.what_if.numbers import Mark
from mixwright.runs.dependence import influence, moved_to, sensitivity
from mixwright.runs.optimum.change import OutOfReach
from mixwright.runs.result import RunSearchResult

Array = NDArray[np.float64]
ENDS = ("predicted", "low", "high")
STEPS = 21  # points of a response curve
WISHES = (0.01, 0.02, 0.05)
SAME = 1e-6  # a mixture that is as near as this to a run's, by the sum of differences, is the run's
WISHED = 6  # targets


def described(found: RunSearchResult, file: MixtureFile, level: float, tokens: float | None) -> dict[str, Any]:
    """Return what the summary says of a fit; `tokens` of the training that is predicted, where they are known."""
    best, nested = found.incumbent, found.choice.nested
    low, high = found.optimism_interval(level)
    mixtures = _mixtures(found, file)
    runs, measured, predicted = found.out_of_fold
    sizes: Any = found.table.sizes if found.table.sizes is not None else [None] * len(found.sources)
    return {
        "sources": [{"name": n, "tokens": _known(s)} for n, s in zip(found.sources, sizes, strict=True)],
        "targets": _targets(found),
        "fit": {
            "law": found.law,
            "laws": [{"name": name, **vars(scores)} for name, scores in found.scores.items()],
            "nested": vars(nested),
            "objective": found.settings.objective,  # type: ignore[attr-defined]
            "phases": found.table.phases,
            "tokens": tokens,
            "runs": found.rows,
            "mixtures": found.fewest[0],
            "noise": found.noise,
            "shrinkage": found.shrinkage,
            "gap": _known(found.gap),
            "search": None if np.isfinite(found.gap) else found.search_words,
            "predicted": found.predicted,
            "optimism": {"estimate": found.optimism, "low": low, "high": high},
            "incumbent": {"run": best.run, "loss": best.loss, "repeats": best.repeats},
            "distance": found.distance,
            "outside": found.outside,
            "level": level,
            "interval": file.uncertainty.get("interval"),
            "binding": file.certificate.get("binding", []),
        },
        "mixtures": [{**one, **_forecast(found, one, level)} for one in mixtures],
        "points": {"runs": list(runs), "measured": measured.tolist(), "predicted": predicted.tolist()},
        "responses": _responses(found),
        "sliders": sliders_refused(found),
        "wishes": [] if wishes_refused(found) else _wishes(found, level),
        "no_wishes": wishes_refused(found),
        "sensitivity": _sensitivity(found),
        "influence": [vars(one) for one in influence(found)],
        "notes": list(found.notes),
        "verdict": file.verdict,
    }


def forecast_of(found: Mapping[str, Any]) -> dict[str, Any]:
    """
    Return the forecast of a fit: of its sum of targets; of each, without an interval, where the worst one counts.

    A proposal in phases is left out: no arm of a comparison has phases.
    """
    fit, names = found["fit"], [source["name"] for source in found["sources"]]
    arms = ["proposal"] if fit.get("phases", 1) == 1 else []
    counted = {target["name"]: target for target in found["targets"] if target["share"] > 0}
    shares: Any = {name: target["share"] for name, target in counted.items()}
    arms += [one["name"] for one in found["mixtures"] if one["name"] != "proposal"]
    known = [one for one in found["mixtures"] if one["predicted"] is not None and one["name"] in arms]
    if fit["objective"] == "sum":
        target = next(iter(shares)) if len(shares) == 1 else shares
        entries = [{"arm": one["name"], "target": target, **{key: one[key] for key in ENDS}} for one in known]
    else:
        entries = [{"arm": "proposal", "target": name, "predicted": t["predicted"]} for name, t in counted.items()]
    mixtures = {one["name"]: dict(zip(names, one["weights"], strict=True)) for one in known}
    whole = [{**entry, "weights": mixtures[entry["arm"]]} for entry in entries if entry["arm"] in mixtures]
    return forecast("mixwright runs fit", fit["level"], whole)


def _targets(found: RunSearchResult) -> list[dict[str, Any]]:
    """
    Return the targets with their shares (0: a guardrail, with its limit) and the law's prediction for each.

    `alone` is what the law predicts of the best mixture for the target alone, where the worst regret counts.
    """
    goal = found.goal
    limits = goal.limits if goal.limits is not None else np.full(len(goal.targets), np.inf)
    alone = goal.best if goal.best is not None else np.full(len(goal.targets), np.nan)
    losses = found.predict_targets(found.phase_weights if found.table.phases > 1 else found.weights)
    return [
        {
            "name": name,
            "share": float(share),
            "limit": _known(limit),
            "alone": _known(best),
            "predicted": float(losses[name][0]),
        }
        for name, share, limit, best in zip(goal.targets, goal.shares, limits, alone, strict=True)
    ]


def _known(value: float | None) -> float | None:
    return None if value is None or not np.isfinite(value) else float(value)


def _mixtures(found: RunSearchResult, file: MixtureFile) -> list[dict[str, Any]]:
    """Return the proposal and what it is compared with."""
    k = len(found.sources)
    others = {"incumbent": found.incumbent.weights, "natural": found.natural, "uniform": np.full(k, 1 / k)}
    kinds = {"incumbent": "measured"}
    return [
        {"name": "proposal", "kind": "search", "weights": list(file.weights)},
        *(
            {"name": name, "kind": kinds.get(name, name), "weights": weights.tolist()}
            for name, weights in others.items()
            if weights is not None
        ),
    ]


def _forecast(found: RunSearchResult, mixture: dict[str, Any], level: float) -> dict[str, Any]:
    """Return what a training on a mixture is predicted to measure, and what it did measure."""
    if found.table.phases > 1:
        if mixture["kind"] not in ("search", "natural", "uniform"):  # an incumbent's phases are not in its weights
            return {"predicted": None, "low": None, "high": None, "measured": found.incumbent.loss}
        alike = np.tile(mixture["weights"], (found.table.phases, 1))
        weights = found.phase_weights if mixture["kind"] == "search" else alike
    else:
        weights = np.array(mixture["weights"])
    mean, low, high = found.predict(weights / weights.sum(-1, keepdims=True), level)
    own = weights if weights.ndim == 1 else (weights * found.table.phase_shares[:, None]).ravel()
    measured = found.incumbent.loss if mixture["name"] == "incumbent" else _measured(found, own)
    return {"predicted": float(mean), "low": float(low), "high": float(high), "measured": measured}


def _measured(found: RunSearchResult, flat: Array) -> float | None:
    """Return what a run of the table measured of a mixture [d]; None where none is of it."""
    off = np.abs(found.mixtures - flat / flat.sum()).sum(1)
    return float(found.out_of_fold[1][off.argmin()]) if off.min() <= SAME else None


def _responses(found: RunSearchResult) -> dict[str, Any] | None:
    """
    Return the predicted loss as one source's weight changes and the others keep their proportions.

    Curves run over the weights that runs had; beyond them a law is a guess. None for trainings in phases.
    """
    if found.table.phases > 1:
        return None
    top = found.table.mean_weights.max(0)
    at = np.linspace(0, 1, STEPS)[None] * top[:, None]  # [k, steps]
    losses = [found.predict(moved_to(found.weights, i, at[i]), None).tolist() for i in range(top.size)]
    rate = found.epochs
    return {"weights": at.tolist(), "losses": losses, "epochs": None if rate is None else rate.tolist()}


def wishes_refused(found: RunSearchResult) -> str:
    """Return why there are no wishes, in a sentence; "" where there are."""
    if not all(law.smooth for law in found.choice.taken.fitted):
        return f"There are no wishes for the law {found.law}: it has no slopes."
    if find_spec("scipy") is None:
        return "There are no wishes without scipy; install it with: pip install 'mixwright[runs]'"
    return ""


def _wishes(found: RunSearchResult, level: float) -> list[dict[str, Any]]:
    """Return the smallest change from the best measured run for each wish of each target, or why there is none."""
    pairs = [(name, by) for name in found.goal.targets[:WISHED] for by in WISHES]
    return [_wish(found, name, by, level) for name, by in pairs]


def _wish(found: RunSearchResult, target: str, by: float, level: float) -> dict[str, Any]:
    try:
        change = found.smallest_change(target, by, level=level)
    except InputError as error:
        known = ("before", "least", "certified") if isinstance(error, OutOfReach) else ()
        return {"target": target, "by": by, "refused": str(error), **{name: getattr(error, name) for name in known}}
    weights = {"start": change.start.tolist(), "weights": change.weights.tolist()}
    return {**vars(change), **weights, "unsure": change.unsure, "refused": None}


def _sensitivity(found: RunSearchResult) -> dict[str, Any] | None:
    """Return what moving .05 of the weight to or from each source costs; None for trainings in phases."""
    if found.table.phases > 1:
        return None
    one = sensitivity(found)
    return {"step": one.step, "less": one.less.tolist(), "more": one.more.tolist()}


def what_if_of(found: RunSearchResult, mixtures: Sequence[dict[str, Any]], interval: Any, level: float) -> Any:
    """Return the what-if object of the page; None where the page cannot compute with the law."""
    if sliders_refused(found):
        return None
    ends = None if interval is None else np.array(interval)
    own = [
        Mark(one["name"], one["kind"], np.array(one["weights"]), ends if one["kind"] == "search" else None, level)
        for one in mixtures
    ]
    return what_if_of_law(found, own, level)
