"""{source: weight}: the weights alone, for tools of your own."""

from __future__ import annotations

import json

from mixwright.formats._job import Job


def write(job: Job) -> str:
    """Return a JSON object of weights in source order."""
    weights = dict(zip(job.sources, job.weights, strict=True))
    return json.dumps(weights, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
