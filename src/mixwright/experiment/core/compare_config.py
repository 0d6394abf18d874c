"""What the configurations of all comparisons share: arms, seeds, cores and memory."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field, field_validator, model_validator

from mixwright.compare.looks import Looks, check_number
from mixwright.experiment.core.config_parts import (
    AtLeastTwo,
    Count,
    FilePath,
    Part,
    PartOf,
    RunConfig,
    Share,
    StatisticsMetric,
    WeightsConfig,
    not_bool,
)
from mixwright.experiment.core.parallel import Limits
from mixwright.experiment.engines.config import Engine

BASELINES = ("uniform", "natural", "best_single", "target_alone")
SEARCHES = ("mixmin", "worst_regret")
PROXY_RUNS = ("doremi", "doge", "aioli")  # searches by one proxy run on all sources
OBSERVED = ("observe_every", "statistics_metric")  # of an arm with a strategy, in place of those of final
Unit = Literal["chunk", "token", "sequence"]
ArmStrategy = Annotated[
    str | dict[str, Any] | None,
    Field(description="A strategy that changes weights in training: its name, or {name: ..., parameters}."),
]
ArmPrior = Annotated[Literal["uniform", "natural"], Field(description="Where a strategy starts.")]
_LEAST_MEMORY = 10**9  # of a process: the libraries alone take some hundred megabytes
_BYTES = {"kb": 10**3, "mb": 10**6, "gb": 10**9, "kib": 2**10, "mib": 2**20, "gib": 2**30}


ProxyKind = Literal["neural", "ngram"]


class ArmProxyConfig(Part):
    """
    The proxies of an arm, where they are not the ones of the key `proxy`. A plain text is short for `{kind: ...}`.

    What is not given comes from the key `proxy`, or is its default.
    """

    shorthand: ClassVar[str | None] = "kind"
    kind: ProxyKind = Field(description="neural (settings: those of the key proxy) or ngram (count models).")
    order: Count | None = Field(default=None, description="Longest n-gram (ngram only).")
    max_tokens: Count | None = Field(default=None, description="Tokens of each source that are counted (ngram only).")

    @model_validator(mode="after")
    def _counts(self) -> ArmProxyConfig:
        if self.kind == "neural" and (self.order is not None or self.max_tokens is not None):
            raise ValueError("order and max_tokens belong to count models; remove them, or say kind: ngram")
        return self

    @property
    def suffix(self) -> str:
        """Return what the name of an arm ends with: the kind, and the order where it is given."""
        return f"_{self.kind}{self.order or ''}"


class AnyArmConfig(Part):
    """What arms of every kind of comparison share: a name, and exactly one of several ways to get weights."""

    ways: ClassVar[tuple[str, ...]]
    name: str | None = Field(default=None, min_length=1, description="Name in reports. Default: made of what it is.")
    if TYPE_CHECKING:  # each kind of arm has them, in its own order
        baseline: str | None
        strategy: ArmStrategy

    @model_validator(mode="after")
    def _one_way(self) -> AnyArmConfig:
        given = self.given()
        if len(given) != 1:
            found = " and ".join(given) or "none"
            raise ValueError(f"an arm should have one of {', '.join(self.ways)}, found {found}")
        return self

    def given(self) -> list[str]:
        """Return the ways that are given; one, in an arm that is valid."""
        return [way for way in self.ways if getattr(self, way) is not None]

    @property
    def kind(self) -> str:
        """Return what the arm is: the name of a baseline, or the way to its weights."""
        return self.baseline or self.given()[0]

    @property
    def title(self) -> str:
        """Return the arm's name."""
        if self.name is not None:
            return self.name
        if self.strategy is not None:
            named = self.strategy if isinstance(self.strategy, str) else self.strategy.get("name", "strategy")
            return str(named)
        return self.made_title()

    def made_title(self) -> str:
        """Return the name of an arm that is given none and follows no strategy."""
        return self.baseline or "weights"


