"""Exports of trackers: the last value of each metric, and runs that stopped early."""

import json

import pytest

from mixwright import InputError, RunTable
from mixwright.runs.design.collect import collect
from mixwright.runs.reading import read_columns

PLAN = "run,kind,repeat_of,w:web,w:law\na,design,,1,0\nb,design,,0,1\nc,design,,0.5,0.5\n"


@pytest.fixture
def plan(tmp_path):
    (tmp_path / "plan.csv").write_text(PLAN)
    return tmp_path / "plan.csv"


def collected(plan, path, losses):
    table, missing = collect(plan, path, plan.parent / "runs.csv", losses=losses)
    assert missing == ()
    return dict(zip(table.runs, table.losses[:, 0].tolist(), strict=True)), table.notes


WANDB = "Name,State,Runtime,_step,eval/qa\nb,finished,9,100,2.5\na,{state},9,{step},2.25\nc,finished,8,100,2.0\n"


def test_the_table_of_runs_of_weights_and_biases(plan, tmp_path):
    path = tmp_path / "wandb.csv"
    path.write_text(WANDB.format(state="finished", step=100))
    assert collected(plan, path, "eval/*") == ({"a": 2.25, "b": 2.5, "c": 2.0}, ())
    path.write_text(WANDB.format(state="finished", step=90))
    with pytest.raises(InputError, match=r"'a' \(step 90 of 100\)"):
        collected(plan, path, "eval/*")
    path.write_text(WANDB.format(state="crashed", step=100))
    with pytest.raises(InputError, match=r"runs should be finished, found 1 of 3 that are not: 'a' \(crashed\)"):
        collected(plan, path, "eval/*")


def test_weights_may_be_in_the_same_export(tmp_path):
    path = tmp_path / "wandb.csv"
    path.write_text("Name,State,mix.web,mix.law,loss/qa\na,finished,1,0,2\nb,finished,0.25,0.75,3\n")
    table = RunTable.from_file(path, weights="mix.", losses="loss/")
    assert (table.runs, table.weights.tolist()) == (("a", "b"), [[1, 0], [0.25, 0.75]])
    assert "no steps" in table.notes[0]


def test_a_plot_of_weights_and_biases(plan, tmp_path):
    path = tmp_path / "plot.csv"
    head = '"Step","a - qa","a - qa__MIN","a - qa__MAX","b - qa","b - qa__MIN","b - qa__MAX","c - qa"\n'
    path.write_text(head + "0,4,3,5,4,3,5,4\n50,3,3,3,3.5,3,4,3.25\n100,2,1,3,{b},1,9,2.75\n".format(b="2.5"))
    assert collected(plan, path, ["qa"])[0] == {"a": 2.0, "b": 2.5, "c": 2.75}
    path.write_text(head + "0,4,3,5,4,3,5,4\n50,3,3,3,3.5,3,4,3.25\n100,2,1,3,,,,2.75\n")
    with pytest.raises(InputError, match=r"'b' \(step 50 of 100\)"):  # it stopped early
        collected(plan, path, ["qa"])


def test_histories_in_one_table_or_a_file_each(plan, tmp_path):
    rows = [(run, step, 4 - step / 50 - i / 10) for i, run in enumerate("abc") for step in (100, 0, 50)]
    whole = tmp_path / "history.csv"
    whole.write_text("run,_step,qa,grad\n" + "".join(f"{r},{s},{v},1\n" for r, s, v in rows) + "c,120,,7\n")
    expected = {"a": 2.0, "b": 1.9, "c": 1.8}  # in whatever order; at 120 there is no loss any more
    assert collected(plan, whole, ["qa"])[0] == pytest.approx(expected)
    folder = tmp_path / "each"
    folder.mkdir()
    for run in "abc":
        lines = "".join(f"{s},{v}\n" for r, s, v in rows if r == run)
        (folder / f"{run}.csv").write_text("_step,qa\n" + lines)
    assert collected(plan, folder, ["qa"])[0] == pytest.approx(expected)


def test_scalars_of_tensorboard(plan, tmp_path):
    folder = tmp_path / "scalars"
    folder.mkdir()
    for run, last in (("a", 2.0), ("b", 3.0), ("c", 2.5)):
        (folder / f"run-{run}-tag-eval_qa.csv").write_text(f"Wall time,Step,Value\n1.5,0,9\n2.5,200,{last}\n")
    assert collected(plan, folder, "eval_*")[0] == {"a": 2.0, "b": 3.0, "c": 2.5}
    (folder / "run-b-tag-eval_qa.csv").write_text("Wall time,Step,Value\n1.5,0,9\n")
    with pytest.raises(InputError, match=r"'b' \(step 0 of 200\)"):
        collected(plan, folder, "eval_*")
    (folder / "notes.csv").write_text("one,two\n1,2\n")
    with pytest.raises(InputError, match=r"notes\.csv should be a history"):
        read_columns(folder)


