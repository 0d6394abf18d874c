"""The what-if part in headless Chromium: what it shows is what Python computes."""

from __future__ import annotations

import json
import re
from typing import Any

import numpy as np
import pytest
import yaml

from mixwright.mixture_file import MixtureFile
from mixwright.report.what_if.numbers import Mark, PageMoments, PageRows, make_what_if, unpack

from .fixtures import SCRIPT, realistic
from .test_page import NAMES as HOSTILE
from .whatif_fixtures import NAMES, limits, many, number, page_alone, predicted, slider, weights_now, what_if

pytestmark = pytest.mark.browser
REFUSED = "Object.defineProperty(navigator, 'clipboard', {value: {writeText: () => Promise.reject(new Error('no'))}})"


def check(page, made: dict[str, Any]) -> np.ndarray:
    """Compare all that the page shows with what Python computes for the weights of the page."""
    w = weights_now(page)
    assert w.sum() == pytest.approx(1, abs=1e-9)
    losses = predicted(made, w)
    shown = [number(text) for text in page.locator(".wi-now").all_inner_texts()]
    assert shown == pytest.approx(losses, abs=1e-6)
    at = int(page.locator("#wi-target").input_value()) if len(losses) > 1 else 0
    assert number(page.locator("#wi-loss").inner_text()) == pytest.approx(losses[at], abs=1e-6)
    for cell, mark in ((".wi-to-optimum", 0), (".wi-to-uniform", 1)):
        other = predicted(made, np.array(made["marks"][mark]["weights"]))
        for text, loss, against in zip(page.locator(cell).all_inner_texts(), losses, other, strict=True):
            assert number(text.split()[0]) == pytest.approx(loss - against, abs=6e-5)
    return w


def test_a_slider_gives_the_number_of_python(show):
    made = what_if(n=3_000)
    assert [target["rows"] < target["of"] for target in made["targets"]] == [True, True]
    page = show(made)
    before = check(page, made)
    assert before == pytest.approx(made["marks"][0]["weights"], abs=1e-9)
    slider(page, 2).scroll_into_view_if_needed()
    box = slider(page, 2).bounding_box()
    page.mouse.move(box["x"] + 8 + before[2] * (box["width"] - 16), box["y"] + 11)
    page.mouse.down()
    for share in (0.5, 0.62, 0.7):
        page.mouse.move(box["x"] + share * box["width"], box["y"] + 11)
    page.mouse.up()
    after = check(page, made)
    assert after[2] == pytest.approx(0.7, abs=0.02)
    others = [0, 1, 3, 4]
    np.testing.assert_allclose(after[others] / after[others].sum(), before[others] / before[others].sum(), atol=1e-9)
    page.locator("#wi-target").select_option("1")
    slider(page, 0).fill("12.3")
    assert check(page, made)[0] == pytest.approx(0.123, abs=1e-9)
    assert "\u00b1" in page.locator("#wi-against").inner_text()
    assert "of all of them about" not in page.locator("#wi-whole").inner_text()
    assert f"{made['targets'][1]['of']:,} rows; on all of them about" in page.locator("#wi-whole").inner_text()


def test_the_estimate_for_all_rows_starts_at_the_exact_optimum(show):
    made = what_if(n=3_000)
    page = show(made)
    whole = page.locator("#wi-whole").inner_text()
    assert number(re.search(r"about (\S+)", whole)[1]) == pytest.approx(made["targets"][0]["losses"][0], abs=6e-5)


def test_the_keyboard_alone_suffices(show):
    made = what_if(n=200)
    page = show(made)
    page.keyboard.press("Tab")
    for _ in range(60):
        if page.evaluate("document.activeElement.id") == "wi-source-0":
            break
        assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") != "none"
        page.keyboard.press("Tab")
    start = check(page, made)
    for _ in range(5):
        page.keyboard.press("ArrowLeft")
    moved = check(page, made)
    assert moved[0] == pytest.approx(round(start[0], 3) - 0.005, abs=1e-9)
    page.keyboard.press("Tab")
    page.keyboard.press("Control+A")
    page.keyboard.type("40")
    page.keyboard.press("Tab")
    assert check(page, made)[0] == pytest.approx(0.4, abs=1e-12)
    page.keyboard.press("Space")
    page.keyboard.press("Tab")
    page.keyboard.press("ArrowRight")
    held = check(page, made)
    assert held[0] == pytest.approx(0.4, abs=1e-12), "a locked weight stays"
    assert held[1] > moved[1]
    page.locator("#wi-yaml").focus()
    page.keyboard.press("Enter")
    page.wait_for_function("window.taken")
    assert yaml.safe_load(page.evaluate("window.taken")) == dict(zip(NAMES, held, strict=True))


