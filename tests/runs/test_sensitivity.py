"""What a proposal depends on."""

import numpy as np
import pytest

from mixwright import InputError, RunSearch, RunTable
from mixwright.runs.dependence import influence, moved_to, sensitivity
from mixwright.runs.design.plan import purposes

SOURCES = ["web", "code", "law"]


def fit(losses, W, **more):
    table = RunTable.from_array(W, losses, SOURCES, ["qa"])
    return RunSearch("linear", prior="uniform", shrinkage=0.0, **more).fit(table)


def test_what_moving_a_weight_costs_by_hand():
    W = np.random.default_rng(0).dirichlet([1, 1, 1], 40)
    found = sensitivity(fit(10 + W @ [1.0, 2.0, 3.0], W), step=0.05)
    # the proposal is web alone: less of web goes to code and law in equal parts, more of either comes from web
    assert found.less == pytest.approx([0.05 * 1.5, 0, 0], abs=1e-4)
    assert found.more == pytest.approx([0, 0.05, 0.10], abs=1e-4)


def test_the_mixture_that_carries_the_fit_is_named():
    rng = np.random.default_rng(0)
    W = rng.dirichlet([6, 6, 0.2], 30)
    W[7] = [0.02, 0.03, 0.95]  # the one run with much law; its loss makes law look best
    losses = 10 + W @ [1.0, 1.2, 3.0] + 0.01 * rng.normal(size=30)
    losses[7] = 9.0
    result = fit(losses, W)
    assert result.weights[2] > 0.9
    found = influence(result)
    assert found[0].run == "run_7"
    assert found[0].change > 3 * abs(found[1].change)
    assert found[0].moved > 0.9
    assert len(found) == 10
    sizes = [abs(one.change) for one in found]
    assert sizes == sorted(sizes, reverse=True)
    again = fit(np.delete(losses, 7), np.delete(W, 7, axis=0))
    assert found[0].change == pytest.approx(float(again.predict(result.weights, None)) - result.predicted, abs=1e-9)


def test_others_keep_their_proportions():
    moved = moved_to(np.array([0.5, 0.3, 0.2]), 0, np.array([0.0, 0.75]))
    assert moved.tolist() == pytest.approx(np.array([[0, 0.6, 0.4], [0.75, 0.15, 0.1]]))
    assert moved_to(np.array([1.0, 0.0, 0.0]), 0, np.array([0.5])).tolist() == [[0.5, 0.25, 0.25]]


def test_a_step_is_a_share():
    W = np.random.default_rng(0).dirichlet([1, 1, 1], 20)
    with pytest.raises(InputError, match="step should be a share"):
        sensitivity(fit(W @ [1.0, 2.0, 3.0], W), step=1.5)


def test_what_a_plan_says_of_its_runs():
    columns = {"run": ["a", "b"], "kind": ["natural", "repeat"], "repeat_of": ["", "a"], "tokens": ["2e6", "2e6"]}
    found = purposes({**columns, "scale": ["1M", "1M"], "epoch_budget_tokens": ["1e9", "1e9"]})
    assert found.kinds == {"a": "natural", "b": "repeat"}
    assert (found.tokens, found.final_tokens, found.scales) == (4e6, 1e9, ("1M",))
    assert purposes({"run": ["a"], "repeat_of": [""]}) is None
    assert purposes({**columns, "tokens": ["", "2e6"]}).tokens is None
