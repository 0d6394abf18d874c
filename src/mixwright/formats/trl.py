"""
TRL: the `datasets:` section of the YAML that `trl sft --config` and the other trainings read (DatasetMixtureConfig).

`fraction` is the share of rows in the mixture; TRL divides by the sum, takes the first rows of each data set and
repeats none, so that the source that is scarcest for its weight sets the size. It does not stream with fractions.
"""

from __future__ import annotations

from typing import Any

from mixwright.errors import InputError
from mixwright.formats._hub import load_arguments
from mixwright.formats._job import Job
from mixwright.formats._text import dump_yaml


def write(job: Job) -> str:
    """Return the section `datasets`, one entry per source."""
    entries: list[dict[str, Any]] = []
    for name, weight, place in job:
        arguments = load_arguments(name, place)
        columns = arguments.get("columns")
        if isinstance(columns, str):
            raise InputError(f"columns of {name!r} should be a list of names, found {columns!r}; write [{columns}]")
        entries.append({**arguments, "fraction": weight})
    return dump_yaml({"datasets": entries})
