"""Configuration of a training on texts: sources, a model, weights or a strategy, and how to train."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import ConfigDict, Field, model_validator

from mixwright.experiment.core.compare_config import ArmConfig
from mixwright.experiment.core.config_parts import (
    CheckpointEvery,
    Compile,
    Context,
    Count,
    Ema,
    FilePath,
    Lag,
    LearningRate,
    LimitsConfig,
    MaxEpochs,
    ObserveEvery,
    Part,
    Precision,
    Share,
    StatisticsMetric,
    StatisticsSteps,
    StrategyGiven,
    StrategyPrior,
    Warmup,
    WeightDecay,
)
from mixwright.experiment.text.config import TextConfig
from mixwright.experiment.text.proxies.reference_config import ReferenceConfig
from mixwright.experiment.text.questions.evaluate_config import EvaluateConfig
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
    "ema",
)


class TrainingConfig(Part):
    """How to train."""

    tokens: Count | None = Field(
        default=None, description=f"Tokens to train on, or give steps. Default: {_TOKENS:,} tokens."
    )
    steps: Count | None = Field(default=None, description="Optimiser steps to train for, or give tokens.")
    batch_size: Count = Field(default=32, description="Rows per step, over all ranks and micro-batches.")
    context: Context = 256
    learning_rate: LearningRate = 1e-3
    warmup: Warmup = 0.05
    weight_decay: WeightDecay = 0.1
    accumulate: Count = Field(
        default=1, description="Micro-batches per step on each rank: less memory, the same batch."
    )
    precision: Precision = "auto"
    parallel: Literal["ddp", "fsdp2"] = Field(
        default="ddp", description="Under torchrun: the whole model on each rank (ddp), or a part of it (fsdp2)."
    )
    compile: Compile = None  # not in the config.yaml of former runs
    checkpoint_every: CheckpointEvery = 60.0
    evaluate_every: Count | None = Field(
        default=None, description="Steps between measurements of the held-out losses. Default: a twentieth of the run."
    )
    max_epochs: MaxEpochs = None
    non_finite: Literal["stop", "skip"] = Field(
        default="stop", description="At a loss that is not finite: stop, or skip that step's update (20 in a row stop)."
    )
    observe_every: ObserveEvery = 10
    lag: Lag = 8
    statistics: Literal["needed", "always"] = Field(
        default="needed",
        description="Gradient statistics per source: where the strategy reads them, or always (for the report and for "
        "replaying other strategies).",
    )
    statistics_steps: StatisticsSteps = 4
    statistics_metric: StatisticsMetric = None  # not in the config.yaml of former runs
    ema: Ema = None  # not in the config.yaml of former runs

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
            statistics_metric=self.statistics_metric or "plain",
            **same,
        )


class TrainConfig(TextConfig):
    """A training: its sources and model, its weights or strategy, and how to train."""

    model_config = ConfigDict(title="mixwright train")
    weights: Literal["uniform", "natural"] | dict[str, Share] | FilePath | None = Field(
        default=None, description="Fixed weights: uniform, natural (by size), {source: weight}, or a mixture.json."
    )
    strategy: StrategyGiven = None
    prior: StrategyPrior = "uniform"
    sampling: Literal["uniform", "natural", "prior"] | dict[str, Share] | None = Field(
        default=None,
        description="Shares that rows are drawn by, while the weights act on the loss, each row times weight / share: "
        "uniform, natural (by rows), prior, or {source: share}. Default: rows are drawn by the weights.",
    )
    constraints: LimitsConfig = Field(
        default_factory=LimitsConfig, description="What weights a strategy may ask for: floors, caps, groups, ..."
    )
    reference: ReferenceConfig | None = Field(
        default=None,
        description="For a strategy that reads excess_loss or reference_loss: a model to compare with, as a folder, or "
        "{train: prior}.",
    )
    evaluate: EvaluateConfig | None = Field(
        default=None, description="Other evaluators of the final models: {lm_eval: [tasks], limit: N}."
    )
    training: TrainingConfig = Field(default_factory=TrainingConfig, description="How to train.")

    @model_validator(mode="after")
    def _weights_or_strategy(self) -> TrainConfig:
        if (self.weights is None) == (self.strategy is None):
            found = (
                "neither; add weights: (uniform, natural, {source: weight}, a mixture.json) or strategy:"
                if self.weights is None
                else "both; remove one"
            )
            raise ValueError(f"there should be weights or a strategy, found {found}")
        if self.weights is not None and {"prior", "constraints", "reference"} & self.model_fields_set:
            raise ValueError("prior, constraints and reference belong to a strategy; remove them, or give a strategy")
        if self.weights is not None and self.sampling == "prior":
            raise ValueError("sampling: prior belongs to a strategy; give uniform, natural or {source: share}")
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

    def dumped(self) -> dict[str, Any]:
        """Return the configuration as JSON-able values, with every default, as it can be read again."""
        values = super().dumped()
        if self.weights is not None:  # keys that are refused beside weights, even with their defaults
            del values["prior"], values["constraints"]
        return values
