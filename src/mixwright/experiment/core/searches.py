"""What searches over every kind of data share: an entry in the summary, words on their evidence, mixture.json."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from mixwright.errors import InputError
from mixwright.experiment.core.config_parts import WeightsConfig
from mixwright.files import atomic_write
from mixwright.mixture_file import MixtureFile
from mixwright.search.mixmin import MixMinResult

_NO_WIDTH = 1e-6  # of an interval of weights
_UNCHECKED = "not checked by training"  # in the verdict of a search that favours its mixture


def resting_on(file: MixtureFile, words: str) -> MixtureFile:
    """Return the file of a search that says what its likelihoods come from, such as count models."""
    verdict = file.verdict.replace(f"; {_UNCHECKED}", f"; from {words}, {_UNCHECKED}")
    return replace(file, method={**file.method, "proxies": words}, verdict=verdict)


def require_choice(where: str, sources: Sequence[str], way_out: str) -> None:
    """Raise InputError if a search has one source alone; `way_out` ends the message."""
    if len(sources) == 1:
        raise InputError(
            f"{where}: a search should have at least two sources, found {sources[0]} alone: there is nothing to "
            f"decide, its weight is 1; {way_out}"
        )


def keep_verdict(folder: Path, verdict: str) -> MixtureFile:
    """Write what trainings found as the verdict of a run's mixture.json, and return that."""
    file = replace(MixtureFile.read(folder / "mixture.json"), verdict=verdict)
    file.write(folder / "mixture.json")
    return file


def once_trained(search: Mapping[str, Any]) -> dict[str, Any]:
    """Return the entry of a search whose mixture was trained: its verdict, of the likelihoods alone, waits for none."""
    return {**search, "verdict": re.sub(f"; (from .*, )?{_UNCHECKED}", "", search["verdict"])}


def search_entry(found: MixMinResult, file: MixtureFile, target: str, chosen: WeightsConfig) -> dict[str, Any]:
    """Return what the summary says about a search, with its weights."""
    return {
        "target": target,
        "unit": found.table.unit,
        "method": "MixMin",
        "prior": chosen.prior if isinstance(chosen.prior, str) else "given",
        "shrinkage": float(found.shrinkage),
        "loss": float(found.loss),
        "objective": float(found.objective),
        "gap": float(found.gap),
        "tolerance": chosen.tolerance,
        "rows": int(found.rows),
        "documents": int(found.documents),
        "level": chosen.level,
        "interval": file.uncertainty.get("interval"),
        "improvement": file.uncertainty.get("improvement"),
        "binding": file.certificate.get("binding", []),
        "verdict": file.verdict,
        "weights": list(file.weights),
    }


def without_width(searches: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return a sentence for each search whose intervals have no width, which looks more certain than it is."""
    notes = []
    for search in searches:
        interval = search.get("interval")
        if interval is None or any(high - low > _NO_WIDTH for low, high in interval):
            continue
        held = (
            f"the shrinkage ({search['shrinkage']:.3g}) or a limit" if search["shrinkage"] else "a limit or a weight 0"
        )
        notes.append(
            f"{search['target']}: the intervals of the weights have no width: each resample of the "
            f"{search['documents']:,} documents ends at the same weights, where {held} holds them. So they do not say "
            "how well the weights are known"
        )
    return notes


def without_weights(searches: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the entries of searches as the summary has them: weights are with the mixtures, seconds with the cost."""
    return [{key: value for key, value in search.items() if key not in ("weights", "seconds")} for search in searches]


def untrained_verdict(search: Mapping[str, Any], words: str) -> str:
    """Return one sentence about a search that no training has checked; `words` as in `resting_on`, or empty."""
    unchecked = "" if _UNCHECKED in search["verdict"] else f"; {f'from {words}, ' if words else ''}{_UNCHECKED}"
    on = f" on {search['target']}" if "target" in search else ""
    return f"{search['mixture']}{on}: {search['verdict']}{unchecked}"


def doubted(verdict: str, doubt: str) -> str:
    """Return the verdict of a search, unverified where there is a doubt."""
    return f"unverified: {doubt}; otherwise {verdict}" if doubt and not verdict.startswith("unverified") else verdict


def hand_out(folder: Path, made: Sequence[tuple[str, Path]], doubt: str = "") -> list[str]:
    """
    Write mixture.json where people look for it: that of the first search; of several targets it says which one it is.

    Returns a note on that for the summary, or nothing.

    Parameters
    ----------
    folder
        The run folder.
    made
        (target, mixture.json within the run folder) of each search.
    doubt
        Why the first search is unverified; empty where it is not.
    """
    (target, first), place = made[0], folder / "mixture.json"
    file = before = MixtureFile.read(first)
    if doubt:
        file = replace(file, verdict=doubted(file.verdict, doubt))
    others = [str(path.relative_to(folder)) for other, path in made if other != target]
    alone = f"for the target {target} alone; those of the others: {', '.join(others)}"
    if others:
        notes = [*file.evidence.get("notes", ()), f"this mixture is {alone}"]
        file = replace(file, evidence={**file.evidence, "target": target, "notes": notes})
    if file is before:
        with atomic_write(place) as handle:
            handle.write(first.read_text(encoding="utf-8"))
    else:
        file.write(place)
    return [f"mixture.json is {alone}"] if others else []
