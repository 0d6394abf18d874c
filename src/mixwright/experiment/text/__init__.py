"""Runs over texts: search, train, compare."""
