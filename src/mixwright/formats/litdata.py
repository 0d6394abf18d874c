"""
litdata: a Python file that builds a CombinedStreamingDataset with weights.

Weights are of samples, drawn at random; litdata divides them by their sum and, with weights, ends an epoch with the
first source that is used up.
"""

from __future__ import annotations

from mixwright.formats._job import Job, script

_IMPORTS = "from litdata import CombinedStreamingDataset, StreamingDataset"

_BODY = '''

def build(**options):
    """Return the mixture; options go to each StreamingDataset (shuffle, item_loader ...)."""
    options = {"shuffle": True, "seed": SEED, **options}
    return CombinedStreamingDataset(
        [StreamingDataset(source["input_dir"], **options) for source in SOURCES.values()],
        weights=[source["weight"] for source in SOURCES.values()],
        seed=SEED,
        iterate_over_all=False,
    )


if __name__ == "__main__":
    for sample, _ in zip(build(), range(3)):
        print(sample)
'''


def write(job: Job) -> str:
    """Return a Python file whose `build()` is the mixture."""
    entries: dict[str, dict[str, object]] = {
        name: {"weight": weight, "input_dir": place.one_path(name, "litdata")} for name, weight, place in job
    }
    return script(job, "litdata", entries, _IMPORTS, _BODY)
