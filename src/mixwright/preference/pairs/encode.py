"""Pairs as tokens: the same that TRL's DPOTrainer makes, in flat arrays, saved and named by fingerprint."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mixwright.checks import read_object
from mixwright.errors import InputError
from mixwright.files import atomic_write, write_json
from mixwright.files.opening import load_array
from mixwright.preference.pairs.pairs import Pairs
from mixwright.preference.pairs.parts import Lost, Three, chat_parts, notes_of_parts, text_parts

Truncation = Literal["keep_start", "keep_end"]
LongPrompts = Literal["drop", "truncate", "error"]
Side = Literal["chosen", "rejected"]
_SIDES: tuple[Side, Side] = ("chosen", "rejected")
_SCHEMA = 1
_HEAD = "encoded.json"
_ARRAYS = ("tokens", "offsets", "prompt_lengths", "rows", "label", "number")


@dataclass(frozen=True)
class EncodedPairs:
    """
    The tokens of pairs, truncated: pair `i` is a prompt and two answers.

    Parameters
    ----------
    name
        The source's name.
    tokens
        int32 [t]: prompt, chosen and rejected answer of each pair, end to end.
    offsets
        int64 [3 n + 1]: where each of them starts.
    prompt_lengths
        int32 [n, 2]: how many of the prompt's last tokens stand before each answer; they differ from the whole prompt,
        and from each other, under `keep_end` alone.
    rows
        int64 [n]: which pair of the source it was.
    label, number, labels
        Where pair `i` came from: `labels[label[i]]` and the number of the line or row there.
    counts
        {"pairs", "truncated", "long_prompts", "equal", "empty"}: how many there were, and what happened to them.
    notes
        The same in sentences.
    """

    name: str
    tokens: NDArray[np.int32] = field(repr=False)
    offsets: NDArray[np.int64] = field(repr=False)
    prompt_lengths: NDArray[np.int32] = field(repr=False)
    rows: NDArray[np.int64] = field(repr=False)
    label: NDArray[np.int32] = field(repr=False)
    number: NDArray[np.int64] = field(repr=False)
    labels: tuple[str, ...] = ()
    counts: Mapping[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        """Return the number of pairs."""
        return len(self.rows)

    def place(self, i: int) -> str:
        """Return where pair `i` lies: "file, line 7"."""
        return f"{self.labels[self.label[i]]} {self.number[i]}"

    def prompt(self, i: int, side: Side | None = None) -> NDArray[np.int32]:
        """Return the tokens of prompt `i`, [t]: all of them, or those that stand before one of the answers."""
        whole = self._part(3 * i)
        return whole if side is None else whole[len(whole) - self.prompt_lengths[i, _SIDES.index(side)] :]

    def chosen(self, i: int) -> NDArray[np.int32]:
        """Return the tokens of the better answer, [t]."""
        return self._part(3 * i + 1)

    def rejected(self, i: int) -> NDArray[np.int32]:
        """Return the tokens of the worse answer, [t]."""
        return self._part(3 * i + 2)

    def sequence(self, i: int, side: Side) -> tuple[NDArray[np.int32], int]:
        """Return prompt and answer of one side as one row of tokens [t], and where the answer starts in it."""
        answer = self._part(3 * i + 1 + _SIDES.index(side))
        return np.concatenate([self.prompt(i, side), answer]), int(self.prompt_lengths[i, _SIDES.index(side)])

    def _part(self, part: int) -> NDArray[np.int32]:
        return self.tokens[self.offsets[part] : self.offsets[part + 1]]

    @cached_property
    def lengths(self) -> NDArray[np.int32]:
        """The number of tokens of each answer, int32 [n, 2]."""
        return np.diff(self.offsets).reshape(-1, 3)[:, 1:].astype(np.int32)

    @property
    def longest(self) -> int:
        """The number of tokens of the longest prompt with an answer; 0 without pairs."""
        return int((self.prompt_lengths + self.lengths).max(initial=0))

    @cached_property
    def fingerprint(self) -> str:
        """16 hex digits that name the tokens of all pairs and where each part begins; the name is not in it."""
        digest = hashlib.sha256()
        for name in ("tokens", "offsets", "prompt_lengths"):
            digest.update(np.ascontiguousarray(getattr(self, name)).tobytes() + b"\0")
        return digest.hexdigest()[:16]

    def select(self, rows: ArrayLike) -> EncodedPairs:
        """Return the pairs of these numbers, or of a mask, in this order."""
        index = np.arange(len(self))[np.asarray(rows)]
        parts = [self._part(3 * i + part) for i in index.tolist() for part in range(3)]
        tokens, offsets = _flat(parts)
        picked = {name: getattr(self, name)[index] for name in ("prompt_lengths", "rows", "label", "number")}
        return replace(self, tokens=tokens, offsets=offsets, **picked)

    def save(self, folder: Path | str) -> None:
        """Write the arrays as `.npy` and, last, `encoded.json`; without that file the folder is not complete."""
        folder = Path(folder)
        (folder / _HEAD).unlink(missing_ok=True)
        for name in _ARRAYS:
            buffer = io.BytesIO()
            np.save(buffer, getattr(self, name), allow_pickle=False)
            with atomic_write(folder / f"{name}.npy", "wb") as handle:
                handle.write(buffer.getbuffer())
        head = {"schema": _SCHEMA, "name": self.name, "pairs": len(self), "fingerprint": self.fingerprint}
        lists = {"labels": list(self.labels), "notes": list(self.notes)}
        write_json(folder / _HEAD, {**head, "counts": dict(self.counts), **lists})

    @classmethod
    def load(cls, folder: Path | str) -> EncodedPairs:
        """Read what `save` wrote; InputError if it is missing, cut off or changed."""
        folder = Path(folder)
        head = read_object(folder / _HEAD, "the head of encoded pairs", _SCHEMA)
        try:
            arrays = {name: load_array(folder / f"{name}.npy") for name in _ARRAYS}
            lists: dict[str, Any] = {key: tuple(head[key]) for key in ("labels", "notes")}
            found = cls(str(head["name"]), **arrays, counts=head["counts"], **lists)
            same = found.fingerprint == head["fingerprint"] and len(found) == head["pairs"]
        except (OSError, ValueError, EOFError, KeyError, TypeError) as error:
            raise InputError(f"{folder}: the encoded pairs are damaged ({error!r}); encode them again") from None
        if not same:
            raise InputError(
                f"{folder}: the encoded pairs should have the fingerprint {head['fingerprint']}, found "
                f"{found.fingerprint}; encode them again"
            )
        return found


@dataclass(frozen=True)
class _Settings:
    max_length: int | None
    truncation: Truncation
    long_prompts: LongPrompts


def encode_pairs(
    pairs: Pairs,
    tokenizer: Any,
    *,
    max_length: int | None = 512,
    truncation: Truncation = "keep_start",
    long_prompts: LongPrompts = "drop",
    chat_template: str | None = "auto",
) -> EncodedPairs:
    """
    Return the tokens of pairs: those that TRL's `DPOTrainer` (1.16) trains on with the same settings.

    Parameters
    ----------
    pairs
        From `read_pairs`.
    tokenizer
        A tokenizer of `transformers` (see `load_pair_tokenizer`). Answers that are strings end with its EOS.
    max_length
        Tokens of prompt and answer together; None: all of them.
    truncation
        What is kept of a longer row: its start, or its end (the prompt is cut at its start first).
    long_prompts
        What becomes of a prompt that alone fills `max_length` (keep_start): the pair is left out and counted, as in
        TRL; or the prompt is cut at its start until the longer answer fits, but not below half of `max_length`; or it
        is an error.
    chat_template
        For messages: "auto" is the tokenizer's own, else the text of a template (Jinja). None: messages are an error.

    Returns
    -------
    EncodedPairs
        Without the pairs whose answers are the same, or empty, once they are tokens and truncated.

    Raises
    ------
    InputError
        A setting is unknown, the tokenizer has no EOS or no template, a template refuses a pair or writes its prompt
        in another way once an answer follows, or no pair is left.

    Notes
    -----
    Unlike TRL, a BOS that a prompt already has is not doubled, nor an EOS that the tokenizer adds by itself.
    """
    settings = _checked(max_length, truncation, long_prompts)
    lost: Lost = {}
    make = chat_parts(pairs, tokenizer, chat_template, lost) if pairs.is_chat else text_parts(pairs, tokenizer, lost)
    kept: list[tuple[list[int], list[int], list[int]]] = []
    lengths: list[tuple[int, int]] = []
    rows: list[int] = []
    counts = {"pairs": len(pairs), "truncated": 0, "long_prompts": 0, "equal": 0, "empty": 0}
    for i, whole in enumerate(make):
        found = _truncated(pairs, i, *whole, settings=settings, counts=counts)
        if found is not None:
            kept.append(found[0])
            lengths.append(found[1])
            rows.append(i)
    notes = (*_notes(pairs.name, counts, settings), *notes_of_parts(pairs, lost))
    if not kept:
        advice = "raise max_length, or choose long_prompts='truncate'"
        if counts["empty"] == counts["pairs"]:
            advice = "check that the chat template writes the messages of an assistant"
        raise InputError(
            f"source {pairs.name!r}: there should be at least one pair with max_length={max_length}, found none "
            f"({'; '.join(notes)}); {advice}"
        )
    tokens, offsets = _flat([part for three in kept for part in three])
    places: dict[str, Any] = {"label": pairs.label[rows], "number": pairs.number[rows], "labels": pairs.labels}
    return EncodedPairs(
        pairs.name,
        tokens,
        offsets,
        np.array(lengths, np.int32),
        np.array(rows, np.int64),
        **places,
        counts=counts,
        notes=notes,
    )


def _checked(max_length: int | None, truncation: Any, long_prompts: Any) -> _Settings:
    if max_length is not None and (isinstance(max_length, bool) or int(max_length) != max_length or max_length < 2):
        raise InputError(
            f"max_length should be a whole number of at least 2, or None, found {max_length!r}; correct it"
        )
    for name, value, known in (("truncation", truncation, Truncation), ("long_prompts", long_prompts, LongPrompts)):
        if value not in get_args(known):
            raise InputError(f"{name} should be one of {', '.join(get_args(known))}, found {value!r}; choose one")
    return _Settings(max_length, truncation, long_prompts)


def _flat(parts: Sequence[Any]) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Return token lists end to end, and where each starts."""
    offsets = np.zeros(len(parts) + 1, np.int64)
    np.cumsum([len(part) for part in parts], out=offsets[1:])
    tokens = np.empty(int(offsets[-1]), np.int32)
    for part, start, stop in zip(parts, offsets[:-1].tolist(), offsets[1:].tolist(), strict=True):
        tokens[start:stop] = part
    return tokens, offsets


