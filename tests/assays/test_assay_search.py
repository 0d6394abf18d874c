import sys
from pathlib import Path

import numpy as np
import pytest
from scipy.sparse import csr_matrix
from sklearn.base import clone
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score
from sklearn.naive_bayes import GaussianNB
from toys import SMALL, planted

import mixwright
from mixwright.assays import AssaySearch, AssayTable, Booster, Fingerprint, compare_arms, read_assays, split_target
from mixwright.assays.judge import Difference, HeldOutRows, Judge, advice, average_precision, few_positives
from mixwright.compare import paired_differences
from mixwright.errors import InputError

DATA = Path(__file__).parents[3] / "shared" / "data" / "chem" / "tox21.parquet"


@pytest.fixture(scope="module")
def fitted() -> AssaySearch:
    return AssaySearch("target", classifier=SMALL, own_rows=False).fit(planted())


def test_the_related_assay_gets_the_weight(fitted: AssaySearch) -> None:
    weights = dict(zip(fitted.sources_, fitted.weights_, strict=True))
    assert weights["twin"] > 0.8
    assert fitted.result_.gap <= 1e-8
    assert fitted.result_.documents == len(planted().labelled("target"))


def test_base_rate_alone_is_favoured_only_without_calibration() -> None:
    settings = {"classifier": SMALL, "shrinkage": 0.0, "own_rows": False}
    raw = AssaySearch("target", ["base", "other"], calibration="none", **settings).fit(planted())
    level = AssaySearch("target", ["base", "other"], **settings).fit(planted())
    assert raw.weights_[0] > level.weights_[0] + 0.05  # `base` has the target's base rate and nothing else


def test_row_weights_are_those_of_the_final_model(fitted: AssaySearch) -> None:
    table = planted()
    for k, source in enumerate(fitted.sources_):
        mine = fitted.source_ == k
        assert fitted.sample_weight_[mine].sum() / fitted.sample_weight_.sum() == pytest.approx(fitted.weights_[k])
        assert set(fitted.row_[mine]) == (set(table.labelled(source)) if fitted.weights_[k] > 0 else set())
    own = SMALL.build(0).fit(table.features[fitted.row_], fitted.label_, sample_weight=fitted.sample_weight_)
    np.testing.assert_allclose(
        own.predict_proba(table.features), fitted.predict_proba(table.features), atol=1e-4
    )  # merged rows or not


def test_it_follows_the_conventions_of_scikit_learn() -> None:
    search = AssaySearch("target", classifier=SMALL, folds=3, own_rows=False)
    again = clone(search)
    assert again is not search
    assert again.get_params()["folds"] == 3
    table = planted()
    one, other = search.fit(table), again.fit(table)
    assert one is search
    np.testing.assert_array_equal(one.weights_, other.weights_)
    np.testing.assert_array_equal(one.predict_proba(table), other.predict_proba(table))
    assert one.predict_proba(table).sum(1) == pytest.approx(1)
    assert set(one.predict(table.features)) <= {0, 1}
    assert one.set_params(random_state=1).fit(table).weights_.tolist() != other.weights_.tolist()


def test_features_and_labels_as_arrays() -> None:
    table = planted()
    Y = np.where(table.labels < 0, np.nan, table.labels)
    search = AssaySearch("assay_0", classifier=SMALL).fit(table.features, Y)
    assert search.sources_ == ("assay_1", "assay_2", "assay_3", "assay_0")
    np.testing.assert_allclose(search.weights_, AssaySearch("target", classifier=SMALL).fit(table).weights_)
    with pytest.raises(InputError, match="an AssayTable alone"):
        search.fit(table.features)


@pytest.mark.parametrize("model", [LogisticRegression(), RandomForestClassifier(10, max_depth=4)])
def test_any_classifier_of_scikit_learn(model) -> None:
    search = AssaySearch("target", classifier=model, own_rows=False).fit(planted())
    assert dict(zip(search.sources_, search.weights_, strict=True))["twin"] > 0.6
    assert type(search.classifier_) is type(model)


def test_a_classifier_that_reads_no_sparse_features_gets_dense_ones() -> None:
    table = planted()
    labels = np.where(table.labels < 0, np.nan, table.labels)
    sparse = AssayTable.from_arrays(csr_matrix(table.features), labels, table.assays)
    model = GaussianNB()
    with pytest.raises(TypeError, match="dense"):
        model.fit(sparse.features, table.labels[:, 0])
    found = AssaySearch("target", classifier=model).fit(sparse)
    np.testing.assert_allclose(found.weights_, AssaySearch("target", classifier=model).fit(table).weights_)
    assert found.predict_proba(sparse).shape == (400, 2)


