"""Results in the terminal: tables fit 80 columns, and no number is broken in two."""

import re
from pathlib import Path

import pytest

pytest.importorskip("rich")

from rich.console import Console

from mixwright.cli.tables.comparison import print_comparison
from mixwright.cli.tables.parts import Column, print_table
from mixwright.cli.tables.search import print_summary
from mixwright.cli.tables.training import print_fine_tuning, print_preference, print_specialists, print_training
from mixwright.experiment.core.summary import read_summary

RUNS = Path(__file__).parents[1] / "golden" / "runs"
PRINTERS = {
    "comparison": print_comparison,
    "training": print_training,
    "preference": print_preference,
    "specialists": print_specialists,
    "fine-tuning": print_fine_tuning,
}


def printed(summary, width):
    console = Console(width=width, record=True)
    PRINTERS.get(summary.get("kind"), print_summary)(console, summary, Path("run"))
    return console.export_text()


def table_lines(text):
    return [line for line in text.splitlines() if line[:1] in "┏┃┡│└"]


@pytest.mark.parametrize("kind", sorted(path.name for path in RUNS.iterdir()))
def test_tables_of_every_kind_of_run_fit_80_columns(kind, tmp_path):
    text = (RUNS / kind / "summary.json").read_text(encoding="utf-8")
    for name in ("uniform", "mixmin"):  # a longer name than any of the shipped ones
        text = text.replace(f'"{name}"', f'"{name}_at_equal_total_cost"')
    (tmp_path / "summary.json").write_text(text, encoding="utf-8")
    summary = read_summary(tmp_path)
    narrow, wide = table_lines(printed(summary, 80)), table_lines(printed(summary, 200))
    assert narrow
    assert max(len(line) for line in narrow) <= 80
    assert not re.search(r"\bto *│", "\n".join(narrow))
    assert not any("…" in line for line in narrow)
    numbers = r"[+−]?[\d.,]+ to [+−]?[\d.,]+"
    assert len(re.findall(numbers, "\n".join(narrow))) == len(re.findall(numbers, "\n".join(wide)))


def test_spare_columns_go_and_are_named_and_rows_are_counted():
    console = Console(width=40, record=True)
    rows = [[f"a rather long name {i}", "1.0000", "−0.0100 to +0.0100", "2"] for i in range(5)]
    print_table(console, ["name", "value", Column("interval"), Column("more", spare=True)], rows, 3, "the page has all")
    text = console.export_text()
    assert text.count("−0.0100 to +0.0100") == 3
    assert "(a wider terminal also shows: more)" in text
    assert "... and 2 more; the page has all" in text
