"""Configuration of a search over texts: sources, targets, models, budgets."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import (
    BeforeValidator,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    ValidationInfo,
    field_validator,
    model_serializer,
    model_validator,
)

from mixwright.errors import InputError
from mixwright.experiment.core.compare_config import ArmConfig, ProxyKind
from mixwright.experiment.core.config_parts import (
    LAG,
    AtLeastTwo,
    Between,
    Context,
    Count,
    Ema,
    FilePath,
    FilePaths,
    LearningRate,
    NotNegative,
    Part,
    Positive,
    RunConfig,
    Seed,
    Share,
    Warmup,
    WeightDecay,
    listed,
)
from mixwright.experiment.core.errors import named
from mixwright.experiment.engines.config import Engine
from mixwright.experiment.text.models.model_config import ModelConfig, TokenizerConfig, with_own_tokenizer
from mixwright.experiment.text.proxies.reference_config import ReferencesConfig
from mixwright.experiment.text.proxies.search_config import MethodConfig, faults_of_method, with_mixtures
from mixwright.text.readers import SampleBy
from mixwright.training.settings import check_ema

Metric = Literal["accuracy", "answer_loss"]
Metrics = Annotated[list[Metric] | None, BeforeValidator(listed, json_schema_input_type=Metric | list[Metric] | None)]


Invalid = Annotated[
    Literal["error", "drop"] | None,
    Field(description="A text that is null: an error (the default), or left out and counted (drop). Documents only."),
]

SampledBy = Annotated[
    SampleBy | None,
    Field(
        description="What is a document of a .txt file: the whole file (document, the default), what stands between "
        "blank lines (paragraph), or each line (line), as the text loader of datasets calls it."
    ),
]


def _documents_alone(part: Any) -> Any:
    """Raise ValueError if a source or target of questions says how texts are read."""
    if part.kind == "questions" and part.invalid is not None:
        raise ValueError("invalid is for documents: a question that is no question is always an error; remove it")
    if part.kind == "questions" and part.sample_by is not None:
        raise ValueError("sample_by is for documents in .txt files: a question is a row; remove it")
    return part


class SourceConfig(Part):
    """A source: text to train on. A plain path is short for `{path: ...}`."""

    shorthand: ClassVar[str | None] = "path"
    or_list: ClassVar[bool] = True
    path: FilePaths = Field(
        description="File (.jsonl, .json, .txt, each also .gz or .zst; .parquet), a folder of them, a pattern such as "
        "web/**/*.jsonl, or a list of them. Relative paths are read from the folder of this YAML file."
    )
    field: str = Field(default="text", min_length=1, description="Name of the field or column that holds the text.")
    kind: Literal["documents", "questions"] | None = Field(
        default=None,
        description="documents (the default): plain text. questions: rows {question, choices, answer}; the document is "
        "the question with its right answer.",
    )
    sample_by: SampledBy = None
    invalid: Invalid = None
    max_documents: Count | None = Field(
        default=None, description="Use a random sample of at most this many documents, the same one in every run."
    )
    overlap: Literal["keep", "drop"] | None = Field(
        default=None,
        description="Documents that are, or contain, a document of a target, word for word or nearly: trained on and "
        "noted (keep, the default), or left out and counted (drop).",
    )
    _of_documents = model_validator(mode="after")(_documents_alone)


class TargetConfig(Part):
    """A target: a sample of what the model should be good at. A plain path is short for `{path: ...}`."""

    shorthand: ClassVar[str | None] = "path"
    or_list: ClassVar[bool] = True
    path: FilePaths = Field(description="As for a source; for questions, rows of {question, choices, answer}.")
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
    metrics: Metrics = Field(
        default=None,
        description="For questions, what final models are measured on besides the loss: accuracy over the choices, "
        "answer_loss (nats per byte of the right answer), or [] for neither. Default: what the questions allow.",
    )
    held_out: Between = Field(
        default=0.5,
        description="Share of the target's documents that the search never sees: mixtures are compared on them.",
    )
    max_documents: Count | None = Field(
        default=None, description="Use a random sample of at most this many documents, the same one in every run."
    )
    sample_by: SampledBy = None
    invalid: Invalid = None
    _of_documents = model_validator(mode="after")(_documents_alone)

    @model_validator(mode="after")
    def _metrics_of_questions(self) -> TargetConfig:
        if self.kind == "documents" and self.metrics is not None:
            raise ValueError(
                "metrics are of questions: a target of documents has its held-out loss alone; remove them, or set "
                "kind: questions"
            )
        return self

    @field_validator("prompt")
    @classmethod
    def _prompt_holds_question(cls, value: str) -> str:
        if "{question}" not in value:
            raise ValueError("should hold {question}, the place where the question goes")
        return value


class ProxyConfig(Part):
    """The proxies: one model per source, of that source alone. `proxy: ngram` is short for `{kind: ngram}`."""

    shorthand: ClassVar[str | None] = "kind"
    kind: ProxyKind = Field(
        default="neural",
        description="neural: a small language model, trained. ngram: a count model (interpolated modified Kneser-Ney), "
        "which takes seconds and has the keys order, max_tokens and context alone.",
    )
    order: Count = Field(default=4, description="Longest n-gram, in tokens (ngram only).")
    max_tokens: Count | None = Field(
        default=None,
        description="Count at most this many tokens of each source, whole documents at random (ngram only). Default: "
        "as many as the smallest source has, from 100,000 to 50,000,000.",
    )
    batch_size: Count | None = Field(default=None, description="Rows per step. Default: as final.")
    context: AtLeastTwo | None = Field(
        default=None, description="Tokens per row, and per chunk of the target. Default: as final."
    )
    learning_rate: Positive | None = Field(default=None, description="Highest learning rate. Default: as final.")
    warmup: Share | None = Field(
        default=None, description="Share of the steps in which the rate rises. Default: as final."
    )
    weight_decay: NotNegative | None = Field(default=None, description="Weight decay of AdamW. Default: as final.")
    model: ModelConfig | None = Field(default=None, description="The proxies' model. Default: the final one.")
    checkpoints: dict[str, FilePath] = Field(
        default_factory=dict,
        description="Existing models, {source: folder}: used as they are, nothing is trained for these sources.",
    )
    tokens: Count = Field(default=1_000_000, description="Tokens that each proxy is trained on.")

    @model_validator(mode="after")
    def _keys_of_the_kind(self) -> ProxyConfig:
        if wrong := [key for key in sorted(self.model_fields_set) if key in self._others()]:
            raise ValueError(f"there is no key {wrong[0]} with kind: {self.kind}; remove it, or choose another kind")
        return self

    def _others(self) -> set[str]:
        """Return the keys that belong to another kind."""
        of_counts = {"order", "max_tokens"}
        return of_counts if self.kind == "neural" else set(type(self).model_fields) - of_counts - {"kind", "context"}

    @model_serializer(mode="wrap")
    def _own_keys(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out what belongs to another kind, and the kind where it is the default: older runs resume."""
        left_out = self._others() | ({"kind"} if self.kind == "neural" else set())
        return {key: value for key, value in handler(self).items() if key not in left_out}

    @property
    def words(self) -> str:
        """Return what the proxies are, for verdicts."""
        return f"count models of order {self.order}" if self.kind == "ngram" else "the proxy models"


