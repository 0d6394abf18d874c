"""Tables of runs from mixwright's own comparisons."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mixwright.compare.upgrade import upgraded
from mixwright.errors import InputError
from mixwright.runs.table import RunTable


def read_comparisons(folders: Sequence[Path]) -> RunTable:
    """
    Return a run for every arm with fixed weights and every seed of some folders of `mixwright compare`.

    Targets are the comparison's, and the losses of its sources as `source NAME`. Arms whose weights depend on the
    target, or change during training, and quantities that are higher for better are left out.

    Raises
    ------
    InputError
        For a folder without a comparison, comparisons of different sources or targets, or none with such an arm.
    """
    tables = [_of_folder(folder) for folder in folders]
    if not tables:
        raise InputError("there should be at least one folder of a comparison; found none")
    out = tables[0]
    for table in tables[1:]:
        out = out.joined(table)
    return out


def _of_folder(folder: Path) -> RunTable:
    path = folder / "summary.json"
    try:
        found = upgraded(json.loads(path.read_text(encoding="utf-8")))
        arms, measures = found["arms"], found["measures"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{folder} should be the folder of a finished comparison; found none ({error})") from None
    losses: dict[str, Any] = {}
    for measure in measures:  # of several quantities that are lower for better, the first is the one that was judged
        if measure["kind"] in ("target", "source") and not measure["higher"]:
            losses.setdefault(_named(measure), measure["values"])
    sources = found["sources"] or sorted({name for arm in arms for name in arm["mixtures"][0]["weights"]})
    found = found | {"sources": sources}
    rows = [row for arm in arms for row in _rows(arm, losses, found)]
    if not rows or not losses:
        raise InputError(f"{folder} should have an arm with fixed weights and a loss; found none")
    names, weights, values, tokens = zip(*rows, strict=True)
    return RunTable.from_array(
        np.array(weights),
        np.array(values, np.float64),
        sources,
        list(losses),
        sizes=_sizes(arms, sources),
        tokens=np.array(tokens, np.float64),
        runs=[f"{folder.name}/{name}" for name in names],
    )


def _sizes(arms: Sequence[dict[str, Any]], sources: Sequence[str]) -> list[float] | None:
    """Return the tokens that exist of each source, from the epochs that some arm made of it; None where none did."""
    out = []
    for name in sources:
        known = [
            mixture["weights"][name][0] * arm["amount"] / mixture["epochs"][name][0]
            for arm in arms
            for mixture in arm["mixtures"]
            if mixture["epochs"] and mixture["epochs"].get(name, [0.0])[0] > 0
        ]
        out.append(known[0] if known else float("nan"))
    return out if np.isfinite(out).any() else None


def _named(measure: dict[str, Any]) -> str:
    return str(measure["name"]) if measure["kind"] == "target" else f"source {measure['name']}"


def _rows(arm: dict[str, Any], losses: dict[str, Any], found: dict[str, Any]) -> list[tuple[Any, ...]]:
    """Return (name, weights [k], losses [m], tokens) of each seed of an arm."""
    if arm["kind"] == "strategy" or len(arm["mixtures"]) != 1:
        return []
    weights = arm["mixtures"][0]["weights"]
    out = []
    for i, seed in enumerate(found["seeds"]):
        values = [_value(per_arm, arm["name"], i) for per_arm in losses.values()]
        w = [float(weights[name][i]) if name in weights else 0.0 for name in found["sources"]]
        out.append((f"{arm['name']}/{seed}", w, values, arm["amount"]))
    return out


def _value(per_arm: dict[str, Any], arm: str, i: int) -> float:
    """Return one value of a measure; the losses of sources name the target that an arm is for."""
    own = per_arm.get(arm) or next((values for name, values in per_arm.items() if name.startswith(f"{arm} (")), None)
    return float("nan") if own is None else float(own[i])
