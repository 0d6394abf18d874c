"""The decisions by room: every number once, and the index says where it is."""

import re
from pathlib import Path

FOLDER = Path(__file__).parents[2] / "docs" / "decisions"
ROW = re.compile(r"^\| \[[^]]*\]\((\w+\.md)\)[^|]*\| ([\d, -]+) \|$", re.MULTILINE)


def listed(cell: str) -> set[int]:
    """Return the numbers of a cell such as "1, 3-7"."""
    parts = [part.split("-") for part in cell.split(", ")]
    return {number for part in parts for number in range(int(part[0]), int(part[-1]) + 1)}


def test_the_index_has_every_decision_on_its_page():
    pages = {path.name: path.read_text(encoding="utf-8") for path in FOLDER.glob("*.md")}
    index = {page: listed(cell) for page, cell in ROW.findall(pages.pop("README.md"))}
    numbers = {page: [int(n) for n in re.findall(r"^\*\*(\d+)\. ", text, re.MULTILINE)] for page, text in pages.items()}
    assert index == {page: set(found) for page, found in numbers.items()}
    every = sorted(number for found in numbers.values() for number in found)
    assert every == sorted(set(every))
    assert every[:124] == list(range(1, 125))
