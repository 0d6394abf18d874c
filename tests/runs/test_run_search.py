"""Proposals from tables of runs."""

import re
import subprocess
import sys

import numpy as np
import pytest
from scipy.optimize import linprog

from mixwright import Constraints, InputError, MixtureFile, RunSearch, RunTable
from mixwright.runs.laws import FittedLaw
from mixwright.runs.optimum import hull
from mixwright.runs.optimum.hull import nearest_in_hull, weight_into_hull
from mixwright.runs.optimum.minimise import Objective, minimise
from mixwright.runs.optimum.outer import WeightedSum
from mixwright.search import SearchResult

SOURCES = ["web", "code", "law"]


def table(n=40, noise=0.0, seed=0, **more):
    rng = np.random.default_rng(seed)
    W = rng.dirichlet([1, 1, 1], n)
    y = 2 + np.exp(-W @ [2.0, 1.0, 0.0]) + noise * rng.normal(size=n)
    return RunTable.from_array(W, y, SOURCES, ["qa"], **more)


def test_a_result_has_what_the_others_have(tmp_path):
    limits = Constraints(caps={"web": 0.3})
    sizes = {"law": 3.0, "web": 1.0, "code": 6.0}
    found = RunSearch(law="log_linear").fit(table(noise=0.01), target="qa", sizes=sizes, constraints=limits)
    assert isinstance(found, SearchResult)
    assert found.weights.sum() == pytest.approx(1)
    assert found.weights[0] == pytest.approx(0.3, abs=1e-6)
    assert found.prior.tolist() == pytest.approx([0.1, 0.6, 0.3])  # natural, where sizes are known
    low, high = found.interval().T
    assert (low <= found.weights + 1e-9).all()
    assert (found.weights <= high + 1e-9).all()
    assert found.verdict.startswith("unverified: ")
    found.save(tmp_path / "mixture.json")
    written = MixtureFile.read(tmp_path / "mixture.json")
    assert written.method["law"] == "log_linear"
    assert written.certificate["incumbent"]["loss"] == found.incumbent.loss


def test_the_optimum_of_a_true_law_is_found_and_certified():
    found = RunSearch(law="log_linear", shrinkage=0.0).fit(table(), target="qa")
    assert found.weights == pytest.approx([1, 0, 0], abs=1e-6)
    assert found.predicted == pytest.approx(2 + np.exp(-2), abs=0.01)
    assert 0 <= found.gap <= 1e-4


def test_predictions_have_intervals_that_include_the_optimism():
    found = RunSearch(law="linear").fit(table(noise=0.05), target="qa")
    mean, low, high = found.predict(found.weights)
    assert mean == pytest.approx(found.predicted)
    assert (low, high) == pytest.approx([found.predicted + end for end in found.optimism_interval()])
    assert found.predict(found.weights[None], level=None).tolist() == [mean]
    assert low < mean + found.optimism < high


def test_targets_have_intervals_of_their_own():
    one = RunSearch(law="linear").fit(table(noise=0.05), target="qa")
    W = np.vstack([one.weights, np.full(3, 1 / 3)])
    for part, whole in zip(one.predict_targets(W, 0.8)["qa"], one.predict(W, 0.8), strict=True):
        np.testing.assert_allclose(part, whole, rtol=0, atol=1e-12)  # one target is all that counts
    two = RunSearch(law="linear").fit(two_targets(), target=["qa", "code"])
    found, total = two.predict_targets(W, 0.9), two.predict(W, 0.9)
    assert np.mean([mean for mean, _, _ in found.values()], axis=0) == pytest.approx(total[0])
    for mean, low, high in found.values():
        assert (low < mean).all()
        assert (mean < high).all()


def test_the_incumbent_is_the_best_measured_mixture_that_is_allowed():
    runs = table(noise=0.01)
    best = int(runs.losses[:, 0].argmin())
    assert RunSearch(law="linear").fit(runs).incumbent.run == runs.runs[best]
    limits = Constraints(caps={"web": float(runs.weights[best, 0]) - 0.01})
    other = RunSearch(law="linear").fit(runs, constraints=limits).incumbent
    assert other.run != runs.runs[best]
    assert other.weights[0] <= runs.weights[best, 0] - 0.01


