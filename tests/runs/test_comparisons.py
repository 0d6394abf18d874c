"""Comparisons as tables of runs."""

import json
from pathlib import Path

import pytest

from mixwright import InputError
from mixwright.runs import read_comparisons

GOLDEN = Path(__file__).parents[1] / "golden" / "runs"


def test_every_arm_and_seed_is_a_run():
    summary = json.loads((GOLDEN / "compare-text" / "summary.json").read_text(encoding="utf-8"))
    table = read_comparisons([GOLDEN / "compare-text"])
    assert table.n == 2 * len(summary["seeds"])
    assert table.sources == tuple(summary["sources"])
    assert table.targets[0] == "mix"
    assert table.target("mix")[:2].tolist() == summary["measures"][0]["values"]["uniform"]
    assert table.target("source greek")[2:].tolist() == summary["measures"][3]["values"]["mixmin (mix)"]
    epochs = summary["arms"][0]["mixtures"][0]["epochs"]
    assert table.exposures[0].tolist() == pytest.approx([epochs[name][0] for name in table.sources])


def test_arms_whose_weights_change_are_no_runs():
    table = read_comparisons([GOLDEN / "compare-preference"])
    assert {name.split("/")[1] for name in table.runs} == {"uniform"}


def test_folders_without_a_comparison_are_refused(tmp_path):
    with pytest.raises(InputError, match="should be the folder of a finished comparison"):
        read_comparisons([tmp_path])
    with pytest.raises(InputError, match="should be the folder of a finished comparison"):
        read_comparisons([GOLDEN / "train"])
    with pytest.raises(InputError, match="both tables should have the same sources"):
        read_comparisons([GOLDEN / "compare-text", GOLDEN / "compare-preference"])