def test_buttons_set_the_marks(show):
    made = what_if(n=200)
    page = show(made)
    for j, mark in enumerate(made["marks"]):
        page.locator(f"[data-wi-set='{j}']").click()
        w = weights_now(page)
        assert w == pytest.approx(mark["weights"], abs=1e-9)
        shown = [number(text) for text in page.locator(".wi-now").all_inner_texts()]
        expected = [target["shown"][j] for target in made["targets"]]
        assert shown == pytest.approx([np.inf if value is None else value for value in expected], abs=1e-6)
    assert page.locator("#wi-impossible").is_visible()
    assert page.locator("#wi-loss").inner_text() == "\u221e"
    slider(page, 1).fill("70")
    w = check(page, made)
    assert w == pytest.approx([0.075, 0.7, 0.075, 0.075, 0.075]), "all others were 0: they share alike"


def test_limits_hold_on_moves_and_are_named_where_broken(show):
    made = what_if(n=200, space=limits())
    page = show(made)
    slider(page, 1).fill("80")
    w = check(page, made)
    assert w[1] == pytest.approx(0.3, abs=1e-12)
    assert w[2] >= 0.05 - 1e-12
    assert "kept at 30.00" in page.locator("#wi-note").inner_text()
    slider(page, 0).fill("100")
    w = check(page, made)
    assert w[2] == pytest.approx(0.05, abs=1e-9)
    assert w[0] == pytest.approx(0.95, abs=1e-9)
    assert "1 limit is broken" in page.locator("#wi-allowed").inner_text()
    assert "the cap 0.6 of group 'the <first> two'" in page.locator("#wi-broken").inner_text()
    page.locator("[data-wi-set='3']").click()
    weights_now(page)
    broken = page.locator("#wi-broken").inner_text()
    assert "code is 100.00\u202f%, above its cap of 30.00\u202f%" in broken
    assert "law is 0.00\u202f%, below its floor of 5.00\u202f%" in broken
    for i in (0, 2, 3, 4):
        page.get_by_label(f"Lock {NAMES[i]}", exact=True).check()
    slider(page, 1).fill("50")
    assert weights_now(page) == pytest.approx([0, 1, 0, 0, 0])
    assert "leave no choice" in page.locator("#wi-note").inner_text()
    page.locator("#wi-unlock").click()
    slider(page, 3).fill("65")
    w = check(page, made)
    assert "Within all limits" in page.locator("#wi-allowed").inner_text()
    assert w[3] == pytest.approx(0.65, abs=1e-12)


