"""The smallest change of a mixture that is predicted to be enough."""

from types import SimpleNamespace

import numpy as np
import pytest
import scipy.optimize

from mixwright import Constraints, InputError, RunSearch, RunTable
from mixwright.constraints.polytope import Conflict, Polytope
from mixwright.runs.laws import LAWS
from mixwright.runs.optimum.change import OutOfReach

SOURCES = ["web", "code", "law"]


def table(n=40, noise=0.0, prices=(2.0, 1.0, 3.0), power=False):
    """Losses of 10 + prices . w, or of their exponent; the second target is the other way round."""
    rng = np.random.default_rng(0)
    W = rng.dirichlet([1, 1, 1], n)
    line = W @ np.array(prices)
    qa = 5 + np.exp(-line) if power else 10 + line
    losses = np.stack([qa, 20 - line], 1) + noise * rng.normal(size=(n, 2))
    return RunTable.from_array(W, losses, SOURCES, ["qa", "chat"], sizes=[3.0, 2.0, 2.0], tokens=1.0)


def fit(law="linear", runs=None, target="qa", **more):
    return RunSearch(law, prior="uniform", shrinkage=0.0).fit(runs or table(), target=target, **more)


def test_the_cheapest_way_by_hand():
    # from a third each the loss is 12; 2 % are .24. Moving weight from law (3) to code (1) saves 2 a unit: .12 moves
    found = fit().smallest_change(by=0.02, start="uniform")
    assert found.before == pytest.approx(12, abs=1e-3)
    assert found.after == pytest.approx(12 * 0.98, abs=1e-3)
    assert found.moved == pytest.approx(0.12, abs=1e-3)
    assert found.weights == pytest.approx([1 / 3, 1 / 3 + 0.12, 1 / 3 - 0.12], abs=1e-3)
    assert found.certified
    assert not found.unsure
    assert "moving 0.12 of the weight is predicted to lower 'qa' by 2 %" in str(found)


def test_limits_and_guardrails_hold():
    capped = fit(constraints=Constraints(caps={"code": 0.4})).smallest_change(by=0.02, start="uniform")
    # code can take .0667 of law, which saves .1333; the rest of .24 is law to web at 1 a unit
    assert capped.weights == pytest.approx([1 / 3 + 0.1067, 0.4, 1 / 3 - 0.1067 - 0.0667], abs=1e-3)
    free = fit(constraints=Constraints(caps={"code": 0.4})).smallest_change(by=0.01, start="uniform")
    assert free.moved < capped.moved
    far = Constraints(max_distance=0.2)
    assert fit(constraints=far).smallest_change(by=0.01, start="uniform").moved == pytest.approx(0.06, abs=1e-3)
    with pytest.raises(InputError, match="no allowed mixture is predicted to lower the loss of 'qa' by 2 %"):
        fit(constraints=far).smallest_change(by=0.02, start="uniform")
    held = fit(guardrails={"chat": 0.01})  # 18 at the prior: by .18 at most, which is what qa may fall
    assert held.smallest_change("qa", by=0.014, start="uniform").after == pytest.approx(12 * 0.986, abs=1e-3)
    with pytest.raises(InputError, match=r"the least that is predicted is 11\.8\d? \(1\.5 % lower\)"):
        held.smallest_change("qa", by=0.02, start="uniform")


def test_what_is_out_of_reach_is_data_too():
    near = fit(constraints=Constraints(max_distance=0.2))  # .1 may move: from law to code, 2 a unit
    with pytest.raises(OutOfReach) as raised:
        near.smallest_change(by=0.02, start="uniform")
    assert (raised.value.before, raised.value.least) == pytest.approx((12, 11.8), abs=1e-3)
    held = fit(constraints=Constraints(caps={"code": 0.2}))
    with pytest.raises(OutOfReach, match=r"the least that is predicted is 11\.8 \(7\.3 % higher\)"):
        held.smallest_change(by=0.01, start={"code": 1.0})  # 11 there, where the cap does not hold


def test_what_is_out_of_reach_of_a_loss_of_nothing_has_no_percentage():
    assert "the least that is predicted is 0.5 (higher than 0)" in str(OutOfReach("lower it", 0.0, 0.5, True))


def failing(after):
    """Return scipy's linprog, which fails of numerical trouble after some calls."""
    calls, true = [], scipy.optimize.linprog

    def linprog(*words, **more):
        calls.append(1)
        return true(*words, **more) if len(calls) <= after else SimpleNamespace(status=4, message="trouble")

    return linprog


def test_a_solver_that_fails_is_not_a_mixture_that_is_not_allowed(monkeypatch):
    result = fit()
    lowest = result.smallest_change(by=0.02, start="uniform")  # what the fit keeps is computed
    monkeypatch.setattr(scipy.optimize, "linprog", failing(0))
    found = result.smallest_change(by=0.02, start="uniform")  # on the line to the least loss
    assert not found.certified
    assert lowest.moved < found.moved < 1
    assert found.after <= 12 * 0.98 + 1e-3
    with pytest.raises(InputError, match=r"whether an allowed mixture .* by 50 %, .* is open, as the solver failed \("):
        result.smallest_change(by=0.5, start="uniform")


