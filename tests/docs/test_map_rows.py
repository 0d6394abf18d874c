"""Rows of the maps of benchmarks: a line that a kill cut off is trained again, and does not break the next one."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

import pytest

from mapping import add_rows, keep_new, read_rows


def test_a_cut_off_last_line_is_left_out_and_written_over(tmp_path):
    path = tmp_path / "rows" / "map.jsonl"
    assert read_rows(path) == []
    add_rows(path, [{"arm": "a"}, {"arm": "b"}])
    assert read_rows(path) == [{"arm": "a"}, {"arm": "b"}]
    path.write_bytes(path.read_bytes()[:-4])
    assert read_rows(path) == [{"arm": "a"}]
    add_rows(path, [{"arm": "c"}])
    assert read_rows(path) == [{"arm": "a"}, {"arm": "c"}]
    assert path.read_bytes() == b'{"arm": "a"}\n{"arm": "c"}\n'


def test_what_is_trained_again_should_be_what_is_kept(tmp_path):
    path, keys = tmp_path / "map.jsonl", ("arm", "seed")
    uniform = {"regime": "plain", "half": "B", "arm": "uniform", "seed": 0, "loss": {"a": 2.0, "b": 1.0}}
    late = uniform | {"arm": "PiKE"}
    add_rows(path, [uniform])
    keep_new(path, [uniform | {"loss": {"a": 2.001, "b": 1.0}}, late], keys)
    assert read_rows(path) == [uniform, late]
    with pytest.raises(
        SystemExit, match=r"uniform, seed 0: trained again, its losses are up to 0\.1000 from those of map"
    ):
        keep_new(path, [uniform | {"loss": {"a": 2.0, "b": 1.1}}, late | {"seed": 1}], keys)
    assert read_rows(path) == [uniform, late]
