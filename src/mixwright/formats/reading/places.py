"""Where sources live: what a mixture does not say and a trainer has to know."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from os import PathLike, fspath
from pathlib import Path
from typing import Any

from mixwright.errors import InputError
from mixwright.files.opening import read_text
from mixwright.formats._text import parse_json, parse_yaml, to_number


@dataclass(frozen=True)
class Place:
    """
    Where a source lives, in the words of the tool that reads it.

    Parameters
    ----------
    files : tuple of str
        Its path or name, or several files; as written (relative paths are relative to where the tool runs).
    options : mapping
        More arguments of the tool: "name", "split", "remote" ...
    max_epochs : float or None
        How often the source may be repeated at most; None: no limit is asked for.
    """

    files: tuple[str, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)
    max_epochs: float | None = None

    def one_path(self, source: str, tool: str) -> str:
        """Return its only path; InputError if it has several or none."""
        if len(self.files) != 1:
            raise InputError(
                f"{tool} takes one path for a source, found {len(self.files)} for {source!r}; merge the files, or make "
                "each a source of its own"
            )
        return self.files[0]


def read_places(path: str | PathLike[str]) -> dict[str, Any]:
    """
    Return {source: place} from a YAML or JSON file.

    Raises
    ------
    InputError
        The file is missing, is no mapping or names a source twice.
    """
    path = Path(path)
    text = read_text(path, "a file of paths", "check the path")
    try:
        value = parse_json(text) if path.suffix == ".json" else parse_yaml(text)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    if not isinstance(value, dict) or not value:
        raise InputError(f"{path} should map each source to its path, found {_kind(value)}; write lines SOURCE: PATH")
    return value


def places_of(paths: Mapping[str, Any] | None, sources: Iterable[str], keys: tuple[str, ...]) -> dict[str, Place]:
    """
    Return the checked places of the sources that `paths` names.

    Parameters
    ----------
    paths : mapping
        {source: a path, a list of files, a mapping with "path" and `keys`, or a Place}.
    sources : iterable of str
        The mixture's sources; `paths` may name no others.
    keys : tuple of str
        What the mapping of a source may say beside "path" and "max_epochs".
    """
    if paths is None:
        return {}
    if not isinstance(paths, Mapping):
        raise InputError(f"paths should be a mapping {{source: path}}, found {_kind(paths)}")
    names = list(sources)
    for name in paths:
        if name not in names:
            nearest = get_close_matches(str(name), names, n=1)
            advice = f"did you mean {nearest[0]!r}?" if nearest else f"its sources are {', '.join(names[:10])}"
            raise InputError(f"there is a path for {name!r}, which is not a source of the mixture; {advice}")
    return {name: _place(name, value, keys) for name, value in paths.items()}


def _place(source: str, value: Any, keys: tuple[str, ...]) -> Place:
    if isinstance(value, Place):
        value = {"path": list(value.files), **value.options, "max_epochs": value.max_epochs}
    if not isinstance(value, Mapping):
        return Place(_files(source, value))
    allowed = ("path", "max_epochs", *keys)
    for key in value:
        if key not in allowed:
            raise InputError(
                f"the place of {source!r} has a key {key!r}, which this tool does not know; it knows "
                f"{', '.join(allowed)}"
            )
    files = value.get("path")
    options = {key: _option(source, key, value[key]) for key in keys if value.get(key) is not None}
    if not files and not options:
        raise InputError(f"the place of {source!r} should have a path, found none; add one")
    return Place(_files(source, files) if files else (), options, _epochs(source, value.get("max_epochs")))


def _files(source: str, value: Any) -> tuple[str, ...]:
    values = value if isinstance(value, list | tuple) else [value]
    if not values or not all(_is_path(item) for item in values):
        raise InputError(
            f"the path of {source!r} should be a text or a list of texts, found {value!r:.60}; write {source}: PATH"
        )
    return tuple(fspath(item) for item in values)


def _is_path(value: Any) -> bool:
    """Return whether a value can be a path in a text file: not empty, one line, valid Unicode."""
    if not isinstance(value, str | PathLike):
        return False
    text = fspath(value)
    if not isinstance(text, str) or not text.strip() or not text.isprintable():
        return False
    return text.encode(errors="replace").decode() == text


def _option(source: str, key: str, value: Any) -> Any:
    several = value if isinstance(value, list | tuple) else [value]
    if not several or not all(_is_path(item) for item in several):
        raise InputError(f"{key} of {source!r} should be a text or a list of texts, found {value!r:.60}; correct it")
    return [fspath(item) for item in value] if isinstance(value, list | tuple) else fspath(value)


def _epochs(source: str, value: Any) -> float | None:
    if value is None:
        return None
    epochs = to_number(value, f"max_epochs of {source!r}")
    if epochs == 0:
        raise InputError(
            f"max_epochs of {source!r} should be above 0, found {value!r}; leave the source out with weight 0"
        )
    return epochs


def _kind(value: Any) -> str:
    return "nothing" if value is None or value == "" else f"a {type(value).__name__}"
