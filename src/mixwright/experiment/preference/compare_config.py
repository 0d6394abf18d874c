"""Configuration of a comparison on preference pairs: a preference configuration plus a list of arms."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, ConfigDict, Field, model_validator

from mixwright.experiment.core.compare_config import AnyArmConfig, ArmPrior, ArmStrategy, ComparisonConfig
from mixwright.experiment.core.config_parts import Level, not_bool
from mixwright.experiment.preference.config import Adapter, LossConfig, PreferDataConfig
from mixwright.experiment.preference.train_config import WAYS, GeneralistTrainingConfig, SpecialistsConfig

EVERY = "all"  # {specialist: all}: an arm for each source


class PreferenceArmConfig(AnyArmConfig):
    """
    An arm: one of `baseline`, `specialist`, `merge`, `weights` and `strategy`.

    A plain text is short for the baseline of that name, or else for a strategy.
    """

    ways = ("baseline", "specialist", "merge", "weights", "strategy")
    baseline: Literal["pooled", "uniform", "normalised"] | None = Field(
        default=None,
        description="pooled (pairs drawn by the sources' sizes), uniform (equal shares), normalised (drawn by size, "
        "weighted so that each source's mean loss counts the same).",
    )
    specialist: str | None = Field(
        default=None, description="The specialist of this source alone; all: an arm for each source."
    )
    merge: Literal["linear", "ties", "dare"] | None = Field(default=None, description="A merge of all specialists.")
    density: Annotated[float, BeforeValidator(not_bool), Field(gt=0, le=1)] | None = Field(
        default=None, description="For a merge: the share of entries that stay. Default: ties .2, dare .5."
    )
    weights: dict[str, Annotated[float, BeforeValidator(not_bool)]] | None = Field(
        default=None,
        description="{source: weight}: of a training, sum 1; of a merge, what each counts (default 1/k, ties 1).",
    )
    strategy: ArmStrategy = None
    prior: ArmPrior = "uniform"
    clip: Literal["example", "source", "none"] | None = Field(default=None, description="Default: that of training.")
    train_on: Literal["excess", "loss"] | None = Field(default=None, description="Default: that of training.")
    charge: bool | None = Field(
        default=None,
        description="Whether the specialists' cost comes out of this arm's steps. Default: charge_specialists.",
    )

    @model_validator(mode="before")
    @classmethod
    def _from_text(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        return {"baseline" if value in WAYS else "strategy": value}

    @model_validator(mode="after")
    def _keys_of_the_way(self) -> PreferenceArmConfig:
        if self.density is not None and self.merge in (None, "linear"):
            raise ValueError("density belongs to a merge with ties or dare; remove it")
        if self.strategy is None and {"prior", "clip", "train_on"} & self.model_fields_set:
            raise ValueError("prior, clip and train_on belong to a strategy; remove them")
        return self

    def given(self) -> list[str]:
        """Return the ways that are given; weights of a merge are no way of their own."""
        given = super().given()
        return [way for way in given if way != "weights"] if self.merge is not None else given

    def made_title(self) -> str:
        """Return the name of an arm that is given none and follows no strategy."""
        if self.merge is not None:
            return f"merge {self.merge}"
        return f"specialist {self.specialist}" if self.specialist is not None else super().made_title()

    @property
    def trains(self) -> bool:
        """Whether a generalist is trained."""
        return self.specialist is None and self.merge is None


class ComparePreferenceConfig(PreferDataConfig, ComparisonConfig):
    """A comparison of ways to mix preference pairs."""

    model_config = ConfigDict(title="mixwright compare, preference")
    arms: list[PreferenceArmConfig] = Field(  # type: ignore[assignment]
        min_length=1, description="What is compared: names, or {...}."
    )
    loss: LossConfig = Field(default_factory=LossConfig, description="The loss of specialists and generalists.")
    adapter: Adapter = Field(default=None, description="none: all parameters are trained. {rank, ...}: LoRA.")
    specialists: SpecialistsConfig | None = Field(
        default=None,
        description="The specialists; each seed has its own. Default: trained where an arm needs them.",
    )
    training: GeneralistTrainingConfig = Field(
        default_factory=GeneralistTrainingConfig, description="How to train; every arm has as many steps."
    )
    charge_specialists: bool = Field(
        default=False,
        description="Whether the specialists' cost comes out of the steps of the arms that need them, or is reported.",
    )
    keep_models: bool = Field(default=False, description="Whether the models of all arms and seeds are kept.")
    level: Level = 0.9

    @model_validator(mode="before")
    @classmethod
    def _an_arm_for_each(cls, value: Any) -> Any:
        """Put an arm for each source where {specialist: all} stands."""
        if not isinstance(value, dict) or not isinstance(value.get("arms"), list):
            return value
        sources = value.get("sources")
        names = list(sources) if isinstance(sources, dict) else []
        arms: list[Any] = []
        for arm in value["arms"]:
            every = isinstance(arm, dict) and arm.get("specialist") == EVERY
            arms += [{**arm, "specialist": name} for name in names] if every else [arm]
        return {**value, "arms": arms}

    @model_validator(mode="after")
    def _arms_fit(self) -> ComparePreferenceConfig:
        if self.specialists is not None and (self.specialists.run is not None or self.specialists.keep):
            raise ValueError("specialists of a comparison are trained for each seed; remove specialists.run and .keep")
        for arm in self.arms:
            if arm.specialist is not None and arm.specialist not in self.sources:
                known = ", ".join(self.sources)
                raise ValueError(f"the arm {arm.title} should name a source ({known}), found {arm.specialist!r}")
            given = arm.weights
            if given is not None and set(given) != set(self.sources):
                raise ValueError(f"weights of the arm {arm.title} should name every source, found {given}")
            if (
                given is not None
                and arm.merge is None
                and (min(given.values()) < 0 or abs(sum(given.values()) - 1) > 1e-6)
            ):
                raise ValueError(f"weights of the arm {arm.title} should be at least 0 with the sum 1, found {given}")
        return self

    @property  # type: ignore[misc]
    def targets(self) -> dict[str, Any]:
        """Return none: mixtures are judged on the sources' held-out pairs."""
        return {}

    def shared_out(self) -> dict[tuple[str, ...], tuple[int, int]]:
        """Return the batch size of all trainings."""
        return {("training", "batch_size"): (self.training.batch_size, self.training.accumulate)}

    @property
    def of_specialists(self) -> SpecialistsConfig:
        """Return the settings of the specialists, also where none are given."""
        return self.specialists or SpecialistsConfig()

    def charged(self, arm: PreferenceArmConfig) -> bool:
        """Whether the specialists' cost comes out of an arm's steps."""
        return self.charge_specialists if arm.charge is None else arm.charge
