"""What a summary must hold before a page is made of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mixwright.report.checks import check_fields, check_version, wrong
from mixwright.report.measure import Measure, measure_of

# text, number, weights (k numbers), losses (target or source -> number), list; "?" marks what may be null or absent
_TOP = {"version": "text", "title": "text", "command": "text", "created": "text", "seed": "number", "verdict": "text"}
_ENTRIES: dict[str, dict[str, str]] = {
    "sources": {"name": "text", "documents": "number?", "tokens": "number?"},
    "targets": {
        "name": "text",
        "documents": "number?",
        "rows": "number?",
        "held_out_documents": "number?",
        "held_out_rows": "number?",
        "held_out_positives": "number?",
        "held_out_tokens": "number?",
    },
    "mixtures": {"name": "text", "kind": "text", "weights": "weights"},
    "searches": {
        "mixture": "text",
        "target": "text",
        "unit": "text",
        "method": "text",
        "prior": "text",
        "shrinkage": "number",
        "loss": "number",
        "objective": "number",
        "gap": "number",
        "tolerance": "number",
        "rows": "number",
        "documents": "number",
        "scaffolds": "number?",
        "level": "number",
        "interval": "intervals?",
        "improvement": "improvement?",
        "binding": "list?",
        "verdict": "text",
    },
    "runs": {
        "mixture": "text",
        "tokens": "number",
        "steps": "number",
        "seconds": "number",
        "loss": "losses",
        "source_loss": "losses?",
        "curve": "list?",
    },
    "comparisons": {
        "target": "text",
        "mixture": "text",
        "over": "text",
        "difference": "number",
        "low": "number?",
        "high": "number?",
        "level": "number",
        "among": "text?",
        "drawn": "text?",
        "word": "text?",
        "verdict": "text",
    },
}
# what a search has that read a target's rows, and one by a proxy run has not
_OF_ROWS = ("target", "unit", "shrinkage", "loss", "objective", "gap", "tolerance", "rows", "documents")
_PROXY_RUN = {
    "method": "text",
    "strategy": "text",
    "prior": "text",
    "steps": "number",
    "tokens": "number",
    "lag": "number",
    "reference": "text?",
    "reference_tokens": "number",
    "weights": "list",
}
_MAY_BE_ABSENT = ("runs", "comparisons")  # a search without final training has neither, and no cost
_COST = {
    "proxy_tokens": "number?",
    "proxy_flops": "number?",
    "final_tokens": "number?",
    "final_flops": "number?",
    "share": "number?",
    "seconds": "losses?",
}
_IMPROVEMENT = {"over": "text", "estimate": "number", "low": "number?", "high": "number?"}
_MEASURED = {"mixture": "text", "rows": "number", "seconds": "number", "by_seed": "list?"}  # runs with another measure
_POINT = {"step": "number", "tokens": "number?", "loss": "losses"}


def check_summary(summary: Mapping[str, Any]) -> None:
    """Raise InputError, naming the field, when `summary` cannot be shown."""
    if not isinstance(summary, Mapping):
        raise wrong("the summary", "an object", summary)
    check_version(summary)
    check_fields(summary, _TOP, "", 0)
    k = len(summary["sources"]) if isinstance(summary.get("sources"), Sequence) else 0
    for part, fields in _fields(measure_of(summary), bool(summary.get("proxy_run"))).items():
        for index, entry in enumerate(_entries(summary, part)):
            where = f"{part}[{index}]"
            check_fields(entry, fields, f"{where}.", k)
            _check_inner(entry, part, where)
    for part in ("sources", "mixtures"):
        if not summary[part]:
            raise wrong(part, "a list with at least one entry", summary[part])
    if summary.get("cost"):
        check_fields(summary["cost"], _COST, "cost.", k)
    if summary.get("proxy_run"):
        check_fields(summary["proxy_run"], _PROXY_RUN, "proxy_run.", k)
        for index, point in enumerate(summary["proxy_run"]["weights"]):
            check_fields(point, {"step": "number", "weights": "weights"}, f"proxy_run.weights[{index}].", k)
    _check_names(summary)


def completed(summary: Mapping[str, Any]) -> dict[str, Any]:
    """Return a checked summary in which every field that may be absent is there, as null or as an empty list."""
    whole = {"proxy_run": None, **summary, "cost": _filled(summary.get("cost"), _COST) or None}
    measure = measure_of(summary)
    for part, fields in _ENTRIES.items():
        whole[part] = [_filled(entry, fields) for entry in summary.get(part) or ()]
    if measure.field != "loss":  # the page reads the measure of a run, whatever it is, as its loss
        for run in whole["runs"]:
            run["loss"], run["tokens"] = run[measure.field], run["rows"]
    for search in whole["searches"]:
        search["improvement"] = _filled(search["improvement"], _IMPROVEMENT) or None
    for run in whole["runs"]:
        run["curve"] = [_filled(point, _POINT) for point in run["curve"] or ()]
    return whole


def _fields(measure: Measure, proxy_run: bool) -> dict[str, dict[str, str]]:
    """Return the fields of all entries; those of runs depend on what they are measured by."""
    if proxy_run:
        optional = {name: _ENTRIES["searches"][name] + "?" for name in _OF_ROWS}
        return {**_ENTRIES, "searches": {**_ENTRIES["searches"], **optional}}
    if measure.field == "loss":
        return _ENTRIES
    return {**_ENTRIES, "runs": {**_MEASURED, measure.field: "losses"}}


def _filled(entry: Mapping[str, Any] | None, fields: Mapping[str, str]) -> dict[str, Any]:
    return {**dict.fromkeys(fields), **entry} if entry else {}


def _entries(summary: Mapping[str, Any], part: str) -> Sequence[Any]:
    found = summary.get(part)
    if found is None and part in _MAY_BE_ABSENT:
        return ()
    if not isinstance(found, Sequence) or isinstance(found, str | bytes):
        raise wrong(part, "a list", found)
    return found


def _check_inner(entry: Mapping[str, Any], part: str, where: str) -> None:
    if part == "searches" and entry.get("improvement") is not None:
        check_fields(entry["improvement"], _IMPROVEMENT, f"{where}.improvement.", 0)
    if part == "runs":
        for index, point in enumerate(entry.get("curve") or ()):
            check_fields(point, _POINT, f"{where}.curve[{index}].", 0)


def _check_names(summary: Mapping[str, Any]) -> None:
    known: dict[str, set[str]] = {}
    for part in ("sources", "targets", "mixtures"):
        names = [entry["name"] for entry in summary[part]]
        known[part] = set(names)
        for index, name in enumerate(names):
            if name in names[:index]:
                raise wrong(f"{part}[{index}].name", "a name that is used once", name)
    for part in ("searches", "runs", "comparisons"):
        for index, entry in enumerate(summary.get(part) or ()):
            for field, names_of in (("mixture", "mixtures"), ("over", "mixtures"), ("target", "targets")):
                if field in entry and entry[field] not in known[names_of]:
                    raise wrong(f"{part}[{index}].{field}", f"the name of one of the {names_of}", entry[field])
