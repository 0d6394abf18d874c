"""MixMin: the certificate is a true bound, and the symmetries of the problem hold."""

from dataclasses import replace
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize

import mixwright
from mixwright import Constraints, InputError, LikelihoodTable, MixMin
from mixwright.simplex import maximise_linear, scale_onto_bounds
from mixwright.testing import SimulatedTarget

KINDS = ("plain", "identical columns", "zero column", "one-hot rows", "huge", "one row", "one source", "wide", "ties")


def make(kind, seed):
    """Return natural logs [n, k] and row weights [n] of a small problem, degenerate in the way that `kind` says."""
    rng = np.random.default_rng(seed)
    n, k = int(rng.integers(2, 25)), int(rng.integers(2, 7))
    n = 1 if kind == "one row" else n
    k = {"one source": 1, "wide": 30}.get(kind, k)
    L = rng.normal(size=(n, k)) * rng.choice([0.1, 1, 5]) - 32
    if kind == "identical columns":
        L[:, 0] = L[:, -1]
    if kind == "zero column" and k > 1:
        L[:, 0] = -np.inf
    if kind == "one-hot rows":
        keep = rng.integers(0, k, n)
        L = np.where(np.arange(k) == keep[:, None], L, -np.inf)
    if kind == "huge":
        L = L * 100 - 1e6
    if kind == "ties":
        L = L.round(0)
    c = rng.random(n) * (rng.random(n) < 0.8) + (np.arange(n) == 0)
    return L, c


def objective(L, c, w, penalty):
    """Return F(w) in nats per row, computed without the library."""
    c = c / c.sum()
    with np.errstate(divide="ignore"):
        rows = np.logaddexp.reduce(L + np.log(w), axis=1)
        return -(c[c > 0] @ rows[c > 0]) - (penalty[penalty > 0] * np.log(w[penalty > 0])).sum()


def independent(L, c, penalty, lower, upper):
    """Return a good feasible point of the problem by scipy's SLSQP from several starts."""
    best = None
    P = np.exp(L - L.max(1, keepdims=True))
    c = c / c.sum()

    def value(w):
        w = np.maximum(w, 1e-300)
        y = P @ w
        return -c @ np.log(np.maximum(y, 1e-300)) - penalty @ np.log(w), -(
            P.T @ (c / np.maximum(y, 1e-300))
        ) - penalty / w

    centre = lower + (upper - lower) * (1 - lower.sum()) / max((upper - lower).sum(), 1e-300)
    for start in (centre, scale_onto_bounds(P.mean(0) + 1e-9, lower, upper)):
        found = minimize(
            value, start, jac=True, method="SLSQP", bounds=list(zip(lower, upper, strict=True)),
            constraints={"type": "eq", "fun": lambda w: w.sum() - 1, "jac": np.ones_like},
            options={"maxiter": 500, "ftol": 1e-14},
        )  # fmt: skip
        w = scale_onto_bounds(np.clip(found.x, lower, upper), lower, upper)
        if best is None or objective(L, c, w, penalty) < objective(L, c, best, penalty):
            best = w
    return best


def random_bounds(rng, k):
    inside = rng.dirichlet(np.ones(k))
    lower = inside * rng.uniform(0, 1, k) * (rng.random(k) < 0.4)
    upper = np.where(rng.random(k) < 0.6, 1.0, np.minimum(1, inside + rng.uniform(0, 0.3, k)))
    return lower, upper


@settings(max_examples=150)
@given(st.sampled_from(KINDS), st.integers(0, 10**6), st.sampled_from([0.0, 0.0, 1e-4, 0.1, 10.0]), st.booleans())
@example("one-hot rows", 3, 0.0, True)
def test_the_gap_is_a_true_bound(kind, seed, tau, bounded):
    check_the_gap(kind, seed, tau, bounded)


@settings(max_examples=80)
@given(st.sampled_from(KINDS), st.integers(0, 10**6), st.sampled_from([0.0, 0.0, 1e-4, 0.1, 10.0]), st.booleans())
def test_the_gap_is_a_true_bound_where_prices_are_float32(kind, seed, tau, bounded):
    with patch("mixwright.search.solver.evidence.EXACT_ELEMENTS", 0):
        check_the_gap(kind, seed, tau, bounded)


