"""The statistics of a search, on simulated targets whose population losses are exact."""

import numpy as np
import pytest

from mixwright import MixMin
from mixwright.search.resampling.resample import choose, effective_rows, paired_error, student_quantile
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


def test_rows_of_one_document_are_not_independent():
    rng = np.random.default_rng(0)
    by_document = np.repeat(rng.normal(size=100), 10)
    assert effective_rows(by_document, np.ones(1000), np.arange(1000)) == pytest.approx(1000)
    assert 60 < effective_rows(by_document, np.ones(1000), np.repeat(np.arange(100), 10)) < 160


def test_choose_takes_more_shrinkage_where_the_evidence_is_thin():
    """One of two shrinkages gains .02 nats a row: 1 nat over 50 rows is too little, 100 nats over 5,000 are not."""
    rng = np.random.default_rng(1)
    for n, expected in ((50, 1), (5000, 0)):
        losses = np.stack([np.zeros(n), np.full(n, 0.02)]) + rng.normal(size=n) * 0.1
        losses[1] += rng.normal(size=n) * 1e-3
        assert choose(losses, np.ones(n), np.arange(n)) == expected


@pytest.mark.parametrize(("freedom", "value"), [(2, 2.920), (5, 2.015), (30, 1.697), (299, 1.650)])
def test_student_quantile(freedom, value):
    assert student_quantile(0.95, freedom) == pytest.approx(value, rel=0.025)
