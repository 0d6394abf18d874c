"""The page of a training on preference pairs."""

from __future__ import annotations

import json
import math
import re
from typing import Any

import pytest

from mixwright.errors import InputError
from mixwright.report import render, write
from mixwright.report.charts import Line, lines_chart
from mixwright.report.looks import Look
from mixwright.report.words import number

NAMES = ("helpful", "harmless", "honest")


def numbers(i: int, step: int) -> dict[str, float]:
    loss = 0.693 - 0.05 * i * (1 - math.exp(-step / 40))
    return {
        "loss": loss,
        "accuracy": 0.5 + 0.1 * i,
        "margin": 0.01 * i * step,
        "excess": loss - 0.5,
        "gap": loss - 0.51,
    }


def summary(specialists: bool = True, names: tuple[str, ...] = NAMES, **changes: Any) -> dict[str, Any]:
    none = {} if specialists else {"excess": None, "gap": None}
    curve = [
        {"step": step, "sources": {name: numbers(i, step) | none for i, name in enumerate(names)}}
        for step in (0, 50, 100)
    ]
    sources = [
        {"name": name, "pairs": 100 * (i + 1), "held_out_pairs": 20, "last_weight": 1 / len(names), "asked": 0.3,
         "drawn": 0.3, "rows": 480, "epochs": 4.8 / (i + 1), "held_out": numbers(i, 100) | none,
         "specialist": {"train": 0.4, "held_out": 0.51} if specialists else None}
        for i, name in enumerate(names)
    ]  # fmt: skip
    overall = {"average": 0.6, "worst": 0.69, "worst_source": names[0]}
    found: dict[str, Any] = {
        "schema": 1, "kind": "preference", "version": "0.0.0", "title": "Three tasks", "seed": 0,
        "command": "mixwright prefer train prefer.yaml", "created": "2026-01-02T03:04:05+00:00",
        "model": "runs/sft", "adapter": {"rank": 4}, "loss": {"kind": "sigmoid", "beta": 0.1},
        "specialist_settings": {"epochs": 1.0}, "training": {"batch_size": 16, "evaluate_pairs": 200},
        "strategy": "AMAR(learning_rate=0.1)", "fixed": False, "specialists": specialists,
        "steps": 100, "pairs": 1600, "seconds": 61.0, "sources": sources,
        "held_out": dict.fromkeys(("loss", "accuracy", *(("excess", "gap") if specialists else ())), overall),
        "curve": curve, "cost": {"pairs": 1600, "specialist_pairs": 800.0 if specialists else None},
        "notes": ["harmless: 3 of 200 pairs were cut to 512 tokens (keep_start)"],
    }  # fmt: skip
    return found | changes


def metrics(steps: int = 100) -> list[dict[str, Any]]:
    return [
        {"step": step + 1, "loss": 0.6, **{f"mixture/{key}/{name}": 0.2 + 0.1 * i for i, name in enumerate(NAMES)
         for key in ("loss", "excess", "gate", "accuracy", "weight", "epochs") if step % 3 or i}}
        for step in range(steps)
    ]  # fmt: skip


def decisions(steps: int = 100) -> list[dict[str, Any]]:
    return [
        {"decision": step, "begins": step + 1, "weights": [0.2 + 0.001 * step, 0.5 - 0.001 * step, 0.3], "entropy": 1.0,
         "observation": {"step": step, "batch_size": 16, "counts": [5.0, 5.0, 6.0], "planned": [1 / 3] * 3,
                         "excess_loss": [0.1, 0.2, 0.3]}, **({"remarks": {"at_cap": [1]}} if step == 7 else {})}
        for step in range(steps)
    ]  # fmt: skip


def charts_of(text: str) -> dict[str, Any]:
    found = json.loads(re.search(r'id="charts">(.*?)</script>', text, re.S)[1])  # type: ignore[index]
    return {chart["name"]: chart for chart in found}


def test_every_part_is_there_as_a_chart_and_as_a_table() -> None:
    text = render("preference", summary(), metrics=metrics(), decisions=decisions())
    for part in ("sources", "weights-section", "held", "trained", "decisions", "made"):
        assert f'<section id="{part}"' in text
    charts = charts_of(text)
    held, trained = ("excess", "gap", "loss", "accuracy"), ("excess", "gate", "loss", "accuracy", "epochs")
    assert list(charts) == ["weights", *(f"held-{k}" for k in held), *(f"trained-{k}" for k in trained)]
    for name in charts:
        assert f'<table id="{name}-table"' in text
    assert charts["held-loss"]["data"][1]["x"] == [0.0, 50.0, 100.0]
    assert charts["held-accuracy"]["data"][1]["x"] == [50.0, 100.0]  # the reference has no margins
    assert len(charts["trained-gate"]["data"][0]["x"]) <= 80
    assert charts["weights"]["data"][0]["y"][-1] == pytest.approx(0.2 + 0.001 * 98)
    assert "http" not in re.sub(r'<script type="text/plain".*?</script>', "", text, flags=re.S).replace(
        "http-equiv", ""
    )
    assert text == render("preference", summary(), metrics=metrics(), decisions=decisions())
    assert "at_cap: [1]" in text
    assert "AMAR" in text


def test_the_first_points_of_a_gap_are_seen() -> None:
    line = Line("a", Look("blue", "circle", "solid"), [0.0, 50.0, 100.0], [0.006, -0.002, -0.001])
    for whole in (True, False):
        low, high = lines_chart("gap", "gap", [line], number, whole=whole).layout["yaxis"]["range"]
        assert low < -0.002
        assert (high > 0.006) == whole


def test_without_specialists_there_is_no_excess() -> None:
    lines = [{k: v for k, v in line.items() if "excess" not in k and "gate" not in k} for line in metrics()]
    text = render("preference", summary(False, fixed=True, strategy="pooled"), metrics=lines)
    assert list(charts_of(text)) == ["held-loss", "held-accuracy", "trained-loss", "trained-accuracy", "trained-epochs"]
    assert "Specialist’s loss" not in text
    assert 'id="decisions"' not in text


def test_of_many_sources_those_furthest_behind_have_lines() -> None:
    names = tuple(f"source {i}" for i in range(20))
    text = render("preference", summary(names=names))
    assert [trace["name"] for trace in charts_of(text)["held-loss"]["data"]] == [f"source {i}" for i in range(12)]
    assert "The charts below show the 12 sources that are furthest behind" in text
    assert "source 19" in text


def test_text_of_others_is_escaped_and_other_kinds_are_refused(tmp_path) -> None:
    text = render("preference", summary(title="<script>x</script>", notes=["<b>note</b>"]))
    assert "<script>x" not in text
    assert "<b>note" not in text
    with pytest.raises(InputError, match="of a preference run, found kind 'training'"):
        render("preference", {"kind": "training"})
    with pytest.raises(InputError, match="found one without 'curve'"):
        render("preference", {key: value for key, value in summary().items() if key != "curve"})
    (tmp_path / "metrics.jsonl").write_text("{broken\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"cannot read .*metrics\.jsonl"):
        write("preference", summary(), tmp_path)
    (tmp_path / "metrics.jsonl").write_text(json.dumps(metrics(1)[0]) + '\n{"step": 2', encoding="utf-8")
    assert write("preference", summary(), tmp_path) == tmp_path / "report.html"
