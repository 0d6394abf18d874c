"""Runs, comparisons and searches as self-contained pages."""

from mixwright.lazy import lazy
from mixwright.report.page import read_beside, render, write

__all__ = ["read_beside", "render", "write", "write_what_if"]

__getattr__ = lazy(__name__, {"write_what_if": "what_if.results"})  # a page of a run needs no search
