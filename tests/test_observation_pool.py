import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mixwright import Observation
from mixwright.strategies.observation_pool import MEANS, Pool
from mixwright.strategy import state_from_json, state_to_json
from mixwright.testing import observations


def pooled(seen, fields=None):
    pool = Pool.empty(len(seen[0].counts)) if fields is None else Pool.empty(len(seen[0].counts), fields)
    for obs in seen:
        pool = pool.add(obs)
    return pool


@settings(max_examples=25)
@given(st.integers(0, 1000), st.integers(1, 12))
def test_means_by_examples_of_what_is_known(seed, count):
    seen = observations(4, count, seed, unseen=0.4, unknown=0.4)
    out = pooled(seen).observation()
    counts = np.array([obs.counts for obs in seen])
    np.testing.assert_array_equal(out.counts, counts.sum(0))
    assert (out.step, out.batch_size) == (seen[-1].step, 32)
    for name in MEANS:
        values = np.array([getattr(obs, name) for obs in seen])
        known = (counts > 0) & ~np.isnan(values)
        for i in range(4):
            n = counts[known[:, i], i]
            expected = n @ values[known[:, i], i] / n.sum() if n.size else np.nan
            np.testing.assert_allclose(getattr(out, name)[i], expected, rtol=1e-12)
    rows = counts.sum(1)
    np.testing.assert_allclose(out.planned, rows @ np.array([obs.planned for obs in seen]) / rows.sum())
    np.testing.assert_array_equal(out.target_loss, seen[-1].target_loss)
    for i in range(4):
        held_out = [obs.eval_loss[i] for obs in seen if obs.counts[i] > 0 and not np.isnan(obs.eval_loss[i])]
        np.testing.assert_array_equal(out.eval_loss[i], held_out[-1] if held_out else np.nan)


def test_gram_is_weighted_as_the_norms_are():
    rng = np.random.default_rng(0)
    seen = []
    for step in range(6):
        factors = rng.normal(size=(3, 5))
        gram = factors @ factors.T
        counts = rng.integers(1, 9, 3)
        seen.append(Observation(step, 8, counts, gram=gram, grad_sq_norm=np.diag(gram)))
    out = pooled(seen).observation()
    np.testing.assert_allclose(np.diag(out.gram), out.grad_sq_norm)
    np.testing.assert_array_equal(out.gram, out.gram.T)
    weight = [np.sqrt(obs.counts[0] * obs.counts[2]) for obs in seen]
    assert out.gram[0, 2] == pytest.approx(np.average([obs.gram[0, 2] for obs in seen], weights=weight))


def test_the_mean_of_unbiased_estimates_is_unbiased():
    rng, truth = np.random.default_rng(1), 2.0
    means = []
    for _ in range(400):
        counts = rng.integers(1, 20, 10)
        seen = [
            Observation(t, 8, [n], grad_sq_norm=[truth + rng.normal() * 4 / n if n > 1 else np.nan])
            for t, n in enumerate(counts)
        ]
        means.append(pooled(seen, {"grad_sq_norm"}).observation().grad_sq_norm[0])
    assert abs(np.mean(means) - truth) < 4 * np.std(means) / 20


def test_only_fields_that_are_asked_for():
    seen = observations(3)
    out = pooled(seen, {"loss"}).observation()
    assert out.given == {"counts", "loss"}
    assert pooled(seen, {"loss"}).gram.size == 0
    bare = pooled([Observation(0, 4, [1, 1])], {"loss", "target_loss", "planned"}).observation()
    assert bare.given == {"counts"}
    unknown = pooled([Observation(0, 4, [1, 1], loss=[np.nan] * 2), Observation(1, 4, [1, 1])], {"loss"}).observation()
    assert np.isnan(unknown.loss).all()


def test_it_is_a_state():
    seen = observations(3, 6)
    for fields in ((), {"loss"}, {"target_loss", "eval_loss"}, {"gram"}):
        pool = pooled(seen[:3], fields)
        back = state_from_json(Pool.empty(3, fields), json.loads(json.dumps(state_to_json(pool), allow_nan=False)))
        a, b = pool.add(seen[3]), back.add(seen[3])
        assert state_to_json(a) == state_to_json(b)
        assert state_to_json(pool) == state_to_json(pooled(seen[:3], fields))


def test_targets_that_were_not_evaluated_keep_their_last():
    first = Observation(0, 4, [1], target_loss=[1.0, 2.0])
    then = Observation(1, 4, [1], target_loss=[np.nan, 3.0])
    pool = Pool.empty(1, {"target_loss"}).add(first).add(then)
    assert pool.observation().target_loss.tolist() == [1.0, 3.0]
    unknown = Pool.empty(1, {"target_loss"}).add(then)
    back = state_from_json(Pool.empty(1, {"target_loss"}), json.loads(json.dumps(state_to_json(unknown))))
    np.testing.assert_array_equal(back.observation().target_loss, [np.nan, 3.0])


def test_products_with_targets_are_averaged_by_examples_and_references_are_the_latest():
    seen = [
        Observation(0, 8, [6, 2], reference_loss=[2.0, 3.0], target_gram=[[1.0, -1.0], [2.0, np.nan]]),
        Observation(1, 8, [2, 0], reference_loss=[1.5, 9.0], target_gram=[[5.0, 3.0], [9.0, 9.0]]),
    ]
    out = pooled(seen).observation()
    np.testing.assert_allclose(out.target_gram, [[(6 * 1 + 2 * 5) / 8, (-6 + 2 * 3) / 8], [2.0, np.nan]])
    np.testing.assert_array_equal(out.reference_loss, [1.5, 3.0])  # 9 is of a source without rows


def test_a_state_of_a_version_without_the_newer_fields_goes_on():
    seen = observations(3)
    pool = pooled(seen[:4], {"loss", "eval_loss"})
    old = state_to_json(pool)
    del old["reference_loss"], old["targets"]
    resumed = state_from_json(Pool.empty(3, {"loss", "eval_loss"}), json.loads(json.dumps(old)))
    assert state_to_json(resumed.add(seen[4])) == state_to_json(pool.add(seen[4]))
