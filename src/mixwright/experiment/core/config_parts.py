"""What the parts of every configuration share: types, the treatment of unknown keys, how weights are found."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, ClassVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationInfo,
    field_validator,
    model_validator,
)

from mixwright.constraints.limits import Constraints


def _resolve(path: Path, info: ValidationInfo) -> Path:
    """Read a relative path from the folder of the YAML file."""
    folder = (info.context or {}).get("folder", Path.cwd())
    return (Path(folder) / path.expanduser()).resolve()


def not_bool(value: Any) -> Any:
    """Refuse true and false where a number is wanted; Python takes them for 1 and 0."""
    if isinstance(value, bool):
        raise ValueError("should be a number")
    return value


def listed(value: Any) -> Any:
    """Let one value stand for a list of one."""
    return [value] if isinstance(value, str) else value


FilePath = Annotated[Path, AfterValidator(_resolve)]
Count = Annotated[int, BeforeValidator(not_bool), Field(ge=1)]
Share = Annotated[float, BeforeValidator(not_bool), Field(ge=0, le=1)]
Positive = Annotated[float, BeforeValidator(not_bool), Field(gt=0)]


class Part(BaseModel):
    """A part of the configuration: unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, protected_namespaces=())
    shorthand: ClassVar[str | None] = None  # the key that a plain text stands for

    @model_validator(mode="before")
    @classmethod
    def _from_text(cls, value: Any) -> Any:
        return {cls.shorthand: value} if cls.shorthand and isinstance(value, str | Path) else value

    @classmethod
    def __get_pydantic_json_schema__(cls, core_schema: Any, handler: Any) -> dict[str, Any]:
        """Return the schema of the part, or of the text that stands for it."""
        whole = handler.resolve_ref_schema(handler(core_schema))
        if not cls.shorthand:
            return dict(whole)
        short = {"type": "string", "description": f"Short for {{{cls.shorthand}: ...}}."}
        return {"anyOf": [short, dict(whole)]}


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
        """Return the limits on the weights; `budget` is that of the final training, in the unit of the sizes."""
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
    level: Annotated[float, BeforeValidator(not_bool), Field(gt=0, lt=1)] = Field(
        default=0.9, description="Confidence level of all intervals."
    )

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
