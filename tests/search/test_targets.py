"""Several targets: the worst regret against a grid and a general solver, the weighted sum, the curve of two targets."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize

import mixwright
from mixwright import Constraints, InputError, LikelihoodTable, MixMin, MixtureFile, WorstRegret, pareto
from mixwright.search.solver.minimax import Targets
from mixwright.simplex import project_onto_bounds

KINDS = ("plain", "identical sources", "equal targets", "one target", "one source", "zero column", "ties", "one row")
LIMITS = ("none", "bounds", "groups", "distance")


def make(kind, seed, k=None, m=None):
    """Return natural logs [n, k], targets [n] and row weights [n], degenerate in the way that `kind` says."""
    rng = np.random.default_rng(seed)
    k = k or (1 if kind == "one source" else int(rng.integers(2, 7)))
    m = m or (1 if kind == "one target" else int(rng.integers(2, 5)))
    counts = np.ones(m, int) if kind == "one row" else rng.integers(2, 20, m)
    targets = np.repeat(np.arange(m), counts)
    L = rng.normal(size=(targets.size, k)) * rng.choice([0.1, 1.0, 4.0]) + rng.normal(size=(m, k))[targets] - 32
    if kind == "identical sources":
        L[:, 0] = L[:, -1]
    if kind == "equal targets":
        targets = np.tile(np.arange(m), counts[0])
        L = np.repeat(L[: counts[0]], m, axis=0)[: targets.size]
    if kind == "zero column" and k > 1:
        L[:, 0] = np.where(targets == 0, L[:, 0], -np.inf)
    if kind == "ties":
        L = L.round(0)
    order = rng.permutation(targets.size)
    c = rng.random(targets.size) + 0.01
    return L[order], targets[order], np.ones(targets.size) if kind == "equal targets" else c


def table_of(L, targets, c):
    names = [f"t{t}" for t in range(targets.max() + 1)]
    return LikelihoodTable.from_array(L, weights=c, targets=targets, target_names=names)


def limits_of(which, seed, k):
    """Return constraints of some kind that allow some weights."""
    rng, names = np.random.default_rng([seed, 7]), [f"source_{i}" for i in range(k)]
    inside = rng.dirichlet(np.ones(k))
    if which == "bounds":
        return Constraints(
            (inside * rng.uniform(0, 1, k)).tolist(), np.minimum(1, inside + rng.uniform(0, 0.4)).tolist()
        )
    if which == "groups":
        group = names[: max(1, k // 2)]
        share = float(inside[: len(group)].sum())
        return Constraints(groups={"g": group}, group_caps={"g": min(1.0, share + 0.05)}, group_floors={"g": share / 2})
    if which == "distance":
        return Constraints(max_distance=float(rng.choice([0.0, 0.2, 1.0])))
    return Constraints()


def losses(L, targets, c, W):
    """Return f_t(w) [len(W), m] in nats per row, computed without the library."""
    out = []
    with np.errstate(divide="ignore"):
        logs = np.log(np.atleast_2d(W))
    for t in range(targets.max() + 1):
        inside = targets == t
        rows = np.logaddexp.reduce(L[inside][None] + logs[:, None], axis=2)
        out.append(-(rows @ c[inside]) / c[inside].sum())
    return np.stack(out, axis=1)


def grid(steps):
    """Return all weights of 3 sources on a grid, [., 3]."""
    i, j = np.meshgrid(np.arange(steps + 1), np.arange(steps + 1))
    i, j = i[i + j <= steps], j[i + j <= steps]
    return np.stack([i, j, steps - i - j], axis=1) / steps


@settings(max_examples=30)
@given(st.sampled_from([k for k in KINDS if k not in ("one source", "one target")]), st.integers(0, 10**6),
       st.sampled_from(LIMITS))  # fmt: skip
def test_three_sources_and_three_targets_against_a_grid(kind, seed, limits):
    L, targets, c = make(kind, seed, k=3, m=3)
    constraints = limits_of(limits, seed, 3)
    result = WorstRegret().fit(table_of(L, targets, c), constraints=constraints)
    space = constraints.allowed(["source_0", "source_1", "source_2"])
    W = grid(40)
    W = W[[space.contains(w, 1e-9) for w in W]]
    W = np.vstack([W, result.weights, *result.best_weights.values()])
    f = losses(L, targets, c, W)
    assert space.contains(result.weights, 1e-9)
    assert result.gap <= 1e-6
    best = np.array(list(result.best.values()))
    assert (f.min(0) >= best - np.array(list(result.best_gaps.values())) - 1e-12).all()
    regrets = f - f.min(0)
    ours = regrets[len(W) - 1 - len(best)]
    assert ours.max() == pytest.approx(result.worst, abs=1e-6)
    assert ours.max() <= regrets.max(1).min() + result.gap + 1e-9


def by_slsqp(L, targets, c, best, start, lower, upper):
    """Return a good feasible worst regret by scipy's SLSQP in (w, s), within bounds."""
    parts = [
        (np.exp(L[targets == t] - L[targets == t].max(1, keepdims=True)), c[targets == t]) for t in range(len(best))
    ]
    offset = np.array([-(L[targets == t].max(1) @ c[targets == t]) / c[targets == t].sum() for t in range(len(best))])

    def regrets(x):
        return np.array([-(v @ np.log(np.maximum(P @ x[:-1], 1e-300))) / v.sum() for P, v in parts]) + offset - best

    def jacobian(x):
        rows = [-(P.T @ (v / np.maximum(P @ x[:-1], 1e-300))) / v.sum() for P, v in parts]
        return np.column_stack([-np.stack(rows), np.ones(len(best))])

    found = minimize(
        lambda x: x[-1], np.r_[start, regrets(np.r_[start, 0]).max()], jac=lambda x: np.r_[np.zeros(len(x) - 1), 1.0],
        method="SLSQP", bounds=[*zip(lower, upper, strict=True), (None, None)],
        constraints=[{"type": "eq", "fun": lambda x: x[:-1].sum() - 1, "jac": lambda x: np.r_[np.ones(len(x) - 1), 0]},
                     {"type": "ineq", "fun": lambda x: x[-1] - regrets(x), "jac": jacobian}],
        options={"maxiter": 500, "ftol": 1e-14},
    )  # fmt: skip
    return project_onto_bounds(np.clip(found.x[:-1], lower, upper), lower, upper)


