"""`mixwright runs plan` and `runs collect`, from nothing to a proposal in the next batch."""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from mixwright.cli.app import app

SOURCES = ["--source", "web=3e9", "--source", "code=5e8", "--source", "law=2e8"]


def mixwright(*words: Any, code: int = 0) -> str:
    done = CliRunner().invoke(app, ["runs", *map(str, words)], env={"COLUMNS": "250"})
    assert done.exit_code == code, done.output
    return done.stdout if code == 0 else " ".join(done.output.split())


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open() as handle:
        return list(csv.DictReader(handle))


def test_plan_collect_and_plan_again(tmp_path: Path) -> None:
    plan, table = tmp_path / "plan.csv", tmp_path / "runs.csv"
    sizes = ["--tokens", "2e7", "--final-tokens", "1e10", "--parameters", "1e6", "--target", "qa"]
    said = " ".join(mixwright("plan", "--runs", 20, *SOURCES, *sizes, "--out", plan).split())
    assert "cost: 20 x 20" in said
    assert "2.4e15 operations" in said
    assert "let each run draw from 0.20" in said
    subsets = {row["source"]: row["subset_tokens"] for row in rows_of(tmp_path / "plan.sources.csv")}
    assert subsets == {"web": "6000000", "code": "1000000", "law": "400000"}
    rows = rows_of(plan)
    weights = np.array([[float(row[f"w:{name}"]) for name in ("web", "code", "law")] for row in rows])
    noise = np.random.default_rng(0).normal(size=20)
    losses = 2 + np.exp(-weights @ [0.5, 2.0, 0.0]) + 0.005 * noise
    lines = [f"{row['run']},{loss}" for row, loss in zip(rows, losses, strict=True)]
    (tmp_path / "metrics.csv").write_text("run,loss:qa\n" + "\n".join(lines) + "\n")
    collected = " ".join(mixwright("collect", plan, tmp_path / "metrics.csv", "--out", table).split())
    assert "collected: 20 of 20 runs" in collected
    assert collected.endswith(f"mixwright runs fit {table} --target qa --sources-file {tmp_path / 'plan.sources.csv'}")
    again = tmp_path / "next.csv"
    found = json.loads(mixwright("plan", "--runs", 6, "--from", table, "--target", "qa", "--out", again, "--json"))
    assert found["kinds"] == ["proposal", *["design"] * 5]
    assert found["tokens"] is None
    assert float(rows_of(again)[0]["w:code"]) > 0.5
    assert not {row["run"] for row in rows_of(again)} & {row["run"] for row in rows}


def test_sizes_are_written_where_they_are_known(tmp_path: Path) -> None:
    said = mixwright("plan", "--runs", 8, *SOURCES, "--out", tmp_path / "plan.csv")
    assert "plan.sources.csv" in said
    sizes = [dict(row) for row in rows_of(tmp_path / "plan.sources.csv")]
    assert sizes[:2] == [
        {"source": "web", "available_tokens": "3000000000"},
        {"source": "code", "available_tokens": "500000000"},
    ]
    named = [word.partition("=")[0] for word in SOURCES]
    assert "sources.csv" not in mixwright("plan", "--runs", 8, *named, "--out", tmp_path / "none.csv")
    assert not (tmp_path / "none.sources.csv").exists()


def test_other_columns_of_the_runs_that_are_done(tmp_path: Path) -> None:
    table = tmp_path / "runs.csv"
    table.write_text("trial,ratio_web,ratio_code,bpb\na,0.5,0.5,1\nb,0.2,0.8,1.2\n")
    words = ["--weights", "ratio_", "--losses", "bp*", "--key", "trial", "--anchor", "none", "--repeats", 0]
    mixwright("plan", "--runs", 4, "--from", table, *words, "--out", tmp_path / "next.csv", "-q")
    rows = rows_of(tmp_path / "next.csv")
    assert [row["kind"] for row in rows] == ["design"] * 4
    assert "loss:b" in rows[0]