MLFLOW = "run_id,experiment_id,status,start_time,metrics.eval_qa,params.w:web,tags.mlflow.runName\n"


def test_mlflow_as_a_table(plan, tmp_path):
    path = tmp_path / "mlflow.csv"
    rows = [f"id{run},0,FINISHED,2026,{loss},1,{run}\n" for run, loss in (("c", 2), ("a", 3), ("b", 4))]
    path.write_text(MLFLOW + "".join(rows))
    losses, notes = collected(plan, path, "metrics.eval_*")
    assert losses == {"a": 3, "b": 4, "c": 2}
    assert "the export has no steps" in notes[0]
    path.write_text(MLFLOW + "".join(rows).replace("ida,0,FINISHED", "ida,0,RUNNING"))
    with pytest.raises(InputError, match=r"'a' \(RUNNING\)"):
        collected(plan, path, "metrics.eval_*")


def test_mlflow_as_json_has_the_steps(plan, tmp_path):
    def run(name, step):
        metrics = [{"key": "qa", "value": 2.0, "timestamp": 1, "step": step}, {"key": "other", "value": 1, "step": 7}]
        info = {"run_id": f"id{name}", "run_name": name, "status": "FINISHED"}
        return {"info": info, "data": {"metrics": metrics, "params": [{"key": "w:web", "value": "1"}]}}

    path = tmp_path / "mlflow.json"
    path.write_text(json.dumps({"runs": [run("a", 100), run("b", 100), run("c", 100)]}))
    assert collected(plan, path, ["metrics.qa"])[0] == {"a": 2.0, "b": 2.0, "c": 2.0}
    path.write_text(json.dumps({"runs": [run("a", 100), run("b", 60), run("c", 100)]}))
    with pytest.raises(InputError, match=r"'b' \(step 60 of 100\)"):
        collected(plan, path, ["metrics.qa"])


@pytest.mark.parametrize(("name", "text"), [("m.json", "{}"), ("m.json", "[1]"), ("m.jsonl", "{"), ("m.json", "[]")])
def test_other_json_is_refused(plan, tmp_path, name, text):
    (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match=rf"{name}.* should"):
        collect(plan, tmp_path / name, tmp_path / "runs.csv")
    assert not (tmp_path / "runs.csv").exists()


RUN = {"info": {"run_id": "a", "run_name": "a", "status": "FINISHED"}, "data": {"metrics": [], "params": []}}
QA = {"key": "qa", "value": 2.0, "step": 100}


@pytest.mark.parametrize(
    ("run", "message"),
    [
        (None, r"m\.json: runs\[0\] should be an object, as MLflow writes it; found None"),
        ({"info": 3}, r"runs\[0\]\.info should be an object, .* found 3"),
        ({"data": [QA]}, r"runs\[0\]\.data should be an object"),
        ({"data": {"metrics": {"qa": 1}}}, r"runs\[0\]\.data\.metrics should be a list of objects with key and value"),
        (
            {"data": {"metrics": [{"key": "qa"}]}},
            r"data\.metrics should be a list .* found \[\{'key': 'qa'\}\]; export",
        ),
        ({"data": {"params": [{"value": 1}]}}, r"data\.params should be a list"),
        ({"data": {"metrics": [QA | {"step": "x"}]}}, r"column 'metrics\.qa \(step\)' should hold numbers, found 'x'"),
        ({"data": {"metrics": [QA | {"value": [2]}]}}, r"'loss:metrics\.qa' should hold numbers, found '\[2\]'"),
        ({"data": {}}, r"losses should name columns"),
    ],
)
def test_what_mlflow_does_not_write_is_refused(plan, tmp_path, run, message):
    (tmp_path / "m.json").write_text(json.dumps({"runs": [None if run is None else RUN | run]}))
    with pytest.raises(InputError, match=message):
        collect(plan, tmp_path / "m.json", tmp_path / "runs.csv", losses=["metrics.qa"])
    assert not (tmp_path / "runs.csv").exists()


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("h.csv", "run,_step,qa\na,x,1\na,2,1\n", r"h\.csv: column '_step' should hold numbers, found 'x' at row 0"),
        (
            "h.json",
            '[{"run": "a", "_step": 1}, {"run": "a", "_step": [2]}]',
            r"'_step' should .* found '\[2\]' at row 1",
        ),
        (
            "h.json",
            f'[{{"run": "a", "_step": 1{"0" * 400}}}, {{"run": "a"}}]',
            r"'_step' should hold numbers, found 1000",
        ),
        ("p.csv", "Step,a - qa\n1,1\nx,2\n", r"p\.csv: column 'Step' should hold numbers, found 'x' at row 1"),
        (
            "t.csv",
            "Name,State,_step,qa\na,finished,,1\nb,finished,9,1\n",
            r"a number in 'step', found none for 1 of 2: 'a'",
        ),
        ("e.csv", "", r"e\.csv should have a header and rows, found none"),
        ("e.json", "", r"e\.json should be JSON"),
        ("d.json", "[" * 5000, r"d\.json should be JSON"),
    ],
)
def test_steps_that_are_no_numbers_and_files_without_runs_are_refused(plan, tmp_path, name, text, message):
    (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match=message):
        collect(plan, tmp_path / name, tmp_path / "runs.csv", losses=["qa"])
    assert not (tmp_path / "runs.csv").exists()


