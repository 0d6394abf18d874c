"""mixwright: how much of each data source to train on, before training and during it."""

from __future__ import annotations

from mixwright.lazy import lazy
from mixwright.version import __version__

_EXPORTS = {
    "AlarmWarning": "errors",
    "AMAR": "strategies.amar",
    "AMAS": "strategies.amas",
    "AssaySearch": "assays.search",
    "AssayTable": "assays.data",
    "BalancedPiKE": "strategies.balanced_pike",
    "Constraints": "constraints.limits",
    "DoReMi": "strategies.online.doremi",
    "Every": "strategies.wrappers.every",
    "excess_losses": "batch_losses",
    "ExcessLosses": "batch_losses",
    "Floor": "strategies.wrappers.floor",
    "GradientStatistics": "gradients",
    "GroupDRO": "strategies.group_dro",
    "Guard": "strategies.wrappers.guard",
    "InputError": "errors",
    "LikelihoodTable": "search.table.table",
    "LossRatio": "strategies.online.loss_ratio",
    "MixMin": "search.mixmin",
    "MixMinResult": "search.mixmin",
    "Mixture": "mixture",
    "MixtureFile": "mixture_file",
    "Observation": "observation",
    "ODM": "strategies.online.odm",
    "pareto": "search.pareto",
    "PiKE": "strategies.pike",
    "PreferenceTrainer": "preference.trainer",
    "Plan": "stream.plan.plan",
    "replay": "decisions",
    "row_weights": "batch_losses",
    "RunSearch": "runs.search",
    "RunSearchResult": "runs.result",
    "RunTable": "runs.table",
    "Schedule": "strategies.schedule",
    "Smooth": "strategies.wrappers.smooth",
    "SquaredError": "search.squared_error",
    "SquaredErrorResult": "search.squared_error",
    "Static": "strategies.static",
    "Strategy": "strategy",
    "Temperature": "strategies.temperature",
    "UniMax": "strategies.unimax",
    "use_mixture": "integrations.transformers",
    "Warmup": "strategies.wrappers.warmup",
    "WorstRegret": "search.worst_regret",
    "WorstRegretResult": "search.worst_regret",
}
_ROOMS = [
    "assays",
    "experiment",
    "formats",
    "gradients",
    "integrations",
    "preference",
    "report",
    "runs",
    "search",
    "strategies",
    "stream",
]
_ROOMS += ["testing", "text", "training"]

__all__ = [
    "AMAR",
    "AMAS",
    "ODM",
    "AlarmWarning",
    "AssaySearch",
    "AssayTable",
    "BalancedPiKE",
    "Constraints",
    "DoReMi",
    "Every",
    "ExcessLosses",
    "Floor",
    "GradientStatistics",
    "GroupDRO",
    "Guard",
    "InputError",
    "LikelihoodTable",
    "LossRatio",
    "MixMin",
    "MixMinResult",
    "Mixture",
    "MixtureFile",
    "Observation",
    "PiKE",
    "Plan",
    "PreferenceTrainer",
    "RunSearch",
    "RunSearchResult",
    "RunTable",
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
    "use_mixture",
]


_TRAINER = dict.fromkeys(["torch", "transformers", "accelerate", "safetensors"], "preference")  # what a Trainer needs

__getattr__ = lazy(__name__, {**_EXPORTS, **dict.fromkeys(_ROOMS, "")}, _TRAINER)


def __dir__() -> list[str]:
    """List the public names, loaded or not."""
    return sorted(__all__)
