"""Configuration of all runs on preference pairs: a model, sources of pairs, how they become tokens, how to train."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, ConfigDict, Field, ValidationInfo, model_validator
from pydantic import field_validator as validates

from mixwright.experiment.core.config_parts import (
    Adapter,
    AtLeastTwo,
    Between,
    CheckpointEvery,
    Count,
    FilePath,
    FilePaths,
    LinearRate,
    NotNegative,
    Part,
    Positive,
    Precision,
    RunConfig,
    Seed,
    Share,
    Warmup,
    WeightDecay,
    listed,
)
from mixwright.files.opening import read_text

if TYPE_CHECKING:
    from mixwright.preference.fitting import FitSettings

Scalar = str | int | float | bool | None
_TEMPLATES = (".jinja", ".jinja2", ".j2")


class PairSplitConfig(Part):
    """How pairs are split. `split: hash` and `split: COLUMN` are short for `{by: ...}`."""

    shorthand: ClassVar[str | None] = "by"
    by: str = Field(
        default="auto",
        min_length=1,
        description="hash: by a hash of the prompt, `held_out` of them; or the name of a column. auto: the column "
        "`split` if the rows have it with values of train and test, else hash.",
    )
    train: Annotated[list[str], BeforeValidator(listed), Field(min_length=1)] = Field(
        default=["train"], description="The column's values of the pairs to train on."
    )
    test: Annotated[list[str], BeforeValidator(listed), Field(min_length=1)] = Field(
        default=["test"], description="The column's values of the held-out pairs; other rows are not used."
    )


class PairSourceConfig(Part):
    """A source of pairs. A plain path is short for `{path: ...}`."""

    shorthand: ClassVar[str | None] = "path"
    or_list: ClassVar[bool] = True
    path: FilePaths = Field(
        description="JSON lines (.jsonl, .json, also .gz or .zst), .parquet, a folder of them or one that `datasets` "
        "saved, a pattern such as web/*.jsonl, or a list of them; rows of strings or of chat messages. Relative paths "
        "are read from the folder of this YAML file."
    )
    prompt: str = Field(default="prompt", min_length=1, description="The column of the prompt.")
    chosen: str = Field(default="chosen", min_length=1, description="The column of the better answer.")
    rejected: str = Field(default="rejected", min_length=1, description="The column of the worse answer.")
    implicit_prompt: bool = Field(
        default=False,
        description="Read the prompt from the common start of chosen and rejected, which are whole conversations; "
        "also done where no row has a column `prompt`.",
    )
    join: str = Field(default="", description="Text between prompt and answer, where rows are strings.")
    where: dict[str, Scalar | list[Scalar]] = Field(
        default_factory=dict, description="{column: value or [values]}: only such rows are used."
    )
    invalid: Literal["error", "drop"] = Field(
        default="error",
        description="A row that is no pair (an empty answer, two equal ones, ...): an error, or left out and counted.",
    )
    split: PairSplitConfig = Field(default_factory=PairSplitConfig, description="Which pairs are held out.")
    test: FilePaths | None = Field(
        default=None, description="A file of held-out pairs, read as this one; nothing is then split off."
    )
    max_pairs: Count | None = Field(
        default=None, description="Use a random sample of at most this many pairs to train on."
    )
    max_held_out: Count | None = Field(
        default=None, description="Measure on a random sample of at most this many held-out pairs. Default: max_pairs."
    )

    @model_validator(mode="after")
    def _test_or_split(self) -> PairSourceConfig:
        if self.test is not None and "split" in self.model_fields_set and self.split.by != "auto":
            raise ValueError("give test (a file of held-out pairs) or split, not both")
        return self


class PairsConfig(Part):
    """How pairs become tokens, as in TRL's DPOConfig."""

    max_length: AtLeastTwo = Field(
        default=512, description="Tokens of prompt and answer together; longer ones are cut."
    )
    truncation: Literal["keep_start", "keep_end"] = Field(
        default="keep_start", description="What is kept of a longer one: its start, or its end."
    )
    long_prompts: Literal["drop", "truncate", "error"] = Field(
        default="drop",
        description="A prompt that alone fills max_length (keep_start): the pair is left out and counted; or the "
        "prompt is cut at its start, to make room for the answer; or it is an error.",
    )
    chat_template: str = Field(
        default="auto",
        min_length=1,
        description="For chat messages: auto is the tokenizer's own; or the text of a template, or a file (.jinja).",
    )

    @validates("chat_template")
    @classmethod
    def _path_of_template(cls, value: str, info: ValidationInfo) -> str:
        if not value.endswith(_TEMPLATES):
            return value
        folder = (info.context or {}).get("folder", Path.cwd())
        return str((Path(folder) / Path(value).expanduser()).resolve())

    def template(self) -> str:
        """Return the text of the template, or "auto"; InputError if its file cannot be read."""
        if not self.chat_template.endswith(_TEMPLATES):
            return self.chat_template
        return read_text(Path(self.chat_template), "a chat template")


