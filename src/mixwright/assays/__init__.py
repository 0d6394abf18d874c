"""Assays: molecules (or other rows of features) with 0/1/missing labels, one source per label column."""

from __future__ import annotations

from importlib import import_module
from typing import Any

_EXPORTS = {
    "AssayComparison": "mixwright.assays.compare",
    "AssaySearch": "mixwright.assays.search",
    "AssayTable": "mixwright.assays.data",
    "Booster": "mixwright.assays.classifiers",
    "Fingerprint": "mixwright.assays.fingerprints",
    "compare_arms": "mixwright.assays.compare",
    "read_assays": "mixwright.assays.files",
    "split_target": "mixwright.assays.splits",
}
__all__ = [
    "AssayComparison",
    "AssaySearch",
    "AssayTable",
    "Booster",
    "Fingerprint",
    "compare_arms",
    "read_assays",
    "split_target",
]


def __getattr__(name: str) -> Any:
    """Import a public name on first use: reading a table does not load a booster."""
    if name in _EXPORTS:
        return getattr(import_module(_EXPORTS[name]), name)
    raise AttributeError(f"module 'mixwright.assays' has no attribute {name!r}")