def _truncated(
    pairs: Pairs,
    i: int,
    prompt: list[int],
    chosen: list[int],
    rejected: list[int],
    *,
    settings: _Settings,
    counts: dict[str, int],
) -> tuple[Three, tuple[int, int]] | None:
    """Return a pair cut to length, and the prompt's length on each side; None if nothing is left of it."""
    limit = settings.max_length
    if limit is not None and settings.truncation == "keep_start" and len(prompt) >= limit:
        counts["long_prompts"] += 1
        if settings.long_prompts == "error":
            raise InputError(
                f"source {pairs.name!r}: {pairs.place(i)}: the prompt should leave room for an answer in max_length "
                f"({limit} tokens), found {len(prompt)}; raise max_length, or choose long_prompts 'drop' or 'truncate'"
            )
        if settings.long_prompts == "drop":
            return None
        prompt = prompt[-max(limit - max(len(chosen), len(rejected)), limit // 2) :]
    sides = (chosen, rejected)
    before, answers = _cut(len(prompt), sides, settings)
    if any(len(a) < len(b) for a, b in zip(answers, sides, strict=True)) or min(before) < len(prompt):
        counts["truncated"] += 1
    if not all(answers):
        counts["empty"] += 1
        return None
    if answers[0] == answers[1] and before[0] == before[1]:
        counts["equal"] += 1
        return None
    prompt = prompt[len(prompt) - max(before) :]
    return (prompt, answers[0], answers[1]), before


def _cut(
    prompt: int, answers: tuple[list[int], list[int]], settings: _Settings
) -> tuple[tuple[int, int], tuple[list[int], list[int]]]:
    """Return how much of the prompt stands before each answer, and what is left of the answers."""
    limit = settings.max_length
    if limit is None:
        return (prompt, prompt), answers
    if settings.truncation == "keep_start":
        return (prompt, prompt), (answers[0][: limit - prompt], answers[1][: limit - prompt])
    before = tuple(min(prompt, max(limit - len(answer), 0)) for answer in answers)
    return (before[0], before[1]), (answers[0][-limit:], answers[1][-limit:])


def _notes(name: str, counts: dict[str, int], settings: _Settings) -> tuple[str, ...]:
    total, limit = counts["pairs"], settings.max_length
    cut = settings.long_prompts == "truncate"
    said = {
        "truncated": f"were cut to {limit} tokens ({settings.truncation})",
        "long_prompts": f"have a prompt of {limit} tokens or more: "
        + ("it was cut at its start" if cut else "they were left out"),
        "equal": "have the same tokens in both answers, once truncated: they were left out",
        "empty": "have an answer without tokens: they were left out",
    }
    return tuple(f"{name}: {counts[key]:,} of {total:,} pairs {words}" for key, words in said.items() if counts[key])
