"""Squared error: the certificate against a general solver, one pass, folds, and what cannot be."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize

import mixwright
from mixwright import Constraints, InputError, MixtureFile, SquaredError
from mixwright.constraints.quadratic import project
from mixwright.search.solver.cross_moments import cross_moments

KINDS = (
    "plain",
    "identical sources",
    "all the same",
    "one source",
    "one row",
    "far away",
    "constant outcomes",
    "exact",
)
LIMITS = ("none", "bounds", "groups", "distance", "taken out")


def make(kind, seed):
    """Return predictions [n, k], outcomes [n] and row weights [n], degenerate in the way that `kind` says."""
    rng = np.random.default_rng(seed)
    n, k = int(rng.integers(2, 30)), int(rng.integers(2, 8))
    n, k = (1 if kind == "one row" else n), (1 if kind == "one source" else k)
    F, y = rng.normal(size=(n, k)) * rng.choice([0.01, 1.0, 100.0]), rng.normal(size=n)
    if kind == "identical sources":
        F[:, 0] = F[:, -1]
    if kind == "all the same":
        F[:] = F[:, :1]
    if kind == "far away":
        F, y = F + 1e6, y + 1e6
    if kind == "constant outcomes":
        y[:] = 3.0
    if kind == "exact":
        y = F @ rng.dirichlet(np.ones(k))
    return F, y, rng.random(n) * (rng.random(n) < 0.8) + (np.arange(n) == 0)


def limits_of(which, seed, k):
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
    if which == "taken out" and k > 1:
        return Constraints(caps={names[0]: 0.0})
    return Constraints()


def value(F, y, c, w, prior, weight):
    """Return the objective, computed without the library."""
    return float(c @ (F @ w - y) ** 2 / c.sum() + weight * ((w - prior) ** 2).sum())


def penalty(F, c, allowed):
    """Return s: the mean squared deviation from the mean over sources."""
    F = F[:, allowed]
    if F.shape[1] < 2:
        return 0.0
    return float(c @ ((F - F.mean(1, keepdims=True)) ** 2).sum(1) / c.sum() / (F.shape[1] - 1))


@settings(max_examples=50)
@given(st.sampled_from(KINDS), st.integers(0, 10**6), st.sampled_from(LIMITS), st.sampled_from([0.0, 0.0, 0.1, 10.0]))
def test_the_gap_is_a_true_bound(kind, seed, limits, tau):
    F, y, c = make(kind, seed)
    k, constraints = F.shape[1], limits_of(limits, seed, F.shape[1])
    result = SquaredError(shrinkage=tau).fit(F, y, row_weights=c, constraints=constraints)
    space = constraints.allowed([f"source_{i}" for i in range(k)])
    allowed = space.upper > 0
    own = tau * penalty(F, c, allowed)
    prior = result.prior
    scale = result._problem.scale
    w = result.weights
    assert space.contains(w, 1e-9)
    assert w.sum() == pytest.approx(1, abs=1e-12)
    assert 0 <= result.gap <= 1e-8 * scale
    rounding = 1e-9 * scale + (1e-4 * scale if kind == "far away" else 0)  # F and y hold 1e-10 of 1e6
    reached = value(F - y[:, None], 0 * y, c, w, prior, own)
    assert result.objective == pytest.approx(reached, rel=1e-9, abs=rounding)
    assert result.loss == pytest.approx(value(F - y[:, None], 0 * y, c, w, prior, 0.0), rel=1e-9, abs=rounding)
    R = (F - y[:, None]) * np.sqrt(c / c.sum())[:, None]
    rows, sides = space.rows, space.limits
    conditions = [{"type": "eq", "fun": lambda v: v.sum() - 1}]
    if len(rows):
        conditions.append({"type": "ineq", "fun": lambda v: sides - rows @ v})
    if space.centre is not None:
        conditions.append({"type": "ineq", "fun": lambda v: space.radius - np.abs(v - space.centre).sum()})
    for start in (w, project(np.random.default_rng(seed).dirichlet(np.ones(k)), space)):
        found = minimize(
            lambda v: ((R @ v) @ (R @ v) + own * ((v - prior) ** 2).sum()) / scale, start, method="SLSQP",
            bounds=list(zip(space.lower, space.upper, strict=True)), constraints=conditions, options={"ftol": 1e-14},
        )  # fmt: skip
        other = project(found.x, space)
        assert reached - value(F - y[:, None], 0 * y, c, other, prior, own) <= result.gap + rounding


@settings(max_examples=50)
@given(st.integers(0, 10**6))
def test_against_a_grid_of_three_sources(seed):
    rng = np.random.default_rng(seed)
    F, y = rng.normal(size=(20, 3)), rng.normal(size=20)
    result = SquaredError(shrinkage=0.0).fit(F, y)
    i, j = np.meshgrid(np.arange(101), np.arange(101))
    W = np.stack([i[i + j <= 100], j[i + j <= 100], 100 - (i + j)[i + j <= 100]], axis=1) / 100
    errors = ((F @ W.T - y[:, None]) ** 2).mean(0)
    assert result.loss <= errors.min() + result.gap + 1e-12
    assert np.abs(W[errors.argmin()] - result.weights).max() < 0.5
    assert errors.min() - result.loss < 1e-2


@pytest.mark.parametrize("blocks", [1, 3, 17])
def test_blocks_are_one_array(blocks, tmp_path):
    rng = np.random.default_rng(2)
    F, y, documents = rng.normal(size=(200, 5)), rng.normal(size=200), np.arange(200) // 4
    whole = SquaredError().fit(F, y, documents=documents)
    parts = SquaredError().fit(iter(np.array_split(F, blocks)), y, documents=documents)
    np.save(tmp_path / "F.npy", F)
    mapped = SquaredError().fit(np.load(tmp_path / "F.npy", mmap_mode="r"), y, documents=documents)
    for other in (parts, mapped):
        assert other.shrinkage == whole.shrinkage
        np.testing.assert_allclose(other.weights, whole.weights, atol=1e-9)
        assert other.improvement() == pytest.approx(whole.improvement(), abs=1e-9)


@settings(max_examples=40)
@given(st.sampled_from(KINDS), st.integers(0, 10**6))
def test_permuting_sources_permutes_weights(kind, seed):
    F, y, c = make(kind, seed)
    order = np.random.default_rng(seed).permutation(F.shape[1])
    a = SquaredError(shrinkage=0.5).fit(F, y, row_weights=c)
    b = SquaredError(shrinkage=0.5).fit(F[:, order], y, row_weights=c)
    np.testing.assert_allclose(b.weights, a.weights[order], atol=1e-3 if kind == "far away" else 2e-4)


def test_row_weights_are_repeated_rows():
    F, y, _ = make("plain", 3)
    c = np.random.default_rng(0).integers(1, 4, len(y))
    a = SquaredError(shrinkage=0.1).fit(F, y, row_weights=c)
    b = SquaredError(shrinkage=0.1).fit(np.repeat(F, c, axis=0), np.repeat(y, c))
    np.testing.assert_allclose(a.weights, b.weights, atol=1e-6)


def test_a_large_shrinkage_ends_at_the_prior():
    F, y, _ = make("plain", 4)
    prior = np.arange(1.0, F.shape[1] + 1)
    result = SquaredError(prior=prior, shrinkage=1e5).fit(F, y)
    np.testing.assert_allclose(result.weights, prior / prior.sum(), atol=1e-3)


def test_sources_that_are_the_same_get_the_prior():
    F, y, _ = make("all the same", 4)
    k = F.shape[1]
    result = SquaredError(shrinkage=1.0).fit(F, y)
    np.testing.assert_allclose(result.weights, 1 / k, atol=1e-6)
    if len(y) >= 3:
        assert SquaredError().fit(F, y).verdict.startswith(("no better", "unverified"))


def simulated(n, seed, k=6, truth=None):
    rng = np.random.default_rng(seed)
    F = rng.normal(size=(n, 1)) + rng.normal(size=(n, k))
    truth = np.eye(k)[0] * 0.7 + 0.3 / k if truth is None else truth
    return F, F @ truth + rng.normal(size=n)


def test_a_clear_case_is_better_than_uniform(tmp_path):
    F, y = simulated(600, 0)
    result = SquaredError().fit(F, y, sources=list("abcdef"), sizes=[1, 2, 3, 4, 5, 6])
    assert result.verdict.startswith("the proxies favour it over uniform by")
    estimate, low, high = result.improvement("natural")
    assert low < estimate < high
    interval = result.interval()
    assert (interval[:, 0] <= result.weights + 0.02).all()
    assert (result.weights <= interval[:, 1] + 0.02).all()
    result.save(tmp_path / "mixture.json")
    written = MixtureFile.read(tmp_path / "mixture.json")
    assert written.sources == tuple("abcdef")
    assert written.method["name"] == "squared_error"
    assert written.certificate["gap"] == result.gap


def test_where_uniform_is_the_truth_the_verdict_says_so_mostly():
    better = 0
    for seed in range(10):
        F, y = simulated(100, seed, truth=np.full(6, 1 / 6))
        better += SquaredError().fit(F, y).improvement()[1] > 0
    assert better <= 2


def test_a_small_sample_stays_near_the_prior():
    F, y = simulated(12, 1, truth=np.full(6, 1 / 6))
    assert SquaredError().fit(F, y).shrinkage >= 1.0
    F, y = simulated(5000, 1)
    assert SquaredError().fit(F, y).shrinkage <= 0.1


def test_documents_are_kept_whole():
    F, y = simulated(300, 3)
    documents = np.arange(300) // 100
    moments = cross_moments(F, y, None, documents, 0)
    assert len(moments.share) == 3
    assert moments.documents.tolist() == [1, 1, 1]
    residual = F - y[:, None]
    np.testing.assert_allclose(moments.total, residual.T @ residual / 300, rtol=1e-12)
    result = SquaredError().fit(F, y, documents=documents)
    assert result.documents == 3
    few = SquaredError(shrinkage=0.1).fit(F, y, documents=np.arange(300) // 150)
    assert few.verdict.startswith("unverified: 2 target document(s)")
    with pytest.raises(InputError, match="at least 3 documents; found 2"):
        few.interval()


def test_limits_that_bind_have_prices():
    F, y = simulated(300, 5)
    result = SquaredError(shrinkage=0.0).fit(F, y, constraints=Constraints(caps={"source_0": 0.3}))
    (binding,) = [b for b in result.binding if "cap" in b.constraint]
    looser = SquaredError(shrinkage=0.0).fit(F, y, constraints=Constraints(caps={"source_0": 0.301}))
    assert (result.loss - looser.loss) / 0.001 == pytest.approx(binding.price, rel=0.02)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"evidence": np.zeros((3, 2, 2))}, "found shape"),
        ({"evidence": np.zeros((4, 2))}, "as many rows as outcomes"),
        ({"evidence": iter([np.zeros((2, 2))])}, "found 2"),
        ({"evidence": iter([np.zeros((2, 2)), np.zeros((2, 2))])}, "found more"),
        ({"evidence": iter([np.zeros((2, 2)), np.zeros((1, 3))])}, "every block should have 2 columns"),
        ({"evidence": np.array([[0, 1], [1, np.nan], [2, 2]])}, "found nan in row 1 of source 1"),
        ({"evidence": 3}, "array or blocks"),
        ({"outcomes": [1.0, np.inf, 2.0]}, "inf in row 1"),
        ({"outcomes": np.zeros((3, 1))}, "found shape"),
        ({"row_weights": [1, 1]}, "one number per row"),
        ({"row_weights": [1, -1, 1]}, "not negative"),
        ({"documents": [0, 1]}, "one per row"),
        ({"sources": ["a"]}, "2 names"),
        ({"sizes": [1, 2, 3]}, "one number per source"),
        ({"seed": 1.5}, "seed should be"),
    ],
)
def test_input_that_does_not_fit(given, message):
    arguments = {"evidence": np.zeros((3, 2)), "outcomes": [1.0, 2.0, 3.0], **given}
    with pytest.raises(InputError, match=message):
        SquaredError(shrinkage=0.1).fit(**arguments)


@pytest.mark.parametrize("given", [{"prior": "best"}, {"shrinkage": -1}, {"shrinkage": "all"}, {"tolerance": 0}])
def test_settings_that_do_not_fit(given):
    with pytest.raises(InputError, match=f"{next(iter(given))} should be"):
        SquaredError(**given)


def test_cross_validation_needs_documents():
    with pytest.raises(InputError, match="at least 3 documents; found 2"):
        SquaredError().fit(np.eye(2), [0.0, 1.0])
    assert mixwright.SquaredError is SquaredError


def test_a_data_frame_names_its_sources_and_its_index_is_none():
    pandas = pytest.importorskip("pandas")
    rng = np.random.default_rng(0)
    F = rng.normal(size=(40, 2))
    y = F @ [0.7, 0.3]
    frame = pandas.DataFrame({"index": np.arange(40), "web": F[:, 0], "law": F[:, 1]})
    result = SquaredError(shrinkage=0.1).fit(frame, y)
    assert result.sources == ("web", "law")
    assert result.weights.tolist() == SquaredError(shrinkage=0.1).fit(F, y).weights.tolist()
    turned = SquaredError(shrinkage=0.1).fit(frame, y, sources=["law", "web"])
    assert turned.weights[::-1].tolist() == pytest.approx(result.weights.tolist())
    with pytest.raises(InputError, match="found 'lav'; did you mean 'law'"):
        SquaredError().fit(frame, y, sources=["lav"])


@pytest.mark.parametrize("scale", ["logit", "log"])
def test_logits_of_outcomes_0_and_1_are_refused(scale):
    rng = np.random.default_rng(0)
    logits, y = rng.normal(size=(60, 2)) * 3, np.arange(60) % 2
    p = 1 / (1 + np.exp(-logits))
    with pytest.raises(InputError, match=r"should be probabilities; found .* of 60 below 0 or above 1 for source"):
        SquaredError(shrinkage=0.1).fit(logits if scale == "logit" else np.log(p), y)
    assert SquaredError(shrinkage=0.1).fit(p, y).weights.sum() == pytest.approx(1)


def test_an_exact_fit_can_be_saved(tmp_path):
    predictions = np.array([[i % 7, i % 3] for i in range(40)], float)
    outcomes = np.array([0.7 * (i % 7) + 0.3 * (i % 3) for i in range(40)])
    result = SquaredError().fit(predictions, outcomes)
    assert result.loss < 0  # by rounding
    result.save(tmp_path / "mixture.json")
    assert np.isfinite(result.improvement()).all()
    np.testing.assert_allclose(result.weights, [0.7, 0.3], atol=1e-6)
