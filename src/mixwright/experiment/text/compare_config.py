"""What a comparison is told: sources, targets, arms, seeds and budgets. One YAML, that of a search and `arms`."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, TypeAlias

from pydantic import BeforeValidator, ConfigDict, Field, TypeAdapter, ValidationError, field_validator, model_validator

from mixwright.errors import InputError
from mixwright.experiment.assays.config import AssayFinalConfig, AssaysConfig, Names
from mixwright.experiment.core.config_parts import Count, FilePath, Part, Positive, Share, WeightsConfig, not_bool
from mixwright.experiment.core.errors import explain
from mixwright.experiment.core.parallel import Limits
from mixwright.experiment.core.yaml import YamlFile, read_yaml
from mixwright.experiment.text.config import FinalConfig, SearchConfig, TargetConfig, Unit, check_budgets

if TYPE_CHECKING:
    from mixwright.experiment.preference.compare_config import ComparePreferenceConfig

    AnyCompareConfig: TypeAlias = "CompareConfig | CompareAssaysConfig | ComparePreferenceConfig"

KINDS = ("text", "assays", "preference")
BASELINES = ("uniform", "natural", "best_single", "target_alone")
SEARCHES = ("mixmin", "worst_regret")
_WAYS = ("baseline", "search", "mixture", "weights", "strategy")
_LEAST_MEMORY = 10**9  # of a process: the libraries alone take some hundred megabytes
_BYTES = {"kb": 10**3, "mb": 10**6, "gb": 10**9, "kib": 2**10, "mib": 2**20, "gib": 2**30}


class ArmConfig(Part):
    """
    An arm: one of `baseline`, `search`, `mixture`, `weights` and `strategy`.

    A plain text is short for the baseline or search of that name, for a mixture.json, or else for a strategy.
    """

    name: str | None = Field(default=None, min_length=1, description="Name in reports. Default: made of what it is.")
    baseline: Literal["uniform", "natural", "best_single", "target_alone"] | None = Field(
        default=None,
        description="uniform (equal weights), natural (by size), best_single (the source whose proxy has the least "
        "target loss), target_alone (assays: the target's own rows).",
    )
    search: Literal["mixmin", "worst_regret"] | None = Field(
        default=None,
        description="mixmin: a mixture for each target. worst_regret: one for all targets, best for the worst of them.",
    )
    likelihood: Unit | None = Field(
        default=None, description="For a search over text: chunk, token or sequence. Default: the first of search."
    )
    settings: WeightsConfig | None = Field(
        default=None, description="For a search: prior, shrinkage and limits. Default: those of the key search."
    )
    mixture: FilePath | None = Field(default=None, description="A mixture.json with the same sources.")
    weights: dict[str, Share] | None = Field(default=None, description="{source: weight}, sum 1.")
    strategy: str | dict[str, Any] | None = Field(
        default=None, description="A strategy that changes weights in training: its name, or {name: ..., parameters}."
    )
    prior: Literal["uniform", "natural"] = Field(default="uniform", description="Where a strategy starts.")
    charge: bool | None = Field(
        default=None,
        description="Whether what finding the mixture costs comes out of this arm's tokens. Default: charge_search.",
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
    def _one_way(self) -> ArmConfig:
        given = [way for way in _WAYS if getattr(self, way) is not None]
        if len(given) != 1:
            found = " and ".join(given) or "none"
            raise ValueError(f"an arm should have one of {', '.join(_WAYS)}, found {found}")
        if self.search is None and (self.likelihood or self.settings):
            raise ValueError("likelihood and settings are those of a search; remove them, or add search: mixmin")
        return self

    @property
    def kind(self) -> str:
        """Return what the arm is: a baseline's name, search, mixture, weights or strategy."""
        return self.baseline or next(way for way in _WAYS if getattr(self, way) is not None)

    @property
    def title(self) -> str:
        """Return the arm's name."""
        if self.name is not None:
            return self.name
        if self.mixture is not None:
            return self.mixture.stem
        if self.strategy is not None:
            named = self.strategy if isinstance(self.strategy, str) else self.strategy.get("name", "strategy")
            return str(named)
        if self.search is not None:
            return self.search + (f"_{self.likelihood}" if self.likelihood else "")
        return self.baseline or "weights"

    @property
    def searches(self) -> bool:
        """Whether finding the mixture takes proxies."""
        return self.search is not None or self.baseline == "best_single"

    @property
    def per_target(self) -> bool:
        """Whether there is a mixture for each target."""
        return self.search == "mixmin" or self.baseline in ("best_single", "target_alone")


