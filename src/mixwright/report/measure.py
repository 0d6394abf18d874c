"""What the final models of a run are measured by, and the words for it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from mixwright.report.words import digits_of


@dataclass(frozen=True)
class Measure:
    """
    The figure that compares final models.

    Parameters
    ----------
    field
        Its name in the entries of `runs`.
    title, unit
        As in "Held-out loss" and "nats per token"; the unit may be empty.
    higher
        Whether more of it is better.
    examples, amount
        What is held out, and what a training is measured in: documents and tokens, molecules and rows.
    digits
        Behind the point.
    """

    field: str = "loss"
    title: str = "Held-out loss"
    unit: str = "nats per token"
    higher: bool = False
    examples: str = "documents"
    amount: str = "tokens"
    digits: int = 4

    @property
    def name(self) -> str:
        """Return the title within a sentence."""
        return self.title[:1].lower() + self.title[1:]

    @property
    def in_unit(self) -> str:
        """Return the unit after a comma, or nothing."""
        return f", {self.unit}" if self.unit else ""

    @property
    def side(self) -> str:
        """Return the word for the better side."""
        return "higher" if self.higher else "lower"

    @property
    def best(self) -> str:
        """Return the word for the best value."""
        return "highest" if self.higher else "lowest"

    def better(self, low: float, high: float) -> bool:
        """Say whether an interval of a difference lies on the better side of 0."""
        return low > 0 if self.higher else high < 0

    def worse(self, low: float, high: float) -> bool:
        """Say whether an interval of a difference lies on the worse side of 0."""
        return high < 0 if self.higher else low > 0


LOSS = Measure()
AVERAGE_PRECISION = Measure("average_precision", "Average precision", "", True, "molecules", "rows")


def measure_of(summary: Mapping[str, Any], target: str | None = None) -> Measure:
    """
    Return the measure of a summary: by its kind, text where it names none.

    With a target, its digits fit the differences from uniform on it.
    """
    found = [c for c in summary.get("comparisons") or () if c["target"] == target]
    own = [c for c in found if c["over"] == "uniform"] or found
    digits = digits_of(c.get(end) for c in own for end in ("difference", "low", "high"))
    return replace(AVERAGE_PRECISION if summary.get("kind") == "assays" else LOSS, digits=digits)
