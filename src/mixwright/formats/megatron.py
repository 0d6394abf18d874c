"""
Megatron-LM: a blend, weights and prefixes in turn.

The text is what `--data-args-path` reads and `--data-path` takes: words parted by white space. The JSON is that of
`--per-split-data-args-path`, where a prefix may hold spaces. Megatron divides the weights by their sum and asserts that
each is above 0; a sample is a sequence of `--seq-length` tokens, so shares are of tokens.
"""

from __future__ import annotations

import json

from mixwright.errors import InputError
from mixwright.formats._job import Job

_TOOL = "Megatron-LM"


def write_args(job: Job) -> str:
    """Return a line `weight prefix` per source."""
    prefixes = _prefixes(job)
    for name, prefix in zip(job.sources, prefixes, strict=True):
        if prefix.split() != [prefix]:
            raise InputError(
                f"{_TOOL} parts its blend at white space, but the path of {name!r} holds some: {prefix!r}; write JSON "
                "for --per-split-data-args-path instead (--form json), or rename the file"
            )
    return "".join(f"{weight!r} {prefix}\n" for weight, prefix in zip(job.weights, prefixes, strict=True))


def write_json(job: Job) -> str:
    """Return JSON with the blend as the training split; validation and test are left to you."""
    prefixes = _prefixes(job)
    for name, prefix in zip(job.sources, prefixes, strict=True):
        if prefix.strip() != prefix:
            raise InputError(
                f"{_TOOL} strips white space around the path of {name!r}, found {prefix!r}; rename the file"
            )
    blend = [word for weight, prefix in zip(job.weights, prefixes, strict=True) for word in (repr(weight), prefix)]
    return json.dumps({"train": blend, "valid": None, "test": None}, indent=2, ensure_ascii=False) + "\n"


def _prefixes(job: Job) -> list[str]:
    """Return each source's prefix: the path without .bin or .idx."""
    paths = [place.one_path(name, _TOOL) for name, _, place in job]
    return [path[:-4] if path.endswith((".bin", ".idx")) else path for path in paths]
