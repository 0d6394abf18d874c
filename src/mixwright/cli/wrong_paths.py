"""Saying what to give instead of a file that a command cannot show."""

from __future__ import annotations

from pathlib import Path

from mixwright.errors import InputError


def check_shown(path: Path) -> None:
    """Raise InputError if a file that `mixwright show` was given is another file of a run, or a configuration."""
    run = path.parent
    if not path.is_file() or path.name == "mixture.json":
        return
    if (run / "summary.json").is_file() and path.name in ("summary.json", "report.html", "config.yaml"):
        raise InputError(
            f"{path} belongs to a run, which is shown as a whole: mixwright show {run} (its mixture alone: mixwright "
            f"show {run / 'mixture.json'})"
        )
    if path.suffix in (".yaml", ".yml"):
        raise InputError(
            f"{path} should be a mixture file or the folder of a run, found a configuration; first search with it: "
            f"mixwright search {path}"
        )


def check_exported(path: Path) -> None:
    """Raise InputError if `mixwright export` was given a run or a configuration instead of the mixture."""
    from mixwright.experiment.core.summary import read_summary

    if path.is_dir() and (path / "mixture.json").is_file():
        raise InputError(f"{path} should be a mixture file, found a folder; give {path / 'mixture.json'}")
    if path.is_dir():
        if (path / "config.yaml").is_file():
            read_summary(path)  # an unfinished run: says how to resume it
        raise InputError(f"{path} should be a mixture file, found a folder; give a mixture.json")
    if path.suffix in (".yaml", ".yml"):
        raise InputError(
            f"{path} should be a mixture file, found a configuration; first search with it: mixwright search {path}"
        )
