"""Preference pairs out of files and data sets: prompt, chosen and rejected answer, with the place of each row."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mixwright.errors import InputError
from mixwright.files.rows import FoundRow
from mixwright.preference.pairs.pair_rows import BadRowError, PairColumns, Text, TextPair, pair_of_row, without_repeats
from mixwright.preference.pairs.row_sources import is_paths, rows_of

_SCALARS = (str, int, float, bool, type(None))
_NOT_READ = ("tools", "chat_template_kwargs", "images", "image")


@dataclass(frozen=True)
class Pairs:
    """
    Pairs of one source.

    Parameters
    ----------
    name
        The source's name.
    prompt, chosen, rejected
        [n] strings, or lists of messages {"role", "content"}; all rows are of one kind.
    columns
        {name: values [n]}: the other columns whose values are texts, numbers or null (a split, a task).
    notes
        What was done to the rows, in sentences (dropped and ignored ones are counted).
    labels, label, number
        Where pair `i` lies: `labels[label[i]]` ("file, line") and the number there.
    """

    name: str
    prompt: tuple[Text, ...]
    chosen: tuple[Text, ...]
    rejected: tuple[Text, ...]
    columns: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    label: NDArray[np.int32] = field(default_factory=lambda: np.zeros(0, np.int32), repr=False)
    number: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64), repr=False)

    def __len__(self) -> int:
        """Return the number of pairs."""
        return len(self.prompt)

    @property
    def is_chat(self) -> bool:
        """Whether the rows are messages, not strings."""
        return bool(self.prompt) and not isinstance(self.prompt[0], str)

    @cached_property
    def fingerprint(self) -> str:
        """16 hex digits that name the prompts and answers, in order; names and places are not in it."""
        digest = hashlib.sha256()
        for row in zip(self.prompt, self.chosen, self.rejected, strict=True):
            digest.update(json.dumps(row, sort_keys=True, separators=(",", ":"), default=str).encode() + b"\n")
        return digest.hexdigest()[:16]

    def place(self, i: int) -> str:
        """Return where pair `i` lies: "file, line 7"."""
        return f"{self.labels[self.label[i]]} {self.number[i]}"

    def with_notes(self, notes: Sequence[str]) -> Pairs:
        """Return the pairs with more notes."""
        return replace(self, notes=(*self.notes, *notes)) if notes else self

    def select(self, rows: ArrayLike) -> Pairs:
        """Return the pairs of these numbers, or of a mask, in this order."""
        index = np.arange(len(self))[np.asarray(rows)]
        pick = index.tolist()
        prompt, chosen, rejected = (
            tuple(column[i] for i in pick) for column in (self.prompt, self.chosen, self.rejected)
        )
        columns = {name: tuple(values[i] for i in pick) for name, values in self.columns.items()}
        return Pairs(
            self.name,
            prompt,
            chosen,
            rejected,
            columns,
            self.notes,
            self.labels,
            self.label[index],
            self.number[index],
        )


def read_pairs(
    what: Any,
    name: str,
    *,
    prompt: str | None = "prompt",
    chosen: str = "chosen",
    rejected: str = "rejected",
    join: str = "",
    where: Mapping[str, Any] | None = None,
    invalid: Literal["error", "drop"] = "error",
) -> Pairs:
    """
    Read the preference pairs of one source.

    Parameters
    ----------
    what
        A path: JSON lines or a JSON list (`.jsonl`, `.ndjson`, `.json`, each also `.gz` or `.zst`), `.parquet`, a
        folder of them, a pattern (`*.jsonl`), a list of paths, or a folder that `datasets` saved. Or a
        `datasets.Dataset` or `DatasetDict` (the names of its parts become the column "split"), or rows: an iterable of
        dicts.
    name
        The source's name, for messages.
    prompt
        The column of the prompt. None, or "prompt" where no row has that column: what `chosen` and `rejected` have in
        common at their start, as in TRL.
    chosen, rejected
        The columns of the better and the worse answer. All three are strings, or chat messages [{"role", "content"}].
    join
        Put at the end of prompts that are strings: the text between prompt and answer. Answers that repeat their prompt
        at the start lose it there, and are counted in `notes`.
    where
        {column: value or [values]}: only rows with these values are read; of the others nothing is checked.
    invalid
        "error": a row that is no pair is an error. "drop": such rows are left out and counted in `notes`.

    Raises
    ------
    InputError
        Names the source, file and line of the first bad row, and how many there are; or there is no pair at all.
    """
    if invalid not in ("error", "drop"):
        raise InputError(f"invalid should be 'error' or 'drop', found {invalid!r}; choose one")
    filters = {key: values_of(value) for key, value in (where or {}).items()}
    found = _Found(name, PairColumns(prompt, chosen, rejected, join), filters, invalid == "drop")
    try:
        rows, notes = rows_of(what)
        for row in rows:
            found.add(row)
    except BadRowError:
        raise
    except InputError as error:
        raise InputError(f"source {name!r}: {error}") from None
    left_out = tuple(f"{name}: {note}" for note in notes)
    return found.pairs(what if is_paths(what) else None).with_notes(left_out)


class _Found:
    """Takes in rows one by one: good ones become pairs, bad ones are counted."""

    def __init__(self, name: str, columns: PairColumns, where: dict[str, list[Any]], drop: bool) -> None:
        self.name, self.columns, self.where, self.drop = name, columns, where, drop
        self.good: list[TextPair] = []
        self.others: list[dict[str, Any]] = []
        self.labels: dict[str, int] = {}
        self.label: list[int] = []
        self.number: list[int] = []
        self.faults: Counter[str] = Counter()
        self.first = ""
        self.read = 0
        self.kind: bool | None = None
        self.settled = columns.prompt != "prompt"
        self.not_read: set[str] = set()
        self.seen: dict[str, dict[str, None]] = {key: {} for key in where}

    def add(self, row: FoundRow) -> None:
        """Take a row in, or count it as a bad one."""
        try:
            if isinstance(row.value, InputError):
                raise BadRowError("not a JSON object", str(row.value))
            if not self._wanted(row.value):
                return
            pair = self._pair(row.value)
        except BadRowError as error:
            self.faults[error.fault] += 1
            self.read += 1
            text = str(error)
            self.first = self.first or (text if text.startswith(row.place) else f"{row.place}: {text}")
            return
        self.read += 1
        self.good.append(pair)
        names = set(self.columns.names)
        self.others.append({k: v for k, v in row.value.items() if k not in names and isinstance(v, _SCALARS)})
        self.label.append(self.labels.setdefault(row.label, len(self.labels)))
        self.number.append(row.number)

    def _wanted(self, row: Mapping[str, Any]) -> bool:
        for key, values in self.where.items():
            if key not in row:
                found = ", ".join(map(repr, row)) or "no column"
                raise BadRowError(
                    "missing column", f"there should be a column {key!r} (where), found {found}; name the right column"
                )
            self.seen[key][repr(row[key])] = None
            if row[key] not in values:
                return False
        return True

    def _pair(self, row: Mapping[str, Any]) -> TextPair:
        if not self.settled:  # the first row says whether there is a prompt
            self.settled = True
            if "prompt" not in row and {self.columns.chosen, self.columns.rejected} <= set(row):
                self.columns = PairColumns(None, self.columns.chosen, self.columns.rejected, self.columns.join)
        pair = pair_of_row(row, self.columns)
        kind = isinstance(pair.prompt, str)
        if self.kind is None:
            self.kind = kind
        if kind != self.kind:
            words = {True: "strings", False: "messages"}
            raise BadRowError(
                "strings and messages mixed",
                f"this row should be of {words[self.kind]}, like the rows before it, found {words[kind]}; use one kind",
            )
        self.not_read |= {name for name in _NOT_READ if row.get(name)}
        return pair

    def pairs(self, path: Any) -> Pairs:
        """Return the pairs; InputError if a row was bad, or there is none."""
        bad = sum(self.faults.values())
        counts = ", ".join(f"{fault}: {count:,}" for fault, count in self.faults.most_common())
        if bad and not self.drop:
            more = f" ({bad:,} of {self.read:,} rows are not pairs; {counts})" if bad > 1 else ""
            drop = "; or leave such rows out with invalid: drop (in Python: invalid='drop')" if self.good else ""
            raise InputError(f"source {self.name!r}: {self.first}{more}{drop}")
        at = f" in {path}" if path is not None else ""
        if not self.good:
            found = f"none among {self.read:,} rows ({counts}; the first is {self.first})" if bad else "none"
            for key, values in self.seen.items():
                found += (
                    f", {key} is {', '.join(list(values)[:5])}{' ...' if len(values) > 5 else ''}" if values else ""
                )
            picked = f" where {self.where}" if self.where else ""
            raise InputError(
                f"source {self.name!r}: there should be at least one pair{at}{picked}, found {found}; check the file"
                f"{' and where' if self.where else ''} or remove the source"
            )
        notes = (
            [f"{self.name}: {bad:,} of {self.read:,} rows are not pairs and were left out ({counts})"] if bad else []
        )
        if self.not_read:
            notes.append(f"{self.name}: the columns {', '.join(sorted(self.not_read))} are not used")
        good, repeats, kept = self.good, 0, 0
        if self.columns.prompt is not None:
            good, repeats, kept = without_repeats(self.good, self.columns.join)
        if repeats:
            notes.append(
                f"{self.name}: in {repeats:,} of {len(good):,} pairs the answers repeat the prompt at their start; it "
                "was cut off there"
            )
        if kept:
            notes.append(
                f"{self.name}: in {kept:,} of {len(good):,} pairs both answers begin with the prompt; it was left "
                "there, as the others do not: if it stands twice, remove it"
            )
        names = dict.fromkeys(key for row in self.others for key in row)
        columns = {key: tuple(row.get(key) for row in self.others) for key in names}
        prompt, chosen, rejected = (tuple(column) for column in zip(*good, strict=True))
        label, number = np.array(self.label, np.int32), np.array(self.number, np.int64)
        return Pairs(self.name, prompt, chosen, rejected, columns, tuple(notes), tuple(self.labels), label, number)


def values_of(value: Any) -> list[Any]:
    """Return the values that are asked for: one, or several."""
    return list(value) if isinstance(value, list | tuple | set) else [value]
