"""One row of preference data: what it should hold, and what is wrong with one that does not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from mixwright.errors import InputError

Message = dict[str, Any]
Text = str | list[Message]
"""A string, or chat messages [{"role": ..., "content": ...}]."""


class BadRowError(InputError):
    """A row that is no pair; `fault` is the kind of fault, for counting."""

    def __init__(self, fault: str, message: str) -> None:
        super().__init__(message)
        self.fault = fault


class TextPair(NamedTuple):
    """A prompt and two answers, all strings or all messages."""

    prompt: Text
    chosen: Text
    rejected: Text


@dataclass(frozen=True)
class PairColumns:
    """
    Names of the columns of a pair.

    Parameters
    ----------
    prompt
        None: there is none, the prompt is what `chosen` and `rejected` have in common at their start.
    chosen, rejected
        The better and the worse answer.
    join
        Text between prompt and answer, put at the end of prompts that are strings.
    """

    prompt: str | None = "prompt"
    chosen: str = "chosen"
    rejected: str = "rejected"
    join: str = ""

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the columns that are there."""
        return (*((self.prompt,) if self.prompt is not None else ()), self.chosen, self.rejected)


def pair_of_row(row: Mapping[str, Any], columns: PairColumns) -> TextPair:
    """
    Return the pair that a row holds.

    Raises
    ------
    BadRowError
        A column is missing or of a wrong type, an answer is empty, or the two are equal.
    """
    for name in columns.names:
        if name not in row:
            found = ", ".join(map(repr, row)) or "no column"
            raise BadRowError(
                "missing column", f"there should be a column {name!r}, found {found}; name the right column"
            )
    values = [_checked(row[name], name) for name in columns.names]
    kinds = {name: isinstance(value, str) for name, value in zip(columns.names, values, strict=True)}
    if len(set(kinds.values())) > 1:
        found = ", ".join(f"{name!r} a {'string' if text else 'list of messages'}" for name, text in kinds.items())
        advice = "use one kind"
        if columns.prompt is not None and kinds[columns.chosen] == kinds[columns.rejected]:
            advice += ", or, if the answers hold the whole conversation, read the prompt from them (prompt=None)"
        raise BadRowError(
            "strings and messages mixed", f"all should be strings or all messages, found {found}; {advice}"
        )
    pair = TextPair(*values) if columns.prompt is not None else _shared_start(values[0], values[1], columns)
    _check_answers(pair, columns)
    return pair._replace(prompt=pair.prompt + columns.join) if isinstance(pair.prompt, str) else pair


def _checked(value: Any, name: str) -> Text:
    """Return a value that is a string or a list of messages."""
    if isinstance(value, str):
        return _unicode(value, repr(name))
    if not isinstance(value, Sequence) or isinstance(value, bytes):
        raise BadRowError(
            "wrong type", f"{name!r} should be a string or a list of messages, found {_what(value)}; correct the row"
        )
    if not value:
        fault = "empty prompt" if name == "prompt" else "empty answer"
        raise BadRowError(fault, f"{name!r} should have at least one message, found none; fill it in or remove the row")
    return [_message(message, f"{name}[{i}]") for i, message in enumerate(value)]


def _message(value: Any, where: str) -> Message:
    """Return a message with a role and a content that are texts."""
    if not isinstance(value, Mapping):
        raise BadRowError(
            "wrong type", f'{where} should be a message {{"role", "content"}}, found {_what(value)}; correct the row'
        )
    for key in ("role", "content"):
        if key not in value:
            found = ", ".join(map(repr, value)) or "no key"
            raise BadRowError("wrong type", f"{where} should have {key!r}, found {found}; correct the row")
        if not isinstance(value[key], str):
            raise BadRowError(
                "wrong type", f"{where}[{key!r}] should be a string, found {_what(value[key])}; correct the row"
            )
        _unicode(value[key], f"{where}[{key!r}]")
    return dict(value)


