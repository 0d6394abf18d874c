"""Rows of the maps of benchmarks: a line that a kill cut off is trained again, and does not break the next one."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

from mapping import add_rows, read_rows


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
