"""
LLaMA-Factory: `dataset`, `mix_strategy` and `interleave_probs` of its training YAML.

The sources are names of data sets in its dataset_info.json, so there are no paths here. It passes the probabilities to
`datasets.interleave_datasets`: they are of rows, drawn at random, and it ends with the first data set that is used up.
"""

from __future__ import annotations

from mixwright.errors import InputError
from mixwright.formats._job import Job
from mixwright.formats._text import dump_yaml


def write(job: Job) -> str:
    """Return the three settings; names and probabilities are each one text, parted by commas."""
    for name in job.sources:
        if "," in name or name.strip() != name:
            raise InputError(
                f"LLaMA-Factory parts names at commas and strips them, found the source {name!r}; rename it as in its "
                "dataset_info.json"
            )
    return dump_yaml(
        {
            "dataset": ",".join(job.sources),
            "mix_strategy": "interleave_under",
            "interleave_probs": ",".join(map(repr, job.probabilities)),
        }
    )
