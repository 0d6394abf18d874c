"""Tables larger than memory, samples with a bound on all rows, and solves beside a previous one."""

from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_mixmin import KINDS, independent, make, objective, random_bounds

from mixwright import Constraints, InputError, LikelihoodTable, MixMin, MixtureFile
from mixwright.search.resampling import sampled as _sampled
from mixwright.search.solver.streamed import StreamedEvidence
from mixwright.simplex import scale_onto_bounds
from mixwright.testing import SimulatedTarget

TINY = 1.0  # bytes: everything is streamed


def simulated(n=6000, k=6, seed=1):
    return SimulatedTarget.make(k, "sparse", 1.0, seed=seed).draw(n, seed)


@settings(max_examples=60)
@given(st.sampled_from(KINDS), st.integers(0, 10**6), st.sampled_from([0.0, 0.0, 1e-4, 0.1, 10.0]), st.booleans())
def test_streamed_rows_give_the_same_optimum_and_a_true_bound(kind, seed, tau, bounded):
    L, c = make(kind, seed)
    k = L.shape[1]
    lower, upper = random_bounds(np.random.default_rng(seed + 1), k) if bounded else (np.zeros(k), np.ones(k))
    limits = {"row_weights": c, "constraints": Constraints(lower.tolist(), upper.tolist())}
    result = MixMin(shrinkage=tau, memory=TINY).fit(L, **limits)
    whole = MixMin(shrinkage=tau).fit(L, **limits)
    assert isinstance(result._search.whole, StreamedEvidence)
    assert 0 <= result.gap <= 1e-8
    assert result.objective == pytest.approx(whole.objective, rel=1e-12, abs=2e-8)
    penalty = tau * np.where(upper > 0, 1, 0) / np.count_nonzero(upper)
    reached = objective(L, c, result.weights, penalty)
    assert result.objective == pytest.approx(reached, rel=1e-12, abs=1e-12)
    best = objective(L, c, independent(L, c, penalty, lower, upper), penalty)
    assert reached - best <= result.gap + 1e-13 * (1 + abs(reached))


def test_streamed_rows_under_limits_on_groups():
    L = simulated()
    limits = Constraints(groups={"first": ["source_0", "source_1"]}, group_caps={"first": 0.2})
    whole = MixMin(shrinkage=0.0).fit(L, constraints=limits)
    streamed = MixMin(shrinkage=0.0, memory=TINY).fit(L, constraints=limits)
    assert streamed.gap <= 1e-8
    assert streamed.objective == pytest.approx(whole.objective, abs=2e-8)


@pytest.mark.parametrize("tau", [0.0, 1e-3])
def test_a_streamed_search_takes_few_passes(tau):
    with patch.object(_sampled, "EXACT_ELEMENTS", 0):
        result = MixMin(shrinkage=tau, memory=TINY).fit(simulated(20_000, 12))
    assert result.gap <= 1e-8
    assert result._search.whole.passes <= 16


def test_a_streamed_table_on_disk_in_blocks(tmp_path):
    L = simulated(5000, 5)
    LikelihoodTable.from_array(L).save(tmp_path / "table")
    table = LikelihoodTable.open(tmp_path / "table")
    with patch("mixwright.search.solver.streamed.BLOCK_ELEMENTS", 300):
        result = MixMin(shrinkage=0.0, memory=TINY).fit(table)
    assert result.gap <= 1e-8
    assert result.objective == pytest.approx(MixMin(shrinkage=0.0).fit(L).objective, abs=2e-8)


