"""A run, or a comparison, as one self-contained page, and a search as a page to play with."""

from typing import Any

from mixwright.report.comparison_page import render_comparison, write_comparison
from mixwright.report.page import render, write_report
from mixwright.report.preference_page import render_preference, write_preference
from mixwright.report.training_page import render_training, write_training

__all__ = [
    "render",
    "render_comparison",
    "render_preference",
    "render_training",
    "write_comparison",
    "write_preference",
    "write_report",
    "write_training",
    "write_what_if",
]


def __getattr__(name: str) -> Any:
    """Import `write_what_if` on first use: a run's page needs no search."""
    if name == "write_what_if":
        from mixwright.report.whatif_results import write_what_if

        return write_what_if
    raise AttributeError(f"module 'mixwright.report' has no attribute {name!r}")
