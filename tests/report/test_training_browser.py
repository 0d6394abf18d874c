"""The page of a training in headless Chromium."""

from __future__ import annotations

import pytest

from mixwright.report import write

from .test_browser import CHROMIUM, browser  # noqa: F401 (a fixture)
from .training_fixtures import decisions, training

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine (Debian: apt-get install chromium)"),
]


@pytest.mark.parametrize("width", [1280, 390])
def test_charts_are_drawn_and_nothing_sticks_out(browser, tmp_path, width):  # noqa: F811
    path = write("training", training(), tmp_path / "report.html", decisions=decisions())
    page = browser.new_page(viewport={"width": width, "height": 800})
    seen: list[str] = []
    page.on("console", lambda m: seen.append(m.text))
    page.on("pageerror", lambda error: seen.append(str(error)))
    page.on("request", lambda r: None if r.url in (path.as_uri(), "data:,") else seen.append(r.url))
    page.goto(path.as_uri())
    page.wait_for_selector("html[data-charts]", state="attached", timeout=60_000)
    assert page.evaluate("document.documentElement.dataset.charts") == "drawn"
    assert page.locator(".chart .main-svg:first-child").count() == 5
    assert page.locator("#weights .js-line").count() == 5
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    colours = page.locator("#conflict-table td").evaluate_all(
        "cells => cells.map(c => getComputedStyle(c).backgroundColor)"
    )
    assert len(set(colours)) > 3
    page.close()
    assert seen == []
