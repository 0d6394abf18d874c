"""Plans that are trained, and proposals that are confirmed."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

pytest.importorskip("torch")
pytest.importorskip("transformers")
pytest.importorskip("pydantic")
pytest.importorskip("typer")

from tiny import KINDS, SETTINGS, write_tiny
from typer.testing import CliRunner

from mixwright import MixtureFile, RunDesign, RunTable
from mixwright.cli.app import app
from mixwright.errors import DryRun, InputError
from mixwright.experiment import drive, make
from mixwright.experiment.runs.confirm import confirm
from mixwright.experiment.runs.training import train_plan

SOURCES = list(KINDS)


def write_config(folder: Path) -> Path:
    """Write the data and the configuration that plans are trained with (JSON is YAML)."""
    write_tiny(folder)
    own: dict[str, Any] = {key: value for key, value in SETTINGS.items() if key != "proxy"}
    own |= {"final": {**SETTINGS["final"], "tokens": 1500}, "compute": {"cores": 1}}
    path = folder / "train.yaml"
    path.write_text(json.dumps(own))
    return path


def mixwright(*words: Any, code: int = 0) -> str:
    done = CliRunner().invoke(app, ["runs", *map(str, words)], env={"COLUMNS": "250"})
    assert done.exit_code == code, done.output
    return " ".join(done.output.split())


def test_a_plan_is_trained_fitted_and_confirmed(tmp_path: Path) -> None:
    config, plan, table = write_config(tmp_path), tmp_path / "plan.csv", tmp_path / "runs.csv"
    RunDesign(runs=9, repeats=1, anchors=("natural", "vertices")).plan(SOURCES, tokens=1500).write(plan, ["mix"])
    mixwright("train", plan, config, "--run", tmp_path / "plan", "--out", table, "-q")
    runs = RunTable.from_file(table)
    assert (runs.n, runs.targets, runs.tokens.tolist()) == (9, ("mix",), [1500.0] * 9)
    natural = runs.target("mix")[runs.mixtures == 0]
    assert len(natural) == 2
    assert natural[0] != natural[1]  # a repeat has another seed
    vertices = dict(zip(runs.weights.argmax(1)[1:4], runs.target("mix")[1:4], strict=True))
    assert min(vertices, key=vertices.get) == 0  # seven of ten documents of the target are of the first kind
    again = train_plan(plan, config, tmp_path / "plan", tmp_path / "again.csv")  # nothing is trained again
    assert again.losses.tolist() == runs.losses.tolist()

    mixwright("fit", table, "--target", "mix", "--law", "linear", "--run", tmp_path / "fit", "-q")
    fitted = json.loads((tmp_path / "fit" / "summary.json").read_text())
    MixtureFile(sources=SOURCES, weights=[1, 0, 0]).write(tmp_path / "greek.json")
    words = ["--run", tmp_path / "confirm", "--seeds", 2, "--beside", f"greek={tmp_path / 'greek.json'}"]
    said = mixwright("confirm", tmp_path / "fit", config, *words)
    found = json.loads((tmp_path / "confirm" / "confirmed.json").read_text())
    *forecast, beside = found["mixtures"]
    assert [one["name"] for one in forecast] == ["proposal", "incumbent", "uniform"]
    assert (beside["name"], beside["predicted"], beside["inside"]) == ("greek", None, None)
    assert json.loads((tmp_path / "fit" / "summary.json").read_text())["confirmed"] == found
    for one, before in zip(forecast, fitted["mixtures"], strict=True):
        assert (one["predicted"], one["low"]) == (before["predicted"], before["low"])
        assert one["measured"] == pytest.approx(np.mean(one["by_seed"]))
        assert one["error"] == pytest.approx(one["measured"] - one["predicted"])
        assert len(set(one["by_seed"])) == 2
    assert f"verdict: {found['verdict']}" in said
    assert "forecast: the intervals have" in said
    proposal, incumbent = found["mixtures"][:2]
    assert found["difference"]["estimate"] == pytest.approx(proposal["measured"] - incumbent["measured"])


def test_a_dry_run_writes_the_scripts_of_all_trainings(tmp_path: Path) -> None:
    config, plan = write_config(tmp_path), tmp_path / "plan.csv"
    RunDesign(runs=9, repeats=1, anchors=("natural", "vertices")).plan(SOURCES, tokens=1500).write(plan, ["mix"])
    engine = {"kind": "slurm", "dry_run": True}
    with pytest.raises(DryRun) as caught:
        train_plan(plan, config, tmp_path / "plan", tmp_path / "runs.csv", engine=engine)
    assert [script.parents[2].name for script in caught.value.scripts] == ["seed_0", "seed_1"]
    assert str(caught.value).count("nothing was submitted") == 2
    assert not (tmp_path / "runs.csv").exists()


def test_what_does_not_fit_is_said_before_anything_is_trained(tmp_path: Path) -> None:
    config = write_config(tmp_path)
    RunDesign(runs=6).plan(["greek", "other"]).write(tmp_path / "plan.csv")
    with pytest.raises(InputError, match="should name the sources of this configuration"):
        train_plan(tmp_path / "plan.csv", config, tmp_path / "run", tmp_path / "runs.csv")
    with pytest.raises(InputError, match="should be a run"):
        confirm(tmp_path, config, tmp_path / "run")
    assert not list(tmp_path.glob("run/*/summary.json"))
    assert not (tmp_path / "runs.csv").exists()


def test_runs_repeat_their_sources_as_the_final_training_will(tmp_path: Path) -> None:
    config, plan = write_config(tmp_path), tmp_path / "plan.csv"
    design = RunDesign(runs=8, repeats=0, anchors=("vertices",))
    design.plan(SOURCES, sizes=[4e3, 7e3, 9e3], tokens=1500, final_tokens=15_000).write(plan)
    train_plan(plan, config, tmp_path / "plan", tmp_path / "runs.csv")
    used = yaml.safe_load((tmp_path / "plan" / "seed_0" / "config.yaml").read_text())["sources"]
    assert [used[name]["max_documents"] for name in SOURCES] == [2, 4, 6]  # a tenth of 20, 40 and 60
    fit = drive(
        make("runs fit", {"table": str(tmp_path / "runs.csv"), "target": "mix", "law": "linear"}), tmp_path / "fit"
    )
    assert fit["fit"]["tokens"] == 15_000
    confirm(tmp_path / "fit", config, tmp_path / "confirm", seeds=2)
    used = yaml.safe_load((tmp_path / "confirm" / "config.yaml").read_text())["sources"]
    assert [used[name]["max_documents"] for name in SOURCES] == [2, 4, 6]


def test_tokens_other_than_the_plans_and_subsets_too_small_are_refused(tmp_path: Path) -> None:
    config, plan = write_config(tmp_path), tmp_path / "plan.csv"
    RunDesign(runs=6).plan(SOURCES, tokens=2000).write(plan)
    with pytest.raises(InputError, match=r"final.*should be the tokens of the plan, 2000, found 1500"):
        train_plan(plan, config, tmp_path / "run", tmp_path / "runs.csv")
    RunDesign(runs=6).plan(SOURCES, sizes=[1, 1, 1], tokens=1500, final_tokens=1e5).write(tmp_path / "long.csv")
    with pytest.raises(InputError, match=r"draw from 1.5 % of it: 0 of 20 documents, and should have 2"):
        train_plan(tmp_path / "long.csv", config, tmp_path / "run", tmp_path / "runs.csv")
    assert not (tmp_path / "run").exists()
