"""What weights are allowed: bounds, groups, epochs, distances; conflicts that are named; projections."""

from types import SimpleNamespace

import numpy as np
import pytest
import scipy.optimize
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize

from mixwright import Constraints, InputError
from mixwright.constraints import newton
from mixwright.constraints.quadratic import project
from mixwright.simplex import project_onto_bounds, scale_onto_bounds

NAMES = tuple("abcdefgh")


def random_constraints(seed, k=None):
    """Return constraints that some random weights satisfy, with the names of their sources."""
    rng = np.random.default_rng(seed)
    k = int(rng.integers(2, 9)) if k is None else k
    names, x = NAMES[:k], rng.dirichlet(np.ones(k))
    given = {}
    if rng.random() < 0.4:
        given["floors"] = {names[0]: float(x[0] * rng.random())}
    if rng.random() < 0.5:
        given["caps"] = {names[-1]: float(min(1, x[-1] + 0.1 * rng.random()))}
    if k > 2 and rng.random() < 0.2:
        given["frozen"] = {names[1]: float(x[1])}
    groups, floors, caps = {}, {}, {}
    for g in range(int(rng.integers(0, 3))):
        members = [names[i] for i in np.flatnonzero(rng.random(k) < 0.5)]
        if members:
            total = float(sum(x[names.index(m)] for m in members))
            groups[f"g{g}"] = members
            if rng.random() < 0.5:
                floors[f"g{g}"] = float(min(1, total) * rng.choice([1, rng.random()]))
            else:
                caps[f"g{g}"] = float(min(1, total + rng.choice([0, 0.1]) * rng.random()))
    if groups:
        given |= {"groups": groups, "group_floors": floors, "group_caps": caps}
    if rng.random() < 0.4:
        p = rng.dirichlet(np.ones(k))
        distance = float(min(2, np.abs(p - x).sum() * (1 + rng.random() * 0.3) + 1e-3))
        given |= {"prior": p.tolist(), "max_distance": distance}
    return Constraints(**given), names


def violation(constraints, names, w):
    """Return by how much some weights break the constraints, computed from the settings alone."""
    found = [abs(w.sum() - 1), *(-w)]
    found += [floor - w[names.index(s)] for s, floor in (constraints.floors or {}).items()]
    found += [w[names.index(s)] - cap for s, cap in (constraints.caps or {}).items()]
    found += [abs(w[names.index(s)] - value) for s, value in (constraints.frozen or {}).items()]
    total = {g: sum(w[names.index(s)] for s in members) for g, members in (constraints.groups or {}).items()}
    found += [floor - total[g] for g, floor in (constraints.group_floors or {}).items()]
    found += [total[g] - cap for g, cap in (constraints.group_caps or {}).items()]
    if constraints.max_distance is not None:
        found.append(np.abs(w - np.array(constraints.prior)).sum() - constraints.max_distance)
    return max(found)


@settings(max_examples=100)
@given(st.integers(0, 10**6))
def test_a_projection_is_allowed_and_no_allowed_weights_are_nearer(seed):
    constraints, names = random_constraints(seed)
    rng = np.random.default_rng(seed + 1)
    w = rng.normal(size=len(names)) if seed % 2 else rng.dirichlet(np.ones(len(names)))
    v = constraints.project(w, names)
    assert violation(constraints, names, v) <= 1e-12
    space = constraints.allowed(names)
    assert space.maximum(w - v).bound - (w - v) @ v <= 1e-7  # the optimality condition of a projection
    assert constraints.project(v, names) == pytest.approx(v, abs=1e-9)


@settings(max_examples=100)
@given(st.integers(0, 10**6))
def test_projection_onto_bounds_against_an_independent_solver(seed):
    rng = np.random.default_rng(seed)
    k = int(rng.integers(1, 8))
    x = rng.dirichlet(np.ones(k))
    lower = x * rng.random(k) * (rng.random(k) < 0.5)
    upper = np.where(rng.random(k) < 0.5, 1.0, np.minimum(1, x + 0.1 * rng.random(k)))
    w = rng.normal(size=k)
    v = project_onto_bounds(w, lower, upper)
    assert v.sum() == pytest.approx(1, abs=1e-12)
    assert (v >= lower).all()
    assert (v <= upper).all()
    found = minimize(
        lambda z: ((z - w) ** 2).sum(), x, method="SLSQP", bounds=list(zip(lower, upper, strict=True)),
        constraints={"type": "eq", "fun": lambda z: z.sum() - 1}, options={"ftol": 1e-14, "maxiter": 500},
    )  # fmt: skip
    assert ((v - w) ** 2).sum() <= ((found.x - w) ** 2).sum() + 1e-7


