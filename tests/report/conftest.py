"""Headless Chromium for the pages; whatever a page says to the console, asks or requests fails its test."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from mixwright.report import write

from .whatif_fixtures import page_alone

FLAGS = "--no-sandbox --disable-gpu --no-first-run --disable-background-networking --disable-component-update"
PATIENCE = 120_000  # milliseconds, of a machine that has much else to do


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    names = ("chromium", "chromium-browser", "google-chrome")
    chromium = next((path for name in names if (path := shutil.which(name))), None)
    if chromium is None:
        pytest.skip("no Chromium on this machine (Debian: apt-get install chromium)")
    playwright = pytest.importorskip("playwright.sync_api", reason="the package playwright is not installed")
    with playwright.sync_playwright() as started:
        flags = [*FLAGS.split(), "--disable-sync"]
        opened = started.chromium.launch(executable_path=chromium, args=flags, timeout=PATIENCE)
        yield opened
        opened.close()


@pytest.fixture
def visit(browser) -> Iterator[Callable[..., Any]]:
    """Return what opens a page's file, and waits for `ready`."""
    seen: list[str] = []
    pages = []

    def opened(path: Path, ready: str | None = "html[data-charts]", width: int = 1280, script: str = "", **more) -> Any:
        page = browser.new_page(viewport={"width": width, "height": 800}, **more)
        page.set_default_timeout(PATIENCE)
        pages.append(page)
        page.add_init_script(script)
        page.on("console", lambda m: seen.append(f"console {m.type}: {m.text}"))
        page.on("pageerror", lambda error: seen.append(f"error: {error}"))
        page.on("dialog", lambda dialog: (seen.append(f"dialog: {dialog.message}"), dialog.dismiss()))
        page.on("request", lambda r: None if r.url in (path.as_uri(), "data:,") else seen.append(f"request: {r.url}"))
        page.goto(path.as_uri())
        if ready is not None:
            page.wait_for_selector(ready, state="attached")
        return page

    yield opened
    for page in pages:
        page.close()
    assert seen == []


TAKEN = "Object.defineProperty(navigator, 'clipboard', {value: {writeText: async (text) => { window.taken = text; }}})"


@pytest.fixture
def show(visit, tmp_path):
    """Return what opens a page with a what-if part."""

    def opened(made, width=1280, summary=None, script=TAKEN, **options):
        path = tmp_path / "page.html"
        if summary is None:
            path.write_text(page_alone(made, "A title", "a verdict"), encoding="utf-8")
        else:
            write("search", summary, path, what_if=made)
        page = visit(path, "html[data-what-if]", width, script, **options)
        assert page.locator("html[data-what-if=ready]").count() == 1, page.locator("#wi-failed").inner_text()
        return page

    return opened
