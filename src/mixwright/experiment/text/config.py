"""What a search run is told: sources, targets, models, budgets. One YAML file, checked before any work."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import yaml
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PrivateAttr,
    TypeAdapter,
    ValidationError,
    field_validator,
    model_validator,
)

from mixwright.errors import InputError
from mixwright.experiment.core.config_parts import (
    Count,
    FilePath,
    Part,
    Positive,
    Share,
    WeightsConfig,
    listed,
    not_bool,
)
from mixwright.experiment.core.errors import explain
from mixwright.experiment.core.yaml import YamlFile, dotted, read_yaml

if TYPE_CHECKING:
    from mixwright.experiment.assays.config import AssaysConfig

Unit = Literal["chunk", "token", "sequence"]
MIXTURES = ("uniform", "natural", "best_single", "search")


class SourceConfig(Part):
    """A source: text to train on. A plain path is short for `{path: ...}`."""

    shorthand: ClassVar[str | None] = "path"
    path: FilePath = Field(
        description="File (.jsonl, .json, .txt, each also .gz or .zst; .parquet) or a folder of text files. "
        "Relative paths are read from the folder of this YAML file."
    )
    field: str = Field(default="text", min_length=1, description="Name of the field or column that holds the text.")
    max_documents: Count | None = Field(default=None, description="Use only the first documents, at most this many.")


class TargetConfig(Part):
    """A target: a sample of what the model should be good at. A plain path is short for `{path: ...}`."""

    shorthand: ClassVar[str | None] = "path"
    path: FilePath = Field(description="As for a source; for questions, rows of {question, choices, answer}.")
    field: str = Field(
        default="text", min_length=1, description="Name of the field that holds the text (documents only)."
    )
    kind: Literal["documents", "questions"] = Field(
        default="documents",
        description="documents: plain text. questions: rows {question, choices: [...], answer: index}.",
    )
    score: Literal["joint", "answer"] = Field(
        default="joint",
        description="For questions: joint scores prompt and right answer together, as one text; answer scores the "
        "right answer given the prompt.",
    )
    prompt: str = Field(
        default="Question: {question}\nAnswer:", description="For questions: how a question is written for the model."
    )
    held_out: Annotated[float, BeforeValidator(not_bool), Field(gt=0, lt=1)] = Field(
        default=0.5,
        description="Share of the target's documents that the search never sees: mixtures are compared on them.",
    )
    max_documents: Count | None = Field(default=None, description="Use only the first documents, at most this many.")

    @field_validator("prompt")
    @classmethod
    def _prompt_holds_question(cls, value: str) -> str:
        if "{question}" not in value:
            raise ValueError("should hold {question}, the place where the question goes")
        return value


class TokenizerConfig(Part):
    """How text becomes tokens. `tokenizer: bytes` is short for `{kind: bytes}`."""

    shorthand: ClassVar[str | None] = "kind"
    kind: Literal["bytes", "bpe", "path"] = Field(
        default="bytes",
        description="bytes: one token per byte, nothing to train. bpe: trained on the sources. path: a tokenizer of "
        "the transformers library from a folder on this disk.",
    )
    vocab_size: Annotated[int, BeforeValidator(not_bool), Field(ge=258)] = Field(
        default=4096, description="Size of the vocabulary (bpe only)."
    )
    path: FilePath | None = Field(default=None, description="Folder of the tokenizer (kind: path only).")

    @model_validator(mode="after")
    def _path_where_needed(self) -> TokenizerConfig:
        if (self.kind == "path") != (self.path is not None):
            raise ValueError("kind: path and path: FOLDER go together; give both or neither")
        return self


class ModelConfig(Part):
    """
    A language model: an architecture of the transformers library with its settings, or a model on disk.

    Settings besides `model_type` go to the transformers configuration as they are (hidden_size, num_hidden_layers ...).
    """

    model_config = ConfigDict(extra="allow", frozen=True, allow_inf_nan=False, protected_namespaces=())
    shorthand: ClassVar[str | None] = "path"
    model_type: str | None = Field(
        default=None, description="Architecture, such as gpt_neox or llama; trained from scratch."
    )
    path: FilePath | None = Field(
        default=None, description="Folder of a model to start from, in the transformers format."
    )

    @model_validator(mode="after")
    def _one_of_both(self) -> ModelConfig:
        if (self.model_type is None) == (self.path is None):
            raise ValueError("give model_type (with its settings) or path, one of the two")
        return self

    def spec(self) -> dict[str, Any]:
        """Return what `mixwright.training` builds the model from."""
        return self.model_dump(mode="json", exclude_none=True)


class _Training(Part):
    """Settings that proxies and final runs share; a proxy's default is the final run's value."""

    batch_size: Count | None = None
    context: Annotated[int, BeforeValidator(not_bool), Field(ge=2)] | None = None
    learning_rate: Positive | None = None
    warmup: Share | None = None
    weight_decay: Annotated[float, BeforeValidator(not_bool), Field(ge=0)] | None = None


class ProxyConfig(_Training):
    """The proxy models: one small model per source, trained on that source alone."""

    model: ModelConfig | None = Field(default=None, description="The proxies' model. Default: the final one.")
    checkpoints: dict[str, FilePath] = Field(
        default_factory=dict,
        description="Existing models, {source: folder}: used as they are, nothing is trained for these sources.",
    )
    tokens: Count = Field(default=1_000_000, description="Tokens that each proxy is trained on.")
    batch_size: Count | None = Field(default=None, description="Rows per step. Default: as final.")
    context: Annotated[int, BeforeValidator(not_bool), Field(ge=2)] | None = Field(
        default=None, description="Tokens per row, and per chunk of the target. Default: as final."
    )
    learning_rate: Positive | None = Field(default=None, description="Highest learning rate. Default: as final.")
    warmup: Share | None = Field(
        default=None, description="Share of the steps in which the rate rises. Default: as final."
    )
    weight_decay: Annotated[float, BeforeValidator(not_bool), Field(ge=0)] | None = Field(
        default=None, description="Weight decay of AdamW. Default: as final."
    )


class MixMinConfig(WeightsConfig):
    """The search: from the likelihoods of the target under the proxies to weights."""

    likelihood: Annotated[
        list[Unit], BeforeValidator(listed, json_schema_input_type=Unit | list[Unit]), Field(min_length=1)
    ] = Field(
        default=["chunk"],
        description="What a row of evidence is: chunk (the proxy's context), token, or sequence (a whole document). "
        "A list searches once for each; the first one is written to mixture.json.",
    )

    @field_validator("likelihood")
    @classmethod
    def _units_once(cls, value: list[Unit]) -> list[Unit]:
        if len(set(value)) < len(value):
            raise ValueError("should name each unit once")
        return value


class FinalConfig(_Training):
    """The final runs: one model per mixture, trained alike, compared on the held-out part of the targets."""

    tokens: Count = Field(default=10_000_000, description="Tokens that each mixture is trained on.")
    mixtures: list[Literal["uniform", "natural", "best_single", "search"]] = Field(
        default=["uniform", "natural", "best_single", "search"],
        description="Which mixtures are trained: uniform (equal weights; the others are compared with it), natural "
        "(by size), best_single (the source whose proxy has the least target loss), search (what the search found). "
        "An empty list stops after the search.",
    )
    equal_cost: bool = Field(
        default=False,
        description="Also train uniform with as much more compute as the proxies cost (uniform_equal_cost).",
    )
    batch_size: Count = Field(default=32, description="Rows per step.")
    context: Annotated[int, BeforeValidator(not_bool), Field(ge=2)] = Field(default=256, description="Tokens per row.")
    learning_rate: Positive = Field(default=1e-3, description="Highest learning rate (AdamW, cosine to a tenth).")
    warmup: Share = Field(default=0.05, description="Share of the steps in which the learning rate rises.")
    weight_decay: Annotated[float, BeforeValidator(not_bool), Field(ge=0)] = Field(
        default=0.1, description="Weight decay of AdamW."
    )
    evaluate_every: Count | None = Field(
        default=None, description="Steps between two points of the loss curve. Default: a tenth of the run."
    )

    @field_validator("mixtures")
    @classmethod
    def _uniform_is_there(cls, value: list[str]) -> list[str]:
        if value and "uniform" not in value:
            raise ValueError("should hold uniform: the other mixtures are compared with it")
        if len(set(value)) < len(value):
            raise ValueError("should name each mixture once")
        return value


_SMALL_MODEL = {
    "model_type": "gpt_neox",
    "hidden_size": 128,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "intermediate_size": 512,
}


class TextConfig(Part):
    """What every run over texts is told: the sources, and how they become tokens and a model."""

    kind: Literal["text"] = Field(default="text", description="text: sources are texts (assays is another kind).")
    title: str = Field(default="", description="Heading of the report. Default: what it is about.")
    seed: Annotated[int, BeforeValidator(not_bool), Field(ge=0, lt=2**31)] = Field(
        default=0, description="Seed of the models, of the order of rows and of the search."
    )
    sources: dict[str, SourceConfig] = Field(min_length=1, description="The sources by name: {name: path or {...}}.")
    targets: dict[str, TargetConfig] = Field(
        default_factory=dict, description="The targets by name: {name: path or {...}}."
    )
    held_out: Annotated[float, BeforeValidator(not_bool), Field(gt=0, lt=1)] = Field(
        default=0.05, description="Share of each source's documents that is never trained on."
    )
    tokenizer: TokenizerConfig = Field(default_factory=TokenizerConfig, description="How text becomes tokens.")
    model: ModelConfig = Field(
        default_factory=lambda: ModelConfig.model_validate(_SMALL_MODEL),
        description="The model that is trained. Default: a GPT-NeoX with about 0.8 million parameters.",
    )
    _file: YamlFile | None = PrivateAttr(None)

    @model_validator(mode="after")
    def _names(self) -> TextConfig:
        for key, names in (("sources", self.sources), ("targets", self.targets)):
            for name in names:
                if not name.strip():
                    raise ValueError(f"{key}: a name should not be empty")
        return self

    def where(self, *key: str) -> str:
        """Say where a key stands: file, line and dotted key."""
        return self._file.where(key) if self._file else f"key {dotted(key)}"

    @property
    def contexts(self) -> dict[str, int]:
        """Return the lengths of the rows that are trained on, by the part of the configuration that has them."""
        raise NotImplementedError


class SearchConfig(TextConfig):
    """A search run: which sources there are, what to be good at, and how much to spend on finding out."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, allow_inf_nan=False, title="mixwright search", protected_namespaces=()
    )
    targets: dict[str, TargetConfig] = Field(min_length=1, description="The targets by name: {name: path or {...}}.")
    proxy: ProxyConfig = Field(default_factory=ProxyConfig, description="The proxy models, one per source.")
    search: MixMinConfig = Field(default_factory=MixMinConfig, description="The search for weights.")
    final: FinalConfig = Field(default_factory=FinalConfig, description="The final runs that check the result.")

    @property
    def contexts(self) -> dict[str, int]:
        """Return the lengths of the rows that are trained on, by the part of the configuration that has them."""
        return {"final": self.final.context, "proxy": self.proxy_setting("context")}

    def proxy_setting(self, name: str) -> Any:
        """Return a setting of the proxies' training; where it is not given, the final run's."""
        value = getattr(self.proxy, name)
        return getattr(self.final, name) if value is None else value

    def proxy_model(self) -> ModelConfig:
        """Return the proxies' model."""
        return self.proxy.model or self.model


