"""Evidence to make what-if parts of."""

from __future__ import annotations

from typing import Any

import numpy as np
import yaml

from mixwright.constraints.limits import Constraints
from mixwright.constraints.polytope import Polytope
from mixwright.report import render
from mixwright.report.what_if.numbers import Mark, unpack
from mixwright.report.what_if.tables import TargetTable, what_if_of_tables
from mixwright.search.table.table import LikelihoodTable

NAMES = ("books", "code", "law", "web/forum", "web/news")


def table(n: int, names: tuple[str, ...], seed: int = 0, spread: float = 2.0, unit: str = "chunk") -> LikelihoodTable:
    """Return rows with likelihoods far from 1, weights of their own, some impossible under some sources."""
    rng = np.random.default_rng(seed)
    logs = rng.normal(-140, 20, (n, 1)) + rng.normal(0, spread, (n, len(names))) + rng.normal(0, 1, len(names))
    logs[rng.random(logs.shape) < 0.01] = -np.inf
    logs[:, 0] = np.where(np.isfinite(logs).any(1), logs[:, 0], -140.0)
    return LikelihoodTable.from_array(logs, names, weights=rng.integers(0, 4, n).astype(float), unit=unit)


def marks(k: int) -> list[Mark]:
    """Return a search's mixture, uniform, natural and one source alone."""
    search = np.arange(k, 0, -1) ** 2.0
    search /= search.sum()
    natural = np.arange(1.0, k + 1) / np.arange(1.0, k + 1).sum()
    ends = np.clip(np.stack([search - 0.03, search + 0.05], axis=1), 0, 1)
    return [
        Mark("search", "search", search, ends, 0.9),
        Mark("uniform", "uniform", np.full(k, 1 / k)),
        Mark("natural", "natural", natural),
        Mark("best_single", "best_single", np.eye(k)[1]),
    ]


def limits(names: tuple[str, ...] = NAMES) -> Polytope:
    """A floor of 5 % for the third source, a cap of 30 % for the second, 60 % for the first two together."""
    group = {"the <first> two": [names[0], names[1]]}
    given = Constraints(
        floors={names[2]: 0.05}, caps={names[1]: 0.3}, groups=group, group_caps={"the <first> two": 0.6}
    )
    return given.allowed(names)


def what_if(
    names: tuple[str, ...] = NAMES,
    targets: tuple[str, ...] = ("novels", "questions"),
    n: int = 900,
    space: Polytope | None = None,
    **options: Any,
) -> dict[str, Any]:
    """Return a what-if object of targets with `n` rows each."""
    parts = [TargetTable(target, table(n, names, seed=j), 0) for j, target in enumerate(targets)]
    return what_if_of_tables(parts, marks(len(names)), space=space, **options)


def many(k: int = 300, n: int = 2_500) -> dict[str, Any]:
    """Return one target and many sources in groups, with a strange name among them: 2,000 rows are on the page."""
    names = [f"{('crawl', 'books', 'code')[i % 3]}/{i:03d} {'forum' if i % 2 else 'wiki'}" for i in range(k)]
    names[k // 2] = "<script>alert(1)</script>"
    return what_if(tuple(names), ("novels",), n)


def predicted(made: dict[str, Any], w: np.ndarray) -> list[float]:
    """Return the loss of weights on the rows that are on the page, for each target, by numpy alone."""
    out = []
    for part in unpack(made):
        if isinstance(part, np.ndarray):
            out.append(float(w @ part @ w))
            continue
        logs, weights = part
        with np.errstate(divide="ignore"):
            rows = np.logaddexp.reduce(logs + np.log(w), axis=1)
        out.append(float(-(weights @ rows) / weights.sum()))
    return out


def page_alone(made: dict[str, Any], title: str, verdict: str = "") -> str:
    """Return the page that has the what-if part alone."""
    return render("what_if", {"title": title, "verdict": verdict}, what_if=made)


def weights_now(page) -> np.ndarray:
    """Return the weights of the text to copy, after it was written again."""
    page.wait_for_timeout(30)
    page.evaluate("new Promise((done) => requestAnimationFrame(() => setTimeout(done, 200)))")
    return np.array(list(yaml.safe_load(page.locator("#wi-text").input_value()).values()), float)


def number(text: str) -> float:
    return float(text.replace("\u2212", "-").replace("\u221e", "inf"))


def slider(page, i: int):
    return page.locator(f"#wi-source-{i}")
