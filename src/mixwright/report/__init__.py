"""Runs, comparisons and searches as self-contained pages, and as sections of model cards."""

from mixwright.lazy import lazy
from mixwright.report.page import read_beside, render, write

__all__ = ["model_card", "read_beside", "render", "write", "write_card", "write_what_if"]

__getattr__ = lazy(
    __name__, {"model_card": "card.text", "write_card": "card.write", "write_what_if": "what_if.results"}
)  # a page of a run needs no search