def test_the_curve_and_the_point_on_it(show):
    made = what_if(targets=("novels", "questions", "law <b>"), n=150)
    page = show(made)
    assert page.locator("#wi-pair option").all_inner_texts() == [
        "novels and questions",
        "novels and law <b>",
        "questions and law <b>",
    ]
    page.locator("#wi-pair").select_option("2")
    points = made["curves"][2]["points"]
    along = page.locator("#wi-along")
    assert along.get_attribute("max") == str(len(points) - 1)
    places = []
    for j in (0, len(points) // 2, len(points) - 1):
        along.fill(str(j))
        check(page, made)
        shown = [number(text) for text in page.locator(".wi-now").all_inner_texts()]
        assert shown[1:] == pytest.approx(points[j]["losses"], abs=2e-4)
        dot, knot = page.locator(".wi-dot"), page.locator(".wi-knot").nth(j)
        for end in ("cx", "cy"):
            assert float(dot.get_attribute(end)) == pytest.approx(float(knot.get_attribute(end)), abs=0.5)
        places.append(float(dot.get_attribute("cx")))
    assert places[0] > places[1] > places[2]
    slider(page, 0).fill("77")
    check(page, made)
    assert float(page.locator(".wi-dot").get_attribute("cx")) != places[2]


@pytest.mark.parametrize("name", [*HOSTILE, "no", "a: b # c", "\u2028\u202etxt\U0001f600 \x7f'\"\\"])
def test_names_are_text_and_come_back_from_yaml_and_json(show, tmp_path, name):
    names = (name, *NAMES[1:])
    page = show(what_if(names, (name, "other"), 40, groups={name: list(names[:2])}))
    assert page.locator(".wi-row .name").all_text_contents() == list(names)
    page.locator("#wi-yaml").click()
    page.wait_for_function("window.taken")
    assert list(yaml.safe_load(page.evaluate("window.taken"))) == list(names)
    page.evaluate("window.taken = ''")
    page.locator("#wi-json").click()
    page.wait_for_function("window.taken")
    path = tmp_path / "mixture.json"
    path.write_text(page.evaluate("window.taken"), encoding="utf-8")
    mixture = MixtureFile.read(path)
    assert mixture.sources == names
    assert sum(mixture.weights) == pytest.approx(1, abs=1e-9)
    assert mixture.verdict.startswith("unverified")


def test_the_yaml_is_what_a_search_takes_as_its_prior(show):
    from mixwright.experiment.core.config_parts import WeightsConfig

    page = show(what_if(n=40))
    w = weights_now(page)
    prior = yaml.safe_load(page.locator("#wi-text").input_value())
    assert WeightsConfig(prior=prior).prior == dict(zip(NAMES, w, strict=True))


def test_a_refused_clipboard_selects_the_text(show):
    page = show(what_if(n=40), script=REFUSED)
    page.locator("#wi-json").click()
    page.wait_for_function("document.getElementById('wi-copied').textContent")
    assert "selected" in page.locator("#wi-copied").inner_text()
    assert page.evaluate("document.activeElement.id") == "wi-text"
    selected = page.evaluate("(e => e.value.slice(e.selectionStart, e.selectionEnd))(document.activeElement)")
    assert list(json.loads(selected)["sources"]) == list(NAMES)


def test_rows_that_differ_by_thousands_of_nats(show):
    rng = np.random.default_rng(0)
    logs = np.concatenate([rng.normal(-9_000, 900, (40, 3)), rng.normal(-2, 1, (40, 3))])
    rows = PageRows("far", "sequence", logs, rng.random(80), 80, [1.0, 1.0], 0)
    marks = [Mark("search", "search", np.array([0.2, 0.3, 0.5])), Mark("uniform", "uniform", np.full(3, 1 / 3))]
    made = make_what_if(["a", "b", "c"], [rows], marks)
    page = show(made)
    check(page, made)
    slider(page, 0).fill("99.9")
    w = check(page, made)
    for i, text in enumerate(page.locator(".wi-slope").all_text_contents()):
        change = predicted(made, 0.99 * w + 0.01 * np.eye(3)[i])[0] - predicted(made, w)[0]
        assert number(text.split(":")[1]) == pytest.approx(change, abs=6e-6)
    slider(page, 0).fill("100")
    assert weights_now(page)[0] == 1.0
    parts = unpack(made)[0]
    expected = -float(parts[1] @ parts[0][:, 0] / parts[1].sum())
    assert number(page.locator("#wi-loss").inner_text()) == pytest.approx(expected, abs=1e-6)


def test_squared_error(show):
    rng = np.random.default_rng(0)
    R = rng.normal(size=(50, 3))
    matrix = R.T @ R / 50
    marks = [Mark("search", "search", np.array([0.2, 0.3, 0.5])), Mark("uniform", "uniform", np.full(3, 1 / 3))]
    losses = [float(mark.weights @ matrix @ mark.weights) for mark in marks]
    made = make_what_if(["a", "b", "c"], [PageMoments("y", "squared units", matrix, 50, losses, 0)], marks)
    page = show(made)
    slider(page, 1).fill("61.7")
    w = check(page, made)
    more = [0.99 * w + 0.01 * one for one in np.eye(3)]
    shown = [number(text.split(":")[1]) for text in page.locator(".wi-slope").all_text_contents()]
    assert shown == pytest.approx([m @ matrix @ m - w @ matrix @ w for m in more], abs=6e-6)


@pytest.mark.parametrize("first", [None, "100"])
def test_a_point_more_is_what_the_loss_changes_by(show, first):
    made = what_if(n=300)
    page = show(made)
    if first:
        slider(page, 0).fill(first)
    w = weights_now(page)
    before = predicted(made, w)[0]
    for i, text in enumerate(page.locator(".wi-slope").all_text_contents()):
        change = predicted(made, 0.99 * w + 0.01 * np.eye(5)[i])[0] - before
        if np.isfinite(change):
            assert number(text.split(":")[1]) == pytest.approx(change, abs=6e-6)
        else:
            assert text.endswith("\u2013"), "from an impossible row there is no number"


MOVES = """async (moves) => {
  const slider = document.querySelector("#wi-list .wi-slider");
  const script = [], frame = [];
  for (let i = 0; i < moves; i++) {
    const start = performance.now();
    slider.value = slider.max * (0.1 + (0.8 * i) / moves);
    slider.dispatchEvent(new Event("input", { bubbles: true }));
    await new Promise(requestAnimationFrame);
    await new Promise((done) => setTimeout(done));
    frame.push(performance.now() - start);
    script.push(performance.getEntriesByName("what-if").at(-1).duration);
  }
  const middle = (values) => values.sort((a, b) => a - b)[Math.floor(values.length / 2)];
  return { script: middle(script), frame: middle(frame) };
}"""


def test_three_hundred_sources(show, record_property):
    made = many()
    page = show(made)
    assert made["targets"][0]["rows"] >= 1_800
    slider(page, 150).fill("1.5")
    w = check(page, made)
    assert w[150] == pytest.approx(0.015, abs=1e-9)
    took = page.evaluate(MOVES, 20)
    record_property("milliseconds of a move, 300 sources", took)
    assert took["frame"] < 5_000
    check(page, made)
    assert page.locator(".wi-fold").all_inner_texts()[0].split()[1:3] == ["99", "sources"]
    page.locator(".wi-fold").first.focus()
    page.keyboard.press("Enter")
    assert page.locator(".wi-fold").first.get_attribute("aria-expanded") == "false"
    page.locator("#wi-group").uncheck()
    page.locator("#wi-find").fill("SCRIPT>AL")
    assert page.locator(".wi-row").count() == 1
    assert page.locator(".wi-row .name").inner_text() == SCRIPT
    assert page.locator("#wi-shown").inner_text() == "1 of 300 sources shown"
    page.locator("#wi-find").fill("")
    page.locator("#wi-sort").select_option("name")
    names = page.locator(".wi-row .name").all_text_contents()
    assert len(names) == 300
    assert names[1:4] == ["books/001 forum", "books/004 wiki", "books/007 forum"]
    page.locator("#wi-sort").select_option("gain")
    slopes = [number(text.split(":")[1]) for text in page.locator(".wi-slope").all_text_contents()]
    assert slopes == sorted(slopes)
    page.locator("#wi-sort").select_option("weight")
    shown = [float(field.input_value()) for field in page.locator(".wi-field").all()[:20]]
    assert shown == sorted(shown, reverse=True)


def test_the_sliders_end_where_it_was_chosen(show):
    page = show(what_if(n=40))
    page.locator("#wi-range").select_option("20")
    assert slider(page, 0).get_attribute("max") == "20"
    slider(page, 0).fill("20")
    assert weights_now(page)[0] == pytest.approx(0.2, abs=1e-9)
    marks = page.locator(".wi-row").first.locator(".wi-mark").all()
    assert [mark.is_visible() for mark in marks] == [False, True, True, True]


@pytest.mark.parametrize("width", [360, 390])
@pytest.mark.parametrize("made", ["few", "many"])
def test_a_phone_needs_no_sideways_scrolling(show, width, made):
    name = "without-a-space" * 20
    page = show(many(60, 200) if made == "many" else what_if((name, *NAMES[1:]), (name, "b"), 40), width)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    row = page.locator(".wi-row").first
    row.scroll_into_view_if_needed()
    for part in (".wi-slider", ".wi-field", ".wi-lock", ".wi-slope"):
        box = row.locator(part).bounding_box()
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= width, part


def test_it_is_part_of_the_page_of_a_run(show):
    names = tuple(source["name"] for source in realistic()["sources"])
    made = what_if(names, ("tutorial", "questions"), 60)
    page = show(made, summary=realistic())
    page.wait_for_selector("html[data-charts=drawn]", state="attached")
    slider(page, 3).fill("33")
    assert check(page, made)[3] == pytest.approx(0.33, abs=1e-9)


def test_without_scripts_there_is_the_table(visit, tmp_path):
    path = tmp_path / "page.html"
    path.write_text(page_alone(what_if(n=40), "t"), encoding="utf-8")
    page = visit(path, None, java_script_enabled=False)
    assert page.get_by_text("Sliders need a script").is_visible()
    assert page.locator("#wi-targets").is_visible()
    assert not page.locator(".wi-live").first.is_visible()
    assert not page.locator("#wi-play").is_visible()
