"""How each mixture looks: a colour, a marker and a dash of its own, the same everywhere on the page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

KIND_WORDS = {
    "uniform": "every source the same",
    "natural": "in proportion to size",
    "best_single": "one source alone",
    "target_alone": "the target's own rows alone",
    "search": "found by the search",
}
_OF_KIND = {
    "uniform": ("grey", "circle-open", "dash"),
    "natural": ("orange", "diamond", "dot"),
    "best_single": ("purple", "triangle-up", "dashdot"),
    "target_alone": ("green", "x", "longdash"),
}
_LOOKS = (
    ("blue", "circle", "solid"),
    ("vermillion", "square", "longdash"),
    ("green", "cross", "longdashdot"),
    ("sky", "star", "dash"),
    ("purple", "hexagon", "dot"),
    ("orange", "x", "dashdot"),
    ("blue", "square-open", "dash"),
    ("vermillion", "diamond-open", "dot"),
    ("green", "triangle-up-open", "solid"),
    ("sky", "star-open", "longdash"),
    ("purple", "cross-open", "solid"),
    ("orange", "hexagon-open", "longdashdot"),
)


@dataclass(frozen=True)
class Look:
    """
    How one mixture is drawn.

    Colours are names of custom properties of the style sheet (a palette after Okabe and Ito, made for
    colour-blind people), so that the dark and the light page each take their own shade; marker and dash repeat what the
    colour says.
    """

    colour: str
    symbol: str
    dash: str

    @property
    def token(self) -> str:
        """The custom property that holds the colour."""
        return f"--{self.colour}"


def course_look(n: int) -> Look:
    """Return the look of the n-th line of a chart, from 0; there are 12."""
    return Look(*_LOOKS[n % len(_LOOKS)])


def looks_of(mixtures: Sequence[Mapping[str, Any]]) -> dict[str, Look]:
    """Return the look of each mixture by name: known kinds have one each, all others take the next in the list."""
    looks: dict[str, Look] = {}
    used: set[str] = set()
    turn = 0
    for mixture in mixtures:
        kind = mixture["kind"]
        if kind in _OF_KIND and kind not in used:
            looks[mixture["name"]] = Look(*_OF_KIND[kind])
            used.add(kind)
        else:
            looks[mixture["name"]] = course_look(turn)
            turn += 1
    return looks
