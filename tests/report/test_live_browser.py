"""The page of a run that goes in headless Chromium: it is read again from disk, and stays where the reader is."""

from __future__ import annotations

import pytest

from mixwright.files import atomic_write
from mixwright.report import render

from .live_fixtures import running

pytestmark = pytest.mark.browser
BY_HAND = "window.setInterval = (tick) => { window.tick = tick; };"  # a second passes when the test says so


@pytest.mark.parametrize("width", [1280, 390])
def test_it_is_read_again_at_the_same_place_until_the_run_ends(visit, tmp_path, width):
    path = tmp_path / "report.html"

    def write(**changes):
        with atomic_write(path) as handle:
            handle.write(render("live", running(60, 400, **changes), every=1))

    write(title="first")
    page = visit(path, "html[data-live=on]", width, BY_HAND)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.locator("details").first.evaluate("part => { part.open = true; }")
    page.evaluate("window.scrollTo(0, 1700)")
    write(title="second")
    page.evaluate("setTimeout(window.tick)")
    page.wait_for_selector("#title:has-text('second')")
    page.wait_for_selector("html[data-live=on]", state="attached")
    assert page.evaluate("window.scrollY") == 1700
    assert page.locator("details").first.evaluate("part => part.open")
    write(title="third", state="stopped")
    page.evaluate("setTimeout(window.tick)")
    page.wait_for_selector("#title:has-text('third')")
    assert page.locator("html[data-live]").count() == 0
    assert page.evaluate("performance.getEntriesByType('resource').length") == 0