def make_config(value: dict[str, Any], file: YamlFile | None = None, folder: Path | str | None = None) -> SearchConfig:
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
        config = SearchConfig.model_validate(value, context={"folder": folder.resolve()})
    except ValidationError as error:
        raise InputError(explain(SearchConfig, error, file)) from error
    config._file = file
    check_budgets(config)
    return config


def check_budgets(config: SearchConfig, proxies: bool = True) -> None:
    """Raise InputError if a training should be shorter than one step; `proxies`: whether there are any."""
    final, proxy = config.final, config.proxy
    budgets = []
    if proxies and any(name not in proxy.checkpoints for name in config.sources):
        budgets.append(("proxy", proxy.tokens, config.proxy_setting("batch_size"), config.proxy_setting("context")))
    if final.mixtures:
        budgets.append(("final", final.tokens, final.batch_size, final.context))
    faults = [
        f"{config.where(part, 'tokens')}: should be at least {size * context:,}, one step (batch_size {size:,} x "
        f"context {context:,}), found {tokens:,}; raise it, or lower the batch_size or the context"
        for part, tokens, size, context in budgets
        if tokens < size * context
    ]
    if faults:
        raise InputError("\n".join(faults))


def load_config(path: Path | str) -> SearchConfig | AssaysConfig:
    """
    Read the YAML file of a search run and check it; no data is opened.

    Its key `kind` says what the sources are: text (the default) or assays.

    Raises
    ------
    InputError
        Names the file, the line, the key, what was found and what to do.
    """
    file = read_yaml(path)
    if not isinstance(file.value, dict):
        raise InputError(f"{path} should hold keys such as sources: and targets:, found {type(file.value).__name__}")
    kind = file.value.get("kind", "text")
    if kind not in ("text", "assays"):
        raise InputError(f"{file.where(('kind',))}: kind should be text or assays, found {kind!r}; correct it")
    if kind == "assays":
        from mixwright.experiment.assays.config import make_assays_config

        return make_assays_config(file.value, file)
    if "table" in file.value:
        raise InputError(
            f"{file.where(('table',))}: a search with a table of assays needs the key kind: assays; add it"
        )
    return make_config(file.value, file)


def json_schema() -> dict[str, Any]:
    """Return the JSON schema of the YAML file, for editors: of both kinds."""
    from mixwright.experiment.assays.config import AssaysConfig

    adapter: TypeAdapter[Any] = TypeAdapter(SearchConfig | AssaysConfig)
    return {"title": "mixwright search", **adapter.json_schema(mode="validation")}


def config_text(config: BaseModel) -> str:
    """Return the configuration as YAML, with every default and with whole paths."""
    head = (
        "# The configuration of this run, with all defaults. Go on with: mixwright search THIS_FILE --run THIS_FOLDER\n"
    )
    return head + yaml.safe_dump(config.model_dump(mode="json", exclude_none=True), sort_keys=False, allow_unicode=True)


__all__ = ["MIXTURES", "SearchConfig", "config_text", "json_schema", "load_config", "make_config"]