class ComputeConfig(Part):
    """How much of the machine is used."""

    cores: Count = Field(default_factory=lambda: _cores(), description="Cores in all. Default: all there are.")
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


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _size(text: str) -> int | None:
    """Return the bytes of "12 GB"; None if it is no such text."""
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([a-zA-Z]*)\s*", text)
    if found is None or found[2].lower() not in _BYTES:
        return None
    return round(float(found[1]) * _BYTES[found[2].lower()]) or None


class CompareFinalConfig(FinalConfig):
    """The trainings: each arm with each seed, alike."""

    tokens: Count = Field(
        default=10_000_000,
        description="Tokens that each arm has. What finding a mixture costs comes out of them (charge_search).",
    )
    max_epochs: Positive | None = Field(
        default=None,
        description="How often any arm may go through a source; what it cannot give goes to the others. Default: no "
        "limit, and the report says how often each was repeated.",
    )
    observe_every: Count = Field(default=10, description="Strategies: steps between two observations.")
    lag: Count = Field(default=8, description="Strategies: steps from an observation to the weights that follow.")
    statistics_steps: Count = Field(
        default=4, description="Strategies: steps before each observation in which gradient statistics are taken."
    )

    @model_validator(mode="after")
    def _arms_say_what_is_trained(self) -> CompareFinalConfig:
        for key in ("mixtures", "equal_cost"):
            if key in self.model_fields_set:
                raise ValueError(f"there is no key {key} in a comparison: arms says what is trained; remove it")
        return self


class Shared(Part):
    """What comparisons of every kind are told."""

    seeds: Count = Field(
        default=3, description="Number of seeds: seed, seed + 1, ... Each arm is trained with each of them."
    )
    arms: list[ArmConfig] = Field(min_length=1, description="What is compared: names, files, or {...}.")
    over: str | None = Field(
        default=None, description="The arm that others are compared with. Default: uniform, or else the first one."
    )
    error: Annotated[float, BeforeValidator(not_bool), Field(gt=0, lt=0.5)] = Field(
        default=0.05, description="The chance, over all arms, of calling one better that is not."
    )
    compute: ComputeConfig = Field(default_factory=ComputeConfig, description="Cores and memory.")

    @model_validator(mode="after")
    def _names_differ(self) -> Shared:
        names = [arm.title for arm in self.arms]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"arms should have different names, found {', '.join(twice)} twice; add name: to one")
        if self.over is not None and self.over not in names:
            raise ValueError(f"over should be one of the arms ({', '.join(names)}), found {self.over!r}")
        return self

    @property
    def baseline(self) -> str:
        """Return the name of the arm that others are compared with."""
        names = [arm.title for arm in self.arms]
        return self.over or ("uniform" if "uniform" in names else names[0])


