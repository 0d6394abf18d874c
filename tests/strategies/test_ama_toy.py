"""On a convex problem with a known answer: AMA-R and AMA-S come near it, pooling does not (benchmarks/ama_toy.py)."""

import sys
from pathlib import Path

import numpy as np
import pytest

from mixwright import AMAR, AMAS, Static

sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))

from ama_toy import BATCH, LEAST_WORST, SMOOTHING, Arm, problem, slope, train

AT = (125, 500, 2000)


def test_the_problem_is_the_one_that_was_agreed_on():
    toy = problem()
    assert np.diff([*toy.first, len(toy.pairs)]).tolist() == [4000, 1000, 400, 200]
    assert BATCH == 16
    np.testing.assert_allclose(toy.excess(np.zeros(12)), [0.4910, 0.3844, 0.2848, 0.1735], atol=1e-4)  # log 2 - mean s


@pytest.mark.parametrize(
    "arm",
    [
        Arm("AMA-R", AMAR(0.1), draw="carry"),
        Arm("AMA-S", AMAS(0.1, SMOOTHING)),
    ],
    ids=lambda arm: arm.name,
)
def test_the_gap_of_the_worst_source_shrinks_as_one_over_the_root_of_steps(arm):
    gaps, weights = train(arm, AT)
    assert -1e-4 < gaps[-1] < 0.006
    assert slope(gaps, AT) <= -0.45
    assert weights[3] < 0.1  # the easiest source decides nothing at the least worst


def test_pooling_leaves_the_worst_source_far_behind():
    pooled, weights = train(Arm("pooled", Static(), prior="natural"), (500, 1000))
    assert pooled[-1] >= 0.3
    assert LEAST_WORST + pooled[-1] < np.log(2)
    np.testing.assert_allclose(weights, np.array([4000, 1000, 400, 200]) / 5600)
