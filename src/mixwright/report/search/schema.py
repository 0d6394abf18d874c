"""What a summary must hold before a page is made of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mixwright.errors import InputError
from mixwright.report.search.measure import Measure, measure_of
from mixwright.report.words import finite

SCHEMA = 1

# text, number, weights (k numbers), losses (target or source -> number), list; "?" marks what may be null or absent
_TOP = {"version": "text", "title": "text", "command": "text", "created": "text", "seed": "number", "verdict": "text"}
_ENTRIES: dict[str, dict[str, str]] = {
    "sources": {"name": "text", "documents": "number?", "tokens": "number?"},
    "targets": {
        "name": "text",
        "documents": "number?",
        "rows": "number?",
        "held_out_documents": "number?",
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
        "verdict": "text",
    },
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
_SAYS = {
    "text": "a text",
    "number": "a finite number",
    "weights": "one finite number >= 0 per source",
    "intervals": "one [low, high] per source",
    "losses": "an object of finite numbers",
    "improvement": "an object",
    "list": "a list",
}


def check_summary(summary: Mapping[str, Any]) -> None:
    """Raise InputError, naming the field, when `summary` cannot be shown."""
    if not isinstance(summary, Mapping):
        raise _wrong("the summary", "an object", summary)
    _check_version(summary)
    _check_fields(summary, _TOP, "", 0)
    k = len(summary["sources"]) if isinstance(summary.get("sources"), Sequence) else 0
    for part, fields in _fields(measure_of(summary)).items():
        for index, entry in enumerate(_entries(summary, part)):
            where = f"{part}[{index}]"
            _check_fields(entry, fields, f"{where}.", k)
            _check_inner(entry, part, where)
    for part in ("sources", "mixtures"):
        if not summary[part]:
            raise _wrong(part, "a list with at least one entry", summary[part])
    if summary.get("cost"):
        _check_fields(summary["cost"], _COST, "cost.", k)
    _check_names(summary)


def completed(summary: Mapping[str, Any]) -> dict[str, Any]:
    """Return a checked summary in which every field that may be absent is there, as null or as an empty list."""
    whole = {**summary, "cost": _filled(summary.get("cost"), _COST) or None}
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


def _fields(measure: Measure) -> dict[str, dict[str, str]]:
    """Return the fields of all entries; those of runs depend on what they are measured by."""
    if measure.field == "loss":
        return _ENTRIES
    return {**_ENTRIES, "runs": {**_MEASURED, measure.field: "losses"}}


def _filled(entry: Mapping[str, Any] | None, fields: Mapping[str, str]) -> dict[str, Any]:
    return {**dict.fromkeys(fields), **entry} if entry else {}


def _check_version(summary: Mapping[str, Any]) -> None:
    schema = summary.get("schema")
    if not isinstance(schema, int) or isinstance(schema, bool):
        raise _wrong("schema", f"the number {SCHEMA}", schema)
    if schema > SCHEMA:
        raise InputError(
            f"summary: schema should be at most {SCHEMA}, found {schema}: a newer mixwright wrote it; "
            "install that version (pip install --upgrade mixwright) to make its page"
        )
    if schema < 1:
        raise _wrong("schema", f"the number {SCHEMA}", schema)


def _entries(summary: Mapping[str, Any], part: str) -> Sequence[Any]:
    found = summary.get(part)
    if found is None and part in _MAY_BE_ABSENT:
        return ()
    if not isinstance(found, Sequence) or isinstance(found, str | bytes):
        raise _wrong(part, "a list", found)
    return found


def _check_fields(entry: Any, fields: Mapping[str, str], where: str, k: int) -> None:
    if not isinstance(entry, Mapping):
        raise _wrong(where.rstrip("."), "an object", entry)
    for name, kind in fields.items():
        value = entry.get(name)
        if value is None and kind.endswith("?"):
            continue
        kind = kind.rstrip("?")
        if not _fits(value, kind, k):
            raise _wrong(f"{where}{name}", _SAYS[kind], value)


def _fits(value: Any, kind: str, k: int) -> bool:
    listed = isinstance(value, Sequence) and not isinstance(value, str | bytes)
    if kind == "text":
        return isinstance(value, str)
    if kind == "number":
        return finite(value)
    if kind == "weights":
        return listed and len(value) == k and all(finite(v) and v >= 0 for v in value)
    if kind == "intervals":
        return listed and len(value) == k and all(_is_pair(pair) for pair in value)
    if kind == "losses":
        return isinstance(value, Mapping) and all(isinstance(n, str) and finite(v) for n, v in value.items())
    return listed if kind == "list" else isinstance(value, Mapping)


def _is_pair(value: Any) -> bool:
    return (
        isinstance(value, Sequence) and not isinstance(value, str) and len(value) == 2 and all(finite(v) for v in value)
    )


def _check_inner(entry: Mapping[str, Any], part: str, where: str) -> None:
    if part == "searches" and entry.get("improvement") is not None:
        _check_fields(entry["improvement"], _IMPROVEMENT, f"{where}.improvement.", 0)
    if part == "runs":
        for index, point in enumerate(entry.get("curve") or ()):
            _check_fields(point, _POINT, f"{where}.curve[{index}].", 0)


def _check_names(summary: Mapping[str, Any]) -> None:
    known: dict[str, set[str]] = {}
    for part in ("sources", "targets", "mixtures"):
        names = [entry["name"] for entry in summary[part]]
        known[part] = set(names)
        for index, name in enumerate(names):
            if name in names[:index]:
                raise _wrong(f"{part}[{index}].name", "a name that is used once", name)
    for part in ("searches", "runs", "comparisons"):
        for index, entry in enumerate(summary.get(part) or ()):
            for field, names_of in (("mixture", "mixtures"), ("over", "mixtures"), ("target", "targets")):
                if field in entry and entry[field] not in known[names_of]:
                    raise _wrong(f"{part}[{index}].{field}", f"the name of one of the {names_of}", entry[field])


def _wrong(where: str, should: str, found: Any) -> InputError:
    shown = "nothing" if found is None else repr(found)
    shown = shown if len(shown) <= 60 else shown[:59] + "…"
    return InputError(f"summary: {where} should be {should}, found {shown}; make the summary again with this version")
