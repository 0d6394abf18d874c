"""The statistics of a search, on simulated targets whose population losses are exact."""

import numpy as np
import pytest

from mixwright import MixMin
from mixwright.search.resampling.resample import (
    choose,
    effective_rows,
    improvement_interval,
    mean_position,
    paired_error,
    student_quantile,
)
from mixwright.testing import SimulatedTarget


def test_uniform_as_the_truth_is_no_better_than_uniform():
    target = SimulatedTarget.make(6, "uniform", 0.5, seed=11)
    verdicts = [MixMin().fit(target.draw(300, i), seed=i).verdict for i in range(20)]
    assert sum(v.startswith("no better than uniform on this evidence") for v in verdicts) >= 18


def test_the_interval_of_the_improvement_covers_the_population_value():
    """90 % nominal; with 20 repetitions a true 85 % gives fewer than 12 in 1 of 1,000 runs."""
    covered = 0
    for i in range(20):
        target = SimulatedTarget.make(6, "dense", 1.0, seed=100 + i // 4)
        result = MixMin().fit(target.draw(300, i), seed=i)
        _, low, high = result.improvement()
        covered += low <= target.loss(np.full(6, 1 / 6)) - target.loss(result.weights) <= high
    assert covered >= 12


@pytest.mark.parametrize(
    ("truth", "spread", "n"),
    [
        ("sparse", 0.35, 50),
        ("dense", 1.35, 200),
        pytest.param("sparse", 0.35, 200, marks=pytest.mark.slow),
        pytest.param("dense", 1.35, 50, marks=pytest.mark.slow),
    ],
)
def test_small_samples_end_near_the_better_of_uniform_and_exact(truth, spread, n):
    found = []
    for draw in range(8):
        target = SimulatedTarget.make(99, truth, spread, seed=20 + draw % 2)
        L = target.draw(n, draw)
        fits = [MixMin(shrinkage="cv").fit(L, seed=draw), MixMin(shrinkage=0.0).fit(L)]
        found.append(
            [target.excess(np.maximum(w, 1e-300)) for w in (fits[0].weights, fits[1].weights, np.full(99, 1 / 99))]
        )
    cv, exact, uniform = np.mean(found, axis=0)
    best = min(exact, uniform)
    assert cv <= (1.3 * best if n == 50 else max(1.1 * best, best + 0.003))


def test_a_large_sample_ends_at_the_exact_optimum():
    target = SimulatedTarget.make(20, "sparse", 0.5, seed=3)
    L = target.draw(5000, 1)
    assert MixMin().fit(L).shrinkage <= 3e-3
    assert target.excess(MixMin().fit(L).weights) < 0.3 * target.excess(np.full(20, 1 / 20))


def test_paired_error_by_hand():
    """Two documents of two rows each: the mean is that of the rows, the error that of the two document sums."""
    mean, error, d = paired_error(np.array([1.0, 3.0, 5.0, 7.0]), np.ones(4), np.array([0, 0, 1, 1]))
    assert (mean, d) == (4.0, 2)
    assert error == pytest.approx(np.sqrt((0.5 * (2 - 4)) ** 2 * 2 + (0.5 * (6 - 4)) ** 2 * 2))


def test_improvement_interval_by_hand():
    """Nested .1 and given .2: the middle; half of their distance, the larger error and the spread."""
    mean, low, high = improvement_interval((0.1, 0.03, 1001), (0.2, 0.04, 1001), 0.02, 0.9)
    half = 1.6464 * np.sqrt(0.05**2 + 0.04**2 + 0.02**2)
    assert (mean, low, high) == pytest.approx((0.15, 0.15 - half, 0.15 + half), rel=1e-4)


def test_rows_of_one_document_are_not_independent():
    rng = np.random.default_rng(0)
    by_document = np.repeat(rng.normal(size=100), 10)
    assert effective_rows(by_document, np.ones(1000), np.arange(1000)) == pytest.approx(1000)
    assert 60 < effective_rows(by_document, np.ones(1000), np.repeat(np.arange(100), 10)) < 160


def test_mean_position_by_hand():
    """Shares are exp(-.7 nats + pull * position), with a pull of .5 up to 50 effective rows and .125 at 200."""
    nats = np.array([1.0, 0.0, np.inf, 2.0])
    shares = np.exp([-0.7, 0.5, -np.inf, -1.4 + 1.5])
    assert round(shares @ np.arange(4) / shares.sum(), 3) == 1.527
    assert mean_position(nats, 50) == mean_position(nats, 10) == 2  # between those that it averages
    shares = np.exp([-0.7, 0.125, -np.inf, -1.4 + 0.375])
    assert round(shares @ np.arange(4) / shares.sum(), 3) == 1.111
    assert mean_position(nats, 200) == 1
    assert mean_position(np.array([np.inf, np.inf, 0.0]), np.inf) == 2
    assert mean_position(np.zeros(1), 50) == 0


def test_choose_takes_more_shrinkage_where_the_evidence_is_thin():
    """The ends of a grid of 13 differ by .02 nats a row: 1 nat over 50 rows is too little, 100 over 5,000 are not."""
    rng = np.random.default_rng(1)
    for n, least, most in ((50, 8, 12), (5000, 0, 1)):
        losses = np.linspace(0, 0.02, 13)[:, None] + rng.normal(size=n) * 0.1
        assert least <= choose(losses, np.ones(n), np.arange(n)) <= most
        # rows of one document count once: with ten copies of each row there is no more evidence
        copies = np.repeat(losses + 1e-3 * rng.normal(size=losses.shape), 10, 1)
        assert choose(copies, np.ones(10 * n), np.repeat(np.arange(n), 10)) >= least


def test_choose_leaves_out_a_shrinkage_under_which_a_row_is_impossible():
    losses = np.zeros((13, 20))
    losses[0, 3] = np.inf
    assert 1 <= choose(losses, np.ones(20), np.arange(20)) <= 12


@pytest.mark.parametrize(("freedom", "value"), [(2, 2.920), (5, 2.015), (30, 1.697), (299, 1.650)])
def test_student_quantile(freedom, value):
    assert student_quantile(0.95, freedom) == pytest.approx(value, rel=0.025)
