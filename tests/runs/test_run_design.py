"""Designs of runs: what is chosen, that it fits the limits, and that it tells more than chance."""

import numpy as np
import pytest

from mixwright import Constraints, InputError, RunDesign, RunTable
from mixwright.runs.design.candidates import candidates
from mixwright.runs.design.coverage import Coverage
from mixwright.runs.design.information import Information, features, most_informative
from mixwright.runs.laws.gaussian_process import roots
from mixwright.search.inputs import Allowed

SOURCES = [f"s{i}" for i in range(6)]
SIZES = dict(zip(SOURCES, [1e9, 3e9, 5e8, 2e8, 8e9, 1e8], strict=True))


def test_a_plan_has_anchors_repeats_and_designed_mixtures():
    plan = RunDesign(runs=24).plan(SOURCES, sizes=SIZES, tokens=1e7, final_tokens=1e10)
    assert plan.n == 24
    assert plan.weights.sum(1) == pytest.approx(np.ones(24), abs=1e-9)
    assert plan.weights[0] == pytest.approx(np.array(list(SIZES.values())) / sum(SIZES.values()), abs=3e-6)
    assert plan.kinds[:3] == ("natural", "centroid", "vertex s0")
    assert plan.kinds[-2:] == ("repeat", "repeat")
    assert plan.repeats[-2:] == (plan.runs[0],) * 2
    assert (plan.weights[-2:] == plan.weights[0]).all()
    assert plan.cost == 24e7
    assert plan.subsets == pytest.approx([size / 1000 for size in SIZES.values()])
    assert plan.gain > 1


def test_a_plan_is_the_same_for_the_same_seed_alone():
    one, same, other = (RunDesign(runs=16).plan(SOURCES, seed=seed).weights for seed in (3, 3, 4))
    assert (one == same).all()
    assert (one != other).any()


@pytest.mark.parametrize("method", ["i_optimal", "d_optimal", "dirichlet"])
@pytest.mark.parametrize(
    "limits",
    [
        {"caps": {"s0": 0.3}, "floors": {"s5": 0.1}},
        {"groups": {"g": ["s0", "s1", "s2"]}, "group_caps": {"g": 0.4}},
        {"max_epochs": 4, "budget": 1e9},
        {"max_distance": 0.8},
    ],
)
def test_every_run_satisfies_the_constraints(method, limits):
    limits = Constraints(**limits)
    plan = RunDesign(runs=30, method=method).plan(SOURCES, sizes=SIZES, constraints=limits)
    allowed = Allowed.of("natural", tuple(SOURCES), SIZES, limits)
    assert plan.n == 30
    assert all(allowed.space.contains(w, 2e-5) for w in plan.weights)


@pytest.mark.parametrize("method", ["i_optimal", "d_optimal", "dirichlet"])
def test_mixtures_keep_their_distance(method):
    plan = RunDesign(runs=40, method=method, distance=0.1, anchors=(), repeats=0).plan(SOURCES)
    apart = np.abs(plan.weights[:, None] - plan.weights).sum(2) / 2
    assert apart[~np.eye(plan.n, dtype=bool)].min() >= 0.1 - 1e-5


def test_a_distance_that_cannot_be_kept_is_lowered_and_noted():
    plan = RunDesign(runs=40, distance=0.3, anchors=(), repeats=0).plan(SOURCES[:2])
    assert plan.n == 40
    assert "it was lowered to" in plan.notes[0]


@pytest.mark.parametrize("law", ["linear", "log_linear", "exposure"])
@pytest.mark.parametrize("count", [8, 16])
def test_a_designed_set_has_a_larger_determinant_than_random_ones(law, count):
    rng = np.random.default_rng(0)
    W = candidates(Allowed.of("uniform", tuple(SOURCES), None, None), 400, rng)
    matrices = features([law], W, W * 1e10 / np.array(list(SIZES.values())), rng)
    chosen = most_informative(matrices, W, [], count, 0.01)
    known = Information(matrices)
    random = [known.of(rng.choice(400, count, replace=False)) for _ in range(50)]
    assert known.of(chosen) > max(random)


def test_the_value_of_a_set_is_what_its_rows_added():
    rng = np.random.default_rng(1)
    W = rng.dirichlet(np.ones(4), 30)
    state = Information(features(["log_linear"], W, None, rng))
    for i in (3, 8, 20, 7):
        expected = state.value + state.gains()[i]
        state.add(i)
        assert state.value == pytest.approx(expected)
    state.add(20, -1.0)
    assert state.value == pytest.approx(state.of([3, 8, 7]), rel=1e-6)


def test_exchanges_find_the_best_pair():
    rng = np.random.default_rng(2)
    W = rng.dirichlet(np.ones(2), 15)
    matrices = features(["linear"], W, None, rng)
    known = Information(matrices)
    best = max(known.of([i, j]) for i in range(15) for j in range(i))
    assert known.of(most_informative(matrices, W, [], 2, 0.0)) == pytest.approx(best)