@settings(max_examples=25)
@given(st.integers(0, 10**6))
def test_the_bound_of_a_linear_gain_holds_for_all_allowed_weights_and_is_reached(seed):
    constraints, names = random_constraints(seed)
    rng = np.random.default_rng(seed + 2)
    space = constraints.allowed(names)
    gain = rng.normal(size=len(names))
    bound = space.maximum(gain).bound
    for _ in range(8):
        assert gain @ project(rng.dirichlet(np.ones(len(names)) * 0.3), space) <= bound + 1e-9
    far = project(1e4 * gain, space)  # the nearest to a point far out in the direction of the gain
    assert gain @ far == pytest.approx(bound, abs=1e-3)


def test_epochs_limit_by_size_and_budget():
    limits = Constraints(max_epochs=4, budget=1000)
    lower, upper = limits.bounds(3, ("a", "b", "c"), sizes=[50, 100, 900])
    assert lower.tolist() == [0, 0, 0]
    assert upper.tolist() == [0.2, 0.4, 1.0]
    some = Constraints(max_epochs={"a": 2}, budget=1000)
    assert some.bounds(2, ("a", "b"), [50, 1])[1].tolist() == [0.1, 1.0]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"groups": {"text": ["law", "web"]}, "group_caps": {"text": 0.2}, "caps": {"code": 0.5}},
         ["the cap 0.5 of source 'code'", "the cap 0.2 of group 'text'"]),
        ({"groups": {"x": ["law"], "y": ["law", "web"]}, "group_floors": {"x": 0.6}, "group_caps": {"y": 0.5}},
         ["the floor 0.6 of group 'x'", "the cap 0.5 of group 'y'"]),
        ({"floors": {"code": 0.9}, "max_distance": 0.1}, ["the floor 0.9 of source 'code'", "the distance 0.1"]),
        ({"frozen": {"law": 0.5}, "groups": {"t": ["law", "web"]}, "group_caps": {"t": 0.4}, "caps": {"code": 0.7}},
         ["the frozen weight 0.5 of source 'law'", "the cap 0.4 of group 't'"]),
    ],
)  # fmt: skip
def test_a_conflict_names_those_that_take_part_and_no_others(given, words):
    with pytest.raises(InputError) as error:
        Constraints(**given).allowed(("law", "web", "code"))
    for word in words:
        assert word in str(error.value)
    for other in ("the cap 0.7", "the floor 0.05"):
        assert other not in str(error.value)


def test_a_solver_that_fails_has_found_no_conflict(monkeypatch):
    failed = SimpleNamespace(status=4, message="numerical trouble.")
    monkeypatch.setattr("scipy.optimize.linprog", lambda *words, **more: failed)
    constraints = Constraints(groups={"both": ["a", "b"]}, group_caps={"both": 0.5})
    words = r"whether any do is open, as the solver failed \(numerical trouble\); relax"
    with pytest.raises(InputError, match=words):
        constraints.project([0.2, 0.3, 0.5], ["a", "b", "c"])


