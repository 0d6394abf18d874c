"""What the summary of a comparison must hold before a page is made of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mixwright.report.checks import check_fields, check_version, wrong
from mixwright.report.words import finite

WORDS = ("better", "no better", "worse", "unverified")

_TOP = {"version": "text", "over": "text", "level": "number", "error": "number", "title": "text?", "command": "text?"}
_TOP |= {"data": "text?", "unit": "text", "csv": "text?", "verdict": "text", "detect": "number?"}
_TOP |= {"seeds_changed": "text?"}
_LOOKS = {"at_least": "number", "at_most": "number", "margin": "number?"}
_LISTS = ("seeds", "targets", "sources", "arms", "measures", "curves", "steps_to_baseline", "notes")
_ARM = {"name": "text", "kind": "text", "words": "text", "mixtures": "list"}
_ARM |= dict.fromkeys(("steps", "amount", "search_cost", "total_cost", "most_epochs"), "number")
_MEASURE = {"name": "text", "kind": "text", "quantity": "text", "unit": "text", "differences": "list", "about": "text?"}
_DIFFERENCE = {"arm": "text", "over": "text", "difference": "number", "word": "text", "verdict": "text"}
_DIFFERENCE |= {"low": "number?", "high": "number?", "unpaired": "list?", "doubt": "text?"}
_QUESTIONS = {"value": "number", "low": "number?", "high": "number?", "questions": "number"}
_DIFFERENCE |= dict.fromkeys(("detectable", "goal", "seeds_needed"), "number?")
_CURVE = {"target": "text", "arm": "text", "seed": "number", "points": "list"}
_POINT = {"step": "number", "amount": "number?", "loss": "number"}
_FORECAST = {"made_by": "text?", "about": "text?", "fingerprint": "text?", "fixed": "text?", "csv": "text?"}
_FORECAST |= {"level": "number", "inside": "number", "intervals": "number", "scores": "list", "left_out": "list"}
_SCORE = {"arm": "text", "over": "text?", "target": "text", "quantity": "text?", "unit": "text", "note": "text?"}
_SCORE |= dict.fromkeys(("predicted", "low", "high", "measured", "error"), "number?")
_STEPS = {"target": "text", "arm": "text", "steps": "list", "of": "list"}


def goals_of(summary: Mapping[str, Any]) -> list[str]:
    """Return what loss curves are of: the targets; without any, what is judged instead."""
    return list(summary["targets"]) or [m["name"] for m in summary["measures"] if m["headline"]]


def check_comparison(summary: Mapping[str, Any]) -> None:
    """
    Raise InputError, naming the field, when `summary` cannot be shown as a comparison.

    Parameters
    ----------
    summary : mapping
        What `mixwright.compare.summarise` returned, read from JSON or not.
    """
    if not isinstance(summary, Mapping):
        raise wrong("the summary", "an object", summary)
    check_version(summary)
    if summary.get("kind") != "comparison":
        raise wrong("kind", '"comparison" (see the pages of `mixwright.report.write`)', summary.get("kind"))
    check_fields(summary, _TOP, "", 0)
    for part in _LISTS:
        if not _listed(summary.get(part)):
            raise wrong(part, "a list", summary.get(part))
    if (looks := summary.get("looks")) is not None:
        check_fields(looks, _LOOKS, "looks.", 0)
    _check_names(summary)
    _check_budget(summary)
    for index, arm in enumerate(summary["arms"]):
        _check_arm(arm, f"arms[{index}]", summary)
    known = set(variants(summary))
    for index, measure in enumerate(summary["measures"]):
        _check_measure(measure, f"measures[{index}]", known, len(summary["seeds"]))
    if not any(measure["headline"] for measure in summary["measures"]):
        raise wrong("measures", "a list with at least one headline measure", summary["measures"])
    _check_courses(summary)
    if (forecast := summary.get("forecast")) is not None:
        check_fields(forecast, _FORECAST, "forecast.", 0)
        for index, one in enumerate(forecast["scores"]):
            check_fields(one, _SCORE, f"forecast.scores[{index}].", 0)
            if one.get("inside") not in (True, False, None):
                raise wrong(f"forecast.scores[{index}].inside", "true, false or null", one["inside"])


def completed_comparison(summary: Mapping[str, Any]) -> dict[str, Any]:
    """Return a checked summary in which every field that may be absent is there, as null."""
    absent = ("title", "command", "data", "budget", "cost", "csv", "forecast", "detect", "looks", "seeds_changed")
    whole = dict.fromkeys(absent) | dict(summary)
    ends = dict.fromkeys(("low", "high", "unpaired", "detectable", "goal", "seeds_needed"))
    whole["measures"] = [
        {
            "about": None,
            "questions": None,
            **measure,
            "differences": [{**ends, **entry} for entry in measure["differences"]],
        }
        for measure in summary["measures"]
    ]
    return whole


def variants(summary: Mapping[str, Any]) -> dict[str, tuple[str, str | None]]:
    """Return (arm, target) for each name under which measures list an arm: an arm has a name for each own mixture."""
    found: dict[str, tuple[str, str | None]] = {}
    for arm in summary["arms"]:
        found[arm["name"]] = (arm["name"], None)
    for arm in summary["arms"]:
        for target in summary["targets"] if arm["per_target"] else ():
            found.setdefault(f"{arm['name']} ({target})", (arm["name"], target))
    return found


def _check_names(summary: Mapping[str, Any]) -> None:
    if not summary["arms"]:
        raise wrong("arms", "a list with at least one entry", summary["arms"])
    if not summary["seeds"] or not all(finite(seed) for seed in summary["seeds"]):
        raise wrong("seeds", "a list of at least one number", summary["seeds"])
    for part in ("targets", "sources", "notes"):
        for index, name in enumerate(summary[part]):
            if not isinstance(name, str):
                raise wrong(f"{part}[{index}]", "a text", name)
    for index, arm in enumerate(summary["arms"]):
        check_fields(arm, _ARM, f"arms[{index}].", 0)
        _check_truth(arm, "per_target", f"arms[{index}]")
    for part in ("targets", "sources", "arms"):
        names = [entry["name"] if part == "arms" else entry for entry in summary[part]]
        for index, name in enumerate(names):
            if name in names[:index]:
                raise wrong(f"{part}[{index}]", "a name that is used once", name)
    _check_known(summary["over"], [arm["name"] for arm in summary["arms"]], "over", "arms")


def _check_budget(summary: Mapping[str, Any]) -> None:
    if (budget := summary.get("budget")) is not None:
        check_fields(budget, {"amount": "number"}, "budget.", 0)
        _check_truth(budget, "charged", "budget")
    if (cost := summary.get("cost")) is not None and not isinstance(cost, Mapping):
        raise wrong("cost", "an object", cost)


def _check_arm(arm: Mapping[str, Any], where: str, summary: Mapping[str, Any]) -> None:
    for index, mixture in enumerate(arm["mixtures"]):
        inner = f"{where}.mixtures[{index}]"
        check_fields(mixture, {"target": "text?"}, f"{inner}.", 0)
        if mixture.get("target") is not None:
            _check_known(mixture["target"], summary["targets"], f"{inner}.target", "targets")
        for field in ("weights", "start", "epochs", "sampling"):
            if field == "weights" or mixture.get(field) is not None:
                _check_series(mixture.get(field), f"{inner}.{field}", len(summary["seeds"]))


def _check_measure(measure: Any, where: str, known: set[str], seeds: int) -> None:
    check_fields(measure, _MEASURE, f"{where}.", 0)
    for field in ("higher", "headline"):
        _check_truth(measure, field, where)
    _check_series(measure.get("values"), f"{where}.values", seeds)
    for name in measure["values"]:
        _check_known(name, known, f"{where}.values", "arms")
    _check_questions(measure, where)
    for index, entry in enumerate(measure["differences"]):
        inner = f"{where}.differences[{index}]"
        check_fields(entry, _DIFFERENCE, f"{inner}.", 0)
        for field in ("arm", "over"):
            _check_known(entry[field], measure["values"], f"{inner}.{field}", "values")
        if entry["word"] not in WORDS:
            raise wrong(f"{inner}.word", f"one of {', '.join(WORDS)}", entry["word"])
        pair = entry.get("unpaired")
        if pair is not None and (len(pair) != 2 or not all(finite(end) for end in pair)):
            raise wrong(f"{inner}.unpaired", "[low, high]", pair)


def _check_questions(measure: Mapping[str, Any], where: str) -> None:
    """Check the intervals over questions of a measure, where it has them: one for each arm."""
    if (asked := measure.get("questions")) is None:
        return
    if not isinstance(asked, Mapping):
        raise wrong(f"{where}.questions", "an object", asked)
    for name in measure["values"]:
        _check_known(name, asked, f"{where}.values", "questions")
        check_fields(asked[name], _QUESTIONS, f"{where}.questions[{name!r}].", 0)


def _check_courses(summary: Mapping[str, Any]) -> None:
    """Check the loss curves and the steps to the baseline's loss."""
    arms = [arm["name"] for arm in summary["arms"]]
    for part, fields in (("curves", _CURVE), ("steps_to_baseline", _STEPS)):
        for index, entry in enumerate(summary[part]):
            where = f"{part}[{index}]"
            check_fields(entry, fields, f"{where}.", 0)
            _check_known(entry["arm"], arms, f"{where}.arm", "arms")
            _check_known(entry["target"], goals_of(summary), f"{where}.target", "targets")
            for number, point in enumerate(entry.get("points", ())):
                check_fields(point, _POINT, f"{where}.points[{number}].", 0)
            for field in ("steps", "of") if part == "steps_to_baseline" else ():
                if not all(finite(step) or (step is None and field == "steps") for step in entry[field]):
                    raise wrong(f"{where}.{field}", "a list of numbers", entry[field])


def _check_series(value: Any, where: str, seeds: int) -> None:
    """Check an object of lists with a number for each seed."""
    if not isinstance(value, Mapping):
        raise wrong(where, "an object", value)
    for name, numbers in value.items():
        if not _listed(numbers) or len(numbers) != seeds or not all(finite(number) for number in numbers):
            raise wrong(f"{where}[{name!r}]", "a finite number for each seed", numbers)


def _check_truth(entry: Mapping[str, Any], field: str, where: str) -> None:
    if not isinstance(entry.get(field), bool):
        raise wrong(f"{where}.{field}", "true or false", entry.get(field))


def _check_known(name: Any, known: Any, where: str, part: str) -> None:
    if name not in known:
        raise wrong(where, f"the name of one of the {part}", name)


def _listed(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str | bytes)