def test_a_next_batch_leaves_out_what_is_done_and_tells_more_beside_it(tmp_path):
    first = RunDesign(runs=16).plan(SOURCES, sizes=SIZES, tokens=1e7)
    done = RunTable.from_array(first.weights, np.arange(16.0), SOURCES, runs=first.runs, sizes=SIZES, tokens=1e7)
    best = np.full(6, 1 / 6)
    best[:2] += [0.1, -0.1]
    second = RunDesign(runs=8).plan(given=done, extra={"proposal": best}, tokens=1e7)
    assert second.kinds == ("proposal", *["design"] * 7)  # anchors and repeats are there already
    assert second.weights[0] == pytest.approx(best, abs=3e-6)
    assert not set(first.runs) & set(second.runs)
    apart = np.abs(second.weights[:, None] - first.weights).sum(2) / 2
    assert apart.min() >= 0.02 - 1e-5


def test_a_plan_is_read_once_its_losses_are_there(tmp_path):
    plan = RunDesign(runs=20).plan(SOURCES, sizes=SIZES, tokens=1e7, final_tokens=1e10)
    plan.write(tmp_path / "plan.csv", ["qa"], "1M")
    with pytest.raises(InputError, match="should be a new file"):
        plan.write(tmp_path / "plan.csv")
    lines = (tmp_path / "plan.csv").read_text().splitlines()
    filled = [lines[0], *(f"{line}{i / 10}" for i, line in enumerate(lines[1:]))]
    (tmp_path / "plan.csv").write_text("\n".join(filled) + "\n")
    table = RunTable.from_file(tmp_path / "plan.csv", sources=SIZES)
    np.testing.assert_allclose(table.weights, plan.weights, atol=1e-9)
    assert table.targets == ("qa",)
    assert table.repeats == plan.repeats
    assert table.exposures == pytest.approx(plan.weights * 1e10 / np.array(list(SIZES.values())))
    assert len(set(table.mixtures.tolist())) == 18


def test_fewer_mixtures_than_coefficients_have_no_d_efficiency():
    assert RunDesign(runs=5, method="d_optimal", anchors=(), repeats=0).plan(SOURCES).gain is None
    assert RunDesign(runs=30, method="d_optimal", anchors=(), repeats=0).plan(SOURCES).gain > 1.2


@pytest.mark.parametrize("count", [4, 12])
def test_a_covering_set_leaves_less_variance_than_random_ones(count):
    rng = np.random.default_rng(0)
    W = candidates(Allowed.of("uniform", tuple(SOURCES), None, None), 300, rng)
    cover = Coverage(W, 300)
    chosen = cover.best([], count, 0.01)
    assert cover.left(chosen) < min(cover.left(rng.choice(300, count, replace=False)) for _ in range(50))


def test_the_variance_that_is_left_is_a_gaussian_process_s():
    process = pytest.importorskip("sklearn.gaussian_process")
    rng = np.random.default_rng(1)
    W = rng.dirichlet(np.ones(4), 40)
    kernel = process.kernels.Matern(1.0, nu=2.5)
    fitted = process.GaussianProcessRegressor(kernel, alpha=0.01, optimizer=None).fit(roots(W[:5]), np.zeros(5))
    expected = fitted.predict(roots(W[10:]), return_std=True)[1] ** 2
    assert Coverage(W, 30).left(range(5)) == pytest.approx(expected.mean(), rel=1e-6)


def test_few_runs_are_noted():
    assert "a rule of thumb is at least 3 (k + 1) = 21" in RunDesign(runs=12).plan(SOURCES).notes[0]
    assert RunDesign(runs=21).plan(SOURCES).notes == ()


@pytest.mark.parametrize(
    ("settings", "arguments", "message"),
    [
        ({"runs": 0}, {}, "runs should be a whole number of at least 1"),
        ({"runs": 4, "anchors": ("vertices",)}, {}, "runs should be at least 6, for 6 anchors and 0 repeats; found 4"),
        ({"runs": 3, "anchors": (), "repeats": 3}, {}, "runs should be at least 4"),
        ({"runs": 9, "anchors": ("corner",)}, {}, "anchors should be natural, centroid or vertices; found 'corner'"),
        ({"runs": 9, "method": "d_optimal", "laws": ("trees",)}, {}, "runs can be designed for a law"),
        ({"runs": 9, "laws": ("linear",)}, {}, "laws go with the method 'd_optimal'"),
        (
            {"runs": 9, "method": "d_optimal", "laws": ("exposure",)},
            {},
            "needs the sizes of the sources and the tokens of a run",
        ),
        ({"runs": 9, "method": "grid"}, {}, "method should be"),
        ({"runs": 9}, {"sources": ["a"]}, "at least 2 sources"),
        ({"runs": 9}, {"sources": None}, "names of the sources"),
        ({"runs": 9}, {"constraints": Constraints(floors={"s0": 0.7, "s1": 0.7})}, "floors"),
    ],
)
def test_what_does_not_fit(settings, arguments, message):
    with pytest.raises(InputError, match=message):
        RunDesign(**settings).plan(**{"sources": SOURCES, **arguments})