def test_given_proxies_are_used_as_they_are() -> None:
    table = planted()
    rows = table.labelled("twin")
    proxy = LogisticRegression().fit(table.features[rows], table.labels[rows, 1])
    search = AssaySearch("target", ["twin", "other"], classifier=SMALL, proxies={"twin": proxy})
    plan = search.plan(table, split_target(table, "target"))
    expected = proxy.predict_proba(table.features[plan.split.train])[:, 1]
    np.testing.assert_allclose(plan.probabilities("twin", proxy), expected)
    narrow = LogisticRegression().fit(table.features[rows, :2], table.labels[rows, 1])
    with pytest.raises(InputError, match=r"features that the proxy of 'twin' was trained on \(2\), found 6"):
        search.set_params(proxies={"twin": narrow}).fit(table)


def test_a_table_with_other_fingerprints_is_refused(tmp_path) -> None:
    smiles = ["C" * i + "O" * (i % 3) + "N" * (i % 2) for i in range(1, 41)]
    lines = [f"{text},{i % 2},{(i // 2) % 2}" for i, text in enumerate(smiles)]
    (tmp_path / "t.csv").write_text("smiles,a,b\n" + "\n".join(lines) + "\n")
    one, other = (read_assays(tmp_path / "t.csv", fingerprint=Fingerprint(radius, 64)) for radius in (2, 3))
    search = AssaySearch("a", classifier=SMALL).fit(one)
    assert search.predict_proba(one).shape == (40, 2)
    with pytest.raises(InputError, match=r"features that the model was trained on, found .*'radius': 3"):
        search.predict_proba(other)
    with pytest.raises(InputError, match="make the fingerprints with the same settings"):
        search.predict_proba(one.features[:, :32])


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"calibration": "slope"}, "calibration should be"),
        ({"shrinkage": -1}, "shrinkage"),
        ({"target": "targte"}, "found 'targte'; did you mean 'target'"),
        ({"sources": ["target"]}, "should not be among the sources"),
    ],
)
def test_bad_settings_are_errors_before_any_work(options, says, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Booster, "build", lambda *args: pytest.fail("a model was built"))
    with pytest.raises(InputError, match=says):
        AssaySearch(**{"target": "target", "classifier": SMALL} | options).fit(planted())


def test_the_comparison_trains_all_arms_alike_on_held_out_molecules() -> None:
    found = compare_arms(AssaySearch("target", classifier=SMALL), planted(600), seeds=(0, 1, 2), held_out=0.3)
    scores = found.average_precision
    assert set(scores) == {"uniform", "natural", "target_alone", "best_single", "search", "search_uncalibrated"}
    assert scores["search"] > scores["uniform"] + 0.05
    gain = found.difference("search", "uniform")
    assert gain.value == pytest.approx(scores["search"] - scores["uniform"])
    assert gain.low is not None
    assert gain.low > 0
    assert found.verdict.startswith(
        "Train with this mixture, or on the target alone (neither is surely better). search"
    )
    assert "better than uniform by" in found.verdict
    table = [
        [seed.arms[arm].average_precision for seed in found.seeds] for arm in scores if arm != "search_uncalibrated"
    ]
    judged = {d.arm: d for d in paired_differences(table, [*scores][:5], "uniform", unit="", higher=True)}
    assert (gain.low, gain.high) == (judged["search"].low, judged["search"].high)  # of `mixwright compare` too
    for seed in found.seeds:
        assert not np.isin(seed.plan.split.test, np.flatnonzero(seed.plan.split.allowed)).any()
        assert seed.arms["search"].rows <= seed.arms["uniform"].rows
    with pytest.raises(InputError, match="an arm should be one of"):
        found.difference("serach")


