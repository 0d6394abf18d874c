"""Specialists: their cache, folds and targets."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mixwright.errors import InputError
from mixwright.preference.losses import PairLoss
from mixwright.preference.pairs.rows import TokenPairs
from mixwright.preference.specialists import LOSSES, SpecialistCache, fold_of_pairs, overfit_note, targets_of

MADE_OF = {"reference": "1f", "tokeniser": "2a", "rows": "77", "loss": "9c", "settings": {"seed": 0}}


def test_numbers_are_found_under_their_content_alone(tmp_path: Path) -> None:
    cache = SpecialistCache(tmp_path)
    losses = np.random.default_rng(0).random(9).astype(np.float32)
    cache.put(LOSSES, "a", MADE_OF, train=losses, test=losses[:2])
    np.testing.assert_array_equal(cache.get(LOSSES, MADE_OF)["train"], losses)
    for name in MADE_OF:
        assert cache.get(LOSSES, MADE_OF | {name: "other"}) is None
    wanted = {name: MADE_OF[name] for name in ("reference", "tokeniser", "rows", "loss")}
    np.testing.assert_array_equal(cache.need(LOSSES, "a", wanted)["test"], losses[:2])


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("reference", "reference model"),
        ("tokeniser", "tokeniser"),
        ("rows", "encoded pairs"),
        ("loss", "loss"),
    ],
)
def test_numbers_of_something_else_are_refused_by_name(tmp_path: Path, name: str, words: str) -> None:
    cache = SpecialistCache(tmp_path)
    cache.put(LOSSES, "a", MADE_OF, train=[0.1])
    wanted = {key: MADE_OF[key] for key in ("reference", "tokeniser", "rows", "loss")} | {name: "ffff"}
    with pytest.raises(
        InputError, match=f"losses of the source 'a' .* should be of the {words} ffff, found {MADE_OF[name]}"
    ):
        cache.need(LOSSES, "a", wanted)
    with pytest.raises(InputError, match="of the source 'b', found none; run mixwright prefer specialists"):
        cache.need(LOSSES, "b", wanted)


@given(cut=st.floats(0, 0.999), changed=st.integers(0, 10**6))
def test_a_damaged_file_is_absent(tmp_path_factory, cut: float, changed: int) -> None:
    folder = tmp_path_factory.mktemp("cache")
    cache = SpecialistCache(folder)
    cache.put(LOSSES, "a", MADE_OF, train=np.arange(50.0))
    (path,) = folder.glob("*.npz")
    whole = path.read_bytes()
    path.write_bytes(whole[: int(cut * len(whole))])
    assert cache.get(LOSSES, MADE_OF) is None
    spoilt = bytearray(whole)
    spoilt[changed % len(whole)] ^= 0xFF
    path.write_bytes(bytes(spoilt))
    found = cache.get(LOSSES, MADE_OF)  # a byte that is not part of a number may change
    assert found is None or (found["train"] == np.arange(50.0)).all()


@given(
    prompts=st.lists(st.lists(st.integers(0, 3), min_size=1, max_size=3), min_size=2, max_size=40),
    folds=st.integers(2, 5),
    seed=st.integers(0, 5),
)
def test_folds_keep_prompts_together_and_are_even(prompts, folds: int, seed: int) -> None:
    pairs = TokenPairs(prompts, [[1]] * len(prompts), [[2]] * len(prompts))
    different = {tuple(prompt) for prompt in prompts}
    if len(different) < folds:
        with pytest.raises(InputError, match=f"as many different prompts as folds .{folds}., found {len(different)}"):
            fold_of_pairs(pairs, folds, seed)
        return
    found = fold_of_pairs(pairs, folds, seed)
    assert len({(tuple(p), f) for p, f in zip(prompts, found.tolist(), strict=True)}) == len(different)
    sizes = np.bincount(found, minlength=folds)
    largest = max(sum(tuple(p) == prompt for p in prompts) for prompt in different)
    assert sizes.min() > 0
    assert sizes.max() - sizes.min() <= largest
    np.testing.assert_array_equal(found, fold_of_pairs(pairs, folds, seed))


def test_targets() -> None:
    losses = np.array([0.1, 0.5, 0.9], np.float32)
    np.testing.assert_array_equal(targets_of(losses), losses)
    np.testing.assert_allclose(targets_of(losses, "source_mean"), 0.5, rtol=1e-6)
    with pytest.raises(InputError, match="target should be 'pair' or 'source_mean', found 'median'"):
        targets_of(losses, "median")


def test_a_specialist_that_learned_its_pairs_by_heart_is_noted():
    def note(train, held_out, loss=None, n=200, spread=0.1):
        around = spread * np.linspace(-1, 1, n)
        return overfit_note("code", train + around, held_out + around, loss or PairLoss())

    assert "loss 0.43 on them, 0.75 on held-out pairs (before training: 0.69)" in note(0.43, 0.75)
    assert note(0.43, 0.5) is None
    assert note(0.68, 0.69) is None  # it learned next to nothing, and lost that
    assert note(0.43, 0.75, n=4, spread=1.0) is None  # so few pairs differ by chance
    ipo, simpo = PairLoss("ipo", beta=0.1), PairLoss("simpo", beta=2.0)
    assert ipo.at_reference == pytest.approx(
        ipo.of(*torch.zeros(2, 1), torch.zeros(1, 2), torch.ones(1, 2)).loss.item()
    )
    assert "before training: 25.00" in note(5.0, 24.0, ipo)
    assert "before training" not in note(0.4, 1.0, simpo)
    assert note(0.4, 0.5, simpo) is None
