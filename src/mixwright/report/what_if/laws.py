"""Laws of mixtures for the what-if part: their numbers, what intervals need, and the mixtures to compare with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mixwright.report.what_if.numbers import Mark, PageLaw, make_what_if, packed_json
from mixwright.runs.optimism import MISFIT
from mixwright.runs.optimum.prediction import INSIDE
from mixwright.runs.result import RunSearchResult

Array = NDArray[np.float64]
TOGETHER = "all that counts"  # the name of the sum of several targets, or of their worst regret


def sliders_refused(found: RunSearchResult) -> str:
    """Return why the page cannot compute with the law of a fit, in a sentence; "" where it can."""
    if found.table.phases > 1:
        return "There are no sliders for trainings in phases."
    if any(law.numbers() is None for law in found.choice.taken.fitted):
        return f"There are no sliders for the law {found.law}: it has no formula that a page could hold."
    return ""


def what_if_of_law(found: RunSearchResult, marks: Sequence[Mark], level: float) -> dict[str, Any]:
    """Return the what-if object of a fit of a table of runs, whose law the page can compute with."""
    weights = np.array([mark.weights for mark in marks])
    whole, each = found.predict(weights, level), found.predict_targets(weights, level)
    one = len(found.goal.targets) == 1
    parts = list(each.items()) if one else [(TOGETHER, whole), *each.items()]
    targets = [PageLaw(name, found.fewest[0], *_of_marks(part)) for name, part in parts]
    return make_what_if(
        found.sources,
        targets,
        marks,
        space=found.space,
        seed=found.seed,
        unit="tokens",
        data=packed_json(_data(found, level, one)),
        level=level,
    )


def _of_marks(part: tuple[Array, Array, Array]) -> tuple[list[float], list[tuple[float, float]]]:
    mean, low, high = part
    return mean.tolist(), list(zip(low.tolist(), high.tolist(), strict=True))


def _data(found: RunSearchResult, level: float, one: bool) -> Mapping[str, Any]:
    """Return the laws, the mixtures that they were fitted to, and how each target's interval is made."""
    W, targets = found.mixtures, []
    for each in found.predictors[1:] if one else found.predictors:
        low, high = each.optimism.ends(level)
        best = None if each.goal.best is None else each.goal.best.tolist()
        ends = {"low": [low, MISFIT * each.optimism.rmse], "high": high}
        targets.append({"shares": each.goal.shares.tolist(), "best": best, **ends})
    return {
        "W": W.tolist(),
        "step": 1 / max(float(np.linalg.norm(W, 2)) ** 2, 1e-12),
        "inside": INSIDE,
        "laws": [law.numbers() for law in found.choice.taken.fitted],
        "targets": targets,
    }