def test_where_the_target_alone_is_far_better_the_verdict_says_so_first() -> None:
    table = planted(600)
    labels = np.where(table.labels < 0, np.nan, table.labels)[:, [0, 2, 3]]  # without the target's twin
    poor = AssayTable.from_arrays(table.features, labels, ["target", "base", "other"])
    search = AssaySearch("target", classifier=SMALL, folds=2, own_rows=False)
    found = compare_arms(search, poor, seeds=(0, 1, 2, 3), held_out=0.3, both_calibrations=False)
    assert found.average_precision["target_alone"] > found.average_precision["search"] + 0.3
    assert found.verdict.startswith(
        "Train on the target alone (target), not with this mixture. search on target: worse"
    )
    own = {"own_rows": True, "constraints": mixwright.Constraints(floors={"target": 1.0})}
    with_own = compare_arms(clone(search).set_params(**own), poor, seeds=(0, 1), held_out=0.3, both_calibrations=False)
    for seed in with_own.seeds:
        assert seed.searches["intercept"].weights.tolist() == [0.0, 0.0, 1.0]
        np.testing.assert_array_equal(seed.arms["search"].probability, seed.arms["target_alone"].probability)
    assert with_own.verdict.startswith("Train on the target alone (target): it was the best out of fold")
    assert with_own.seeds[0].arms["best_single"].arm.weights[-1] == 0  # of the other assays


def compared(labels, molecules, one, other) -> Difference:
    seeds = [
        HeldOutRows(y, m, {"one": a, "other": b}) for y, m, a, b in zip(labels, molecules, one, other, strict=True)
    ]
    return Judge(seeds).differences(["one"], "other")["one"]


def test_a_comparison_of_an_arm_with_itself_is_no_better() -> None:
    y, p = np.tile([0, 1], 30), np.random.default_rng(0).random(60)
    same = compared([y], [np.arange(60)], [p], [p])
    assert (same.value, same.low, same.high) == (0, 0, 0)
    assert same.verdict("x").startswith("no better than x on this evidence")
    best = compared([y], [np.arange(60)], [y + 0.0], [p])
    assert best.low is not None
    assert best.low > 0


