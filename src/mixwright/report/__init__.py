"""A run, or a comparison, as one self-contained page."""

from mixwright.report.comparison_page import render_comparison, write_comparison
from mixwright.report.page import render, write_report

__all__ = ["render", "render_comparison", "write_comparison", "write_report"]
