"""Configuration of searches and comparisons over assays: a table, targets, sources, a classifier."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, ConfigDict, Field, model_validator

from mixwright.assays.classifiers import Booster, from_name
from mixwright.assays.fingerprints import Fingerprint
from mixwright.experiment.core.compare_config import ComparisonConfig
from mixwright.experiment.core.config_parts import (
    Between,
    Count,
    FilePaths,
    Names,
    NotNegative,
    Part,
    Positive,
    RunConfig,
    WeightsConfig,
    not_bool,
)
from mixwright.experiment.engines.config import Engine

ArmName = Literal["uniform", "natural", "target_alone", "best_single", "search"]
_ALL_ARMS: list[ArmName] = ["uniform", "natural", "target_alone", "best_single", "search"]


_OF_TARGET_ROWS = {"include": True, "exclude": False}  # the key of former runs, whose config.yaml is read again
Code = Annotated[float | str | list[float | str], BeforeValidator(not_bool)]


class CodingConfig(Part):
    """What the values of labels mean: each a number or a text, or a list of them. Gaps are always missing."""

    active: Code = Field(description="As 1.")
    inactive: Code = Field(description="As 0.")
    missing: Code | None = Field(default=None, description="As a gap. Default: nothing but gaps.")

    def as_given(self) -> dict[str, Any]:
        """Return the coding of `read_assays`."""
        return self.model_dump(exclude_none=True)


class TableConfig(Part):
    """The table: a row per molecule, a column per assay. A plain path, or a list, is short for `{path: ...}`."""

    shorthand: ClassVar[str | None] = "path"
    or_list: ClassVar[bool] = True
    path: FilePaths = Field(
        description="File (.parquet or .csv), or a list of files that are joined by molecule. Relative paths are read "
        "from the folder of this YAML file."
    )
    smiles: str | None = Field(
        default=None, description="Column of SMILES, made into fingerprints. Default: smiles, if there are no features."
    )
    features: Names = Field(
        default_factory=list,
        description="Columns of numbers to use instead of fingerprints; bit_* stands for all that begin like this.",
    )
    labels: Names = Field(
        default_factory=list,
        description="Label columns (0, 1, missing). Default: every column that is nothing else.",
    )
    ignore: Names | None = Field(
        default=None,
        description="Columns to leave out, such as numbers of rows; meta_* as in features.",
    )
    coding: CodingConfig | None = Field(
        default=None, description="What the values of labels mean. Default: 1 is active, 0 inactive, a gap is missing."
    )
    assay: str | None = Field(
        default=None,
        description="Long tables, a row per measurement: column of assays' names. A row per molecule is made of it.",
    )
    value: str | None = Field(
        default=None, description="Long tables: the column of labels, or of measured values (threshold)."
    )
    threshold: float | dict[str, float] | None = Field(
        default=None,
        description="Values are measurements, and one of at least this number is active: a number, or {assay: number}. "
        "Default: values are labels.",
    )
    active: Literal["above", "below"] | None = Field(
        default=None, description="below: a value of at most the threshold is active. Default: above."
    )
    standardise: Literal["parent"] | None = Field(
        default=None,
        description="parent: the largest fragment of each molecule, uncharged, without atom maps (rdkit's "
        "MolStandardize): a salt and its parent are one molecule.",
    )
    molecule: str | None = Field(
        default=None,
        description="Column that says which rows are the same molecule. Default: canonical SMILES, or equal features.",
    )
    time: str | None = Field(default=None, description="Column of dates or numbers, for the time split.")
    part: str | None = Field(default=None, description="Column of train/test, for a split of your own (column).")
    invalid_smiles: Literal["error", "skip"] = Field(
        default="error", description="What to do with SMILES that cannot be read: an error, or leave their rows out."
    )


class FingerprintConfig(Part):
    """Morgan fingerprints: radius 2 is ECFP4."""

    radius: Annotated[int, BeforeValidator(not_bool), Field(ge=0, le=6)] = Field(
        default=2, description="Bonds around each atom."
    )
    bits: Annotated[int, BeforeValidator(not_bool), Field(ge=16, le=65536)] = Field(default=1024, description="Length.")
    counts: bool = Field(default=False, description="How often each substructure occurs, instead of whether it does.")


class AssaySplitConfig(Part):
    """What is held out of the target. `split: scaffold` is short for `{kind: scaffold}`."""

    shorthand: ClassVar[str | None] = "kind"
    kind: Literal["random", "scaffold", "time", "column"] = Field(
        default="random",
        description="random: molecules, by class. scaffold: whole scaffolds. time: the latest rows. column: as "
        "table.part says.",
    )
    held_out: Between = Field(
        default=0.25, description="Share of the target's rows that is held out; no model sees their molecules."
    )
    duplicates: Literal["error", "drop"] = Field(
        default="error",
        description="For time and column, where a molecule is in both parts: an error, or drop its training rows.",
    )
    seeds: Count = Field(
        default=3, description="How many times everything is done, with seeds seed, seed + 1, ...: for the intervals."
    )


class ClassifierConfig(Part):
    """The model of proxies and final runs, the same for all. A plain name is short for `{name: ...}`."""

    shorthand: ClassVar[str | None] = "name"
    name: str = Field(
        default="xgboost",
        description="xgboost, or a classifier of scikit-learn, such as sklearn.linear_model.LogisticRegression.",
    )
    trees: Count = Field(default=100, description="Number of trees (xgboost).")
    depth: Count = Field(default=6, description="Depth of a tree (xgboost).")
    learning_rate: Positive = Field(default=0.1, description="Shrinkage of each tree (xgboost).")
    min_child_weight: NotNegative = Field(default=1.0, description="Least weight of rows in a leaf (xgboost).")
    reg_lambda: NotNegative = Field(default=1.0, description="Penalty on squared leaf values (xgboost).")
    settings: dict[str, Any] = Field(
        default_factory=dict,
        description="Other parameters: of xgboost.XGBClassifier, or of the scikit-learn classifier.",
    )

    @model_validator(mode="after")
    def _of_one_kind(self) -> ClassifierConfig:
        own = self.model_fields_set - {"name", "settings"}
        if self.name != "xgboost" and own:
            raise ValueError(f"{', '.join(sorted(own))} are of xgboost; give those of {self.name} in settings")
        return self

    def model(self, threads: int | None) -> Any:
        """Return the classifier; InputError if there is no such one."""
        if self.name != "xgboost":
            return from_name(self.name, self.settings)
        return Booster(
            trees=self.trees,
            depth=self.depth,
            learning_rate=self.learning_rate,
            min_child_weight=self.min_child_weight,
            reg_lambda=self.reg_lambda,
            more=self.settings or None,
            threads=threads,
        )


class AssayProxyConfig(Part):
    """The proxies: one classifier per source."""

    folds: Annotated[int, BeforeValidator(not_bool), Field(ge=0)] = Field(
        default=5,
        description="A proxy scores a molecule only after training without it, by this many folds. 0: one training on "
        "all, five times faster, and wrong where assays share molecules.",
    )
    calibration: Literal["intercept", "none"] = Field(
        default="intercept",
        description="intercept: the base rate of each proxy is moved to the target's before the search; or none. "
        "Both are shown.",
    )


class AssayFinalConfig(Part):
    """The final models: one per mixture, all trained the same way, compared on the held-out rows of the target."""

    mixtures: list[ArmName] = Field(
        default=_ALL_ARMS,
        description="Which are trained: uniform (equal weights), natural (by size), target_alone (the target's own "
        "training rows), best_single (the source whose proxy suits the target best), search.",
    )
    both_calibrations: bool = Field(
        default=True, description="Also train with the search by the other calibration of the proxies."
    )

    @model_validator(mode="after")
    def _what_is_needed(self) -> AssayFinalConfig:
        missing = [name for name in ("uniform", "search") if name not in self.mixtures]
        if missing:
            raise ValueError(f"mixtures should hold {' and '.join(missing)}: the others are compared with them")
        if len(set(self.mixtures)) < len(self.mixtures):
            raise ValueError("mixtures should name each once")
        return self


class AssaysConfig(RunConfig):
    """A search over assays: which table, what to be good at, what may be trained on."""

    model_config = ConfigDict(title="mixwright search, assays")
    kind: Literal["assays"] = Field(description="assays: sources are 0/1 label columns of a table of molecules.")
    title: str = Field(default="", description="Heading of the report. Default: made of the target.")
    seed: Annotated[int, BeforeValidator(not_bool), Field(ge=0, lt=2**31 - 1000)] = Field(
        default=0, description="Seed of the split, the models and the search."
    )
    table: TableConfig = Field(description="The table: path, or {path: ..., smiles: ...}.")
    target: str = Field(min_length=1, description="The assay that the model should be good at: a label column.")
    sources: Names = Field(
        default_factory=list, description="The assays that may be trained on. Default: all but the target."
    )
    own_rows: bool = Field(
        default=True,
        description="Whether the target's own training rows are one more source. false: what the other assays are "
        "worth without them, as in the paper.",
    )
    unusable: Literal["error", "drop"] = Field(
        default="error",
        description="What to do with a source that has no row, or one class, besides held-out molecules (or without a "
        "fold): an error, or drop it.",
    )
    fingerprint: FingerprintConfig = Field(default_factory=FingerprintConfig, description="What SMILES are made into.")
    split: AssaySplitConfig = Field(default_factory=AssaySplitConfig, description="What is held out of the target.")
    classifier: ClassifierConfig = Field(
        default_factory=ClassifierConfig, description="The model of proxies and final runs."
    )
    proxy: AssayProxyConfig = Field(default_factory=AssayProxyConfig, description="The proxies.")
    search: WeightsConfig = Field(default_factory=WeightsConfig, description="The search for weights.")
    final: AssayFinalConfig = Field(default_factory=AssayFinalConfig, description="The final models.")
    threads: Count | None = Field(default=None, description="Threads of the booster. Default: all cores.")
    engine: Engine = None

    @model_validator(mode="before")
    @classmethod
    def _renamed(cls, value: Any) -> Any:
        if not isinstance(value, dict) or "target_rows" not in value:
            return value
        old, others = value["target_rows"], {key: kept for key, kept in value.items() if key != "target_rows"}
        if old not in _OF_TARGET_ROWS or "own_rows" in others:
            raise ValueError(
                "target_rows is called own_rows now; write own_rows: true (was include) or false (exclude)"
            )
        return {**others, "own_rows": _OF_TARGET_ROWS[old]}

    @model_validator(mode="after")
    def _target_is_no_source(self) -> AssaysConfig:
        if self.target in self.sources:
            raise ValueError(
                f"sources should not hold the target {self.target!r}; remove it: own_rows says whether it is one"
            )
        if twice := sorted({name for name in self.sources if self.sources.count(name) > 1}):
            raise ValueError(f"sources should be named once, found {', '.join(twice)} twice")
        return self

    @property
    def assays_named(self) -> dict[str, list[str]]:
        """Return the assays that the configuration names, by key."""
        return {"target": [self.target], "sources": self.sources}

    def fingerprints(self) -> Fingerprint:
        """Return the fingerprint's settings."""
        return Fingerprint(self.fingerprint.radius, self.fingerprint.bits, self.fingerprint.counts)