def test_a_folder_names_the_file_whose_steps_are_no_numbers(tmp_path):
    (tmp_path / "run-a-tag-qa.csv").write_text("Wall time,Step,Value\n1,last,2\n")
    with pytest.raises(
        InputError, match=r"run-a-tag-qa\.csv: column 'Step' should hold numbers, found 'last' at row 0"
    ):
        read_columns(tmp_path)


def test_a_loss_that_a_run_lacks_has_no_step(tmp_path):
    path = tmp_path / "history.csv"
    rows = "a,1,3,3,1,0\na,9,2,2,1,0\nb,1,3,,0,1\nb,9,2.5,,0,1\n"
    for head in ("run,_step,x,y,w:web,w:law\n", "run,_step,y,x,w:web,w:law\n"):  # in whatever order
        path.write_text(head + rows)
        table = RunTable.from_file(path, losses=["x", "y"])
        assert sorted(map(str, table.losses.ravel().tolist())) == ["2.0", "2.0", "2.5", "nan"]


def test_lines_of_json(plan, tmp_path):
    path = tmp_path / "losses.jsonl"
    path.write_text("".join(json.dumps({"run": run, "loss:qa": 2}) + "\n" for run in "cab"))
    assert collected(plan, path, "loss:")[0] == {"a": 2, "b": 2, "c": 2}


def test_steps_are_no_target(plan, tmp_path):
    plot = tmp_path / "plot.csv"
    plot.write_text("Step,a - eval/qa,b - eval/qa,c - eval/qa\n0,4,4,4\n100,2,2.5,2.75\n")
    folder = tmp_path / "each"
    folder.mkdir()
    for run, loss in (("a", 2), ("b", 2.5), ("c", 2.75)):
        (folder / f"{run}.csv").write_text(f"_step,eval/qa\n0,4\n100,{loss}\n")
    for path in (plot, folder):
        table, _ = collect(plan, path, tmp_path / "runs.csv", losses="eval/*")
        assert table.targets == ("qa",)
        assert table.losses[:, 0].tolist() == [2.0, 2.5, 2.75]
        assert "(step)" not in (tmp_path / "runs.csv").read_text()


def test_a_table_with_the_states_of_its_runs_has_finished_runs(tmp_path):
    path, text = tmp_path / "runs.csv", "run,State,step,w:web,w:law,loss:qa\na,finished,9,1,0,2\nb,{},9,0,1,3\n"
    path.write_text(text.format("running"))
    with pytest.raises(InputError, match=r"found 1 of 2 that are not: 'b' \(running\)"):
        RunTable.from_file(path)
    path.write_text(text.format("finished"))
    assert RunTable.from_file(path).n == 2
    for key in ("name", "id"):
        path.write_text(text.format("crashed").replace("run,", f"{key},"))
        with pytest.raises(InputError, match=r"found 1 of 2 that are not: 'b' \(crashed\)"):
            RunTable.from_file(path)
    path.write_text(text.format("killed").replace("run,", "trial,"))  # no name that is known: the row
    with pytest.raises(InputError, match=r"found 1 of 2 that are not: 1 \(killed\)"):
        RunTable.from_file(path)
    path.write_text(text.format("Ohio").replace("finished", "Utah"))  # states of another kind
    assert RunTable.from_file(path).n == 2
