"""What benchmarks write of a comparison's summary.json: tables in Markdown, plots of differences, progress in lines."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from svg import COLOURS, Picture, intervals

Summary = dict[str, Any]
Interval = tuple[str, str, float, float, float]  # name, colour, difference, low, high


def shower():
    """Return a progress that prints a line for each twentieth of a stage."""
    shown: dict[str, int] = {}

    def progress(stage: str, done: int, total: int, note: str = "") -> None:
        if 20 * done // total != shown.get(stage):
            shown[stage] = 20 * done // total
            print(f"{stage}: {100 * done // total} % {note}", flush=True)

    return progress


def read_summary(folder: Path) -> Summary:
    """Return the summary of a comparison that is done."""
    return json.loads((folder / "summary.json").read_text(encoding="utf-8"))


def costs(summary: Summary, trained: str, charged: str) -> list[str]:
    """Return the table of what each arm trained on and what its search or specialists cost."""
    lines = [f"| arm | steps | {trained} | {charged} | most epochs |", "|---|---|---|---|---|"]
    for arm in summary["arms"]:
        numbers = [f"{arm[key]:,.0f}" for key in ("steps", "amount", "search_cost")]
        lines.append(f"| {arm['name']} | {' | '.join(numbers)} | {arm['most_epochs']:.2f} |")
    return [*lines, ""]


def verdicts(summary: Summary, measures: Iterable[Summary]) -> list[str]:
    """Return a table for each measure: its values by seed, differences to the baseline with intervals, verdicts."""
    lines = []
    for measure in measures:
        side = ", ".join(filter(None, (measure["unit"], f"{'higher' if measure['higher'] else 'lower'} is better")))
        lines += [f"## {measure['quantity'].capitalize()}, {measure['name']} ({side})", ""]
        lines.append(
            f"| arm | by seed | mean | minus {summary['over']} | {100 * summary['level']:.0f} % interval | verdict |"
        )
        lines.append("|---|---|---|---|---|---|")
        found = {d["arm"]: d for d in measure["differences"]}
        for arm, values in measure["values"].items():
            cells = [arm, " / ".join(f"{v:.3f}" for v in values), f"{statistics.mean(values):.4f}"]
            lines.append(f"| {' | '.join(cells + _difference(found.get(arm)))} |")
        lines.append("")
    return lines


def _difference(found: Summary | None) -> list[str]:
    if found is None:
        return ["", "", ""]
    ends = "" if found["low"] is None else f"{found['low']:+.4f} to {found['high']:+.4f}"
    return [f"{found['difference']:+.4f}", ends, found["word"]]


def by_source(summary: Summary, quantity: str) -> list[str]:
    """Return the means over seeds of a quantity, by source."""
    measures = [m for m in summary["measures"] if m["quantity"] == quantity]
    lines = [f"## {quantity.capitalize()} by source, means over seeds", ""]
    lines += table(
        "arm",
        [m["name"] for m in measures],
        {arm: [f"{statistics.mean(m['values'][arm]):.3f}" for m in measures] for arm in measures[0]["values"]},
    )
    return lines


def table(corner: str, columns: Iterable[str], rows: dict[str, Sequence[str]]) -> list[str]:
    """Return a Markdown table: a name and cells in each row."""
    columns = list(columns)
    lines = [" ".join(filter(None, ("|", corner, f"| {' | '.join(columns)} |"))), "|---" * (len(columns) + 1) + "|"]
    return [*lines, *(f"| {name} | {' | '.join(cells)} |" for name, cells in rows.items()), ""]


def differences(measure: Summary, without: str = "no arm") -> list[Interval]:
    """Return the differences of a measure, to draw; an arm has the same colour in each measure."""
    return [
        (d["arm"], COLOURS[i % len(COLOURS)], d["difference"], d["low"], d["high"])
        for i, d in enumerate(measure["differences"])
        if d["low"] is not None and not d["arm"].startswith(without)
    ]


def panels(path: Path, words: str, drawn: dict[str, list[Interval]], across: int = 3, width: int = 460) -> None:
    """Draw a panel for each title: dots with intervals; nothing where there is none."""
    if not drawn:
        return
    height = 70 + 22 * max(len(rows) for rows in drawn.values())
    picture = Picture(width * across, 40 + (height + 40) * -(-len(drawn) // across))
    for i, (title, rows) in enumerate(drawn.items()):
        box = (20 + width * (i % across), 40 + (height + 40) * (i // across), width - 30, height)
        intervals(picture, box, title, rows)
    picture.write(path, words)
