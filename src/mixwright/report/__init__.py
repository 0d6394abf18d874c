"""A run, or a comparison, as one self-contained page, and a search as a page to play with."""

from mixwright.lazy import lazy
from mixwright.report.comparison.page import render_comparison, write_comparison
from mixwright.report.page import render, write_report
from mixwright.report.preference.page import render_preference, write_preference
from mixwright.report.training.page import render_training, write_training

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


__getattr__ = lazy(__name__, {"write_what_if": "what_if.results"})  # a page of a run needs no search
