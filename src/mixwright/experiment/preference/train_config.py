"""Configuration of specialists and generalists on preference pairs: weights or a strategy, and how to train."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import ConfigDict, Field, model_validator

from mixwright.experiment.core.config_parts import (
    Compile,
    Count,
    FilePath,
    Lag,
    LimitsConfig,
    LinearRate,
    MaxEpochs,
    ObserveEvery,
    Parallel,
    Part,
    Positive,
    Share,
    StrategyGiven,
    StrategyPrior,
    Warmup,
)
from mixwright.experiment.engines.config import Engine
from mixwright.experiment.preference.config import (
    Adapter,
    LossConfig,
    PreferDataConfig,
    PreferTrainingConfig,
    steps_of,
)

WAYS = ("pooled", "uniform", "normalised")


class SpecialistsConfig(Part):
    """
    The specialists: a model per source, trained on it alone from the same reference.

    A plain path is short for `{run: ...}`.
    """

    shorthand: ClassVar[str | None] = "run"
    run: FilePath | None = Field(
        default=None,
        description="The folder of a run of mixwright prefer specialists whose numbers are used; none is trained then.",
    )
    epochs: Positive = Field(
        default=1.0, description="How often each goes through its source. More than one makes targets too low."
    )
    steps: Count | None = Field(
        default=None, description="Or as many steps for each source, so that a small one is not trained less."
    )
    learning_rate: Positive | None = Field(default=None, description="Default: that of training.")
    folds: Count = Field(
        default=1,
        description="Above 1, cross-fitting with that many folds: each pair is scored by a specialist that was trained "
        "without it and without other pairs of its prompt. The cost grows with the number of folds.",
    )
    target: Literal["pair", "source_mean"] = Field(
        default="pair", description="What a pair's loss is compared with: the specialist's loss of it, or the mean."
    )
    keep: bool = Field(default=False, description="Whether the models are kept: merges need them.")

    def total_steps(self, pairs: int, batch_size: int) -> int:
        """Return the steps of a specialist with a number of pairs to train on."""
        return self.steps or steps_of(self.epochs, pairs, batch_size)

    @model_validator(mode="after")
    def _trained_or_taken(self) -> SpecialistsConfig:
        if self.steps is not None and self.epochs != 1.0:
            raise ValueError("give steps or epochs of the specialists, not both")
        other = sorted(self.model_fields_set - {"run", "target"})
        if self.run is not None and other:
            raise ValueError(f"{', '.join(other)} come from the run {self.run.name}; remove them, or run")
        return self


class GeneralistTrainingConfig(PreferTrainingConfig):
    """How to train on the pairs of several sources."""

    learning_rate: LinearRate = 5e-6
    warmup: Warmup = 0.1
    parallel: Parallel = None  # not in the config.yaml of former runs
    compile: Compile = None  # not in the config.yaml of former runs
    clip: Literal["example", "source", "none"] = Field(
        default="example",
        description="Where the excess over the specialist is cut at 0: per pair, per source, nowhere.",
    )
    train_on: Literal["excess", "loss"] | None = Field(
        default=None,
        description="excess: pairs below their specialist's loss have no gradient. loss: all have; the excess moves "
        "the weights alone. Default: excess where the strategy reads it, else loss.",
    )
    observe_every: ObserveEvery = 1
    lag: Lag = 1
    max_epochs: MaxEpochs = None
    evaluate_every: Count | None = Field(
        default=None, description="Steps between measurements of held-out pairs. Default: a tenth of the run."
    )
    evaluate_pairs: Count = Field(
        default=200, description="Held-out pairs of each source in those measurements; at the end all are measured."
    )


class PreferConfig(PreferDataConfig):
    """Specialists and a generalist on preference pairs: `mixwright prefer specialists` and `mixwright prefer train`."""

    model_config = ConfigDict(title="mixwright prefer train")
    loss: LossConfig = Field(default_factory=LossConfig, description="The loss of specialists and generalist.")
    adapter: Adapter = Field(default=None, description="none: all parameters are trained. {rank, ...}: LoRA.")
    specialists: SpecialistsConfig | None = Field(
        default=None,
        description="The specialists. Default: trained with the defaults if the strategy reads the excess over them.",
    )
    weights: Literal["pooled", "uniform", "normalised"] | dict[str, Share] | None = Field(
        default=None,
        description="Fixed weights: pooled (pairs drawn by the sources' sizes), uniform (equal shares), normalised "
        "(drawn by size, weighted so that each source's mean loss counts the same), or {source: weight}.",
    )
    strategy: StrategyGiven = None
    prior: StrategyPrior = "uniform"
    constraints: LimitsConfig = Field(
        default_factory=LimitsConfig, description="What weights a strategy may ask for: floors, caps, groups, ..."
    )
    training: GeneralistTrainingConfig = Field(
        default_factory=GeneralistTrainingConfig, description="How to train, specialists and generalist."
    )

    @model_validator(mode="after")
    def _weights_or_strategy(self) -> PreferConfig:
        if self.weights is not None and self.strategy is not None:
            raise ValueError("give weights (pooled, uniform, normalised, {source: weight}) or strategy, not both")
        if self.strategy is None and {"prior", "constraints"} & self.model_fields_set:
            raise ValueError("prior and constraints belong to a strategy; remove them, or give a strategy")
        for name, given in (("weights", self.weights), ("prior", self.prior)):
            if isinstance(given, dict) and (set(given) != set(self.sources) or abs(sum(given.values()) - 1) > 1e-6):
                raise ValueError(f"{name} should give each source a weight, with the sum 1, found {given}")
        return self


class SpecialistsRunConfig(PreferConfig):
    """A run of specialists alone; weights and strategy may be there and are not used."""

    model_config = ConfigDict(title="mixwright prefer specialists")
    engine: Engine = None

    @model_validator(mode="after")
    def _trains_specialists(self) -> SpecialistsRunConfig:
        if self.specialists is not None and self.specialists.run is not None:
            raise ValueError("specialists.run is for trainings; here the specialists are trained: remove the key run")
        return self

    def shared_out(self) -> dict[tuple[str, ...], tuple[int, int]]:
        """Return the batch size of all trainings."""
        return {("training", "batch_size"): (self.training.batch_size, self.training.accumulate)}

    @property
    def settings(self) -> SpecialistsConfig:
        """Return the settings of the specialists, also where none are given."""
        return self.specialists or SpecialistsConfig()

    def dumped(self) -> dict[str, Any]:
        """Return the configuration as JSON-able values, without what does not matter here."""
        bare = self.model_copy(update={"weights": None, "strategy": None, "specialists": self.settings})
        return super(SpecialistsRunConfig, bare).dumped()