def _unicode(text: str, where: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        found = f"half a surrogate pair ({text[error.start]!r})"
        raise BadRowError("wrong type", f"{where} should be Unicode text, found {found}; correct the row") from None
    return text


def _shared_start(chosen: Any, rejected: Any, columns: PairColumns) -> TextPair:
    """Split off the longest common start, as TRL's `extract_prompt` does: a space before the answers is theirs."""
    if chosen == rejected:
        raise _equal(columns)
    last = min(len(chosen), len(rejected)) - 1  # one answer may be the start of the other: something of it is left
    end = next((i for i in range(last + 1) if chosen[i] != rejected[i]), max(last, 0))
    if end and end <= last and chosen[end] != rejected[end] and chosen[end - 1] == " ":
        end -= 1
    if not end:
        raise BadRowError(
            "missing prompt",
            f"without a prompt column, {columns.chosen!r} and {columns.rejected!r} should have a common start, found "
            "none; name the column of the prompt",
        )
    return TextPair(chosen[:end], chosen[end:], rejected[end:])


def without_repeats(rows: Sequence[TextPair], join: str = "") -> tuple[list[TextPair], int, int]:
    """
    Return rows whose answers do not begin with their prompt, how many had one cut off, and how many kept it.

    Messages of the prompt at the start of an answer (its system message may be missing) are cut off in
    every answer. Strings are cut where both answers begin with the prompt, and only if that is so in at least half of
    the rows: in a few it may be how the answer begins.

    Parameters
    ----------
    rows
        All of one kind; prompts that are strings end with `join`.
    """
    cut = [
        pair._replace(chosen=_after(pair, pair.chosen, join), rejected=_after(pair, pair.rejected, join))
        for pair in rows
    ]
    kept = 0
    if rows and isinstance(rows[0].prompt, str):
        both = [new.chosen != old.chosen and new.rejected != old.rejected for new, old in zip(cut, rows, strict=True)]
        cut = [new if whole else old for new, old, whole in zip(cut, rows, both, strict=True)]
        if 2 * sum(both) < len(rows):
            cut, kept = list(rows), sum(both)
    return cut, sum(new is not old and new != old for new, old in zip(cut, rows, strict=True)), kept


def _after(pair: TextPair, answer: Any, join: str) -> Any:
    """Return an answer without the prompt at its start; as it is where it has none, or nothing else."""
    prompt: Any = pair.prompt
    starts = [prompt]
    if isinstance(prompt, str):
        bare = prompt.removesuffix(join)
        starts += [bare, bare.rstrip()]
    else:
        starts.append([message for message in prompt if message["role"] != "system"])
    for start in starts:
        if start and len(answer) > len(start) and answer[: len(start)] == start:
            rest = answer[len(start) :]
            ends_in_space = isinstance(prompt, str) and prompt[-1:].isspace()
            return (rest.lstrip() or answer) if ends_in_space else rest
    return answer


def _check_answers(pair: TextPair, columns: PairColumns) -> None:
    for name, answer in ((columns.chosen, pair.chosen), (columns.rejected, pair.rejected)):
        text = answer if isinstance(answer, str) else "".join(message["content"] for message in answer)
        if not text.strip():
            found = repr(text) if text else "nothing"
            raise BadRowError(
                "empty answer", f"{name!r} should be an answer, found {found}; fill it in or remove the row"
            )
    if pair.chosen == pair.rejected:
        raise _equal(columns)


def _equal(columns: PairColumns) -> BadRowError:
    return BadRowError(
        "equal answers",
        f"{columns.chosen!r} and {columns.rejected!r} should differ, found the same; equal answers express no "
        "preference: remove the row",
    )


def _what(value: Any) -> str:
    """Say what a value is, in the words of JSON."""
    if value is None or value is True or value is False:
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, Mapping):
        return "an object"
    return f"the number {value}" if isinstance(value, int | float) else f"a {type(value).__name__}"
