"""The what-if page of a search's result, or of a table of likelihoods."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mixwright.errors import InputError
from mixwright.report.page import write
from mixwright.report.what_if.numbers import Mark, PageMoments, make_what_if
from mixwright.report.what_if.tables import TargetTable, best_singles, what_if_of_tables
from mixwright.search.inputs import FEWEST_DOCUMENTS, per_source
from mixwright.search.mixmin import MixMinResult
from mixwright.search.squared_error import SquaredErrorResult
from mixwright.search.table.table import LikelihoodTable
from mixwright.search.worst_regret import WorstRegretResult

Array = NDArray[np.float64]
Found = MixMinResult | WorstRegretResult | SquaredErrorResult


def write_what_if(
    found: Found | LikelihoodTable,
    path: Path | str,
    *,
    title: str = "What if",
    mixtures: Mapping[str, ArrayLike | Mapping[str, float]] | None = None,
    groups: Mapping[str, Sequence[str]] | None = None,
    interval: float | None = 0.9,
    max_rows: int = 2_000,
    seed: int = 0,
) -> Path:
    """
    Write a page with a slider for the weight of each source and the loss that they predict.

    Parameters
    ----------
    found
        What `MixMin`, `WorstRegret` or `SquaredError` found, or a table alone (nothing is searched then).
    path
        The HTML file; it is written atomically, and its folder is made when it is missing.
    title
        The heading.
    mixtures
        {name: weights [k], or {source: weight}} that are marked on the sliders too, normalised.
    groups
        {group: names of sources}; by default sources are grouped by the beginning of their names, if that helps.
    interval
        The level of the intervals of the weights, which may take a while to find; None for none. With fewer than 3
        documents there are none.
    max_rows
        The most rows of a target that the page holds; there are fewer where many sources would make it too large.
    seed
        That the rows are drawn with.

    Returns
    -------
    Path
        `path`.

    Raises
    ------
    InputError
        For mixtures or groups that do not fit, and where the file cannot be written.
    MissingExtraError
        When jinja2 is not installed.

    Examples
    --------
    >>> import mixwright, tempfile
    >>> result = mixwright.MixMin().fit(np.log([[0.5, 0.1], [0.4, 0.1], [0.1, 0.6]]))
    >>> page = write_what_if(result, tempfile.mkdtemp() + "/page.html", title="Two sources")
    """
    if not isinstance(found, (MixMinResult, WorstRegretResult, SquaredErrorResult, LikelihoodTable)):
        raise TypeError(
            "found should be what MixMin, WorstRegret or SquaredError found, or a mixwright.LikelihoodTable; found "
            f"{type(found).__name__}"
        )
    if isinstance(max_rows, bool) or not isinstance(max_rows, (int, np.integer)) or max_rows < 1:
        raise InputError(f"max_rows should be a whole number of at least 1; found {max_rows!r}")
    what_if = _what_if(found, mixtures or {}, groups, interval, int(max_rows), seed)
    verdict = "" if isinstance(found, LikelihoodTable) or interval is None else found.verdict_at(interval)
    return write("what_if", {"title": title, "verdict": verdict}, path, what_if=what_if)


def _what_if(
    found: Found | LikelihoodTable,
    mixtures: Mapping[str, ArrayLike | Mapping[str, float]],
    groups: Mapping[str, Sequence[str]] | None,
    interval: float | None,
    max_rows: int,
    seed: int,
) -> dict[str, Any]:
    table, sources = _table(found), found.sources
    _check_groups(groups, sources)
    own = [] if isinstance(found, LikelihoodTable) else [_searched(found, interval)]
    given = [Mark(name, "given", per_source(w, sources, f"mixture {name!r}")) for name, w in mixtures.items()]
    marks = own + given + _plain(found)
    if isinstance(found, SquaredErrorResult):
        return _squared(found, marks, groups, seed)
    assert table is not None
    present = [table.target_names[t] for t in np.unique(np.asarray(table.targets))]
    parts = [TargetTable(name, table.select(name), 0 if own else None) for name in present]
    marks += _singles(parts)
    if isinstance(found, WorstRegretResult):
        for j, part in enumerate(parts):
            if part.target in found.best_weights:
                parts[j] = TargetTable(part.target, part.table, len(marks))
                marks.append(Mark(f"best for {part.target}", "given", found.best_weights[part.target]))
    _check_names(marks)
    space = None if isinstance(found, LikelihoodTable) else found.space
    return what_if_of_tables(parts, marks, space=space, groups=groups, most_rows=max_rows, seed=seed)


def _table(found: Found | LikelihoodTable) -> LikelihoodTable | None:
    if isinstance(found, LikelihoodTable):
        found.check()
        return found
    return None if isinstance(found, SquaredErrorResult) else found.table


def _searched(found: Found, level: float | None) -> Mark:
    interval = None if level is None or found.fewest[0] < FEWEST_DOCUMENTS else found.interval(level)
    return Mark("search", "search", found.weights, interval, level)


def _plain(found: Found | LikelihoodTable) -> list[Mark]:
    k = len(found.sources)
    marks = [Mark("uniform", "uniform", np.full(k, 1 / k))]
    natural = None if isinstance(found, LikelihoodTable) else found.natural
    return marks if natural is None else [*marks, Mark("natural", "natural", natural)]


def _singles(parts: Sequence[TargetTable]) -> list[Mark]:
    """Return the best single source of each target; one mark where they agree."""
    best = [(part.target, int(np.argmin(best_singles(part.table)))) for part in parts]
    same = len({source for _, source in best}) == 1
    k = parts[0].table.k
    if same:
        return [Mark("best_single", "best_single", np.eye(k)[best[0][1]])]
    return [Mark(f"best_single_{target}", "best_single", np.eye(k)[source]) for target, source in best]


def _squared(
    found: SquaredErrorResult, marks: list[Mark], groups: Mapping[str, Sequence[str]] | None, seed: int
) -> dict[str, Any]:
    matrix = found.moments
    marks = [*marks, Mark("best_single", "best_single", np.eye(len(matrix))[int(np.diag(matrix).argmin())])]
    _check_names(marks)
    losses = [float(mark.weights @ matrix @ mark.weights) for mark in marks]
    target = PageMoments("outcomes", "squared units of the outcomes", matrix, found.rows, losses, 0)
    return make_what_if(found.sources, [target], marks, space=found.space, groups=groups, seed=seed)


def _check_groups(groups: Mapping[str, Sequence[str]] | None, sources: Sequence[str]) -> None:
    for group, members in (groups or {}).items():
        for name in members:
            if name not in sources:
                raise InputError(f"group {group!r} should name sources; found {name!r}; correct it")


def _check_names(marks: Sequence[Mark]) -> None:
    names = [mark.name for mark in marks]
    for name in names:
        if names.count(name) > 1:
            raise InputError(f"mixtures should have names of their own; found {name!r} twice; choose another")
