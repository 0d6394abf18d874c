"""What a writer is given: the sources that are written, in order, with everything it may say about them."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from mixwright.formats.reading.places import Place
from mixwright.version import __version__


@dataclass(frozen=True)
class Job:
    """
    One export.

    Parameters
    ----------
    sources, weights
        The k sources that are written, and their weights as mixture.json has them.
    places
        One per source; empty for formats without paths.
    unit
        What the weights are shares of.
    seed
        For tools that draw at random.
    """

    sources: tuple[str, ...]
    weights: tuple[float, ...]
    places: tuple[Place, ...]
    unit: str
    seed: int

    def __iter__(self) -> Iterator[tuple[str, float, Place]]:
        """Yield (source, weight, place)."""
        return zip(self.sources, self.weights, self.places, strict=True)

    @property
    def probabilities(self) -> list[float]:
        """Return the weights so that they sum to 1; numpy's choice asks for 1.5e-8."""
        total = math.fsum(self.weights)
        return [weight if abs(total - 1) < 1e-9 else weight / total for weight in self.weights]


def script(job: Job, tool: str, entries: dict[str, dict[str, object]], imports: str, body: str) -> str:
    """
    Return a Python file that holds the mixture as one literal, SOURCES, and the code that builds it.

    Parameters
    ----------
    job
        The export.
    tool
        What the first line says it is for.
    entries
        {source: {"weight": ..., ...}}, plain values alone.
    imports, body
        The code before and after the literal.
    """
    lines = "".join(f"    {name!r}: {entry!r},\n" for name, entry in entries.items())
    return (
        f'"""A mixture of {len(job.sources)} sources for {tool}; weights are shares of {job.unit}. '
        f'Written by mixwright {__version__}."""\n\n{imports}\n\nSOURCES = {{\n{lines}}}\nSEED = {job.seed}\n{body}'
    )
