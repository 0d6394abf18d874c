"""What the numbers of a table are: log-likelihoods, what is turned into them, and columns that are neither."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from mixwright.errors import InputError
from mixwright.search.table.rows import real_array

Floats = npt.NDArray[np.float64]
Values = Literal["log_likelihood", "loss", "bits", "perplexity", "probability"]

ROUNDING = 1e-6  # a log-likelihood this far above 0 is a probability of 1
SHORT = 12.0  # nats: a loss below this may be a mean per token, as few vocabularies are larger than exp(12)
_NEARER = 50.0  # no two models of the same rows differ so; a mean per token and a sum do
MANY = 8  # rows: logs fall from row to row by chance in one column of 40,000
_WHAT = {
    "loss": "losses in nats",
    "bits": "losses in bits",
    "perplexity": "perplexities",
    "probability": "probabilities",
}
SAY = (
    "say what the numbers are: values='loss', 'bits', 'perplexity' or 'probability', with tokens=... if they are means "
    "per token (in LikelihoodTable.from_file or from_array; on the command line --values and --tokens)"
)


def require_sources(where: str, raw: Mapping[str, Floats], values: Values | None) -> None:
    """
    Raise InputError unless every column looks like one of likelihoods; `where` begins the message.

    Columns that nobody has named may be anything: a count of tokens or an identifier would win as a source.
    """
    if not all((column < np.inf).all() for column in raw.values()):
        return  # NaN and +inf have an error of their own, which names the row
    odd = {name: _odd_sign(column, values) for name, column in raw.items()}
    if values is None and all(odd.values()):
        raise not_logs(where, *next(iter(raw.items())))
    if values not in ("perplexity", "probability") and not any(odd.values()):
        odd = {name: _odd_scale(name, raw) for name in raw}
    if all(odd.values()):  # densities, as was said: a column of another sign than the others would be no source
        odd = {}
    found = {name: reason for name, column in raw.items() if (reason := odd.get(name) or _unlike(column))}
    if not found:
        return
    first = "; ".join(f"{name!r} with {reason}" for name, reason in list(found.items())[:5])
    others = [name for name in raw if name not in found]
    named = f"sources={others!r}" if 0 < len(others) <= 5 else "sources=[...]"
    advice = f"name the columns that are sources, {named}, or remove the others"
    if not others:
        advice = "if they are log-likelihoods, say so: sources=[...]"
    raise InputError(f"{where}each column should hold the log-likelihoods of a source; found {first}; {advice}")


def require_logs(where: str, sources: Sequence[str], logs: npt.NDArray[Any]) -> None:
    """Raise InputError where a column [n] of `logs` [n, k] cannot hold log-likelihoods, by its signs."""
    for name, column in zip(sources, logs.T, strict=True):
        if above_zero(column):
            raise not_logs(where, name, column)


def above_zero(column: npt.NDArray[Any]) -> bool:
    """Return whether most numbers of a column are above 0, or some and none below: no logs of probabilities."""
    above = np.count_nonzero(column > ROUNDING)
    return bool(2 * above > column.size or (above > 0 and not (column < 0).any()))


def not_logs(where: str, source: str, column: npt.NDArray[Any]) -> InputError:
    """Return the error of a column whose numbers are above 0."""
    above = column > ROUNDING
    return InputError(
        f"{where}log-likelihoods should be at most 0; found {np.count_nonzero(above)} of {column.size} above 0 under "
        f"source {source!r}, such as {float(column[above][0]):.4g}; {SAY}; logs of densities may be above 0: "
        "values='log_likelihood'"
    )


def to_logs(
    sources: Sequence[str], raw: npt.NDArray[Any], values: Values | None, tokens: Any
) -> tuple[npt.NDArray[Any], tuple[str, ...]]:
    """
    Return log-likelihoods [n, k] of rows, and notes on what was done; `raw` itself where there is nothing to do.

    Raises
    ------
    InputError
        For another kind of values, numbers that `values` cannot have, and tokens that are none or missing.
    """
    if values is not None and values not in get_args(Values):
        kinds = ", ".join(map(repr, get_args(Values)))
        raise InputError(f"values should be one of {kinds}; found {values!r}")
    if values in ("loss", "bits", "perplexity", "probability"):
        for name, column in zip(sources, raw.T, strict=True):
            _require_kind(name, column, values)
    count = _tokens(tokens, len(raw))
    if values == "perplexity" and count is None:
        raise InputError("perplexities are per token: give tokens, the number of tokens in each row (or 1)")
    logs = _logs(raw, values)
    notes: tuple[str, ...] = (
        () if values in (None, "log_likelihood") else (f"the numbers were taken as {_WHAT[values]}",)
    )
    if count is None:
        if notes and values in ("loss", "bits") and float(np.median(-logs)) < SHORT:
            notes += ("losses were taken as sums over whole rows; if they are means per token, give tokens",)
        return logs, notes
    if count.min() < count.max():
        notes += (
            f"means per token were multiplied by the tokens of their row, {count.min():g} to {count.max():g}: a long "
            "row counts more than a short one",
        )
    return logs * count[:, None], notes


def _logs(raw: npt.NDArray[Any], values: Values | None) -> npt.NDArray[Any]:
    """Return logs of what `values` says."""
    if values in (None, "log_likelihood"):
        return raw
    numbers = np.asarray(raw, np.float64)
    if values in ("loss", "bits"):
        return -numbers * (np.log(2) if values == "bits" else 1.0)
    with np.errstate(divide="ignore"):
        logs = np.log(numbers)
    return logs if values == "probability" else -logs


def _require_kind(source: str, column: npt.NDArray[Any], values: Values) -> None:
    """Raise InputError where a column holds numbers that it cannot as `values`."""
    what = _WHAT[values]
    if values in ("loss", "bits"):
        wrong = column < 0
        if 2 * np.count_nonzero(wrong) > column.size or (wrong.any() and not (column > 0).any()):  # densities: a few
            raise InputError(
                f"{what} should be above 0; found {np.count_nonzero(wrong)} of {column.size} below under source "
                f"{source!r}: these may be log-likelihoods; leave values out (multiply logs to base 2 by ln 2 first)"
            )
        return
    low, high = (1.0, np.inf) if values == "perplexity" else (0.0, 1.0)
    wrong = (column < low - ROUNDING) | (column > high + ROUNDING)
    if wrong.any():
        row = int(wrong.argmax())
        limits = "at least 1" if values == "perplexity" else "from 0 to 1"
        raise InputError(
            f"{what} should be {limits}; found {float(column[row]):.4g} at row {row} (counted from 0) under source "
            f"{source!r}; correct it, or say what the numbers are with another `values`"
        )


def _tokens(tokens: Any, n: int) -> Floats | None:
    """Return the number of tokens of each row [n]."""
    if tokens is None:
        return None
    if isinstance(tokens, str):
        raise InputError(f"tokens should be numbers here, found {tokens!r}; only a file or a frame has named columns")
    given = np.full(n, tokens) if np.ndim(tokens) == 0 else tokens
    count = real_array("tokens", given, 1).astype(np.float64)
    if count.size != n:
        raise InputError(f"tokens should be one number for each of the {n} rows, found {count.size}; give {n}")
    wrong = ~(np.isfinite(count) & (count > 0))
    if wrong.any():
        row = int(wrong.argmax())
        raise InputError(f"tokens should be above 0, found {count[row]:g} at row {row} (counted from 0); correct it")
    return count


def _odd_sign(column: Floats, values: Values | None) -> str:
    """Return what a column holds whose sign is not that of `values`, "" where all is as it should be."""
    sign, side = (-1, "below") if values in ("loss", "bits") else (1, "above")
    odd = sign * column > ROUNDING
    if values in ("perplexity", "probability") or not odd.any():
        return ""
    return f"numbers {side} 0, such as {float(column[odd][0]):.4g}"


def _odd_scale(name: str, raw: Mapping[str, Floats]) -> str:
    """Return what a column holds that is far nearer 0 than any other, such as means per token beside sums."""
    sizes = {other: float(np.median(np.abs(column))) for other, column in raw.items()}
    own, least = sizes.pop(name), min(sizes.values(), default=0.0)
    if not 0 < _NEARER * own < least:
        return ""
    return f"numbers about {least / own:.0f} times nearer 0 than any other column's"


def _unlike(column: Floats) -> str:
    """Return what shows that a column is not one of likelihoods, "" where nothing does."""
    known = column[np.isfinite(column)]
    if column.size > 1 and not known.size:
        return "-inf in each row"
    if known.size and (known == np.round(known)).all():
        return "whole numbers only"
    if known.size > 2 and (np.diff(known) > 0).all():
        return "numbers that rise from row to row"
    if known.size >= MANY and (np.diff(known) < 0).all():
        return "numbers that fall from row to row"
    if known.size > 1 and (known == known[0]).all():
        return "the same number in each row"
    return ""
