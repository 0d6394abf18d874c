"""
The dataset card of a folder or a repository of the hub: a config for each source, and the mixture in the metadata.

`load_dataset` reads `configs:` (a name and its data files) and leaves `mixture:` alone, which `read` reads back.
"""

from __future__ import annotations

import json
import re
from pathlib import PurePosixPath
from typing import Any

from mixwright.errors import InputError
from mixwright.formats._hub import load_arguments
from mixwright.formats._job import Job
from mixwright.formats._text import dump_yaml
from mixwright.formats.reading.places import Place
from mixwright.version import __version__

_REFUSED = re.compile(r'[<>:/\\|?*\x00-\x1f"]')  # by datasets, in the name of a config

_BODY = """
# A mixture of {number} sources

Each source is a config. The shares are of {unit}, and `mixture:` in the metadata has them too. Written by mixwright
{version}.

```python
from datasets import interleave_datasets, load_dataset

shares = {shares}
here = "OWNER/NAME"  # this data set, or its folder
mixture = interleave_datasets(
    [load_dataset(here, config, split=split) for config, split in {splits}.items()],
    probabilities=[share / sum(shares.values()) for share in shares.values()],
    seed={seed},
    stopping_strategy="first_exhausted",
)
```
"""


def write(job: Job) -> str:
    """Return README.md: the metadata and how to build the mixture."""
    configs: list[dict[str, Any]] = []
    sources: list[dict[str, Any]] = []
    for name, weight, place in job:
        config = _unused(name, [one["config_name"] for one in configs])
        configs.append({"config_name": config, "data_files": [_files(name, place)]})
        sources.append({"source": name, "config": config, "weight": weight})
    head = dump_yaml({"configs": configs, "mixture": {"unit": job.unit, "sources": sources}})
    shares = {one["config"]: one["weight"] for one in sources}
    splits = {one["config_name"]: one["data_files"][0]["split"] for one in configs}
    words = {
        "shares": json.dumps(shares, indent=4, ensure_ascii=False),
        "splits": json.dumps(splits, ensure_ascii=False),  # escaped, a name beyond \uffff would be two characters
    }
    return f"---\n{head}---\n" + _BODY.format(
        number=len(configs), unit=job.unit, version=__version__, seed=job.seed, **words
    )


def _files(name: str, place: Place) -> dict[str, Any]:
    """Return the data files of a source as `configs:` has them; InputError if a card cannot name them."""
    if place.max_epochs not in (None, 1) or set(place.options) - {"split"}:
        raise InputError(
            f"a dataset card holds files and a split of each source, found max_epochs or other keys for {name!r}; "
            "write the Python file (--form py)"
        )
    load = load_arguments(name, place)
    files = load.get("data_files")
    for file in [files] if isinstance(files, str) else files or [load["path"]]:
        path = PurePosixPath(file)
        if files is None or path.is_absolute() or ".." in path.parts or "\\" in file or re.match(r"[A-Za-z]:", file):
            raise InputError(
                f"a dataset card names files of its own folder, found {file!r} for {name!r}; give a path below the "
                "card, such as data/web.jsonl, or write another form"
            )
    return {"split": load["split"], "path": files}


def _unused(name: str, used: list[str]) -> str:
    """Return a name that datasets takes for a config, and that no other source has."""
    made = " ".join(_REFUSED.sub("-", name).split()) or "source"
    chosen, number = made, 2
    while chosen in used:
        chosen, number = f"{made}-{number}", number + 1
    return chosen
