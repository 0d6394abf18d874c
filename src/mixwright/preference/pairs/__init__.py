"""Preference pairs: reading, checking and encoding them."""

from mixwright.preference.pairs.pairs import Pairs, leaked_prompts, read_pairs, split_pairs

__all__ = ["Pairs", "leaked_prompts", "read_pairs", "split_pairs"]