def check_the_gap(kind, seed, tau, bounded):
    L, c = make(kind, seed)
    k = L.shape[1]
    rng = np.random.default_rng(seed + 1)
    lower, upper = random_bounds(rng, k) if bounded else (np.zeros(k), np.ones(k))
    result = MixMin(shrinkage=tau).fit(L, row_weights=c, constraints=Constraints(lower.tolist(), upper.tolist()))
    penalty = tau * np.where(upper > 0, 1, 0) / np.count_nonzero(upper)
    w = result.weights
    reached = objective(L, c, w, penalty)
    assert w.sum() == pytest.approx(1, abs=1e-12)
    assert (w >= lower - 1e-12).all()
    assert (w <= upper + 1e-12).all()
    assert 0 <= result.gap <= 1e-8
    rounding = 1e-13 * (1 + abs(reached))
    assert result.objective == pytest.approx(reached, rel=1e-12, abs=1e-12)
    assert result.loss == pytest.approx(objective(L, c, w, 0 * penalty), rel=1e-12, abs=1e-12)
    other = objective(L, c, independent(L, c, penalty, lower, upper), penalty)
    assert reached - other <= result.gap + rounding


@settings(max_examples=80)
@given(st.sampled_from(KINDS), st.integers(0, 10**6), st.sampled_from([0.0, 0.01, 1.0]))
def test_the_certificate_formula_bounds_the_distance_of_any_weights(kind, seed, tau):
    from mixwright.search.solver.evidence import Evidence
    from mixwright.search.solver.interior import Region

    L, c = make(kind, seed)
    k = L.shape[1]
    rng = np.random.default_rng(seed + 2)
    lower, upper = random_bounds(rng, k)
    w = scale_onto_bounds(rng.dirichlet(np.ones(k)), lower, upper)
    region = Region(lower, upper, np.full(k, tau / k))
    rows = Evidence(LikelihoodTable.from_array(L), np.arange(k), c)
    gap = region.gap(rows.moments(w).gain, w)
    best = objective(L, c, independent(L, c, region.penalty, lower, upper), region.penalty)
    assert objective(L, c, w, region.penalty) - best <= gap * (1 + 1e-9) + 1e-10


@settings(max_examples=60)
@given(st.sampled_from(KINDS[:5]), st.integers(0, 10**6), st.sampled_from([0.0, 0.05]))
def test_permuting_sources_permutes_weights(kind, seed, tau):
    L, c = make(kind, seed)
    order = np.random.default_rng(seed).permutation(L.shape[1])
    a = MixMin(shrinkage=tau, tolerance=1e-11).fit(L, row_weights=c)
    b = MixMin(shrinkage=tau, tolerance=1e-11).fit(L[:, order], row_weights=c)
    assert b.objective == pytest.approx(a.objective, rel=1e-12, abs=1e-9)
    if tau > 0:  # the optimum is unique
        assert b.weights == pytest.approx(a.weights[order], abs=1e-4)


@settings(max_examples=60)
@given(st.integers(0, 10**6), st.floats(-1e6, 1e6), st.sampled_from([0.0, 0.05]))
@example(55, 1.0, 0.0)
def test_adding_a_constant_to_a_row_changes_nothing(seed, constant, tau):
    base, c = make("plain", seed)
    base[0] = base[0].round()  # whole numbers: the sum is exact
    moved = base.copy()
    moved[0] += round(constant)
    a, b = (MixMin(shrinkage=tau).fit(x, row_weights=c) for x in (base, moved))
    assert b.weights.tolist() == a.weights.tolist()
    assert b.loss == pytest.approx(a.loss - round(constant) * c[0] / c.sum(), rel=1e-9, abs=1e-9)


@settings(max_examples=60)
@given(st.integers(0, 10**6), st.sampled_from([0.05, 1.0]))
def test_repeating_rows_equals_weighting_them(seed, tau):
    L, _ = make("plain", seed)
    times = np.random.default_rng(seed).integers(0, 4, len(L))
    times[0] = 1
    a = MixMin(shrinkage=tau, tolerance=1e-11).fit(L, row_weights=times)
    b = MixMin(shrinkage=tau, tolerance=1e-11).fit(np.repeat(L, times, axis=0))
    assert b.weights == pytest.approx(a.weights, abs=1e-5)
    assert b.objective == pytest.approx(a.objective, abs=1e-10)


def test_values_by_hand():
    """Two rows, each possible under one source: w is the share of the row weights, then pulled to the prior."""
    L = np.log([[0.5, 0.0], [0.0, 0.25]], where=[[True, False], [False, True]], out=np.full((2, 2), -np.inf))
    result = MixMin(shrinkage=0.0).fit(L, row_weights=[3, 1])
    assert result.weights == pytest.approx([0.75, 0.25], abs=1e-5)
    assert result.loss == pytest.approx(-(0.75 * np.log(0.75 * 0.5) + 0.25 * np.log(0.25 * 0.25)))
    shrunk = MixMin(shrinkage=1.0).fit(L, row_weights=[3, 1])
    assert shrunk.weights == pytest.approx([(0.75 + 0.5) / 2, (0.25 + 0.5) / 2], abs=1e-7)


