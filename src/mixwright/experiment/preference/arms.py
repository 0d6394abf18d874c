"""From the weights or the strategy of a configuration to what a trainer of pairs is given."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mixwright.errors import InputError
from mixwright.experiment.core.config_parts import by_source
from mixwright.mixture import Mixture
from mixwright.strategies import from_config
from mixwright.strategy import Strategy, recorded, revisions

_REPORTED = frozenset({"planned", "loss", "excess_loss"})  # what a training of pairs reports to its strategy
_NAMES = {"pooled": "pooled", "uniform": "uniform", "normalised": "source-normalised"}


@dataclass(frozen=True)
class Weighting:
    """How a generalist mixes its sources: weights or a strategy, and how they act."""

    weights: Any
    options: Mapping[str, Any] = field(default_factory=dict)
    gated: bool = False

    @property
    def fixed(self) -> bool:
        """Whether the weights stay."""
        return isinstance(self.weights, str | list)


def fixed(weights: str | Mapping[str, float], names: Sequence[str]) -> Weighting:
    """Return fixed weights: a baseline's name, or {source: weight}."""
    if isinstance(weights, str):
        return Weighting(_NAMES[weights])
    return Weighting([float(weights[name]) for name in names], {"apply": "sampling"})


def following(strategy: str | Mapping[str, Any], names: Sequence[str], **options: Any) -> Weighting:
    """
    Return weights that follow a strategy, checked against what a training of pairs reports.

    Raises
    ------
    InputError
        There is no such strategy, or it needs what this training does not report.
    """
    made = from_config(strategy, sources=list(names))
    reads = "excess_loss" in made.needs | made.uses
    apply = "sampling" if "sampling" in made.apply else "loss"
    draw = "carry" if "carry" in made.draw else "iid"
    Mixture(dict.fromkeys(names, 1), made).check(_REPORTED, apply, draw)
    prior = by_source(options.pop("prior", "uniform"), names)
    return Weighting(made, {"prior": prior, **{k: v for k, v in options.items() if v is not None}}, gated=reads)


def described(weighting: Weighting) -> str:
    """Return the weights or the strategy in words."""
    return weighting.weights if isinstance(weighting.weights, str) else repr(weighting.weights)


def followed(weighting: Weighting) -> dict[str, Any]:
    """Return the revisions of the strategy, as a part of a record."""
    return recorded(revisions(weighting.weights) if isinstance(weighting.weights, Strategy) else {})


def start_of(weighting: Weighting, names: Sequence[str], sizes: Mapping[str, int]) -> dict[str, float]:
    """Return {source: weight} before the first observation."""
    if isinstance(weighting.weights, list):
        return dict(zip(names, weighting.weights, strict=True))
    natural = weighting.weights == "pooled" or weighting.options.get("prior") == "natural"
    given = weighting.options.get("prior")
    if isinstance(given, list):
        return dict(zip(names, given, strict=True))
    whole = sum(sizes.values())
    return {name: sizes[name] / whole if natural else 1 / len(names) for name in names}


def checked_share(steps: int, batch_size: int, cost: float, what: str) -> int:
    """Return the steps that are left after a cost in pairs; InputError if there is none."""
    left = steps - round(cost / batch_size)
    if left < 1:
        raise InputError(
            f"{what}: its specialists cost {cost:,.0f} pairs, which is all of its {steps} steps of {batch_size}; train "
            "for longer, or set charge_specialists: false"
        )
    return left