def test_the_default_call_on_a_streamed_table_says_what_it_draws():
    L = simulated(6000, 4)
    with patch.object(_sampled, "LEAST_ROWS", 1000), patch.object(_sampled, "EXACT_ELEMENTS", 0):
        result = MixMin(memory=TINY).fit(L, documents=np.arange(6000) // 2)
        assert (result.rows, result.documents) == (6000, 3000)
        assert (result.sample.rows, result.sample.documents) == (1000, 500)
        assert "1,000 of 6,000 rows" in result.notes[0]
        assert "favour it over uniform" in result.verdict
        assert result.interval().shape == (4, 2)
        assert result.to_file().evidence["sample"]["documents"] == 500
    assert result.gap <= 1e-8


def test_memory_says_how_many_rows_are_resampled():
    L = simulated(6000, 16)
    found = MixMin(shrinkage=0.01, memory=3e5).fit(L)  # P would take 384 kB
    assert found._search.streamed
    rows = int(3e5 / (16 * 16))
    assert found.sample.rows == found.sample.documents == rows
    assert f"come from {rows:,} of 6,000 rows" in found.notes[0]
    everything = MixMin(shrinkage=0.01).fit(L)
    assert everything.notes == ()
    np.testing.assert_allclose(found.weights, everything.weights, atol=1e-3)  # the weights are those of all rows
    assert found.gap <= 1e-8
    width, wide = (np.diff(result.interval(), axis=1).sum() for result in (everything, found))
    assert wide > 1.5 * width  # the interval is that of the sample
    assert found.improvement()[0] != everything.improvement()[0]
    tiny = MixMin(shrinkage=0.01, memory=1.0).fit(L)
    assert tiny.sample.rows == 1000
    fits = MixMin(shrinkage=0.01, memory=1.0).fit(L[:900])
    assert fits.sample is None
    assert fits.notes == ()
    with pytest.raises(
        InputError, match=r"memory should hold at least 3 documents; found 1 in 1000 rows .*raise memory"
    ):
        MixMin(memory=1.0).fit(L, documents=np.arange(6000) // 900)


def test_excluded_sources_are_priced_on_a_streamed_table():
    L = simulated(3000, 4)
    limits = Constraints(caps={"source_2": 0.0})
    streamed = MixMin(shrinkage=0.0, memory=TINY).fit(L, constraints=limits)
    whole = MixMin(shrinkage=0.0).fit(L, constraints=limits)
    assert streamed.gain == pytest.approx(whole.gain, abs=1e-3)
    assert streamed.weights[2] == 0


@pytest.mark.parametrize("tau", [0.0, 0.01])
@pytest.mark.parametrize("memory", [TINY, 1e9])
def test_max_rows_bounds_the_objective_of_all_rows(tau, memory):
    L = simulated(5000, 5, seed=3)
    documents = np.random.default_rng(0).integers(0, 900, 5000)
    table = LikelihoodTable.from_array(L, documents=documents)
    result = MixMin(shrinkage=tau, max_rows=800, memory=memory).fit(table)
    best = MixMin(shrinkage=tau).fit(L)
    penalty = np.full(5, tau / 5)
    assert result.objective == pytest.approx(objective(L, np.ones(5000), result.weights, penalty), abs=1e-10)
    assert 0 < result.objective - best.objective <= result.gap
    assert 1e-8 < result.gap < 0.2
    assert result.rows == 5000
    assert 700 < result.sample.rows <= 800
    chosen = result._search.drawn
    assert np.isin(documents, documents[chosen]).sum() == chosen.size  # whole documents
    assert abs(result.sample.loss - result.loss) < 5 * result.sample.error
    assert "of 5,000 rows" in result.verdict
    again = MixMin(shrinkage=tau, max_rows=800, memory=memory).fit(table)
    other = MixMin(shrinkage=tau, max_rows=800, memory=memory).fit(table, seed=1)
    assert (again.weights == result.weights).all()
    assert not (other.weights == result.weights).all()


def test_max_rows_of_a_smaller_table_change_nothing():
    L = simulated(300, 4)
    result = MixMin(max_rows=300).fit(L)
    assert (result.weights == MixMin().fit(L).weights).all()
    assert result.sample is None
    assert result.notes == ()


def test_an_outcome_that_the_sample_does_not_show_is_told():
    L = np.zeros((1000, 2))
    L[:, 1] = -np.inf
    L[0] = L[0][::-1]
    L[0, 0] = -np.inf
    result = MixMin(shrinkage=0.0, max_rows=10).fit(L)
    assert np.isinf(result.gap)
    assert np.isinf(result.loss)


@pytest.mark.parametrize("found", [2, 3.5, True, "many"])
def test_a_wrong_max_rows(found):
    with pytest.raises(InputError, match="max_rows should be a whole number"):
        MixMin(max_rows=found)


def test_max_rows_that_hold_too_few_documents():
    with pytest.raises(InputError, match="max_rows should hold at least 3 documents; found 2 in 9 rows"):
        MixMin(max_rows=9).fit(simulated(40, 3), documents=np.arange(40) // 4)


@pytest.mark.parametrize("found", [0, -1, "1e9"])
def test_a_wrong_memory(found):
    with pytest.raises(InputError, match="memory should be a positive number of bytes"):
        MixMin(memory=found)


@settings(max_examples=60)
@given(
    st.sampled_from(KINDS),
    st.integers(0, 10**6),
    st.sampled_from([0.0, 0.01]),
    st.booleans(),
    st.sampled_from([0, 10**9]),
)
def test_beside_a_previous_result_the_optimum_is_the_same(kind, seed, tau, bounded, exact):
    L, c = make(kind, seed)
    L = np.where(np.isfinite(L).any(1, keepdims=True), L, 0.0)
    k = L.shape[1]
    with (
        patch("mixwright.search.solver.evidence.EXACT_ELEMENTS", exact),
        patch("mixwright.search.solver.reuse.EXACT_ELEMENTS", exact),
    ):
        if k > 1 and np.isfinite(L[:, :-1]).any(1).all():
            part = LikelihoodTable.from_array(L[:, :-1])
            check_beside(part, part.with_source("new", L[:, -1]), c, tau, bounded, seed)
        if k > 1 and np.isfinite(L[:, 1:]).any(1).all():
            full = LikelihoodTable.from_array(L)
            check_beside(full, full.without_source("source_0"), c, tau, bounded, seed)


def check_beside(before, after, c, tau, bounded, seed):
    previous = MixMin(shrinkage=tau).fit(before, row_weights=c)
    k, limits = after.k, None
    if bounded:
        lower, upper = random_bounds(np.random.default_rng(seed), k)
        limits = Constraints(lower.tolist(), np.maximum(upper, 1e-3).tolist())
    cold = MixMin(shrinkage=tau).fit(after, row_weights=c, constraints=limits)
    warm = MixMin(shrinkage=tau).fit(after, row_weights=c, constraints=limits, start=previous)
    assert 0 <= warm.gap <= 1e-8
    assert warm.objective == pytest.approx(cold.objective, rel=1e-11, abs=2e-8)
    L = after.block(0, after.n)
    penalty = np.full(k, tau / k)
    assert warm.objective == pytest.approx(objective(L, c, warm.weights, penalty), rel=1e-12, abs=1e-11)


def test_a_source_more_shares_the_likelihoods_of_the_previous_search():
    L = simulated(6000, 8)
    L[:500, 6] += 30.0  # far above the old row maxima
    with (
        patch("mixwright.search.solver.evidence.EXACT_ELEMENTS", 0),
        patch("mixwright.search.solver.reuse.EXACT_ELEMENTS", 0),
    ):
        table = LikelihoodTable.from_array(L[:, :5])
        previous = MixMin(shrinkage=0.0).fit(table)
        rows = previous._search.whole
        P, columns, maximum = rows.P.copy(), rows._columns.copy(), rows.maximum.copy()
        weights, last = previous.weights.copy(), previous
        wider = table
        for at, shares in ((5, True), (6, False), (7, True)):
            wider = wider.with_source(f"new_{at}", L[:, at])
            found = MixMin(shrinkage=0.0).fit(wider, start=last)
            assert np.shares_memory(found._search.whole.P, last._search.whole.P) == shares
            cold = MixMin(shrinkage=0.0).fit(L[:, : at + 1])
            assert found.gap <= 1e-8
            assert found.objective == pytest.approx(cold.objective, abs=2e-8)
            assert found.loss == pytest.approx(-np.log(np.exp(L[:, : at + 1]) @ found.weights).mean(), abs=1e-11)
            last = found
        other = table.with_source("other", L[:, 7])
        again = MixMin(shrinkage=0.0).fit(other, start=previous)  # the room was that of results that are gone
        assert np.shares_memory(again._search.whole.P, rows.P)
        beside = MixMin(shrinkage=0.0).fit(other, start=previous)  # the room is taken
        assert not np.shares_memory(beside._search.whole.P, rows.P)
        assert again.gap <= 1e-8
        assert beside.objective == pytest.approx(again.objective, abs=2e-8)
        assert (rows.P == P).all()
        assert (rows.maximum == maximum).all()
        assert (rows._columns[:, : rows._kept.size] == columns[:, : rows._kept.size]).all()
        assert (previous.weights == weights).all()
        same = MixMin(shrinkage=0.0).fit(table, start=previous)
        np.testing.assert_allclose(same.weights, weights, atol=1e-6)


@pytest.mark.parametrize(("tau", "limits"), [(0.0, None), (0.01, None), (0.0, Constraints(max_distance=0.8))])
def test_a_source_in_the_middle_shares_the_likelihoods_too(tau, limits):
    L = simulated(6000, 7)
    with (
        patch("mixwright.search.solver.evidence.EXACT_ELEMENTS", 0),
        patch("mixwright.search.solver.reuse.EXACT_ELEMENTS", 0),
    ):
        full = LikelihoodTable.from_array(L)
        previous = MixMin(shrinkage=tau).fit(full.without_source("source_2"))
        warm = MixMin(shrinkage=tau).fit(full, start=previous, constraints=limits)
        cold = MixMin(shrinkage=tau).fit(full, constraints=limits)
        assert np.shares_memory(warm._search.whole.P, previous._search.whole.P)
        assert 0 <= warm.gap <= 1e-8
        assert warm.objective == pytest.approx(cold.objective, abs=2e-8)
        np.testing.assert_allclose(warm.weights, cold.weights, atol=2e-3)
        again = MixMin(shrinkage=tau).fit(
            full, start=warm, constraints=limits
        )  # the order of the one before is found again
        assert again.objective == pytest.approx(cold.objective, abs=2e-8)
        assert warm.gain == pytest.approx(cold.gain, abs=2e-3)


def test_columns_that_stay_are_not_read_again(tmp_path):
    L = simulated(5000, 6)
    LikelihoodTable.from_array(L[:, :5], list("abcde")).save(tmp_path / "table")
    table = LikelihoodTable.open(tmp_path / "table")
    previous = MixMin(shrinkage=0.0).fit(table)
    wider = table.add_source("f")
    assert wider.missing == ("f",)
    with pytest.raises(InputError, match="complete"):
        MixMin().fit(wider, start=previous)
    wider.append("f", L[:, 5])
    wider.finish("f")
    read = []
    by_source = LikelihoodTable.by_source
    spy = lambda self, start, stop, chosen=None: read.append(chosen) or by_source(self, start, stop, chosen)  # noqa: E731
    with patch.object(LikelihoodTable, "by_source", spy):
        warm = MixMin(shrinkage=0.0).fit(wider, start=previous)
    assert {tuple(chosen) for chosen in read} == {(5,)}
    assert warm.objective == pytest.approx(MixMin(shrinkage=0.0).fit(L).objective, abs=2e-8)


def test_sources_are_found_by_name_in_any_order():
    L = simulated(4000, 5)
    names = list("abcde")
    previous = MixMin(shrinkage=0.0).fit(LikelihoodTable.from_array(L, names))
    order = [3, 1, 4, 0, 2]
    turned = LikelihoodTable.from_array(L[:, order], [names[i] for i in order])
    warm = MixMin(shrinkage=0.0).fit(turned, start=previous)
    assert warm.weights == pytest.approx(previous.weights[order], abs=1e-5)
    by_name = dict(zip(names, previous.weights.tolist(), strict=True))
    assert MixMin(shrinkage=0.0).fit(turned, start=by_name).gap <= 1e-8
    assert MixMin(shrinkage=0.0).fit(turned, start=previous.weights[order]).gap <= 1e-8


def test_a_start_under_limits_on_groups_and_with_cross_validation():
    L = simulated(400, 4)
    limits = Constraints(groups={"first": ["source_0", "source_1"]}, group_caps={"first": 0.2})
    start = MixMin().fit(L)
    for constraints in (None, limits):
        cold, warm = (MixMin().fit(L, constraints=constraints, start=s) for s in (None, start))
        assert warm.shrinkage == cold.shrinkage
        assert warm.objective == pytest.approx(cold.objective, abs=2e-8)


@pytest.mark.parametrize(
    ("start", "says"),
    [
        ({"source_0": "x"}, "a number for each source that it names; found 'x' for 'source_0'"),
        ({"source_0": None}, "found None for 'source_0'"),
        ({}, "found none"),
        ("uniform", r"one weight per source \(2\); found 'uniform'"),
        (5, "one weight per source"),
        ([0.0, 0.0], "positive sum"),
    ],
)
def test_a_wrong_start(start, says):
    with pytest.raises(InputError, match=says):
        MixMin(shrinkage=0.0).fit(simulated(50, 2), start=start)


def test_a_mixture_file_is_a_start(tmp_path):
    L = simulated(500, 4)
    MixMin(shrinkage=0.0).fit(L[:, :3]).save(tmp_path / "m.json", sources=["a", "b", "gone"])
    table = LikelihoodTable.from_array(L, list("abcd"))
    found = MixMin(shrinkage=0.0).fit(table, start=MixtureFile.read(tmp_path / "m.json"))
    assert found.objective == pytest.approx(MixMin(shrinkage=0.0).fit(table).objective, abs=2e-8)
    with pytest.raises(InputError, match="shares sources with this one"):
        MixMin().fit(L, start=MixtureFile(("x", "y"), (0.5, 0.5)))


def test_a_start_of_other_sources():
    L = simulated(100, 3)
    previous = MixMin(shrinkage=0.0).fit(LikelihoodTable.from_array(L, list("abc")))
    with pytest.raises(InputError, match="start should be the result of a table that shares sources"):
        MixMin().fit(L, start=previous)
    with pytest.raises(InputError, match="start should name sources of the table; found 'web'"):
        MixMin().fit(L, start={"web": 1.0})
    with pytest.raises(InputError, match=r"start should be one number per source \(3\); found 2"):
        MixMin().fit(L, start=[0.5, 0.5])
    with pytest.raises(InputError, match="start should be finite and not negative"):
        MixMin().fit(L, start=[0.5, -0.5, 1.0])


def test_a_damaged_value_in_a_table_on_disk_is_named(tmp_path):
    L = simulated(50, 3)
    LikelihoodTable.from_array(L, list("abc")).save(tmp_path / "table")
    column = np.fromfile(tmp_path / "table/columns/0001.f64")
    column[7] = np.nan
    column.tofile(tmp_path / "table/columns/0001.f64")
    for memory in (TINY, 1e9):
        with pytest.raises(InputError, match=r"found nan at row 7 .*source 'b'"):
            MixMin(memory=memory).fit(LikelihoodTable.open(tmp_path / "table"))


def test_documents_are_numbered_without_sorting():
    rng = np.random.default_rng(0)
    for ids in (np.arange(20) // 3 * 5, rng.integers(-10, 10, 50), rng.integers(-(10**12), 10**12, 50), np.array([4])):
        assert (_sampled.document_codes(ids) == np.unique(ids, return_inverse=True)[1]).all()


def test_two_sources():
    L = simulated(5000, 2)
    result = MixMin(shrinkage=0.0, memory=TINY).fit(L)
    assert result.gap <= 1e-8
    assert result.weights == pytest.approx(scale_onto_bounds(result.weights, np.zeros(2), np.ones(2)), abs=1e-12)