@settings(max_examples=60)
@given(st.sampled_from(KINDS), st.integers(0, 10**6), st.booleans())
@example("plain", 240, False)  # Mehrotra's corrector goes round in circles
@example("ties", 687511, True)
def test_the_gap_is_a_true_bound(kind, seed, bounded):
    L, targets, c = make(kind, seed)
    k = L.shape[1]
    constraints = limits_of("bounds" if bounded else "none", seed, k)
    result = WorstRegret(tolerance=1e-8).fit(table_of(L, targets, c), constraints=constraints)
    assert 0 <= result.gap <= 1e-8
    assert result.weights.sum() == pytest.approx(1, abs=1e-12)
    assert sum(result.target_weights.values()) == pytest.approx(1)
    best = np.array(list(result.best.values()))
    lower, upper = constraints.bounds(k)
    centre = lower + (upper - lower) * (1 - lower.sum()) / max((upper - lower).sum(), 1e-300)
    other = by_slsqp(L, targets, c, best, centre, lower, upper)
    f = losses(L, targets, c, np.vstack([result.weights, other]))
    assert f[0] == pytest.approx(np.array(list(result.target_losses.values())), rel=1e-9, abs=1e-11)
    worst = (f - best).max(1)
    assert worst[0] <= worst[1] + result.gap + 1e-10


@settings(max_examples=24)
@given(st.sampled_from(KINDS), st.integers(0, 10**6), st.sampled_from(LIMITS), st.sampled_from([0.0, 0.02]))
def test_the_certificate_formula_bounds_the_distance_of_any_weights(kind, seed, limits, tau):
    L, targets, c = make(kind, seed)
    constraints, table = limits_of(limits, seed, L.shape[1]), table_of(L, targets, c)
    result = WorstRegret(shrinkage=tau, tolerance=1e-8).fit(table, constraints=constraints)
    assert result.gap <= 1e-8
    problem, best = result._problem, result._best
    rng = np.random.default_rng(seed)
    if (problem.targets.region.upper <= problem.targets.region.lower).all():
        return  # one mixture alone is allowed
    own = problem.targets.region.interior(result.weights[problem.allowed.positions], 0.5)
    at = problem.targets.at(own)
    gap = problem.targets.gap(at, best, rng.dirichlet(np.ones(len(result.targets))))
    assert (at.value - best.least).max() - result.worst <= gap * (1 + 1e-9) + 1e-10