def test_a_large_table_in_float32_is_certified_in_float64(monkeypatch):
    from mixwright.search.solver import evidence as _evidence

    target = SimulatedTarget.make(120, "sparse", 1.0)
    L = target.draw(3000, 1)
    exact = MixMin(shrinkage=0.0).fit(L)
    monkeypatch.setattr(_evidence, "EXACT_ELEMENTS", 1000)
    for tau in (0.0, 0.01):
        result = MixMin(shrinkage=tau).fit(L)
        assert result._search.problem.rows.P.dtype == np.float32
        assert result.gap <= 1e-8
        assert result.objective == pytest.approx(MixMin(shrinkage=tau).fit(L).objective, abs=1e-12)
    assert MixMin(shrinkage=0.0).fit(L).loss == pytest.approx(exact.loss, abs=1e-8)


def test_the_optimum_is_sparse_at_zero_shrinkage_and_full_otherwise():
    target = SimulatedTarget.make(99, "sparse", 1.0, seed=3)
    L = target.draw(2000, 1)
    exact = MixMin(shrinkage=0.0).fit(L)
    assert (exact.weights == 0).sum() > 60
    assert (MixMin(shrinkage=0.01).fit(L).weights > 0).all()
    assert exact.weights @ target.truth > 0.5 * target.truth @ target.truth


def test_a_source_outside_the_working_set_with_its_own_row_is_found():
    """One outlying row that a single source of 300 explains: its weight is its share of the rows."""
    target = SimulatedTarget.make(300, "sparse", 1.0, seed=5)
    L = np.vstack([target.draw(5000, 2), np.full(300, -1e4)])
    L[-1, 7] = 0
    result = MixMin(shrinkage=0.0).fit(L)
    assert result.gap <= 1e-8
    assert result.weights[7] >= 1 / 5001 * 0.999


def test_natural_prior_caps_and_floors():
    L = SimulatedTarget.make(5, "uniform", 0.5, seed=1).draw(400, 2)
    result = MixMin(prior="natural", shrinkage=100.0).fit(L, sizes=[4, 3, 2, 1, 0.5])
    assert result.weights == pytest.approx(np.array([4, 3, 2, 1, 0.5]) / 10.5, abs=5e-3)
    capped = MixMin(prior="natural", shrinkage=100.0).fit(
        L, sizes=[4, 3, 2, 1, 0.5], constraints=Constraints(caps={"source_0": 0})
    )
    assert capped.weights[0] == 0
    assert capped.weights[1:] == pytest.approx(np.array([3, 2, 1, 0.5]) / 6.5, abs=5e-3)
    fixed = MixMin(shrinkage=0.0).fit(L, constraints=Constraints(floors=[0.2] * 5))
    assert fixed.weights == pytest.approx([0.2] * 5)
    assert fixed.gap <= 1e-8


def test_two_calls_give_the_same_numbers():
    L = SimulatedTarget.make(8, "sparse", 0.5, seed=1).draw(120, 2)
    a, b = (MixMin().fit(L, seed=3) for _ in range(2))
    assert a.weights.tolist() == b.weights.tolist()
    assert a.interval().tolist() == b.interval().tolist()
    assert a.improvement() == b.improvement()
    assert a.improvement() != MixMin().fit(L, seed=4).improvement()


def test_documents_are_kept_together():
    """Each document's rows repeated ten times are no more evidence than once: the interval does not shrink."""
    L = SimulatedTarget.make(4, "sparse", 1.0, seed=1).draw(60, 2)
    once = MixMin(shrinkage=0.1).fit(L)
    tenfold = MixMin(shrinkage=0.1).fit(np.repeat(L, 10, axis=0), documents=np.repeat(np.arange(60), 10))
    assert tenfold.documents == 60
    assert tenfold.interval() == pytest.approx(once.interval(), abs=2e-2)
    assert tenfold.improvement() == pytest.approx(once.improvement(), rel=0.05, abs=1e-3)


def test_interval_contains_the_weights_and_grows_with_the_level():
    L = SimulatedTarget.make(6, "sparse", 1.0, seed=2).draw(300, 3)
    result = MixMin().fit(L)
    narrow, wide = result.interval(0.5), result.interval(0.95)
    assert (wide[:, 0] <= narrow[:, 0]).all()
    assert (narrow[:, 1] <= wide[:, 1]).all()
    assert ((wide[:, 0] - 0.02 <= result.weights) & (result.weights <= wide[:, 1] + 0.02)).all()


