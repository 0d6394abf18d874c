"""A comparison in the terminal: the numbers, the verdict and the places of the files."""

import io
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from mixwright.cli.tables.comparison import print_comparison
from mixwright.compare import ArmInfo, Cell, Comparison, Quantity, summarise
from mixwright.compare.forecast import forecast, score
from mixwright.report.comparison.words import reading
from mixwright.report.words import signed, span

PRECISION = Quantity("average precision", "", higher=True)


def summary_of(seeds=3, gain=0.1, arm="mixmin", higher=False, tokens=1000):
    """Return the summary of two arms on one target, the second better by `gain`."""
    rng = np.random.default_rng(1)
    quantity = PRECISION if higher else Quantity("held-out loss", "nats per token")
    arms = [ArmInfo("uniform", "uniform", "equal weights"), ArmInfo(arm, "search", "MixMin")]
    cells = [
        Cell(
            arm=info.name,
            seed=seed,
            target=None,
            weights={"web": 1.0},
            values={quantity.name: {"law": 0.5 + 0.01 * rng.random() + number * (gain if higher else -gain)}},
            amount=tokens,
            search_cost=number * tokens // 4,
            epochs={"web": 2.5},
            notes=["a note with [brackets]"] if number else [],
        )
        for number, info in enumerate(arms)
        for seed in range(seeds)
    ]
    return summarise(Comparison(arms, range(seeds), ["law"], ["web"], cells, (quantity,)))


def printed(summary, width=160):
    console = Console(width=width, record=True, file=io.StringIO())
    print_comparison(console, summary, Path("runs/first"))
    return console.export_text()


def test_numbers_verdicts_and_costs():
    summary = summary_of() | {"title": "Law", "csv": "cells.csv"}
    text = printed(summary)
    (d,) = summary["measures"][0]["differences"]
    row = next(line for line in text.splitlines() if "mixmin" in line and "better" in line)
    for part in (
        signed(d["difference"], 3),
        span(d["low"], d["high"], 3, signed),
        "better",
    ):
        assert part in row
    cost = next(line for line in text.splitlines() if "mixmin" in line and "1,250" in line)
    assert "1,000" in cost
    assert "250" in cost
    assert "2.50" in cost
    assert "verdict: Better than uniform: mixmin" in text
    assert "3 seeds" in text
    assert "hold together" in text
    assert "note: a note with [brackets]" in text
    assert str(Path("runs/first/report.html").resolve()) in text
    assert str(Path("runs/first/cells.csv").resolve()) in text


@pytest.mark.parametrize(("level", "error", "same"), [(0.9, 0.05, True), (0.95, 0.025, True), (0.9, 0.01, False)])
def test_where_intervals_and_verdicts_have_two_levels_that_is_said(level, error, same):
    summary = summary_of() | {"level": level, "error": error}
    assert ("where its interval says so" in printed(summary)) == same
    assert ("by a test of its own level" in printed(summary)) != same
    said = " ".join(text for _, text in reading(summary))
    assert ("where its interval lies on the better side" in said) == same


def test_what_could_have_been_seen_is_said_below_the_table():
    summary = summary_of()
    (d,) = summary["measures"][0]["differences"]
    text = " ".join(printed(summary, 300).split())
    assert f"a true difference of {d['detectable']:.3f} would be called better with a chance of about 80 %" in text
    assert f"({d['goal']:.3f}) takes {d['seeds_needed']} seeds" in text
    for former in (d.pop("detectable"), d.pop("seeds_needed"), d.pop("goal"), summary.pop("detect")):
        assert former
    assert "true difference" not in printed(summary)


def test_no_better_and_one_seed_are_said():
    assert "verdict: No arm is better than uniform on this evidence" in printed(summary_of(gain=0.0))
    text = printed(summary_of(seeds=1))
    assert "verdict: No verdict: one seed" in text
    assert "run at least 2 seeds" in text
    assert "not known" in text


def test_higher_is_better_and_costs_may_be_unknown():
    text = printed(summary_of(higher=True, tokens=0))
    assert "(higher is better)" in text
    assert "verdict: Better than uniform: mixmin" in text
    assert "Tokens of each arm" not in text


def test_names_are_no_markup():
    text = printed(summary_of(arm="[bold]x[/] [link=u]"))
    assert "[bold]x[/] [link=u]" in text


def test_a_forecast_beside_what_was_measured():
    summary = summary_of()
    entries = [
        {"arm": "mixmin", "predicted": 0.2, "low": 0.1, "high": 0.3},
        {"arm": "mixmin", "over": "uniform", "predicted": -0.05, "high": 0.0},
        {"arm": "natural", "predicted": 0.5},
    ]
    scored = score(forecast("me", 0.8, entries), summary)
    text = printed(summary | {"forecast": scored})
    assert "Forecast and measurement: 1 of 2 inside the interval" in text
    lines = [line for line in text[text.index("Forecast and") :].splitlines() if "mixmin" in line]
    assert signed(scored["scores"][0]["error"], 3) in lines[0]
    assert lines[0].split()[-2] == "no"
    assert "mixmin minus uniform" in lines[1]
    assert "at most" in lines[1]
    assert "not trained here: natural" in text
