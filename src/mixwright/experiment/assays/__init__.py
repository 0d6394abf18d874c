"""Runs over assays: search, compare."""
