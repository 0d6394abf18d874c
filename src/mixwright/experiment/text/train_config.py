"""What a training is told: sources, a model, weights or a strategy, and how to train. One YAML, that of a search."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from mixwright.errors import InputError
from mixwright.experiment.core.config_parts import Count, FilePath, LimitsConfig, Part, Positive, Share, not_bool
from mixwright.experiment.core.errors import explain
from mixwright.experiment.core.yaml import YamlFile, read_yaml
from mixwright.experiment.text.compare_config import ArmConfig
from mixwright.experiment.text.config import TextConfig
from mixwright.training.settings import TrainingSettings

_TOKENS = 10_000_000
_AS_GIVEN = (
    "batch_size",
    "context",
    "learning_rate",
    "weight_decay",
    "accumulate",
    "precision",
    "max_epochs",
    "non_finite",
    "observe_every",
    "lag",
    "statistics",
    "statistics_steps",
)


class TrainingConfig(Part):
    """How to train."""

    tokens: Count | None = Field(
        default=None, description=f"Tokens to train on, or give steps. Default: {_TOKENS:,} tokens."
    )
    steps: Count | None = Field(default=None, description="Optimiser steps to train for, or give tokens.")
    batch_size: Count = Field(default=32, description="Rows per step, over all ranks and micro-batches.")
    context: Annotated[int, BeforeValidator(not_bool), Field(ge=2)] = Field(default=256, description="Tokens per row.")
    learning_rate: Positive = Field(default=1e-3, description="Highest learning rate (AdamW, cosine to a tenth).")
    warmup: Share = Field(default=0.05, description="Share of the steps in which the learning rate rises.")
    weight_decay: Annotated[float, BeforeValidator(not_bool), Field(ge=0)] = Field(
        default=0.1, description="Weight decay of AdamW."
    )
    accumulate: Count = Field(
        default=1, description="Micro-batches per step on each rank: less memory, the same batch."
    )
    precision: Literal["auto", "float32", "bfloat16"] = Field(
        default="auto", description="Of the passes; auto: bfloat16 on a GPU. Parameters and moments are float32."
    )
    parallel: Literal["ddp", "fsdp2"] = Field(
        default="ddp", description="Under torchrun: the whole model on each rank (ddp), or a part of it (fsdp2)."
    )
    checkpoint_every: Positive = Field(default=60.0, description="Longest time between checkpoints, in seconds.")
    evaluate_every: Count | None = Field(
        default=None, description="Steps between measurements of the held-out losses. Default: a twentieth of the run."
    )
    max_epochs: Positive | None = Field(
        default=None,
        description="How often a source may be gone through; what it cannot give goes to others. Default: no limit.",
    )
    non_finite: Literal["stop", "skip"] = Field(
        default="stop", description="At a loss that is not finite: stop, or skip that step's update (20 in a row stop)."
    )
    observe_every: Count = Field(default=10, description="Steps between two observations, which a strategy acts on.")
    lag: Count = Field(default=8, description="Steps from an observation to the weights that follow.")
    statistics: Literal["needed", "always"] = Field(
        default="needed",
        description="Gradient statistics per source: where the strategy reads them, or always (for the report and for "
        "replaying other strategies).",
    )
    statistics_steps: Count = Field(
        default=4, description="Steps before each observation in which gradient statistics are taken."
    )

    @model_validator(mode="after")
    def _one_length(self) -> TrainingConfig:
        if self.tokens is not None and self.steps is not None:
            raise ValueError("give tokens or steps, not both")
        return self

    def settings(self, seed: int) -> TrainingSettings:
        """Return the settings of the training."""
        row = self.batch_size * self.context
        steps = self.steps or max(1, -(-(self.tokens or _TOKENS) // row))
        same = {name: getattr(self, name) for name in _AS_GIVEN}
        return TrainingSettings(
            steps=steps,
            warmup=round(self.warmup * steps),
            seed=seed,
            evaluate_every=self.evaluate_every or max(1, steps // 20),
            checkpoint_seconds=self.checkpoint_every,
            **same,
        )


class TrainConfig(TextConfig):
    """A training: its sources and model, its weights or strategy, and how to train."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, allow_inf_nan=False, title="mixwright train", protected_namespaces=()
    )
    weights: Literal["uniform", "natural"] | dict[str, Share] | FilePath | None = Field(
        default=None, description="Fixed weights: uniform, natural (by size), {source: weight}, or a mixture.json."
    )
    strategy: str | dict[str, Any] | None = Field(
        default=None,
        description="Weights that follow the training: a strategy's name, or {name: ..., parameters, wrap: [...]}.",
    )
    prior: Literal["uniform", "natural"] | dict[str, Share] = Field(
        default="uniform", description="Where a strategy starts: uniform, natural, or {source: weight}."
    )
    constraints: LimitsConfig = Field(
        default_factory=LimitsConfig, description="What weights a strategy may ask for: floors, caps, groups, ..."
    )
    training: TrainingConfig = Field(default_factory=TrainingConfig, description="How to train.")

    @model_validator(mode="after")
    def _weights_or_strategy(self) -> TrainConfig:
        if (self.weights is None) == (self.strategy is None):
            raise ValueError(
                "give weights (uniform, natural, {source: weight}, a mixture.json) or strategy, one of both"
            )
        if self.weights is not None and {"prior", "constraints"} & self.model_fields_set:
            raise ValueError("prior and constraints are those of a strategy; remove them, or give a strategy")
        return self

    @property
    def contexts(self) -> dict[str, int]:
        """Return the lengths of the rows that are trained on, by the part of the configuration that has them."""
        return {"training": self.training.context}

    @property
    def arm(self) -> ArmConfig:
        """Return the weights or the strategy as an arm of a comparison."""
        given: dict[str, Any] = {"strategy": self.strategy}
        if isinstance(self.weights, dict):
            given = {"weights": self.weights}
        elif isinstance(self.weights, Path):
            given = {"mixture": self.weights}
        elif self.weights is not None:
            given = {"baseline": self.weights}
        return ArmConfig(**given)