@pytest.mark.parametrize("limits", LIMITS)
@pytest.mark.parametrize("tau", [0.0, 0.05])
def test_many_targets_and_sources_reach_the_tolerance(limits, tau):
    rng = np.random.default_rng(3)
    m, k, n = 8, 40, 60
    centre = rng.normal(size=(k, 6))
    x = np.vstack([centre[rng.choice(k, 3)][rng.integers(0, 3, n)] + rng.normal(size=(n, 6)) for _ in range(m)])
    L = -0.5 * ((x[:, None] - centre) ** 2).sum(2)
    table = table_of(L, np.repeat(np.arange(m), n), np.ones(m * n))
    result = WorstRegret(shrinkage=tau).fit(table, constraints=limits_of(limits, 1, k))
    assert result.gap <= 1e-6
    regrets, shares = np.array(list(result.regrets.values())), np.array(list(result.target_weights.values()))
    assert (regrets >= 0).all()
    assert result.worst - regrets[shares > 1e-6].min() < 1e-4  # targets that count have the worst regret
    if tau == 0 and limits == "none":
        assert (result.weights == 0).any()


def test_float32_prices_reach_the_tolerance(monkeypatch):
    monkeypatch.setattr("mixwright.search.solver.evidence.EXACT_ELEMENTS", 0)
    for seed in range(10):
        L, targets, c = make("plain", seed)
        assert WorstRegret().fit(table_of(L, targets, c)).gap <= 1e-6


def test_a_programme_in_which_the_corrector_goes_round_in_circles(monkeypatch):
    L, targets, c = make("plain", 240)
    table = table_of(L, targets, c)
    assert WorstRegret(tolerance=1e-8).fit(table).gap <= 1e-8
    monkeypatch.setattr("mixwright.search.solver.programme.CAREFUL", 1000)
    with pytest.warns(RuntimeWarning, match="certificate was not reached"):  # or this problem tests nothing
        assert WorstRegret(tolerance=1e-8).fit(table).gap > 0.1


def test_one_target_is_mixmin():
    L, targets, c = make("one target", 5)
    result = WorstRegret(tolerance=1e-9).fit(table_of(L, targets, c))
    alone = MixMin(shrinkage=0.0).fit(L, row_weights=c)
    assert result.worst <= 1e-9
    assert result.target_losses["t0"] == pytest.approx(alone.loss, abs=1e-9)


def test_targets_that_are_equal_share_a_regret_of_nothing():
    L, targets, c = make("equal targets", 4)
    assert WorstRegret().fit(table_of(L, targets, c)).worst <= 1e-6


def test_targets_are_chosen_by_name():
    L, targets, c = make("plain", 1, m=3)
    result = WorstRegret().fit(table_of(L, targets, c), targets=["t2", "t0"])
    assert result.targets == ("t2", "t0")
    assert list(result.regrets) == ["t2", "t0"]


@pytest.fixture(scope="module")
def simulated():
    rng = np.random.default_rng(0)
    k, n = 5, 60
    centre = rng.normal(size=(k, 4)) * 1.5
    x = np.vstack([centre[a] + rng.normal(size=(n, 4)) for a in (0, 1)])
    L = -0.5 * ((x[:, None] - centre) ** 2).sum(2)
    return LikelihoodTable.from_array(L, list("abcde"), targets=np.repeat([0, 1], n), target_names=["one", "two"])


