"""Gradient statistics per source, from the training step's own backward pass."""

from mixwright.lazy import lazy

__all__ = ["GradientStatistics", "Sums"]

__getattr__ = lazy(__name__, {"GradientStatistics": "statistics", "Sums": "estimators"}, {"torch": "lm"})