def test_a_linear_programme_over_the_set_by_hand():
    ball = Polytope(np.zeros(3), np.ones(3), np.ones((1, 3)), np.ones(1), centre=np.full(3, 1 / 3), radius=0.2)
    assert ball.programme(np.array([2.0, 1.0, 3.0])).x[:3] == pytest.approx([1 / 3, 1 / 3 + 0.1, 1 / 3 - 0.1])
    row, limit = np.array([[0.0, 1.0, 0.0]]), np.array([1 / 3 + 0.05])  # the rest of the way goes to the first
    found = ball.programme(np.array([2.0, 1.0, 3.0]), row, limit)
    assert found.x[:3] == pytest.approx([1 / 3 + 0.05, 1 / 3 + 0.05, 1 / 3 - 0.1])
    with pytest.raises(Conflict, match="constraints that no weights satisfy"):
        ball.programme(np.zeros(3), row, np.array([0.2]))
    # another unknown, at least the first weight and 1/2: min w_2 + t
    more = ball.programme(np.array([0.0, 1.0, 0.0, 1.0]), np.array([[1.0, 0, 0, -1], [0, 0, 0, -1]]), np.r_[0, -0.5])
    assert (more.x[3], more.x[1]) == pytest.approx((0.5, 1 / 3 - 0.1))


@pytest.mark.parametrize("law", [name for name in LAWS if name != "trees"])
def test_every_law_with_slopes(law):
    pytest.importorskip("sklearn")
    result = fit(law, table(power=True, noise=1e-3))
    found = result.smallest_change(by=0.005, start="uniform")
    assert found.start == pytest.approx(np.full(3, 1 / 3))
    assert found.weights.sum() == pytest.approx(1)
    assert (found.weights >= -1e-9).all()
    assert found.after <= found.before * 0.995 + 1e-4
    assert found.after == pytest.approx(result.predict(found.weights, None))
    assert (found.low, found.high) == pytest.approx(result.predict(found.weights)[1:])
    # no mixture that is nearer does it, among many
    W = np.random.default_rng(1).dirichlet([1, 1, 1], 4000)
    line = np.random.default_rng(2).uniform(size=(4000, 1))
    W = line * W + (1 - line) * found.start
    nearer = np.abs(W - found.start).sum(1) / 2 < 0.98 * found.moved - 1e-3
    assert (result.predict(W[nearer], None) > found.before * 0.995).all()


@pytest.mark.parametrize("law", ["exposure", "log_exposure"])
def test_a_larger_wish_is_never_cheaper_where_laws_are_not_convex(law):
    pytest.importorskip("sklearn")
    rng = np.random.default_rng(0)
    W = rng.dirichlet(np.full(5, 0.6), 60)
    E = W * 100 / np.array([40.0, 30.0, 20.0, 10.0, 5.0])
    price = np.log1p(E) @ np.array([[0.1, 0.3], [0.25, 0.0], [0.0, 0.2], [0.2, 0.2], [0.1, 0.0]])
    losses = 4 - price + 0.03 * np.maximum(E - 3, 0).sum(1)[:, None] + 0.005 * rng.normal(size=(60, 2))
    runs = RunTable.from_array(W, losses, None, ["qa", "chat"], sizes=[40.0, 30, 20, 10, 5], tokens=100.0)
    result = fit(law, runs, guardrails={"chat": 0.0})
    found = [result.smallest_change("qa", by=by, start="uniform") for by in (0.005, 0.01, 0.02)]
    moved = [one.moved for one in found]
    assert moved == sorted(moved)
    assert [one.certified for one in found] == [False] * 3 or law == "log_exposure"
    with pytest.raises(OutOfReach, match=r"^no allowed mixture (is|was found that is) predicted to lower") as raised:
        result.smallest_change("qa", by=0.5, start="uniform")
    assert raised.value.certified == ("was found" not in str(raised.value)) == found[0].certified
    for one in found:
        assert one.after <= one.before * (1 - one.by) + 1e-4
        assert result.predict_targets(one.weights)["chat"][0] <= result.goal.limits[1] + 1e-4


def test_a_change_that_the_interval_does_not_show_is_unsure():
    result = fit(runs=table(noise=0.5))
    found = result.smallest_change(by=0.002, start="uniform")
    assert found.unsure
    assert "that is less than the prediction is sure of" in str(found)
    assert not fit().smallest_change(by=0.002, start={"law": 1.0}).unsure


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"by": 0}, "by should be a share above 0 and below 1"),
        ({"by": True}, "by should be a share"),
        ({"target": "q"}, "target should name one that was fitted; found 'q'"),
        ({"start": "best"}, "start should be prior, proposal, incumbent, uniform, natural or weights; found 'best'"),
        ({"start": {"books": 1.0}}, "books"),
        ({"start": [0.5, 0.1, 0.1]}, "sum 1"),
        ({"by": 0.5}, r"by 50 %, from 1\d\.?\d* to"),
    ],
)
def test_what_does_not_fit(arguments, message):
    with pytest.raises(InputError, match=message):
        fit().smallest_change(**arguments)


def test_trees_have_no_slopes_and_several_targets_need_a_name():
    with pytest.raises(InputError, match="target should name one that was fitted"):
        fit(target=["qa", "chat"]).smallest_change()
    pytest.importorskip("lightgbm")
    with pytest.raises(InputError, match="needs a law with slopes"):
        fit("trees", table(60)).smallest_change()


def test_phases():
    rng = np.random.default_rng(0)
    W = rng.dirichlet([1, 1], (30, 2))
    table = RunTable.from_array(W, 3 - W[:, 1, 0], ["web", "code"], ["qa"])
    found = RunSearch("linear", shrinkage=0.0).fit(table).smallest_change(by=0.02, start="uniform")
    # 2.5 at the start; .05 lower: .05 more of web in the second phase, which is .025 of the whole weight
    assert found.moved == pytest.approx(0.025, abs=1e-3)
