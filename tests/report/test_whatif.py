"""The what-if part as numbers and as text."""

from __future__ import annotations

import copy
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import mixwright
from mixwright.constraints.limits import Constraints
from mixwright.constraints.quadratic import project
from mixwright.errors import InputError
from mixwright.report import render, write_what_if
from mixwright.report.what_if.numbers import (
    MOST_BYTES,
    Mark,
    PageRows,
    check_what_if,
    draw_rows,
    groups_by_prefix,
    make_what_if,
    rows_each,
    rows_loss,
    unpack,
)
from mixwright.report.what_if.tables import TargetTable, best_singles, constraints_of, what_if_of_tables
from mixwright.search.table.table import LikelihoodTable
from mixwright.search.worst_regret import WorstRegret

from .fixtures import SCRIPT, realistic
from .test_page import NAMES as HOSTILE
from .test_page import Reader
from .whatif_fixtures import NAMES, limits, many, page_alone, predicted, table, what_if


def test_the_rows_on_the_page_are_those_of_the_table():
    found = table(400, NAMES)
    logs, weights = unpack(what_if(targets=("novels",), n=400))[0]
    kept = found.weights > 0
    np.testing.assert_allclose(logs, found.block(0, 400)[kept], rtol=0, atol=1e-6)
    np.testing.assert_array_equal(weights, found.weights[kept])


def test_losses_of_marks_are_those_of_all_rows_and_of_the_rows_here():
    made = what_if(n=6_000)
    assert [target["rows"] for target in made["targets"]] == [2_000, 2_000]
    w = np.array(made["marks"][0]["weights"])
    whole = table(6_000, NAMES, seed=1)
    rows = np.logaddexp.reduce(whole.block(0, 6_000) + np.log(w), axis=1)
    expected = -(whole.weights @ rows) / whole.weights.sum()
    second = made["targets"][1]
    assert second["of"] == np.count_nonzero(whole.weights)
    assert second["losses"][0] == pytest.approx(expected, abs=1e-9)
    assert second["shown"][0] == pytest.approx(predicted(made, w)[1], abs=1e-9)
    assert second["losses"][3] is None, "some row is impossible under one source alone"


def test_the_standard_error_is_that_of_the_draw():
    rng = np.random.default_rng(1)
    logs, weights, w = rng.normal(-5, 2, (3_000, 2)), rng.integers(1, 4, 3_000).astype(float), np.array([0.3, 0.7])
    whole, none = rows_loss(logs, weights, w, 3_000)
    assert none == 0
    found = []
    for seed in range(400):
        chosen = draw_rows(weights, 1_000, seed)
        found.append(rows_loss(logs[chosen], weights[chosen], w, 3_000))
    losses, errors = np.array(found).T
    assert abs(losses.mean() - whole) < 4 * losses.std() / 20
    assert errors.mean() == pytest.approx(losses.std(), rel=0.12)


@settings(max_examples=50)
@given(counts=st.lists(st.integers(1, 10_000), min_size=1, max_size=40), k=st.integers(1, 3_000))
def test_rows_fit_the_bounds(counts, k):
    shares = rows_each(counts, k)
    assert all(0 <= share <= min(count, 2_000) for share, count in zip(shares, counts, strict=True))
    assert shares[0] > 0
    assert 4 * k * sum(shares) <= max(MOST_BYTES, 4 * k * 50)
    if 4 * k * sum(min(count, 2_000) for count in counts) <= MOST_BYTES and len(counts) * 50 * 4 * k <= MOST_BYTES:
        assert shares == [min(count, 2_000) for count in counts]


def test_rows_without_weight_are_not_drawn_and_a_seed_draws_the_same():
    weights = np.array([0.0, 1, 0, 2, 3, 4, 0, 1])
    chosen = draw_rows(weights, 3, 7)
    assert (weights[chosen] > 0).all()
    assert (np.diff(chosen) > 0).all()
    np.testing.assert_array_equal(chosen, draw_rows(weights, 3, 7))
    np.testing.assert_array_equal(draw_rows(weights, 99, 7), [1, 3, 4, 5, 7])


def test_a_page_of_three_hundred_sources_stays_small():
    made = many()
    assert made["targets"][0]["rows"] == min(2_000, made["targets"][0]["of"])
    assert len(page_alone(made, "many")) < 4_500_000


def test_groups_come_from_names_where_that_helps():
    assert groups_by_prefix(["a/1", "a/2", "b_1", "b_2", "a:3", "b/3", "a_4", "b:5"]) == {
        "a": ["a/1", "a/2", "a:3", "a_4"],
        "b": ["b_1", "b_2", "b/3", "b:5"],
    }
    assert groups_by_prefix([f"x{i}" for i in range(20)]) == {}
    assert groups_by_prefix([f"same/{i}" for i in range(20)]) == {}
    assert what_if(groups={"g": ["law"]})["groups"] == [{"name": "g", "sources": [2]}]


