"""Sentences about the texts of a run: what was left out, sources of one document, copies, sources that are the same."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress

from mixwright.errors import InputError
from mixwright.experiment.text.config import TextConfig
from mixwright.experiment.text.inputs import Target, TokenSource
from mixwright.experiment.text.source_files import lone_documents

_FEW_COPIES = 0.03  # of a source's text, from which on they are worth a sentence


def passes_over(sources: Sequence[TokenSource]) -> dict[str, float]:
    """Return how often a pass over each source shows a text, in the mean: more than once where it has copies."""
    return {source.name: 1 / (1 - source.train.meta.get("copied", 0.0)) for source in sources}


def _copies(sources: Sequence[TokenSource]) -> list[str]:
    """Return a sentence for each source with many copies."""
    shares = {source.name: source.train.meta.get("copied", 0.0) for source in sources}
    return [
        f"{name}: {100 * share:.3g} % of its text is in documents that are copies, word for word, of others of the "
        f"source, so one pass shows each text {1 / (1 - share):.1f} times in the mean (notes on repetition count "
        "that); remove the copies"
        for name, share in shares.items()
        if share >= _FEW_COPIES
    ]


def about_inputs(config: TextConfig, targets: list[Target], sources: list[TokenSource]) -> list[str]:
    """Return sentences about the texts: what was left out, sources of one document, copies, sources that are one."""
    notes = [f"the target {target.name}: {note}" for target in targets for note in target.notes]
    notes += [f"{source.name}: {note}" for source in sources for note in source.train.meta.get("left_out", ())]
    with suppress(InputError):  # the files may be gone by now: their tokens are what counts
        notes += lone_documents(config)
    notes += _copies(sources) + _repeated(sources)
    return [os.fsencode(note).decode(errors="replace") for note in notes]  # a file's name may be no Unicode


def _repeated(sources: list[TokenSource]) -> list[str]:
    """Return a sentence for the sources that are the same."""
    same: dict[str, list[str]] = {}
    for source in sources:
        same.setdefault(source.train.fingerprint, []).append(source.name)
    return [
        f"the sources {', '.join(names[:-1])} and {names[-1]} are the same text: nothing tells them apart, and only "
        "the sum of their weights means anything; remove all but one"
        for names in same.values()
        if len(names) > 1
    ]
