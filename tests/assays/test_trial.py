import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from toys import SMALL, planted

from mixwright import Constraints, MixMin
from mixwright.assays import AssaySearch, AssayTable
from mixwright.assays.judge import Difference
from mixwright.assays.plan import AssayPlan, make_plan
from mixwright.assays.splits import whole_target
from mixwright.assays.trial import Trial, limits_of, try_out


def with_few_own_rows(own: int, opposite: bool = False, seed: int = 0) -> AssayTable:
    """Return a table whose target has few rows, and a large assay of the same rule, or of the opposite one."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(900, 20))
    rule = X @ rng.normal(size=20) + rng.normal(size=900) > 1
    labels = np.full((900, 2), np.nan)
    labels[:own, 0], labels[own:, 1] = rule[:own], rule[own:] != opposite
    return AssayTable.from_arrays(X, labels, ["target", "large"])


def own_plan(table: AssayTable, **settings) -> AssayPlan:
    return make_plan(table, whole_target(table, "target"), **{"model": SMALL} | settings)


def test_few_own_rows_borrow_and_the_trial_says_why() -> None:
    search = AssaySearch("target", classifier=SMALL).fit(with_few_own_rows(60))
    found = search.trial_.average_precision
    assert search.trial_.chosen in ("mixture", "borrowed")
    assert found[search.trial_.chosen] > found["target_alone"] + 0.05
    assert search.weights_[0] > 0.5
    assert len(search.row_) > 800


def test_rows_that_mean_the_opposite_are_not_borrowed(monkeypatch: pytest.MonkeyPatch) -> None:
    table = with_few_own_rows(300, opposite=True)
    weights = {"mixture": np.array([0.5, 0.5]), "borrowed": np.array([1.0, 0.0]), "target_alone": np.array([0.0, 1.0])}
    trial = try_out(own_plan(table), weights)
    assert trial.chosen == "target_alone"
    found = trial.average_precision
    assert found["target_alone"] > found["mixture"] + 0.1 > found["borrowed"]
    assert trial.gain["target_alone"].value == pytest.approx(found["target_alone"] - found["mixture"])
    monkeypatch.setattr("mixwright.assays.search.try_out", lambda plan, weights: trial)
    search = AssaySearch("target", classifier=SMALL).fit(table)
    assert search.trial_ is trial
    assert search.weights_.tolist() == [0.0, 1.0]
    assert search.result_.gap <= 1e-8  # certified among the weights that are all the target's
    assert set(search.source_) == {1}
    np.testing.assert_allclose(search.sample_weight_, 1.0)


def chosen_of(positives: int, **gains: tuple[float, float]) -> str:
    differences = {name: Difference((low + high) / 2, low, high, 0.68, "") for name, (low, high) in gains.items()}
    found = {"mixture": 0.5, **{name: 0.5 + d.value for name, d in differences.items()}}
    return Trial({}, found, differences, positives).chosen


def test_with_few_positives_another_has_to_be_better_by_more_than_a_standard_error() -> None:
    assert chosen_of(149, borrowed=(-0.1, 0.2), target_alone=(-0.01, 0.3)) == "mixture"
    assert chosen_of(149, borrowed=(-0.1, 0.2), target_alone=(0.01, 0.03)) == "target_alone"
    assert chosen_of(149, borrowed=(0.1, 0.2), target_alone=(0.01, 0.03)) == "borrowed"
    assert chosen_of(150, borrowed=(-0.1, 0.2), target_alone=(-0.01, 0.3)) == "target_alone"
    assert chosen_of(150, target_alone=(-0.2, -0.1)) == "mixture"


def test_models_of_the_trial_have_not_seen_what_they_rank(monkeypatch: pytest.MonkeyPatch) -> None:
    table = planted(200)
    plan = own_plan(table, model=LogisticRegression(), folds=4)
    trained, real = [], AssayPlan.train
    monkeypatch.setattr(AssayPlan, "train", lambda self, rows: trained.append(rows) or real(self, rows))
    try_out(plan, {"mixture": np.full(4, 0.25), "target_alone": np.array([0.0, 0.0, 0.0, 1.0])})
    assert len(trained) == 8
    for i, rows in enumerate(trained):
        held = plan.fold == i % 4
        assert held.any()
        assert not held[rows.row].any()
        left = np.setdiff1d(np.flatnonzero(~held), np.flatnonzero((table.labels == -1).all(1)))
        assert set(rows.row) == set(left if i < 4 else np.intersect1d(left, table.labelled("target")))


@pytest.mark.parametrize(
    ("constraints", "possible"),
    [
        (None, {"borrowed", "target_alone"}),
        (Constraints(floors={"target": 0.3}), {"target_alone"}),
        (Constraints(caps={"target": 0.5}), {"borrowed"}),
        (Constraints(floors={"twin": 0.1}), {"borrowed"}),
        (Constraints(floors={"target": 0.3}, caps={"target": 0.5}), set()),
        (Constraints(frozen={"target": 0.4}), set()),
    ],
)
def test_limits_say_what_is_tried(constraints, possible) -> None:
    plan = own_plan(planted(200))
    assert set(limits_of(plan, MixMin(), constraints)) == possible
    assert limits_of(plan.without_own_rows(), MixMin(), None) == {}


def test_own_rows_have_a_floor_of_their_own() -> None:
    limits = Constraints(floors={"target": 0.6}, caps={"target": 0.9})
    search = AssaySearch("target", classifier=SMALL, constraints=limits).fit(with_few_own_rows(60))
    assert search.trial_ is None  # limits allow neither no own rows nor nothing else
    assert 0.6 - 1e-9 <= search.weights_[1] <= 0.9
    share = search.sample_weight_[search.source_ == 1].sum() / search.sample_weight_.sum()
    assert share == pytest.approx(search.weights_[1])