@pytest.mark.parametrize("distance", [None, 0.4])
def test_a_polytope_gives_back_its_constraints(distance):
    given = Constraints(
        floors={"law": 0.05},
        caps={"code": 0.3},
        groups={"g": ["books", "code"], "h": ["law", "web/news"]},
        group_caps={"g": 0.6},
        group_floors={"h": 0.1},
        max_distance=distance,
    )
    space = given.allowed(NAMES)
    again = constraints_of(space).allowed([f"source_{i}" for i in range(5)])
    rng = np.random.default_rng(0)
    inside = [space.contains(w) for w in rng.dirichlet(np.ones(5), 300)]
    assert inside == [again.contains(w) for w in np.random.default_rng(0).dirichlet(np.ones(5), 300)]
    assert 5 < sum(inside) < 295


def test_curves_lie_within_the_limits_and_below_every_mark():
    made = what_if(space=limits())
    space = limits()
    assert made["curves"][0]["pair"] == [0, 1]
    points = made["curves"][0]["points"]
    for point in points:
        w = np.zeros(5)
        for i, value in point["weights"]:
            w[i] = value
        assert space.contains(w / w.sum(), 1e-5)
        assert predicted(made, w / w.sum()) == pytest.approx(point["losses"], abs=1e-3)
    first, second = np.array([point["losses"] for point in points]).T
    assert (np.diff(first) <= 1e-9).all()
    assert (np.diff(second) >= -1e-9).all()
    w = project(np.array(made["marks"][0]["weights"]), space)
    a, b = predicted(made, w)
    assert np.interp(-a, -first, second) <= b + 1e-4, "an allowed mixture cannot beat the curve"


def test_the_best_single_source_is_that_of_counted_rows():
    logs = np.array([[-1.0, -2.0], [-1.0, -2.0], [-9.0, -1.0]])
    found = LikelihoodTable.from_array(logs, weights=[1.0, 1.0, 0.0])
    np.testing.assert_allclose(best_singles(found), [1.0, 2.0])


# ---- the part as text --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", HOSTILE)
def test_names_are_shown_as_text(name):
    names = (name, *NAMES[1:])
    text = page_alone(what_if(names, (name, "other"), 60, groups={name: list(names[:2])}), name, name)
    reader = Reader(text)
    assert reader.open == []
    assert name in reader.texts
    plain_names = ("a", *NAMES[1:])
    made = what_if(plain_names, ("b", "other"), 60, groups={"g": list(plain_names[:2])})
    plain = Reader(page_alone(made, "c", "d"))
    assert [tag for tag, _ in reader.elements] == [tag for tag, _ in plain.elements]
    assert name not in "".join(reader.scripts) or "<" not in name


def test_a_page_of_a_run_has_it_once_and_loads_nothing():
    names = tuple(source["name"] for source in realistic()["sources"])
    text = render("search", realistic(), what_if=what_if(names, space=limits(names)))
    reader = Reader(text)
    assert reader.open == []
    identifiers = [a["id"] for _, a in reader.elements if "id" in a]
    assert len(identifiers) == len(set(identifiers))
    assert {a["href"][1:] for a in reader.all("a")} <= set(identifiers)
    assert not re.search(r"https?://|url\(|@import", text.replace("http://www.w3.org/2000/svg", ""))
    assert len(reader.all("table")) == len(reader.all("caption"))
    assert "what-if" in identifiers
    assert "what-if" not in [a.get("id") for _, a in Reader(render("search", realistic())).elements]


def test_every_field_has_a_label():
    reader = Reader(page_alone(what_if(), "title"))
    labelled = {a.get("for") for a in reader.all("label")}
    fields = [a for tag in ("input", "select", "textarea") for a in reader.all(tag)]
    assert len(fields) > 5
    assert all(a["id"] in labelled or a["id"] == "wi-group" for a in fields)


def test_the_static_table_says_sample_and_error():
    made = what_if(n=6_000)
    said = " ".join(" ".join(Reader(page_alone(made, "t")).texts).split())
    first = made["targets"][0]
    assert f"of {first['of']:,}" in said
    assert f"{first['losses'][0]:.4f}" in said
    assert f"{first['shown'][0]:.4f} ± {first['errors'][0]:.4f}" in said


# ---- results and tables ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def three() -> LikelihoodTable:
    rng = np.random.default_rng(0)
    logs = rng.normal(-30, 2, (300, 3)) + np.repeat([[2, 0, 0], [0, 1, 1]], 150, axis=0)
    names = ["novels", "questions"]
    return LikelihoodTable.from_array(logs, ["a", "b", "c"], targets=np.repeat([0, 1], 150), target_names=names)


def data_of(path: Path) -> dict:
    import json

    return json.loads(re.search(r'id="what-if-data">(.*?)</script>', path.read_text(), re.S)[1])


