"""Paired differences: by hand, and right on simulated cells where the truth is known."""

import numpy as np
import pytest

from mixwright import InputError
from mixwright.compare import paired_differences
from mixwright.compare.spread import Scatter, Student, spread


def cells(rng, arms, seeds, gain=0.0, spread=None, moved=0.04):
    """Return losses [arms, seeds]: seeds move by `moved`, runs by .01, the second arm is better by `gain`."""
    noise = rng.normal(size=(arms, seeds)) * (0.01 if spread is None else spread[:, None])
    losses = 2.5 + rng.normal(size=seeds) * moved + noise
    losses[1] -= gain
    return losses


def names(arms):
    return ["uniform", *(f"arm{i}" for i in range(1, arms))]


def judged(tables):
    """
    Return low, high and p [n, others] and which designs are paired [n] of tables [n, arms, seeds].

    All at once, since only that is quick; a few are judged one by one too, and must be the same.
    """
    base, others = tables[:, 0], tables[:, 1:]
    mean = others.mean(-1) - base.mean(-1)[:, None]
    paired, found = spread(base, others, 0.05)
    low, high, p = mean - found.half(0.05), mean + found.half(0.05), found.below(mean)
    for i in range(0, len(tables), 50):
        alone = paired_differences(tables[i], names(tables.shape[1]))
        assert [d.design for d in alone] == ["paired" if paired[i] else "unpaired"] * len(alone)
        np.testing.assert_allclose(np.array([(d.low, d.high, d.p) for d in alone]).T, (low[i], high[i], p[i]), 1e-9)
    return low, high, p, paired


MOVED = pytest.mark.parametrize("moved", [0.0, 0.005, 0.04])
SLOW = [pytest.param(*size, marks=pytest.mark.slow) for size in ((2, 3), (2, 6), (4, 3), (6, 5), (6, 2))]
SIZES = pytest.mark.parametrize(("arms", "seeds"), [(2, 2), (9, 3), *SLOW])


@MOVED
@SIZES
def test_without_a_difference_a_false_better_is_rare_whatever_the_seeds_do(arms, seeds, moved):
    rng = np.random.default_rng([arms, seeds, int(1000 * moved)])
    *_, p, _ = judged(np.stack([cells(rng, arms, seeds, moved=moved) for _ in range(600)]))
    called = (p <= 0.05).any(1).sum()
    assert called <= 30 + 2 * np.sqrt(600 * 0.05 * 0.95)


@MOVED
@SIZES
def test_the_intervals_hold_together(arms, seeds, moved):
    rng = np.random.default_rng([7, arms, seeds, int(1000 * moved)])
    low, high, *_ = judged(np.stack([cells(rng, arms, seeds, gain=0.02, moved=moved) for _ in range(600)]))
    truth = np.array([-0.02, *[0.0] * (arms - 2)])
    covered = ((low <= truth) & (truth <= high)).all(1).sum()
    assert 540 - 2 * np.sqrt(600 * 0.09) <= covered <= 594


def test_pairing_is_used_where_it_helps():
    rng = np.random.default_rng(1)
    found = {moved: judged(np.stack([cells(rng, 3, 4, moved=moved) for _ in range(200)])) for moved in (0.0, 0.04)}
    assert found[0.04][3].sum() > 180
    assert (~found[0.0][3]).sum() > 100
    widths = {moved: np.median((high - low)[:, 0]) for moved, (low, high, *_) in found.items()}
    assert widths[0.0] < widths[0.04]


def test_an_arm_is_called_exactly_where_its_interval_says_so():
    rng = np.random.default_rng(2)
    for _ in range(300):
        for d in paired_differences(cells(rng, 4, 3, gain=0.02, moved=0.01), names(4)):
            assert (d.high < 0) == (d.p <= d.error)
            assert (d.low > 0) == (d.p_worse <= d.error)


