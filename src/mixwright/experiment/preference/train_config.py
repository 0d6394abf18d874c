"""What trainings on preference pairs are told besides their data: specialists, weights or a strategy, how to train."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import ConfigDict, Field, model_validator

from mixwright.experiment.core.config_parts import Count, FilePath, LimitsConfig, Part, Positive, Share
from mixwright.experiment.preference.config import Adapter, LossConfig, PreferDataConfig, PreferTrainingConfig

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
    learning_rate: Positive | None = Field(default=None, description="Default: that of training.")
    folds: Count = Field(
        default=1,
        description="Above 1, cross-fitting: the target of a pair comes from one of so many specialists that did not "
        "see it, nor another pair with its prompt. So many times the cost.",
    )
    target: Literal["pair", "source_mean"] = Field(
        default="pair", description="What a pair's loss is compared with: the specialist's loss of it, or the mean."
    )
    keep: bool = Field(default=False, description="Whether the models are kept: merges need them.")

    def steps(self, pairs: int, batch_size: int) -> int:
        """Return the steps of a specialist with so many pairs to train on."""
        return max(1, -(-round(self.epochs * pairs) // batch_size))

    @model_validator(mode="after")
    def _trained_or_taken(self) -> SpecialistsConfig:
        other = sorted(self.model_fields_set - {"run", "target"})
        if self.run is not None and other:
            raise ValueError(f"{', '.join(other)} are those of the run {self.run.name}; remove them, or run")
        return self


class GeneralistTrainingConfig(PreferTrainingConfig):
    """How to train on the pairs of several sources."""

    learning_rate: Positive = Field(default=5e-6, description="Highest learning rate (AdamW, linear to 0).")
    warmup: Share = Field(default=0.1, description="Share of the steps in which the learning rate rises.")
    clip: Literal["example", "source", "none"] = Field(
        default="example",
        description="Where the excess over the specialist is cut at 0: per pair, per source, nowhere.",
    )
    train_on: Literal["excess", "loss"] | None = Field(
        default=None,
        description="excess: pairs below their specialist's loss have no gradient. loss: all have; the excess moves "
        "the weights alone. Default: excess where the strategy reads it, else loss.",
    )
    observe_every: Count = Field(default=1, description="Steps between two observations, which a strategy acts on.")
    lag: Count = Field(default=1, description="Steps from an observation to the first step of the weights that follow.")
    max_epochs: Positive | None = Field(
        default=None,
        description="How often a source may be gone through; what it cannot give goes to others. Default: no limit.",
    )
    evaluate_every: Count | None = Field(
        default=None, description="Steps between measurements of held-out pairs. Default: a tenth of the run."
    )
    evaluate_pairs: Count = Field(
        default=200, description="Held-out pairs of each source in those measurements; at the end all are measured."
    )

    def settings(self, steps: int, seed: int, learning_rate: float | None = None) -> Any:
        """Return the FitSettings of a training of so many steps."""
        from mixwright.preference.fitting import FitSettings

        same = ("batch_size", "accumulate", "weight_decay", "max_grad_norm", "precision", "gradient_checkpointing")
        return FitSettings(
            steps=steps,
            learning_rate=learning_rate or self.learning_rate,
            warmup=round(self.warmup * steps),
            seed=seed,
            checkpoint_seconds=self.checkpoint_every,
            **{name: getattr(self, name) for name in same},
        )


class PreferConfig(PreferDataConfig):
    """Specialists and a generalist on preference pairs: `mixwright prefer specialists` and `mixwright prefer train`."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, allow_inf_nan=False, title="mixwright prefer train", protected_namespaces=()
    )
    loss: LossConfig = Field(default_factory=LossConfig, description="The loss, of specialists and generalist alike.")
    adapter: Adapter = Field(default=None, description="none: all parameters are trained. {rank, ...}: LoRA.")
    specialists: SpecialistsConfig | None = Field(
        default=None,
        description="The specialists. Default: as they are where the strategy reads the excess over them, else none.",
    )
    weights: Literal["pooled", "uniform", "normalised"] | dict[str, Share] | None = Field(
        default=None,
        description="Fixed weights: pooled (pairs drawn by the sources' sizes), uniform (equal shares), normalised "
        "(drawn by size, weighted so that each source's mean loss counts alike), or {source: weight}.",
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
    training: GeneralistTrainingConfig = Field(
        default_factory=GeneralistTrainingConfig, description="How to train, specialists and generalist."
    )

    @model_validator(mode="after")
    def _weights_or_strategy(self) -> PreferConfig:
        if self.weights is not None and self.strategy is not None:
            raise ValueError("give weights (pooled, uniform, normalised, {source: weight}) or strategy, not both")
        if self.strategy is None and {"prior", "constraints"} & self.model_fields_set:
            raise ValueError("prior and constraints are those of a strategy; remove them, or give a strategy")
        for name, given in (("weights", self.weights), ("prior", self.prior)):
            if isinstance(given, dict) and (set(given) != set(self.sources) or abs(sum(given.values()) - 1) > 1e-6):
                raise ValueError(f"{name} should give each source a weight, with the sum 1, found {given}")
        return self
