"""Plans with the losses of their runs."""

import csv

import pytest

from mixwright import InputError, RunDesign, RunTable
from mixwright.runs.design.collect import collect

SOURCES = ["web", "code", "law"]


@pytest.fixture
def plan(tmp_path):
    RunDesign(runs=12).plan(SOURCES, tokens=1e6).write(tmp_path / "plan.csv", ["qa"])
    return tmp_path / "plan.csv"


def write_metrics(plan, rows, header="run,loss:qa,step,other"):
    path = plan.parent / "metrics.csv"
    path.write_text("\n".join([header, *(",".join(map(str, row)) for row in rows)]) + "\n")
    return path


def names(plan):
    with plan.open() as handle:
        return [row["run"] for row in csv.DictReader(handle)]


def test_losses_in_any_order_fill_the_plan(plan):
    rows = [[name, i / 10, 100, "x"] for i, name in enumerate(names(plan))]
    table, missing = collect(plan, write_metrics(plan, rows[::-1]), plan.parent / "runs.csv")
    assert missing == ()
    read = RunTable.from_file(plan.parent / "runs.csv")
    assert read.runs == table.runs == tuple(names(plan))
    assert read.target("qa").tolist() == pytest.approx([i / 10 for i in range(12)])
    assert read.tokens.tolist() == [1e6] * 12
    assert "other" not in (plan.parent / "runs.csv").read_text()


def test_runs_that_are_not_done_are_left_out_and_named(plan):
    own = names(plan)
    rows = [[name, 1.0 + i, 100, ""] for i, name in enumerate(own[:9])]
    table, missing = collect(plan, write_metrics(plan, rows), plan.parent / "runs.csv")
    assert (table.n, missing) == (9, tuple(own[9:]))


def test_other_names_of_columns(plan):
    rows = [[name, i, i / 2] for i, name in enumerate(names(plan))]
    metrics = write_metrics(plan, rows, "run,eval/qa,eval/math")
    table, _ = collect(plan, metrics, plan.parent / "runs.csv", losses="eval/*")
    assert table.targets == ("qa", "math")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda rows: [*rows[:3], ["plan_003", 1.0, 90, ""], *rows[4:]], "found 1 of 12 runs short of it: 'plan_003'"),
        (lambda rows: [["x", 1.0, 100, ""]], "should have at least one run of .*plan.csv, found none"),
        (lambda rows: [*rows, rows[0]], "each run should stand once in 'run', found 'plan_000' twice"),
        (lambda rows: [*rows[:-1], [rows[-1][0], "high", 100, ""]], "should hold numbers, found 'high'"),
    ],
)
def test_what_does_not_fit_is_refused_and_nothing_is_written(plan, change, message):
    rows = [[name, i / 10, 100, ""] for i, name in enumerate(names(plan))]
    with pytest.raises(InputError, match=message):
        collect(plan, write_metrics(plan, change(rows)), plan.parent / "runs.csv")
    assert not (plan.parent / "runs.csv").exists()


def test_a_missing_key_is_said(plan):
    metrics = write_metrics(plan, [["plan_000", 1.0]], "trial,loss:qa")
    with pytest.raises(InputError, match="should have a column that names the runs"):
        collect(plan, metrics, plan.parent / "runs.csv")


def test_other_runs_in_the_export_are_left_out_and_noted(plan):
    rows = [[name, i / 10, 100, "x"] for i, name in enumerate(names(plan))]
    rows = [["first try", 9.0, 100, ""], *rows, ["second try", 9.0, 500, ""]]  # its step is not that of the plan's runs
    table, missing = collect(plan, write_metrics(plan, rows), plan.parent / "runs.csv")
    assert (table.n, missing) == (12, ())
    assert table.notes[-1] == "2 runs that the plan does not have were left out, such as 'first try'"
