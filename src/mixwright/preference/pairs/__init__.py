"""Preference pairs: reading, checking and encoding them."""

from mixwright.preference.pairs.pairs import Pairs, read_pairs
from mixwright.preference.pairs.splits import leaked_prompts, split_pairs

__all__ = ["Pairs", "leaked_prompts", "read_pairs", "split_pairs"]
