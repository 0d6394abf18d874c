"""
JSON lines that people write from vLLM, from a server or from their own code: a row of a target under a model per line.

`{"id": 7, "model": "web", "token_logprobs": [null, -2.1, -0.3], "tokens": 3}`, or `"logprob": -2.4` in place of
`token_logprobs`. Optional: `target`, `document`, and `text` or `prompt`, which all models should have in common.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from mixwright.checks import is_number
from mixwright.errors import InputError
from mixwright.files import fingerprint
from mixwright.files.rows import FoundRow, rows_of_file
from mixwright.search.table.logs.rows import LoggedRow
from mixwright.search.table.values import ROUNDING

TARGET = "target"  # of rows that name none


def read_json_lines(source: str | None, files: Sequence[Path]) -> Iterator[tuple[str, LoggedRow]]:
    """
    Yield (source, row) of all files.

    Parameters
    ----------
    source
        The source that all rows belong to. None: the row's `model`, or the name of its file where it has none.
    files
        The files.

    Raises
    ------
    InputError
        A row is none of these, or one of its log-probabilities is none (file and line are named).
    """
    for path in files:
        models: set[Any] = set()
        for found in rows_of_file(path):
            if isinstance(found.value, InputError):
                raise found.value
            models.add(_model(found))
            if source is not None and len(models) > 1:
                named = ", ".join(sorted(map(repr, models)))
                raise InputError(
                    f"{found.place}: the rows of source {source!r} should be of one model, found {named}; give the "
                    "path without a name, then the models are the sources"
                )
            yield source or str(_model(found) or path.name.partition(".")[0]), _row(found)


def _model(found: FoundRow) -> Any:
    row: Any = found.value
    model = row.get("model")
    if not isinstance(model, str | int | None):
        raise InputError(f"{found.place}: model should be a text, found {model!r:.60}; name the model")
    return model


def _row(found: FoundRow) -> LoggedRow:
    row: Any = found.value
    key = row.get("id")
    if isinstance(key, bool) or not isinstance(key, int | str):
        raise InputError(f"{found.place}: id should be a text or a whole number, found {key!r:.60}; number the rows")
    scored, value = _log_likelihood(found.place, row)
    marks: dict[str, Any] = {"number of tokens": _tokens(found.place, row, scored), "text": None, "prompt": None}
    parts = [name for name in ("text", "prompt") if row.get(name) is not None]
    for name in parts + (["tokens"] if isinstance(row.get("tokens"), list) else []):
        try:
            marks[name] = fingerprint(row[name])
        except ValueError as error:
            raise InputError(
                f"{found.place}: {name} should be texts and finite numbers ({error}); correct it"
            ) from None
    if scored is not None:
        marks["number of scored tokens"] = scored
    target, document = row.get("target"), row.get("document")
    return LoggedRow(found.place, TARGET if target is None else str(target), key, marks, value, document)


def _log_likelihood(place: str, row: dict[str, Any]) -> tuple[int | None, float]:
    """Return how many tokens were scored (None where only their sum is given), and the sum of their logs."""
    listed, whole = row.get("token_logprobs"), row.get("logprob")
    if (listed is None) == (whole is None):
        raise InputError(
            f"{place}: a row should have token_logprobs (a list) or logprob (their sum), found "
            f"{'neither' if whole is None else 'both'}; write one of them"
        )
    if listed is None:
        return None, _number(place, "logprob", whole)
    if not isinstance(listed, list):
        raise InputError(f"{place}: token_logprobs should be a list, found {listed!r:.60}; write logprob for a sum")
    scored = listed[1:] if listed and listed[0] is None else listed  # nothing predicts the first token
    if not scored:
        raise InputError(f"{place}: token_logprobs should have at least one number, found none; leave the row out")
    return len(scored), sum(_number(place, "token_logprobs", value) for value in scored)


def _number(place: str, name: str, value: Any) -> float:
    """Return a natural log of a probability."""
    try:
        number = float(value) if is_number(value) else math.nan
    except OverflowError:
        number = math.nan
    if not number <= ROUNDING:
        shown = "null" if value is None else f"{value!r:.60}"
        raise InputError(
            f"{place}: {name} should be natural logs of probabilities, at most 0; found {shown}; write them again"
        )
    return number


def _tokens(place: str, row: dict[str, Any], scored: int | None) -> int | None:
    """Return how many tokens the row has, where it says so."""
    given = row.get("tokens")
    count = len(given) if isinstance(given, list) else given
    if count is None:
        return None
    if isinstance(count, bool) or not isinstance(count, int) or count < 1:
        raise InputError(f"{place}: tokens should be a list of them or their number, found {given!r:.60}; correct it")
    if scored is not None and count - scored not in (0, 1):  # the first token may have no log-probability
        raise InputError(
            f"{place}: token_logprobs should have a number for each of {count} tokens, found {scored}; was the text "
            "cut off, or prefix caching on? score it again"
        )
    return count
