"""Steering a run under way: what is set by hand, and the file in the run folder that says so."""

from mixwright.steering.control import Control, follow
from mixwright.steering.hand import Hand

__all__ = ["Control", "Hand", "follow"]
