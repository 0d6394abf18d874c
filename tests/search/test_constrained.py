"""MixMin under all constraints: they hold, the certificate is true, the prices are right."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize

from mixwright import Constraints, InputError, LikelihoodTable, MixMin
from mixwright.constraints.quadratic import project
from mixwright.search.solver.interior import Region
from mixwright.search.solver.solve import solve
from mixwright.testing import SimulatedTarget
from test_constraints import random_constraints, violation


def make(seed, names):
    rng = np.random.default_rng(seed)
    k, n = len(names), int(rng.integers(2, 40))
    L = rng.normal(size=(n, k)) * rng.choice([0.1, 1, 5]) - 32
    if seed % 5 == 1:
        L[:, 0] = L[:, -1]
    if seed % 5 == 2:
        L = L.round(0)
    return L


def objective(L, w, penalty):
    with np.errstate(divide="ignore"):
        rows = np.logaddexp.reduce(L + np.log(np.maximum(w, 0)), axis=1)
    return -rows.mean() - (penalty * np.log(np.maximum(w, 1e-300))).sum()


def independent(L, space, penalty, start):
    """Return the objective of a good feasible point by scipy's SLSQP; the ball by its own variables."""
    k = L.shape[1]
    P, offset = np.exp(L - L.max(1, keepdims=True)), L.max(1).mean()

    def value(z):
        w = np.maximum(z[:k], 1e-12)
        y = np.maximum(P @ w, 1e-300)
        slope = -(P.T @ (1 / y)) / len(P) - penalty / w
        return -np.log(y).mean() - offset - (penalty * np.log(w)).sum(), np.r_[slope, np.zeros(z.size - k)]

    z, bounds = start, list(zip(space.lower, space.upper, strict=True))
    linear = [("eq", np.ones((1, k)), -np.ones(1)), ("ineq", -space.rows, space.limits)]
    if space.centre is not None:
        z, bounds = np.r_[start, np.maximum(start - space.centre, 0)], bounds + [(0, None)] * k
        linear = [(kind, np.hstack([A, np.zeros((len(A), k))]), b) for kind, A, b in linear]
        linear.append(("ineq", np.hstack([-np.eye(k), np.eye(k)]), space.centre))
        linear.append(("ineq", np.r_[np.zeros(k), -np.ones(k)][None], np.array([space.radius / 2])))
    limits = [
        {"type": kind, "fun": lambda z, A=A, b=b: A @ z + b, "jac": lambda z, A=A: A} for kind, A, b in linear if len(A)
    ]
    options = {"maxiter": 300, "ftol": 1e-13}
    found = minimize(value, z, jac=True, method="SLSQP", bounds=bounds, constraints=limits, options=options)
    return objective(L, project(np.clip(found.x[:k], space.lower, space.upper), space), penalty)


@settings(max_examples=40)
@given(st.integers(0, 10**6), st.sampled_from([0.0, 0.0, 1e-3, 0.1]))
def test_constraints_hold_and_the_gap_is_a_true_bound(seed, tau):
    constraints, names = random_constraints(seed)
    L = make(seed, names)
    result = MixMin(shrinkage=tau).fit(LikelihoodTable.from_array(L, names), constraints=constraints)
    assert violation(constraints, names, result.weights) <= 1e-12
    assert 0 <= result.gap <= 1e-8
    allowed = result.space.upper > 0
    penalty = tau * allowed / max(1, allowed.sum())
    assert result.objective == pytest.approx(objective(L, result.weights, penalty), rel=1e-11, abs=1e-11)
    other = independent(L, result.space, penalty, result.weights)
    assert result.objective - other <= result.gap + 1e-10


@settings(max_examples=15)
@given(st.integers(0, 10**6), st.sampled_from([0.0, 1e-3, 0.1]))
@example(96, 0.1)
def test_the_price_of_a_constraint_is_what_relaxing_it_saves(seed, tau):
    constraints, names = random_constraints(seed)
    result = MixMin(shrinkage=tau, tolerance=1e-10).fit(
        LikelihoodTable.from_array(make(seed, names), names), constraints=constraints
    )
    space, rows, more = result.space, result._search.problem.rows, 1e-5
    named = {name: (kind, i) for name, kind, i in space._named()}
    for binding in result.binding:
        kind, i = named[binding.constraint]
        lower, upper, limits, radius = space.lower.copy(), space.upper.copy(), space.limits.copy(), space.radius
        if kind == "lower" and lower[i] == upper[i]:
            continue  # a frozen weight can be moved in two directions
        if kind == "lower":
            lower[i] -= more
        elif kind == "upper":
            upper[i] += more
        elif kind == "row":
            limits[i] += more
        else:
            radius += more
        wider = replace(space, lower=lower, upper=upper, limits=limits, radius=radius).take(
            result.allowed.positions, np.zeros(len(names))
        )
        region = Region(
            wider.lower, wider.upper, tau * result._search.problem.prior, linear=None if wider.simple else wider
        )
        relaxed = solve(rows, region, 1e-10, result._search.problem.prior)
        saved = (result.objective + rows.offset - relaxed.objective) / more
        assert saved == pytest.approx(binding.price, rel=2e-2, abs=1e-3)


