"""The what-if part of a fit of runs in headless Chromium: the page computes what `predict` does."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from mixwright import Constraints, RunSearch, RunTable
from mixwright.report.what_if.laws import TOGETHER, sliders_refused, what_if_of_law
from mixwright.report.what_if.numbers import Mark
from mixwright.runs.result import RunSearchResult

from .whatif_fixtures import number, slider, weights_now

SOURCES = ("web/<b>", "code", "law", "books")
LEVEL = 0.8


def fitted(law: Any, targets: Any = "qa", n: int = 40, **settings: Any) -> RunSearchResult:
    """Return a fit of runs that repeat their sources up to ten times; the second target wants other sources."""
    pytest.importorskip("sklearn")
    rng = np.random.default_rng(3)
    W = rng.dirichlet(np.full(4, 0.7), n)
    sizes = np.array([80.0, 30.0, 20.0, 10.0])
    harm = np.maximum(W * 100 / sizes - 3, 0).sum(1)
    losses = [1 + np.exp(0.4 - W @ t) + 0.02 * harm + 0.01 * rng.normal(size=n) for t in ([2, 1, 0, 1], [0, 2, 1, 0])]
    table = RunTable.from_array(W, np.stack(losses, 1), SOURCES, ["qa", "code"], sizes=sizes, tokens=100.0)
    limits = Constraints(caps={"books": 0.5})
    return RunSearch(law, **settings).fit(table, targets, constraints=limits)


def made_of(found: RunSearchResult) -> dict[str, Any]:
    k = len(SOURCES)
    best = found.incumbent.weights
    marks = [
        ("proposal", "search", found.weights),
        ("incumbent", "measured", best),
        ("uniform", "uniform", [1 / k] * k),
    ]
    return what_if_of_law(found, [Mark(name, kind, np.array(w)) for name, kind, w in marks], LEVEL)


def shown(page: Any) -> list[list[float]]:
    """Return mean, low and high of each target, as the table shows them."""
    page.wait_for_selector("#wi-play:not(.wi-old)")
    lines = page.locator("#wi-targets .wi-now").all()
    return [[number(part) for part in line.inner_text().replace(" to ", "\n").split("\n")] for line in lines]


def check(page: Any, found: RunSearchResult) -> np.ndarray:
    """Compare what the page shows with `predict` and `predict_targets` of its weights."""
    w = weights_now(page)
    each = [list(part) for part in found.predict_targets(w, LEVEL).values()]
    expected = np.array(each, float).reshape(len(each), 3).tolist()
    if len(found.goal.targets) > 1:
        expected.insert(0, list(found.predict(w, LEVEL)))
    np.testing.assert_allclose(shown(page), expected, rtol=0, atol=1.01e-6)
    assert number(page.locator("#wi-loss").inner_text()) == pytest.approx(expected[0][0], abs=1e-6)
    return w


LAWS = ["linear", "log_linear", "exposure", "gaussian_process", "bimix", "ensemble", "log_exposure", "auto"]


@pytest.mark.browser
@pytest.mark.parametrize("law", LAWS)
def test_the_page_predicts_what_python_does(show, law):
    found = fitted(law)
    page = show(made_of(found))
    assert check(page, found) == pytest.approx(found.weights, abs=1e-9)
    for i, share in ((0, "100"), (2, "40"), (1, "0"), (3, "50"), (3, "0")):
        page.locator("#wi-range").select_option("100")
        slider(page, i).fill(share)
        assert check(page, found)[i] == pytest.approx(float(share) / 100, abs=1e-9)
    corner = weights_now(page)
    change = found.predict(0.99 * corner + 0.01 * np.eye(4)[2], None) - found.predict(corner, None)
    assert number(page.locator(".wi-slope").nth(2).inner_text().split(":")[1]) == pytest.approx(change, abs=6e-6)


@pytest.mark.browser
@pytest.mark.parametrize("objective", ["sum", "worst_regret"])
def test_several_targets_and_what_counts_of_them(show, objective):
    found = fitted("log_linear", {"qa": 3, "code": 1}, objective=objective)
    page = show(made_of(found))
    names = page.locator("#wi-targets tbody th").all_inner_texts()
    assert [name.split("\n")[0] for name in names] == [TOGETHER, "qa", "code"]
    check(page, found)
    slider(page, 1).fill("60")
    w = check(page, found)
    page.locator("#wi-target").select_option("2")
    assert weights_now(page) == pytest.approx(w)
    loss = found.predict_targets(w)["code"][0]
    assert number(page.locator("#wi-loss").inner_text()) == pytest.approx(loss, abs=1e-6)
    against = page.locator("#wi-against").inner_text()
    assert "incumbent" in against
    over = loss - found.predict_targets(found.incumbent.weights)["code"][0]
    assert f"{abs(over):.4f} {'above' if over > 0 else 'below'}" in against


def test_a_law_without_a_formula_is_refused():
    pytest.importorskip("lightgbm")
    found = fitted("trees", n=60)
    assert "no sliders for the law trees" in sliders_refused(found)
    assert sliders_refused(fitted("linear")) == ""


def test_a_cap_holds_on_the_page():
    made = made_of(fitted("linear"))
    assert made["upper"] == [1.0, 1.0, 1.0, 0.5]
    assert made["unit"] == "tokens"


@pytest.mark.browser
def test_a_wish_sets_the_sliders_of_the_page_of_a_run(visit, tmp_path):
    from mixwright.experiment import drive, make

    rng = np.random.default_rng(0)
    W = rng.dirichlet([1, 1, 1], 30)
    lines = [f"{i},{','.join(map(str, w))},{2 + np.exp(-w @ [2.0, 1.0, 0.0])}" for i, w in enumerate(W)]
    (tmp_path / "runs.csv").write_text("run,w:web,w:code,w:law,loss:qa\n" + "\n".join(lines) + "\n")
    config = make("runs fit", {"table": str(tmp_path / "runs.csv"), "target": "qa", "law": "log_linear"})
    summary = drive(config, tmp_path / "run")
    page = visit(tmp_path / "run" / "report.html", "html[data-what-if=ready]", 360)
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    wished = [wish for wish in summary["wishes"] if wish["refused"] is None]
    buttons = page.locator("[data-wi-wish]")
    assert buttons.count() == len(wished) > 0
    buttons.first.focus()
    page.keyboard.press("Enter")
    assert weights_now(page) == pytest.approx(wished[0]["weights"], abs=1e-6)
    assert number(page.locator("#wi-loss").inner_text()) == pytest.approx(wished[0]["after"], abs=1e-6)
