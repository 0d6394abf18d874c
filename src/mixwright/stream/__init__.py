"""The stream: weights to rows."""

from mixwright.stream.ledger import Ledger
from mixwright.stream.plan import Plan, PlannedStep
from mixwright.stream.static_plan import StaticPlan

__all__ = ["Ledger", "Plan", "PlannedStep", "StaticPlan"]