def test_intervals_improvement_and_verdict(simulated, tmp_path):
    result = WorstRegret().fit(simulated)
    low, high = result.interval().T
    assert (low <= result.weights + 0.02).all()
    assert (result.weights <= high + 0.02).all()
    estimate, below, above = result.improvement()
    assert below < estimate < above
    assert result.verdict.startswith("the proxies favour it over uniform")
    result.save(tmp_path / "mixture.json")
    written = MixtureFile.read(tmp_path / "mixture.json")
    assert written.method["name"] == "worst_regret"
    assert written.certificate["targets"]["one"]["regret"] == result.regrets["one"]
    assert result.improvement(over=result.weights)[1] <= 0
    assert "worst=" in repr(result)


def test_sources_that_are_the_same_are_no_better_than_uniform():
    rng = np.random.default_rng(1)
    L = np.repeat(rng.normal(size=(40, 1)), 4, axis=1) - 9
    table = table_of(L, np.arange(40) % 2, np.ones(40))
    assert WorstRegret().fit(table).verdict.startswith("no better than uniform")


def test_few_documents_are_unverified():
    table = table_of(np.log([[0.5, 0.1], [0.4, 0.1], [0.1, 0.6]]), np.array([0, 0, 1]), np.ones(3))
    result = WorstRegret().fit(table)
    assert result.verdict.startswith("unverified: 1 document(s) of target 't1'")
    assert result.to_file().uncertainty == {}
    with pytest.raises(InputError, match="at least 3 documents of each target; found 1 of target 't1'"):
        result.interval()


@settings(max_examples=24)
@given(st.sampled_from(KINDS), st.integers(0, 10**6), st.sampled_from(LIMITS))
def test_a_weighted_sum_is_one_search(kind, seed, limits):
    L, targets, c = make(kind, seed)
    m = targets.max() + 1
    shares = np.random.default_rng(seed).dirichlet(np.ones(m))
    shares[0] = 0.0 if m > 1 and seed % 3 == 0 else shares[0]
    shares /= shares.sum()
    constraints = limits_of(limits, seed, L.shape[1])
    given = {f"t{t}": 3 * float(shares[t]) for t in range(m)}
    result = MixMin(shrinkage=0.0).fit(table_of(L, targets, c), constraints=constraints, target_weights=given)
    f = losses(L, targets, c, result.weights)[0]
    assert result.loss == pytest.approx(f[shares > 0] @ shares[shares > 0], abs=1e-10)
    assert list(result.target_losses.values()) == pytest.approx(f.tolist(), abs=1e-10)
    assert list(result.target_weights.values()) == pytest.approx(shares.tolist())
    assert result.gap <= 1e-8


def test_the_weights_of_the_worst_regret_minimise_the_weighted_sum():
    L, targets, c = make("plain", 8)
    table = table_of(L, targets, c)
    result = WorstRegret(tolerance=1e-9).fit(table)
    total = MixMin(shrinkage=0.0).fit(table, target_weights=result.target_weights)
    ours = sum(result.target_losses[t] * a for t, a in result.target_weights.items())
    assert ours == pytest.approx(total.loss, abs=1e-8)


def test_a_weighted_sum_of_targets_on_file(simulated, tmp_path):
    result = MixMin(shrinkage=0.0).fit(simulated, target_weights={"one": 1, "two": 3})
    assert result.to_file().method["target_weights"] == pytest.approx({"one": 0.25, "two": 0.75})


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        (None, "target_weights={name: weight}"),
        ({}, "mapping from targets"),
        ({"three": 1}, "found 'three'"),
        ({"one": -1}, "at least 0; found -1"),
        ({"one": 0}, "positive, finite sum"),
        ({"one": float("nan")}, "at least 0; found nan"),
    ],
)
def test_target_weights_that_do_not_fit(simulated, weights, message):
    with pytest.raises(InputError, match=message):
        MixMin(shrinkage=0.0).fit(simulated, target_weights=weights)


