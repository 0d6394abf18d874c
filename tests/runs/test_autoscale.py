"""AutoScale's extrapolation, by hand."""

import numpy as np
import pytest

from mixwright import InputError, MixtureFile
from mixwright.runs import autoscale

SMALL = MixtureFile(("web", "law", "code"), (0.5, 0.25, 0.25))


def test_one_step_is_the_formula_of_the_paper():
    large = MixtureFile(("web", "law", "code"), (0.6, 0.3, 0.1))
    first, second = np.array([50.0, 25, 25]), np.array([120.0, 60, 20])
    third = second * second / first  # N2 N1^-1 N2
    found = autoscale(SMALL, large, (100, 200), third.sum())
    assert found.weights == pytest.approx(third / third.sum())
    assert found.verdict.startswith("unverified: extrapolated")
    twice = third * second / first
    assert autoscale(SMALL, large, (100, 200), twice.sum()).weights == pytest.approx(twice / twice.sum())


def test_no_change_stays_and_the_second_budget_gives_the_second_mixture():
    assert autoscale(SMALL, SMALL, (1e6, 1e7), 1e12).weights == pytest.approx(SMALL.weights)
    large = MixtureFile(("code", "web", "law"), (0.1, 0.6, 0.3))  # in another order
    assert autoscale(SMALL, large, (1e6, 1e7), 1e7).weights == pytest.approx((0.6, 0.3, 0.1))


def test_a_source_without_weight_stays_without():
    one, other = (MixtureFile(("web", "law", "code"), (w, 1 - w, 0.0)) for w in (0.5, 0.6))
    found = autoscale(one, other, (1, 2), 8)
    assert found.weights[2] == 0
    assert found.weights[0] > 0.6


@pytest.mark.parametrize(
    ("large", "tokens", "to", "message"),
    [
        (SMALL, (2, 1), 4, "tokens should be two numbers above 0 that grow"),
        (SMALL, (1, 2), 1.5, r"found \(1, 2\) and 1.5"),
        (SMALL, 5, 10, "tokens should be two numbers .* found 5 and 10"),
        (SMALL, None, 10, "tokens should be two numbers .* found None and 10"),
        (SMALL, "ab", 10, "tokens should be two numbers .* found 'ab' and 10"),
        (SMALL, (1, 1.001), 1e6, "tokens should be further apart"),
        (MixtureFile(("web", "law"), (0.5, 0.5)), (1, 2), 4, "the same sources"),
        (MixtureFile(SMALL.sources, (0.5, 0.5, 0.0)), (1, 2), 4, "source 'code' should have weight 0 in both"),
    ],
)
def test_what_cannot_be_continued_is_refused(large, tokens, to, message):
    with pytest.raises(InputError, match=message):
        autoscale(SMALL, large, tokens, to)
