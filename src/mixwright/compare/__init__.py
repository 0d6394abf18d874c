"""Comparing mixtures honestly: the same seeds, the same budget, intervals of paired differences."""

from mixwright.compare.statistics import PairedDifference, paired_differences

__all__ = ["PairedDifference", "paired_differences"]
