"""Sources are added to a table and removed from it; the other columns stay as they are."""

import json

import numpy as np
import pytest

from mixwright import InputError, LikelihoodTable


def saved(folder, k=3, n=20):
    L = -np.abs(np.random.default_rng(0).normal(size=(n, k)))
    LikelihoodTable.from_array(L, list("abcdefgh")[:k]).save(folder)
    return L, LikelihoodTable.open(folder)


def test_a_source_comes_and_another_goes(tmp_path):
    L, table = saved(tmp_path / "t")
    before = {p.name: p.read_bytes() for p in (tmp_path / "t/columns").iterdir()}
    wider = table.add_source("new", "proxy 1")
    assert (wider.sources, wider.missing) == (("a", "b", "c", "new"), ("new",))
    wider.append("new", -np.arange(20.0))
    wider.finish("new")
    narrow = wider.remove_source("b")
    again = LikelihoodTable.open(tmp_path / "t")
    for found in (narrow, again):
        assert found.sources == ("a", "c", "new")
        assert (found.block(0, 20) == np.column_stack([L[:, [0, 2]], -np.arange(20.0)])).all()
        assert found.fingerprints == {"new": "proxy 1"}
        found.check()
        found.verify()
    after = {p.name: p.read_bytes() for p in (tmp_path / "t/columns").iterdir()}
    assert {name: after[name] for name in ("0000.f64", "0002.f64")} == {
        name: before[name] for name in ("0000.f64", "0002.f64")
    }
    assert sorted(after) == ["0000.f64", "0002.f64", "0003.f64"]


def test_a_header_stays_in_the_first_schema_until_files_are_out_of_order(tmp_path):
    _, table = saved(tmp_path / "t")
    header = tmp_path / "t/table.json"
    table.add_source("new")
    assert json.loads(header.read_text())["schema"] == 1
    table.remove_source("a")
    assert (json.loads(header.read_text())["schema"], json.loads(header.read_text())["columns"]) == (2, [1, 2, 3])


def test_what_a_kill_leaves_is_not_taken_for_a_column(tmp_path):
    _, table = saved(tmp_path / "t")
    (tmp_path / "t/columns/0003.f64.part").write_bytes(b"\0" * 40)
    wider = table.add_source("new")
    assert wider.rows_done("new") == 0


def test_create_goes_on_after_sources_came_and_went(tmp_path):
    _, table = saved(tmp_path / "t")
    table.remove_source("a").add_source("d")
    again = LikelihoodTable.create(tmp_path / "t", ["b", "c", "d"], documents=np.arange(20), unit="row")
    assert again.missing == ("d",)


def test_views_share_the_columns_and_change_no_file(tmp_path):
    L, table = saved(tmp_path / "t")
    files = {p: p.read_bytes() for p in (tmp_path / "t").rglob("*") if p.is_file()}
    view = table.without_source("b").with_source("z", np.zeros(20))
    assert view.sources == ("a", "c", "z")
    assert (view.block(3, 9) == np.column_stack([L[3:9, [0, 2]], np.zeros(6)])).all()
    assert (view.by_source(3, 9, np.array([2, 0])) == np.stack([np.zeros(6), L[3:9, 0]])).all()
    view.check()
    keys, own = view.column_keys(), table.column_keys()
    assert keys[:2] == [own[0], own[2]]
    assert keys[2] not in own
    view.save(tmp_path / "copy")
    assert (LikelihoodTable.open(tmp_path / "copy").block(0, 20) == view.block(0, 20)).all()
    assert {p: p.read_bytes() for p in (tmp_path / "t").rglob("*") if p.is_file()} == files


def test_rows_of_one_target_keep_their_keys():
    L = np.zeros((6, 2))
    table = LikelihoodTable.from_array(L, targets=[0, 1, 0, 1, 0, 1], target_names=["x", "y"])
    assert table.select("x").column_keys() == table.select("x").column_keys()
    assert table.select("x").column_keys() != table.select("y").column_keys()


def test_wrong_sources(tmp_path):
    _, table = saved(tmp_path / "t", k=2)
    files = {p: p.read_bytes() for p in (tmp_path / "t").rglob("*") if p.is_file()}
    for wrong in (lambda: table.add_source("a"), lambda: table.with_source("a", np.zeros(20))):
        with pytest.raises(InputError, match="a name of its own"):
            wrong()
    for wrong in (lambda: table.remove_source("q"), lambda: table.without_source("q")):
        with pytest.raises(InputError, match="found 'q'"):
            wrong()
    with pytest.raises(InputError, match="20 rows, found 3"):
        table.with_source("z", np.zeros(3))
    with pytest.raises(InputError, match="found nan at row 1"):
        table.with_source("z", np.where(np.arange(20) == 1, np.nan, 0.0))
    with pytest.raises(InputError, match="takes rows"):
        table.without_source("a").add_source("z")
    assert {p: p.read_bytes() for p in (tmp_path / "t").rglob("*") if p.is_file()} == files
    alone = table.remove_source("a")
    for wrong in (lambda: alone.remove_source("b"), lambda: alone.without_source("b")):
        with pytest.raises(InputError, match="alone"):
            wrong()


@pytest.mark.parametrize("numbers", [[0, 0], [0], [0, -1], [0, True], "01"])
def test_damaged_numbers_of_files(tmp_path, numbers):
    saved(tmp_path / "t", k=2)
    header = tmp_path / "t/table.json"
    header.write_text(json.dumps({**json.loads(header.read_text()), "schema": 2, "columns": numbers}))
    with pytest.raises(InputError, match="field 'columns'"):
        LikelihoodTable.open(tmp_path / "t")
