"""The stream: weights to rows."""

from mixwright.stream.plan import StaticPlan

__all__ = ["StaticPlan"]