class FinalConfig(Part):
    """The final runs: one model per mixture, all trained the same way, compared on held-out parts of the targets."""

    batch_size: Count = Field(default=32, description="Rows per step.")
    context: Context = 256
    learning_rate: LearningRate = 1e-3
    warmup: Warmup = 0.05
    weight_decay: WeightDecay = 0.1
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
    evaluate_every: Count | None = Field(
        default=None, description="Steps between two points of the loss curve. Default: a tenth of the run."
    )
    ema: Ema = None  # not in the config.yaml of former runs

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


class TextConfig(RunConfig):
    """What the configurations of all runs over texts share: the sources, and how they become tokens and a model."""

    kind: Literal["text"] = Field(default="text", description="text: sources are texts (assays is another kind).")
    title: str = Field(default="", description="Heading of the report. Default: what it is about.")
    seed: Seed = Field(default=0, description="Seed of the models, of the order of rows and of the search.")
    sources: dict[str, SourceConfig] = Field(min_length=1, description="The sources by name: {name: path or {...}}.")
    targets: dict[str, TargetConfig] = Field(
        default_factory=dict, description="The targets by name: {name: path or {...}}."
    )
    held_out: Between = Field(default=0.05, description="Share of each source's documents that is never trained on.")
    tokenizer: TokenizerConfig = Field(
        default_factory=TokenizerConfig,
        description="How text becomes tokens. Default: the tokenizer of the model on disk that the run starts from, or "
        "else bytes.",
    )
    model: ModelConfig = Field(
        default_factory=lambda: ModelConfig.model_validate(_SMALL_MODEL),
        description="The model that is trained. Default: a GPT-NeoX with about 0.8 million parameters.",
    )

    @model_validator(mode="before")
    @classmethod
    def _tokenizer_of_the_model(cls, values: Any, info: ValidationInfo) -> Any:
        return with_own_tokenizer(values, Path((info.context or {}).get("folder", Path.cwd())))

    @model_validator(mode="after")
    def _names(self) -> TextConfig:
        for key, names in (("sources", self.sources), ("targets", self.targets)):
            for name in names:
                if not name.strip():
                    raise ValueError(f"{key}: a name should not be empty")
        dropping = [name for name, source in self.sources.items() if source.overlap == "drop"]
        if dropping and not self.targets:
            raise ValueError(f"sources: {dropping[0]}: overlap: drop needs targets; add some, or remove it")
        return self

    @property
    def contexts(self) -> dict[str, int]:
        """Return the lengths of the rows that are trained on, by the part of the configuration that has them."""
        raise NotImplementedError


