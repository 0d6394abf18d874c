"""Which Mixture a preference trainer gets: of a baseline's name, numbers, a file or a strategy."""

from __future__ import annotations

from typing import Any

from mixwright.errors import InputError
from mixwright.integrations.transformers import make_mixture, weights_of_file
from mixwright.mixture import Mixture
from mixwright.strategies import Static
from mixwright.stream import Sources

BASELINES = ("pooled", "natural", "uniform", "source-normalised")


def baseline(weights: Any, apply: Any, counts: Any, prior: Any) -> tuple[Any, Any, Any, Any]:
    """Return weights, apply, counts and prior, with what a baseline's name stands for."""
    if not isinstance(weights, str) or weights not in BASELINES:
        return weights, apply, counts, prior
    if weights == "uniform":
        return Static(), apply, counts, prior
    if prior is not None:
        raise InputError(f"prior should be left out with weights={weights!r}, which draws by size; found {prior!r}")
    if weights == "source-normalised":
        if apply not in (None, "loss"):
            raise InputError(f"apply should be 'loss' with weights='source-normalised', found {apply!r}")
        return weights, "loss", counts or "expected", "natural"
    return Static(), apply, counts, "natural"


def mixture_of(weights: Any, sources: Sources, settings: dict[str, Any], lag: int) -> Mixture:
    """Return the Mixture of weights in any form."""
    if isinstance(weights, str) and weights == "source-normalised":
        weights = Static([1 / len(sources)] * len(sources))
    return make_mixture(weights_of_file(weights, None, {}, sources.names), sources, settings, lag)


def check_rows(rows: int, prior: Any, apply: str, counts: str | None) -> None:
    """Raise InputError if a step of `rows` pairs may lack a source that its weight should act on; `prior` [k]."""
    least = min(share for share in prior if share > 0)
    if apply == "loss" and counts in (None, "batch") and rows * least < 1 - 1e-9:
        raise InputError(
            f"a step should have a pair of each source to weigh it by, found {rows} pairs a step and a prior of "
            f"{least:.3g}; use a larger batch, another prior, or counts='expected'"
        )


def applied(mixture: Mixture, apply: str | None) -> str:
    """Return how weights act; None: by drawing, if the strategy allows it."""
    return apply or ("sampling" if "sampling" in mixture.strategy.apply else "loss")


def trained_on(mixture: Mixture, train_on: str | None) -> str:
    """Return what is differentiated; None: the excess, if the strategy is about it."""
    return train_on or ("excess" if "excess_loss" in mixture.strategy.needs else "loss")
