"""Reading a YAML file so that every error can name its line, and a key written twice is an error."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from mixwright.errors import InputError
from mixwright.files.opening import read_text
from mixwright.files.yaml_text import node_and_value

Key = tuple[str | int, ...]


@dataclass(frozen=True)
class YamlFile:
    """
    The value of a YAML file and the line of each key.

    Parameters
    ----------
    path
        The file.
    value
        What the file says, with every key as it is written (`no` is the text "no", not False).
    lines
        The line, from 1, of each key: `("sources", "web", "path") -> 3`.
    """

    path: Path
    value: Any
    lines: dict[Key, int] = field(default_factory=dict)

    def where(self, key: Key) -> str:
        """Return `file, line n, key a.b.c`, with the line of the nearest key that is in the file."""
        key = self._as_written(key)
        for length in range(len(key), -1, -1):
            if (line := self.lines.get(key[:length])) is not None:
                break
        place = f"{self.path}, line {line}" if line else str(self.path)
        return f"{place}, key {dotted(key)}" if key else place

    def _as_written(self, key: Key) -> Key:
        """Return a key with the numbers of list items as numbers, as `lines` has them."""
        found: Key = ()
        for part in key:
            item = (
                int(part) if isinstance(part, str) and part.isdecimal() and (*found, part) not in self.lines else part
            )
            found = (*found, item)
        return found


def dotted(key: Key) -> str:
    """Return `a.b.c` for a key."""
    return ".".join(str(part) for part in key)


class _Loader(yaml.SafeLoader):
    """SafeLoader that keeps keys as text and reads 1e-3 as a number."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Return the mapping with keys as they are written."""
        self.flatten_mapping(node)
        return {key.value: self.construct_object(value, deep=True) for key, value in node.value}


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(\d[\d_]*)(\.\d*)?[eE][-+]?\d+$"),
    list("-+0123456789"),
)


def read_yaml(path: Path | str) -> YamlFile:
    """
    Read a YAML file.

    Raises
    ------
    InputError
        No such file, a folder, not UTF-8, not YAML, a key that is written twice, or a key that is not plain text.
    """
    path = Path(path)
    if path.is_dir():
        raise InputError(_explain_folder(path))
    if not os.path.lexists(path):
        raise InputError(f"there is no file {path}; give the path of a YAML file with sources and targets")
    text = read_text(path, "a YAML file")
    try:
        node, value = node_and_value(text, _Loader)
    except yaml.YAMLError as error:
        raise InputError(_explain(path, error)) from error
    return YamlFile(path, value, dict(_lines(path, node, ())) if node is not None else {})


def _explain_folder(path: Path) -> str:
    """Say which file to give instead of a folder."""
    if found := sorted(str(p) for p in path.iterdir() if p.suffix in (".yaml", ".yml")):
        advice = f"give the file in it: {' or '.join(found[:3])}"
    else:
        advice = "there is none in it; give the path of a YAML file with sources and targets"
    return f"{path} should be a YAML file, found a folder; {advice}"


def _explain(path: Path, error: yaml.YAMLError) -> str:
    """Say where a file stops being YAML and what usually causes it."""
    mark = getattr(error, "problem_mark", None)
    line = f", line {mark.line + 1}" if mark else ""
    problem = getattr(error, "problem", None) or str(error)
    return f"{path}{line}: this is not YAML ({problem}); check the indentation, the colons and the quotes there"


def _lines(path: Path, node: yaml.Node, key: Key) -> Iterator[tuple[Key, int]]:
    """Yield the line of every key below `node`."""
    if isinstance(node, yaml.MappingNode):
        yield from _mapping_lines(path, node, key)
    elif isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            yield (*key, index), item.start_mark.line + 1
            yield from _lines(path, item, (*key, index))


def _mapping_lines(path: Path, node: yaml.MappingNode, key: Key) -> Iterator[tuple[Key, int]]:
    """Yield the lines of a mapping's keys; a key that is there twice is an error."""
    seen: dict[str, int] = {}
    for name, value in node.value:
        line = name.start_mark.line + 1
        if name.value in seen and name.tag != "tag:yaml.org,2002:merge":
            found = dotted((*key, name.value))
            raise InputError(
                f"{path}, line {line}, key {found}: the key is written twice (before in line {seen[name.value]}); "
                "rename one or remove it"
            )
        seen[name.value] = line
        yield (*key, name.value), line
        yield from _lines(path, value, (*key, name.value))
