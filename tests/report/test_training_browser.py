"""The page of a training in headless Chromium."""

from __future__ import annotations

import pytest

from mixwright.report import write

from .training_fixtures import decisions, training

pytestmark = pytest.mark.browser


@pytest.mark.parametrize("width", [1280, 390])
def test_charts_are_drawn_and_nothing_sticks_out(visit, tmp_path, width):
    path = write("training", training(), tmp_path / "report.html", decisions=decisions())
    page = visit(path, "html[data-charts=drawn]", width)
    assert page.locator(".chart .main-svg:first-child").count() == 5
    assert page.locator("#weights .js-line").count() == 5
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    colours = page.locator("#conflict-table td").evaluate_all(
        "cells => cells.map(c => getComputedStyle(c).backgroundColor)"
    )
    assert len(set(colours)) > 3
