"""What every run on preference pairs is told: a model, sources of pairs, how they become tokens, how to train."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, TypeVar

import yaml
from pydantic import BeforeValidator, ConfigDict, Field, PrivateAttr, ValidationError, ValidationInfo, model_validator
from pydantic import field_validator as validates

from mixwright.errors import InputError
from mixwright.experiment.core.config_parts import Count, FilePath, Part, Positive, Share, listed, not_bool
from mixwright.experiment.core.errors import explain
from mixwright.experiment.core.yaml import YamlFile, dotted, read_yaml

Scalar = str | int | float | bool | None
NotNegative = Annotated[float, BeforeValidator(not_bool), Field(ge=0)]
_TEMPLATES = (".jinja", ".jinja2", ".j2")


class SplitConfig(Part):
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
    path: FilePath = Field(
        description="JSON lines (.jsonl, .json, also .gz or .zst), .parquet, a folder of them, or one that `datasets` "
        "saved; rows of strings or of chat messages. Relative paths are read from the folder of this YAML file."
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
    split: SplitConfig = Field(default_factory=SplitConfig, description="Which pairs are held out.")
    test: FilePath | None = Field(
        default=None, description="A file of held-out pairs, read as this one; nothing is then split off."
    )
    max_pairs: Count | None = Field(default=None, description="Train on the first pairs, at most this many.")
    max_held_out: Count | None = Field(
        default=None, description="Measure on the first held-out pairs, at most this many."
    )

    @model_validator(mode="after")
    def _test_or_split(self) -> PairSourceConfig:
        if self.test is not None and "split" in self.model_fields_set and self.split.by != "auto":
            raise ValueError("give test (a file of held-out pairs) or split, not both")
        return self


class PairsConfig(Part):
    """How pairs become tokens, as in TRL's DPOConfig."""

    max_length: Annotated[int, BeforeValidator(not_bool), Field(ge=2)] = Field(
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
        try:
            return Path(self.chat_template).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"{self.chat_template} should be a chat template, reading it failed: {error}") from None


class LossConfig(Part):
    """The loss of a pair. `loss: ipo` is short for `{kind: ipo}`."""

    shorthand: ClassVar[str | None] = "kind"
    kind: Literal["sigmoid", "ipo", "simpo"] = Field(default="sigmoid", description="sigmoid is DPO; ipo; or simpo.")
    beta: Positive = Field(default=0.1, description="How far the model is pulled from the reference: small is far.")
    gamma: NotNegative = Field(default=0.5, description="SimPO's margin (simpo only).")


class AdapterConfig(Part):
    """LoRA: a small adapter is trained, the model stays."""

    rank: Count = Field(default=16, description="Rank of the adapter's matrices.")
    alpha: Positive | None = Field(default=None, description="Scale of the adapter. Default: twice the rank.")
    dropout: Annotated[float, BeforeValidator(not_bool), Field(ge=0, lt=1)] = Field(default=0.0, description="Dropout.")
    targets: str | list[str] = Field(
        default="all-linear", description="Which layers: names, or all-linear (all but the output layer)."
    )


def _no_adapter(value: Any) -> Any:
    return None if value in ("none", "no") else value


Adapter = Annotated[AdapterConfig | None, BeforeValidator(_no_adapter)]


