"""From another tool's text to a mixture: which format it is, its sources and weights, and what was done to them."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any

from mixwright.errors import InputError
from mixwright.files.opening import read_text
from mixwright.formats._hub import label_of
from mixwright.formats._registry import FORMATS
from mixwright.formats._text import to_number
from mixwright.formats.megatron import prefix
from mixwright.formats.reading.places import places_of
from mixwright.formats.reading.readers import READERS, Found, detect
from mixwright.mixture_file import SUM_TOLERANCE, MixtureFile
from mixwright.simplex import normalise

READABLE = tuple(READERS)
"""The names of the formats that `read` knows."""

_CALLED = {"megatron": prefix, "megatron-bridge": prefix, "automodel": prefix, "trl": label_of, "datasets": label_of}


def read(
    path_or_text: str | PathLike[str],
    format: str | None = None,
    *,
    paths: Mapping[str, Any] | None = None,
    unit: str | None = None,
) -> MixtureFile:
    """
    Return the mixture in another tool's file, or in a text such as Megatron's `0.3 a 0.7 b`.

    Weights whose sum is not 1 are divided by it. Where a file has no names of its own, a source is called by its path.

    Parameters
    ----------
    path_or_text
        A path, or the text itself: a str that is no file, with a line break, a brace, or a number as its first word.
    format : str or None
        One of `READABLE`; None: by what the text looks like.
    paths : mapping
        {source: place} as for `export`: sources are then called by the name of the place that is theirs.
    unit : {"rows", "tokens"} or None
        What the weights are shares of; None: what that tool counts, rows where it does not say.

    Returns
    -------
    MixtureFile
        With `method` {"name": "imported", "format": ...} and what was done in `evidence["notes"]`.

    Raises
    ------
    InputError
        No such file or format, no weights, a negative or NaN weight, a name twice, or weights that are all 0.

    Examples
    --------
    >>> read("30 data/web 70 data/books").weights
    (0.3, 0.7)
    """
    origin, text = _source(path_or_text)
    where = f"{origin}: " if origin else ""
    try:
        name = _format(text, format, origin)
        found = READERS[name](text)
        names = _names(found, name, paths)
        weights, notes = _weights(names, found)
        return MixtureFile(
            sources=names,
            weights=weights,
            unit=unit or found.unit,
            method={"name": "imported", "format": name},
            evidence={
                **({"file": origin.name.encode(errors="replace").decode()} if origin else {}),
                **({"notes": notes} if notes else {}),
            },
        )
    except InputError as error:
        raise InputError(f"{where}{error}") from None


def _source(path_or_text: str | PathLike[str]) -> tuple[Path | None, str]:
    """Return the file (None for a text that is no path) and the text."""
    if isinstance(path_or_text, str) and _is_text(path_or_text):
        return None, path_or_text
    path = Path(path_or_text)
    if isinstance(path_or_text, str) and len(path_or_text.split()) > 1 and not os.path.lexists(path):
        raise InputError(
            f"there should be a file {path_or_text!r:.60}, found none; a blend itself begins with a weight: 0.3 a 0.7 b"
        )
    return path, read_text(path, "a file with a mixture", "check the path")


def _is_text(value: str) -> bool:
    """Return whether a str is a mixture and not its path."""
    words = value.split()
    if os.path.isfile(value):
        return False
    if not words or "\n" in value or value.lstrip().startswith("{"):
        return True
    try:
        float(words[0])
    except ValueError:
        return words[0].startswith("--") and len(words) > 1
    return len(words) > 1


def _format(text: str, wanted: str | None, origin: Path | None) -> str:
    if wanted is not None:
        if wanted not in READERS:
            raise InputError(f"a format should be one of {', '.join(READERS)}, found {wanted!r}; choose one")
        return wanted
    if not text.strip():
        raise InputError("there should be a mixture, found nothing but white space; check the path")
    name = detect(text, origin.suffix.lower() if origin else "")
    if name is None:
        raise InputError(
            f"this looks like none of {', '.join(READERS)}; say which it is with --from (format=...), or see "
            "docs/formats.md"
        )
    return name


def _names(found: Found, name: str, paths: Mapping[str, Any] | None) -> tuple[str, ...]:
    """Return the sources' names: those of the file, or those that `paths` gives to its places."""
    names = found.names
    if paths is not None:
        known = _known(name, paths)
        names = tuple(known.get(own, own) for own in names)
    seen: dict[str, int] = {}
    for position, own in enumerate(names):
        if not isinstance(own, str) or not own.strip():
            raise InputError(f"every source should have a name, found {own!r} at position {position}; give it one")
        if own in seen:
            raise InputError(
                f"sources should have different names, found {own!r} at positions {seen[own]} and {position}; rename "
                "one, or add their weights up"
            )
        seen[own] = position
    if not names:
        raise InputError("there should be at least one source with a weight, found none; add one")
    return names


def _known(name: str, paths: Mapping[str, Any]) -> dict[str, str]:
    """Return {what the format calls a place: the source's name}, for formats that hold places alone."""
    if name not in _CALLED:
        return {}
    places = places_of(paths, paths, FORMATS[name].keys or ())
    held = {source: place for source, place in places.items() if "load_from_disk" not in place.options}
    return {_CALLED[name](source, place): source for source, place in held.items()}


def _weights(names: tuple[str, ...], found: Found) -> tuple[tuple[float, ...], list[str]]:
    """Return weights with sum 1, and a note if that took a division."""
    raw = [to_number(w, f"the weight of {n!r}") for n, w in zip(names, found.weights, strict=True)]
    if not any(raw):
        raise InputError("at least one weight should be above 0, found only zeros; correct them")
    try:
        total = math.fsum(raw)
    except OverflowError:
        total = math.inf
    if abs(total - 1) <= SUM_TOLERANCE:
        return tuple(raw), list(found.notes)
    note = f"the weights had the sum {total:.6g} and were divided by it"
    return tuple(normalise(raw).tolist()), [*found.notes, note]