def test_limits_hold_and_the_seed_counts(tmp_path: Path) -> None:
    limits = ["--cap", "web=0.4", "--floor", "law=0.1", "--anchor", "natural", "--repeats", "2"]
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        mixwright("plan", "--runs", 15, *SOURCES, *limits, "--seed", seed, "--out", tmp_path / f"{name}.csv", "-q")
    assert (tmp_path / "a.csv").read_text() == (tmp_path / "b.csv").read_text() != (tmp_path / "c.csv").read_text()
    rows = rows_of(tmp_path / "a.csv")
    assert max(float(row["w:web"]) for row in rows) <= 0.4 + 1e-5
    assert min(float(row["w:law"]) for row in rows) >= 0.1 - 1e-5
    assert [row["kind"] for row in rows].count("repeat") == 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "a plan needs sources"),
        ([*SOURCES, "--weights", "ratio_"], "--weights goes with --from"),
        (["--source", "web=much", "--source", "code=1"], "--source should be NAME=TOKENS with a number, found 'much'"),
        ([*SOURCES, "--max-epochs", "4"], "--max-epochs needs the tokens of the training"),
        ([*SOURCES, "--law", "exposure"], "needs the sizes of the sources and the tokens of a run"),
        ([*SOURCES, "--cap", "wbe=0.4"], "did you mean 'web'"),
        ([*SOURCES, "--tokens", "nan"], "tokens should be a number above 0; found nan"),
        ([*SOURCES, "--final-tokens", "-1"], "final_tokens should be a number above 0; found -1"),
        (
            [*SOURCES, "--tokens", "1e7", "--final-tokens", "1e6"],
            "final_tokens should be at least the tokens of a run (1e+07); found 1e+06; shorten the runs",
        ),
    ],
)
def test_what_does_not_fit_is_said_and_nothing_is_written(options: list[str], message: str, tmp_path: Path) -> None:
    assert message in mixwright("plan", "--runs", 12, *options, "--out", tmp_path / "plan.csv", code=2)
    assert list(tmp_path.iterdir()) == []


def test_a_mixture_file_per_run_can_be_exported(tmp_path: Path) -> None:
    words = ["plan", "--runs", 8, *SOURCES, "--out", tmp_path / "plan.csv", "--mixtures", tmp_path / "mixtures", "-q"]
    mixwright(*words)
    rows = rows_of(tmp_path / "plan.csv")
    for row in rows:
        path = tmp_path / "mixtures" / f"{row['run']}.json"
        done = CliRunner().invoke(app, ["export", str(path), "--to", "json"])
        assert json.loads(done.stdout) == pytest.approx(
            {name: float(row[f"w:{name}"]) for name in ("web", "code", "law")}
        )
    assert len(list((tmp_path / "mixtures").iterdir())) == 8


def test_a_plan_that_exists_is_not_written_over(tmp_path: Path) -> None:
    (tmp_path / "plan.csv").write_text("mine")
    words = ["plan", "--runs", 12, *SOURCES, "--out", tmp_path / "plan.csv"]
    assert "should be new, found one that exists" in mixwright(*words, code=2)
    assert (tmp_path / "plan.csv").read_text() == "mine"


def test_a_file_of_sizes_that_exists_stops_before_anything_is_written(tmp_path: Path) -> None:
    (tmp_path / "plan.sources.csv").write_text("mine")
    sizes = ["--tokens", "2e7", "--final-tokens", "1e10", "--mixtures", tmp_path / "mixtures"]
    said = mixwright("plan", "--runs", 12, *SOURCES, *sizes, "--out", tmp_path / "plan.csv", code=2)
    assert "its file of sizes" in said
    assert [path.name for path in tmp_path.iterdir()] == ["plan.sources.csv"]
    assert (tmp_path / "plan.sources.csv").read_text() == "mine"
