"""Losses by the name of a row: kept once, read in any order, a last record that is cut off is removed."""

import numpy as np

from mixwright.watching.kept_losses import KEY, KeptLosses

ROWS = {bytes([i]) * KEY: np.arange(i, dtype=np.float32) / 8 for i in range(4)}  # of 0, 1, 2 and 3 tokens


def opened(path):
    return KeptLosses(path / "folder" / "losses")


def test_rows_are_kept_once_and_found_again(tmp_path):
    kept, keys = opened(tmp_path), list(ROWS)
    kept.add(keys[:3], list(ROWS.values())[:3])
    kept.add(keys[1:], [row + 1 for row in list(ROWS.values())[1:]])  # what is known stays
    kept.flush()
    kept.close()
    again = opened(tmp_path)
    assert again.has(keys)
    assert not again.has([*keys, b"?" * KEY])
    assert again.tokens == 6
    expected = [[1.0, 1.125, 1.25], [], [0.0], [0.0, 0.125]]
    assert [row.tolist() for row in again.read([keys[3], *keys[:3]])] == expected


def test_a_record_that_is_cut_off_is_removed(tmp_path):
    kept, keys = opened(tmp_path), list(ROWS)
    kept.add(keys, list(ROWS.values()))
    kept.close()
    path = tmp_path / "folder" / "losses"
    whole = path.read_bytes()
    for lost in (1, 11, 4 * 3 + 4 + KEY - 1):  # within the losses, and within the head, of the last row
        path.write_bytes(whole[:-lost])
        kept = opened(tmp_path)
        assert kept.has(keys[:3])
        assert not kept.has(keys[3:])
        kept.add(keys[3:], [ROWS[keys[3]]])
        kept.close()
        assert path.read_bytes() == whole
