"""What a search over assays is told: a table, a target, sources, a classifier. One YAML file with `kind: assays`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, ConfigDict, Field, PrivateAttr, ValidationError, model_validator

from mixwright.assays.classifiers import Booster, from_name
from mixwright.assays.fingerprints import Fingerprint
from mixwright.errors import InputError
from mixwright.experiment.core.config_parts import Count, FilePath, Part, Positive, WeightsConfig, listed, not_bool
from mixwright.experiment.core.errors import explain
from mixwright.experiment.core.yaml import YamlFile, dotted

Names = Annotated[list[str], BeforeValidator(listed, json_schema_input_type=str | list[str])]
ArmName = Literal["uniform", "natural", "target_alone", "best_single", "search"]
_ALL_ARMS: list[ArmName] = ["uniform", "natural", "target_alone", "best_single", "search"]
NotNegative = Annotated[float, BeforeValidator(not_bool), Field(ge=0)]


class TableConfig(Part):
    """The table: a row per molecule, a column per assay. A plain path is short for `{path: ...}`."""

    shorthand: ClassVar[str | None] = "path"
    path: FilePath = Field(
        description="File (.parquet or .csv). Relative paths are read from the folder of this YAML file."
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


class SplitConfig(Part):
    """What is held out of the target. `split: scaffold` is short for `{kind: scaffold}`."""

    shorthand: ClassVar[str | None] = "kind"
    kind: Literal["random", "scaffold", "time", "column"] = Field(
        default="random",
        description="random: molecules, by class. scaffold: whole scaffolds. time: the latest rows. column: as "
        "table.part says.",
    )
    held_out: Annotated[float, BeforeValidator(not_bool), Field(gt=0, lt=1)] = Field(
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
    """The final models: one per mixture, trained alike, compared on the held-out rows of the target."""

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


class AssaysConfig(Part):
    """A search over assays: which table, what to be good at, what may be trained on."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, allow_inf_nan=False, title="mixwright search, assays", protected_namespaces=()
    )
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
    target_rows: Literal["exclude", "include"] = Field(
        default="exclude",
        description="exclude: sources are other assays, as in the paper. include: the target's own training rows are "
        "one more source.",
    )
    unusable: Literal["error", "drop"] = Field(
        default="error",
        description="What to do with a source that has one class, or no molecule of the target: an error, or drop it.",
    )
    fingerprint: FingerprintConfig = Field(default_factory=FingerprintConfig, description="What SMILES are made into.")
    split: SplitConfig = Field(default_factory=SplitConfig, description="What is held out of the target.")
    classifier: ClassifierConfig = Field(
        default_factory=ClassifierConfig, description="The model of proxies and final runs."
    )
    proxy: AssayProxyConfig = Field(default_factory=AssayProxyConfig, description="The proxies.")
    search: WeightsConfig = Field(default_factory=WeightsConfig, description="The search for weights.")
    final: AssayFinalConfig = Field(default_factory=AssayFinalConfig, description="The final models.")
    threads: Count | None = Field(default=None, description="Threads of the booster. Default: all cores.")
    _file: YamlFile | None = PrivateAttr(None)

    @model_validator(mode="after")
    def _target_is_no_source(self) -> AssaysConfig:
        if self.target in self.sources:
            raise ValueError(
                f"sources should not hold the target {self.target!r}; remove it, or set target_rows: include"
            )
        if twice := sorted({name for name in self.sources if self.sources.count(name) > 1}):
            raise ValueError(f"sources should be named once, found {', '.join(twice)} twice")
        return self

    def where(self, *key: str) -> str:
        """Say where a key stands: file, line and dotted key."""
        return self._file.where(key) if self._file else f"key {dotted(key)}"

    def fingerprints(self) -> Fingerprint:
        """Return the fingerprint's settings."""
        return Fingerprint(self.fingerprint.radius, self.fingerprint.bits, self.fingerprint.counts)


def make_assays_config(
    value: dict[str, Any], file: YamlFile | None = None, folder: Path | str | None = None
) -> AssaysConfig:
    """
    Check a configuration given as nested dictionaries.

    Parameters
    ----------
    value
        What the YAML file would hold.
    file
        Where it was read from, for the messages.
    folder
        Where relative paths start. Default: the folder of `file`, or else the current one.

    Raises
    ------
    InputError
        Something is missing, unknown or not as it should be; all faults are named.
    """
    folder = Path(folder or (file.path.parent if file else "."))
    try:
        config = AssaysConfig.model_validate(value, context={"folder": folder.resolve()})
    except ValidationError as error:
        raise InputError(explain(AssaysConfig, error, file)) from error
    config._file = file
    return config
