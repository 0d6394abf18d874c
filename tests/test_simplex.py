import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import linprog

from mixwright import InputError
from mixwright.constraints.limits import Constraints
from mixwright.simplex import entropy, maximise_linear, normalise, scale_onto_bounds


@st.composite
def bounds(draw):
    k = draw(st.integers(1, 7))
    rng = np.random.default_rng(draw(st.integers(0, 10**6)))
    inside = rng.dirichlet(np.ones(k))
    lower = inside * rng.uniform(0, 1, k) * (rng.random(k) < 0.5)
    upper = np.where(rng.random(k) < 0.5, 1.0, np.minimum(1, inside + rng.uniform(0, 0.5, k)))
    return rng, lower, upper


@given(bounds())
def test_maximise_linear_is_the_linear_programme(problem):
    rng, lower, upper = problem
    gain = rng.normal(size=lower.size).round(1)
    v = maximise_linear(gain, lower, upper)
    reference = linprog(-gain, A_eq=np.ones((1, lower.size)), b_eq=[1], bounds=list(zip(lower, upper, strict=True)))
    assert v @ gain == pytest.approx(-reference.fun, abs=1e-9)
    assert v.sum() == pytest.approx(1, abs=1e-12)
    assert (v >= lower - 1e-12).all()
    assert (v <= upper + 1e-12).all()


@given(bounds(), st.booleans())
def test_scale_onto_bounds_keeps_sum_and_bounds(problem, zeros):
    rng, lower, upper = problem
    w = rng.exponential(size=lower.size) * (rng.random(lower.size) < 0.5 if zeros else 1)
    v = scale_onto_bounds(w, lower, upper)
    assert v.sum() == pytest.approx(1, abs=1e-12)
    assert (v >= lower - 1e-12).all()
    assert (v <= upper + 1e-12).all()
    free = (v > lower + 1e-9) & (v < upper - 1e-9) & (w > 0)
    if not zeros and free.sum() > 1:
        ratio = v[free] / w[free]
        assert ratio == pytest.approx(ratio[0], rel=1e-9)


def test_scale_onto_bounds_by_hand():
    v = scale_onto_bounds(np.array([1.0, 1.0, 2.0]), np.zeros(3), np.array([1.0, 1.0, 0.4]))
    assert v == pytest.approx([0.3, 0.3, 0.4])


@pytest.mark.parametrize(
    ("weights", "words"),
    [
        ([], "at least one"),
        ([[1.0]], "shape"),
        ([1, -1], "position 1"),
        ([np.nan, 1], "position 0"),
        ([0, 0], "only zeros"),
        (["a"], "numbers"),
    ],
)
def test_normalise_refuses(weights, words):
    with pytest.raises(InputError, match=words):
        normalise(weights)


def test_normalise_and_entropy():
    assert normalise([1e308, 1e308]).tolist() == [0.5, 0.5]
    assert entropy(np.array([0.5, 0.5, 0.0])) == pytest.approx(np.log(2))


@pytest.mark.parametrize(
    ("constraints", "words"),
    [
        (Constraints(floors={"c": 0.1}), "did you mean|sources are"),
        (Constraints(floors={"alpha": 0.7, "beta": 0.7}), "sum to at most 1; found 1.4"),
        (Constraints(caps=[0.2, 0.3]), "sum to at least 1; found 0.5"),
        (Constraints(floors={"alpha": 0.5}, caps={"alpha": 0.4}), "'alpha' has floor 0.5 and cap 0.4"),
        (Constraints(caps={"alpha": 1.5}), "from 0 to 1; found 1.5"),
        (Constraints(caps={"alpha": float("nan")}), "from 0 to 1; found nan"),
        (Constraints(floors={"alpha": True}), "found True"),
        (Constraints(floors=[0.1]), "one number per source"),
        (Constraints(floors={"alpah": 0.1}), "did you mean 'alpha'"),
    ],
)
def test_constraints_refuse(constraints, words):
    with pytest.raises(InputError, match=words):
        constraints.bounds(2, ("alpha", "beta"))
