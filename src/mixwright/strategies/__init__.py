"""Strategies, one file each."""

from mixwright.strategies.schedule import Schedule
from mixwright.strategies.static import Static

__all__ = ["Schedule", "Static"]
