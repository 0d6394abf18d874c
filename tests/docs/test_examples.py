"""The examples and notebooks run as they stand, in an empty folder and without a network, and do what they say."""

import json
import os
import runpy
import sys
from contextlib import redirect_stderr
from io import StringIO
from pathlib import Path

import numpy as np
import pytest

from forked import in_a_fresh_process

EXAMPLES = Path(__file__).parents[2] / "examples"


def ran(folder, name, *words):
    """Run an example as `python examples/NAME WORDS` does; return what it leaves."""
    os.chdir(folder)
    sys.argv, sys.path[:0] = [name, *words], [str(EXAMPLES)]
    return runpy.run_path(str(EXAMPLES / name), run_name="__main__")


def delivered(ledger, steps, batch_size):
    """Check that the rows of a ledger are those that were asked for; return the shares that were asked."""
    assert sum(line.rows for line in ledger.lines) == steps * batch_size
    assert max(abs(line.rows - line.asked_amount) for line in ledger.lines) <= 2
    return [line.asked for line in ledger.lines]


def pretrain(folder):
    found = ran(folder, "pretrain_mixmin.py")
    mixture = json.loads(Path("runs/pretrain/mixture.json").read_text())
    assert mixture["sources"] == list(found["sources"]) == ["code", "manual", "names"]
    assert sum(mixture["weights"]) == pytest.approx(1)
    asked = delivered(found["callback"].loader.ledger(), found["given"].steps, 8)
    assert asked == pytest.approx(mixture["weights"], abs=1e-9)
    losses = [line["loss"] for line in found["trainer"].state.log_history if "loss" in line]
    assert losses[-1] < losses[0]
    assert Path("runs/pretrain/model/model.safetensors").exists()
    return mixture


def test_pre_training_on_the_mixture_of_a_search(tmp_path):
    pytest.importorskip("accelerate", reason="a Trainer needs it")
    mixture = in_a_fresh_process(pretrain, tmp_path)
    assert "not checked by training" in mixture["verdict"]
    assert mixture["weights"][2] < 0.05  # names of characters are no help with NumPy's documentation


def refused(folder):
    for words, said in ((["--source", "a", "a.jsonl"], "--source needs --target"), (["--source", "a"], "2 arguments")):
        with pytest.raises(SystemExit), redirect_stderr(StringIO()) as error:
            ran(folder, "pretrain_mixmin.py", *words)
        assert said in error.getvalue().splitlines()[-1]
    assert not list(Path(folder).iterdir())


def test_arguments_that_do_not_fit_are_refused_before_any_work(tmp_path):
    in_a_fresh_process(refused, tmp_path)


def sft(folder):
    found = ran(folder, "sft_pike.py")
    callback, steps = found["callback"], found["given"].steps
    delivered(callback.loader.ledger(), steps, 8)
    weights = callback.mixture.weights_for(steps)
    assert weights.sum() == pytest.approx(1)
    assert weights[0] != 0.5  # PiKE has moved them
    decisions = Path("runs/sft/decisions.jsonl").read_text().splitlines()
    assert len(decisions) == steps // 10
    assert Path("runs/sft/model/model.safetensors").exists()
    lengths = {name: len(rows) for name, rows in found["tasks"].items()}
    assert lengths == {name: len(rows) for name, rows in found["sources"].items()}
    one = found["tasks"]["call"][0]  # the first of the second task: the parts of the data set are the tasks
    ids = found["sources"]["call"][0]["input_ids"]
    assert one["prompt"] + one["completion"] in found["trainer"].processing_class.decode(ids)


def test_fine_tuning_with_trl_and_pike(tmp_path):
    pytest.importorskip("trl", reason="trl is not installed")
    in_a_fresh_process(sft, tmp_path)


def dpo(folder):
    os.chdir(folder)
    rows = [{"prompt": f"{i} + {i}?\n", "chosen": str(2 * i), "rejected": str(2 * i + 1)} for i in range(40)]
    Path("sums.json").write_text(json.dumps(rows))
    Path("doubts.json").write_text(json.dumps([row | {"chosen": "Perhaps " + row["chosen"]} for row in rows]))
    sources = ["--source", "sums", "sums.json", "--source", "doubts", "doubts.json"]
    found = ran(folder, "dpo_ama_s.py", *sources, "--steps", "10")
    trainer = found["generalist"]
    ledger = trainer.loader.ledger()
    assert [line.source for line in ledger.lines] == ["sums", "doubts"]
    assert sum(line.rows for line in ledger.lines) == 80
    weights = trainer.mixture.weights_for(10)
    assert weights.sum() == pytest.approx(1)
    assert weights[0] != 0.5  # AMA-S has moved them
    assert trainer.state.global_step == 10
    assert Path("runs/dpo/model/model.safetensors").exists()
    excess = trainer.steps.observation.excess_loss
    assert (excess[np.isfinite(excess)] >= 0).all()


