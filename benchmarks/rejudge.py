"""
Which verdicts of the results change under the judge of today: from the values by seed that the pages print.

    python benchmarks/rejudge.py --write

Since November 2026 an interval is at least as wide as an arm's own spread makes it (results/power.md). Pages that were
written before have the intervals and verdicts of their day. The values are rounded as the pages print them.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator
from pathlib import Path

from mixwright.compare.statistics import PairedDifference, paired_differences

RESULTS = Path(__file__).with_name("results")
PAGES = ("compare", "pike", "preference", "quick", "swarm")
SURE = ("better", "worse")
HEAD = """# Verdicts of former results, judged again

`python benchmarks/rejudge.py --write`: the tables of [compare](compare.md), [pike](pike.md),
[preference](preference.md), [quick](quick.md) and, but for its three sources, [swarm](swarm.md) were written before
intervals were at least as wide as an arm's own spread makes them ([why](power.md)). Here are the verdicts that change,
from the values by seed that those pages print. With two seeds, as on the six domains of pike, the change costs much.
"""


def tables(page: str) -> Iterator[tuple[str, list[list[str]], str]]:
    """Yield the heading, the cells with a header, and the column of values of each table with values by seed."""
    heading = above = ""
    for block in re.split(r"\n\n", (RESULTS / f"{page}.md").read_text(encoding="utf-8")):
        if block.startswith("## "):
            above = block.strip("# \n")
        if block.startswith("#"):
            heading = block.strip("# \n")
        rows = [
            [c.strip() for c in line.strip().strip("|").split("|")]
            for line in block.splitlines()
            if line.startswith("|")
        ]
        column = next((name for name in rows[0] if "seed" in name), "") if rows else ""
        if column and "verdict" in rows[0]:
            yield heading if heading == above else f"{above}: {heading}", rows, column


def judged(rows: list[list[str]], column: str, higher: bool) -> list[tuple[str, PairedDifference]]:
    """Return the verdict on the page and the difference under the judge of today, for each arm but the baseline."""
    at = rows[0].index(column)
    values = {row[0]: [float(value) for value in row[at].split("/")] for row in rows[2:]}
    printed = {row[0]: row[rows[0].index("verdict")].strip("*") for row in rows[2:]}
    over = next(arm for arm, word in printed.items() if not word)
    found = paired_differences(list(values.values()), list(values), over=over, higher=higher)
    return [(printed[d.arm], d) for d in found]


def report() -> str:
    """Return the Markdown: a row for each verdict that changes."""
    lines = ["| page | measure | arm | then | now | difference | 90 % |", "|---" * 7 + "|"]
    counts = []
    for page in PAGES:
        seen = changed = 0
        for heading, rows, column in tables(page):
            for then, d in judged(rows, column, "higher is better" in heading):
                seen += 1
                if (then in SURE or d.word in SURE) and then != d.word:
                    changed += 1
                    figures = f"{d.difference:+.4f} | {d.low:+.4f} to {d.high:+.4f}"
                    lines.append(f"| {page} | {heading.split(', nats')[0]} | {d.arm} | {then} | {d.word} | {figures} |")
        counts.append(f"{changed} of {seen} in {page}")
    return "\n".join([HEAD, f"Changed: {', '.join(counts)}.", "", *lines, ""])


def main() -> None:
    """Parse and do."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="also write results/rejudged.md")
    text = report()
    print(text)
    if parser.parse_args().write:
        (RESULTS / "rejudged.md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
