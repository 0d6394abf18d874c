"""What weights are allowed: floors, caps, groups, epochs, a distance from the prior; the mathematics of such sets."""

from mixwright.constraints.limits import Constraints

__all__ = ["Constraints"]