def test_dpo_with_ama_s_on_files_that_are_given(tmp_path):
    pytest.importorskip("accelerate", reason="a Trainer needs it")
    in_a_fresh_process(dpo, tmp_path)


def assays(folder):
    found = ran(folder, "assays.py")
    weights = found["search"].weights_
    assert weights.sum() == pytest.approx(1)
    shares = dict(zip(found["search"].sources_, weights, strict=True))
    assert shares["twin"] + shares["target"] > 0.9  # half of the labels of the other assay are wrong
    assert min(found["scores"].values()) > 0.7  # the share of 1 is about a half
    return found["found"].verdict


def test_assays(tmp_path):
    pytest.importorskip("xgboost", reason="trains boosters")
    pytest.importorskip("rdkit", reason="reads SMILES")
    assert "than uniform" in in_a_fresh_process(assays, tmp_path)


def runs(folder):
    found = ran(folder, "table_of_runs.py")
    mixture = json.loads(Path("runs/table/mixture.json").read_text())
    assert sum(mixture["weights"]) == pytest.approx(1)
    assert mixture["verdict"].startswith("unverified")
    table, result = found["table"], found["result"]
    measured = found["tiny_data"].train(result.weights)
    assert measured < np.median(table.losses)
    assert result.incumbent.loss == table.losses.min()
    again = ran(folder, "table_of_runs.py", "runs/tiny/runs.csv", "--law", "linear", "--out", "other/mixture.json")
    assert again["result"].law == "linear"
    assert Path("other/mixture.json").exists()


def test_a_table_of_runs(tmp_path):
    pytest.importorskip("scipy", reason="fits laws")
    in_a_fresh_process(runs, tmp_path)


def test_the_pages_name_every_example():
    index = (EXAMPLES.parent / "docs" / "index.md").read_text(encoding="utf-8")
    names = {path.name for path in EXAMPLES.iterdir() if path.is_file()} - {"tiny_data.py"}
    assert {name for name in names if f"(../examples/{name})" in index} == names
    assert len(names) > 7


NOTEBOOKS = sorted(EXAMPLES.glob("*.ipynb"))


def cells(path):
    """Return the texts of a notebook's cells of code."""
    found = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return ["".join(cell["source"]) for cell in found if cell["cell_type"] == "code"]


def noted(folder, path):
    """Run the cells of a notebook in order, as one that is run from top to bottom; return their names."""
    os.chdir(folder)
    sys.path[:0] = [str(EXAMPLES)]
    names = {"__name__": "__main__"}
    for number, text in enumerate(cells(path)):
        exec(compile(text, f"{path.name}, cell {number}", "exec"), names)
    return names


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_a_notebook_is_committed_without_outputs(path):
    notebook = json.loads(path.read_text(encoding="utf-8"))
    assert (notebook["nbformat"], notebook["nbformat_minor"]) == (4, 5)
    code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert 0 < len(code) < len(notebook["cells"])
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in code)
    assert len({cell["id"] for cell in notebook["cells"]}) == len(notebook["cells"])


def searched(folder):
    names = noted(folder, EXAMPLES / "search_your_texts.ipynb")
    result, mixture = names["result"], names["mixture"]
    assert mixture.weights == pytest.approx(result.weights.tolist(), abs=1e-9)  # the run's weights are found again
    assert sum(mixture.weights) == pytest.approx(1)
    assert result.gap < 1e-4
    assert names["limited"].weights[2] >= 0.1 - 1e-9
    assert names["limited"].loss > result.loss
    assert "My sources" in Path("runs/notebook/what-if.html").read_text(encoding="utf-8")


def test_the_notebook_of_a_search(tmp_path):
    pytest.importorskip("tokenizers", reason="makes the tokens")
    in_a_fresh_process(searched, tmp_path)


def read_runs(folder):
    names = noted(folder, EXAMPLES / "read_a_table_of_runs.ipynb")
    table, result = names["table"], names["result"]
    assert result.weights.sum() == pytest.approx(1)
    assert names["best"].loss == table.losses.min()
    assert names["measured"] < np.median(table.losses)
    assert json.loads(Path("runs/proposal.json").read_text())["weights"] == pytest.approx(result.weights.tolist())


def test_the_notebook_of_a_table_of_runs(tmp_path):
    pytest.importorskip("scipy", reason="fits laws")
    in_a_fresh_process(read_runs, tmp_path)
