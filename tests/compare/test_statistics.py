"""Paired differences: by hand, and right on simulated cells where the truth is known."""

import numpy as np
import pytest

from mixwright import InputError
from mixwright.compare import paired_differences
from mixwright.compare.statistics import _holm


def cells(rng, arms, seeds, gain=0.0, spread=None):
    """Return losses [arms, seeds]: seeds move by .04, runs by .01, the second arm is better by `gain`."""
    noise = rng.normal(size=(arms, seeds)) * (0.01 if spread is None else spread[:, None])
    losses = 2.5 + rng.normal(size=seeds) * 0.04 + noise
    losses[1] -= gain
    return losses


def names(arms):
    return ["uniform", *(f"arm{i}" for i in range(1, arms))]


@pytest.mark.parametrize(("arms", "seeds"), [(2, 3), (4, 3), (6, 3), (9, 3), (6, 5), (6, 2)])
def test_without_a_difference_a_false_better_is_rare(arms, seeds):
    rng = np.random.default_rng([arms, seeds])
    called = sum(
        any(d.verdict.startswith("better") for d in paired_differences(cells(rng, arms, seeds), names(arms)))
        for _ in range(1000)
    )
    assert called <= 50 + 2 * np.sqrt(1000 * 0.05 * 0.95)


@pytest.mark.parametrize(("arms", "seeds"), [(2, 3), (4, 3), (9, 3), (6, 5), (6, 2)])
def test_the_interval_covers_a_known_difference(arms, seeds):
    rng = np.random.default_rng([7, arms, seeds])
    covered = paired = unpaired = 0.0
    for _ in range(1000):
        d = paired_differences(cells(rng, arms, seeds, gain=0.02), names(arms))[0]
        covered += d.low <= -0.02 <= d.high
        paired += d.high - d.low
        unpaired += d.unpaired[1] - d.unpaired[0]
    assert 850 <= covered <= 950
    assert unpaired > 2 * paired  # the seeds' own movement is gone


def test_arms_that_scatter_differently_are_not_all_given_one_spread():
    """One arm scatters three times as much: with five seeds its interval is wider than the others'."""
    rng = np.random.default_rng(3)
    spread = np.array([0.01] * 5 + [0.03])
    false, wider = 0, 0
    for _ in range(500):
        found = paired_differences(cells(rng, 6, 5, spread=spread), names(6))
        false += any(d.p <= d.error for d in found)
        widths = [d.high - d.low for d in found]
        wider += widths[-1] > 1.5 * np.median(widths[:-1])
    assert false <= 0.075 * 500
    assert wider > 150


def test_two_arms_by_hand():
    """Differences -1, -2, -3: mean -2, error 1 / sqrt(3), t with 2 degrees of freedom (2.920 at 95 %)."""
    (d,) = paired_differences([[5, 7, 9], [4, 5, 6]], ["uniform", "mixture"])
    assert d.difference == pytest.approx(-2)
    assert (d.low, d.high) == pytest.approx((-2 - 2.91999 / np.sqrt(3), -2 + 2.91999 / np.sqrt(3)), abs=1e-4)
    assert d.p == pytest.approx(0.03709, abs=1e-4)  # t = -2 sqrt(3)
    assert d.verdict.startswith("better than uniform by 2 nats per token, 90 % interval")


def test_verdicts_in_words():
    worse = paired_differences([[1.0, 2.0, 3.0], [2.0, 3.01, 4.0]], ["uniform", "a"])[0]
    assert worse.verdict.startswith("no better than uniform: worse by 1.003")
    none = paired_differences([[1.0, 2.0, 3.0], [1.1, 1.8, 3.1]], ["uniform", "a"])[0]
    assert none.verdict.startswith("no better than uniform on this evidence")
    alone = paired_differences([[1.0], [0.5]], ["uniform", "a"])[0]
    assert alone.verdict.startswith("unverified")
    same = paired_differences([[1.0, 2.0], [1.0, 2.0]], ["uniform", "a"])[0]
    assert same.verdict.startswith("no better than uniform on this evidence")


def test_the_correction_by_hand():
    """Holm: the least of three p-values counts three times, the next two times, and they do not fall."""
    assert _holm(np.array([0.01, 0.04, 0.03])) == pytest.approx([0.03, 0.06, 0.06])
    assert _holm(np.array([0.5, 0.9])) == pytest.approx([1.0, 1.0])


@pytest.mark.parametrize(
    ("losses", "arms", "over", "words"),
    [
        ([1.0, 2.0], ["uniform", "a"], "uniform", "arms, seeds"),
        ([[1.0], [2.0]], ["uniform"], "uniform", "1 arms"),
        ([[1.0], [2.0]], ["uniform", "uniform"], "uniform", "different names"),
        ([[1.0], [2.0]], ["a", "b"], "uniform", "one of the arms"),
        ([[1.0], [np.nan]], ["uniform", "b"], "uniform", "for b, seed 0"),
    ],
)
def test_bad_input(losses, arms, over, words):
    with pytest.raises(InputError, match=words):
        paired_differences(losses, arms, over)
    with pytest.raises(InputError, match="level"):
        paired_differences([[1.0], [2.0]], ["a", "b"], "a", level=2)


def test_a_metric_where_higher_is_better_is_the_mirror_image():
    rng = np.random.default_rng(4)
    table = rng.normal(size=(4, 3))
    low = paired_differences(-table, names(4))
    high = paired_differences(table, names(4), higher=True)
    for one, other in zip(low, high, strict=True):
        assert (one.difference, one.low, one.high) == (-other.difference, -other.high, -other.low)
        assert (one.p, one.p_worse) == (other.p, other.p_worse)
    better = paired_differences([[0.1, 0.2, 0.3], [0.3, 0.41, 0.5]], ["natural", "a"], "natural", higher=True)[0]
    assert better.verdict.startswith("better than natural by 0.2033")


def test_equal_differences_are_unknown_not_certain():
    (d,) = paired_differences([[0.25, 0.5], [0.5, 0.75]], ["uniform", "a"], unit="", higher=True)
    assert d.verdict.startswith("unverified: all 2 seeds give the same difference")
    assert d.p == d.p_worse == 0.5
    assert np.isnan(d.low)


def test_an_arm_that_is_the_baseline_changes_nothing_for_the_others():
    table = cells(np.random.default_rng(0), 5, 3, gain=0.03)
    alone = paired_differences(table, names(5))
    copied = paired_differences(np.vstack([table, table[0]]), [*names(5), "again"])
    assert [d.low for d in alone] == [d.low for d in copied[:-1]]
    assert (copied[-1].difference, copied[-1].low, copied[-1].high) == (0, 0, 0)
    assert copied[-1].verdict.startswith("no better")


@pytest.mark.parametrize("questions", [20, 50])
def test_shares_with_ties_are_seldom_called_better(questions):
    rng = np.random.default_rng(questions)
    called = 0
    for _ in range(600):
        table = rng.binomial(questions, 0.3, (4, 2)) / questions
        called += any(d.p <= d.error for d in paired_differences(table, names(4), unit="", higher=True))
    assert called <= 30 + 2 * np.sqrt(600 * 0.05 * 0.95)