class SearchConfig(TextConfig, ReferencesConfig):
    """A search run: which sources there are, what to be good at, and how much to spend on finding out."""

    model_config = ConfigDict(title="mixwright search")
    targets: dict[str, TargetConfig] = Field(
        default_factory=dict,
        description="The targets by name: {name: path or {...}}. Needed by all methods but doremi, doge and aioli.",
    )
    proxy: ProxyConfig = Field(default_factory=ProxyConfig, description="The proxy models, one per source.")
    search: MethodConfig = Field(default_factory=MethodConfig, description="The search for weights.")
    quick: bool = Field(
        default=False,
        strict=True,
        exclude=True,
        description="A result in seconds: count models as proxies (proxy: ngram), and no final runs. The option "
        "--quick is the same; keys of proxy and final for training are then without effect.",
    )
    final: FinalConfig = Field(default_factory=FinalConfig, description="The final runs that check the result.")
    engine: Engine = None

    @model_validator(mode="before")
    @classmethod
    def _in_seconds(cls, values: Any) -> Any:
        if not isinstance(values, Mapping):
            return values
        values = with_mixtures(values)
        if values.get("quick") is not True:
            return values
        proxy, final = ({"kind": v} if isinstance(v, str) else v for v in (values.get("proxy"), values.get("final")))
        without = set(ProxyConfig.model_fields) - {"order", "max_tokens", "context"}  # but unknown keys are errors
        kept = {k: v for k, v in (proxy or {}).items() if k not in without}
        return {**values, "proxy": {**kept, "kind": "ngram"}, "final": {**(final or {}), "mixtures": []}}

    @model_validator(mode="after")
    def _cost_to_equal(self) -> SearchConfig:
        if self.final.equal_cost and self.proxy.kind == "ngram" and self.final.mixtures:
            raise ValueError("final: equal_cost needs neural proxies: count models cost no training; remove it")
        return self

    @property
    def trains(self) -> bool:
        """Whether anything is trained, proxies or final models."""
        return self.proxy.kind == "neural" or bool(self.final.mixtures)

    @property
    def contexts(self) -> dict[str, int]:
        """Return the lengths of the rows that are trained on, by the part of the configuration that has them."""
        return {"final": self.final.context, "proxy": self.proxy_setting("context")}

    def where_of_proxy(self, *key: str) -> str:
        """Say where a key of the proxies stands."""
        return self.where("proxy", *key)

    def proxy_setting(self, name: str) -> Any:
        """Return a setting of the proxies' training; where it is not given, the final run's."""
        value = getattr(self.proxy, name)
        return getattr(self.final, name) if value is None else value

    def proxy_model(self) -> ModelConfig:
        """Return the proxies' model."""
        return self.proxy.model or self.model

    @property
    def trains_proxies(self) -> bool:
        """Whether proxies are trained."""
        return self.proxy.kind == "neural" and any(name not in self.proxy.checkpoints for name in self.sources)

    def placed_arms(self) -> list[tuple[str, ArmConfig]]:
        """Return what has a proxy run or a strategy, as arms of a comparison, each with its place in the file."""
        return [(self.where("search"), self.search.arm)] if self.search.proxy_run else []

    @property
    def lag(self) -> int:
        """Return the steps from an observation of a proxy run to the weights that follow."""
        return LAG

    def check_together(self) -> None:
        """Raise InputError if a key does not go with the method, or a training should be shorter than one step."""
        self._check_method()
        budgets = []
        if self.trains_proxies:
            budgets.append(
                ("proxy", self.proxy.tokens, self.proxy_setting("batch_size"), self.proxy_setting("context"))
            )
        if self.final.mixtures:
            budgets.append(("final", self.final.tokens, self.final.batch_size, self.final.context))
        faults = [
            f"{self.where(part, 'tokens')}: should be at least {size * context:,}, one step (batch_size {size:,} x "
            f"context {context:,}), found {tokens:,}; raise it, or lower the batch_size or the context"
            for part, tokens, size, context in budgets
            if tokens < size * context
        ]
        if faults:
            raise InputError("\n".join(faults))
        if self.final.mixtures:
            self.check_ema(self.final.tokens // (self.final.batch_size * self.final.context))

    def shared_out(self) -> dict[tuple[str, ...], tuple[int, int]]:
        """Return the batch size of the final runs, or of a comparison's trainings."""
        return {("final", "batch_size"): (self.final.batch_size, 1)} if self.final.mixtures else {}

    def check_ema(self, steps: int) -> None:
        """Raise InputError if weights cannot be averaged as `final: ema` says in a training of `steps` steps."""
        with named(self.where("final", "ema")):
            check_ema(self.final.ema, steps)

    def _check_method(self) -> None:
        """Raise InputError if the method of the search needs, or cannot have, what another key says."""
        if faults := faults_of_method(self):
            raise InputError("\n".join(f"{self.where(*key)}: {words}" for key, words in faults.items()))
