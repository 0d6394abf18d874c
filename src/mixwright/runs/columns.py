"""What the columns of a table of runs say: weights, names, sizes, tokens, and whether the losses are the last."""

from __future__ import annotations

from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mixwright.checks import by_name, near, unique_names
from mixwright.errors import InputError
from mixwright.runs.reading import Chosen, Columns, numbers, pick, read_columns, texts
from mixwright.runs.trackers import KEYS

Array = NDArray[np.float64]
PerSource = ArrayLike | Mapping[str, float]
SIZES = ("available_tokens", "tokens", "size", "rows")
TOKENS = ("epoch_budget_tokens", "tokens")


def floats(values: ArrayLike, what: str) -> Array:
    """Return values as an array of floats; an error names what they should be."""
    try:
        return np.asarray(values, np.float64)
    except (TypeError, ValueError):
        raise InputError(f"{what} should be numbers, found {values!r:.80}") from None


def weights_of(columns: Columns, chosen: Chosen | Mapping[str, Chosen], where: str) -> tuple[tuple[str, ...], Array]:
    """Return the names of the sources and the weights [n, k], or [n, p, k] where columns are given by phase."""
    phases = list(chosen.values()) if isinstance(chosen, Mapping) else [chosen]
    found = [pick(columns, one, "weights", where) for one in phases]
    names = tuple(found[0])
    if isinstance(chosen, Mapping):
        for phase, one in zip(chosen, found, strict=True):
            if not isinstance(chosen[phase], str):
                continue
            for name in set(names) ^ set(one):
                raise InputError(f"{where}each phase should have the same sources; found {name!r} not in all of them")
    w = [np.stack([numbers(columns[c], c, where) for c in one.values()], axis=1) for one in found]
    if isinstance(chosen, Mapping):
        w = [
            part[:, [list(one).index(name) for name in names]] if set(one) == set(names) else part
            for part, one in zip(w, found, strict=True)
        ]
        if len({part.shape for part in w}) > 1:
            raise InputError(f"{where}each phase should have the same number of sources")
    return names, np.stack(w, axis=1) if isinstance(chosen, Mapping) else w[0]


def run_names(columns: Columns, key: str | None, where: str) -> tuple[str, ...]:
    """Return the names of the runs: a column, or their numbers."""
    if key is not None and key not in columns:
        raise InputError(f"{where}key should name a column{near(key, list(columns), 'columns')}")
    key = key or next((name for name in KEYS if name in columns), None)
    n = len(next(iter(columns.values())))
    names = texts(columns, key) or [str(i) for i in range(n)]
    try:
        return unique_names([name or "" for name in names], "runs")
    except InputError as error:
        raise InputError(f"{where}{error}") from None


def read_sizes(path: str | PathLike[str]) -> dict[str, float]:
    """Return {source: tokens} from a file with the columns `source` and `available_tokens` (or tokens, size, rows)."""
    columns = read_columns(Path(path))
    where = f"{path}: "
    column = next((name for name in SIZES if name in columns), None)
    if "source" not in columns or column is None:
        raise InputError(
            f"{where}there should be the columns 'source' and 'available_tokens'; found {', '.join(list(columns)[:8])}"
        )
    try:
        listed = unique_names([name or "" for name in texts(columns, "source") or []])
    except InputError as error:
        raise InputError(f"{where}{error}") from None
    return dict(zip(listed, numbers(columns[column], column, where).tolist(), strict=True))


def sizes_of(sources: Any, names: tuple[str, ...]) -> Array | None:
    """Return the sizes [k] from a file, {source: size} or numbers; None where none is given."""
    if sources is None or not isinstance(sources, str | PathLike):
        return None if sources is None else checked_sizes(sources, names)
    where, listed = f"{sources}: ", read_sizes(sources)
    odd = [name for name in names if name not in listed] or [name for name in listed if name not in names]
    if odd:
        inside = odd[0] in names
        found = "a source of the runs that is not in it" if inside else "one that no run has weights of"
        raise InputError(
            f"{where}there should be the sources of the table of runs, found {found}: {odd[0]!r}; make them the same"
        )
    sizes = np.array([listed[name] for name in names])
    return None if np.isnan(sizes).all() else _positive(sizes, names, where)


def checked_sizes(sizes: PerSource, names: tuple[str, ...]) -> Array:
    """Return the sizes [k] of the sources, each above 0, or nan where not known."""
    given = by_name(sizes, names, "sizes", None) if isinstance(sizes, Mapping) else sizes
    out = floats(given, "sizes")
    if out.shape != (len(names),):
        raise InputError(f"sizes should be one number per source ({len(names)}); found shape {out.shape}")
    return _positive(out, names, "")


def _positive(sizes: Array, names: tuple[str, ...], where: str) -> Array:
    for i in np.flatnonzero(~np.isnan(sizes) & ~((sizes > 0) & np.isfinite(sizes)))[:1]:
        raise InputError(f"{where}the size of source {names[i]!r} should be a number above 0; found {sizes[i]:g}")
    return sizes


def tokens_of(columns: Columns, given: str | float | None, n: int, where: str) -> tuple[Array | None, str]:
    """Return the tokens of each run, and what to note about them."""
    if given is not None and not isinstance(given, str):
        return np.full(n, float(given)), ""
    if given is not None and given not in columns:
        raise InputError(f"{where}tokens should name a column{near(given, list(columns), 'columns')}")
    for name in (given,) if given is not None else TOKENS:
        if name in columns:
            found = numbers(columns[name], name, where)
            if not np.isnan(found).all():
                simulated = name == TOKENS[0]
                return found, f"exposures are simulated: epochs of {name}" if simulated else ""
    return None, ""


def refuse_stale(
    columns: Columns,
    step: str,
    last: str | float | None,
    runs: tuple[str, ...],
    scales: list[str | None] | None,
    where: str,
) -> None:
    """Refuse losses that are not of the last step."""
    if step not in columns:
        if last is not None:
            raise InputError(f"{where}last_step needs the column of steps, {step!r}; found none; name it with step=")
        return
    at = _every(columns, step, runs, where)
    if isinstance(last, str):
        if last not in columns:
            raise InputError(f"{where}last_step should name a column{near(last, list(columns), 'columns')}")
        ends = _every(columns, last, runs, where)
    elif last is not None:
        ends = np.full(at.size, float(last))
    else:
        groups = np.array([name or "" for name in scales]) if scales else np.zeros(at.size)
        ends = np.array([at[groups == group].max() for group in groups])
    stale = np.flatnonzero(~(at >= ends))
    if stale.size:
        named = ", ".join(f"{runs[i]!r} (step {at[i]:g} of {ends[i]:g})" for i in stale[:3])
        raise InputError(
            f"{where}losses should be of each run's last step, found {stale.size} of {at.size} runs short of it: "
            f"{named}; export them again, or leave them out"
        )


def _every(columns: Columns, step: str, runs: tuple[str, ...], where: str) -> Array:
    """Return a column of steps [n], which every run should have."""
    at = numbers(columns[step], step, where)
    none = np.flatnonzero(np.isnan(at))
    if none.size:
        named = ", ".join(repr(runs[i]) for i in none[:3])
        raise InputError(
            f"{where}each run should have a number in {step!r}, found none for {none.size} of {at.size}: {named}; "
            "export them again, or leave out the runs or the column"
        )
    return at
