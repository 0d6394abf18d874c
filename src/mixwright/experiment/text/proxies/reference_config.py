"""Configuration of a reference model, and which arms take one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field, model_validator

from mixwright.experiment.core.arms import MEASURED, OF_TARGETS
from mixwright.experiment.core.compare_config import ArmConfig
from mixwright.experiment.core.config_parts import Count, FilePath, Part, RunConfig
from mixwright.strategies import from_config
from mixwright.watching.reference import REPORTED


class ReferenceConfig(Part):
    """A reference model. A plain path is short for `{path: ...}`."""

    shorthand: ClassVar[str | None] = "path"
    path: FilePath | None = Field(
        default=None, description="Folder of a model in the transformers format, with this run's tokenizer."
    )
    train: Literal["prior"] | None = Field(
        default=None, description="prior: first train a model like the run's own on the prior; it is the reference."
    )
    tokens: Count | None = Field(
        default=None,
        description="Tokens to train the reference on (train only). Default: as many as the run; in a "
        "comparison, as many as a proxy.",
    )
    clip: Literal["token", "example", "none"] | None = Field(
        default=None,
        description="Where an excess loss below 0 becomes 0: per token, in the mean of each row (example), or nowhere. "
        "Default: as the strategy asks.",
    )

    @model_validator(mode="after")
    def _one_of_both(self) -> ReferenceConfig:
        if (self.path is None) == (self.train is None):
            raise ValueError("give path (a folder with a model) or train: prior, one of the two")
        if self.tokens is not None and self.train is None:
            raise ValueError("tokens belongs to train: prior; remove it")
        return self


class ReferencesConfig(RunConfig):
    """What the configurations of runs share whose proxy runs and strategies may take a reference."""

    if TYPE_CHECKING:  # each kind of run has them, in the order of its own file
        sources: Any
        targets: Any

    reference: ReferenceConfig | None = Field(
        default=None,
        description="For search: doremi, and in a comparison for strategies that read excess_loss or reference_loss: a "
        "model to compare with, as a folder, or {train: prior}, which trains a proxy model for each seed.",
    )

    @property
    def measured(self) -> frozenset[str]:
        """Return the fields of an observation that strategies get besides what every training reports."""
        own = MEASURED | OF_TARGETS if self.targets else MEASURED
        return own if self.reference is None else own | REPORTED

    def needs_of(self, arm: ArmConfig) -> frozenset[str]:
        """Return what the strategy of an arm reads, or the proxy run of its search; of other arms nothing."""
        if arm.search == "doremi":
            return frozenset({"excess_loss"})
        return frozenset() if arm.strategy is None else from_config(arm.strategy, sources=list(self.sources)).needs

    def reference_of(self, arm: ArmConfig) -> ReferenceConfig | None:
        """Return the reference that an arm takes; None if it takes none. A search by DoReMi has one in any case."""
        if not self.needs_of(arm) & REPORTED:
            return None
        own = ReferenceConfig(train="prior") if arm.proxy_run else None
        return self.reference or own