def test_limits_that_bind_are_in_the_result_and_in_its_file(tmp_path):
    target = SimulatedTarget.make(5, "sparse", 1.0, seed=2)
    table = LikelihoodTable.from_array(target.draw(300, 1), tuple("abcde"))
    free = MixMin(shrinkage=0.0).fit(table)
    assert free.binding == ()
    best = "abcde"[int(free.weights.argmax())]
    limits = Constraints(caps={best: 0.2}, groups={"all": list("abcde")}, group_caps={"all": 1.0})
    result = MixMin(shrinkage=0.0).fit(table, constraints=limits)
    dearest = result.binding[0]
    assert dearest.constraint == f"the cap 0.2 of source '{best}'"
    assert dearest.price > 0.01
    assert "would lower the objective by about" in str(dearest)
    file = result.to_file()
    assert file.certificate["binding"][0] == {
        "constraint": dearest.constraint, "limit": 0.2, "price": pytest.approx(dearest.price)
    }  # fmt: skip


def test_a_source_that_is_shut_out_has_its_price():
    target = SimulatedTarget.make(4, "sparse", 1.0, seed=4)
    table = LikelihoodTable.from_array(target.draw(400, 1), tuple("abcd"))
    best = int(MixMin(shrinkage=0.0).fit(table).weights.argmax())
    shut = MixMin(shrinkage=0.0, tolerance=1e-10).fit(table, constraints=Constraints(caps={"abcd"[best]: 0.0}))
    ajar = MixMin(shrinkage=0.0, tolerance=1e-10).fit(table, constraints=Constraints(caps={"abcd"[best]: 1e-5}))
    assert (shut.loss - ajar.loss) / 1e-5 == pytest.approx(shut.binding[0].price, rel=1e-2)


@pytest.mark.parametrize(
    "limits",
    [
        {"groups": {"x": ["s0", "s1", "s2"]}, "group_caps": {"x": 0.3}},
        {"groups": {"x": ["s0", "s1"], "y": ["s2", "s3", "s4", "s5"]}, "group_caps": {"x": 0.4, "y": 0.6}},
        {"max_distance": 0.4},
        {"max_distance": 0.5, "floors": {"s0": 0.1}, "frozen": {"s1": 0.1}},
    ],
)
def test_the_default_call_keeps_the_constraints_in_every_draw(limits):
    names = tuple(f"s{i}" for i in range(6))
    table = LikelihoodTable.from_array(SimulatedTarget.make(6, "sparse", 1.0, seed=8).draw(150, 1), names)
    constraints = Constraints(**limits)
    result = MixMin().fit(table, constraints=constraints)
    fixed = replace(constraints, prior=[1 / 6] * 6) if constraints.max_distance else constraints
    assert violation(fixed, names, result.weights) <= 1e-12
    for weights in result._draws:
        assert violation(fixed, names, weights) <= 1e-7
    low, high = result.interval().T
    assert (low <= result.weights + 0.05).all()
    assert (high >= result.weights - 0.05).all()
    estimate, low, high = result.improvement()
    assert low <= estimate <= high


def test_epochs_use_the_sizes_given_to_fit():
    table = LikelihoodTable.from_array(SimulatedTarget.make(3, "sparse", 1.0, seed=1).draw(200, 1), tuple("abc"))
    best = int(MixMin(shrinkage=0.0).fit(table).weights.argmax())
    sizes = np.full(3, 1e6)
    sizes[best] = 10
    result = MixMin(shrinkage=0.0).fit(table, sizes=sizes, constraints=Constraints(max_epochs=4, budget=1000))
    assert result.weights[best] == pytest.approx(0.04)
    assert "4 epochs of source" in result.binding[0].constraint


