import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mixwright import InputError, excess_losses, row_weights

LOSS = [0.7, 0.2, 0.1, 0.9, 0.3]
REFERENCE = [0.3, 0.4, 0.5, 0.5, 0.4]
SOURCE = [0, 0, 1, 3, 1]


@pytest.mark.parametrize(
    ("clip", "rows", "gates", "mean", "share"),
    [
        ("example", [0.4, 0, 0, 0.4, 0], [1, 0, 0, 1, 0], [0.2, 0, np.nan, 0.4], [0.5, 0, np.nan, 1]),
        ("source", [0.4, -0.2, 0, 0.4, 0], [1, 1, 0, 1, 0], [0.1, 0, np.nan, 0.4], [1, 0, np.nan, 1]),
        ("none", [0.4, -0.2, -0.4, 0.4, -0.1], [1] * 5, [0.1, -0.25, np.nan, 0.4], [1, 1, np.nan, 1]),
    ],
)
def test_each_clip_by_hand(clip, rows, gates, mean, share):
    found = excess_losses(LOSS, REFERENCE, SOURCE, 4, clip)
    for value, expected in zip(found, (rows, gates, mean, share), strict=True):
        np.testing.assert_allclose(value, expected, atol=1e-15)


def test_the_gate_is_the_gradient():
    """By differences: of the mean over sources' excess with respect to each row's loss."""
    rng = np.random.default_rng(0)
    loss, reference, source = rng.random(12), rng.random(12), rng.integers(0, 3, 12)
    counts, step = np.bincount(source, minlength=3), 1e-7
    for clip in ("example", "source", "none"):
        gates = excess_losses(loss, reference, source, 3, clip).gates
        for row in range(12):
            up, down = loss.copy(), loss.copy()
            up[row], down[row] = up[row] + step, down[row] - step
            change = (
                excess_losses(up, reference, source, 3, clip).mean
                - excess_losses(down, reference, source, 3, clip).mean
            )
            assert change.sum() / (2 * step) * counts[source[row]] == pytest.approx(gates[row], abs=1e-6)


def test_without_a_reference_it_is_the_loss():
    found = excess_losses(LOSS, np.zeros(5), SOURCE, 4)
    np.testing.assert_array_equal(found.rows, LOSS)
    assert found.gates.tolist() == [1] * 5


@settings(max_examples=30)
@given(st.integers(0, 10_000), st.integers(1, 6), st.integers(1, 40))
def test_weighted_rows_have_the_weighted_mean_of_sources(seed, k, batch):
    rng = np.random.default_rng(seed)
    weights, source, loss = rng.dirichlet(np.ones(k)), rng.integers(0, k, batch), rng.normal(size=batch)
    factors, counts = row_weights(weights, source), np.bincount(source, minlength=k)
    there = counts > 0
    means = np.bincount(source, loss, k)[there] / counts[there]
    assert (factors * loss).mean() == pytest.approx(weights[there] @ means, abs=1e-12)
    parts = [row_weights(weights, part, counts) for part in np.array_split(source, 3)]
    np.testing.assert_array_equal(np.concatenate(parts), factors)


def test_one_source_and_even_counts_change_nothing():
    np.testing.assert_array_equal(row_weights([1.0], [0, 0, 0]), [1, 1, 1])
    np.testing.assert_array_equal(row_weights([0.5, 0.5], [0, 1, 1, 0]), [1, 1, 1, 1])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: excess_losses(LOSS, REFERENCE, SOURCE, 4, "rows"), "clip should be 'example' or 'source' or 'none'"),
        (lambda: excess_losses(LOSS[:2], REFERENCE, SOURCE, 4), r"one entry per row, found shapes \(2,\), \(5,\)"),
        (
            lambda: excess_losses([0.1, np.nan], [0, 0], [0, 1], 2),
            r"loss should be finite, found nan in row 1 of the batch \(source 1\)",
        ),
        (lambda: excess_losses([0.1, 0.2], [0, np.inf], [0, 1], 2), "reference should be finite, found inf in row 1"),
        (lambda: excess_losses([0.1], [0.1], [2], 2), "source should be from 0 to 1, found 2 to 2"),
        (lambda: row_weights([0.5, 0.5], [0.0, 1.0]), "source should be one whole number per row, found float64"),
        (lambda: row_weights([0.5, 0.5], [0, 1, 1], [1, 1]), r"at least the \[1.0, 2.0\] at hand, found \[1.0, 1.0\]"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(InputError, match=message):
        call()