@pytest.mark.parametrize(
    ("settings", "arguments", "message"),
    [
        ({"law": "log"}, {}, "law should be 'auto', a law or its name; found 'log'"),
        ({}, {"target": "qas"}, "did you mean 'qa'"),
        ({}, {"target": {"qa": -1.0}}, "the share of target 'qa' should be a number above 0"),
        ({}, {"scale": "1B"}, "scale should be one of the table's"),
        ({"shrinkage": -1.0}, {}, "shrinkage should be"),
    ],
)
def test_settings_that_do_not_fit(settings, arguments, message):
    with pytest.raises(InputError, match=message):
        RunSearch(**settings).fit(table(), **arguments)


def test_too_few_runs_are_refused_with_the_number_needed():
    with pytest.raises(InputError, match="'log_linear' needs at least 10 different mixtures; found 6"):
        RunSearch(law="log_linear").fit(table(6))


def test_constant_losses_are_refused():
    with pytest.raises(InputError, match="losses of target 'qa' should differ between mixtures; found 2 in all 40"):
        RunSearch().fit(RunTable.from_array(table().weights, np.full(40, 2.0), SOURCES, ["qa"]))


def two_targets(n=60):
    """Losses whose best mixtures lie apart: qa wants web, code wants code."""
    W = np.random.default_rng(1).dirichlet([1, 1, 1], n)
    qa, code = 2 + np.exp(-W @ [2.0, 0.0, 0.0]), 1 + np.exp(-W @ [0.0, 2.0, 0.0])
    return RunTable.from_array(W, np.stack([qa, code], 1), SOURCES, ["qa", "code"])


def test_the_worst_regret_is_shared_and_certified():
    search = RunSearch(law="log_linear", objective="worst_regret", shrinkage=0.0)
    found = search.fit(two_targets(), target=["qa", "code"])
    losses = found.predict_targets(found.weights[None])
    regrets = np.array([losses[name][0] for name in ("qa", "code")]) - found.goal.best
    assert regrets[0] == pytest.approx(regrets[1], abs=1e-3)  # both laws are the same, with other sources
    assert found.weights[:2] == pytest.approx([0.5, 0.5], abs=0.02)
    assert found.objective == pytest.approx(regrets.max(), abs=1e-9)
    assert 0 <= found.gap < 1e-3


def test_a_guardrail_keeps_a_target_and_costs_the_others():
    runs = two_targets()
    free = RunSearch(law="log_linear", shrinkage=0.0).fit(runs, target="qa")
    held = RunSearch(law="log_linear", shrinkage=0.0).fit(runs, target="qa", guardrails={"code": 0.01})
    at_prior = held.predict_targets(np.full((1, 3), 1 / 3))["code"][0]
    assert held.predict_targets(free.weights[None])["code"][0] > 1.05 * at_prior
    assert held.predict_targets(held.weights[None])["code"][0] == pytest.approx(1.01 * at_prior, abs=1e-3)
    assert free.predicted < held.predicted < held.predict(np.full(3, 1 / 3), level=None)
    with pytest.raises(InputError, match="guardrails should name targets that do not count already"):
        RunSearch().fit(runs, target="qa", guardrails={"qa": 0.01})


def test_shares_of_targets_move_the_proposal():
    runs, search = two_targets(), RunSearch(law="log_linear", shrinkage=0.0)
    more_qa = search.fit(runs, target={"qa": 3.0, "code": 1.0}).weights
    more_code = search.fit(runs, target={"qa": 1.0, "code": 3.0}).weights
    assert more_qa[0] > 0.55 > 0.45 > more_code[0]


def test_the_curve_of_two_targets_goes_from_one_optimum_to_the_other():
    found = RunSearch(law="log_linear", shrinkage=0.0).fit(two_targets(), target=["qa", "code"])
    points = found.pareto(7)
    assert points[0].weights == pytest.approx([0, 1, 0], abs=1e-3)
    assert points[-1].weights == pytest.approx([1, 0, 0], abs=1e-3)
    assert len(points) == 7
    qa, code = np.array([[point.losses["qa"], point.losses["code"]] for point in points]).T
    assert (np.diff(qa) <= 1e-6).all()
    assert (np.diff(code) >= -1e-6).all()
    assert max(point.gap for point in points) < 1e-3
    with pytest.raises(InputError, match="pareto needs a search for two targets; found 1"):
        RunSearch(law="linear").fit(table()).pareto()


