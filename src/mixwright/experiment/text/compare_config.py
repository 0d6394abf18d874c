"""Configuration of a comparison of texts: a search configuration plus a list of arms."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import ConfigDict, Field, PrivateAttr, model_validator

from mixwright.experiment.core.compare_config import OBSERVED, ArmConfig, ComparisonConfig
from mixwright.experiment.core.config_parts import (
    LAG,
    Count,
    Lag,
    ObserveEvery,
    Positive,
    StatisticsMetric,
    StatisticsSteps,
)
from mixwright.experiment.text.config import FinalConfig, ProxyConfig, SearchConfig, TargetConfig
from mixwright.experiment.text.proxies.search_config import is_proxy_run
from mixwright.experiment.text.questions.evaluate_config import EvaluateConfig


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
    lag: Lag = LAG
    statistics_steps: StatisticsSteps = 4
    statistics_metric: StatisticsMetric = None  # not in the config.yaml of former runs

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
    evaluate: EvaluateConfig | None = Field(
        default=None, description="Other evaluators of the final models: {lm_eval: [tasks], limit: N}."
    )
    charge_search: bool = Field(
        default=True, description="Whether the cost of finding a mixture is taken out of the tokens of its arm."
    )

    _own_proxy: tuple[str, frozenset[str]] | None = PrivateAttr(None)  # of `with_proxy`: the arm's number and its keys

    @model_validator(mode="before")
    @classmethod
    def _trains_its_arms(cls, values: Any) -> Any:
        if isinstance(values, Mapping) and is_proxy_run(values.get("search")):
            raise ValueError("search: in a comparison, a method such as doremi is an arm; move it to arms")
        if isinstance(values, Mapping) and "quick" in values:
            raise ValueError("there is no key quick in a comparison: say proxy: ngram, here or in an arm; remove it")
        return values

    @model_validator(mode="after")
    def _arms_fit(self) -> CompareConfig:
        for arm in self.arms:
            if arm.baseline == "target_alone":
                raise ValueError("target_alone is for assays; to train on texts of the target, name them as a source")
            if arm.own_rows is not None:
                raise ValueError(f"the arm {arm.title}: own_rows is for assays; remove it")
            if arm.proxy_run and self.proxy.kind == "ngram":
                raise ValueError(f"the arm {arm.title} trains a proxy model, found proxy: ngram; give neural proxies")
            if not self.targets and arm.searches:
                raise ValueError(f"the arm {arm.title} needs targets; add some, or remove the arm")
            if arm.proxy is not None and arm.proxy.kind == "neural" and self.proxy.kind == "ngram":
                raise ValueError(
                    f"the arm {arm.title} needs the settings of neural proxies in the key proxy; give them there, and "
                    "proxy: ngram in the arms that have count models"
                )
        return self

    def with_proxy(self, arm: ArmConfig) -> CompareConfig:
        """Return this configuration with the proxies of an arm that searches."""
        if arm.proxy is None:
            return self
        given = arm.proxy.model_dump(exclude_none=True)
        same = self.proxy.model_dump(exclude_none=True) if self.proxy.kind == arm.proxy.kind else {}
        if not same and self.proxy.context is not None:
            same = {"context": self.proxy.context}
        own = self.model_copy(update={"proxy": ProxyConfig.model_validate({**same, **given})})
        own._own_proxy = str(self.arms.index(arm)), frozenset(given)
        return own

    def where_of_proxy(self, *key: str) -> str:
        """Say where a key of the proxies stands: at the arm whose own they are, or else at the key proxy."""
        number, given = self._own_proxy or ("", frozenset[str]())
        if number and set(key) <= given:
            return self.where("arms", number, "proxy", *key)
        return super().where_of_proxy(*key)

    @property
    def neural(self) -> bool:
        """Whether an arm needs neural proxies."""
        return any(arm.searches and self.with_proxy(arm).proxy.kind == "neural" for arm in self.arms)

    def placed_arms(self) -> list[tuple[str, ArmConfig]]:
        """Return the arms, each with its place in the file."""
        return [(self.where("arms", str(number)), arm) for number, arm in enumerate(self.arms)]

    @property
    def lag(self) -> int:
        """Return the steps from an observation, also of a proxy run, to the weights that follow."""
        return self.final.lag

    def _check_method(self) -> None:
        """Arms say what searches."""

    def charged(self, arm: ArmConfig) -> bool:
        """Whether what finding the mixture of an arm, or its reference, costs comes out of its tokens."""
        costs = arm.searches or arm.proxy_run or self.reference_of(arm) is not None
        return costs and (self.charge_search if arm.charge is None else arm.charge)

    def observed(self, arm: ArmConfig | None) -> dict[str, Any]:
        """Return how the strategy of an arm is fed; None: as `final` says."""
        found = {key: getattr(arm, key, None) or getattr(self.final, key) for key in OBSERVED}
        return {**found, "statistics_metric": found["statistics_metric"] or "plain"}

    def with_seed(self, seed: int) -> CompareConfig:
        """Return this configuration with a seed."""
        return self.model_copy(update={"seed": seed})

    @property
    def trains_proxies(self) -> bool:
        """Whether proxies are trained: arms that search need them."""
        return self.neural and super().trains_proxies

    def dumped(self) -> dict[str, Any]:
        """Return the configuration as JSON-able values, with every default, as it can be read again."""
        return self.model_dump(mode="json", exclude_none=True, exclude={"final": {"mixtures", "equal_cost"}})
