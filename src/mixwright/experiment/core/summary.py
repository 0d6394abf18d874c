"""Reading `summary.json`, all that the page and the commands show of a run."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mixwright.checks import read_object
from mixwright.compare.summary import SCHEMA
from mixwright.compare.upgrade import upgraded as comparison_upgraded
from mixwright.errors import InputError
from mixwright.experiment.core.run_folder import resuming
from mixwright.experiment.core.stages import folder_name
from mixwright.experiment.kinds import KINDS

SUMMARY = "summary.json"


def read_summary(folder: Path | str) -> dict[str, Any]:
    """
    Return the summary of a finished run, as this version writes it.

    Raises
    ------
    InputError
        The folder is no run, the run is not finished, or its summary is damaged or of a newer version.
    """
    folder = Path(folder)
    _check_finished(folder)
    with of_run(folder):
        return upgraded(read_object(folder / SUMMARY, "the summary of a run", SCHEMA))


@contextmanager
def of_run(folder: Path) -> Iterator[None]:
    """
    Do something with the files of a finished run; whatever they make it fail of is an InputError that names the run.

    A summary has some hundred fields, and its tables and pages read each of them. A file that somebody changed, or a
    disk did, can fail at any of these places: there is one sentence for all.
    """
    path = folder / SUMMARY
    try:
        yield
    except InputError as error:
        if str(folder) in str(error):
            raise
        raise InputError(f"{path}: {error}") from error
    except (ImportError, OSError):
        raise
    except Exception as error:  # templates and charts raise kinds of their own
        found = " ".join(f"{type(error).__name__}: {error}".split())
        raise InputError(
            f"{path} should be as the run wrote it, found something else there or beside it ({found:.200}); remove it "
            f"and run the same command again to write it again: {resuming(folder)}"
        ) from error


def _check_finished(folder: Path) -> None:
    if folder.is_file():
        advice = f"give {folder.parent}" if (folder.parent / "summary.json").exists() else "check the path"
        raise InputError(f"{folder} should be the folder of a run, found a file; {advice}")
    if not folder.is_dir():
        raise InputError(f"there should be a run folder at {folder}, found nothing; check the path")
    if (folder / "summary.json").exists():
        return
    if (folder / "config.yaml").exists():
        raise InputError(f"the run {folder} is not finished; to resume it: {resuming(folder)}")
    runs = sorted(str(found.parent) for found in folder.glob("*/summary.json"))
    advice = f"there are runs in it, give one: {', '.join(runs[:3])}" if runs else "check the path"
    if any(folder.glob("checkpoint-*/trainer_state.json")):
        advice = f"a Trainer wrote it: mixwright watch {folder}"
    raise InputError(f"{folder} should be a run (a folder with summary.json), found none; {advice}")


def upgraded(summary: Mapping[str, Any]) -> dict[str, Any]:
    """Return a summary as this version writes it, whichever version wrote it."""
    if summary["schema"] >= 2:
        return dict(summary)
    label, data = summary.get("kind"), summary.get("setting")  # schema 1 named neither the task nor always the data
    kind = next((k for k in KINDS if k.label == label and data in (None, k.data)), None)
    if kind is None:
        raise InputError(
            f"the summary should be of a kind of run that this mixwright knows, found {label!r}; upgrade it"
        )
    whole = comparison_upgraded(summary) if kind.task == "compare" else dict(summary)
    return {**whole, "schema": SCHEMA, "task": kind.task, "data": kind.data}


def stage_seconds(folder: Path, used: Mapping[str, Sequence[str]]) -> dict[str, float]:
    """
    Return the time that each kind of stage took, over all commands that worked on the run.

    Parameters
    ----------
    folder
        The run folder.
    used
        For each kind of stage the names (of sources, targets or mixtures) that the run has now.
    """
    seconds: dict[str, float] = {}
    for kind, names in used.items():
        folders = [folder / kind / folder_name(name) for name in names] or [folder / kind]
        records = sorted(record for place in folders for record in place.rglob("done.json"))
        seconds[kind] = round(sum(map(_seconds_of, records)), 3)
    return seconds


def _seconds_of(record: Path) -> float:
    try:
        return float(json.loads(record.read_text(encoding="utf-8"))["result"]["seconds"])
    except (OSError, ValueError, KeyError, TypeError):
        return 0.0
