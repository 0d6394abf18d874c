"""Configuration of a search of a table of likelihoods that were computed elsewhere."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import BeforeValidator, ConfigDict, Field, field_validator

from mixwright.experiment.core.config_parts import (
    DataFile,
    Names,
    Part,
    Positive,
    RunConfig,
    Seed,
    WeightsConfig,
    listed,
    not_bool,
)
from mixwright.search.table.values import Values


class LikelihoodTableConfig(Part):
    """The table: a row per target row, a column per source. A plain path is short for `{path: ...}`."""

    shorthand: ClassVar[str | None] = "path"
    path: DataFile = Field(
        description="File (.parquet or .csv) with a column per source, and optional columns named document, weight and "
        "target; or the folder of a table, as LikelihoodTable.save and mixwright table import write it."
    )
    sources: Annotated[
        list[str] | dict[str, str] | None,
        BeforeValidator(listed, json_schema_input_type=str | list[str] | dict[str, str]),
    ] = Field(
        default=None,
        description="The columns that are sources, or {source: column} to give them names. Default: all columns that "
        "are nothing else.",
    )
    values: Values | None = Field(
        default=None,
        description="What the numbers of a file are, if they are no log-likelihoods: loss (nats), bits, perplexity, "
        "probability. log_likelihood says that numbers above 0 are right: logs of densities.",
    )
    tokens: Annotated[Positive | str | None, BeforeValidator(not_bool)] = Field(
        default=None,
        description="Tokens of each row of a file: a column, or one number. The numbers are then means per token.",
    )
    unit: str | None = Field(
        default=None, min_length=1, description="What a row is, in words. Default: row, or what the folder says."
    )

    @field_validator("sources")
    @classmethod
    def _at_least_one(cls, value: list[str] | dict[str, str] | None) -> list[str] | dict[str, str] | None:
        if value is not None and not value:
            raise ValueError("should name at least one column; remove the key for all of them")
        return value

    @property
    def columns(self) -> dict[str, str] | None:
        """Return {source: column}; None for all."""
        return self.sources if self.sources is None or isinstance(self.sources, dict) else {n: n for n in self.sources}


class LikelihoodsConfig(RunConfig):
    """A search of a table of likelihoods: no texts are read, and nothing is trained."""

    model_config = ConfigDict(title="mixwright search (likelihoods)")
    kind: Literal["likelihoods"] = Field(description="A table of likelihoods that were computed elsewhere.")
    title: str = Field(default="", description="Heading of the report. Default: what it is about.")
    seed: Seed = Field(default=0, description="Seed of folds and bootstrap.")
    table: LikelihoodTableConfig = Field(description="The table.")
    targets: Names = Field(
        default_factory=list,
        description="Targets of the table to search for, each for itself; the first one's mixture is handed out. "
        "Default: all.",
    )
    sizes: dict[str, Positive] = Field(
        default_factory=dict,
        description="{source: its rows or tokens}, for prior: natural and for max_epochs.",
    )
    search: WeightsConfig = Field(default_factory=WeightsConfig, description="The search for weights.")