def check_parameters(method: str, parameters: dict[str, Any] | None) -> None:
    """Raise ValueError if the parameters of the method of a proxy run are not its own numbers."""
    if wrong := sorted({"name", "wrap"} & set(parameters or {})):
        raise ValueError(f"parameters are numbers of {method}, found {wrong[0]}; remove it")


class ArmConfig(AnyArmConfig):
    """
    An arm: one of `baseline`, `search`, `mixture`, `weights` and `strategy`.

    A plain text is short for the baseline or search of that name, for a mixture.json, or else for a strategy.
    """

    ways = ("baseline", "search", "mixture", "weights", "strategy")
    baseline: Literal["uniform", "natural", "best_single", "target_alone"] | None = Field(
        default=None,
        description="uniform (equal weights), natural (by size), best_single (the source whose proxy has the least "
        "target loss), target_alone (assays: the target's own rows).",
    )
    search: Literal["mixmin", "worst_regret", "doremi", "doge", "aioli"] | None = Field(
        default=None,
        description="mixmin: a mixture for each target. worst_regret: one for all targets, best for the worst of them. "
        "doremi, doge, aioli (texts): the mean weights of a proxy run that starts at prior.",
    )
    parameters: dict[str, Any] | None = Field(
        default=None,
        description="For doremi, doge and aioli: parameters of the strategy, such as {learning_rate: 0.5}.",
    )
    likelihood: Unit | None = Field(
        default=None, description="For a search over text: chunk, token or sequence. Default: the first of search."
    )
    proxy: ArmProxyConfig | None = Field(
        default=None,
        description="For a search over text, and best_single: the kind of proxies, neural or ngram, or {kind: ngram, "
        "order: ...}. Default: those of the key proxy.",
    )
    settings: WeightsConfig | None = Field(
        default=None, description="For a search: prior, shrinkage and limits. Default: those of the key search."
    )
    own_rows: bool | None = Field(
        default=None,
        description="For assays: whether the target's own training rows are a source of this search, uniform or "
        "natural. Default: that of the key own_rows.",
    )
    mixture: FilePath | None = Field(default=None, description="A mixture.json with the same sources.")
    weights: dict[str, Share] | None = Field(default=None, description="{source: weight}, sum 1.")
    strategy: ArmStrategy = None
    prior: ArmPrior = "uniform"
    sampling: Literal["uniform", "natural", "prior"] | dict[str, Share] | None = Field(
        default=None,
        description="For texts: shares that rows are drawn by, while the weights act on the loss, each row times "
        "weight / share (at most 20): uniform, natural (by rows), prior (of a strategy), or {source: share}. Default: "
        "rows are drawn by the weights.",
    )
    observe_every: Count | None = Field(
        default=None, description="For a strategy over texts: steps between two observations. Default: that of final."
    )
    statistics_metric: StatisticsMetric = Field(
        default=None,
        description="For a strategy over texts: norms of the gradient itself (plain), or as Adam scales it (adam). "
        "Default: that of final.",
    )
    charge: bool | None = Field(
        default=None,
        description="Whether the cost of the search is taken out of this arm's tokens. Default: charge_search.",
    )

    @model_validator(mode="before")
    @classmethod
    def _from_text(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        if value in BASELINES:
            return {"baseline": value}
        if value in SEARCHES:
            return {"search": value}
        return {"mixture": value} if value.endswith(".json") else {"strategy": value}

    @model_validator(mode="after")
    def _settings_of_a_search(self) -> ArmConfig:
        if self.proxy_run and (self.likelihood or self.settings):
            raise ValueError(f"likelihood and settings do not belong to search: {self.search}; remove them")
        if self.parameters is not None and not self.proxy_run:
            raise ValueError(
                f"parameters belong to search: {' or '.join(PROXY_RUNS)}; remove them (a strategy has its own, as "
                "{strategy: {name: ..., parameters}})"
            )
        check_parameters(str(self.search), self.parameters)
        if self.search is None and (self.likelihood or self.settings):
            raise ValueError("likelihood and settings belong to a search; remove them, or add search: mixmin")
        if self.proxy is not None and not self.searches:
            raise ValueError("proxy belongs to a search or to best_single; remove it, or add search: mixmin")
        if self.sampling == "prior" and self.strategy is None:
            raise ValueError("sampling: prior belongs to a strategy; give uniform, natural or {source: share}")
        for key in OBSERVED:
            if getattr(self, key) is not None and self.strategy is None:
                raise ValueError(f"{key} belongs to a strategy; remove it (final: {key} is for all arms)")
        if self.own_rows is not None and not (self.search or self.baseline in ("uniform", "natural")):
            raise ValueError("own_rows belongs to a search, uniform or natural; remove it")
        return self

    def made_title(self) -> str:
        """Return the name of an arm that is given none and follows no strategy."""
        if self.mixture is not None:
            return self.mixture.stem
        if self.search is not None:
            likelihood = f"_{self.likelihood}" if self.likelihood else ""
            return self.search + likelihood + self._kind_of_proxy + self._whose_rows
        return super().made_title() + self._kind_of_proxy + self._whose_rows

    @property
    def drawn_by(self) -> str | tuple[tuple[str, float], ...] | None:
        """Return `sampling` as a value that can be compared."""
        return tuple(sorted(self.sampling.items())) if isinstance(self.sampling, dict) else self.sampling

    @property
    def _kind_of_proxy(self) -> str:
        return self.proxy.suffix if self.proxy is not None else ""

    @property
    def _whose_rows(self) -> str:
        return {None: "", True: "_with_own_rows", False: "_without_own_rows"}[self.own_rows]

    @property
    def searches(self) -> bool:
        """Whether finding the mixture takes a proxy for each source."""
        return self.search in SEARCHES or self.baseline == "best_single"

    @property
    def proxy_run(self) -> bool:
        """Whether the mixture is the mean of the weights in a proxy run of an online method."""
        return self.search in PROXY_RUNS

    @property
    def per_target(self) -> bool:
        """Whether there is a mixture for each target."""
        return self.search == "mixmin" or self.baseline in ("best_single", "target_alone")


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _size(text: str) -> int | None:
    """Return the bytes of "12 GB"; None if it is no such text."""
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([a-zA-Z]*)\s*", text)
    if found is None or found[2].lower() not in _BYTES:
        return None
    return round(float(found[1]) * _BYTES[found[2].lower()]) or None


class ComputeConfig(Part):
    """How much of the machine is used."""

    cores: Count = Field(default_factory=_cores, description="Cores in all. Default: all there are.")
    threads: Count = Field(
        default=1, description="Cores of each training; cores / threads trainings run at the same time."
    )
    memory: str | None = Field(
        default=None, description="Memory in all, such as 12 GB, shared out equally to the trainings (Linux only)."
    )

    @field_validator("memory", mode="before")
    @classmethod
    def _memory_is_a_size(cls, value: Any) -> Any:
        if value is not None and (isinstance(value, bool) or _size(str(value)) is None):
            raise ValueError("should be a size such as 12 GB or 800 MiB")
        return None if value is None else str(value)

    @model_validator(mode="after")
    def _threads_fit(self) -> ComputeConfig:
        if self.threads > self.cores:
            raise ValueError(f"threads should be at most cores ({self.cores}), found {self.threads}")
        limits = self.limits()
        if limits.memory is not None and limits.memory < _LEAST_MEMORY:
            raise ValueError(
                f"memory should be at least {_LEAST_MEMORY * limits.processes / 1e9:g} GB, 1 GB for each of "
                f"{limits.processes} processes (cores / threads), found {self.memory}; raise it, or use fewer cores"
            )
        return self

    def limits(self) -> Limits:
        """Return the limits of each process."""
        processes = max(1, self.cores // self.threads)
        whole = None if self.memory is None else _size(self.memory)
        return Limits(processes, self.threads, None if whole is None else whole // processes)


class SeedsConfig(Part):
    """Seeds that are added until each arm is decided; the chance of a false "better" holds over all looks."""

    until: Literal["decided"] = Field(
        description="decided: each arm is better or worse on what is judged, or smaller than the margin."
    )
    at_least: AtLeastTwo = Field(default=3, description="Seeds before the first look.")
    at_most: AtLeastTwo = Field(description="Seeds after which it ends, decided or not.")
    step: Count = Field(default=1, description="Seeds between two looks, of which there are at most 50.")
    margin: PartOf | None = Field(
        default=None,
        description="A share of the baseline's value, such as 1 %: an arm whose difference is shown to be smaller is "
        "decided too. Default: no margin.",
    )

    @model_validator(mode="after")
    def _ends_after_it_begins(self) -> SeedsConfig:
        if self.at_most < self.at_least:
            raise ValueError(
                f"at_most should be at least at_least ({self.at_least}), found {self.at_most}; raise at_most, or lower "
                "at_least"
            )
        check_number(self.at_least, self.at_most, self.step)
        return self

    def looks(self) -> Looks:
        """Return when the comparison is looked at."""
        return Looks(self.at_least, self.at_most, self.step, self.margin)


class ComparisonConfig(RunConfig):
    """What the configurations of all comparisons share."""

    if TYPE_CHECKING:  # each kind of comparison has them, in the order of its own file
        kind: Any
        sources: Any
        targets: Any

    seeds: SeedsConfig | Count = Field(
        default=3,
        description="Number of seeds: seed, seed + 1, ... Each arm is trained with each of them. {until: decided, "
        "at_most: 12}: seeds are added until each arm is better or worse.",
    )
    arms: list[ArmConfig] = Field(min_length=1, description="What is compared: names, files, or {...}.")
    over: str | None = Field(
        default=None, description="The arm that others are compared with. Default: uniform, or else the first one."
    )
    error: Annotated[float, BeforeValidator(not_bool), Field(gt=0, lt=0.5)] = Field(
        default=0.05, description="Probability that any arm is wrongly called better."
    )
    detect: PartOf | None = Field(
        default=None,
        description="The report says how many seeds it takes to see a difference of this share of the baseline's "
        "value. Default: 1 %.",
    )
    compute: ComputeConfig = Field(default_factory=ComputeConfig, description="Cores and memory.")
    engine: Engine = None
    forecast: FilePath | None = Field(
        default=None,
        description="A file of predictions (JSON or YAML), such as the forecast.json of a search or of runs fit. It is "
        "fixed before the first training, and scored after the last.",
    )

    @field_validator("arms")
    @classmethod
    def _a_strategy_and_a_search_of_one_name(cls, arms: list[Any]) -> list[Any]:
        names = {arm.title for arm in arms if arm.strategy is not None}
        return [
            arm.model_copy(update={"name": f"{arm.title}_search"})
            if isinstance(arm, ArmConfig) and arm.proxy_run and arm.name is None and arm.title in names
            else arm
            for arm in arms
        ]

    @model_validator(mode="after")
    def _names_differ(self) -> ComparisonConfig:
        names = [arm.title for arm in self.arms]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"arms should have different names, found {', '.join(twice)} twice; add name: to one")
        if self.over is not None and self.over not in names:
            raise ValueError(f"over should be one of the arms ({', '.join(names)}), found {self.over!r}")
        return self

    @property
    def looks(self) -> Looks | None:
        """Return when the comparison is looked at while seeds are added; None where their number is fixed."""
        return self.seeds.looks() if isinstance(self.seeds, SeedsConfig) else None

    @property
    def most_seeds(self) -> int:
        """Return how many seeds there are at most."""
        return self.seeds.at_most if isinstance(self.seeds, SeedsConfig) else self.seeds

    @property
    def baseline(self) -> str:
        """Return the name of the arm that others are compared with."""
        names = [arm.title for arm in self.arms]
        return self.over or ("uniform" if "uniform" in names else names[0])