def test_a_result_becomes_a_page(three, tmp_path):
    result = mixwright.MixMin(shrinkage=0.01).fit(
        three, target_weights={"novels": 1, "questions": 1}, sizes=[1, 2, 3], constraints=Constraints(caps={"a": 0.4})
    )
    path = write_what_if(result, tmp_path / "new" / "page.html", title=SCRIPT, mixtures={"mine": {"c": 1, "b": 1}})
    made = data_of(path)
    assert [mark["name"] for mark in made["marks"]][:4] == ["search", "mine", "uniform", "natural"]
    assert made["marks"][1]["weights"] == [0.0, 0.5, 0.5]
    assert made["marks"][0]["interval"] == np.round(result.interval(0.9), 6).tolist()
    assert made["upper"] == [0.4, 1.0, 1.0]
    for target in made["targets"]:
        assert target["losses"][0] == pytest.approx(result.target_losses[target["name"]], abs=1e-9)


def test_a_worst_regret_has_the_best_of_each_target(three, tmp_path):
    result = WorstRegret().fit(three, constraints=Constraints(caps={"a": 0.6}))
    made = data_of(write_what_if(result, tmp_path / "page.html", interval=None))
    names = [mark["name"] for mark in made["marks"]]
    assert {"best for novels", "best for questions"} <= set(names)
    for target in made["targets"]:
        assert names[target["optimum"]] == f"best for {target['name']}"
        assert target["losses"][target["optimum"]] == pytest.approx(result.best[target["name"]], abs=1e-6)
    assert made["upper"][0] == 0.6


def test_a_squared_error_has_its_moments(tmp_path):
    rng = np.random.default_rng(0)
    predictions, outcomes = rng.normal(size=(200, 3)), rng.normal(size=200)
    result = mixwright.SquaredError(shrinkage=0.0).fit(predictions, outcomes)
    made = data_of(write_what_if(result, tmp_path / "page.html"))
    assert made["targets"][0]["losses"][0] == pytest.approx(result.loss, abs=1e-12)
    w = np.array([0.2, 0.3, 0.5])
    assert predicted(made, w)[0] == pytest.approx(float(((predictions @ w - outcomes) ** 2).mean()), abs=1e-12)


def test_a_table_alone_is_enough(three, tmp_path):
    made = data_of(write_what_if(three, tmp_path / "page.html", max_rows=40))
    assert [target["rows"] for target in made["targets"]] == [40, 40]
    assert all(target["optimum"] is None for target in made["targets"])


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"mixtures": {"uniform": [1, 1, 1]}}, "'uniform' twice"),
        ({"mixtures": {"mine": [1, 1]}}, "one number per source"),
        ({"mixtures": {"mine": {"nobody": 1}}}, "found 'nobody'"),
        ({"groups": {"g": ["nobody"]}}, "found 'nobody'"),
        ({"max_rows": 0}, "at least 1"),
        ({"max_rows": True}, "at least 1"),
    ],
)
def test_bad_arguments_write_nothing(three, tmp_path, options, says):
    with pytest.raises(InputError, match=says):
        write_what_if(three, tmp_path / "page.html", **options)
    assert list(tmp_path.iterdir()) == []


def test_other_things_are_refused(tmp_path):
    with pytest.raises(TypeError, match="LikelihoodTable"):
        write_what_if(np.zeros((3, 2)), tmp_path / "page.html")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"schema": 2}, "newer mixwright"),
        ({"schema": None}, "a schema"),
        ({"sources": "abc"}, "sources should be a list"),
        ({"data": 3}, "data should be a str"),
        ({"lower": [0.0]}, "lower should be 5 numbers"),
        ({"upper": [1.0, 1.0, 1.0, 1.0, None]}, "upper should be 5 numbers"),
    ],
)
def test_damaged_objects_are_refused(change, says):
    made = {**copy.deepcopy(what_if(n=60)), **change}
    with pytest.raises(InputError, match=says):
        check_what_if(made)


def test_one_source_is_enough():
    rows = PageRows("t", "row", np.array([[-1.0], [-2.0]]), np.ones(2), 2, [1.5], 0)
    made = make_what_if(["only"], [rows], [Mark("uniform", "uniform", np.ones(1))])
    assert made["targets"][0]["shown"] == [1.5]


def test_curves_are_numbers_where_sources_are_hundreds_of_nats_apart():
    rng = np.random.default_rng(0)
    apart = rng.normal(-1000, 1, (40, 2)) + np.array([[0.0, -900.0]])
    parts = [
        TargetTable(name, LikelihoodTable.from_array(logs, ("books", "code")), 0)
        for name, logs in (("novels", apart), ("programs", apart[:, ::-1]))
    ]
    (curve,) = what_if_of_tables(parts, [Mark("uniform", "uniform", np.full(2, 0.5))])["curves"]
    losses = np.array([point["losses"] for point in curve["points"]])
    assert np.isfinite(losses).all()
    assert losses[0, 0] == pytest.approx(1900, abs=1)  # all weight on the second source
    assert losses[-1, 1] == pytest.approx(1900, abs=1)
