"""mixwright: how much of each data source to train on, before training and during it."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from mixwright._version import __version__

_EXPORTS = {
    "AssaySearch": "mixwright.assays.search",
    "AssayTable": "mixwright.assays.data",
    "Constraints": "mixwright.constraints",
    "InputError": "mixwright.errors",
    "LikelihoodTable": "mixwright.search.table",
    "MixMin": "mixwright.search.mixmin",
    "MixMinResult": "mixwright.search.mixmin",
    "Mixture": "mixwright.mixture",
    "MixtureFile": "mixwright.mixture_file",
    "Observation": "mixwright.observation",
    "pareto": "mixwright.search.pareto",
    "Plan": "mixwright.stream.plan",
    "Schedule": "mixwright.strategies.schedule",
    "SquaredError": "mixwright.search.squared",
    "SquaredErrorResult": "mixwright.search.squared",
    "Static": "mixwright.strategies.static",
    "Strategy": "mixwright.strategy",
    "WorstRegret": "mixwright.search.targets",
    "WorstRegretResult": "mixwright.search.targets",
}

__all__ = [
    "AssaySearch",
    "AssayTable",
    "Constraints",
    "InputError",
    "LikelihoodTable",
    "MixMin",
    "MixMinResult",
    "Mixture",
    "MixtureFile",
    "Observation",
    "Plan",
    "Schedule",
    "SquaredError",
    "SquaredErrorResult",
    "Static",
    "Strategy",
    "WorstRegret",
    "WorstRegretResult",
    "__version__",
    "pareto",
]


def __getattr__(name: str) -> Any:
    """Import a public name on first use, so that `import mixwright` stays light."""
    if name in _EXPORTS:
        value = getattr(import_module(_EXPORTS[name]), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module 'mixwright' has no attribute {name!r}")


def __dir__() -> list[str]:
    """List the public names, loaded or not."""
    return sorted(__all__)
