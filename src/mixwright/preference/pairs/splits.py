"""Pairs to train on and pairs that are held out, and prompts that are in both."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mixwright.errors import InputError
from mixwright.preference.pairs.pair_rows import Text
from mixwright.preference.pairs.pairs import Pairs, values_of
from mixwright.text.tokens import is_held_out

_SPLIT = "split"
_SALT = "pairs"


def split_pairs(
    pairs: Pairs,
    column: str | None = _SPLIT,
    held_out: float = 0.1,
    *,
    train: str | Sequence[str] = "train",
    test: str | Sequence[str] = "test",
) -> tuple[Pairs, Pairs]:
    """
    Split pairs into those to train on and those held out.

    Parameters
    ----------
    pairs
        The pairs.
    column
        The column that says which part a row is of; rows with other values (a validation part) are left out and noted.
        None: by a hash of the prompt, the same in every run; no prompt is in both parts.
    held_out
        Share of the prompts that are held out, between 0 and 1 (without a column).
    train, test
        The values of the column, one or several for each part.

    Raises
    ------
    InputError
        The column is missing, or a part is empty.
    """
    none: tuple[str, ...] = ()
    if column is None:
        if not 0 < held_out < 1:
            raise InputError(f"held_out should be between 0 and 1, found {held_out!r}; give a share such as 0.1")
        held = np.array([is_held_out(prompt_key(prompt), held_out, _SALT) for prompt in pairs.prompt], bool)
        parts, how, notes = (~held, held), f"a hash of the prompt, held_out={held_out:g}", none
    else:
        parts, notes = _by_column(pairs, column, values_of(train), values_of(test))
        how = f"the column {column!r}"
    for part, mask in zip(("train on", "hold out"), parts, strict=True):
        if not mask.any():
            raise InputError(
                f"source {pairs.name!r}: there should be at least one pair to {part}, found none among {len(pairs):,} "
                f"(split by {how}); split another way or give more pairs"
            )
    first, second = (pairs.select(mask) for mask in parts)
    return first.with_notes(notes), second


def _by_column(
    pairs: Pairs, column: str, train: list[Any], test: list[Any]
) -> tuple[tuple[NDArray[np.bool_], NDArray[np.bool_]], tuple[str, ...]]:
    if column not in pairs.columns:
        found = ", ".join(map(repr, pairs.columns)) or "none besides the pair"
        raise InputError(
            f"source {pairs.name!r}: there should be a column {column!r} to split by, found {found}; name another, or "
            "split by a hash of the prompt (column=None)"
        )
    values = pairs.columns[column]
    if both := [value for value in train if value in test]:
        raise InputError(
            f"source {pairs.name!r}: train and test should differ, found {both[0]!r} in both; correct them"
        )
    first = np.array([value in train for value in values], bool)
    second = np.array([value in test for value in values], bool)
    others = Counter(str(value) for value in values if value not in train and value not in test)
    if not first.any() or not second.any():
        wanted, found = (train, "train") if not first.any() else (test, "test")
        there = ", ".join(sorted({repr(value) for value in values})[:5])
        raise InputError(
            f"source {pairs.name!r}: the column {column!r} should have rows with {' or '.join(map(repr, wanted))} "
            f"({found}), found {there}; name the values, or split by a hash of the prompt (column=None)"
        )
    said = ", ".join(f"{count:,} of {value!r}" for value, count in others.most_common(5))
    notes = (f"{pairs.name}: rows of neither part are not used: {said}",) if others else ()
    return (first, second), notes


def prompt_key(prompt: Text) -> str:
    """Return what makes prompts the same: upper and lower case and white space do not count, nor one user's message."""
    if isinstance(prompt, str):
        return " ".join(prompt.split()).casefold()
    messages = [(message["role"], prompt_key(message["content"])) for message in prompt]
    return messages[0][1] if len(messages) == 1 and messages[0][0] == "user" else json.dumps(messages)


@dataclass(frozen=True)
class Leak:
    """Prompts that are held out in one source and trained on in another, or in the same."""

    train: str
    test: str
    prompts: int
    pairs: int

    def __str__(self) -> str:
        """Say it in a sentence."""
        prompts = "prompt" if self.prompts == 1 else "prompts"
        pairs = "pair" if self.pairs == 1 else "pairs"
        return (
            f"{self.prompts:,} held-out {prompts} of {self.test} ({self.pairs:,} {pairs}), also trained on in "
            f"{self.train}: results there are too optimistic"
        )


def leaked_prompts(parts: Mapping[str, tuple[Pairs | None, Pairs | None]]) -> list[Leak]:
    """
    Return which held-out prompts are also trained on, in the same source or in another.

    Parameters
    ----------
    parts
        {source: (to train on, held out)}; either may be None. Prompts are the same if they differ in white space and in
        upper and lower case alone. Nothing is removed.
    """
    trained = {name: {prompt_key(p) for p in train.prompt} for name, (train, _) in parts.items() if train is not None}
    leaks = []
    for test_name, (_, test) in parts.items():
        held = Counter(prompt_key(p) for p in test.prompt) if test is not None else Counter()
        for train_name, known in trained.items():
            if shared := known & held.keys():
                leaks.append(Leak(train_name, test_name, len(shared), sum(held[key] for key in shared)))
    return leaks
