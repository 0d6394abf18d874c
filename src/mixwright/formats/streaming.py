"""
mosaicml-streaming: one Stream per source with its `proportion`, as YAML or as a Python file.

The YAML is the section `train_loader.dataset.streams` of llm-foundry: a mapping whose values are arguments of Stream.
Proportions are of samples; streaming divides them by their sum and repeats or shortens each stream to fill an epoch.
"""

from __future__ import annotations

from typing import Any

from mixwright.errors import InputError
from mixwright.formats._job import Job, script
from mixwright.formats._text import dump_yaml
from mixwright.formats.reading.places import Place

_IMPORTS = "from streaming import Stream, StreamingDataset"

_BODY = '''

def streams():
    """Return one Stream per source."""
    return [Stream(**source["stream"], proportion=source["weight"]) for source in SOURCES.values()]


def build(**options):
    """Return the mixture; options go to StreamingDataset (batch_size, epoch_size ...)."""
    return StreamingDataset(streams=streams(), **{"shuffle": True, "shuffle_seed": SEED, **options})


if __name__ == "__main__":
    print(build(batch_size=1).size, "samples per epoch")
'''


def write_yaml(job: Job) -> str:
    """Return the section `streams`."""
    return dump_yaml({"streams": {name: {**_stream(name, place), "proportion": w} for name, w, place in job}})


def write_script(job: Job) -> str:
    """Return a Python file whose `build()` is the mixture."""
    entries = {name: {"weight": weight, "stream": _stream(name, place)} for name, weight, place in job}
    return script(job, "mosaicml-streaming", entries, _IMPORTS, _BODY)


def _stream(name: str, place: Place) -> dict[str, Any]:
    """Return arguments of Stream: a path with a scheme is remote, another is local."""
    made = dict(place.options)
    if place.files:
        path = place.one_path(name, "mosaicml-streaming")
        side = "remote" if "://" in path else "local"
        if side in made:
            raise InputError(f"{name!r} should have a path or {side}, found both; remove one")
        made = {side: path, **made}
    if not made.keys() & {"local", "remote"}:
        raise InputError(f"the stream {name!r} should have a local or a remote folder, found neither; add one")
    return made
