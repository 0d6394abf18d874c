"""The page of a run that goes: what it says, and when it is read again."""

from __future__ import annotations

import re

import pytest

from mixwright.report import render
from mixwright.report.charts import Line
from mixwright.report.live.lines import drawn, ticks
from mixwright.report.live.view import build_live, pieces_view, stage_words
from mixwright.report.looks import course_look
from mixwright.report.words import number

from .live_fixtures import ERROR, running, some_pieces


def test_the_page_says_how_far_the_run_is_and_is_read_again():
    page = render("live", running(), every=7)
    assert "Running: train, 46\u202f%, about 12 min 34 s left" in page
    assert 'http-equiv="refresh" content="7"' in page
    assert 'data-every="7"' in page
    assert "web &lt;b&gt;&amp;" in page
    assert "web <b>&" not in page
    assert "chart-library" not in page
    assert len(page) < 60_000


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"state": "stopped", "why": "no room on <the> disk"},
            "Stopped at train, 46\u202f%: no room on &lt;the",
        ),
        ({"state": "finished", "stages": {}}, "Finished"),
        ({"state": "unknown", "stages": {}}, "Begun by an earlier version"),
    ],
)
def test_a_run_that_does_not_go_is_not_read_again(changes, words):
    page = render("live", running(**changes))
    assert words in page
    assert 'http-equiv="refresh"' not in page
    assert "location.reload" not in page


def test_pieces_are_grouped_by_arm_and_those_that_failed_come_first():
    pieces = some_pieces(450)
    view = pieces_view(pieces)
    (stage,) = view["stages"]
    assert (stage["of"], sum(row["of"] for row in stage["groups"])) == (450, 450)
    assert {row["name"] for row in stage["groups"]} >= {"uniform", "ADO, after uniform"}
    failing = [bool(row["failed"]) for row in stage["groups"]]
    assert failing == sorted(failing, reverse=True)
    failed = [p for p in pieces if p["state"] == "failed"]
    assert [row["says"] for row in view["failed"]["rows"]] == [ERROR.splitlines()[-1]] * len(failed)
    at_work = sum(p["state"] == "running" for p in pieces)
    assert len(view["running"]["rows"]) + view["running"]["more"] == at_work
    alone = [{"stage": "proxies", "name": f"the proxy of {n}", "state": "open"} for n in "abc"]
    assert pieces_view(alone)["stages"][0]["groups"] == []
    done = [{**piece, "state": "done"} for piece in pieces]
    assert pieces_view(done)["stages"][0]["groups"] == []


def test_a_stage_says_its_share_and_what_is_left():
    assert stage_words("tokens", 3, 3, None)["said"] == "done"
    assert stage_words("train", 1, 4, 125.0)["said"] == "25\u202f%, about 2 min 05 s left"
    assert stage_words("train", 1, 4, None)["said"] == "25\u202f%"


def test_ticks_are_round_and_lines_go_through_their_points():
    assert ticks(1.8, 5.36) == [2, 3, 4, 5]
    assert ticks(0, 0.6) == pytest.approx([0, 0.2, 0.4, 0.6])
    line = Line("a", course_look(0), [0, 50, 100], [0.0, None, 1.0])
    picture = drawn([line], number, held=False, zero=True)
    low = picture["height"] * (1.05 - 0) / 1.05
    assert picture["lines"][0][1] == f"M0.0,{low:.1f}M1000.0,{picture['height'] * 0.05 / 1.05:.1f}"
    held = drawn([Line("a", course_look(0), [0, 100], [0.0, 1.0])], number, held=True, zero=True)
    assert re.sub(r"[\d.]+,", "x,", held["lines"][0][1]).count("L") == 2


def test_a_run_that_says_little_has_a_page_too():
    bare = {"stages": {}, "weights": {}, "losses": {}, "weight_course": {}, "loss_course": {}, "step": None}
    view = build_live(running(**bare))
    assert (view["lead"], view["curves"], view["sources"]) == ("Running", [], [])
    render("live", running(**bare))
