"""The page of a training."""

from __future__ import annotations

import json
import re

import pytest

from mixwright.errors import InputError
from mixwright.report import render, write
from mixwright.report.courses import averaged
from mixwright.report.training.view import conflict

from .training_fixtures import decisions, training


def rows_of(text: str, table: str) -> list[str]:
    body = re.search(rf'<table id="{table}".*?<tbody>(.*?)</tbody>', text, re.S)
    assert body, table
    return re.findall(r"<tr.*?</tr>", body[1], re.S)


def test_every_part_is_there_and_the_same_input_gives_the_same_page():
    text = render("training", training(), decisions=decisions())
    for part in ("sources", "weights-section", "losses", "gradients", "conflict", "decisions", "made"):
        assert f'<section id="{part}"' in text
    assert text == render("training", training(), decisions=decisions())
    assert "http" not in re.sub(r'<script type="text/plain".*?</script>', "", text, flags=re.S).replace(
        "http-equiv", ""
    )
    assert len(rows_of(text, "sources-table")) == 5
    assert len(rows_of(text, "decisions-table")) == 100 + 1 + 1  # every second, the last, and the alarm
    assert "100" in rows_of(text, "decisions-table")[-1] or "2,000" in rows_of(text, "decisions-table")[-1]


def test_text_of_others_is_escaped():
    text = render("training", training(title="<script>x</script>"), decisions=decisions())
    assert "<script>x" not in text
    assert "<b>weights" not in text
    assert "Alarm: &lt;b&gt;weights" in text


def test_the_headline_names_the_strategy_without_its_numbers():
    strategy = "Guard(strategy=Every(strategy=PiKE(zeta1=None, rule='restoring'), steps=20), entropy=0.1)"
    text = render("training", {**training(), "strategy": strategy}, decisions=decisions())
    assert "weights that follow PiKE in Every in Guard:" in text
    assert "zeta1=None" in text  # how it was made


def test_charts_hold_the_numbers():
    text = render("training", training(k=3), decisions=decisions(k=3))
    charts = json.loads(re.search(r'id="charts">(.*?)</script>', text, re.S)[1])
    by_name = {chart["name"]: chart for chart in charts}
    assert list(by_name) == ["weights", "curve-source-loss", "curve-source-train-loss", "grad-sq-norm", "grad-variance"]
    weights = by_name["weights"]["data"][0]
    assert weights["x"][0] == 0
    assert weights["y"][0] == pytest.approx(1 / 3, abs=1e-5)  # what the first rows were drawn with
    assert weights["x"][-1] == 2000
    assert by_name["curve-source-loss"]["data"][1]["x"] == [float(s) for s in range(100, 2001, 100)]


def test_fixed_weights_have_no_course_and_no_decisions_no_gradients():
    text = render("training", training(fixed=True), decisions=[])
    for part in ("weights-section", "gradients", "conflict", "decisions"):
        assert f'id="{part}"' not in text
    assert 'id="losses"' in text


def test_cosines_by_hand():
    seen = [
        {"observation": {"gram": [[4.0, 1.0, None], [1.0, 1.0, 0.5], [None, 0.5, -0.1]]}},
        {"observation": {"gram": [[4.0, -3.0, None], [-3.0, 1.0, 0.5], [None, 0.5, -0.1]]}},
    ]
    found = conflict(seen, ["a", "b", "c"])
    values = [[cell["value"] for cell in cells] for _, cells in found["rows"]]
    assert values == [[1.0, -0.5, None], [-0.5, 1.0, None], [None, None, None]]
    assert (found["pairs"], found["below"]) == (1, 1)
    assert found["rows"][0][1][1]["colour"] == "vermillion"
    assert conflict([{"observation": {}}], ["a", "b"]) is None


def test_many_points_become_means():
    steps, values = averaged(list(range(160)), [float(i % 2) if i != 3 else None for i in range(160)])
    assert len(steps) == 80
    assert values[0] == 0.5
    assert values[1] == 0.0
    assert steps[-1] == 159


def test_many_sources_show_those_that_gave_most():
    text = render("training", training(k=40), decisions=decisions(k=40))
    assert len(rows_of(text, "sources-table")) == 40
    assert "the 12 sources that gave most" in text
    assert "24 more sources are left out" in text


def test_a_summary_of_another_kind_or_a_damaged_log_is_named(tmp_path):
    with pytest.raises(InputError, match="of a training run, found kind 'comparison'"):
        render("training", {"kind": "comparison"})
    broken = training()
    del broken["curve"]
    with pytest.raises(InputError, match="found one without 'curve'"):
        render("training", broken)
    (tmp_path / "decisions.jsonl").write_text("{\n")
    with pytest.raises(InputError, match=r"cannot read .*decisions\.jsonl"):
        write("training", training(), tmp_path)
    assert not (tmp_path / "report.html").exists()