def repeats(seeds: int, rows: int = 80):
    """Return labels, and probabilities of two arms, the same for each seed: one arm is a little better."""
    rng = np.random.default_rng(1)
    y = np.tile([0, 1], rows // 2)
    good, bad = y + rng.normal(size=rows), 0.9 * y + rng.normal(size=rows)
    return [y] * seeds, [good] * seeds, [bad] * seeds


def test_repeats_of_one_split_are_no_evidence() -> None:
    y, good, bad = repeats(5)
    molecules = np.arange(80)
    once = compared(y[:1], [molecules], good[:1], bad[:1])
    often = compared(y, [molecules] * 5, good, bad)
    assert (often.low, often.high) == (once.low, once.high)  # no narrower for being said five times
    assert often.low < often.value < often.high
    assert often.drawn == "molecules"
    assert often.among == "80 held-out molecules, 5 seeds on one split"
    assert once.among == "80 held-out molecules"
    apart = compared(y, [molecules + 80 * i for i in range(5)], good, bad)  # five splits with the same difference
    assert apart.drawn == "seeds"
    assert apart.verdict("uniform").startswith("unverified")
    one = [molecules, molecules, molecules + 80]
    assert compared(y[:3], one, good[:3], bad[:3]).among == "80 held-out molecules in each of 3 seeds"


def test_seeds_whose_splits_share_most_molecules_are_repeats() -> None:
    y, good, bad = repeats(3)
    for shift, drawn in ((30, "molecules"), (50, "seeds")):
        found = compared(y, [np.arange(80) + shift * i for i in range(3)], good, bad)
        assert found.drawn == drawn


def test_intervals_over_molecules_hold_together_whatever_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    (y,), (good,), (bad,) = repeats(1)
    arms = {"uniform": bad, "search": good} | {f"other_{i}": bad for i in range(4)}
    seeds = [HeldOutRows(y, np.arange(80), arms)]
    alone = Judge(seeds).differences(["search"], "uniform")["search"]
    whole = Judge(seeds).differences(list(arms), "uniform")["search"]
    assert whole.low < alone.low < whole.value < alone.high < whole.high
    monkeypatch.setattr("mixwright.assays.judge._BLOCK", 80 * 7)
    assert Judge(seeds).differences(list(arms), "uniform")["search"] == whole


@pytest.mark.parametrize(
    ("value", "low", "high", "says"),
    [
        (-0.0012, -0.0021, -0.0004, "worse than x by 0.00120 in average precision (90 % interval -0.00210 to -0.00040"),
        (0.0345, 0.00002, 0.07, "better than x by 0.03450 in average precision (90 % interval +0.00002 to +0.07000"),
        (0.0345, -0.0101, 0.0791, "no better than x on this evidence: +0.0345 in average precision"),
    ],
)
def test_digits_fit_the_size(value: float, low: float, high: float, says: str) -> None:
    assert Difference(value, low, high, 0.9, "3 seeds").verdict("x").startswith(says)


@pytest.mark.parametrize(
    ("over", "says"),
    [
        ({"uniform": 0.2, "target_alone": -0.1}, "Train on the target alone (t), not with this mixture"),
        ({"uniform": 0.2, "target_alone": 0.1}, "Train with this mixture: it is better than the target alone (t)"),
        ({"uniform": 0.2}, "Train with this mixture"),
        ({"uniform": 0.2, "target_alone": 0.0}, "Train with this mixture, or on the target alone (neither"),
        ({"uniform": 0.0, "natural": -0.1, "best_single": -0.2}, "Train with best_single, not with this mixture"),
        ({"uniform": 0.0, "target_alone": 0.0}, "Train on the target alone (t), with this mixture or with uniform"),
        (
            {"uniform": 0.0, "target_alone": 0.1},
            "Train with this mixture or with uniform weights: it is better than the",
        ),
        ({"uniform": 0.0, "natural": 0.0}, "Nothing sure is gained by this mixture"),
    ],
)
def test_what_to_do_comes_first(over: dict[str, float], says: str) -> None:
    found = {
        name: Difference(value, value - 0.01, value + 0.01, 0.9, "3 seeds", "seeds") for name, value in over.items()
    }
    said = advice("t", found)
    assert said.startswith(says)
    assert ("alone" in said) == ("target_alone" in over)


def test_few_positives_are_a_note() -> None:
    assert few_positives(500, 20) is None
    assert "Only 7 of 3,700 held-out rows have a 1: average precision moves by about 0.14" in few_positives(3700, 7)


@pytest.mark.parametrize("kind", ["scaffold", "time"])
def test_a_verdict_never_rests_on_the_same_split_again(kind: str) -> None:
    table = planted(300)
    few = AssayTable.from_arrays(
        table.features,
        np.where(table.labels < 0, np.nan, table.labels),
        table.assays,
        scaffolds=np.searchsorted([60, 180], np.arange(300), "right"),  # the large ones are never held out
        times=np.arange(300),
    )
    search = AssaySearch("target", classifier=LogisticRegression(), folds=2, shrinkage=0.1)
    found = compare_arms(search, few, split=kind, held_out=0.3, seeds=(0, 1, 2), both_calibrations=False)
    tests = [seed.plan.split.test for seed in found.seeds]
    assert all((test == tests[0]).all() for test in tests)
    gain = found.difference("search", "uniform")
    assert gain.drawn == "molecules"
    assert gain.high - gain.low > 0.01
    assert "3 seeds on one split" in found.verdict


def test_average_precision_by_hand() -> None:
    rng = np.random.default_rng(5)
    for ties in (3, 1000):
        y, score = rng.integers(2, size=200), rng.integers(ties, size=200) / ties
        assert average_precision(y, score) == pytest.approx(average_precision_score(y, score))
    assert average_precision(np.array([1, 0, 1]), np.array([0.9, 0.8, 0.7])) == pytest.approx((1 + 2 / 3) / 2)


def test_the_core_does_not_load_boosters() -> None:
    import subprocess

    code = (
        "import sys, mixwright, mixwright.assays\n"
        "assert not {'xgboost', 'sklearn', 'rdkit', 'pyarrow', 'scipy'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    assert mixwright.AssaySearch is AssaySearch
    assert mixwright.AssayTable is AssayTable


@pytest.mark.shared_data
@pytest.mark.skipif(not DATA.exists(), reason=f"needs {DATA}")
def test_tox21_receptor_finds_its_sibling() -> None:
    table = read_assays(DATA, labels=["NR-AR", "NR-AR-LBD", "NR-AhR", "SR-MMP"], invalid_smiles="skip")
    assert table.n == 8006
    booster = Booster(trees=30, depth=4, threads=1)
    found = compare_arms(
        AssaySearch("NR-AR-LBD", classifier=booster, folds=2, own_rows=False),
        table,
        seeds=(0,),
        both_calibrations=False,
    )
    weights = dict(zip(found.seeds[0].plan.sources, found.seeds[0].searches["intercept"].weights, strict=True))
    assert weights["NR-AR"] > 0.5
    scores = found.average_precision
    assert scores["search"] > scores["uniform"] + 0.1
