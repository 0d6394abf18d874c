"""Gradient statistics per source, from the training step's own backward pass."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from mixwright.errors import missing_extra

_LATER = {"GradientStatistics": "statistics", "Sums": "estimators"}

__all__ = ["GradientStatistics", "Sums"]


def __getattr__(name: str) -> Any:
    """Import a public name on first use: the statistics need torch."""
    if name in _LATER:
        try:
            value = getattr(import_module(f"mixwright.gradients.{_LATER[name]}"), name)
        except ModuleNotFoundError as error:
            if error.name != "torch":
                raise
            raise missing_extra("torch", "lm") from None
        globals()[name] = value
        return value
    raise AttributeError(f"module 'mixwright.gradients' has no attribute {name!r}")
