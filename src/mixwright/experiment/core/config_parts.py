"""What the parts of every configuration share: types, the treatment of unknown keys, how weights are found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from numpy.typing import ArrayLike
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    PrivateAttr,
    ValidationInfo,
    field_validator,
    model_validator,
)

from mixwright.constraints.limits import Constraints
from mixwright.errors import InputError
from mixwright.experiment.core.yaml import YamlFile, dotted
from mixwright.files.stores import address_of, address_of_copy
from mixwright.files.stores.addresses import of_dataset
from mixwright.mixture_file import MixtureFile
from mixwright.watching.trackers.tracked import NOBODY, Tracked
from mixwright.watching.trackers.tracker import TRACKERS, About


def _resolve(path: Path, info: ValidationInfo) -> Path:
    """Read a relative path from the folder of the YAML file."""
    if address_of(path) is not None:
        raise ValueError("should be a path of this disk: download it first, addresses are for data")
    try:
        whole = Path((info.context or {}).get("folder", Path.cwd())) / path.expanduser()
        real = whole.resolve()
        # A link to a file keeps its name: in the caches of hubs, DVC and git-annex only that says what is in the file.
        return whole.parent.resolve() / whole.name if whole.is_symlink() and not real.is_dir() else real
    except (OSError, RuntimeError, ValueError) as error:  # links in a circle, the home of nobody, a character NUL
        found = getattr(error, "strerror", None) or error
        raise ValueError(f"should be a path that a file can have ({found})") from None


def _resolve_each(value: Path | list[Path], info: ValidationInfo) -> Path | list[Path]:
    return [_find(path, info) for path in value] if isinstance(value, list) else _find(value, info)


def _find(path: Path, info: ValidationInfo) -> Path:
    """Return the path of data, as `_resolve`; an address stays one until the run begins."""
    address = address_of(path)
    return _resolve(path, info) if address is None else Path(str(address))


def _as_path(value: Any) -> Any:
    """Let {dataset: owner/name, config, split, revision} stand for its address."""
    return Path(str(of_dataset(value))) if isinstance(value, dict) else value


def _written(value: Any) -> Any:
    """Return paths as config.yaml has them: addresses, whether they are fetched yet or not."""
    if isinstance(value, list):
        return [_written(one) for one in value]
    if not isinstance(value, Path):
        return value
    return str(address_of(value) or address_of_copy(value) or value)


def _path_or_paths(value: Any) -> Any:
    several = [_as_path(one) for one in value] if isinstance(value, list) else [_as_path(value)]
    if not several or not all(isinstance(path, str | Path) for path in several):
        raise ValueError("should be a path or a list of paths")
    return several if isinstance(value, list) else several[0]


def not_bool(value: Any) -> Any:
    """Refuse true and false where a number is wanted; Python takes them for 1 and 0."""
    if isinstance(value, bool):
        raise ValueError("should be a number")
    return value


def share_of_percent(value: Any) -> Any:
    """Return .01 for "1 %", or "1%"; other values as they are."""
    if isinstance(value, str) and value.rstrip().endswith("%"):
        try:
            return float(value.rstrip().removesuffix("%")) / 100
        except ValueError:
            pass
    if isinstance(value, bool | str):
        raise ValueError("should be a share such as 0.01, or 1 %")
    return value


def listed(value: Any) -> Any:
    """Let one value stand for a list of one."""
    return [value] if isinstance(value, str) else value


def by_source(prior: Any, names: Sequence[str]) -> Any:
    """Return a prior {source: weight} as a list [k] in the order of `names`; the name of a prior as it is."""
    return [prior.get(name, 0.0) for name in names] if isinstance(prior, Mapping) else prior


FilePath = Annotated[Path, AfterValidator(_resolve)]
DataFile = Annotated[
    Path,
    BeforeValidator(_as_path, json_schema_input_type=Path | dict[str, str]),
    AfterValidator(_find),
    PlainSerializer(_written, when_used="json"),
]
FilePaths = Annotated[
    Path | list[Path],
    BeforeValidator(_path_or_paths, json_schema_input_type=Path | dict[str, str] | list[Path | dict[str, str]]),
    AfterValidator(_resolve_each),
    PlainSerializer(_written, when_used="json"),
]
Count = Annotated[int, BeforeValidator(not_bool), Field(ge=1)]
Share = Annotated[float, BeforeValidator(not_bool), Field(ge=0, le=1)]
Positive = Annotated[float, BeforeValidator(not_bool), Field(gt=0)]
NotNegative = Annotated[float, BeforeValidator(not_bool), Field(ge=0)]
Between = Annotated[float, BeforeValidator(not_bool), Field(gt=0, lt=1)]
AtLeastTwo = Annotated[int, BeforeValidator(not_bool), Field(ge=2)]
Seed = Annotated[int, BeforeValidator(not_bool), Field(ge=0, lt=2**31)]
PartOf = Annotated[
    float, BeforeValidator(share_of_percent, json_schema_input_type=float | str), Field(gt=0, lt=1)
]  # or "1 %"
Names = Annotated[list[str], BeforeValidator(listed, json_schema_input_type=str | list[str])]

# Keys that several configurations have: said once, with a default of its own in each.
Level = Annotated[Between, Field(description="Confidence level of all intervals.")]
Context = Annotated[AtLeastTwo, Field(description="Tokens per row.")]
LearningRate = Annotated[Positive, Field(description="Highest learning rate (AdamW, cosine to a tenth).")]
LinearRate = Annotated[Positive, Field(description="Highest learning rate (AdamW, linear to 0).")]
Warmup = Annotated[Share, Field(description="Share of the steps in which the learning rate rises.")]
WeightDecay = Annotated[NotNegative, Field(description="Weight decay of AdamW.")]
Precision = Annotated[
    Literal["auto", "float32", "bfloat16"],
    Field(description="Precision of the passes; auto: bfloat16 on a GPU. Parameters are kept in float32."),
]
Parallel = Annotated[
    Literal["ddp", "fsdp2"] | None,
    Field(description="Under torchrun: the whole model on each rank (ddp, the default), or a part of it (fsdp2)."),
]
Compile = Annotated[
    bool | None,
    Field(strict=True, description="Whether torch.compile makes the model's blocks faster. The first steps take long."),
]
CheckpointEvery = Annotated[Positive, Field(description="Longest time between checkpoints, in seconds.")]
MaxEpochs = Annotated[
    Positive | None,
    Field(description="The most passes over a source; then others are drawn instead. Default: no limit."),
]
ObserveEvery = Annotated[Count, Field(description="Steps between two observations, which a strategy acts on.")]
Lag = Annotated[Count, Field(description="Steps from an observation to the first step of the weights that follow.")]
LAG = 8  # the default in trainings on texts
StatisticsSteps = Annotated[
    Count, Field(description="Steps before each observation in which gradient statistics are collected.")
]
StatisticsMetric = Annotated[
    Literal["plain", "adam"] | None,
    Field(
        description="Norms of the gradient itself (plain, the default), or of the gradient as Adam scales it (adam)."
    ),
]
Ema = Annotated[
    PartOf | None,
    Field(
        description="Measure and keep averaged weights: an exponential moving average (EMA) over about this share of "
        "the steps, such as 0.05 or 5 %, at most half. Default: the weights of the last step."
    ),
]
StrategyGiven = Annotated[
    str | dict[str, Any] | None,
    Field(description="Weights that follow the training: a strategy's name, or {name: ..., parameters, wrap: [...]}."),
]


def _weights_of_file(value: Any, info: ValidationInfo) -> Any:
    """Let a mixture.json stand for the weights in it."""
    if not isinstance(value, str) or not value.endswith(".json"):
        return value
    file = MixtureFile.read(_resolve(Path(value), info))
    if file.unit == "tokens":
        raise InputError(f"{value} has shares of tokens, a training draws rows; convert it, or search again")
    return dict(zip(file.sources, file.weights, strict=True))


StrategyPrior = Annotated[
    Literal["uniform", "natural"] | dict[str, Share],
    BeforeValidator(_weights_of_file, json_schema_input_type=Literal["uniform", "natural"] | dict[str, Share] | str),
    Field(description="Where a strategy starts: uniform, natural, {source: weight}, or a mixture.json."),
]


class Part(BaseModel):
    """A part of the configuration: unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, protected_namespaces=())
    shorthand: ClassVar[str | None] = None  # the key that a plain text stands for
    or_list: ClassVar[bool] = False  # a list of texts may stand for it too

    @model_validator(mode="before")
    @classmethod
    def _from_text(cls, value: Any) -> Any:
        short = isinstance(value, str | Path) or (cls.or_list and isinstance(value, list))
        return {cls.shorthand: value} if cls.shorthand and short else value

    @classmethod
    def __get_pydantic_json_schema__(cls, core_schema: Any, handler: Any) -> dict[str, Any]:
        """Return the schema of the part, or of the text that stands for it."""
        whole = handler.resolve_ref_schema(handler(core_schema))
        if not cls.shorthand:
            return dict(whole)
        about = {"description": f"Short for {{{cls.shorthand}: ...}}."}
        several = [{"type": "array", "items": {"type": "string"}, **about}] if cls.or_list else []
        return {"anyOf": [{"type": "string", **about}, *several, dict(whole)]}


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