class CompareConfig(SearchConfig, Shared):
    """A comparison of mixtures of texts."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, allow_inf_nan=False, title="mixwright compare", protected_namespaces=()
    )
    targets: dict[str, TargetConfig] = Field(
        default_factory=dict,
        description="The targets by name: {name: path or {...}}. Without any, the sources' held-out documents are it.",
    )
    final: CompareFinalConfig = Field(default_factory=CompareFinalConfig, description="The trainings.")
    charge_search: bool = Field(
        default=True, description="Whether what finding a mixture costs comes out of the tokens of its arm."
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


class CompareAssaysFinalConfig(AssayFinalConfig):
    """The final models of a comparison: arms says which."""

    @model_validator(mode="after")
    def _arms_say_what_is_trained(self) -> CompareAssaysFinalConfig:
        for key in ("mixtures", "both_calibrations"):
            if key in self.model_fields_set:
                raise ValueError(f"there is no key {key} in a comparison: arms says what is trained; remove it")
        return self


class CompareAssaysConfig(AssaysConfig, Shared):
    """A comparison of mixtures of assays."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, allow_inf_nan=False, title="mixwright compare, assays", protected_namespaces=()
    )
    shorthand: ClassVar[str | None] = None
    target: str = Field(default="", description="Not in a comparison: see targets.")
    targets: Names = Field(min_length=1, description="The assays that the models should be good at.")
    final: CompareAssaysFinalConfig = Field(
        default_factory=CompareAssaysFinalConfig, description="The final models; nothing to say here."
    )

    @model_validator(mode="after")
    def _arms_fit(self) -> CompareAssaysConfig:
        if self.target:
            raise ValueError("there is no key target in a comparison; write targets: [...]")
        if "seeds" in self.split.model_fields_set:
            raise ValueError("the number of seeds is the key seeds in a comparison; remove split.seeds")
        if twice := sorted({name for name in self.targets if self.targets.count(name) > 1}):
            raise ValueError(f"targets should be named once, found {', '.join(twice)} twice")
        for arm in self.arms:
            if arm.strategy is not None:
                raise ValueError(
                    f"the arm {arm.title} changes weights during training, which a classifier of assays cannot; remove "
                    "the arm, or compare with texts"
                )
            if arm.search == "worst_regret" or arm.likelihood is not None:
                raise ValueError(f"the arm {arm.title}: assays have search: mixmin, without likelihood")
            if arm.charge is not None:
                raise ValueError(f"the arm {arm.title}: charge is for texts, whose budgets are tokens; remove it")
        return self

    def whole(self) -> CompareAssaysConfig:
        """Return this configuration for reading the table once: with the columns of all sources and targets."""
        first, *others = self.targets
        names = [name for name in [*self.sources, *others] if name != first]
        return self.model_copy(update={"target": first, "sources": names if self.sources else []})

    def for_target(self, target: str) -> CompareAssaysConfig:
        """Return this configuration for one target; the other targets stay sources."""
        return self.model_copy(
            update={
                "target": target,
                "sources": [name for name in self.sources if name != target],
                "split": self.split.model_copy(update={"seeds": self.seeds}),
            }
        )


def load_compare_config(path: Path | str) -> AnyCompareConfig:
    """
    Read the YAML file of a comparison and check it; no data is opened.

    Raises
    ------
    InputError
        Names the file, the line, the key, what was found and what to do.
    """
    file = read_yaml(path)
    if not isinstance(file.value, dict):
        raise InputError(f"{path} should hold keys such as sources: and arms:, found {type(file.value).__name__}")
    return make_compare_config(file.value, file)


def make_compare_config(
    value: dict[str, Any], file: YamlFile | None = None, folder: Path | str | None = None
) -> AnyCompareConfig:
    """
    Check a configuration given as nested dictionaries; arguments as of `make_config`.

    Raises
    ------
    InputError
        Something is missing, unknown or not as it should be; all faults are named.
    """
    folder = Path(folder or (file.path.parent if file else "."))
    kind = value.get("kind", "text")
    if not isinstance(kind, str) or kind not in KINDS:
        where = file.where(("kind",)) if file else "key kind"
        *first, last = KINDS
        raise InputError(f"{where}: kind should be {', '.join(first)} or {last}, found {kind!r}; correct it")
    model = _model_of(kind)
    try:
        config = model.model_validate(value, context={"folder": folder.resolve()})
    except ValidationError as error:
        raise InputError(explain(model, error, file)) from error
    config._file = file
    if isinstance(config, CompareConfig):
        check_budgets(config, proxies=any(arm.searches for arm in config.arms))
    return config


def _model_of(kind: str) -> type[CompareConfig] | type[CompareAssaysConfig] | type[ComparePreferenceConfig]:
    if kind == "preference":
        from mixwright.experiment.preference.compare_config import ComparePreferenceConfig

        return ComparePreferenceConfig
    return CompareConfig if kind == "text" else CompareAssaysConfig


def dumped(config: AnyCompareConfig) -> dict[str, Any]:
    """Return the configuration as JSON-able values, with every default, as it can be read again."""
    if config.kind == "preference":
        from mixwright.experiment.preference.config import dumped as dumped_pairs

        return dumped_pairs(config)
    values = config.model_dump(
        mode="json",
        exclude_none=True,
        exclude={"target": True, "final": {"mixtures", "equal_cost", "both_calibrations"}},
    )
    if isinstance(config, CompareAssaysConfig):
        values["split"].pop("seeds", None)
        values.pop("final", None)
    return values


def compare_schema() -> dict[str, Any]:
    """Return the JSON schema of the YAML file, for editors: of all kinds."""
    from mixwright.experiment.preference.compare_config import ComparePreferenceConfig

    adapter: TypeAdapter[Any] = TypeAdapter(CompareConfig | CompareAssaysConfig | ComparePreferenceConfig)
    return {"title": "mixwright compare", **adapter.json_schema(mode="validation")}
