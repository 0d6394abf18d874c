"""Figures that plotly accepts, with looks that differ in more than colour."""

from __future__ import annotations

import json
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mixwright.report import words
from mixwright.report.looks import looks_of
from mixwright.report.search.view import build_search

from .fixtures import many_sources, realistic, search_only


def plain_colours(value, key=""):
    """Return a figure with a colour in place of each name of a custom property."""
    if isinstance(value, dict):
        return {k: plain_colours(v, k) for k, v in value.items()}
    if isinstance(value, list):
        return [plain_colours(v, key) for v in value]
    if isinstance(value, str) and value.startswith("--"):
        assert key.endswith("color"), key
        return "#000000"
    return value


@pytest.mark.parametrize("make", [realistic, many_sources, search_only])
def test_plotly_accepts_every_figure(make):
    graph_objects = pytest.importorskip("plotly.graph_objects")
    for chart in build_search(make())["charts"]:
        figure = graph_objects.Figure(plain_colours(chart.data), plain_colours(chart.layout))
        assert len(figure.data) == len(chart.data)
        json.dumps(chart.to_json(), allow_nan=False)
        for path in chart.narrow:
            inner = chart.layout
            for key in path.split(".")[:-1]:
                inner = inner[key]


def test_looks_differ_without_colour():
    mixtures = [{"name": f"m{i}", "kind": "search"} for i in range(6)]
    mixtures += [{"name": kind, "kind": kind} for kind in ("uniform", "natural", "best_single")]
    looks = looks_of(mixtures)
    assert len({look.symbol for look in looks.values()}) == len(mixtures)
    for a, b in pairwise(looks[f"m{i}"] for i in range(6)):
        assert a.dash != b.dash
        assert a.colour != b.colour


def test_a_second_mixture_of_a_kind_gets_its_own_look():
    looks = looks_of([{"name": "a", "kind": "best_single"}, {"name": "b", "kind": "best_single"}])
    assert looks["a"] != looks["b"]


@pytest.mark.parametrize(
    ("function", "value", "text"),
    [
        (words.number, -0.03496, "−0.0350"),
        (words.number, -0.00001, "0.0000"),
        (words.number, None, "–"),
        (words.signed, 0.0259, "+0.0259"),
        (words.signed, 0.0, "0.0000"),
        (words.signed, 0.000001, "0.0000"),
        (words.small, 3.2e-10, "3.2e−10"),
        (words.small, 0, "0"),
        (words.small, 0.031, "0.031"),
        (words.large, 950, "950"),
        (words.large, 2_048_000, "2.05\u202fM"),
        (words.large, 999_900, "1\u202fM"),
        (words.figure, 131.04, "131"),
        (words.figure, 13_104, "13,100"),
        (words.figure, 2.2444, "2.24"),
        (words.figure, 0.00999, "0.00999"),
        (words.figure, 0.0, "0"),
        (words.digits_of, [0.0012, None, -0.0004], 5),
        (words.digits_of, [-1.1079, 0.3], 3),
        (words.digits_of, [0.0, None], 4),
        (words.large, 3.2e18, "3.2e18"),
        (words.scientific, 1.13e14, "1.13e14"),
        (words.percent, 0.541, "54.1\u202f%"),
        (words.percent, 0.0001, "<\u202f0.1\u202f%"),
        (words.percent, 0.0, "0.0\u202f%"),
        (words.duration, 4.2, "4.2 s"),
        (words.duration, 59.7, "1 min 00 s"),
        (words.duration, 285.5, "4 min 46 s"),
        (words.duration, 7800, "2 h 10 min"),
        (words.moment, "2025-06-14T09:31:07+02:00", "2025-06-14, 07:31 UTC"),
        (words.moment, "yesterday", "yesterday"),
        (words.label, "<b>&", "&lt;b&gt;&amp;"),
        (words.label, "a\nb\u202ec", "a b\ufffdc"),
        (words.label, "", "(no name)"),
        (words.label, "crawl/shard-083/some-very-long/forum", "crawl/shar…ry-long/forum"),
    ],
)
def test_words(function, value, text):
    assert function(value) == text


@pytest.mark.parametrize(
    ("share", "text"), [(0.1124, "11.2\u202f% of a run"), (131.04, "131 times a run"), (1.0, "1.00 times a run")]
)
def test_a_share_of_more_than_all_is_so_many_times(share, text):
    assert words.compared(share, "a run") == text


@given(st.text())
def test_labels_hold_no_markup(text):
    shown = words.label(text)
    assert "<" not in shown
    assert ">" not in shown
    assert "\n" not in shown