def test_verdicts():
    strong = SimulatedTarget.make(5, "sparse", 1.0, seed=2)
    assert MixMin().fit(strong.draw(400, 1)).verdict.startswith("the proxies favour it over uniform by ")
    null = SimulatedTarget.make(5, "uniform", 0.5, seed=2)
    assert MixMin().fit(null.draw(200, 1)).verdict.startswith("no better than uniform on this evidence")
    assert "one source" in MixMin(shrinkage=0.0).fit(np.zeros((5, 1))).verdict
    assert MixMin(shrinkage=0.0).fit(np.zeros((2, 3))).verdict.startswith("unverified")


def test_save_and_read_back(tmp_path):
    L = SimulatedTarget.make(3, "sparse", 1.0, seed=2).draw(100, 1)
    result = MixMin().fit(L)
    result.save(tmp_path / "mixture.json", sources=["a", "b", "c"])
    read = mixwright.MixtureFile.read(tmp_path / "mixture.json")
    assert read.sources == ("a", "b", "c")
    assert read.weights == tuple(result.weights)
    assert read.verdict == result.verdict
    assert read.certificate["gap"] == result.gap
    with pytest.raises(InputError, match="3 names"):
        result.save(tmp_path / "other.json", sources=["a"])
    assert not (tmp_path / "other.json").exists()


FLAT = np.zeros((4, 2))


@pytest.mark.parametrize(
    ("settings", "arguments", "words"),
    [
        ({}, {"evidence": np.full((4, 2), np.nan)}, "nan"),
        ({}, {"evidence": np.array([[0, np.inf], [0, 0], [0, 0]])}, "inf"),
        ({}, {"evidence": np.vstack([FLAT, [[-np.inf, -np.inf]]])}, "row 4"),
        ({}, {"evidence": np.zeros(3)}, "shape|dimension"),
        ({}, {"evidence": np.zeros((3, 0))}, "source"),
        ({}, {"evidence": np.zeros((0, 3))}, "row"),
        ({}, {"evidence": FLAT, "row_weights": [1, 1, -1, 1]}, "row_weights.*-1.*position 2"),
        ({}, {"evidence": FLAT, "row_weights": [0, 0, 0, 0]}, "row_weights.*only zeros"),
        ({}, {"evidence": FLAT, "row_weights": [1, 1]}, "one number per row \\(4\\); found 2"),
        ({}, {"evidence": FLAT, "sizes": [1, 2, 3]}, "sizes.*\\(2\\); found 3"),
        ({}, {"evidence": FLAT, "seed": -1}, "seed"),
        ({}, {"evidence": FLAT[:2]}, "at least 3 documents; found 2"),
        ({"prior": "natural"}, {"evidence": FLAT}, "sizes"),
        ({"prior": "natrual"}, {"evidence": FLAT}, "natrual"),
        ({"prior": [1, 2, 3]}, {"evidence": FLAT}, "prior.*\\(2\\); found 3"),
        ({"prior": [1, 0]}, {"evidence": FLAT, "constraints": Constraints(caps={"source_0": 0})}, "cap 0"),
        ({"shrinkage": -1.0}, {"evidence": FLAT}, "shrinkage.*-1"),
        ({"shrinkage": "auto"}, {"evidence": FLAT}, "'cv'"),
        ({"tolerance": 0}, {"evidence": FLAT}, "tolerance"),
    ],
)
def test_bad_input_is_one_clear_error(settings, arguments, words):
    with pytest.raises(InputError, match=f"(?i){words}"):
        MixMin(**settings).fit(**arguments)


def test_a_row_that_only_a_forbidden_source_explains_is_an_error():
    L = np.zeros((4, 2))
    L[2, 0] = -np.inf
    with pytest.raises(InputError, match="row 2 is -inf"):
        MixMin(shrinkage=0.0).fit(L, constraints=Constraints(caps={"source_1": 0}))


def test_several_targets_ask_for_one():
    table = LikelihoodTable.from_array(
        np.zeros((6, 2)), targets=np.array([0, 0, 0, 1, 1, 1]), target_names=["qa", "web"]
    )
    with pytest.raises(InputError, match=r"table\.select"):
        MixMin().fit(table)
    assert MixMin(shrinkage=0.0).fit(table.select("qa")).rows == 3