def test_an_arm_with_tied_seeds_is_called_exactly_where_its_interval_says_so():
    """Shares of few questions: an arm and the baseline each have one value in all seeds, the others move."""
    found = paired_differences(
        [[0.5, 0.5, 0.5], [0.54, 0.54, 0.54], [0.5, 0.52, 0.51], [0.51, 0.5, 0.52]], names(4), higher=True
    )
    assert found[0].low > 0
    assert [d.word for d in found] == ["better", "no better", "no better"]
    rng = np.random.default_rng(8)
    for _ in range(300):
        losses = np.round(rng.normal(size=(4, 3)) * 0.8)
        losses[1] += rng.integers(-4, 5)
        for d in paired_differences(losses, names(4)):
            if np.isfinite(d.low):
                assert (d.p <= d.error) == (d.high < 0), d
                assert (d.p_worse <= d.error) == (d.low > 0), d
            else:
                assert (d.p, d.p_worse) == (1, 1)


def test_arms_that_scatter_differently_are_not_all_given_one_spread():
    """One arm scatters three times as much: with five seeds its interval is wider than the others'."""
    rng = np.random.default_rng(3)
    scale = np.array([0.01] * 5 + [0.03])
    low, high, p, _ = judged(np.stack([cells(rng, 6, 5, spread=scale) for _ in range(500)]))
    widths = high - low
    assert (p <= 0.05).any(1).sum() <= 0.075 * 500
    assert (widths[:, -1] > 1.5 * np.median(widths[:, :-1], axis=1)).sum() > 150


def test_two_arms_by_hand():
    """
    Differences -1, -2, -3: mean -2, paired error 1 / sqrt(3) with 2 degrees of freedom; a tail of .05 x .6 = .03.

    Unpaired, the variances are 4 and 1: the error is sqrt(5 / 3), wider.
    """
    (d,) = paired_differences([[5, 7, 9], [4, 5, 6]], ["uniform", "mixture"])
    assert (d.design, d.difference) == ("paired", pytest.approx(-2))
    quantile = 3.8964  # of Student's t with 2 degrees of freedom, at .97
    assert (d.low, d.high) == pytest.approx((-2 - quantile / np.sqrt(3), -2 + quantile / np.sqrt(3)), abs=1e-3)
    assert d.p == pytest.approx(0.03709 / 0.6, abs=1e-4)  # t = -2 sqrt(3)
    assert d.verdict.startswith("no better than uniform on this evidence: difference -2 nats per token, 90 % interval")
    (longer,) = paired_differences([[5, 7, 9, 11], [4, 5, 6, 8]], ["uniform", "mixture"])
    assert longer.verdict.startswith("better than uniform by 2.25 nats per token")
    assert longer.verdict.endswith("4 seeds, paired")


def test_two_arms_that_seeds_do_not_move_by_hand():
    """Unpaired: variances 1 and 1 agree, 4 degrees of freedom, error sqrt(2 / 3); paired differences scatter more."""
    (d,) = paired_differences([[1, 2, 3], [3, 2, 1]], ["uniform", "mixture"])
    assert (d.design, d.difference) == ("unpaired", 0)
    assert d.high == pytest.approx(2.6008 * np.sqrt(2 / 3), abs=1e-3)


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
    """One arm: the tail is cut by 1 - .8 / 2; three arms: by 1 - .8 / 4, then Sidak; own spreads know no Sidak."""

    def of(arms):
        part = Student(np.ones(arms), np.full(arms, 5.0))
        return Scatter(part, part)

    assert of(1).tails(0.05) == pytest.approx((0.03, 0.03))
    assert of(3).tails(1 - 0.99**3) == pytest.approx((0.008, 0.8 * (1 - 0.99**3)))
    mean = np.array([-3.3649, 0.9, 0.9])  # Student with 5 degrees of freedom: .01 lies below -3.3649
    assert of(3).below(mean)[0] == pytest.approx(1 - (1 - 0.01 / 0.8) ** 3, abs=1e-5)


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
    assert min(d.p, d.p_worse) > 0.5
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
