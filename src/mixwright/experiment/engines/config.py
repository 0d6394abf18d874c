"""Configuration of the engine: where the pieces of a run are done."""

from __future__ import annotations

import re
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field, field_validator, model_validator

from mixwright.experiment.core.config_parts import Count, Part, not_bool

_UNITS = {"k": 2**10, "m": 2**20, "g": 2**30, "t": 2**40}
_OF = {  # the keys of each kind
    "local": set[str](),
    "ray": {"address", "cpus", "gpus", "memory", "retries"},
    "slurm": {"partition", "time", "cpus", "gpus", "memory", "array", "setup", "dry_run", "retries"},
}
_TIME = re.compile(r"\d+|(\d+-)?\d+(:\d\d){0,2}")


class EngineConfig(Part):
    """Where the pieces of a run are done. A plain text is short for `{kind: ...}`."""

    shorthand: ClassVar[str | None] = "kind"
    kind: Literal["local", "ray", "slurm"] = Field(
        description="local: processes of this machine. ray, slurm: a cluster, whose nodes see the run folder."
    )
    address: str | None = Field(
        default=None,
        description="ray: the head as host:port, auto (the cluster of this node), or local. Default: auto.",
    )
    cpus: Count | None = Field(default=None, description="Cores of each piece. Default: its threads, else 1.")
    gpus: Annotated[int, BeforeValidator(not_bool), Field(ge=0)] | None = Field(
        default=None, description="GPUs of each piece. Default: 0."
    )
    memory: str | None = Field(
        default=None, description="Memory of each piece, such as 8G. Default: as the cluster says."
    )
    retries: Annotated[int, BeforeValidator(not_bool), Field(ge=0)] | None = Field(
        default=None,
        description="How often a piece is tried again after its process, its node or its time ended. Default: 3.",
    )
    partition: str | None = Field(default=None, description="slurm: the partition. Default: that of the cluster.")
    time: str | None = Field(
        default=None, description="slurm: the time of each piece, such as 2:00:00; one that is cut off goes on later."
    )
    array: Count | None = Field(default=None, description="slurm: pieces at work at the same time. Default: no limit.")
    setup: list[str] | None = Field(
        default=None, description="slurm: lines of the script before the piece begins, such as module load cuda."
    )
    dry_run: bool | None = Field(
        default=None, strict=True, description="slurm: write the script of the open pieces, submit nothing, and stop."
    )

    @field_validator("memory", mode="before")
    @classmethod
    def _memory_is_a_size(cls, value: Any) -> Any:
        if value is not None and (isinstance(value, bool) or size_of(str(value)) is None):
            raise ValueError("should be a size such as 8G or 800M")
        return None if value is None else str(value)

    @field_validator("time", mode="before")
    @classmethod
    def _time_is_one(cls, value: Any) -> Any:
        if value is not None and not (isinstance(value, str) and _TIME.fullmatch(value)):  # YAML reads 2:00:00 as 7200
            raise ValueError("should be a time in quotation marks, such as '2:00:00', '1-12:00:00' or '90' (minutes)")
        return value

    @model_validator(mode="after")
    def _keys_of_the_kind(self) -> EngineConfig:
        given = {name for name in self.model_fields_set if getattr(self, name) is not None} - {"kind"}
        if wrong := sorted(given - _OF[self.kind]):
            raise ValueError(f"there is no key {wrong[0]} with kind: {self.kind}; remove it, or choose another kind")
        return self

    @property
    def tries(self) -> int:
        """Return how often a piece is tried, at most."""
        return 1 + (3 if self.retries is None else self.retries)


Engine = Annotated[
    EngineConfig | None,
    Field(description="Where the pieces of the run are done: local (the default), ray, slurm, or {kind: ..., ...}."),
]


def size_of(text: str) -> int | None:
    """Return the bytes of a size such as 8G, 8 GB or 500M; None if it is none."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([kmgt])(?:i?b)?", text.strip().lower())
    size = int(float(found[1]) * _UNITS[found[2]]) if found else 0
    return size or None
