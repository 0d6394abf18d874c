"""Configuration of a fit of a table of runs."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, ConfigDict, Field

from mixwright.experiment.core.config_parts import (
    DataFile,
    Names,
    NotNegative,
    Part,
    Positive,
    RunConfig,
    Seed,
    Share,
    WeightsConfig,
    listed,
    not_bool,
)

Chosen = str | list[str]
Laws = Annotated[list[str], BeforeValidator(listed, json_schema_input_type=str | list[str])]


class RunTableConfig(Part):
    """The table: a row per training, with its weights and its losses. A plain path is short for `{path: ...}`."""

    shorthand: ClassVar[str | None] = "path"
    path: DataFile = Field(description="File (.parquet or .csv); with `metrics`, the file of the weights.")
    weights: Chosen | dict[str, Chosen] = Field(
        default="w:",
        description="Columns of the weights: a prefix, a pattern with one *, or a list; {phase: columns} for phases.",
    )
    losses: Chosen = Field(default="loss:", description="Columns of the losses: a prefix, a pattern or a list.")
    sources: DataFile | None = Field(
        default=None, description="File with the columns source and available_tokens (or tokens, size, rows)."
    )
    metrics: DataFile | None = Field(default=None, description="A second file with the losses, joined on `key`.")
    key: str | None = Field(
        default=None, description="Column that names the runs. Default: run, run_id, name, id or index."
    )
    tokens: Annotated[Positive | str | None, BeforeValidator(not_bool)] = Field(
        default=None, description="Tokens of each run: a column or a number. Default: epoch_budget_tokens or tokens."
    )
    scale: str = Field(default="scale", description="Column of the model's size, where there is one.")
    repeat_of: str = Field(default="repeat_of", description="Column of the run whose mixture a run repeats.")
    step: str = Field(default="step", description="Column of the step that the losses are of, where there is one.")
    last_step: Annotated[Positive | str | None, BeforeValidator(not_bool)] = Field(
        default=None, description="The last step: a column or a number. Default: the largest of the scale."
    )
    phase_shares: list[Share] | None = Field(default=None, description="Share of the tokens in each phase.")

    def reading(self) -> dict[str, Any]:
        """Return the arguments of `RunTable.from_file`."""
        return {name: getattr(self, name) for name in type(self).model_fields}


class ProposalConfig(WeightsConfig):
    """How the proposal is found."""

    prior: str | dict[str, Share] | None = Field(  # type: ignore[assignment]
        default=None,
        description="Where the proposal is pulled: uniform, natural (by size), or {source: weight}. Default: natural "
        "where sizes are known, else uniform.",
    )
    shrinkage: float | str = Field(
        default="cv",
        description="Strength of the pull to the prior: a number >= 0 (0: none), or cv: chosen by cross-validation.",
    )
    tolerance: Positive = Field(
        default=1e-4,
        description="Stop when the objective is proven this close to its minimum, in standard deviations of the "
        "measured losses.",
    )


class RunsConfig(RunConfig):
    """A fit of a table of runs: a law, the mixture that it proposes, and how far to believe it. Nothing is trained."""

    model_config = ConfigDict(title="mixwright runs fit")
    title: str = Field(default="", description="Heading of the report. Default: what it is about.")
    seed: Seed = Field(default=0, description="Seed of folds and bootstrap.")
    table: RunTableConfig = Field(description="The table.")
    target: Names | dict[str, Positive] | None = Field(
        default=None,
        description="A target, a list (their mean counts), or {target: share}. Default: the table's only one.",
    )
    objective: Literal["sum", "worst_regret"] = Field(
        default="sum", description="Of several targets: the sum by their shares, or the worst regret."
    )
    guardrails: dict[str, NotNegative] = Field(
        default_factory=dict,
        description="{target: share}: other targets, whose predicted loss may exceed the one at the prior by at most "
        "this share, such as 0.01.",
    )
    law: Laws = Field(
        default_factory=lambda: ["auto"],
        description="auto (the least error out of fold), or laws: linear, log_linear, exposure, gaussian_process, "
        "trees, bimix, ensemble.",
    )
    scale: str | None = Field(
        default=None, description="The scale that is fitted. Default: the one with most mixtures."
    )
    tokens: Positive | None = Field(
        default=None,
        description="Tokens of the training that is predicted, for exposures and max_epochs. Default: the median of "
        "the runs.",
    )
    sizes: dict[str, Positive] = Field(
        default_factory=dict, description="{source: tokens that exist}, where the table has no sources."
    )
    search: ProposalConfig = Field(default_factory=ProposalConfig, description="The proposal.")
