"""The parts of a card, and how they are put together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mixwright.report.card.markdown import bullets, linked, plain, table
from mixwright.report.card.places import Origin, origins, without_paths
from mixwright.report.words import NOTHING, signed, span

SHARES = "Shares are of rows of one length, so they are shares of tokens too."
_NOT_TRIED = "Other models, budgets, sources and targets than these were not tried."


@dataclass(frozen=True)
class Parts:
    """
    What a card says, as Markdown.

    Parameters
    ----------
    title
        The heading: "Trained on".
    about
        What the sources were used for, in a sentence.
    sources
        The table of the sources and their shares.
    found
        How the weights were found, a sentence each.
    evidence
        Tables and sentences, a block each.
    missing
        What was not shown, a sentence each.
    """

    title: str
    about: str
    sources: str
    found: list[str] = field(default_factory=list)
    evidence: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)

    def text(self, made: str = "") -> str:
        """Return the section; `made` says with what its run was made."""
        blocks = [f"## {self.title}", self.about, self.sources]
        for title, lines in (("How the weights were found", [bullets(self.found)]), ("Evidence", self.evidence)):
            if any(lines):
                blocks += [f"### {title}", *lines]
        blocks += ["### What was not shown", bullets([*self.missing, _NOT_TRIED]), *([made] if made else [])]
        return "\n\n".join(blocks) + "\n"


class Teller:
    """
    Says names and sentences of a run so that they can be published: escaped, and without paths of the machine.

    Parameters
    ----------
    config
        Of the run; it says where the sources lie.
    """

    def __init__(self, config: Mapping[str, Any]) -> None:
        self._config = config
        sources = config.get("sources")
        self._sources: Mapping[str, Any] = sources if isinstance(sources, Mapping) else {}

    def say(self, text: object) -> str:
        """Return a name or a sentence as Markdown."""
        return plain(without_paths(str(text), self._config))

    def notes(self, summary: Mapping[str, Any]) -> list[str]:
        """Return the notes of a run."""
        return [f"Note of the run: {self.say(note)}" for note in summary.get("notes") or ()]

    def table_of_sources(self, names: Sequence[str], columns: Sequence[str], cells: Sequence[Sequence[str]]) -> str:
        """Return the table of sources, the largest first as they come; where each lies if that is known of any."""
        places = [origins(self._sources.get(name)) for name in names]
        if not any(places):
            return table(["source", *columns], [[self.say(n), *own] for n, own in zip(names, cells, strict=True)])
        rows = [
            [self.say(name), ", ".join(map(_place, of)) or NOTHING, *own]
            for name, of, own in zip(names, places, cells, strict=True)
        ]
        return table(["source", "from", *columns], rows, 2)

    def table_of_run(self) -> str:
        """Return a sentence that names the one table that a run read; empty where it read none."""
        found = origins(self._config.get("table"))
        return f"The table is {', '.join(map(_place, found))}." if found else ""

    def hub_datasets(self) -> list[str]:
        """Return the data sets of the hub that sources come from."""
        places = [*self._sources.values(), self._config.get("table")]
        return list(dict.fromkeys(one.hub for place in places for one in origins(place) if one.hub))


def order_of(weights: Sequence[float]) -> list[int]:
    """Return the positions of the sources, the largest weight first."""
    return sorted(range(len(weights)), key=lambda i: (-weights[i], i))


def within(entry: Mapping[str, Any], digits: int) -> str:
    """Return the interval of a difference."""
    if entry["low"] is None or entry["high"] is None:
        return "not known"
    return span(entry["low"], entry["high"], digits, signed)


def sentences(*parts: str) -> str:
    """Return those that say something, with full stops."""
    return " ".join(part if part.endswith(".") else f"{part}." for part in parts if part)


def _place(origin: Origin) -> str:
    return linked(origin.text, origin.link)
