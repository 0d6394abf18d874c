"""Runs: what is searched, compared or trained, from a configuration to a finished run folder."""

from mixwright.lazy import lazy

__all__ = ["drive", "load", "make", "read_summary"]

__getattr__ = lazy(__name__, {"drive": "run", "load": "run", "make": "run", "read_summary": "core.summary"})
