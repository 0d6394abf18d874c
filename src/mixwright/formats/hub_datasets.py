"""
datasets (Hugging Face): arguments of `interleave_datasets`, as a Python file that builds the mixture or as YAML.

Probabilities are of rows, drawn at random. The generated file shuffles each source, ends when the first source is used
up, and holds a source with `max_epochs` to that many passes.
"""

from __future__ import annotations

from typing import Any

from mixwright.errors import InputError
from mixwright.formats._hub import load_arguments
from mixwright.formats._job import Job, script
from mixwright.formats._text import dump_yaml
from mixwright.formats.reading.places import Place

_IMPORTS = """import math

from datasets import concatenate_datasets, interleave_datasets, load_dataset, load_from_disk"""

_BODY = '''

def load(source, streaming=False):
    """Return one source: its "epochs" passes, each in an order of its own."""
    if "load_from_disk" in source:
        rows = load_from_disk(source["load_from_disk"])
        rows = rows.to_iterable_dataset() if streaming else rows
    else:
        rows = load_dataset(**source["load_dataset"], streaming=streaming)
        if source["load_dataset"].get("sample_by") in ("line", "paragraph"):  # blank lines are rows there
            rows = rows.filter(lambda row: row["text"].strip() != "")
    return concatenate_datasets([rows.shuffle(seed=SEED + epoch) for epoch in range(source.get("epochs", 1))])


def build(streaming=False, stopping_strategy="first_exhausted"):
    """
    Return the mixture: a Dataset, or an IterableDataset where `streaming`.

    It ends with the first source that is used up; with "all_exhausted" when every source was used up, those that are
    used up earlier being repeated without limit.
    """
    total = math.fsum(source["weight"] for source in SOURCES.values())
    return interleave_datasets(
        [load(source, streaming) for source in SOURCES.values()],
        probabilities=[source["weight"] / total for source in SOURCES.values()],
        seed=SEED,
        stopping_strategy=stopping_strategy,
    )


if __name__ == "__main__":
    print(build())
'''


def write_script(job: Job) -> str:
    """Return a Python file whose `build()` is the mixture."""
    entries: dict[str, dict[str, object]] = {}
    for name, weight, place in job:
        entries[name] = {"weight": weight, **_how(name, place)}
        if place.max_epochs is not None:
            entries[name]["epochs"] = int(place.max_epochs)
    return script(job, "datasets.interleave_datasets", entries, _IMPORTS, _BODY)


def write_yaml(job: Job) -> str:
    """Return the arguments of interleave_datasets as YAML, each data set as those of load_dataset."""
    loads = []
    for name, _, place in job:
        if "load_from_disk" in place.options or place.max_epochs not in (None, 1):
            raise InputError(
                f"the YAML for datasets holds arguments of load_dataset alone, found load_from_disk or max_epochs for "
                f"{name!r}; write the Python file (--form py)"
            )
        loads.append(load_arguments(name, place))
    value: dict[str, Any] = {
        "sources": list(job.sources),
        "datasets": loads,
        "probabilities": job.probabilities,
        "seed": job.seed,
        "stopping_strategy": "first_exhausted",
    }
    return dump_yaml(value)


def _how(name: str, place: Place) -> dict[str, object]:
    """Return how a source is loaded."""
    if "load_from_disk" not in place.options:
        return {"load_dataset": load_arguments(name, place)}
    if place.files or len(place.options) > 1:
        raise InputError(
            f"load_from_disk of {name!r} should stand alone, found a path or options beside it; remove them"
        )
    return {"load_from_disk": place.options["load_from_disk"]}
