import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.tree import DecisionTreeClassifier
from toys import SMALL, planted

from mixwright.assays import AssaySearch, AssayTable, Booster, split_target
from mixwright.assays.judge import average_precision
from mixwright.assays.plan import calibrate, make_plan, with_same_sources
from mixwright.assays.splits import whole_target
from mixwright.errors import InputError


def agreeing(n: int = 200) -> AssayTable:
    """Return a table whose features say nothing; `same` repeats the target's labels, `coin` does not."""
    rng = np.random.default_rng(0)
    target = rng.integers(2, size=n)
    labels = np.stack([target, target, rng.integers(2, size=n)], axis=1)
    return AssayTable.from_arrays(rng.normal(size=(n, 3)), labels, ["target", "same", "coin"])


def test_a_proxy_has_not_seen_the_molecule_that_it_scores() -> None:
    table = agreeing()
    split = whole_target(table, "target")
    tree = DecisionTreeClassifier()  # learns its rows by heart
    seen = make_plan(table, split, model=tree, folds=0, own_rows=False)
    correct = seen.probabilities("same") == seen.labels
    assert correct.all()
    fresh = make_plan(table, split, model=tree, folds=5)
    share = (fresh.probabilities("same") == fresh.labels).mean()
    assert 0.35 < share < 0.65  # features say nothing, so neither does a proxy that was not told the label


def test_folds_keep_a_molecule_together_and_cover_the_target() -> None:
    rng = np.random.default_rng(1)
    molecules = rng.integers(60, size=150)
    table = AssayTable.from_arrays(
        rng.normal(size=(150, 2)), rng.integers(2, size=(150, 2)), ["t", "a"], molecules=molecules
    )
    split = split_target(table, "t", "random", 0.3)
    fold = make_plan(table, split, model=SMALL, folds=4).fold
    assert set(fold[split.train]) == {0, 1, 2, 3}
    assert set(fold[split.test]) == {-1}
    for molecule in np.unique(molecules):
        assert len(set(fold[molecules == molecule])) == 1


def test_the_targets_own_rows_as_a_source_are_scored_out_of_fold() -> None:
    table = agreeing()
    plan = make_plan(table, whole_target(table, "target"), ["coin"], model=DecisionTreeClassifier())
    assert plan.sources == ("coin", "target")
    assert (plan.probabilities("target") == plan.labels).mean() < 0.65
    with pytest.raises(InputError, match="needs folds"):
        make_plan(table, whole_target(table, "target"), folds=0)


def table_with(column, **more) -> AssayTable:
    n = len(column)
    labels = np.stack([np.arange(n) % 2, np.arange(n) % 2, column], axis=1).astype(float)
    return AssayTable.from_arrays(np.arange(n)[:, None], labels, ["t", "good", "odd"], **more)


@pytest.mark.parametrize(
    ("column", "says"),
    [
        ([1.0] * 40, r"'odd' has one class \(1 in all of its 40 rows\)"),
        ([np.nan] * 40, "'odd' has no labelled row"),
        ([1.0] + [0.0] * 39, "'odd' has one class once a fold is left out"),
    ],
)
def test_unusable_sources_are_named_or_dropped(column, says) -> None:
    table = table_with(column)
    split = whole_target(table, "t")
    with pytest.raises(InputError, match=says):
        make_plan(table, split, model=SMALL)
    plan = make_plan(table, split, model=SMALL, unusable="drop")
    assert plan.sources == ("good", "t")
    assert "1 source was left out: 'odd' (" in plan.notes[0]


def test_a_source_without_a_molecule_of_the_target_is_scored_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(120, 2))
    labels = np.full((120, 3), np.nan)
    labels[:60, 0], labels[:60, 1] = X[:60, 0] > 0, rng.random(60) > 0.5
    labels[60:, 2] = X[60:, 0] > 0  # measured on other molecules, by the target's rule
    table = AssayTable.from_arrays(X, labels, ["t", "coin", "apart"])
    built = []
    monkeypatch.setattr(Booster, "build", lambda self, seed, real=Booster.build: built.append(seed) or real(self, seed))
    for seed in range(3):
        plan = make_plan(
            table, split_target(table, "t", "random", seed=seed), model=SMALL, folds=3, own_rows=False, seed=seed
        )
        assert plan.sources == ("coin", "apart")
        found = plan.probabilities("apart")
        assert ((found > 0.5) == plan.labels).mean() > 0.9
    assert len(built) == 3  # no fold has a molecule of it: one proxy scores all


