"""The plan without a trainer: names and counts per step for groups of prompts, and the example of a bandit."""

import json
import runpy
from pathlib import Path

import numpy as np
import pytest

from mixwright import GroupDRO, Mixture, Observation, Plan
from mixwright.errors import InputError

EXAMPLE = runpy.run_path(str(Path(__file__).parents[2] / "examples" / "practice.py"))
GROUPS = {"maths": 5000, "code": 300, "games": 2**40}  # the last one makes its prompts: a row is a seed


def test_counts_are_exact_quotas_by_name():
    plan = Plan(GROUPS, {"maths": 0.5, "code": 0.3, "games": 0.2}, batch_size=7, seed=1)
    given, asked = np.zeros(3), np.zeros(3)
    for step in range(60):
        if step == 30:
            plan.set_weights({"games": 1.0})
        planned = next(plan)
        assert planned.counts.sum() == 7
        assert dict(zip(plan.sources, planned.counts, strict=True))["maths"] == np.sum(planned.source == 0)
        given, asked = given + planned.counts, asked + 7 * planned.weights
        assert np.abs(given - asked).max() <= 2
    assert planned.counts.tolist() == [0, 0, 7]
    assert planned.row.max() > 2**20


def test_the_counts_of_ranks_add_up_and_a_source_that_gives_nothing_is_0():
    planned = next(Plan(GROUPS, [1.0, 0.0, 0.0], batch_size=8))
    parts = [planned.for_rank(rank, 2).counts for rank in range(2)]
    assert [part.tolist() for part in parts] == [[4, 0, 0], [4, 0, 0]]
    assert sum(parts).tolist() == planned.counts.tolist()


def groups_of(plan, mixture, steps):
    """Return names and rows of steps, with an observation after each that depends on what was drawn."""
    found = []
    for _ in range(steps):
        step = next(plan)
        found.append([(plan.sources[i], row) for i, row in zip(step.source, step.row.tolist(), strict=True)])
        reward = [np.sum(step.row[step.source == i]) % 7 / 7 for i in range(3)]
        mixture.observe(Observation(step.step, 8, step.counts, loss=np.array(reward)))
    return found


def test_a_consumer_that_stops_goes_on_with_the_same_groups():
    def made():
        mixture = Mixture(GROUPS, GroupDRO(learning_rate=0.5), lag=1)
        return Plan(GROUPS, mixture, batch_size=8, seed=3), mixture

    whole, (plan, mixture), (again, other) = groups_of(*made(), 40), made(), made()
    assert groups_of(plan, mixture, 15) == whole[:15]
    saved = json.loads(json.dumps({"plan": plan.state_dict(), "mixture": mixture.state_dict()}))
    other.load_state_dict(saved["mixture"])
    again.load_state_dict(saved["plan"])
    assert groups_of(again, other, 25) == whole[15:]


def test_weights_of_groups_that_are_not_there_are_refused():
    with pytest.raises(InputError, match="should name sources of the plan, found 'chess'"):
        Plan(GROUPS, {"maths": 1.0}, batch_size=7).set_weights({"chess": 1.0})


def test_the_bandit_finds_the_informative_groups():
    practice, strategies = EXAMPLE["practice"], EXAMPLE["STRATEGIES"]
    for seed in range(3):
        found = {name: practice(strategy, seed, 300) for name, strategy in strategies.items()}
        assert found["group dro"][2] > 1.15 * found["uniform"][2]
        for _, plan, _ in found.values():
            for line in plan.ledger().lines:
                assert abs(line.rows - line.asked_amount) <= 2


def test_the_example_prints_what_each_reaches(capsys):
    EXAMPLE["main"].__globals__["STEPS"] = 5
    EXAMPLE["main"]()
    assert [line.split("  ")[0] for line in capsys.readouterr().out.splitlines()[1:]] == ["uniform", "odm", "group dro"]
