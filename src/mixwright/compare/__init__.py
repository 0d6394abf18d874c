"""Comparing mixtures honestly: the same seeds, the same budget, intervals of paired differences."""

from mixwright.compare.cells import (
    AVERAGE_OF_SOURCES,
    LOSS,
    WORST_SOURCE,
    ArmInfo,
    Cell,
    Comparison,
    Quantity,
    csv_text,
)
from mixwright.compare.looks import Looks
from mixwright.compare.statistics import PairedDifference, paired_differences
from mixwright.compare.summary import summarise

__all__ = [
    "AVERAGE_OF_SOURCES",
    "LOSS",
    "WORST_SOURCE",
    "ArmInfo",
    "Cell",
    "Comparison",
    "Looks",
    "PairedDifference",
    "Quantity",
    "csv_text",
    "paired_differences",
    "summarise",
]
