"""The inputs of a run that lie elsewhere: copies of them take the places of their addresses in its configuration."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel

from mixwright.errors import InputError
from mixwright.experiment.core.config_parts import RunConfig
from mixwright.experiment.core.errors import named
from mixwright.experiment.core.stages import Progress, silent
from mixwright.files.stores import address_of, fetch, with_addresses

Config = TypeVar("Config", bound=RunConfig)
_PARTS = 1000  # of the progress of one address


def with_copies(config: Config, progress: Progress = silent) -> Config:
    """
    Return a configuration with copies on this machine in place of addresses; they are fetched where they are not here.

    Raises
    ------
    InputError
        Something cannot be fetched; the key is named.
    """
    places = dict(_addresses(config, ()))
    copies: dict[Path, Path] = {}
    for index, (path, key) in enumerate(places.items()):
        address = address_of(path)
        assert address is not None

        def report(done: int, total: int, index: int = index, name: str = path.name) -> None:
            part = index * _PARTS + _PARTS * done // max(total, 1)
            progress("fetch", min(part, len(places) * _PARTS - 1), len(places) * _PARTS, name)

        with named(config.where(*key)):
            copies[path] = fetch(address, report)
    if places:
        progress("fetch", 1, 1)
    found: Config = _replaced(config, copies) if copies else config
    return found


def _addresses(value: Any, key: tuple[str, ...]) -> Iterator[tuple[Path, tuple[str, ...]]]:
    """Yield each address in a configuration, with its key."""
    if isinstance(value, Path) and address_of(value) is not None:
        yield value, key
    for name, inner in _inner(value):
        yield from _addresses(inner, (*key, str(name)))


def _inner(value: Any) -> list[tuple[Any, Any]]:
    if isinstance(value, BaseModel):
        return [(name, getattr(value, name)) for name in type(value).model_fields]
    if isinstance(value, dict):
        return list(value.items())
    return list(enumerate(value)) if isinstance(value, list) else []


def _replaced(value: Any, copies: dict[Path, Path]) -> Any:
    if isinstance(value, Path):
        return copies.get(value, value)
    if isinstance(value, BaseModel):
        changed = {name: new for name, old in _inner(value) if (new := _replaced(old, copies)) is not old}
        return value.model_copy(update=changed) if changed else value
    if isinstance(value, dict):
        new = {name: _replaced(inner, copies) for name, inner in value.items()}
        return new if any(new[name] is not value[name] for name in new) else value
    if isinstance(value, list):
        several = [_replaced(inner, copies) for inner in value]
        return several if any(a is not b for a, b in zip(several, value, strict=True)) else value
    return value


@contextmanager
def naming_addresses() -> Iterator[None]:
    """Let errors name the file in the store rather than its copy."""
    try:
        yield
    except InputError as error:
        if (text := with_addresses(str(error))) == str(error):
            raise
        raise InputError(text) from error