def test_repeats_weigh_more_and_show_the_noise():
    rng = np.random.default_rng(0)
    W = rng.dirichlet([1, 1, 1], 30)
    W = np.concatenate([W, np.repeat(W[:1], 9, 0)])
    y = 2 - W[:, 0] + 0.1 * rng.normal(size=len(W))
    found = RunSearch(law="linear").fit(RunTable.from_array(W, y, SOURCES))
    assert found.rows == 39
    assert found.fewest[0] == 30
    assert found.noise == pytest.approx(np.std(np.r_[y[0], y[30:]], ddof=1))
    assert RunSearch(law="linear").fit(table()).noise is None
    assert found.incumbent.repeats in (1, 10)


def test_a_proposal_beyond_the_runs_is_noted_and_its_gain_counts_as_optimism():
    rng = np.random.default_rng(0)
    W = 0.9 * np.array([0.2, 0.3, 0.5]) + 0.1 * rng.dirichlet([1, 1, 1], 60)  # all runs lie near one mixture
    found = RunSearch(law="linear", shrinkage=0.0).fit(
        RunTable.from_array(W, 2 - W[:, 0] + 0.001 * rng.normal(size=60))
    )
    assert found.weights[0] == pytest.approx(1, abs=1e-6)
    assert found.outside == pytest.approx(1 - W[:, 0].max(), abs=0.03)
    assert found.optimism == pytest.approx(found.outside, rel=0.15)  # the law promises 1 for each unit of weight
    assert any("gives more weight than any run to 'source_0' (1)" in note for note in found.notes)


def test_scales_are_kept_apart_and_compared():
    small = table(30)
    y = np.r_[small.losses[:, 0], small.losses[:10, 0] - 1]
    both = RunTable.from_array(
        np.concatenate([small.weights, small.weights[:10]]), y, SOURCES, ["qa"], scales=["1M"] * 30 + ["60M"] * 10
    )
    found = RunSearch(law="linear").fit(both)
    assert found.rows == 30
    assert any("'1M' was fitted" in note for note in found.notes)
    assert any(
        "10 mixtures that were trained at '1M' and at '60M' have a rank correlation of 1.000" in note
        for note in found.notes
    )
    assert RunSearch(law="linear").fit(both, scale="60M").rows == 10


def test_epochs_limit_the_proposal():
    runs = table(sizes={"web": 1e9, "code": 4e9, "law": 4e9}, tokens=1e10)
    found = RunSearch(law="log_linear", shrinkage=0.0).fit(runs, constraints=Constraints(max_epochs=4, budget=1e10))
    assert found.weights[0] == pytest.approx(0.4, abs=1e-6)


def test_auto_takes_the_better_law_and_shows_the_baseline():
    found = RunSearch().fit(table(60, noise=0.002))
    assert found.law in ("log_linear", "gaussian_process")
    assert {"linear", "log_linear", "log_exposure"} <= set(found.scores)
    assert found.scores[found.law].rmse == min(one.rmse for name, one in found.scores.items() if name != "log_exposure")
    assert found.choice.nested.spearman <= max(one.spearman for one in found.scores.values()) + 1e-9


def test_a_mean_of_laws_is_asked_for_by_its_name():
    runs = table(30, noise=0.01)
    found = RunSearch(law="linear + bimix").fit(runs)
    assert found.law == "linear + bimix"
    W = np.random.default_rng(1).dirichlet([1, 1, 1], 5)
    parts = [RunSearch(law=name).fit(runs).predict(W, level=None) for name in ("linear", "bimix")]
    np.testing.assert_allclose(found.predict(W, level=None), np.mean(parts, axis=0))
    assert set(RunSearch(law=["linear", "linear + bimix"]).fit(runs).scores) == {"linear", "linear + bimix"}
    with pytest.raises(InputError, match="found 'wood'"):
        RunSearch(law="linear + wood").fit(runs)


@pytest.mark.parametrize("n", [1, 6])
def test_auto_says_how_many_runs_it_needs(n):
    with pytest.raises(InputError, match=f"needs at least 7 different mixtures; found {n}"):
        RunSearch().fit(RunTable.from_array(table(7).weights[:n], np.arange(n) + 1.0))
    assert RunSearch().fit(table(7, noise=0.1)).law == "linear"


