"""A run as one self-contained page."""

from mixwright.report.page import render, write_report

__all__ = ["render", "write_report"]