class PreferTrainingConfig(Part):
    """How to train on pairs."""

    steps: Count | None = Field(default=None, description="Optimiser steps, or give epochs.")
    epochs: Positive | None = Field(
        default=None, description="How often as many pairs are seen as there are to train on. Default: 1."
    )
    batch_size: Count = Field(default=32, description="Pairs per step, over all micro-batches.")
    accumulate: Count = Field(default=1, description="Micro-batches per step: less memory, the same batch.")
    learning_rate: Positive = Field(default=1e-4, description="Highest learning rate (AdamW, linear to 0).")
    warmup: Share = Field(default=0.05, description="Share of the steps in which the learning rate rises.")
    weight_decay: NotNegative = Field(default=0.0, description="Weight decay of AdamW.")
    max_grad_norm: Positive = Field(default=1.0, description="Longer gradients are cut to this norm.")
    precision: Literal["auto", "float32", "bfloat16"] = Field(
        default="auto", description="Of the passes; auto: bfloat16 on a GPU. Parameters are float32."
    )
    gradient_checkpointing: bool = Field(default=False, description="Less memory, slower.")
    checkpoint_every: Positive = Field(default=60.0, description="Longest time between checkpoints, in seconds.")
    observe_every: Count = Field(default=10, description="Steps between two lines of metrics.")

    @model_validator(mode="after")
    def _fits(self) -> PreferTrainingConfig:
        if self.steps is not None and self.epochs is not None:
            raise ValueError("give steps or epochs, not both")
        if self.batch_size % self.accumulate:
            raise ValueError(f"batch_size ({self.batch_size}) should be a multiple of accumulate ({self.accumulate})")
        return self

    def total_steps(self, pairs: int) -> int:
        """Return the number of optimiser steps with so many pairs to train on."""
        return self.steps or max(1, -(-round((self.epochs or 1.0) * pairs) // self.batch_size))


class PreferDataConfig(Part):
    """What every run on preference pairs is told: the model, the sources, and how they become tokens."""

    kind: Literal["preference"] = Field(default="preference", description="preference: sources are pairs.")
    title: str = Field(default="", description="Heading of the report. Default: what it is about.")
    seed: Annotated[int, BeforeValidator(not_bool), Field(ge=0, lt=2**31)] = Field(
        default=0, description="Seed of the order of rows, of adapters and of dropout."
    )
    model: FilePath = Field(
        description="The model to start from: a folder of the transformers library, or a run of `mixwright train` or "
        "`mixwright prefer`."
    )
    tokenizer: FilePath | None = Field(default=None, description="Its tokenizer's folder. Default: the model's own.")
    sources: dict[str, PairSourceConfig] = Field(
        min_length=1, description="The sources of pairs by name: {name: path or {...}}."
    )
    held_out: Annotated[float, BeforeValidator(not_bool), Field(gt=0, lt=1)] = Field(
        default=0.1, description="Share of the prompts that is held out, where a source is split by hash."
    )
    pairs: PairsConfig = Field(default_factory=PairsConfig, description="How pairs become tokens.")
    _file: YamlFile | None = PrivateAttr(None)

    @model_validator(mode="after")
    def _names(self) -> PreferDataConfig:
        for name in self.sources:
            if not name.strip():
                raise ValueError("sources: a name should not be empty")
        return self

    def where(self, *key: str) -> str:
        """Say where a key stands: file, line and dotted key."""
        return self._file.where(key) if self._file else f"key {dotted(key)}"


class SftConfig(PreferDataConfig):
    """Supervised fine-tuning on the chosen answers of pairs."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, allow_inf_nan=False, title="mixwright prefer sft", protected_namespaces=()
    )
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


Config = TypeVar("Config", bound=PreferDataConfig)


def load_prefer_config(model: type[Config], path: Path | str) -> Config:
    """
    Read the YAML file of a run on pairs and check it; no data is opened.

    Raises
    ------
    InputError
        Names the file, the line, the key, what was found and what to do.
    """
    file = read_yaml(path)
    if not isinstance(file.value, dict):
        raise InputError(f"{path} should hold keys such as model: and sources:, found {type(file.value).__name__}")
    return make_prefer_config(model, file.value, file)


def make_prefer_config(
    model: type[Config], value: dict[str, Any], file: YamlFile | None = None, folder: Path | str | None = None
) -> Config:
    """
    Check a configuration given as nested dictionaries.

    Parameters
    ----------
    model
        SftConfig, or another kind of PreferDataConfig.
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
        config = model.model_validate(value, context={"folder": folder.resolve()})
    except ValidationError as error:
        raise InputError(explain(model, error, file)) from error
    config._file = file
    return config


def prefer_schema(model: type[PreferDataConfig]) -> dict[str, Any]:
    """Return the JSON schema of the YAML file, for editors."""
    return model.model_json_schema(mode="validation")


def dumped(config: PreferDataConfig) -> dict[str, Any]:
    """Return the configuration as JSON-able values, with every default, as it can be read again."""
    values: dict[str, Any] = config.model_dump(mode="json", exclude_none=True)
    for name, source in config.sources.items():  # null is a value to filter by
        values["sources"][name]["where"] = source.model_dump(mode="json")["where"]
    for part in (values, *values.get("arms", ())):  # defaults that are refused beside what was given
        if "strategy" not in part:
            for name in ("prior", "constraints"):
                part.pop(name, None)
    given = values.get("specialists", {})
    if "run" in given:
        values["specialists"] = {name: given[name] for name in ("run", "target")}
    return values


def config_text(config: PreferDataConfig, command: str) -> str:
    """Return the configuration as YAML; `command`: "mixwright prefer sft"."""
    head = f"# The configuration of this run, with all defaults. Go on with: {command} THIS_FILE --run THIS_FOLDER\n"
    return head + yaml.safe_dump(dumped(config), sort_keys=False, allow_unicode=True)