@settings(max_examples=18)
@given(st.sampled_from(KINDS), st.integers(0, 10**6), st.sampled_from(LIMITS), st.sampled_from([0.0, 0.05]))
def test_the_curve_of_two_targets(kind, seed, limits, tau):
    L, targets, c = make(kind, seed, m=2)
    table, constraints = table_of(L, targets, c), limits_of(limits, seed, L.shape[1])
    curve = pareto(table, ("t0", "t1"), points=9, constraints=constraints, shrinkage=tau)
    assert 2 <= len(curve) <= 9
    assert (curve[0].share, curve[-1].share) == (0.0, 1.0)
    assert all(p.share < q.share for p, q in pairwise(curve))
    assert all(0 <= p.gap <= 1e-6 for p in curve)
    f = np.array([list(p.losses.values()) for p in curve])
    assert np.allclose(f, losses(L, targets, c, np.stack([p.weights for p in curve])), atol=1e-9)
    space = constraints.allowed(table.sources)
    assert all(space.contains(p.weights, 1e-9) for p in curve)
    if tau == 0:
        finite = np.isfinite(f).all(1)
        assert (np.diff(f[finite, 0]) <= 1e-11).all()
        assert (np.diff(f[finite, 1]) >= -1e-11).all()
        for end, name in ((curve[0], "t1"), (curve[-1], "t0")):
            alone = MixMin(shrinkage=0.0).fit(table.select(name), constraints=constraints)
            assert -1e-9 - alone.gap <= end.losses[name] - alone.loss <= end.gap + 1e-9


def test_points_of_a_curve_are_better_than_any_grid_for_their_share():
    L, targets, c = make("plain", 2, k=3, m=2)
    curve = pareto(table_of(L, targets, c), ("t1", "t0"), points=7)
    f = losses(L, targets, c, grid(60))
    for p in curve:
        worth = p.share * f[:, 1] + (1 - p.share) * f[:, 0]
        assert p.share * p.losses["t1"] + (1 - p.share) * p.losses["t0"] <= worth.min() + p.gap + 1e-12


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"targets": ("one",)}, "two different targets"),
        ({"targets": ("one", "one")}, "two different targets"),
        ({"targets": ("one", "three")}, "found 'three'"),
        ({"points": 1}, "at least 2; found 1"),
        ({"shrinkage": -1}, "shrinkage should be"),
        ({"tolerance": 0}, "tolerance should be"),
    ],
)
def test_curves_that_cannot_be(simulated, arguments, message):
    with pytest.raises(InputError, match=message):
        pareto(simulated, **{"targets": ("one", "two"), **arguments})


@pytest.mark.parametrize(
    ("make_settings", "fit", "message"),
    [
        ({"shrinkage": "cv"}, {}, "shrinkage should be a number"),
        ({"tolerance": 0}, {}, "tolerance should be"),
        ({"prior": "best"}, {}, "prior should be"),
        ({"prior": "natural"}, {}, "needs the sizes"),
        ({}, {"targets": []}, "different names"),
        ({}, {"targets": "one"}, "different names"),
        ({}, {"targets": ["three"]}, "found 'three'"),
        ({}, {"seed": -1}, "seed should be"),
    ],
)
def test_settings_that_do_not_fit(simulated, make_settings, fit, message):
    with pytest.raises(InputError, match=message):
        WorstRegret(**make_settings).fit(simulated, **fit)


def test_a_table_is_needed():
    with pytest.raises(TypeError, match="LikelihoodTable"):
        WorstRegret().fit(np.zeros((3, 2)))


def test_names_at_the_top():
    assert mixwright.WorstRegret is WorstRegret
    assert mixwright.pareto is pareto
    assert Targets.__doc__


@pytest.mark.parametrize(("kind", "seed", "m", "limits", "target"), [("plain", 1662, 2, "distance", "t0"),
                                                                      ("plain", 8192, 3, "groups", "t1")])  # fmt: skip
def test_mixmin_falls_back_on_these_steps(kind, seed, m, limits, target):
    L, targets, c = make(kind, seed, k=3 if m == 3 else None, m=m)
    table = table_of(L, targets, c).select(target)
    assert MixMin(shrinkage=0.0).fit(table, constraints=limits_of(limits, seed, table.k)).gap <= 1e-8


def test_a_curve_whose_optimum_lies_on_a_kink_of_a_distance():
    L, targets, c = make("zero column", 1624, m=2)
    constraints = limits_of("distance", 1624, L.shape[1])
    curve = pareto(table_of(L, targets, c), ("t0", "t1"), points=9, constraints=constraints, shrinkage=0.0)
    assert all(0 <= p.gap <= 1e-6 for p in curve)