Track = Annotated[
    list[Literal["tensorboard", "wandb", "mlflow", "trackio"]] | None,
    BeforeValidator(listed, json_schema_input_type=str | list[str]),
    Field(description=f"Trackers that follow the run: {', '.join(TRACKERS)}, one or several. Default: none."),
]


Adapter = Annotated[AdapterConfig | None, BeforeValidator(_no_adapter)]


class RunConfig(Part):
    """The configuration of a run, which knows where each key stands in its YAML file."""

    if TYPE_CHECKING:  # each kind of run has them, in the order of its own file
        title: str
        seed: int

    track: Track = None

    _file: YamlFile | None = PrivateAttr(None)
    _digest: tuple[int, str] | None = PrivateAttr(None)  # of what its pieces depend on, and whose that is
    _piece: str = PrivateAttr("")  # the name of the piece at work

    def where(self, *key: str) -> str:
        """Say where a key stands: file, line and dotted key."""
        return self._file.where(key) if self._file else f"key {dotted(key)}"

    def dumped(self) -> dict[str, Any]:
        """Return the configuration as JSON-able values, with every default, as it can be read again."""
        return self.model_dump(mode="json", exclude_none=True)

    def begin_piece(self, name: str) -> None:
        """Name the piece at work, "the arm uniform, seed 3": so trackers name its training."""
        self._piece = name.removeprefix("the arm ")

    def tracked(self, folder: Path, run: Path, name: str = "", writes: bool = True, **facts: Any) -> Tracked:
        """
        Return the trackers that follow a run, or one of its trainings.

        Parameters
        ----------
        folder
            Of what is followed.
        run
            The run folder, whose name is the group.
        name
            Default: that of the piece at work, or of the folder.
        writes
            Whether this process writes the training's files; other ranks speak to no tracker.
        **facts
            Such as the seed.
        """
        if not (self.track and writes):
            return NOBODY
        arm = {"arm": self._piece.rpartition(", seed ")[0]} if self._piece else {}
        group, facts = run.resolve().name, {**arm, "seed": self.seed, **facts}
        about = About(name or self._piece or folder.resolve().name, group, folder, facts, self.dumped())
        return Tracked(list(dict.fromkeys(self.track)), about)

    def check_together(self) -> None:
        """Raise InputError for keys that do not fit together, where the message names their places."""

    def shared_out(self) -> dict[tuple[str, ...], tuple[int, int]]:
        """Return what ranks of its pieces share: {key of a batch size: (batch size, micro-batches of a rank)}."""
        return {}