ALONE = """
import sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("scipy", "sklearn", "lightgbm", "pyarrow"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
import importlib.util
found = importlib.util.find_spec
importlib.util.find_spec = lambda name, package=None: None if name in ("scipy", "sklearn") else found(name, package)
sys.meta_path.insert(0, Blocked())
import numpy as np, mixwright
W = np.random.default_rng(0).dirichlet([1, 1, 1], 30)
table = mixwright.RunTable.from_array(W, 2 - W[:, 0], sizes=[1.0, 2, 3], tokens=1.0)
print(*mixwright.RunSearch().fit(table).scores)
corner = mixwright.RunTable.from_array(0.8 * W + [0, 0.1, 0.1], 2 - W[:, 0])
print(*[note for note in mixwright.RunSearch(prior="uniform").fit(corner).notes if "hull" in note])
try:
    mixwright.RunSearch(law="exposure").fit(table)
except ImportError as error:
    print(error)
"""


def test_numpy_alone_is_enough_for_some_laws_and_the_others_say_what_to_install():
    out = subprocess.run([sys.executable, "-c", ALONE], capture_output=True, text=True, check=True).stdout.splitlines()
    assert out[0] == "linear log_linear log_exposure"
    assert re.fullmatch(
        r"the weight that must move into the hull of the runs, 0\.\d+, is an upper bound: the least needs scipy; "
        r"install it with: pip install 'mixwright\[runs\]'",
        out[1],
    )
    assert out[2] == "this needs the package 'scipy'; install it with: pip install 'mixwright[runs]'"


def test_a_law_that_is_not_convex_says_that_it_has_no_certificate_and_how_many_descents_agree():
    rng = np.random.default_rng(0)
    W = rng.dirichlet(np.ones(3), 50)
    y = 2 + ((W - [0.2, 0.5, 0.3]) ** 2).sum(1)  # one valley
    found = RunSearch(law="gaussian_process", shrinkage=0.0).fit(RunTable.from_array(W, y))
    assert found.gap == np.inf
    assert "has no certificate (3 of 3 descents, from different ones" in found.verdict
    assert found.to_file().certificate["search"].startswith("3 of 3 descents")
    two = (
        2
        - np.exp(-40 * ((W - [0.9, 0.05, 0.05]) ** 2).sum(1))
        - 0.98 * np.exp(-40 * ((W - [0.05, 0.05, 0.9]) ** 2).sum(1))
    )
    other = RunSearch(law="gaussian_process", shrinkage=0.0).fit(RunTable.from_array(W, two))
    agreed, descents = other._descents
    assert 1 <= agreed <= descents == 3
    certified = RunSearch(law="log_linear", shrinkage=0.0).fit(RunTable.from_array(W, y))
    assert "search" not in certified.to_file().certificate


def test_a_distance_limits_the_mean_over_phases():
    rng = np.random.default_rng(0)
    W, shares = rng.dirichlet(np.ones(3), (40, 2)), np.array([0.75, 0.25])
    y = 2 + np.exp(-(W[:, 0] @ [1.0, 0.5, 0.0] + 2 * W[:, 1] @ [0.0, 1.0, 0.2]))
    table = RunTable.from_array(W, y, phase_shares=shares)
    limits = Constraints(max_distance=0.3)
    found = RunSearch(law="log_linear", shrinkage=0.0, prior="uniform").fit(table, constraints=limits)
    assert shares @ np.abs(found.phase_weights - 1 / 3).sum(1) == pytest.approx(0.3, abs=1e-6)
    assert found.gap <= 1e-4 * np.std(y)
    assert [one.constraint for one in found.binding] == ["the distance 0.3 from the prior"]
    V = rng.dirichlet(np.ones(3) * 0.5, (5000, 2))  # moved into the limit: none is predicted to be better
    far = (np.abs(V - 1 / 3).sum(2) * shares).sum(1)
    V = 1 / 3 + np.minimum(1, 0.3 / far)[:, None, None] * (V - 1 / 3)
    assert found.predict(V, level=None).min() >= found.predicted - found.gap - 1e-9


