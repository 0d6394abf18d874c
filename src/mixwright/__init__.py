"""mixwright: how much of each data source to train on, before training and during it."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from mixwright.version import __version__

_EXPORTS = {
    "AlarmWarning": "mixwright.errors",
    "AMAR": "mixwright.strategies.amar",
    "AMAS": "mixwright.strategies.amas",
    "AssaySearch": "mixwright.assays.search",
    "AssayTable": "mixwright.assays.data",
    "BalancedPiKE": "mixwright.strategies.balanced_pike",
    "Constraints": "mixwright.constraints.limits",
    "Every": "mixwright.strategies.wrappers.every",
    "excess_losses": "mixwright.batch_losses",
    "ExcessLosses": "mixwright.batch_losses",
    "Floor": "mixwright.strategies.wrappers.floor",
    "GradientStatistics": "mixwright.gradients",
    "GroupDRO": "mixwright.strategies.group_dro",
    "Guard": "mixwright.strategies.wrappers.guard",
    "InputError": "mixwright.errors",
    "LikelihoodTable": "mixwright.search.table",
    "MixMin": "mixwright.search.mixmin",
    "MixMinResult": "mixwright.search.mixmin",
    "Mixture": "mixwright.mixture",
    "MixtureFile": "mixwright.mixture_file",
    "Observation": "mixwright.observation",
    "pareto": "mixwright.search.pareto",
    "PiKE": "mixwright.strategies.pike",
    "Plan": "mixwright.stream.plan.plan",
    "replay": "mixwright.decisions",
    "row_weights": "mixwright.batch_losses",
    "Schedule": "mixwright.strategies.schedule",
    "Smooth": "mixwright.strategies.wrappers.smooth",
    "SquaredError": "mixwright.search.squared",
    "SquaredErrorResult": "mixwright.search.squared",
    "Static": "mixwright.strategies.static",
    "Strategy": "mixwright.strategy",
    "Temperature": "mixwright.strategies.temperature",
    "UniMax": "mixwright.strategies.unimax",
    "Warmup": "mixwright.strategies.wrappers.warmup",
    "WorstRegret": "mixwright.search.targets",
    "WorstRegretResult": "mixwright.search.targets",
}
_ROOMS = ("formats", "gradients", "integrations", "report", "strategies", "stream")

__all__ = [
    "AMAR",
    "AMAS",
    "AlarmWarning",
    "AssaySearch",
    "AssayTable",
    "BalancedPiKE",
    "Constraints",
    "Every",
    "ExcessLosses",
    "Floor",
    "GradientStatistics",
    "GroupDRO",
    "Guard",
    "InputError",
    "LikelihoodTable",
    "MixMin",
    "MixMinResult",
    "Mixture",
    "MixtureFile",
    "Observation",
    "PiKE",
    "Plan",
    "Schedule",
    "Smooth",
    "SquaredError",
    "SquaredErrorResult",
    "Static",
    "Strategy",
    "Temperature",
    "UniMax",
    "Warmup",
    "WorstRegret",
    "WorstRegretResult",
    "__version__",
    "excess_losses",
    "formats",
    "pareto",
    "replay",
    "row_weights",
]


def __getattr__(name: str) -> Any:
    """Import a public name on first use, so that `import mixwright` stays light."""
    if name in _ROOMS:
        return import_module(f"mixwright.{name}")
    if name in _EXPORTS:
        value = getattr(import_module(_EXPORTS[name]), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module 'mixwright' has no attribute {name!r}")


def __dir__() -> list[str]:
    """List the public names, loaded or not."""
    return sorted(__all__)