def test_improvement_and_interval_refuse_bad_levels():
    result = MixMin(shrinkage=0.0).fit(np.zeros((5, 2)))
    with pytest.raises(InputError, match="sum 1; found sum 2"):
        result.improvement(over=[1, 1])
    with pytest.raises(InputError, match="at least 3 documents"):
        MixMin(shrinkage=0.0).fit(np.zeros((2, 2))).interval()
    for bad in (0, 1, 90, "high"):
        with pytest.raises(InputError, match="level"):
            result.interval(bad)
    with pytest.raises(InputError, match="sizes"):
        result.improvement(over="natural")


def test_the_least_loss_of_a_linear_programme_is_at_a_vertex():
    assert maximise_linear(np.array([1.0, 3.0, 2.0]), np.zeros(3), np.array([1, 0.4, 0.4])) == pytest.approx(
        [0.2, 0.4, 0.4]
    )


@pytest.mark.parametrize(
    "constraints",
    [
        Constraints(floors=[0.5, 0, 0, 0, 0]),
        Constraints(caps=[0.1, 0.1, 1, 1, 1]),
        Constraints(floors=[0.2, 0.1, 0, 0, 0], caps=[0.2, 1, 1, 0.3, 0]),
        Constraints(floors=[0.6, 0.1, 0.1, 0.1, 0.1]),
    ],
)
@pytest.mark.parametrize("shrinkage", ["cv", 0.0])
def test_folds_and_draws_keep_the_bounds(constraints, shrinkage):
    L = np.log(np.random.default_rng(0).dirichlet(np.ones(5), 300))
    result = MixMin(shrinkage=shrinkage).fit(L, constraints=constraints)
    lower, upper = (b[result.allowed.positions] for b in constraints.bounds(5))
    result.improvement()
    folds = result._folds.weights if result._folds else np.empty((0, lower.size))
    for W in (folds.reshape(-1, lower.size), result._draws):
        assert W.sum(1) == pytest.approx(1, abs=1e-9)
        assert (lower - 1e-9 <= W).all()
        assert (upper + 1e-9 >= W).all()


def test_a_floor_that_hurts_is_not_called_better():
    """The sources are exchangeable, so half of everything on one of them cannot beat uniform."""
    L = np.log(np.random.default_rng(0).dirichlet(np.ones(5), 300))
    result = MixMin().fit(L, constraints=Constraints(floors=[0.5, 0, 0, 0, 0]))
    assert result.improvement()[0] < 0
    assert result.verdict.startswith("no better than uniform")


def test_improvement_over_weights_that_make_a_row_hopeless():
    L = np.random.default_rng(1).normal(size=(30, 3)) * 1000 - 5000
    estimate, low, high = MixMin(shrinkage=0.1).fit(L).improvement(over=[1, 0, 0])
    assert np.isfinite([estimate, low, high]).all()
    assert estimate > 100
    L[4, 0] = -np.inf
    with pytest.raises(InputError, match="row 4 is -inf"):
        MixMin(shrinkage=0.1).fit(L).improvement(over=[1, 0, 0])


def test_documents_without_weight_do_not_disturb_the_folds():
    L = SimulatedTarget.make(3, "sparse", 1.0, seed=2).draw(30, 1)
    weights = np.zeros(30)
    weights[:12] = 1
    result = MixMin().fit(L, row_weights=weights)
    assert result.documents == 12
    assert np.isfinite(result.improvement()).all()
    assert result.improvement() == pytest.approx(MixMin().fit(L[:12]).improvement(), rel=0.5, abs=0.5)


def test_the_level_of_the_verdict_is_that_of_the_file():
    L = SimulatedTarget.make(6, "sparse", 0.5, seed=2).draw(300, 3)
    result = MixMin().fit(L)
    _, low, _ = result.improvement(level=0.999)
    assert "99.9 % interval" in result.to_file(level=0.999).verdict
    assert result.to_file(level=0.999).verdict.startswith("better") == (low > 0)


def test_a_certificate_that_is_not_reached_is_said(monkeypatch):
    from mixwright.search import mixmin

    def stopped_early(*arguments):
        return replace(solve(*arguments), gap=1e-3)

    solve = mixmin.solve_certified
    monkeypatch.setattr(mixmin, "solve_certified", stopped_early)
    L = SimulatedTarget.make(6, "sparse", 0.5, seed=2).draw(50, 3)
    with pytest.warns(RuntimeWarning, match="certificate was not reached"):
        result = MixMin(shrinkage=0.1).fit(L)
    assert "certificate was not reached" in result.verdict


def test_the_largest_shrinkage_is_allowed():
    MixMin(shrinkage=1e6)
    with pytest.raises(InputError, match=r"a number from 0 to 1,000,000, found 1000001\.0"):
        MixMin(shrinkage=1e6 + 1)
