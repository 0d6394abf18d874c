"""The page in headless Chromium."""

from __future__ import annotations

import pytest

from mixwright.report import write

from .fixtures import SCRIPT, many_sources, realistic, renamed, search_only

pytestmark = pytest.mark.browser


@pytest.fixture
def show(visit, tmp_path):
    """Return what opens the page of a summary."""
    return lambda summary, **options: visit(write("search", summary, tmp_path / "report.html"), **options)


def test_charts_are_drawn(show):
    page = show(realistic())
    assert page.evaluate("document.documentElement.dataset.charts") == "drawn"
    assert page.locator(".chart").count() == page.locator(".chart .main-svg:first-child").count() == 7
    assert page.locator("#loss-0 .points path").count() == 4
    assert page.locator("#difference-0 .errorbars .xerror").count() == 3
    assert page.locator("#weights .points path").count() == 15


def test_a_script_as_a_name_is_text(show):
    page = show(renamed(realistic(), SCRIPT))
    assert page.evaluate("document.documentElement.dataset.charts") == "drawn"
    assert page.locator("#sources-table th[scope=row]").first.inner_text() == SCRIPT
    assert page.locator("h1").inner_text() == SCRIPT
    labels = page.locator("#weights .ytick text").all_text_contents()
    assert SCRIPT in labels
    assert page.title().startswith(SCRIPT)
    page.locator("#weights .points path").first.hover(force=True)


def test_markup_for_charts_is_text(show):
    name = "<b>x</b> %{x} <a href='u'>l</a>"[:26]
    page = show(renamed(realistic(), name))
    assert page.locator("#weights .ytick text a").count() == 0
    assert " ".join(name.split()) in page.locator("#weights .ytick text").all_text_contents()


@pytest.mark.parametrize("make", [realistic, many_sources, search_only])
def test_a_phone_needs_no_sideways_scrolling(show, make):
    page = show(make(), width=360, color_scheme="light")
    page.evaluate("for (const d of document.querySelectorAll('details')) d.open = true")
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        assert page.evaluate("document.documentElement.scrollWidth") <= 360
        assert page.evaluate("[...document.querySelectorAll('.chart')].every(c => c.clientWidth <= 360)")


def test_a_long_name_fits_a_phone(show):
    page = show(renamed(realistic(), "without-a-space" * 40), width=360)
    assert page.evaluate("document.documentElement.scrollWidth") <= 360


def test_the_keyboard_reaches_everything(show):
    page = show(many_sources())
    reached = []
    for _ in range(60):
        page.keyboard.press("Tab")
        reached.append(
            page.evaluate(
                "(e => [e.tagName, e.className || e.id || e.getAttribute('href')].join(' '))(document.activeElement)"
            )
        )
        style = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
        if reached[-1].startswith("BODY"):
            break
        assert style != "none", reached[-1]
    assert reached[0] == "A skip"
    for control in ("A #weights-section", "INPUT weights-table-filter", "DIV box tall", "SUMMARY ", "PRE "):
        assert any(entry.startswith(control.strip()) for entry in reached), (control, reached)


def test_the_skip_link_skips(show):
    page = show(realistic())
    page.keyboard.press("Tab")
    assert page.locator(".skip").bounding_box()["x"] >= 0
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"


def test_a_table_can_be_filtered(show):
    page = show(many_sources())
    page.locator("#weights-table-filter").fill("SHARD-00")
    assert page.locator("#weights-table tbody tr:visible").count() == 10
    assert page.locator("#weights-table-said").inner_text() == "10 of 300 shown"


def test_the_colours_follow_the_system_and_print_is_light(show):
    page = show(realistic(), color_scheme="light")
    colour = "() => getComputedStyle(document.querySelector('#loss-0 .ytick text')).fill"
    light = page.evaluate(colour)
    page.emulate_media(color_scheme="dark")
    page.wait_for_function(f"(light) => ({colour})() !== light", arg=light)
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.evaluate(colour) == light
    assert page.locator("details:not([open])").count() == 0
    page.emulate_media(media="print", color_scheme="dark")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    page.emulate_media(media="screen", color_scheme="dark")
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert page.evaluate(colour) != light
    assert len(page.pdf()) > 20_000


def test_without_scripts_the_numbers_are_there(visit, tmp_path):
    path = write("search", realistic(), tmp_path / "plain.html")
    page = visit(path, None, java_script_enabled=False)
    assert page.get_by_text("Every number they show is also in a table").is_visible()
    assert not page.locator("#loss-0").is_visible()