def test_descents_begin_apart_and_may_end_in_different_valleys():
    deep, shallow = np.array([0.8, 0.1, 0.1]), np.array([0.1, 0.1, 0.8])

    class TwoValleys(FittedLaw):
        def _parts(self, W):
            return np.stack([((W - deep) ** 2).sum(-1), 0.001 + ((W - shallow) ** 2).sum(-1)])

        def predict(self, W):
            return 1 + self._parts(W).min(0)

        def spread(self, W):
            return np.ones(len(W))

        def gradient(self, W):
            return 2 * (W - np.where(self._parts(W).argmin(0)[:, None], shallow, deep))

        def hessian(self, w):
            return 2 * np.eye(w.size)

    space = Constraints().allowed(SOURCES)
    objective = Objective((TwoValleys(),), WeightedSum(np.ones(1)), np.full(3, 1 / 3), np.ones(3), 0.0, np.arange(3), 3)
    starts = [np.array(start) for start in ([0.7, 0.2, 0.1], [0.1, 0.2, 0.7], [0.3, 0.3, 0.4])]
    found = minimise(objective, space, starts, 1e-6)
    assert found.weights == pytest.approx(deep, abs=1e-4)
    assert (found.agreed, found.descents, found.gap) == (2, 3, np.inf)


def test_weight_into_the_hull_is_the_least():
    square = np.array([[1.0, 0, 0], [0, 1.0, 0]])
    assert weight_into_hull(np.array([0.2, 0.3, 0.5]), square) == pytest.approx(0.5)  # what the third source has
    rng = np.random.default_rng(3)
    for n, d in ((4, 3), (9, 5), (30, 12), (60, 20)):
        W, x = rng.dirichlet(np.ones(d), n), rng.dirichlet(np.full(d, 0.3))
        # the dual: the largest y . x - max_i y . W_i over |y| <= 1, of which half is the weight
        cost, rows = np.r_[-x, 1.0], np.hstack([W, -np.ones((n, 1))])
        dual = linprog(cost, rows, np.zeros(n), bounds=[*[(-1, 1)] * d, (None, None)])
        assert weight_into_hull(x, W) == pytest.approx(-dual.fun / 2, abs=1e-9)
        by_squares = float(np.abs(nearest_in_hull(x[None], W)[0] - x).sum() / 2)
        assert weight_into_hull(x, W) <= by_squares + 1e-9
        assert weight_into_hull(W[1], W) == pytest.approx(0.0, abs=1e-9)


def test_without_scipy_the_weight_into_the_hull_is_an_upper_bound_and_0_near_it(monkeypatch):
    rng = np.random.default_rng(3)
    W = rng.dirichlet(np.full(20, 0.3), 60)
    edges = [(W[i] + W[i + 1]) / 2 for i in range(20)]
    least = weight_into_hull(x := rng.dirichlet(np.full(20, 0.1)), W)
    monkeypatch.setattr(hull, "find_spec", lambda name: None)
    assert [weight_into_hull(edge, W) for edge in edges] == [0.0] * 20
    assert least < weight_into_hull(x, W) == pytest.approx(float(np.abs(nearest_in_hull(x[None], W)[0] - x).sum() / 2))
    assert "0.25, is an upper bound" in hull.hull_notes(0.25)[0]
    assert hull.hull_notes(0.0) == []
    monkeypatch.undo()
    assert hull.hull_notes(0.25) == []


@pytest.mark.parametrize("W", [np.zeros((0, 3)), [[1.5, -0.5, 0]], [[np.nan, 0.5, 0.5]], [["a", "b", "c"]]])
def test_weights_that_nothing_is_predicted_for(W):
    found = RunSearch(law="linear").fit(table(noise=0.05), target="qa")
    with pytest.raises(InputError, match=r"found \(0, 3\)|found -0.5|found nan|found \[\['a'"):
        found.predict(W)


def test_no_target_and_too_few_runs_for_a_line():
    with pytest.raises(InputError, match="at least one name in targets"):
        RunSearch(law="linear").fit(table(), target={})
    with pytest.raises(InputError, match=r"'linear' needs at least 7 different mixtures; found 3; train more runs$"):
        RunSearch(law="linear").fit(table(3))


def test_a_prior_is_not_short_of_one():
    with pytest.raises(InputError, match=r"prior should be weights with sum 1, .* found sum 0\.5; add what is missing"):
        RunSearch(law="linear", prior={"web": 0.5}).fit(table())
    for prior in ([0.333, 0.333, 0.333], [2.0, 2.0, 2.0]):  # rounded, relative
        assert RunSearch(law="linear", prior=prior).fit(table()).prior == pytest.approx([1 / 3] * 3)


def test_the_verdict_says_where_nothing_was_corrected_for_selection():
    for found in (RunSearch(law="linear").fit(table(n, 0.02, seed)) for n in (14, 40) for seed in range(3)):
        assert ("picks inside the table measured no worse" in found.verdict) == (found.optimism == 0)
        assert ("after selection" in found.verdict) == (found.optimism > 0)
