import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mixwright.assays import AssayTable, split_target
from mixwright.errors import InputError


def random_table(seed: int, n: int = 240, molecules: int = 160) -> AssayTable:
    rng = np.random.default_rng(seed)
    labels = (rng.random((n, 3)) < [0.3, 0.5, 0.5]).astype(float)
    labels[rng.random((n, 3)) < 0.2] = np.nan
    number = rng.integers(molecules, size=n)
    return AssayTable.from_arrays(
        rng.normal(size=(n, 2)), labels, ["t", "a", "b"], molecules=number, scaffolds=number % 80, times=np.arange(n)
    )


@settings(max_examples=40)
@given(st.integers(0, 2**20), st.sampled_from(["random", "scaffold"]), st.floats(0.1, 0.5))
def test_no_molecule_is_on_both_sides_and_classes_are_shared_out(seed: int, kind: str, held_out: float) -> None:
    table = random_table(seed)
    split = split_target(table, "t", kind, held_out, seed)
    assert sorted([*split.train, *split.test]) == table.labelled("t").tolist()
    held = set(split.groups[split.test])
    assert held.isdisjoint(split.groups[split.allowed])  # in no assay at all
    assert set(table.molecules[split.test]).isdisjoint(table.molecules[split.allowed])
    again = split_target(table, "t", kind, held_out, seed)
    assert (again.test == split.test).all()
    share = len(split.test) / (len(split.test) + len(split.train))
    assert abs(share - held_out) < (0.15 if kind == "random" else 0.3)
    for part in (split.train, split.test):
        assert set(table.labels[part, 0]) == {0, 1}


def test_random_keeps_the_share_of_each_class() -> None:
    labels = np.zeros((200, 2))
    labels[:40] = 1
    table = AssayTable.from_arrays(np.arange(200)[:, None], labels, ["t", "a"])
    split = split_target(table, "t", "random", 0.25, 3)
    assert (table.labels[split.test, 0] == 1).sum() == 10
    assert len(split.test) == 50
    other = split_target(table, "t", "random", 0.25, 4)
    assert set(other.test) != set(split.test)


def test_time_holds_out_the_latest_and_no_source_sees_later_rows() -> None:
    n = 100
    labels = np.tile([[0, 1], [1, 0]], (n // 2, 1)).astype(float)
    labels[::5, 0] = np.nan
    table = AssayTable.from_arrays(np.arange(n)[:, None], labels, ["t", "a"], times=np.arange(n)[::-1])
    split = split_target(table, "t", "time", 0.25)
    assert len(split.test) == 20
    assert table.times is not None
    assert table.times[split.test].min() > table.times[split.train].max()
    assert table.times[split.allowed].max() < table.times[split.test].min()


def test_a_molecule_on_both_sides_of_a_time_split_is_leakage() -> None:
    labels = np.tile([[0.0, 1], [1, 0]], (20, 1))
    molecules = np.arange(40)
    molecules[39] = 0  # measured first and last
    table = AssayTable.from_arrays(np.arange(40)[:, None], labels, ["t", "a"], molecules=molecules, times=np.arange(40))
    with pytest.raises(InputError, match=r"found 1 in the time split \(leakage.*duplicates: drop"):
        split_target(table, "t", "time", 0.25)
    split = split_target(table, "t", "time", 0.25, duplicates="drop")
    assert not split.allowed[0]
    assert 0 not in split.train
    assert "1 molecules were in both parts" in split.notes[0]


@pytest.mark.parametrize(
    ("kind", "says"),
    [("scaffold", "needs SMILES"), ("time", "column of dates"), ("column", "train/test"), ("day", "should be one of")],
)
def test_what_a_split_needs(kind: str, says: str) -> None:
    table = AssayTable.from_arrays(np.arange(20)[:, None], np.tile([[0.0], [1.0]], (10, 1)), ["t"])
    with pytest.raises(InputError, match=says):
        split_target(table, "t", kind)


def test_scaffolds_that_are_too_large_to_be_held_out() -> None:
    table = AssayTable.from_arrays(
        np.arange(40)[:, None], np.tile([[0.0], [1.0]], (20, 1)), ["t"], scaffolds=np.arange(40) // 20
    )
    with pytest.raises(InputError, match=r"only larger scaffolds \(2, the smallest of 20 of 40 rows\); raise held_out"):
        split_target(table, "t", "scaffold")


def test_a_target_with_too_few_of_a_class() -> None:
    labels = np.zeros((50, 1))
    labels[0] = 1
    table = AssayTable.from_arrays(np.arange(50)[:, None], labels, ["t"])
    with pytest.raises(InputError, match=r"target 't' should have at least 2 rows of each class.*49 with 0 and 1"):
        split_target(table, "t")
    labels[1:3] = 1
    with pytest.raises(InputError, match="in its held-out part, found 12 with 0 and 1 with 1; it takes 4 molecules"):
        split_target(AssayTable.from_arrays(np.arange(50)[:, None], labels, ["t"]), "t")
    with pytest.raises(InputError, match="assay should be one of the table's, found 'T'"):
        split_target(table, "T")


@pytest.mark.parametrize("positives", [4, 5])
def test_four_positives_are_enough_to_hold_some_out(positives: int) -> None:
    labels = np.zeros((60, 1))
    labels[:positives] = 1
    table = AssayTable.from_arrays(np.arange(60)[:, None], labels, ["t"])
    for seed in range(5):
        split = split_target(table, "t", "random", 0.25, seed)
        assert table.labels[split.test, 0].sum() == 2
        assert table.labels[split.train, 0].sum() == positives - 2
        assert len(split.test) == 2 + round(0.25 * (60 - positives))
