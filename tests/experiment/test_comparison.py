import numpy as np
import pytest

from mixwright.compare.documents import compare


def test_hand_computed() -> None:
    nats, other = np.tile([10.0, 20.0, 33.0], 4), np.tile([11.0, 22.0, 36.0], 4)
    tokens = np.tile([10.0, 20.0, 30.0], 4)
    found = compare(nats, other, tokens, "uniform", 0.9)
    assert found.difference == pytest.approx(-0.1)
    assert found.low == pytest.approx(-0.1)  # every document is better by a tenth of a nat per token
    assert found.verdict == "better than uniform by 0.100000 nats per token [0.100000, 0.100000] (this seed alone)"


def test_words() -> None:
    rng = np.random.default_rng(0)
    tokens = np.full(200, 100.0)
    noise = rng.normal(0, 5, 200)
    worse = compare(300 + noise + 4, 300 + 0 * noise, tokens, "uniform")
    same = compare(300 + noise - noise.mean(), 300 + 0 * noise, tokens, "uniform")
    assert worse.verdict.startswith("worse than uniform by 0.0")
    assert same.verdict.startswith("no better than uniform on this evidence")


def test_few_documents_are_unverified() -> None:
    found = compare(np.array([1.0, 2.0]), np.array([3.0, 4.0]), np.array([1.0, 1.0]), "uniform")
    assert found.low is None
    assert "unverified" in found.verdict
    found = compare(np.arange(9.0), np.arange(9.0) + 5, np.ones(9), "uniform")
    assert found.high is not None
    assert (found.word, found.verdict[:10]) == ("unverified", "unverified")


def test_the_interval_covers() -> None:
    rng = np.random.default_rng(1)
    inside = 0
    for _ in range(400):
        tokens = rng.integers(5, 200, 25).astype(float)
        difference = rng.normal(-0.02, 0.1, 25) * tokens
        found = compare(difference, np.zeros(25), tokens, "uniform", 0.9)
        assert found.low is not None
        assert found.high is not None
        inside += found.low <= -0.02 <= found.high
    assert 0.83 <= inside / 400 <= 0.95
