"""Accuracy and answer loss of question sets, with intervals over questions."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mixwright.compare.cells import Cell, Quantity
from mixwright.search.resampling.resample import student_quantile

ACCURACY = Quantity("accuracy", "", higher=True)
ANSWER_LOSS = Quantity("answer loss", "nats per byte")
OF_QUESTIONS = (ACCURACY, ANSWER_LOSS)
FEWEST = 30  # questions: with fewer an interval over them is rough
Values = Sequence[float | None]  # of each question; None: it has no other choices, so it says nothing of accuracy


@dataclass(frozen=True)
class OverQuestions:
    """
    A mean over questions with its interval.

    Attributes
    ----------
    value
        The mean; each question counts once.
    low, high
        The interval over questions; None with fewer than 2.
    questions
        How many counted.
    """

    value: float
    low: float | None
    high: float | None
    questions: int

    def to_json(self) -> dict[str, Any]:
        """Return JSON-able values."""
        return {"value": self.value, "low": self.low, "high": self.high, "questions": self.questions}


def over_questions(values: Values, quantity: Quantity, level: float = 0.9) -> OverQuestions:
    """
    Return the mean of a quantity over questions, and how far other questions of the kind would move it.

    The interval of an accuracy is Wilson's, where p (1 - p) stands for the variance of the values: they are not 0 or 1
    alone if they are means over seeds. That of an answer loss is Student's.

    Parameters
    ----------
    values
        [q], of each question; None counts nowhere.
    quantity
        What they are.
    level
        Of the interval.
    """
    known = np.array([value for value in values if value is not None], np.float64)
    n = known.size
    if n < 2:
        return OverQuestions(float(known.mean()) if n else math.nan, None, None, n)
    mean = float(known.mean())
    if quantity.name != ACCURACY.name:
        half = _student(known, level)
        return OverQuestions(mean, mean - half, mean + half, n)
    z = NormalDist().inv_cdf((1 + level) / 2)
    shrunk = 1 + z**2 / n
    middle = (mean + z**2 / (2 * n)) / shrunk
    half = z * math.sqrt(float(known.var()) / n + (z / (2 * n)) ** 2) / shrunk
    return OverQuestions(mean, middle - half, middle + half, n)


def macro_average(sets: Sequence[OverQuestions]) -> OverQuestions:
    """
    Return the mean over question sets, each with the same weight.

    The sets are independent, so the distances from the mean to the ends of their intervals add up in squares.
    """
    value, questions = float(np.mean([s.value for s in sets])), sum(s.questions for s in sets)
    if any(s.low is None or s.high is None for s in sets):
        return OverQuestions(value, None, None, questions)
    down = math.hypot(*(s.value - (s.low or 0.0) for s in sets)) / len(sets)
    up = math.hypot(*((s.high or 0.0) - s.value for s in sets)) / len(sets)
    return OverQuestions(value, value - down, value + up, questions)


def apart(sets: Sequence[tuple[Values, Values]], level: float = 0.9) -> tuple[float, float | None]:
    """
    Return how far two models are apart on average over sets, (first - second), and what it is known to within.

    Parameters
    ----------
    sets
        The values of both on the questions of each set; questions without a value count nowhere.
    level
        Of the interval over questions, which are paired.
    """
    moved = [
        np.array([a - b for a, b in zip(one, other, strict=True) if a is not None and b is not None])
        for one, other in sets
    ]
    halves = [_student(own, level) for own in moved if own.size > 1]
    known = math.hypot(*halves) / len(halves) if len(halves) == len(moved) else None
    return float(np.mean([own.mean() for own in moved])), known


def add_intervals(
    measure: dict[str, Any], cells: Mapping[str, Sequence[Cell]], quantity: Quantity, level: float
) -> None:
    """
    Add to a measure of a question set what its questions say: intervals of arms, and of their differences.

    Parameters
    ----------
    measure
        As `mixwright.compare.summarise` has it; "questions" is added to it and to its differences.
    cells
        {arm: its cells on the target, by seed}.
    quantity, level
        What is measured, and the level of intervals.
    """
    target = measure["name"]
    found = {arm: [cell.questions.get(quantity.name, {}).get(target) for cell in own] for arm, own in cells.items()}
    if not all(values for own in found.values() for values in own):
        return
    means = {arm: _mean_over_seeds([v for v in own if v is not None]) for arm, own in found.items()}
    arms = {arm: over_questions([None if math.isnan(v) else v for v in means[arm]], quantity, level) for arm in means}
    measure["questions"] = {arm: own.to_json() for arm, own in arms.items()}
    for entry in measure["differences"]:
        moved = means[entry["arm"]] - means[entry["over"]]
        known = moved[np.isfinite(moved)]
        entry["over_questions"] = _student(known, level) if known.size > 1 else None
    measure["about"] = _larger(measure)


def add_average(measure: dict[str, Any], single: Sequence[Mapping[str, Any]]) -> None:
    """Add to the average over question sets what `add_intervals` added to each of them."""
    if not all("questions" in own for own in single):
        return
    arms = list(measure["values"])
    measure["questions"] = {
        arm: macro_average([OverQuestions(**own["questions"][arm]) for own in single]).to_json() for arm in arms
    }
    for number, entry in enumerate(measure["differences"]):
        halves = [own["differences"][number]["over_questions"] for own in single]
        known = all(half is not None for half in halves)
        entry["over_questions"] = math.hypot(*halves) / len(halves) if known else None
    measure["about"] = _larger(measure)


def _mean_over_seeds(values: Sequence[Values]) -> NDArray[np.float64]:
    """Return the mean over seeds of each question [q]; NaN where it is not known."""
    table = [[math.nan if value is None else value for value in own] for own in values]
    return np.asarray(np.mean(np.array(table, np.float64), 0))


def _student(values: NDArray[np.float64], level: float) -> float:
    """Return half the width of the interval of the mean of some values."""
    return student_quantile((1 + level) / 2, values.size - 1) * float(values.std(ddof=1)) / math.sqrt(values.size)


def _larger(measure: Mapping[str, Any]) -> str | None:
    """Return a sentence where questions leave a difference more uncertain than seeds do; of the arm where most so."""
    halves = [
        (entry["over_questions"], (entry["high"] - entry["low"]) / 2, entry)
        for entry in measure["differences"]
        if entry["over_questions"] is not None and entry["low"] is not None
    ]
    larger = [(own, seeds, entry) for own, seeds, entry in halves if own > seeds]
    if not larger:
        return None
    own, seeds, entry = max(larger, key=lambda found: found[0] - found[1])
    return (
        f"the questions are the larger uncertainty: the difference of {entry['arm']} from {entry['over']} is known to "
        f"within {own:.2g} over questions and {seeds:.2g} over seeds; other questions may give another verdict"
    )
