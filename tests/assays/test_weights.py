import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from toys import SMALL, planted

from mixwright.assays import AssayTable, classifiers
from mixwright.assays.weights import effective_number, mixture_rows, per_row
from mixwright.errors import InputError


def test_a_hand_computed_case() -> None:
    # weights .75/.25 of sources with 30 and 10 rows: every row the same; and a source with weight 0 has no row
    np.testing.assert_allclose(per_row([0.75, 0.25, 0.0], [30, 10, 60]), [1 / 40, 1 / 40, 0.0])
    np.testing.assert_allclose(per_row([0.5, 0.5], [30, 10]), [1 / 60, 1 / 20])
    assert effective_number(np.array([1.0, 1.0, 0.5])) == pytest.approx(2.5**2 / 2.25)


@given(
    st.lists(st.tuples(st.floats(0, 1), st.integers(1, 5000)), min_size=1, max_size=8).filter(
        lambda parts: sum(w for w, _ in parts) > 1e-3
    )
)
def test_each_source_has_the_share_that_is_asked(parts: list[tuple[float, int]]) -> None:
    w, n = (np.array(values, float) for values in zip(*parts, strict=True))
    each = per_row(w, n)
    total = each * n
    np.testing.assert_allclose(total / total.sum(), w / w.sum(), atol=1e-12)


@pytest.mark.parametrize(("w", "n"), [([0.0, 0.0], [1, 1]), ([1.0], [0]), ([-1.0, 2.0], [1, 1]), ([1.0], [1, 1])])
def test_bad_weights_are_errors(w: list[float], n: list[int]) -> None:
    with pytest.raises(InputError, match="weights should be"):
        per_row(w, n)


@settings(max_examples=25)
@given(st.integers(0, 2**16), st.floats(0.05, 0.95))
def test_merged_rows_are_the_same_weighted_data(seed: int, share: float) -> None:
    table = planted(80, seed)
    rows = mixture_rows(table, ["twin", "base", "other"], [share, 0.0, 1 - share], np.ones(table.n, bool))
    assert set(rows.source) == {0, 2}
    merged = rows.merged()
    assert len(merged.row) < len(rows.row)
    for row, label, weight in zip(merged.row, merged.label, merged.weight, strict=True):
        same = (rows.row == row) & (rows.label == label)
        assert weight == pytest.approx(rows.weight[same].sum())


def test_a_booster_does_not_see_whether_rows_are_merged() -> None:
    rng = np.random.default_rng(3)
    X = rng.integers(0, 2, size=(300, 12))
    Y = np.stack([(X[:, i] + X[:, i + 1] + rng.random(300)) > 1.6 for i in range(4)], axis=1)
    table = AssayTable.from_arrays(X, Y, molecules=np.arange(300))
    rows = mixture_rows(table, table.assays, [0.4, 0.3, 0.2, 0.1], np.ones(300, bool))
    merged = rows.merged()
    assert len(merged.row) < 0.6 * len(rows.row)
    one, other = (
        classifiers.positive(classifiers.fit(SMALL, table.features[r.row], r.label, r.weight, 0), table.features)
        for r in (rows, merged)
    )
    np.testing.assert_allclose(one, other, atol=1e-4)


def test_rows_that_may_not_be_trained_on_are_not_there() -> None:
    table = planted(60)
    allowed = np.arange(60) % 3 > 0
    rows = mixture_rows(table, ["twin", "other"], [0.5, 0.5], allowed)
    assert allowed[rows.row].all()
    assert (rows.label == table.labels[rows.row, [table.column(["twin", "other"][s]) for s in rows.source]]).all()


def test_a_few_own_rows_count_like_the_rows_they_are() -> None:
    # 40 own rows with half of the mixture, 4,000 borrowed rows with the other half
    n = 4040
    X = np.arange(n)[:, None].astype(float)
    labels = np.full((n, 2), np.nan)
    labels[:40, 0], labels[40:, 1] = np.arange(40) % 2, np.arange(4000) % 2
    table = AssayTable.from_arrays(X, labels, ["own", "borrowed"], molecules=np.arange(n))
    alone = mixture_rows(table, ["own"], [1.0], np.ones(n, bool))
    np.testing.assert_allclose(alone.weight, 1.0)
    half = mixture_rows(table, ["own", "borrowed"], [0.5, 0.5], np.ones(n, bool))
    assert half.weight.sum() == pytest.approx(effective_number(half.weight)) == pytest.approx(4 / (1 / 40 + 1 / 4000))
    assert half.weight[half.source == 0].max() < 2  # with a mean of 1 it would be 50
    almost = mixture_rows(table, ["own", "borrowed"], [1 - 1e-9, 1e-9], np.ones(n, bool))
    np.testing.assert_allclose(almost.weight[almost.source == 0], 1.0, rtol=1e-6)  # the limit is the target alone