class LimitsConfig(Part):
    """What weights are allowed."""

    floors: dict[str, Share] = Field(default_factory=dict, description="{source: the least weight it may have}.")
    caps: dict[str, Share] = Field(default_factory=dict, description="{source: the largest weight it may have}.")
    frozen: dict[str, Share] = Field(default_factory=dict, description="{source: its weight}, fixed.")
    groups: dict[str, list[str]] = Field(default_factory=dict, description="{group: [sources]}; they may overlap.")
    group_floors: dict[str, Share] = Field(default_factory=dict, description="{group: the least sum of its weights}.")
    group_caps: dict[str, Share] = Field(default_factory=dict, description="{group: the largest sum of its weights}.")
    max_epochs: Positive | dict[str, Positive] | None = Field(
        default=None, description="How often a source may be repeated within the budget: a number, or {source: number}."
    )
    budget: Positive | None = Field(
        default=None, description="Rows or tokens that `max_epochs` is of; default: those of the final training."
    )
    max_distance: Annotated[float, BeforeValidator(not_bool), Field(ge=0, le=2)] | None = Field(
        default=None, description="The largest sum of |weight - prior| over the sources."
    )

    def constraints(self, budget: float | None = None) -> Constraints:
        """Return the limits on the weights; `budget`: of the final training, in the unit of the sizes."""
        return Constraints(
            floors=self.floors or None,
            caps=self.caps or None,
            frozen=self.frozen or None,
            groups=self.groups or None,
            group_floors=self.group_floors or None,
            group_caps=self.group_caps or None,
            max_epochs=self.max_epochs,
            budget=self.budget if self.max_epochs is None else self.budget or budget,
            max_distance=self.max_distance,
        )

    def check(
        self,
        names: Sequence[str],
        prior: str | Mapping[str, float] = "uniform",
        budget: float | None = None,
        sizes: ArrayLike | None = None,
    ) -> None:
        """Raise InputError if no weights are allowed; without `sizes` [k] of the sources, epochs limit nothing yet."""
        plenty, given = [1e300] * len(names), by_source(prior, names)
        self.constraints(budget).allowed(
            names, plenty if sizes is None else sizes, None if isinstance(given, str) else given
        )


class WeightsConfig(LimitsConfig):
    """How weights are found, whatever the likelihoods are of."""

    prior: str | dict[str, Share] = Field(
        default="uniform",
        description="Where small evidence pulls the weights: uniform, natural (by size), or {source: weight}.",
    )
    shrinkage: float | str = Field(
        default="cv",
        description="Strength of the pull to the prior: a number >= 0 (0: none), or cv: chosen by cross-validation.",
    )
    tolerance: Positive = Field(
        default=1e-8, description="Stop when the objective is proven this close to its minimum (nats)."
    )
    level: Level = 0.9

    @field_validator("prior", mode="before")
    @classmethod
    def _prior_is_known(cls, value: Any) -> Any:
        if not isinstance(value, dict) and value not in ("uniform", "natural"):
            raise ValueError("should be uniform, natural or {source: weight}")
        return value

    @field_validator("shrinkage", mode="before")
    @classmethod
    def _shrinkage_is_known(cls, value: Any) -> Any:
        number = isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < float("inf")
        if not (number or value == "cv"):
            raise ValueError("should be a number >= 0, or cv")
        return value
