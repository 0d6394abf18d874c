"""What all wrappers share: they hold a strategy and declare what it declares."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from mixwright.source_change import SourceChange
from mixwright.strategy import Strategy, require_strategy

Array = NDArray[np.float64]
S = TypeVar("S", bound=tuple[Any, ...])


@dataclass(frozen=True)
class Wrapper(Strategy[S], Generic[S]):
    """
    A strategy that holds another one; its state has the other's in the field `inner`.

    What it needs, how its weights act, which draws it is right for, where it starts and what it remarks come from the
    strategy inside, unless a wrapper overrides them.

    Parameters
    ----------
    strategy
        The strategy inside, which may be a wrapper too.
    """

    strategy: Strategy[Any]

    also_carries: ClassVar[Mapping[str, str]] = {}  # of the wrapper's own state

    def __post_init__(self) -> None:
        """Check the strategy inside."""
        require_strategy(self.strategy, f"{type(self).__name__} should hold a Strategy")

    @property
    def needs(self) -> frozenset[str]:  # type: ignore[override]
        """The fields that the strategy inside reads."""
        return self.strategy.needs

    @property
    def uses(self) -> frozenset[str]:  # type: ignore[override]
        """The fields that the strategy inside reads where they are given."""
        return self.strategy.uses

    @property
    def apply(self) -> frozenset[str]:  # type: ignore[override]
        """How weights may act."""
        return self.strategy.apply

    @property
    def draw(self) -> frozenset[str]:  # type: ignore[override]
        """The plans that the strategy inside is right for."""
        return self.strategy.draw

    @property
    def excess_clip(self) -> str:  # type: ignore[override]
        """Where the excess loss is clipped."""
        return self.strategy.excess_clip

    @property
    def carries(self) -> Mapping[str, str]:  # type: ignore[override]
        """What goes over to other sources: nothing, if the strategy inside starts again."""
        return {**self.also_carries, **self.strategy.carries} if self.strategy.carries else {}

    def for_sources(self, change: SourceChange) -> Strategy[S]:
        return replace(self, strategy=self.strategy.for_sources(change))

    def starts_at(self, prior: Array) -> Array:
        return self.strategy.starts_at(prior)

    def average(self, state: Any) -> Array | None:
        return self.strategy.average(state.inner)

    def remarks(self, state: Any) -> dict[str, Any]:
        return self.strategy.remarks(state.inner)

    def reads(self) -> frozenset[str]:
        """Return all fields that the strategy inside may read."""
        return self.strategy.needs | self.strategy.uses
