"""The estimators are unbiased, the naive one is not; averages of sums; states."""

import json

import numpy as np
import pytest

from mixwright.gradients.estimators import Sums

MEANS = np.array([[1.0, 0.5, 0.0], [0.2, -0.4, 0.6], [0.0, 0.0, 0.0]])
SPREAD = np.array([1.0, 2.0, 0.5])
K = 3


def sums_of(gradients, source, halves=False):
    """Return Sums from rows' gradients [b, n]; units are rows, or the halves of each source."""
    totals = np.stack([gradients[source == k].sum(0) for k in range(K)])
    units = []
    for k in range(K):
        own = gradients[source == k]
        units.append([p for p in np.array_split(own, 2) if len(p)] if halves else [g[None] for g in own])
    squares = np.array([sum(p.sum(0) @ p.sum(0) for p in parts) for parts in units])
    unit_squares = np.array([sum(len(p) ** 2 for p in parts) for parts in units])
    return Sums.of_batch(totals @ totals.T, squares, np.bincount(source, minlength=K).astype(float), unit_squares)


def drawn(rng, counts):
    source = np.repeat(np.arange(K), counts)
    return MEANS[source] + SPREAD[source, None] / np.sqrt(3) * rng.normal(size=(len(source), 3)), source


@pytest.mark.parametrize("halves", [False, True])
def test_unbiased_where_the_naive_norm_is_not(halves):
    rng, draws = np.random.default_rng(0), 1500
    truth, found, naive = MEANS @ MEANS.T, [], []
    for _ in range(draws):
        gradients, source = drawn(rng, [2, 5, 3])
        sums = sums_of(gradients, source, halves)
        found.append((sums.gram, sums.variance))
        naive.append([np.square(gradients[source == k].mean(0)).sum() for k in range(K)])
    grams, variances = (np.array(values) for values in zip(*found, strict=True))
    for values, expected in ((grams, truth), (variances, SPREAD**2)):
        error = values.std(0) / np.sqrt(draws)
        assert np.all(np.abs(values.mean(0) - expected) < 4.5 * error)
    bias = np.mean(naive, 0) - np.diag(truth)
    np.testing.assert_allclose(bias, SPREAD**2 / [2, 5, 3], rtol=0.15)  # |mean|^2 is too large by sigma^2 / n
    assert np.all(np.abs(bias) > 10 * grams.std(0)[range(K), range(K)] / np.sqrt(draws))


def test_sums_over_micro_batches_of_unequal_sizes_stay_unbiased():
    rng, draws = np.random.default_rng(1), 1200
    sizes = ([1, 4, 2], [3, 1, 0], [2, 2, 6])
    found, one_batch = [], []
    rows = np.sum(sizes, 0)
    for _ in range(draws):
        parts = [sums_of(*drawn(rng, counts)) for counts in sizes]
        total = parts[0] + parts[1] + parts[2]
        found.append((total.gram, total.variance))
        one_batch.append(np.diag(total.products) / (rows * (rows - 1)))  # the formula for one batch, of summed numbers
    grams, variances = (np.array(values) for values in zip(*found, strict=True))
    assert np.all(np.abs(grams.mean(0) - MEANS @ MEANS.T) < 4.5 * grams.std(0) / np.sqrt(draws))
    assert np.all(np.abs(variances.mean(0) - SPREAD**2) < 4.5 * variances.std(0) / np.sqrt(draws))
    assert np.mean(one_batch, 0)[0] < 0.5 * (MEANS @ MEANS.T)[0, 0]


def test_one_row_is_unknown_not_zero():
    sums = sums_of(np.ones((3, 3)), np.array([0, 0, 1]))
    assert sums.sq_norm[0] == pytest.approx(3)
    assert np.isnan(sums.sq_norm[1:]).all()
    assert np.isnan(sums.variance[1:]).all()
    assert sums.gram[0, 1] == pytest.approx(3)
    assert np.isnan(sums.gram[2]).all()
    both = sums + sums_of(np.ones((2, 3)), np.array([1, 1]))
    assert both.sq_norm[1] == pytest.approx(3)


def test_vectors_and_json_go_round():
    sums = sums_of(*drawn(np.random.default_rng(2), [2, 1, 0]))
    for again in (Sums.from_vector(sums.to_vector(), K), Sums.from_json(json.loads(json.dumps(sums.to_json())), K)):
        assert np.array_equal(again.to_vector(), sums.to_vector())


def test_a_source_can_be_left_out():
    sums = sums_of(*drawn(np.random.default_rng(3), [2, 3, 2]))
    kept = sums.only(np.array([True, False, True]))
    assert np.isnan(kept.gram[1]).all()
    assert np.isnan(kept.gram[:, 1]).all()
    assert kept.gram[0, 2] == sums.gram[0, 2]
    assert kept.variance[2] == sums.variance[2]
