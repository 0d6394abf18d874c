"""Fits of tables of runs: a proposal with how far to believe it."""
