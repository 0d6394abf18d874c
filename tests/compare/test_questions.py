"""Means over questions with intervals, and what a comparison says of questions and seeds."""

import json

import pytest

from mixwright.compare import LOSS, ArmInfo, Cell, Comparison, summarise
from mixwright.compare.questions import ACCURACY, ANSWER_LOSS, OverQuestions, macro_average, over_questions

UNIFORM, OURS = ArmInfo("uniform", "uniform", ""), ArmInfo("ours", "weights", "")


def test_the_interval_of_an_accuracy_is_wilsons():
    found = over_questions([1.0] * 30 + [0.0] * 10 + [None] * 5, ACCURACY, 0.95)
    assert (found.value, found.questions) == (0.75, 40)
    # (p + z^2/2n -+ z sqrt(p (1 - p) / n + z^2 / 4n^2)) / (1 + z^2 / n) with z = 1.95996, n = 40
    assert found.low == pytest.approx(0.597_98, abs=1e-4)
    assert found.high == pytest.approx(0.858_14, abs=1e-4)
    every = over_questions([1.0] * 20, ACCURACY, 0.95)
    assert every.high == pytest.approx(1.0)
    assert every.low == pytest.approx(20 / (20 + 1.959964**2))  # all right proves nothing of the next question


def test_the_interval_of_an_answer_loss_is_students():
    found = over_questions([1.0, 2.0, None, 3.0, 4.0, 5.0], ANSWER_LOSS, 0.9)
    half = 2.131_847 * (2.5 / 5) ** 0.5  # t(4 degrees of freedom, .95); the variance of the values is 2.5
    assert found.value == 3.0
    assert found.low == pytest.approx(3 - half, abs=0.005)
    assert found.high - found.value == pytest.approx(found.value - found.low)
    alone = over_questions([1.5], ANSWER_LOSS)
    assert alone == OverQuestions(1.5, None, None, 1)


def test_a_macro_average_weighs_sets_equally_and_its_interval_is_narrower():
    sets = [OverQuestions(0.5, 0.47, 0.54, 1000), OverQuestions(0.7, 0.66, 0.73, 10)]
    found = macro_average(sets)
    assert (found.value, found.questions) == (pytest.approx(0.6), 1010)
    assert found.low == pytest.approx(0.6 - 0.05 / 2)  # 3, 4, 5
    assert found.high == pytest.approx(0.6 + 0.05 / 2)
    assert macro_average([*sets, OverQuestions(1.0, None, None, 1)]).low is None


def comparison(ours, seeds=3, targets=("quiz",), jitter=0.0):
    """Return a comparison where uniform answers with loss 1, 2, 3, ... and ours with the given values."""
    base = [float(i + 1) for i in range(len(ours))]
    cells = []
    for arm, values in ((UNIFORM, base), (OURS, ours)):
        for seed in range(seeds):
            own = [value + jitter * (seed + (seed == 1) * (arm is OURS)) for value in values]
            losses = dict.fromkeys(targets, sum(own) / len(own))
            cells.append(
                Cell(
                    arm.name,
                    seed,
                    None,
                    {"a": 1.0},
                    {LOSS.name: dict.fromkeys(targets, 1.0 + seed), ANSWER_LOSS.name: losses},
                    questions={ANSWER_LOSS.name: dict.fromkeys(targets, own)},
                )
            )
    return Comparison([UNIFORM, OURS], range(seeds), targets, [], cells, (LOSS, ANSWER_LOSS))


def measure(summary, name="quiz", quantity=ANSWER_LOSS):
    return next(m for m in summary["measures"] if (m["name"], m["quantity"]) == (name, quantity.name))


def test_each_arm_has_its_interval_over_questions_and_the_larger_uncertainty_is_named():
    summary = json.loads(json.dumps(summarise(comparison([0.0, 2.5, 1.0, 4.5], jitter=0.01)), allow_nan=False))
    found = measure(summary)
    plain = over_questions([1.01, 2.01, 3.01, 4.01], ANSWER_LOSS)  # the mean over the seeds 0, .01 and .02
    assert found["questions"]["uniform"] == pytest.approx(plain.to_json())
    (entry,) = found["differences"]
    moved = [-1.0, 0.5, -2.0, 0.5]  # of each question, and .01 / 3 more
    assert entry["over_questions"] == pytest.approx(over_questions(moved, ANSWER_LOSS).high + 0.5)
    assert entry["over_questions"] > (entry["high"] - entry["low"]) / 2
    assert "the questions are the larger uncertainty: the difference of ours from uniform" in found["about"]
    assert "questions" not in measure(summary, quantity=LOSS)


def test_nothing_is_said_where_seeds_are_the_larger_uncertainty():
    found = measure(summarise(comparison([0.0, 1.0, 2.0, 3.0], jitter=0.01)))  # the same difference at each question
    assert found["about"] is None
    assert found["differences"][0]["word"] == "better"


def test_several_sets_have_a_macro_average_with_a_verdict():
    found = comparison([0.0, 2.5, 1.0, 4.5], targets=("quiz", "exam"), jitter=0.01)
    summary = summarise(found)
    average, single = measure(summary, "average of targets"), measure(summary)
    assert average["values"]["ours"] == pytest.approx(single["values"]["ours"])
    assert average["differences"][0]["word"] == single["differences"][0]["word"]
    own, both = single["questions"]["ours"], average["questions"]["ours"]
    assert both["value"] == pytest.approx(own["value"])
    assert both["high"] - both["value"] == pytest.approx((own["high"] - own["value"]) / 2**0.5)
    assert average["differences"][0]["over_questions"] == pytest.approx(
        single["differences"][0]["over_questions"] / 2**0.5
    )
