"""A damaged configuration or run folder gives either what is in it or one InputError that names it."""

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("pydantic")
pytest.importorskip("typer")
pytest.importorskip("jinja2")

from golden_files import GOLDEN, KINDS
from rich.console import Console

from damage import File, Target, as_json, as_lines, cases, check, one
from mixwright.cli.output import Output
from mixwright.cli.runs import show_read
from mixwright.cli.watch.screen import RunLines, picture
from mixwright.experiment import load, read_summary
from mixwright.experiment.core.forecasts import read_forecast
from mixwright.experiment.core.run_folder import trained_sources
from mixwright.experiment.core.summary import of_run
from mixwright.experiment.live.look import Watched
from mixwright.experiment.run import write_page
from mixwright.preference.fitting import read_lines
from mixwright.report import render
from mixwright.steering.known import read_record, steps_done

LIKELIHOODS = {"kind": "likelihoods", "table": "scores.csv", "search": {"shrinkage": 0.1}, "seed": 1}
RUNS = {"table": "runs.csv", "target": "qa", "search": {"prior": "uniform", "shrinkage": 0.1}, "sizes": {"web": 100}}
FORECAST = {"forecasts": [{"arm": "mixmin", "over": "uniform", "predicted": -0.1, "low": -0.2, "high": 0.0}]}


def config(command: str, value: Any) -> Target:
    return one("config.yaml", value, as_json, lambda path: load(command, path).dumped())


def golden(kind: str) -> Target:
    return config(
        " ".join(KINDS[kind]), yaml.safe_load((GOLDEN / "config" / f"{kind}.yaml").read_text(encoding="utf-8"))
    )


def _file(path: Path) -> File:
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".json":
        return File(path.name, json.loads(text), as_json)
    if path.suffix == ".jsonl":
        return File(path.name, [json.loads(line) for line in text.splitlines()], as_lines)
    return File(path.name, text.encode())


def shown(folder: Path) -> str:
    output, screen = Output(quiet=False, as_json=False), io.StringIO()
    output.stdout = Console(file=screen, width=200)
    show_read(output, folder)
    return screen.getvalue()


def run(kind: str, read: Callable[[Path], object]) -> Target:
    return Target([_file(path) for path in sorted((GOLDEN / "runs" / kind).iterdir())], read, whole=True)


def reported(folder: Path) -> object:
    page = folder / "report.html"
    try:
        with of_run(folder):
            return write_page(read_summary(folder), folder)
    finally:
        page.unlink(missing_ok=True)


def steered(folder: Path) -> object:
    return trained_sources(folder), read_record(folder), steps_done(folder), read_lines(folder / "metrics.jsonl")


def watched(folder: Path) -> str:
    """Read a run, or the folder of a Trainer, as `mixwright watch` does: both forms of a terminal, JSON, a page."""
    seen = Watched(folder).look()
    screen = Console(file=io.TextIOWrapper(raw := io.BytesIO(), "utf-8", "backslashreplace"), width=120)
    RunLines(screen)(seen)
    screen.print(picture(seen, 30))
    screen.file.flush()
    page = render("live", seen.to_json()).encode()
    return raw.getvalue().decode() + json.dumps(seen.to_json(), allow_nan=False) + page.decode()


def live(kind: str) -> Target:
    """Return the files of a run while it goes: its claim, and pieces of which one is done, one at work, one failed."""
    files = [_file(path) for path in sorted((GOLDEN / "runs" / kind).iterdir())]
    about = {
        "title": "Two <b>",
        "plan": "8 steps",
        "note": "loss 2",
        "stages": {"a": [2, 2, None], "train": [1, 8, 9.5]},
    }
    owner = {"id": "1", "machine": "far", "host": "node7", "process": 17, "started": "1", "beat": 3, "held": True}
    files += [File(".mixwright-run", b""), File(".head/claim.1", owner | {"about": about}, as_json)]
    of_piece = {"done": "result", "failed": "failed", "running": "claim"}
    found: dict[str, Any] = {
        "result": {"value": 1.5, "seconds": 2.5, "host": "node7", "when": "2026-01-02T03:04:05+00:00"},
        "failed": {"error": "OSError: no room", "host": "node8", "correct": False},
        "claim": owner | {"about": {"share": 0.25, "seconds": 4.5}},
    }
    for key, name in of_piece.items():
        described = {"stage": "trainings", "name": f"{key}, seed 1", "what": "arm", "arguments": [1], "size": 2.0}
        described |= {"threads": None, "ranks": 1, "versions": {"mixwright": "0.2.0"}}
        files.append(File(f"pieces/{key}/piece.json", described, as_json))
        file = "claim.1" if name == "claim" else f"{name}.json"
        files.append(File(f"pieces/{key}/{file}", found[name], as_json))
    files.append(File("pieces/plan.json", {"trainings": list(of_piece)}, as_json))
    return Target(files, watched, whole=True)


def trainer() -> Target:
    state = {"global_step": 4, "max_steps": 8, "epoch": 0.5, "log_history": [{"loss": 2.0, "step": 4}]}
    decisions = GOLDEN / "runs" / "train" / "decisions.jsonl"
    return Target([_file(decisions), File("checkpoint-4/trainer_state.json", state, as_json)], watched, whole=True)


TARGETS: dict[str, Target] = {
    **{f"configuration of {kind}": golden(kind) for kind in KINDS},
    "configuration of likelihoods": config("search", LIKELIHOODS),
    "configuration of runs": config("runs fit", RUNS),
    "forecast": one("forecast.yaml", FORECAST, as_json, read_forecast),
    **{f"show {kind}": run(kind, shown) for kind in KINDS},
    **{f"report {kind}": run(kind, reported) for kind in KINDS if kind not in ("prefer-sft", "prefer-specialists")},
    "steer train": run("train", steered),
    **{f"watch {kind}": live(kind) for kind in ("train", "compare-text", "search-text", "prefer-train")},
    "watch a Trainer": trainer(),
}


@pytest.mark.parametrize("name", [name for name, target in TARGETS.items() if not target.whole])
@cases(15)
@given(data=st.data())
def test_a_damaged_file_beside_runs(name: str, data: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
    check(TARGETS[name], data, tmp_path_factory.mktemp("damage"))


@pytest.mark.parametrize("name", [name for name, target in TARGETS.items() if target.whole])
@cases(4)
@given(data=st.data())
def test_a_damaged_run(name: str, data: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
    check(TARGETS[name], data, tmp_path_factory.mktemp("damage"))


@pytest.mark.parametrize("name", TARGETS)
def test_the_whole_run(name: str, tmp_path: Path) -> None:
    TARGETS[name].write(tmp_path)
    assert TARGETS[name].read(tmp_path) not in (None, "", "\n")
