"""A folder belongs to one configuration: another one in the same folder is an error that says what differs."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import yaml

from mixwright.errors import InputError


def check_same(
    now: Mapping[str, Any],
    folder: Path,
    what: str = "training",
    has: Collection[str] = ("training",),
    may_differ: Collection[tuple[str, ...]] = (),
) -> None:
    """
    Raise InputError if a folder holds another run, or one of another configuration.

    Parameters
    ----------
    now
        The configuration, as it is written to `config.yaml`.
    folder
        The run folder.
    what
        What the run is, for the messages.
    has
        Keys that every configuration of this kind has: a folder without them is another kind of run.
    may_differ
        Keys that do not change the result.
    """
    path = folder / "config.yaml"
    if not path.exists():
        return
    try:
        there = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError):
        there = None
    if not isinstance(there, dict) or not set(has) <= set(there):
        raise InputError(f"{folder} should be a folder of this {what}, found another run; choose another (--run)")
    here, before = leaves(now), leaves(there)
    ignored = {tuple(key) for key in may_differ}
    differ = [
        key
        for key in {**here, **before}
        if before.get(key) != here.get(key) and not any(key[: len(name)] == name for name in ignored)
    ]
    if differ:
        said = "; ".join(f"{'.'.join(key)}: {before.get(key)} there, {here.get(key)} here" for key in differ[:3])
        raise InputError(
            f"{folder} holds a {what} of another configuration ({said}); choose another folder (--run), or put back "
            f"what was there ({path})"
        )


def leaves(value: Any, key: tuple[str, ...] = ()) -> dict[tuple[str, ...], Any]:
    """Return the values of nested mappings by their whole key."""
    if not isinstance(value, Mapping):
        return {key: value}
    found: dict[tuple[str, ...], Any] = {}
    for name, inner in value.items():
        found |= leaves(inner, (*key, str(name)))
    return found