class LossConfig(Part):
    """The loss of a pair. `loss: ipo` is short for `{kind: ipo}`."""

    shorthand: ClassVar[str | None] = "kind"
    kind: Literal["sigmoid", "ipo", "simpo"] = Field(default="sigmoid", description="sigmoid (DPO), ipo or simpo.")
    beta: Positive = Field(default=0.1, description="How far the model is pulled from the reference: small is far.")
    gamma: NotNegative = Field(default=0.5, description="SimPO's margin (simpo only).")


def steps_of(epochs: float, pairs: int, batch_size: int) -> int:
    """Return the steps that go so often through a number of pairs, the last one begun; at least 1."""
    return max(1, -(-round(epochs * pairs) // batch_size))


class PreferTrainingConfig(Part):
    """How to train on pairs."""

    steps: Count | None = Field(default=None, description="Optimiser steps, or give epochs.")
    epochs: Positive | None = Field(
        default=None, description="How often as many pairs are seen as there are to train on. Default: 1."
    )
    batch_size: Count = Field(default=32, description="Pairs per step, over all ranks and micro-batches.")
    accumulate: Count = Field(
        default=1, description="Micro-batches per step on each rank: less memory, the same batch."
    )
    learning_rate: LinearRate = 1e-4
    warmup: Warmup = 0.05
    weight_decay: WeightDecay = 0.0
    max_grad_norm: Positive = Field(default=1.0, description="Longer gradients are cut to this norm.")
    precision: Precision = "auto"
    gradient_checkpointing: bool = Field(default=False, description="Less memory, slower.")
    checkpoint_every: CheckpointEvery = 60.0
    observe_every: Count = Field(default=10, description="Steps between two lines of metrics.")

    @model_validator(mode="after")
    def _fits(self) -> PreferTrainingConfig:
        if self.steps is not None and self.epochs is not None:
            raise ValueError("give steps or epochs, not both")
        if self.batch_size % self.accumulate:
            raise ValueError(f"batch_size ({self.batch_size}) should be a multiple of accumulate ({self.accumulate})")
        return self

    def total_steps(self, pairs: int) -> int:
        """Return the number of optimiser steps with a number of pairs to train on."""
        return self.steps or steps_of(self.epochs or 1.0, pairs, self.batch_size)

    def settings(self, steps: int, seed: int, learning_rate: float | None = None) -> FitSettings:
        """Return the settings of a training of a number of steps."""
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


class PreferDataConfig(RunConfig):
    """What the configurations of all runs on pairs share: the model, the sources, and how they become tokens."""

    kind: Literal["preference"] = Field(default="preference", description="preference: sources are pairs.")
    title: str = Field(default="", description="Heading of the report. Default: what it is about.")
    seed: Seed = Field(default=0, description="Seed of the order of rows, of adapters and of dropout.")
    model: FilePath = Field(
        description="The model to start from: a folder of the transformers library, or a run of `mixwright train` or "
        "`mixwright prefer`."
    )
    tokenizer: FilePath | None = Field(default=None, description="Its tokenizer's folder. Default: the model's own.")
    sources: dict[str, PairSourceConfig] = Field(
        min_length=1, description="The sources of pairs by name: {name: path or {...}}."
    )
    held_out: Between = Field(
        default=0.1, description="Share of the prompts that is held out, where a source is split by hash."
    )
    pairs: PairsConfig = Field(default_factory=PairsConfig, description="How pairs become tokens.")

    @model_validator(mode="after")
    def _names(self) -> PreferDataConfig:
        for name in self.sources:
            if not name.strip():
                raise ValueError("sources: a name should not be empty")
        return self

    def dumped(self) -> dict[str, Any]:
        """Return the configuration as JSON-able values, with every default, as it can be read again."""
        values: dict[str, Any] = super().dumped()
        for name, source in self.sources.items():  # null is a value to filter by
            values["sources"][name]["where"] = source.model_dump(mode="json")["where"]
        for part in (values, *values.get("arms", ())):  # defaults that are refused beside what was given
            if "strategy" not in part:
                for name in ("prior", "constraints"):
                    part.pop(name, None)
        given = values.get("specialists", {})
        if "run" in given:
            values["specialists"] = {name: given[name] for name in ("run", "target")}
        return values


class SftConfig(PreferDataConfig):
    """Supervised fine-tuning on the chosen answers of pairs."""

    model_config = ConfigDict(title="mixwright prefer sft")
    weights: Literal["uniform", "natural"] | dict[str, Share] = Field(
        default="natural",
        description="Shares of the sources in each batch: uniform, natural (by size), {source: weight}.",
    )
    adapter: Adapter = Field(
        default=None,
        description="none: all parameters are trained. {rank, ...}: LoRA, merged into the model at the end.",
    )
    training: PreferTrainingConfig = Field(default_factory=PreferTrainingConfig, description="How to train.")

    @model_validator(mode="after")
    def _weights_are_whole(self) -> SftConfig:
        given = self.weights
        if isinstance(given, dict) and (set(given) != set(self.sources) or abs(sum(given.values()) - 1) > 1e-6):
            raise ValueError(f"weights should give each source a weight, with the sum 1, found {given}")
        return self
