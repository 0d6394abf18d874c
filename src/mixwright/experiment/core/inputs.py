"""The inputs of a run that lie elsewhere: copies of them take the places of their addresses in its configuration."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel

from mixwright.errors import InputError
from mixwright.experiment.core.config_parts import RunConfig
from mixwright.experiment.core.errors import named
from mixwright.experiment.core.stages import Progress, silent
from mixwright.files import write_json
from mixwright.files.stores import address_of, address_of_copy, changed, fetch, with_addresses
from mixwright.files.stores.copies import cache_folder, in_view

Config = TypeVar("Config", bound=RunConfig)
_INPUTS = "inputs.json"  # {"copies": their folder, "versions": {address: the name of its copy}}
_PARTS = 1000  # of the progress of one address


def with_copies(config: Config, run: Path, progress: Progress = silent) -> Config:
    """
    Return a configuration with copies on this machine in place of addresses; they are fetched where they are not here.

    The versions are those that a run pinned. Where their copies are here the store is not asked. Where one is gone,
    what the store has now is fetched: `pin` tells of that, and `check_pinned` refuses it.

    Parameters
    ----------
    config
        The configuration.
    run
        The run folder.
    progress
        Called while something is fetched.

    Raises
    ------
    InputError
        Something cannot be fetched; the key is named.
    """
    places = dict(_addresses(config))
    copies, pinned = dict[Path, Path](), _pinned(run)
    for index, (path, key) in enumerate(places.items()):
        address = address_of(path)
        assert address is not None

        def report(done: int, total: int, index: int = index, name: str = path.name) -> None:
            part = index * _PARTS + _PARTS * done // max(total, 1)
            progress("fetch", min(part, len(places) * _PARTS - 1), len(places) * _PARTS, name)

        with named(config.where(*key)):
            copies[path] = fetch(address, report, pinned.get(str(address)))
    if places:
        progress("fetch", 1, 1)
    found: Config = _replaced(config, copies) if copies else config
    return found


def pin(config: RunConfig, run: Path) -> list[str]:
    """Write which versions a run reads, and return a sentence for each that is not the one that it began with."""
    if views := _views(config):
        others = _others(views, run)
        write_json(run / _INPUTS, {"copies": str(cache_folder()), "versions": views}, durable=False)
        return [
            f"{address}: the copy that this run began with is gone; the store has another version, read from now on"
            for address in others
        ]
    return []


def check_pinned(config: RunConfig, run: Path) -> None:
    """Raise InputError if an input is here in another version than the one that a run reads."""
    for address in _others(_views(config), run):
        raise InputError(
            f"{address}: a copy of the version that the run began with should be here, found none on "
            f"{socket.gethostname()}, and another version in the store; put the copies on storage that every worker "
            "sees (MIXWRIGHT_CACHE), or begin another run"
        )


def _views(config: RunConfig) -> dict[str, str]:
    """Return the name of the copy that stands for each address in a configuration."""
    found: dict[str, str] = {}
    for path, _ in _paths(config, ()):
        if (inside := in_view(path)) is not None:
            found[address_of_copy(path) or inside] = inside.partition("/")[0]
    return found


def _others(views: Mapping[str, str], run: Path) -> list[str]:
    pinned = _pinned(run)
    return [address for address, view in views.items() if pinned.get(address, view) != view]


def copies_of(run: Path) -> Path:
    """Return the folder of copies of the command that began, or last went on with, a run."""
    return Path(_record(run).get("copies") or cache_folder())


def changed_inputs(run: Path) -> list[str]:
    """Return a sentence for each input of which the store has another version now, as far as it answers."""
    found = []
    for text, view in _pinned(run).items():
        if (address := address_of(text)) is None or (other := changed(address, view)) is None:
            break
        if other:
            found.append(
                f"{text}: the store has another version now; this run keeps to the one that it began with, and another "
                "run folder (--run) reads the new one"
            )
    return found


def _pinned(run: Path) -> dict[str, str]:
    """Return the versions that a run reads, by address; none where it pinned none."""
    found = _record(run).get("versions")
    return found if isinstance(found, dict) else {}


def _record(run: Path) -> dict[str, Any]:
    try:
        found = json.loads((run / _INPUTS).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _addresses(config: RunConfig) -> Iterator[tuple[Path, tuple[str, ...]]]:
    """Yield each address in a configuration, with its key."""
    return ((path, key) for path, key in _paths(config, ()) if address_of(path) is not None)


def _paths(value: Any, key: tuple[str, ...]) -> Iterator[tuple[Path, tuple[str, ...]]]:
    if isinstance(value, Path):
        yield value, key
    for name, inner in _inner(value):
        yield from _paths(inner, (*key, str(name)))


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
