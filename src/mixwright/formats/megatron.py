"""
Megatron-LM: a blend, weights and prefixes in turn; also in the configurations of Megatron-Bridge and NeMo Automodel.

The text is what `--data-args-path` reads and `--data-path` takes: words parted by white space. The JSON is for
`--per-split-data-args-path`, where a prefix may hold spaces. Megatron divides the weights by their sum and asserts that
each is above 0; a sample is a sequence of `--seq-length` tokens, so shares are of tokens.
"""

from __future__ import annotations

import json

from mixwright.errors import InputError
from mixwright.formats._job import Job
from mixwright.formats._text import dump_yaml
from mixwright.formats.reading.places import Place

_TOOL = "Megatron-LM"


def write_args(job: Job) -> str:
    """Return a line `weight prefix` per source."""
    prefixes = _prefixes(job)
    for name, path in zip(job.sources, prefixes, strict=True):
        if path.split() != [path]:
            raise InputError(
                f"{_TOOL} splits its blend at white space, but the path of {name!r} holds some: {path!r}; write JSON "
                "for --per-split-data-args-path instead (--form json), or rename the file"
            )
    return "".join(f"{weight!r} {path}\n" for weight, path in zip(job.weights, prefixes, strict=True))


def write_json(job: Job) -> str:
    """Return JSON with the blend as the training split; validation and test are left to you."""
    return json.dumps({"train": _words(job), "valid": None, "test": None}, indent=2, ensure_ascii=False) + "\n"


def write_bridge(job: Job) -> str:
    """Return the section `dataset` of Megatron-Bridge: its `data_path` is the blend's words."""
    return dump_yaml({"dataset": {"data_path": _words(job)}})


def write_automodel(job: Job) -> str:
    """Return the section `dataset` of NeMo Automodel (MegatronPretraining): its `paths` are the blend's words."""
    return dump_yaml({"dataset": {"paths": _words(job)}})


def _words(job: Job) -> list[str]:
    """Return weights and prefixes in turn, all texts; a prefix may hold spaces, but not at its ends."""
    prefixes = _prefixes(job)
    for name, path in zip(job.sources, prefixes, strict=True):
        if path.strip() != path:
            raise InputError(f"{_TOOL} strips white space around the path of {name!r}, found {path!r}; rename the file")
    return [word for weight, path in zip(job.weights, prefixes, strict=True) for word in (repr(weight), path)]


def _prefixes(job: Job) -> list[str]:
    """Return each source's prefix; InputError if two are the same once .bin and .idx are off."""
    seen: dict[str, str] = {}
    for name, _, place in job:
        path = prefix(name, place)
        if path in seen:
            raise InputError(f"sources should have different prefixes, found {path!r} for {seen[path]!r} and {name!r}")
        seen[path] = name
    return list(seen)


def prefix(source: str, place: Place) -> str:
    """Return a source's path without .bin or .idx."""
    path = place.one_path(source, _TOOL)
    return path[:-4] if path.endswith((".bin", ".idx")) else path
