"""What a run folder says of its run: `config.yaml`, the command that made it, and whether a configuration fits it."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from mixwright.errors import InputError
from mixwright.experiment.core.stages import is_run
from mixwright.experiment.kinds import Kind
from mixwright.files.yaml_text import load_yaml
from mixwright.steering.control import sources_of
from mixwright.steering.known import read_record

_HEAD = "# The configuration of this {noun}, with all defaults. Go on with: mixwright {command} THIS_FILE --run "
_HEAD += "THIS_FOLDER\n"


def config_text(kind: Kind, values: Mapping[str, Any]) -> str:
    """Return `config.yaml`: a line with the command that resumes the run, and the values."""
    return _HEAD.format(noun=kind.noun, command=kind.command) + yaml.safe_dump(
        dict(values), sort_keys=False, allow_unicode=True
    )


def command_of(folder: Path) -> str | None:
    """Return the command that made a run folder, such as "prefer sft"; None where `config.yaml` does not say it."""
    try:
        text = (folder / "config.yaml").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    named = re.search(r"Go on with: mixwright ([a-z ]+) THIS_FILE", text)
    return named[1] if named else None


def resuming(folder: Path) -> str:
    """Return the command line that resumes the run in a folder."""
    return f"mixwright {command_of(folder) or 'search'} {folder / 'config.yaml'} --run {folder}"


def check_no_run(path: Path) -> None:
    """Raise InputError, with the command that resumes it, if a run folder was given instead of a YAML file."""
    if is_run(path):
        raise InputError(f"{path} should be a YAML file, found the folder of a run; to resume it: {resuming(path)}")


def check_same(kind: Kind, values: Mapping[str, Any], folder: Path) -> None:
    """
    Raise InputError if a folder holds a run of another kind, or of another configuration.

    Parameters
    ----------
    kind, values
        Of the run that is to be done; `values` as they are written to `config.yaml`.
    folder
        The run folder.
    """
    path = folder / "config.yaml"
    if not path.exists():
        return
    made_by, there = command_of(folder), config_values(path)
    if made_by != kind.command or there.get("kind", kind.data) != kind.data:
        found = f"one of `mixwright {made_by}`" if made_by not in (None, kind.command) else "another run"
        raise InputError(
            f"{folder} should be a folder of `mixwright {kind.command}` ({kind.data}), found {found}; choose another "
            "(--run)"
        )
    if kind.may_differ is None:
        return
    if differ := list(_differences(values, there, kind.may_differ)):
        raise InputError(
            f"{folder} holds a {kind.noun} of another configuration ({'; '.join(differ[:3])}); choose another folder "
            f"(--run), or put back what was there ({path})"
        )


def config_values(path: Path) -> dict[str, Any]:
    """Return what `config.yaml` holds; nothing where it is damaged."""
    try:
        values = load_yaml(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        return {}
    return values if isinstance(values, dict) else {}


def is_finished(folder: Path, values: Mapping[str, Any]) -> bool:
    """Say whether a folder holds a finished run of just these `values`: one with more seeds trains again."""
    there = config_values(folder / "config.yaml")
    return (folder / "summary.json").exists() and not any(_differences(values, there, [("track",)]))


def _differences(
    now: Mapping[str, Any], before: Mapping[str, Any], may_differ: Collection[tuple[str, ...]]
) -> Iterator[str]:
    here, there = _leaves(now), _leaves(before)
    for key in {**here, **there}:
        if here.get(key) != there.get(key) and not any(key[: len(name)] == name for name in may_differ):
            yield f"{'.'.join(key)}: {there.get(key)} there, {here.get(key)} here"


def _leaves(value: Any, key: tuple[str, ...] = ()) -> dict[tuple[str, ...], Any]:
    """Return the values of nested mappings by their whole key."""
    if not isinstance(value, Mapping):
        return {key: value}
    found: dict[tuple[str, ...], Any] = {}
    for name, inner in value.items():
        found |= _leaves(inner, (*key, str(name)))
    return found


def trained_sources(folder: Path) -> list[str]:
    """
    Return the sources at the start of a training that is, was or will be in a folder.

    Raises
    ------
    InputError
        The folder holds no run of `mixwright train` or `prefer train` and no record of a Trainer.
    """
    wanted = f"{folder} should be the folder of a run of mixwright train or prefer train, or a Trainer's output_dir"
    if not folder.is_dir():
        raise InputError(f"{wanted}, found no such folder")
    command, sources = command_of(folder), config_values(folder / "config.yaml").get("sources")
    if command is None and (named := sources_of(read_record(folder))):
        return named
    if command not in ("train", "prefer train") or not isinstance(sources, dict):
        found = f"one of mixwright {command}" if command else "no config.yaml of a run"
        raise InputError(f"{wanted}, found {found}")
    return [str(name) for name in sources]


def check_unfinished(folder: Path) -> None:
    """Raise InputError if the training in a folder is finished."""
    if (folder / "summary.json").exists():
        raise InputError(f"{folder} holds a finished training, which cannot be steered any more; start another one")
