"""Runs on preference pairs: sft, specialists, train, compare."""