class CompareAssaysFinalConfig(AssayFinalConfig):
    """The final models of a comparison: arms says which."""

    @model_validator(mode="after")
    def _arms_say_what_is_trained(self) -> CompareAssaysFinalConfig:
        for key in ("mixtures", "both_calibrations"):
            if key in self.model_fields_set:
                raise ValueError(f"there is no key {key} in a comparison: arms says what is trained; remove it")
        return self


class CompareAssaysConfig(AssaysConfig, ComparisonConfig):
    """A comparison of mixtures of assays."""

    model_config = ConfigDict(title="mixwright compare, assays")
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
            if arm.sampling is not None:
                raise ValueError(f"the arm {arm.title}: sampling is for texts; remove it")
            if arm.strategy is not None:
                raise ValueError(
                    f"the arm {arm.title} changes weights during training, which a classifier of assays cannot; remove "
                    "the arm, or compare with texts"
                )
            if arm.search == "worst_regret" or arm.proxy_run or arm.likelihood is not None or arm.proxy is not None:
                raise ValueError(f"the arm {arm.title}: assays have search: mixmin, without likelihood and proxy")
            if arm.charge is not None:
                raise ValueError(f"the arm {arm.title}: charge is for texts, whose budgets are tokens; remove it")
        return self

    @property
    def assays_named(self) -> dict[str, list[str]]:
        """Return the assays that the configuration names, by key."""
        return {"targets": self.targets, "sources": [name for name in self.sources if name not in self.targets]}

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
                "own_rows": self.own_rows or any(arm.own_rows for arm in self.arms),
                "sources": [name for name in self.sources if name != target],
                "split": self.split.model_copy(update={"seeds": self.most_seeds}),
            }
        )

    def dumped(self) -> dict[str, Any]:
        """Return the configuration as JSON-able values, with every default, as it can be read again."""
        return self.model_dump(
            mode="json", exclude_none=True, exclude={"target": True, "final": True, "split": {"seeds"}}
        )
