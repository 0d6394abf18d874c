import numpy as np
import pytest
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, KFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from toys import SMALL, planted

import mixwright
from mixwright.assays import AssaySearch, AssayTable, Booster, Fingerprint, compare_arms, split_target
from mixwright.errors import InputError

MODEL = LogisticRegression()


def arrays(table: AssayTable):
    return table.features, np.where(table.labels < 0, np.nan, table.labels)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"own_rows": "inclued"}, "own_rows should be true or false, found 'inclued'"),
        ({"own_rows": None}, "own_rows should be true or false, found None"),
        ({"calibration": "intercpet"}, "calibration should be 'none' or 'intercept', .* did you mean 'intercept'"),
        ({"unusable": "skip"}, "unusable should be 'error' or 'drop', found 'skip'"),
        ({"prior": "natrual"}, "prior should be 'uniform', 'natural'"),
        ({"prior": [0.5, 0.5]}, r"prior should be one number per source \(4\)"),
        ({"shrinkage": "auto"}, "shrinkage should be 'cv' or a number"),
        ({"constraints": mixwright.Constraints(caps={"twni": 0.5})}, "found 'twni'; did you mean 'twin'"),
        ({"random_state": None}, "random_state.* whole number of at least 0, found None"),
        ({"sources": "twin"}, r"sources should be a list of assays, found 'twin'; write \['twin'\]"),
        ({"sources": ["twin", 9]}, "a column from 0 to 3, found 9"),
        ({"target": -1}, "a column from 0 to 3, found -1"),
        ({"target": None}, "assay should be one of the table's, found None"),
        ({"proxies": {"twni": MODEL}}, "a source should be one of the table's, found 'twni'|proxy of 'twni' should be"),
        ({"proxies": {"twin": object()}}, "the proxy of 'twin' should be a fitted classifier"),
    ],
)
def test_each_setting_is_checked_before_any_work(options, says, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Booster, "build", lambda *args: pytest.fail("a model was built"))
    with pytest.raises(InputError, match=says):
        AssaySearch(**{"target": "target", "classifier": SMALL} | options).fit(planted(120))
    if "random_state" in options:
        return  # a comparison has seeds of its own
    with pytest.raises(InputError, match=says):
        compare_arms(AssaySearch(**{"target": "target", "classifier": SMALL} | options), planted(120))


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"split": "scafold"}, "split should be one of 'random', 'scaffold', .*; did you mean 'scaffold'"),
        ({"duplicates": "keep"}, "duplicates should be 'error' or 'drop', found 'keep'"),
        ({"held_out": "0.2"}, "held_out should be a share between 0 and 1"),
        ({"seeds": ()}, "at least one seed"),
        ({"seeds": 3}, r"write \[3\]"),
        ({"seeds": (1, 1, 1)}, "seeds should differ"),
        ({"seeds": (0, -1)}, "a seed should be a whole number"),
        ({"arms": ["natrual"]}, "an arm should be one of 'uniform', .*did you mean 'natural'"),
        ({"level": 90}, "level should be between 0 and 1"),
    ],
)
def test_a_comparison_is_checked_before_any_work(options, says, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Booster, "build", lambda *args: pytest.fail("a model was built"))
    with pytest.raises(InputError, match=says):
        compare_arms(AssaySearch("target", classifier=SMALL), planted(120), **options)


@pytest.mark.parametrize("settings", [{"radius": "2"}, {"bits": 512.0}, {"counts": "yes"}, {"radius": 9}])
def test_fingerprints_are_checked(settings) -> None:
    with pytest.raises(InputError, match="of a fingerprint should be"):
        Fingerprint(**settings)


def test_a_split_of_another_target_is_refused() -> None:
    table = planted(120)
    with pytest.raises(InputError, match="split should be of the target 'target', found one of 'twin'"):
        AssaySearch("target", classifier=MODEL).fit(table, split=split_target(table, "twin"))


def test_columns_by_number_are_those_by_name() -> None:
    table = planted(200)
    X, Y = arrays(table)
    settings = {"classifier": MODEL, "folds": 2, "own_rows": False}
    named = AssaySearch("target", ["other", "twin"], **settings).fit(table)
    by_number = AssaySearch(0, [3, 1], **settings)
    np.testing.assert_array_equal(by_number.fit(X, Y).weights_, named.weights_)
    assert by_number.sources_ == ("assay_3", "assay_1")
    assert by_number.fit(table).sources_ == ("other", "twin")
    assert split_target(table, 0).target == "target"
    assert clone(AssaySearch(np.int64(2))).get_params()["target"] == 2
    found = compare_arms(by_number, table, seeds=(0,), both_calibrations=False, arms=["search"])
    assert found.target == "target"


def test_a_data_frame_of_labels_names_the_assays() -> None:
    pandas = pytest.importorskip("pandas")
    table = planted(200)
    X, Y = arrays(table)
    frame = pandas.DataFrame(Y, columns=list(table.assays))
    search = AssaySearch("target", classifier=MODEL, folds=2).fit(pandas.DataFrame(X), frame)
    assert search.sources_ == ("twin", "base", "other", "target")
    assert search.predict_proba(pandas.DataFrame(X)).shape == (200, 2)
    assert search.score(X, frame) == search.score(table) == search.score(X, Y[:, 0])
    assert search.score(table) > 0.8
    with pytest.raises(InputError, match="some row should have a 1"):
        search.score(X, np.zeros(200))


def test_in_a_pipeline_and_a_grid_search() -> None:
    X, Y = arrays(planted(240))
    pipe = make_pipeline(StandardScaler(), AssaySearch(0, classifier=MODEL, folds=2))
    pipe.fit(X, Y)
    assert pipe.score(X, Y) > 0.8
    grid = GridSearchCV(AssaySearch(0, classifier=MODEL, folds=2), {"classifier__C": [1e-4, 1.0]}, cv=KFold(2))
    grid.fit(X, Y)
    assert grid.best_params_["classifier__C"] == grid.best_estimator_.classifier_.C
    assert grid.cv_results_["mean_test_score"].max() > 0.7