def test_a_table_in_float32_under_groups_is_certified(monkeypatch):
    from mixwright.search.solver import evidence as _evidence

    monkeypatch.setattr(_evidence, "EXACT_ELEMENTS", 1000)
    names = tuple(f"s{i}" for i in range(60))
    table = LikelihoodTable.from_array(SimulatedTarget.make(60, "sparse", 1.0).draw(5000, 1), names)
    groups = {f"g{i}": list(names[i::6]) for i in range(6)}
    for tau in (0.0, 0.01):
        limits = Constraints(groups=groups, group_caps=dict.fromkeys(groups, 0.2))
        result = MixMin(shrinkage=tau).fit(table, constraints=limits)
        assert result.gap <= 1e-8
        assert violation(limits, names, result.weights) <= 1e-12


NAMES = tuple("abcdef")
THIRDS = {"x": ["a", "b"], "y": ["c", "d"], "z": ["e", "f"]}
HALVES = {"x": ["a", "b", "c"], "y": ["d", "e", "f"]}


@pytest.mark.parametrize("shrinkage", [0.0, "cv"])
@pytest.mark.parametrize(
    "limits",
    [
        {"groups": HALVES, "group_caps": {"x": 0.0}},
        {"groups": HALVES, "group_floors": {"x": 1.0}},
        {"groups": HALVES, "group_caps": {"x": 0.4, "y": 0.6}, "max_distance": 0.7},
        {"groups": HALVES, "group_caps": {"x": 0.3}, "group_floors": {"x": 0.3}, "max_distance": 0.9},
        {"floors": {"a": 0.5, "b": 0.5}},
        {"frozen": {"a": 1.0}},
        {"frozen": dict.fromkeys(NAMES, 1 / 6)},
        {"frozen": {"a": 0.0}, "prior": [1] * 6, "max_distance": 1 / 3},
        {"caps": {"a": 0.0}, "prior": [1] * 6, "max_distance": 2 / 6},
        {"max_distance": 0.0},
        {"prior": {"a": 1.0}, "max_distance": 0.0},
        {"groups": THIRDS, "group_caps": dict.fromkeys("xyz", 0.3333333334)},
        {"floors": {"a": 0.5}, "max_distance": 2 * (0.5 - 1 / 6) + 1e-9},
        {"groups": HALVES, "group_caps": {"x": 1e-3}, "caps": {"d": 1e-3}},
    ],
)  # fmt: skip
def test_sets_with_little_or_no_room_are_solved_and_saved(limits, shrinkage, tmp_path):
    table = LikelihoodTable.from_array(SimulatedTarget.make(6, "sparse", 1.0, seed=8).draw(60, 1), NAMES)
    constraints = Constraints(**limits)
    result = MixMin(shrinkage=shrinkage).fit(table, constraints=constraints)
    given = (
        replace(constraints, prior=[1 / 6] * 6) if "max_distance" in limits and "prior" not in limits else constraints
    )
    plain = given
    if isinstance(given.prior, dict):
        plain = replace(given, prior=[given.prior.get(name, 0.0) for name in NAMES])
    elif given.prior is not None:
        plain = replace(given, prior=(np.array(given.prior) / np.sum(given.prior)).tolist())
    assert violation(plain, NAMES, result.weights) <= 2e-10
    assert result.gap <= 1e-8
    assert all(np.isfinite(b.price) for b in result.binding)
    result.save(tmp_path / "mixture.json")


def test_a_row_that_only_sources_that_are_shut_out_explain_is_an_error():
    L = SimulatedTarget.make(6, "sparse", 1.0, seed=8).draw(60, 1)
    L[5, :3] = -np.inf
    table = LikelihoodTable.from_array(L, NAMES)
    for limits in (
        {"groups": HALVES, "group_caps": {"y": 0.0}},
        {"prior": {"a": 1.0}, "max_distance": 0.0},
        {"frozen": {"a": 0.4, "b": 0.6}},
    ):
        with pytest.raises(InputError, match="row 5"):
            MixMin(shrinkage=0.0).fit(table, constraints=Constraints(**limits))


def test_many_sources_in_conflict_are_named_quickly_and_shortly():
    names = tuple(f"s{i}" for i in range(150))
    limits = Constraints(
        floors=dict.fromkeys(names, 0.002), caps=dict.fromkeys(names, 0.04), groups={"g": list(names[:100])},
        group_caps={"g": 0.1},
    )  # fmt: skip
    with pytest.raises(InputError, match="others like these") as error:
        limits.allowed(names)
    assert len(str(error.value)) < 800
