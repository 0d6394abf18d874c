"""Looks at a comparison while seeds are added: the chance of a false verdict over all of them, and what is said."""

import dataclasses

import numpy as np
import pytest
from comparisons import make_comparison
from scipy import special

from mixwright import InputError
from mixwright.compare import Looks, paired_differences, summarise
from mixwright.compare.looks import SLACK
from mixwright.compare.spread import spread
from mixwright.report import render
from mixwright.report.comparison.words import power_words, reading, seeds_words


def names(arms):
    return ["uniform", *(f"arm{i}" for i in range(1, arms))]


def test_when_it_is_looked_at():
    assert Looks(3, 12, 3).numbers == (3, 6, 9, 12)
    assert Looks(3, 7, 3).numbers == (3, 6, 7)
    assert Looks(4, 4).numbers == (4,)
    assert len(Looks(2, 51).numbers) == 50
    assert len(Looks(3, 1000, 21).numbers) <= 50
    assert Looks(4, 4).tail(4, 0.05) == 0.05


def test_two_looks_by_hand():
    """At half of the seeds a quarter may be spent; with the rest the two bounds leave 5 % in all."""
    first, last = (Looks(4, 8, 4).tail(n, 0.05) for n in (4, 8))
    assert first == pytest.approx((1 - SLACK) * 0.05 / 4, rel=1e-6)
    steps = np.random.default_rng(0).normal(size=(2, 400_000))
    z = np.array([steps[0], steps.sum(0) / np.sqrt(2)])
    crossed = (z > -special.ndtri([[first], [last]])).any(0).mean()
    assert crossed == pytest.approx((1 - SLACK) * 0.05, abs=0.001)


def test_levels_rise_and_never_reach_the_whole():
    looks = Looks(2, 12)
    levels = [looks.tail(n, 0.05) for n in looks.numbers]
    assert levels == sorted(levels)
    assert levels[-1] < 0.05
    assert sum(levels) > 0.05


@pytest.mark.parametrize(("arms", "looks", "moved"), [(2, Looks(2, 6), 0.0), (4, Looks(3, 12), 3.0)])
def test_over_all_looks_a_false_better_is_rare(arms, looks, moved):
    rng = np.random.default_rng([arms, looks.at_most])
    x = rng.normal(size=(3000, arms, looks.at_most)) + moved * rng.normal(size=(3000, 1, looks.at_most))
    called = np.zeros(3000, bool)
    for n in looks.numbers:
        tail = looks.tail(n, 0.05)
        _, found = spread(x[:, 0, :n], x[:, 1:, :n], tail)
        called |= (x[:, 1:, :n].mean(-1) - x[:, :1, :n].mean(-1) + found.half(tail) < 0).any(-1)
    assert called.mean() <= 0.05 + 2 * np.sqrt(0.05 * 0.95 / 3000)


def test_the_interval_and_the_verdict_of_a_look_agree_and_are_wider_than_those_of_a_fixed_number():
    rng = np.random.default_rng(2)
    looks = Looks(3, 9)
    words = set()
    for _ in range(100):
        table = rng.normal(size=(3, 4)) + rng.normal(size=4)
        table[1] -= rng.uniform(0, 8)
        found = paired_differences(table, names(3), looks=looks)
        fixed = paired_differences(table, names(3))
        for d, alone in zip(found, fixed, strict=True):
            assert (d.high < 0) == (d.p <= d.error)
            assert (d.low > 0) == (d.p_worse <= d.error)
            assert d.decided == (d.word in ("better", "worse"))
            assert d.design != alone.design or (d.high - d.low > alone.high - alone.low)
            words.add(d.word)
    assert {"better", "no better"} <= words


def test_what_is_said_of_looks():
    table = np.array([[2.0, 2.1, 2.2, 2.05], [1.0, 1.11, 1.19, 1.06]])
    (d,) = paired_differences(table, names(2), looks=Looks(3, 12))
    assert d.decided
    assert d.verdict.endswith("3 to 12 seeds, stopped at 4, paired")
    summary = summarise(dataclasses.replace(make_comparison(), looks=Looks(2, 6)))
    assert summary["looks"] == {"at_least": 2, "at_most": 6, "step": 1, "margin": None}
    assert seeds_words(summary) == "2 to 6 seeds, stopped at 3"
    assert all(isinstance(e["decided"], bool) for m in summary["measures"] for e in m["differences"])
    assert any("hold over all the looks" in text for _, text in reading(summary))
    page = render("comparison", summary)
    assert "2 to 6 seeds, stopped at 3" in page
    assert "After 6 seeds a true difference of" in page
    assert all(e["seeds_needed"] is None for m in summary["measures"] for e in m["differences"])
    assert " takes " not in power_words(summary["measures"][0], summary, 4)
    assert any("where uniform scatters many times as much" in text for _, text in reading(summary))


def test_an_arm_that_is_shown_to_be_within_the_margin_is_decided():
    table = np.array([[2.0, 3.0, 4.0, 5.0], [2.001, 3.002, 3.999, 5.0]])
    for margin, decided in ((None, False), (0.0001, False), (0.01, True)):
        (d,) = paired_differences(table, names(2), looks=Looks(3, 12, margin=margin))
        assert (d.word, d.decided) == ("no better", decided)
        assert ("smaller than 0.035" in d.verdict) == decided  # 1 % of the baseline's mean, 3.5


def test_the_baseline_once_more_is_decided_and_equal_differences_are_not():
    same, off = paired_differences([[1.0, 2.0], [1.0, 2.0], [1.5, 2.5]], names(3), looks=Looks(2, 3))
    assert same.decided
    assert (off.word, off.decided) == ("unverified", False)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((1, 4), "at_least should be at least 2"),
        ((5, 4), r"at most at_most \(4\), found 5"),
        ((2, 4, 0), "step should be at least 1, found 0"),
        ((2, 4, 1, 0.0), "margin should be above 0"),
        ((3, 1000), r"at most 50 looks, found 998 \(3 to 1000 seeds, step 1\); raise step to 21"),
        ((2, 52), "found 51"),
    ],
)
def test_bad_looks(arguments, words):
    with pytest.raises(InputError, match=words):
        Looks(*arguments)


def test_a_look_that_was_not_allowed_for():
    with pytest.raises(InputError, match="one of 3, 6 seeds, found 4"):
        paired_differences(np.ones((2, 4)), names(2), looks=Looks(3, 6, 3))
