"""The page of a comparison in headless Chromium."""

from __future__ import annotations

import pytest

from mixwright.report import write

from .comparison_fixtures import comparison
from .fixtures import SCRIPT

pytestmark = pytest.mark.browser


@pytest.fixture
def show(visit, tmp_path):
    """Return what opens the page of a summary, with its charts drawn."""

    def opened(summary, **options):
        return visit(write("comparison", summary, tmp_path / "report.html"), "html[data-charts=drawn]", **options)

    return opened


def drawn(page) -> tuple[int, int]:
    """Return how many charts there are, and how many of them are drawn."""
    return page.locator(".chart").count(), page.locator(".chart .main-svg:first-child").count()


def test_charts_are_drawn(show):
    page = show(comparison(targets=2, seeds=3))
    assert drawn(page) == (2 + 2 + 2 + 1 + 3, 10)  # forests, seeds, curves, gain, weights
    assert page.locator("#forest-0 .errorbars .xerror").count() == 4
    assert page.locator("#forest-0 .annotation-text").count() == 4 + 2
    assert page.locator("#seeds-0 .js-line").count() == 3
    assert page.locator("#curve-0 .js-line").count() == 5 + 5 * 3  # means, and the seeds behind
    assert page.locator("#gain .errorbars .yerror").count() == 4


def test_labels_stay_inside_their_chart(show):
    """No text of a forest plot is cut off at the sides, on the desktop and on a phone."""
    for width in (1280, 390):
        page = show(comparison(arms=12, targets=1, seeds=3), width=width)
        outside = page.evaluate(
            """() => [...document.querySelectorAll('[id^=forest], [id^=seeds-], #gain, [id^=curve-]')].flatMap(box => {
                 const edge = box.getBoundingClientRect();
                 return [...box.querySelectorAll('text')].filter(t => {
                   const r = t.getBoundingClientRect();
                   return r.width && (r.left < edge.left - 1 || r.right > edge.right + 1 || r.bottom > edge.bottom + 1);
                 }).map(t => box.id + ' ' + t.textContent);
               })"""
        )
        assert outside == []


def test_folded_charts_are_drawn_when_they_are_opened(show):
    page = show(comparison(arms=3, targets=6, seeds=2, sources=3))
    count, before = drawn(page)
    assert before < count
    assert page.locator("#forest-4 .main-svg").count() == 0
    page.locator("#differences details:has(#forest-4) > summary").first.click()
    page.wait_for_selector("#forest-4 .main-svg")
    assert page.locator("#forest-4").bounding_box()["width"] > 400
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert drawn(page) == (count, count)


def test_a_script_as_a_name_is_text(show):
    page = show(comparison(arms=3, targets=1, name=SCRIPT))
    assert page.locator("h1").inner_text() == SCRIPT
    assert page.title().startswith(SCRIPT)
    assert SCRIPT in page.locator("#forest-0 .ytick text").all_text_contents()
    assert page.locator("#differences-0 tbody th").nth(1).inner_text() == SCRIPT
    page.locator("#forest-0 .points path").last.hover(force=True)


@pytest.mark.parametrize(
    "shape",
    [
        {"arms": 2, "targets": 1, "seeds": 1, "sources": 3},
        {"arms": 12, "targets": 6, "seeds": 7, "sources": 40},
        {"name": "without-a-space" * 20, "targets": 2},
    ],
)
def test_a_phone_needs_no_sideways_scrolling(show, shape):
    page = show(comparison(**shape), width=390, color_scheme="dark")
    page.evaluate("for (const d of document.querySelectorAll('details')) d.open = true")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    assert page.evaluate("[...document.querySelectorAll('.chart')].every(c => c.clientWidth <= 390)")


def test_the_keyboard_reaches_everything(show):
    page = show(comparison(targets=6, sources=20))
    reached = []
    for _ in range(150):
        page.keyboard.press("Tab")
        reached.append(
            page.evaluate(
                "(e => [e.tagName, e.className || e.id || e.getAttribute('href')].join(' '))(document.activeElement)"
            )
        )
        if reached[-1].startswith("BODY"):
            break
        assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") != "none", reached[-1]
    assert reached[0] == "A skip"
    for control in ("A #differences", "INPUT weights-0-table-filter", "DIV box tall", "SUMMARY", "A ./cells.csv"):
        assert any(entry.startswith(control) for entry in reached), (control, reached)
    folded = page.locator("#differences details:has(#forest-4) > summary").first
    folded.focus()
    page.keyboard.press("Enter")
    page.wait_for_selector("#forest-4 .main-svg")


def test_colours_follow_the_system(show):
    page = show(comparison(arms=3, targets=1), color_scheme="light")
    colour = "() => getComputedStyle(document.querySelector('#forest-0 .ytick text')).fill"
    light = page.evaluate(colour)
    page.emulate_media(color_scheme="dark")
    page.wait_for_function(f"(light) => ({colour})() !== light", arg=light)


def test_without_scripts_the_numbers_are_there(visit, tmp_path):
    path = write("comparison", comparison(), tmp_path / "plain.html")
    page = visit(path, None, java_script_enabled=False)
    assert page.get_by_text("Every number they show is also in a table").is_visible()
    assert not page.locator("#forest-0").is_visible()
    for name in ("differences-0", "seeds-0-table", "steps-0-table", "cost-table", "weights-0-table", "sources-0-table"):
        assert page.locator(f"#{name}").is_visible()
    page.locator("summary", has_text="The same as a table").first.click()
    assert page.locator("#curve-0-table").is_visible()
