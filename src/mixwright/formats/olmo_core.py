"""
OLMo-core: the YAML of a SourceMixtureList.

`target_ratio` is a share of tokens and must be above 0; ratios sum to 1. A source is used once unless
`max_repetition_ratio` says how often it may be; OLMo-core refuses a mixture that its files cannot fill.
"""

from __future__ import annotations

from typing import Any

from mixwright.formats._job import Job
from mixwright.formats._text import dump_yaml


def write(job: Job) -> str:
    """Return the list `sources`."""
    entries: list[dict[str, Any]] = []
    for name, weight, place in job:
        entry = {"source_name": name, "target_ratio": weight, "paths": list(place.files)}
        if place.max_epochs is not None and place.max_epochs >= 1:
            entry["max_repetition_ratio"] = place.max_epochs
        elif place.max_epochs is not None:
            entry["max_source_fraction"] = place.max_epochs
        entries.append(entry)
    return dump_yaml({"sources": entries})
