"""The what-if part of a run: `whatif.json`, beside the summary."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mixwright.constraints.limits import Constraints
from mixwright.files import atomic_write
from mixwright.report.what_if.numbers import Mark
from mixwright.search.inputs import Allowed

if TYPE_CHECKING:
    from mixwright.search.table.table import LikelihoodTable

NAME = "whatif.json"


def make_what_if_of_run(
    searches: Sequence[Mapping[str, Any]],
    tables: Sequence[LikelihoodTable],
    sizes: NDArray[np.float64] | None,
    constraints: Constraints,
    prior: str | Mapping[str, float],
    seed: int,
) -> dict[str, Any]:
    """
    Return what the page needs to play with the weights.

    Parameters
    ----------
    searches
        Entries of the summary, with `mixture`, `target` and `weights`.
    tables
        The table of one target that each search was on.
    sizes
        [k] of the sources, for natural weights and limits of epochs; None where they are not known.
    constraints, prior
        Those of the searches.
    seed
        Of the run.
    """
    from mixwright.report.what_if.tables import TargetTable, what_if_of_tables

    marks = [
        Mark(s["mixture"], "search", np.array(s["weights"]), _interval(s), s["level"]) for s in searches
    ] + _baselines(searches, tables, sizes)
    parts = [TargetTable(s["target"], table, i) for i, (s, table) in enumerate(zip(searches, tables, strict=True))]
    space = None
    if not constraints.empty:
        space = Allowed.of(prior, tables[0].sources, sizes, constraints).space
    return what_if_of_tables(parts, marks, space=space, groups=constraints.groups, seed=seed)


def _interval(search: Mapping[str, Any]) -> NDArray[np.float64] | None:
    return None if search["interval"] is None else np.array(search["interval"], np.float64)


def _baselines(
    searches: Sequence[Mapping[str, Any]], tables: Sequence[LikelihoodTable], sizes: NDArray[np.float64] | None
) -> list[Mark]:
    """Return uniform, natural (by size) and, for each target, the best single source: named as a run's mixtures are."""
    from mixwright.report.what_if.tables import best_singles

    k = tables[0].k
    marks = [Mark("uniform", "uniform", np.full(k, 1 / k))]
    if sizes is not None:
        marks.append(Mark("natural", "natural", sizes / sizes.sum()))
    best: dict[str, int] = {}
    for search, table in zip(searches, tables, strict=True):
        if search["target"] not in best:
            best[search["target"]] = int(np.argmin(best_singles(table)))
    if len(set(best.values())) == 1:
        return [*marks, Mark("best_single", "best_single", np.eye(k)[next(iter(best.values()))])]
    singles = [Mark(f"best_single_{target}", "best_single", np.eye(k)[i]) for target, i in best.items()]
    return marks + singles


def write_what_if_of_run(folder: Path, what_if: Mapping[str, Any] | None) -> None:
    """Write `whatif.json`, atomically; null where there is nothing to play with."""
    text = json.dumps(what_if, allow_nan=False, separators=(",", ":"))
    with atomic_write(folder / NAME) as handle:
        handle.write(text + "\n")