def load_train_config(path: Path | str) -> TrainConfig:
    """
    Read the YAML file of a training and check it; no data is opened.

    Raises
    ------
    InputError
        Names the file, the line, the key, what was found and what to do.
    """
    file = read_yaml(path)
    if not isinstance(file.value, dict):
        raise InputError(f"{path} should hold keys such as sources: and weights:, found {type(file.value).__name__}")
    return make_train_config(file.value, file)


def make_train_config(
    value: dict[str, Any], file: YamlFile | None = None, folder: Path | str | None = None
) -> TrainConfig:
    """
    Check a configuration given as nested dictionaries; arguments as of `make_config`.

    Raises
    ------
    InputError
        Something is missing, unknown or not as it should be; all faults are named.
    """
    folder = Path(folder or (file.path.parent if file else "."))
    if value.get("kind", "text") == "assays":
        raise InputError("a training is of texts, found kind: assays; use mixwright search or compare for assays")
    try:
        config = TrainConfig.model_validate(value, context={"folder": folder.resolve()})
    except ValidationError as error:
        raise InputError(explain(TrainConfig, error, file)) from error
    config._file = file
    return config


def train_schema() -> dict[str, Any]:
    """Return the JSON schema of the YAML file, for editors."""
    return TrainConfig.model_json_schema(mode="validation")


def dumped(config: TrainConfig) -> dict[str, Any]:
    """Return the configuration as JSON-able values, with every default, as it can be read again."""
    values = config.model_dump(mode="json", exclude_none=True)
    if config.weights is not None:
        del values["prior"], values["constraints"]
    return values


def train_text(config: TrainConfig) -> str:
    """Return the configuration as YAML."""
    head = "# The configuration of this training, with all defaults. Go on with: "
    head += "mixwright train THIS_FILE --run THIS_FOLDER\n"
    return head + yaml.safe_dump(dumped(config), sort_keys=False, allow_unicode=True)
