"""From lines of a run's own files to what a tracker shows: numbers by name, and sentences."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

Numbers = dict[str, float]
_BY_SOURCE = {"source_loss": "loss", "weights": "weight", "shares": "share"}  # of a line of metrics.jsonl
_NAMES = {"grad_norm": "gradient_norm"}  # a Trainer's word
_OF_TRAINER = "mixture/"
_OF_PART = re.compile(r"(.*)@([0-9a-f]*)(?:@sample|@rows)?")
_NOT_SHOWN = ("step", "skipped", "epoch")
_STATISTICS = ("grad_sq_norm", "grad_variance", "excess_loss", "reference_loss")  # of an observation
_MEASURED = {"source": "held_out_loss", "target": "target_loss"}


def numbers_of(line: Mapping[str, Any]) -> Numbers:
    """
    Return what a line of `metrics.jsonl` has: weight/NAME, share/NAME, loss/NAME, loss, gradient_norm ...

    Examples
    --------
    >>> numbers_of({"step": 3, "loss": 2.5, "source_loss": {"web": 2.0, "law": 3.0}, "weights": {"web": 1.0}})
    {'loss': 2.5, 'loss/web': 2.0, 'loss/law': 3.0, 'weight/web': 1.0}
    """
    found: list[tuple[str, Any]] = []
    for key, value in line.items():
        if key in _BY_SOURCE:
            found += [(f"{_BY_SOURCE[key]}/{name}", own) for name, own in value.items()]
        elif key not in _NOT_SHOWN:
            found.append((_NAMES.get(key, key.removeprefix(_OF_TRAINER)), value))
    return _known(found)


def statistics_of(decision: Mapping[str, Any], sources: Sequence[str]) -> Numbers:
    """Return what a line of `decisions.jsonl` has beside the weights: the statistics of each source, the entropy."""
    seen = decision["observation"]
    found = [("entropy", decision.get("entropy"))]
    for field in _STATISTICS:
        found += [(f"{field}/{name}", own) for name, own in zip(sources, seen.get(field) or (), strict=False)]
    return _known(found)


def words_of(decision: Mapping[str, Any], sources: Sequence[str]) -> Iterator[tuple[str, str]]:
    """
    Yield what a line of `decisions.jsonl` says, as ("decision", sentence) and, if there is one, ("alarm", sentence).

    Examples
    --------
    >>> line = {"decision": 0, "begins": 18, "weights": [0.25, 0.75], "remarks": {"alarm": "web is lost"}}
    >>> for kind, said in words_of({**line, "observation": {"step": 9}}, ["law", "web"]):
    ...     print(kind, said)
    decision after step 10, from step 19 on: law 0.25, web 0.75
    alarm after step 10: web is lost
    """
    done = decision["observation"]["step"] + 1
    weights = ", ".join(f"{name} {weight:.4g}" for name, weight in zip(sources, decision["weights"], strict=False))
    yield "decision", f"after step {done}, from step {decision['begins'] + 1} on: {weights}"
    if alarm := decision.get("remarks", {}).get("alarm"):
        yield "alarm", f"after step {done}: {alarm}"


def measured_of(point: Mapping[str, Any]) -> Numbers:
    """
    Return what was measured on held-out documents or pairs: held_out_loss/NAME, target_loss/NAME, ...

    Examples
    --------
    >>> measured_of({"step": 4, "loss": {"source web": 2.5, "target exam": 3.0}})
    {'held_out_loss/web': 2.5, 'target_loss/exam': 3.0}
    >>> measured_of({"step": 4, "loss": {"exam@0f3a": 3.0, "source average@": 2.5}})
    {'target_loss/exam': 3.0, 'held_out_loss': 2.5}
    >>> measured_of({"step": 4, "sources": {"code": {"loss": 0.5, "accuracy": 0.75}}})
    {'held_out_loss/code': 0.5, 'held_out_accuracy/code': 0.75}
    """
    found: list[tuple[str, Any]] = []
    for key, value in point.get("loss", {}).items():
        found.append((_measured(key), value))
    for name, measured in point.get("sources", {}).items():
        found += [(f"held_out_{what}/{name}", value) for what, value in measured.items()]
    return _known(found)


def _measured(key: str) -> str:
    """Return the name of a held-out loss: "source NAME", "target NAME", or a target and what names its documents."""
    if part := _OF_PART.fullmatch(key):  # a comparison's; without a print it is the sources' average
        return f"target_loss/{part[1]}" if part[2] else "held_out_loss"
    kind, _, name = key.partition(" ")
    return f"{_MEASURED[kind]}/{name}" if kind in _MEASURED else key


def _known(found: Sequence[tuple[str, Any]]) -> Numbers:
    """Return the finite numbers: a tracker has no place for what is not known."""
    return {
        name: float(value)
        for name, value in found
        if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    }
