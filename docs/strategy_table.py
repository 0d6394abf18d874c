"""The tables of docs/strategies.md, made from the classes: `python docs/strategy_table.py` writes them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

import mixwright
from mixwright.observation import REPORTED_BY
from mixwright.strategies.registry import known
from mixwright.strategies.wrappers.wrapper import Wrapper
from mixwright.strategy import Strategy, state_to_json
from mixwright.testing import observations

PAGE = Path(__file__).with_name("strategies.md")
MEASURED = Path(__file__).parents[1] / "benchmarks/results/online_text.md"
SOURCES = 8
NEEDS_NUMBERS: dict[str, dict[str, Any]] = {  # for strategies that have no defaults
    "Schedule": {"weights": {0: [1 / SOURCES] * SOURCES}},
    "Temperature": {"temperature": 5.0},
    "UniMax": {"sizes": [10] * SOURCES, "budget": 40},
}
HEAD = f"""| strategy | observes | acts on | costs | a step | state, {SOURCES} sources | goes wrong with |
|---|---|---|---|---|---|---|"""


def table() -> str:
    """Return the table: a row for each strategy of `mixwright` that is not a wrapper."""
    classes = {name: cls for name, cls in known().items() if name in mixwright.__all__ and not issubclass(cls, Wrapper)}
    rows = [row(name, cls(**NEEDS_NUMBERS.get(name, {}))) for name, cls in sorted(classes.items(), key=_by_name)]
    return "\n".join([HEAD, *rows])


def row(name: str, strategy: Strategy[Any]) -> str:
    """Return the row of a strategy with its defaults."""
    reads = [f"`{field}`" for field in sorted(strategy.needs - {"counts"})]
    reads += [f"`{field}` if there" for field in sorted(strategy.uses)]
    acts = {"sampling": "draws", "loss": "losses"}
    how = ", ".join(acts[each] for each in sorted(strategy.apply, reverse=True))
    if len(strategy.draw) == 1:
        how += f" ({min(strategy.draw)})"
    step = "1" if not reads else step_ratios().get(name, "not measured")
    cells = [f"`{name}`", ", ".join(reads) or "nothing", how, strategy.costs, step, numbers(strategy), strategy.fails]
    return f"| {' | '.join(str(cell) for cell in cells)} |"


def step_ratios() -> dict[str, str]:
    """Return what a step takes over one with fixed weights, as measured in each setting, by strategy."""
    table = MEASURED.read_text(encoding="utf-8").partition("## What a strategy costs")[2].partition("###")[0]
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines() if line.startswith("|")]
    return {name: ", ".join(f"{float(cell.split()[0]):.2f}" for cell in cells) for name, *cells in rows[2:]}


def numbers(strategy: Strategy[Any]) -> str:
    """Return how many numbers and texts are in the state after ten observations."""
    state = strategy.init(np.full(SOURCES, 1 / SOURCES))
    for seen in observations(SOURCES):
        state = strategy.update(state, seen)
    return f"{_count(state_to_json(state)):,}"


def fields() -> str:
    """Return where each field of an observation comes from today."""
    rows = [f"| `{name}` | {text} |" for name, text in REPORTED_BY.items() if name != "counts"]
    return "\n".join(["| field | comes from |", "|---|---|", *rows])


def with_tables(page: str) -> str:
    """Return a page with today's tables between their marks."""
    for name, made in (("table", table()), ("fields", fields())):
        begin, end = f"<!-- the {name}: python docs/strategy_table.py -->", f"<!-- end of the {name} -->"
        before, _, rest = page.partition(begin)
        page = f"{before}{begin}\n\n{made}\n\n{end}{rest.partition(end)[2]}"
    return page


def _count(value: Any) -> int:
    if isinstance(value, dict):
        return sum(map(_count, value.values()))
    return sum(map(_count, value)) if isinstance(value, list) else 1


def _by_name(item: tuple[str, Any]) -> str:
    return item[0].lower()


if __name__ == "__main__":
    PAGE.write_text(with_tables(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
