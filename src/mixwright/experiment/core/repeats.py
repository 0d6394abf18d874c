"""Sentences about sources that a training goes through many times."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Literal

from mixwright.compare import Cell

_TEXTS = (  # Muennighoff et al. (2305.16264): what more passes over the same text bring
    (40, "passes beyond about 40 bring nothing"),
    (16, "passes beyond about 16 bring hardly anything"),
    (4, "text that is repeated more than about 4 times brings less"),
)
_PAIRS = ((4, "pairs that come again so often may be learned by heart, which the held-out loss shows"),)
Of = Literal["texts", "pairs"]


def repeats(
    what: str,
    epochs: Mapping[str, float],
    advice: str = "cap the source, or give more of it",
    of: Of = "texts",
    copies: Mapping[str, float] = MappingProxyType({}),
) -> list[str]:
    """
    Return a sentence if something goes more than 4, 16 or 40 times through a source.

    Parameters
    ----------
    what
        The training.
    epochs
        {source: passes over it}.
    advice
        What to do about it.
    of
        What the sources hold.
    copies
        {source: how often a pass shows each text}; once, where it is not said.
    """
    limits = _TEXTS if of == "texts" else _PAIRS
    shown = {name: n * copies.get(name, 1.0) for name, n in epochs.items()}
    often = sorted(((n, name) for name, n in shown.items() if n > limits[-1][0]), reverse=True)
    if not often:
        return []
    meaning = next(words for limit, words in limits if often[0][0] > limit)
    times = []
    for n, name in often:
        said, alone = (f"{number:,.{int(n < 100)}f}" for number in (n, epochs[name]))
        times.append(f"{said} times through {name}{' (with its copies)' * (said != alone)}")
    return [f"{what} goes {', '.join(times)}: {meaning}; {advice}"]


def repeats_of_arms(
    arms: Sequence[str],
    cells: Sequence[Cell],
    advice: str,
    of: Of,
    copies: Mapping[str, float] = MappingProxyType({}),
) -> list[str]:
    """Return a sentence for each arm that goes many times through a source, by its training that does so most."""
    notes = []
    for arm in arms:
        own = [cell.epochs for cell in cells if cell.arm == arm]
        names = dict.fromkeys(name for epochs in own for name in epochs)
        most = {name: max(epochs.get(name, 0.0) for epochs in own) for name in names}
        notes += repeats(f"the arm {arm}", most, advice, of, copies)
    return notes
