"""`mixwright show --card`: a run or a mixture as a section of a model card."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mixwright.cli.output import Output
from mixwright.cli.wrong_paths import check_shown
from mixwright.errors import InputError
from mixwright.mixture_file import MixtureFile

_ROUNDING = 1e-6


def show_card(output: Output, path: Path, file: Path | None, as_card: bool) -> None:
    """Print the card of a run or a mixture, or write it into a README.md."""
    _check(path, file, as_card)
    from mixwright.experiment.core.run_folder import config_values
    from mixwright.experiment.core.summary import of_run, read_summary
    from mixwright.report import model_card, write_card

    if path.is_dir():
        with of_run(path):
            summary, config = read_summary(path), config_values(path / "config.yaml")
            section = model_card(summary, config, _mixture_of(summary, config))
    else:
        check_shown(path)
        config = config_values(path.parent / "config.yaml")
        section = model_card(MixtureFile.read(path), config)
    notes = write_card(section, file, config) if file is not None else []
    for note in notes:
        output.note(f"note: {note}")
    output.json({"card": section, "file": str(file.resolve()) if file else None})
    if file is not None:
        text = f"written: {file.resolve()}"
        output.show(lambda console: console.print(text, markup=False, soft_wrap=True, highlight=False))
    elif not output.as_json:
        sys.stdout.write(section)


def _check(path: Path, file: Path | None, as_card: bool) -> None:
    if not as_card:
        raise InputError(
            f"show takes one PATH, found also {file}; to write a card there: mixwright show {path} --card {file}"
        )
    if path.suffix.lower() == ".md":
        run = file or "RUN"
        raise InputError(f"the run comes first, found {path}; write: mixwright show {run} --card {path}")


def _mixture_of(summary: Mapping[str, Any], config: Mapping[str, Any]) -> MixtureFile | None:
    """Return the mixture that a training had its weights from; None where it had none, or it is gone or has changed."""
    from mixwright.report.card.trainings import is_mixture_path

    given = config.get("weights")
    if summary["task"] != "train" or not is_mixture_path(given) or not Path(given).is_file():
        return None
    try:
        mixture = MixtureFile.read(given)
    except InputError:
        return None
    there = dict(zip(mixture.sources, mixture.weights, strict=True))
    trained = {source["name"]: source["last_weight"] for source in summary["sources"]}
    same = all(abs(there.get(name, 0.0) - trained.get(name, 0.0)) < _ROUNDING for name in {*there, *trained})
    return mixture if same else None
