"""What answers to question sets say of final models, with intervals over questions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mixwright.compare.questions import OF_QUESTIONS, apart, macro_average, over_questions

AVERAGE_OF_SETS = "average of question sets"
Answers = dict[str, dict[str, list[float | None]]]  # by quantity and target, of each held-out question


def report_of(answers: Answers, level: float) -> list[dict[str, Any]]:
    """
    Return what one final model's answers say: an entry for each quantity and question set, and for their average.

    Returns
    -------
    list of dict
        {"name": target, or `AVERAGE_OF_SETS`, "quantity", "unit", "higher", "level", "value", "low", "high",
        "questions"}; the interval is over questions, and the average weighs sets equally.
    """
    entries = []
    for quantity in (quantity for quantity in OF_QUESTIONS if quantity.name in answers):
        sets = {t: over_questions(v, quantity, level) for t, v in answers[quantity.name].items()}
        if len(sets) > 1:
            sets[AVERAGE_OF_SETS] = macro_average(list(sets.values()))
        about = {"quantity": quantity.name, "unit": quantity.unit, "higher": quantity.higher, "level": level}
        entries += [{"name": name, **about, **found.to_json()} for name, found in sets.items()]
    return entries


def compared(runs: Mapping[str, Answers], over: str, level: float) -> list[dict[str, Any]]:
    """
    Return what the answers of several final models say: as `report_of`, with the models under "mixtures".

    Parameters
    ----------
    runs
        {mixture: its model's answers}.
    over
        The mixture that others are compared with, question by question: "difference", known to "within" on both sides.
    level
        Of the intervals.
    """
    reports = {name: report_of(answers, level) for name, answers in runs.items()}
    entries = []
    for number, entry in enumerate(next(iter(reports.values()), [])):
        quantity, mixtures = entry["quantity"], []
        sets = [entry["name"]] if entry["name"] != AVERAGE_OF_SETS else list(next(iter(runs.values()))[quantity])
        for name, own in reports.items():
            found = {key: own[number][key] for key in ("value", "low", "high", "questions")}
            pairs = [(runs[name][quantity][s], runs[over][quantity][s]) for s in sets] if over in runs else []
            moved = apart(pairs, level) if name != over and pairs else (None, None)
            mixtures.append({"mixture": name, **found, "difference": moved[0], "within": moved[1]})
        kept = {key: entry[key] for key in ("name", "quantity", "unit", "higher", "level")}
        entries.append({**kept, "over": over, "mixtures": mixtures})
    return entries


def mean_of(values: Sequence[float | None]) -> float:
    """Return the mean over the questions that have a value; NaN if none has one."""
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else float("nan")


def means_of(answers: Mapping[str, Mapping[str, Sequence[float | None]]]) -> dict[str, dict[str, float]]:
    """Return {quantity: {target: mean over questions}}."""
    return {quantity: {target: mean_of(v) for target, v in own.items()} for quantity, own in answers.items()}
