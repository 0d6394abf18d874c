"""From a run to the section of its card."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mixwright.errors import InputError
from mixwright.mixture_file import MixtureFile
from mixwright.report.card.comparisons import comparison_parts, fit_parts
from mixwright.report.card.markdown import plain
from mixwright.report.card.mixtures import mixture_parts
from mixwright.report.card.parts import Parts
from mixwright.report.card.searches import search_parts
from mixwright.report.card.trainings import training_parts
from mixwright.report.words import moment


def model_card(
    of: Mapping[str, Any] | MixtureFile,
    config: Mapping[str, Any] | None = None,
    mixture: MixtureFile | None = None,
) -> str:
    """
    Return what a model was trained on, or a mixture rests on, as a section of a model card (Markdown).

    It says the sources, their shares, how the weights were found, the evidence with its intervals and verdict, and what
    was not shown. Of paths of this machine only the last part is named, and addresses have no credentials.

    Parameters
    ----------
    of : mapping or MixtureFile
        What `summary.json` of a run holds, or a mixture.
    config : mapping or None
        What `config.yaml` of the run holds: where the sources lie. None: that is not said.
    mixture : MixtureFile or None
        The mixture that a training had its weights from; None: no file.

    Raises
    ------
    InputError
        The summary is of a run that has no card, or lacks a field.

    Examples
    --------
    >>> from mixwright import MixtureFile
    >>> print(model_card(MixtureFile(sources=["web", "law"], weights=[0.75, 0.25])).splitlines()[4])
    | source | share |
    """
    if isinstance(of, MixtureFile):
        return mixture_parts(of, config or {}).text()
    try:
        return _parts(of, config or {}, mixture).text(_made(of))
    except (KeyError, TypeError) as error:
        raise InputError(
            f"the summary should be one that this version knows, found one without {error}; run the command again to "
            "write it again"
        ) from error


def _parts(summary: Mapping[str, Any], config: Mapping[str, Any], mixture: MixtureFile | None) -> Parts:
    task = summary["task"]
    if task == "search":
        return search_parts(summary, config)
    if task == "compare":
        return comparison_parts(summary, config)
    if task == "fit":
        return fit_parts(summary, config)
    if task in ("train", "sft"):
        return training_parts(summary, config, mixture)
    raise InputError(
        f"a card is of a training, a search, a comparison, a fit or a mixture, found a run of {task}; give one of those"
    )


def _made(summary: Mapping[str, Any]) -> str:
    """Return what a run was made with."""
    parts = [f"mixwright {summary['version']}", moment(str(summary["created"])) if summary.get("created") else ""]
    parts += [f"seed {summary['seed']}" if "seed" in summary else ""]
    return plain(f"Run of {', '.join(filter(None, parts))}.")