def test_what_one_seed_leaves_out_is_left_out_of_all_and_said() -> None:
    column = np.zeros(120)
    column[[3, 50]] = 1
    table = table_with(column)
    splits = [split_target(table, "t", "random", seed=seed) for seed in range(6)]
    plans = with_same_sources(
        lambda split, sources: make_plan(table, split, sources, model=SMALL, unusable="drop", seed=split.seed),
        splits,
        None,
    )
    assert {plan.sources for plan in plans} == {("good", "t")}
    assert all(plan.notes == plans[0].notes for plan in plans)
    assert plans[0].notes[0].startswith("1 source was left out: 'odd' (one class")


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"sources": ["good", "t"]}, "the target 't' should not be among the sources"),
        ({"sources": ["good", "good"]}, "named once"),
        ({"sources": ["godo"]}, r"found 'godo'; (did you mean|the nearest are) 'good'"),
        ({"sources": []}, "at least one source"),
        ({"folds": 1}, "folds should be 0 or"),
        ({"folds": 100}, "folds should be at most"),
        ({"model": KNeighborsClassifier()}, "should take sample_weight in fit, found KNeighborsClassifier"),
        ({"model": LogisticRegression}, "an instance"),
        ({"model": object()}, "with fit; found object"),
    ],
)
def test_bad_settings(options, says) -> None:
    table = table_with(np.arange(40) // 2 % 2)
    with pytest.raises(InputError, match=says):
        make_plan(table, whole_target(table, "t"), **{"model": SMALL} | options)


def test_calibration_moves_the_mean_to_the_targets_and_keeps_the_order() -> None:
    rng = np.random.default_rng(2)
    y = (rng.random(2000) < 0.1).astype(int)
    p = np.clip(np.column_stack([0.5 + 0.3 * y + 0.1 * rng.normal(size=2000), np.full(2000, 0.7)]), 0.01, 0.99)
    q = calibrate(p, y, np.arange(2000), 10, 0)
    np.testing.assert_allclose(q.mean(0), y.mean(), atol=0.01)
    one = np.random.default_rng([0, 14]).permutation(2000) % 10 == 0
    assert np.ptp(q[one, 1]) < 1e-12  # a constant proxy stays one within a fold
    assert q[one, 1].mean() == pytest.approx((y[~one].sum() + 0.5) / (len(y[~one]) + 1))
    assert (np.argsort(q[one, 0]) == np.argsort(p[one, 0])).all()


def test_calibration_of_a_fold_does_not_see_its_labels() -> None:
    p, y = np.full((40, 1), 0.3), np.arange(40) % 2
    groups = np.arange(40)
    q = calibrate(p, y, groups, 4, 0)
    fold = np.random.default_rng([0, 14]).permutation(40) % 4
    flipped = y.copy()
    flipped[fold == 2] = 1
    again = calibrate(p, flipped, groups, 4, 0)
    np.testing.assert_allclose(again[fold == 2], q[fold == 2])
    assert (again[fold == 1] > q[fold == 1]).all()


def test_likelihoods_are_finite_and_those_of_the_labels() -> None:
    table = planted(100)
    plan = make_plan(table, whole_target(table, "target"), ["twin", "other"], model=SMALL)
    logs = plan.log_likelihood(np.column_stack([np.ones(len(plan.labels)), np.full(len(plan.labels), 0.25)]))
    np.testing.assert_allclose(np.exp(logs[:, 1]), np.where(plan.labels == 1, 0.25, 0.75))
    assert np.isfinite(logs).all()
    assert logs[plan.labels == 0, 0].max() == pytest.approx(np.log(1e-6))


@pytest.mark.parametrize(
    "settings", [{"trees": 0}, {"depth": True}, {"learning_rate": 0}, {"threads": 0}, {"more": {"n_jobs": 2}}]
)
def test_bad_boosters(settings) -> None:
    with pytest.raises(InputError, match="should"):
        Booster(**settings)


def test_rare_positives_are_in_every_fold() -> None:
    n, rng = 3000, np.random.default_rng(0)
    X = rng.normal(size=(n, 4))
    rare = np.argsort(-X[:, 0])[:12]
    labels = np.stack([np.isin(np.arange(n), rare), X[:, 0] + rng.normal(size=n) > 1], axis=1).astype(float)
    table = AssayTable.from_arrays(X, labels, ["target", "screen"])
    for seed in range(5):
        split = split_target(table, "target", "random", 0.25, seed)
        plan = make_plan(table, split, model=SMALL, seed=seed)
        assert plan.sources == ("screen", "target")
        ones = plan.fold[split.train][plan.labels == 1]
        assert sorted(np.bincount(ones, minlength=5)) == [1, 2, 2, 2, 2]
    search = AssaySearch("target", classifier=SMALL).fit(table, split=split)
    assert average_precision(table.labels[split.test, 0], search.predict_proba(table)[split.test, 1]) > 0.1


def test_too_few_positives_are_refused_with_the_way_out() -> None:
    labels = np.stack([np.arange(60) < 3, np.arange(60) % 2], axis=1).astype(float)
    table = AssayTable.from_arrays(np.arange(60)[:, None], labels, ["target", "other"])
    with pytest.raises(InputError, match=r"found .* 1 with 1; it takes 4 molecules of each class .*AssaySearch"):
        split_target(table, "target")
    molecules = np.where(np.arange(60) < 3, 0, np.arange(60))  # three rows of one molecule
    same = AssayTable.from_arrays(np.arange(60)[:, None], labels, ["target", "other"], molecules=molecules)
    with pytest.raises(InputError, match=r"'target' has one class once a fold is left out .*own_rows: false"):
        make_plan(same, whole_target(same, "target"), model=SMALL)
    assert make_plan(same, whole_target(same, "target"), model=SMALL, own_rows=False).sources == ("other",)


def test_own_rows_that_one_seed_cannot_use_are_no_source_in_any() -> None:
    labels = np.stack([np.arange(120) < 6, np.arange(120) % 2], axis=1).astype(float)
    molecules = np.where(np.arange(120) < 6, np.arange(120) // 2, np.arange(120))  # six positives, three molecules
    table = AssayTable.from_arrays(np.arange(120)[:, None], labels, ["t", "good"], molecules=molecules)
    splits = [split_target(table, "t", "random", share) for share in (0.3, 0.6)]  # two, and one, are left to train on
    usable = {make_plan(table, split, model=SMALL, unusable="drop").own_rows for split in splits}
    plans = with_same_sources(
        lambda split, sources: make_plan(table, split, sources, model=SMALL, unusable="drop", seed=split.seed),
        splits,
        None,
    )
    assert usable == {True, False}
    assert {plan.sources for plan in plans} == {("good",)}
    assert "'t' (" in plans[0].notes[0]
