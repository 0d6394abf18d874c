"""Configuration of how a search over texts finds weights: from a proxy per source, or in one proxy run on all."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import (
    BeforeValidator,
    Field,
    SerializerFunctionWrapHandler,
    field_validator,
    model_serializer,
    model_validator,
)

from mixwright.experiment.core.compare_config import PROXY_RUNS, ArmConfig, Unit, check_parameters
from mixwright.experiment.core.config_parts import WeightsConfig, listed

_OF_PROXY_RUNS = {"method", "parameters", "prior", "level"}


class MethodConfig(WeightsConfig):
    """The search for weights. `search: doremi` is short for `{method: doremi}`."""

    shorthand: ClassVar[str | None] = "method"
    method: Literal["mixmin", "doremi", "doge", "aioli"] = Field(
        default="mixmin",
        description="mixmin: from the likelihoods of the target under one proxy per source, with a certificate. "
        "doremi, doge, aioli: the mean weights of one proxy run on all sources, without a certificate; targets only "
        "check it. Their keys are parameters, prior and level.",
    )
    parameters: dict[str, Any] | None = Field(
        default=None,
        description="For doremi, doge and aioli: parameters of the strategy, such as {learning_rate: 0.5}.",
    )
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

    @model_validator(mode="after")
    def _keys_of_the_method(self) -> MethodConfig:
        if not self.proxy_run:
            if self.parameters is not None:
                raise ValueError(f"parameters belong to method: {' or '.join(PROXY_RUNS)}; remove them")
            return self
        if wrong := sorted(self.model_fields_set - _OF_PROXY_RUNS):
            raise ValueError(f"there is no key {wrong[0]} with method: {self.method}; remove it")
        if not isinstance(self.prior, str):
            raise ValueError(f"with method: {self.method}, prior should be uniform or natural, found weights")
        check_parameters(self.method, self.parameters)
        return self

    @model_serializer(mode="wrap")
    def _own_keys(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out what belongs to another method, and the method where it is the default: older runs resume."""
        own = _OF_PROXY_RUNS if self.proxy_run else set(type(self).model_fields) - {"method", "parameters"}
        return {key: value for key, value in handler(self).items() if key in own}

    @property
    def proxy_run(self) -> bool:
        """Whether the weights are the mean of those in one proxy run on all sources."""
        return self.method in PROXY_RUNS

    @property
    def arm(self) -> ArmConfig:
        """Return the search as an arm of a comparison, which finds the same weights."""
        return ArmConfig.model_validate({"search": self.method, "parameters": self.parameters, "prior": self.prior})


def is_proxy_run(search: Any) -> bool:
    """Whether the value of the key `search` of a file, not checked yet, asks for a proxy run."""
    method = search.get("method") if isinstance(search, Mapping) else search
    return isinstance(method, str) and method in PROXY_RUNS


def with_mixtures(values: Mapping[str, Any]) -> Mapping[str, Any]:
    """
    Return the values of a file with the final runs that a search by one proxy run has by default.

    It has no best single source, which takes a proxy of each; and without targets nothing to compare mixtures on.
    """
    final = values.get("final") or {}
    if not is_proxy_run(values.get("search")) or not isinstance(final, Mapping) or "mixtures" in final:
        return values
    mixtures = ["uniform", "natural", "search"] if values.get("targets") else []
    return {**values, "final": {**final, "mixtures": mixtures}}


def faults_of_method(config: Any) -> dict[tuple[str, ...], str]:
    """Return what is wrong with keys of a search's configuration beside its method, in words, by key."""
    method, mixtures = config.search.method, config.final.mixtures
    if not config.search.proxy_run:
        missing = (
            "this key is missing, or empty; add what the model should be good at, {name: path}, or choose search: "
            "doremi or doge, which read no target"
        )
        of_doremi = "is for search: doremi alone; remove it, or choose that method"
        return {
            **({} if config.targets else {("targets",): missing}),
            **({} if config.reference is None else {("reference",): of_doremi}),
        }
    if config.proxy.kind == "ngram":
        return {("proxy",): f"search: {method} trains a proxy model, found count models; leave out ngram and quick"}
    faults: dict[tuple[str, ...], str] = {}
    if config.reference is not None and method != "doremi":
        faults["reference",] = f"is for search: doremi alone, found {method}; remove it"
    if config.proxy.checkpoints:
        faults["proxy", "checkpoints"] = f"search: {method} trains one proxy on all sources; remove it"
    if "best_single" in mixtures:
        faults["final", "mixtures"] = f"best_single takes a proxy per source, search: {method} has one; remove it"
    elif mixtures and not config.targets:
        faults["final", "mixtures"] = "mixtures are compared on targets; add targets, or use mixwright compare"
    return faults
