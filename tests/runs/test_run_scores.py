"""Ranks, hulls and transfer between scales, by hand."""

import numpy as np
import pytest

from mixwright import RunTable
from mixwright.runs import transfers
from mixwright.runs.optimum.hull import nearest_in_hull
from mixwright.runs.scores import ranks, score, spearman


def test_ranks_and_their_correlation():
    assert ranks(np.array([3.0, 1.0, 3.0, 7.0])).tolist() == [1.5, 0, 1.5, 3]
    assert spearman(np.array([1.0, 2, 3]), np.array([10.0, 200, 3000])) == pytest.approx(1)
    # ranks 0 1 2 3 and 1 0 2 3: 1 - 6 * 2 / (4 * 15)
    assert spearman(np.array([1.0, 2, 3, 4]), np.array([2.0, 1, 3, 4])) == pytest.approx(0.8)
    assert spearman(np.array([1.0, 1, 1]), np.array([1.0, 2, 3])) == 0


def test_the_scores_of_a_prediction():
    found = score(np.array([1.0, 2.0, 3.0]), np.array([2.0, 1.0, 3.0]))
    assert found.rmse == pytest.approx(np.sqrt(2 / 3))
    assert found.regret == 1.0


def test_the_nearest_point_of_a_hull():
    W = np.array([[1.0, 0, 0], [0, 1.0, 0]])
    X = np.array([[0.25, 0.75, 0], [0, 0, 1.0], [0.5, 0.25, 0.25]])
    # the last: the nearest point of the edge has equal differences from .5 and .25, and the sum 1
    expected = [[0.25, 0.75, 0], [0.5, 0.5, 0], [0.625, 0.375, 0]]
    np.testing.assert_allclose(nearest_in_hull(X, W), expected, atol=1e-3)


def test_transfer_between_scales():
    W = np.array([[1.0, 0], [0.5, 0.5], [0, 1.0]])
    table = RunTable.from_array(np.vstack([W, W]), [1.0, 2, 3, 5, 4, 6], scales=["1M"] * 3 + ["60M"] * 3)
    small, large = transfers(table, "target_0")
    assert (small.of, small.to, small.mixtures) == ("1M", "60M", 3)
    assert small.spearman == large.spearman == pytest.approx(0.5)
    assert small.regret == 1.0  # the first is best at 1M, and 5 at 60M, where the best is 4
    assert large.regret == 1.0
