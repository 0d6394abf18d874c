"""On the convex problem with known answers (benchmarks/online.py): each strategy comes near what it is after."""

import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("scipy", reason="finds the known answers (extra compare)")

from mixwright import AMAS, GRAPE, ODM, Aioli, DoGE, DoReMi, LossRatio, SkillIt, Static

sys.path.append(str(Path(__file__).parents[3] / "benchmarks"))

from online import STEPS, answers, train

AVERAGE, WORST = 0.2350, 0.2624
SHORT = 1500


def test_the_answers_are_known():
    np.testing.assert_allclose(answers(), [AVERAGE, WORST], atol=2e-4)
    uniform, _ = train(Static(), steps=SHORT)
    assert uniform.mean() == pytest.approx(AVERAGE, abs=2e-3)  # uniform weights are the average's own
    assert uniform.max() > WORST + 0.01
    assert STEPS == 4000


@pytest.mark.parametrize("strategy", [AMAS(), DoReMi(), LossRatio()], ids=lambda s: type(s).__name__)
def test_those_that_compare_with_a_reference_lower_the_worst(strategy):
    excess, mixture = train(strategy, steps=SHORT)
    assert excess.max() < WORST + 0.006
    assert mixture.weights_for(SHORT)[3] < 0.15  # the easiest source decides nothing at the least worst


@pytest.mark.parametrize("strategy", [DoGE(), ODM(), Aioli(), SkillIt(), GRAPE()], ids=lambda s: type(s).__name__)
def test_those_that_follow_the_average_stay_near_its_optimum(strategy):
    excess, _ = train(strategy, steps=SHORT)
    assert excess.mean() < AVERAGE + 0.003


def test_the_mean_of_a_proxy_run_is_as_good_as_the_run():
    excess, mixture = train(DoReMi(), steps=SHORT)
    fixed, _ = train(Static(mixture.strategy.average(mixture.state)), steps=SHORT)
    assert fixed.max() == pytest.approx(excess.max(), abs=5e-3)
