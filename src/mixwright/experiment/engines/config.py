"""Configuration of the engine: where the pieces of a run are done."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, NamedTuple

from pydantic import BeforeValidator, Field, field_validator, model_validator

from mixwright.errors import InputError
from mixwright.experiment.core.config_parts import Count, Part, not_bool

_UNITS = {"k": 2**10, "m": 2**20, "g": 2**30, "t": 2**40}
_OF = {  # the keys of each kind
    "local": {"ranks"},
    "ray": {"address", "ranks", "cpus", "gpus", "memory", "retries", "shard"},
    "slurm": {"partition", "time", "ranks", "cpus", "gpus", "memory", "array", "setup", "dry_run", "retries", "shard"},
}
_TIME = re.compile(r"\d+|(\d+-)?\d+(:\d\d){0,2}")
_NAME = re.compile(r"[^\s\"'\\#]+")  # of a partition, as a line of a script may have it
_SECRET = re.compile(r"\b\w*(?:KEY|TOKEN|SECRET|PASSWORD|PASSWD)=(?![\"']?[$`/~])[\"']?[^\s\"';]", re.IGNORECASE)


class Needs(NamedTuple):
    """What a piece takes of a node, all its processes together; memory in bytes, None: no say."""

    cpus: int
    gpus: int
    memory: int | None


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
    ranks: Count | None = Field(
        default=None,
        description="Processes of each piece that trains a final model, an arm or a specialist, as torchrun starts "
        "them on one node. Other pieces are one process. Default: 1.",
    )
    cpus: Count | None = Field(
        default=None,
        description="Cores of each process of a piece, which computes with as many threads. Default: its threads.",
    )
    gpus: Annotated[int, BeforeValidator(not_bool), Field(ge=0)] | None = Field(
        default=None, description="GPUs of each process of a piece. Default: 1 for one of several ranks, else 0."
    )
    memory: str | None = Field(
        default=None, description="Memory of each process of a piece, such as 8G. Default: as the cluster says."
    )
    retries: Annotated[int, BeforeValidator(not_bool), Field(ge=0)] | None = Field(
        default=None,
        description="How often a piece is tried again after its process, its node or its time ended. Default: 3.",
    )
    shard: Count | None = Field(
        default=None, description="Tokens of a target that one piece scores under one proxy. Default: 4 million."
    )
    partition: str | None = Field(default=None, description="slurm: the partition. Default: that of the cluster.")
    time: str | None = Field(
        default=None, description="slurm: the time of each piece, such as 2:00:00; one that is cut off goes on later."
    )
    array: Count | None = Field(
        default=None, description="slurm: tasks of an array at work at the same time. Default: no limit."
    )
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

    @field_validator("partition", mode="after")
    @classmethod
    def _partition_is_one_word(cls, value: str | None) -> str | None:
        if value is not None and not _NAME.fullmatch(value):
            raise ValueError("should be the name of a partition, without blanks and quotation marks")
        return value

    @field_validator("setup", mode="after")
    @classmethod
    def _setup_has_no_secrets(cls, value: list[str] | None) -> list[str] | None:
        if any(_SECRET.search(line) for line in value or ()):  # it would be in the run folder, and on the page
            raise ValueError("should hold no key or password; write it to a file of your own: setup: [source FILE]")
        return value

    @model_validator(mode="before")
    @classmethod
    def _one_node(cls, value: Any) -> Any:
        if isinstance(value, Mapping) and "nodes" in value:
            raise ValueError(
                "a piece has one node: remove nodes; a training over several nodes is mixwright train or prefer train "
                "under torchrun"
            )
        return value

    @model_validator(mode="after")
    def _keys_of_the_kind(self) -> EngineConfig:
        given = {name for name in self.model_fields_set if getattr(self, name) is not None} - {"kind"}
        if wrong := sorted(given - _OF[self.kind]):
            raise ValueError(f"there is no key {wrong[0]} with kind: {self.kind}; remove it, or choose another kind")
        return self

    @property
    def spread(self) -> int:
        """Return the ranks of a piece that can be spread over several."""
        return self.ranks or 1

    def needs(self, threads: int | None, ranks: int) -> Needs:
        """Return what a piece takes whose processes compute with a number of threads."""
        gpus = self.gpus if self.gpus is not None else int(ranks > 1)
        memory = None if self.memory is None else ranks * (size_of(self.memory) or 0)
        return Needs(ranks * (self.cpus or threads or 1), ranks * gpus, memory)

    @property
    def tries(self) -> int:
        """Return how often a piece is tried, at most."""
        return 1 + (3 if self.retries is None else self.retries)

    def threads(self, of_training: int) -> int:
        """
        Return the threads of a process: its cores, unless the configuration says how many a training has.

        Raises
        ------
        InputError
            The training has more threads than that.
        """
        if self.cpus is not None and self.cpus < of_training:
            raise InputError(
                f"engine: cpus should be at least the threads of a training ({of_training}), found {self.cpus}; raise "
                "cpus, or lower compute: threads"
            )
        return of_training if of_training > 1 or self.cpus is None else self.cpus


Engine = Annotated[
    EngineConfig | None,
    Field(description="Where the pieces of the run are done: local (the default), ray, slurm, or {kind: ..., ...}."),
]


def size_of(text: str) -> int | None:
    """Return the bytes of a size such as 8G, 8 GB or 500M; None if it is none."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([kmgt])(?:i?b)?", text.strip().lower())
    size = int(float(found[1]) * _UNITS[found[2]]) if found else 0
    return size or None
