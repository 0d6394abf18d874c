"""Configuration of a comparison of texts: a search configuration plus a list of arms."""

from __future__ import annotations

from typing import Any

from pydantic import ConfigDict, Field, model_validator

from mixwright.experiment.core.compare_config import ArmConfig, ComparisonConfig
from mixwright.experiment.core.config_parts import Count, Lag, ObserveEvery, Positive, StatisticsSteps
from mixwright.experiment.text.config import FinalConfig, SearchConfig, TargetConfig


class CompareFinalConfig(FinalConfig):
    """The trainings: each arm with each seed, all trained the same way."""

    tokens: Count = Field(
        default=10_000_000,
        description="Tokens of each arm. The cost of finding its mixture is taken out of them (charge_search).",
    )
    max_epochs: Positive | None = Field(
        default=None,
        description="The most passes of any arm over a source; then others are drawn instead. Default: "
        "no limit, and the report says how often each was repeated.",
    )
    observe_every: ObserveEvery = 10
    lag: Lag = 8
    statistics_steps: StatisticsSteps = 4

    @model_validator(mode="after")
    def _arms_say_what_is_trained(self) -> CompareFinalConfig:
        for key in ("mixtures", "equal_cost"):
            if key in self.model_fields_set:
                raise ValueError(f"there is no key {key} in a comparison: arms says what is trained; remove it")
        return self


class CompareConfig(SearchConfig, ComparisonConfig):
    """A comparison of mixtures of texts."""

    model_config = ConfigDict(title="mixwright compare")
    targets: dict[str, TargetConfig] = Field(
        default_factory=dict,
        description="The targets by name: {name: path or {...}}. Default: the sources' held-out documents.",
    )
    final: CompareFinalConfig = Field(default_factory=CompareFinalConfig, description="The trainings.")
    charge_search: bool = Field(
        default=True, description="Whether the cost of finding a mixture is taken out of the tokens of its arm."
    )

    @model_validator(mode="after")
    def _arms_fit(self) -> CompareConfig:
        for arm in self.arms:
            if arm.baseline == "target_alone":
                raise ValueError("target_alone is for assays; to train on texts of the target, name them as a source")
            if not self.targets and arm.searches:
                raise ValueError(f"the arm {arm.title} needs targets; add some, or remove the arm")
        return self

    def charged(self, arm: ArmConfig) -> bool:
        """Whether what finding the mixture of an arm costs comes out of its tokens."""
        return arm.searches and (self.charge_search if arm.charge is None else arm.charge)

    def with_seed(self, seed: int) -> CompareConfig:
        """Return this configuration with a seed."""
        return self.model_copy(update={"seed": seed})

    @property
    def trains_proxies(self) -> bool:
        """Whether proxies are trained: arms that search need them."""
        return super().trains_proxies and any(arm.searches for arm in self.arms)

    def dumped(self) -> dict[str, Any]:
        """Return the configuration as JSON-able values, with every default, as it can be read again."""
        return self.model_dump(mode="json", exclude_none=True, exclude={"final": {"mixtures", "equal_cost"}})