def test_a_conflict_that_is_proven_stays_one_if_the_solver_fails_later(monkeypatch):
    calls, true = [], scipy.optimize.linprog

    def linprog(*words, **more):
        calls.append(1)
        return true(*words, **more) if len(calls) == 1 else SimpleNamespace(status=4, message="numerical trouble.")

    monkeypatch.setattr("scipy.optimize.linprog", linprog)
    constraints = Constraints(groups={"text": ["law", "web"]}, group_caps={"text": 0.2}, caps={"code": 0.5})
    with pytest.raises(InputError, match=r"found a conflict between .*cap 0.5 of source 'code'.*cap 0.2 of group"):
        constraints.allowed(("law", "web", "code"))


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"groups": {"text": ["lwa"]}, "group_caps": {"text": 0.2}}, ["group 'text'", "did you mean 'law'"]),
        ({"groups": {"text": ["law", "law"]}}, ["once", "'law'"]),
        ({"groups": {"text": []}}, ["group 'text'", "at least one"]),
        ({"groups": {"text": "law"}}, ["group 'text'", "list"]),
        ({"group_caps": {"text": 0.2}}, ["group_caps", "text"]),
        ({"groups": {"text": ["law"]}, "group_caps": {"txet": 0.2}}, ["did you mean 'text'"]),
        ({"groups": {"text": ["law"]}, "group_caps": {"text": 1.2}}, ["group 'text'", "1.2"]),
        ({"frozen": {"lwa": 0.5}}, ["did you mean 'law'"]),
        ({"frozen": {"law": 0.5}, "caps": {"law": 0.4}}, ["frozen", "0.4", "0.5"]),
        ({"frozen": {"law": 0.6, "web": 0.6}}, ["sum to at most 1"]),
        ({"max_epochs": 4}, ["budget"]),
        ({"budget": 4}, ["max_epochs"]),
        ({"max_epochs": 4, "budget": 0}, ["budget", "positive"]),
        ({"max_epochs": 4, "budget": float("nan")}, ["budget", "positive"]),
        ({"max_epochs": -1, "budget": 10}, ["max_epochs", "-1"]),
        ({"max_epochs": {"lwa": 1}, "budget": 10}, ["did you mean 'law'"]),
        ({"max_epochs": 1, "budget": 1000}, ["60", "lower the budget"]),
        ({"max_distance": 2.5}, ["max_distance", "2.5"]),
        ({"prior": [1, 1, 1]}, ["max_distance"]),
        ({"prior": [1, 1], "max_distance": 0.5}, ["prior", "3"]),
        ({"prior": {"lwa": 1}, "max_distance": 0.5}, ["did you mean 'law'"]),
        ({"groups": [["law"]]}, ["groups", "mapping"]),
    ],
)  # fmt: skip
def test_bad_constraints_say_what_is_wrong(given, words):
    with pytest.raises(InputError) as error:
        Constraints(**given).allowed(("law", "web", "code"), sizes=[10, 20, 30])
    for word in words:
        assert word in str(error.value), str(error.value)


def test_epochs_need_sizes():
    with pytest.raises(InputError, match="sizes"):
        Constraints(max_epochs=1, budget=5).allowed(("a", "b"))


@settings(max_examples=200)
@given(
    st.fixed_dictionaries(
        {},
        optional={
            name: st.one_of(
                st.none(), st.floats(), st.integers(-2, 3), st.text(max_size=3),
                st.dictionaries(st.sampled_from(["a", "b", "c", "g"]), st.floats(-1, 2), max_size=3),
                st.lists(st.floats(-1, 2), max_size=4),
                st.dictionaries(st.sampled_from(["g", "h"]), st.lists(st.sampled_from("abcx"), max_size=3), max_size=2),
            )
            for name in ("floors", "caps", "frozen", "groups", "group_floors", "group_caps", "max_epochs", "budget",
                         "max_distance", "prior")
        },
    )
)  # fmt: skip
def test_any_settings_give_a_set_or_one_clear_error(given):
    try:
        space = Constraints(**given).allowed(("a", "b", "c"), sizes=[1, 2, 3])
    except InputError as error:
        message = str(error)
    else:
        message = "none"
        w = project(np.full(3, 1 / 3), space)
        assert space.contains(w, 1e-12)
    assert message


@pytest.mark.parametrize("seed", range(30))
def test_a_quadratic_step_is_the_optimum_in_its_bounds_either_way(seed, monkeypatch):
    rng = np.random.default_rng(seed)
    k = int(rng.integers(2, 30))
    A = k * rng.dirichlet(np.full(k, 0.3), 100)
    H, gain = A.T @ A / 100, 1 + 0.3 * rng.normal(size=k)
    lower = rng.random(k) * 0.3 / k * (seed % 2)
    upper = np.ones(k) if seed % 3 else np.minimum(1, lower + 0.2 + rng.random(k))
    w = scale_onto_bounds(rng.dirichlet(np.full(k, 0.3)) + 1e-300, lower, upper)
    settled = newton._active_set(H, gain, w, lower, upper) is not None
    found = newton.quadratic_step(H, gain, w, lower, upper)
    assert found is not None
    monkeypatch.setattr(newton, "_active_set", lambda *arguments: None)
    other = newton.quadratic_step(H, gain, w, lower, upper)
    assert found == pytest.approx(other, abs=1e-7)
    assert found.sum() == pytest.approx(1, abs=1e-14)
    assert ((found >= lower) & (found <= upper)).all()
    push = gain - H @ (found - w)  # at the optimum equal for all that are free, smaller on the floor, larger on the cap
    free = (found > lower + 1e-9) & (found < upper - 1e-9)
    level = push[free].mean() if free.any() else 0.5 * (push[found <= lower].max() + push[found >= upper].min())
    assert push[free] == pytest.approx(level, abs=1e-8)
    assert (push[found <= lower] <= level + 1e-8).all()
    assert (push[found >= upper] >= level - 1e-8).all()
    assert settled
