"""What a comparison could have seen: by hand, and in simulations."""

import numpy as np
import pytest

from mixwright import InputError
from mixwright.compare import Looks, paired_differences
from mixwright.compare.power import MOST_SEEDS, detectable, seeds_needed, with_seeds
from mixwright.compare.spread import Scatter, Student, spread


def of(error, freedom, arms=1):
    part = Student(np.full(arms, error), np.full(arms, freedom))
    return Scatter(part, part)


def test_with_many_degrees_of_freedom_the_detectable_difference_is_that_of_normal_tests():
    """A tail of .05 is cut to .03: the quantiles of .97 and .8 are 1.8808 and .8416."""
    assert detectable(of(0.01, 1e6), 0.05) == pytest.approx([0.01 * (1.8808 + 0.8416)], rel=1e-4)


def test_the_wider_of_the_two_tests_counts():
    narrow, wide = Student(np.array([0.01]), np.array([1e6])), Student(np.array([0.03]), np.array([1e6]))
    assert detectable(Scatter(narrow, wide), 0.05) == pytest.approx(detectable(of(0.03, 1e6), 0.05))


def test_four_times_the_seeds_show_half_the_difference():
    """With 100 seeds and 99 degrees of freedom of each arm, 400 seeds see what is half as large."""
    found = of(0.01, 99.0)
    goal = float(detectable(of(0.005, 399.0), 0.05)[0])
    (least,) = seeds_needed(found, 0.05, 100, goal * (1 + 1e-9))
    assert least == 400
    assert seeds_needed(found, 0.05, 100, goal / 2) == [None]
    assert seeds_needed(found, 0.05, 100, 10.0) == [2]
    assert MOST_SEEDS == 1000


def test_each_arm_needs_seeds_of_its_own():
    part = Student(np.array([0.01, 0.02]), np.array([20.0, 20.0]))
    few, many = seeds_needed(Scatter(part, part), 0.05, 5, 0.02)
    assert few < many


@pytest.mark.parametrize(("arms", "seeds"), [(2, 4), (5, 3)])
def test_a_detectable_difference_is_called_better_eight_times_in_ten(arms, seeds):
    """The error is known only roughly from few seeds, so the detectable difference is taken at its median."""
    rng = np.random.default_rng(arms)
    x = rng.normal(size=(2000, arms, seeds)) + 3 * rng.normal(size=(2000, 1, seeds))
    _, found = spread(x[:, 0], x[:, 1:], 0.05)
    seen = float(np.median(detectable(found, 0.05)))
    better = x[:, 1:].mean(-1) - x[:, :1].mean(-1) - seen + found.half(0.05) < 0
    assert 0.7 < better.mean() < 0.9


def test_nothing_is_said_of_one_seed_and_of_the_baseline_again():
    (one,) = paired_differences([[1.0], [0.5]], ["uniform", "a"])
    assert np.isnan(one.detectable)
    assert one.needed is None
    same, other = paired_differences([[1.0, 2.0, 2.5], [1.0, 2.0, 2.5], [1.1, 1.9, 2.7]], ["uniform", "same", "b"])
    assert np.isnan(same.detectable)
    assert other.detectable > 0


def test_the_goal_is_a_share_of_the_baseline():
    (d,) = paired_differences([[1.0, 2.0, 3.0], [1.1, 1.8, 3.1]], ["uniform", "a"], goal=0.1)
    assert d.goal == pytest.approx(0.2)
    (zero,) = paired_differences([[-1.0, 0.0, 1.0], [1.1, 1.8, 3.1]], ["uniform", "a"])
    assert (zero.goal, zero.needed) == (0, None)
    with pytest.raises(InputError, match="goal should be above 0, found 0"):
        paired_differences([[1.0], [2.0]], ["uniform", "a"], goal=0)


def test_with_looks_the_difference_is_that_of_the_last_look():
    """Paired, one arm: errors shrink by sqrt(3 / 12), 2 degrees of freedom become 11, the level is the last look's."""
    table, looks = np.array([[1.0, 2.0, 3.0], [1.1, 2.15, 2.9]]), Looks(3, 12)
    (d,) = paired_differences(table, ["uniform", "a"], looks=looks)
    assert d.design == "paired"
    error = (table[1] - table[0]).std(ddof=1) / np.sqrt(12)
    assert d.detectable == pytest.approx(float(detectable(of(error, 11.0), looks.tail(12, 0.05))[0]))
    assert d.needed is None
    (fixed,) = paired_differences(table, ["uniform", "a"])
    assert d.detectable < fixed.detectable
    assert fixed.needed > 3


def test_as_many_seeds_as_there_are_change_nothing():
    found = of(0.01, 4.0, arms=2)
    assert detectable(with_seeds(found, 5, 5), 0.05) == pytest.approx(detectable(found, 0.05))
