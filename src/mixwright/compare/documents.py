"""Comparing two trained mixtures on the same held-out documents, and saying in words what came out."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mixwright.search.inputs import FEWEST_DOCUMENTS
from mixwright.search.resampling.resample import paired_error, student_quantile

FEWEST_JUDGED = 10  # held-out documents: with fewer an interval over documents covers too seldom
_ALONE = "(this seed alone)"


@dataclass(frozen=True)
class DocumentComparison:
    """
    The held-out loss of a mixture minus that of another, nats per token.

    Parameters
    ----------
    over
        The other mixture.
    difference
        Below 0: the mixture is better.
    low, high
        The interval of the difference over documents; None with fewer than 3 documents.
    level
        The level of the interval.
    doubt
        Why nothing is claimed whatever the interval says; empty if there is no reason.
    """

    over: str
    difference: float
    low: float | None
    high: float | None
    level: float
    doubt: str = ""

    @property
    def word(self) -> str:
        """Return the verdict in one word: better, worse, no better or unverified."""
        if self.doubt or self.low is None or self.high is None:
            return "unverified"
        return "better" if self.high < 0 else "worse" if self.low > 0 else "no better"

    @property
    def verdict(self) -> str:
        """One sentence: better, worse or no better, by how much, and how sure that is."""
        if self.doubt:
            return f"unverified: {self.doubt}"
        if self.low is None or self.high is None:
            return f"unverified: too few held-out documents to compare with {self.over}"
        if self.high < 0:
            return f"better than {self.over} by {self._figures(-self.difference, -self.high, -self.low)} {_ALONE}"
        if self.low > 0:
            return f"worse than {self.over} by {self._figures(self.difference, self.low, self.high)} {_ALONE}"
        figures = self._figures(self.difference, self.low, self.high)
        return f"no better than {self.over} on this evidence: difference {figures} {_ALONE}"

    def _figures(self, value: float, low: float, high: float) -> str:
        """Show a difference and its interval with as many digits as the width of the interval deserves."""
        width = high - low
        digits = 3 if width >= 0.01 else 4 if width >= 0.001 else 6
        return f"{value:.{digits}f} nats per token [{low:.{digits}f}, {high:.{digits}f}]"


def compare(
    nats: NDArray[np.float64],
    other_nats: NDArray[np.float64],
    tokens: NDArray[np.float64],
    over: str,
    level: float = 0.9,
) -> DocumentComparison:
    """
    Compare two mixtures on the same documents.

    The difference is sum(nats - other_nats) / sum(tokens). Its standard error treats it as a ratio over documents
    (losses are paired, lengths differ). The interval is Student's.

    Parameters
    ----------
    nats, other_nats
        [d], the loss of each document under the mixture and under the other.
    tokens
        [d], tokens of each document.
    over
        Name of the other mixture.
    level
        Level of the interval.
    """
    tokens = np.asarray(tokens, np.float64)
    per_token = (np.asarray(nats, np.float64) - other_nats) / np.maximum(tokens, 1)
    mean, error, documents = paired_error(per_token, tokens, np.arange(tokens.size))
    if documents < FEWEST_DOCUMENTS or not math.isfinite(error):
        return DocumentComparison(over, mean, None, None, level)
    half = student_quantile((1 + level) / 2, documents - 1) * error
    found = DocumentComparison(over, mean, mean - half, mean + half, level)
    return replace(found, doubt=doubt_of("", documents, found.word, found.word))


def compare_clean(
    nats: NDArray[np.float64],
    other_nats: NDArray[np.float64],
    tokens: NDArray[np.float64],
    over: str,
    level: float,
    clean: NDArray[np.bool_],
    overlap: str,
) -> DocumentComparison:
    """
    Compare two mixtures on all documents, and believe it only if those that no source has say the same.

    Parameters
    ----------
    nats, other_nats, tokens, over, level
        As for `compare`.
    clean
        [d], which documents are in no source.
    overlap
        A clause about the others, such as "3 of 40 held-out documents are also in source web".
    """
    whole = compare(nats, other_nats, tokens, over, level)
    if clean.all() or whole.doubt:
        return whole
    rest = compare(nats[clean], other_nats[clean], tokens[clean], over, level)
    return replace(whole, doubt=doubt_of(overlap, int(clean.sum()), whole.word, rest.word, clean.size))


def fewest_clean(documents: int) -> int:
    """Return how many of the held-out documents must be in no source for a verdict: 10, and a tenth of them."""
    return max(FEWEST_JUDGED, documents // 10)


def doubt_of(overlap: str, clean: int, word: str, rest: str, documents: int = 0) -> str:
    """
    Return why a verdict is unverified where documents are few or in part in a source; empty where it stands.

    Parameters
    ----------
    overlap
        A clause about the documents that are in a source; empty if none is.
    clean
        How many are in no source.
    word, rest
        The verdict in one word: of all documents, and of the clean ones.
    documents
        How many there are in all.
    """
    if clean < (least := fewest_clean(documents)):
        found = f"{overlap}, and only {clean} are in none" if overlap else f"{clean} held-out documents are too few"
        return f"{found}; a verdict needs at least {least}"
    return "" if word == rest else f"{overlap}; with them the verdict is '{word}', without them '{rest}'"


def doubt_of_several(joint: Mapping[str, Any], single: Sequence[Mapping[str, Any]]) -> None:
    """
    Make verdicts on the average or the worst of several targets unverified where a target's own is in doubt.

    Parameters
    ----------
    joint, single
        The measure of all targets, which is changed, and the measures of each, as `summarise` has them.
    """
    doubts: dict[str, list[str]] = {}
    settled: dict[str, bool] = {}
    for measure in single:
        for entry in measure["differences"]:
            if entry.get("doubt"):
                doubts.setdefault(entry["arm"], []).append(f"{measure['name']}: {entry['doubt']}")
                settled[entry["arm"]] = settled.get(entry["arm"], False) or entry.get("decided", True)
    for entry in joint["differences"]:
        if entry["arm"] in doubts and entry["word"] != "unverified":
            make_unverified(entry, "; ".join(doubts[entry["arm"]]), settled[entry["arm"]])


def make_unverified(entry: dict[str, Any], doubt: str, settled: bool) -> None:
    """Make the verdict of a difference unverified, whatever its interval says; `settled` if no seed would help."""
    entry |= {"word": "unverified", "verdict": f"unverified: {doubt}", "doubt": doubt}
    entry |= {"small": False, "decided": settled} if "decided" in entry else {}
