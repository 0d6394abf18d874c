"""Schemas, configurations and runs of a former version, compared with the files in `golden/`."""

import html
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

pytest.importorskip("pydantic")
pytest.importorskip("typer")
pytest.importorskip("jinja2")

from golden_files import GOLDEN, KINDS, check_golden, numbers_of_lines, numbers_of_page
from typer.testing import CliRunner

from mixwright.cli.app import app
from mixwright.version import __version__

RUNS = GOLDEN / "runs"
WITHOUT_A_PAGE = ("prefer-sft", "prefer-specialists")


def mixwright(*arguments: str | Path, code: int = 0) -> str:
    """Return what a command prints on a wide terminal."""
    done = CliRunner().invoke(app, [str(a) for a in arguments], env={"COLUMNS": "250", "TERM": "dumb"})
    assert done.exit_code == code, done.output
    return done.stdout if code == 0 else done.output


@pytest.mark.parametrize("command", sorted({" ".join(command) for command in KINDS.values()}))
def test_schemas(command: str) -> None:
    schema = mixwright(*command.split(), "--schema")
    check_golden(f"schemas/{command.replace(' ', '-')}.json", schema)


def written_again(kind: str, path: Path) -> str:
    """Return config.yaml as a run would write it that goes on with it."""
    from mixwright.experiment import load
    from mixwright.experiment.core.run_folder import config_text
    from mixwright.experiment.kinds import of_config

    config = load(" ".join(KINDS[kind]), path)
    return config_text(of_config(config), config.dumped())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("place", ["config/{kind}.yaml", "runs/{kind}/config.yaml"])
def test_a_written_configuration_is_read_again_and_written_the_same(kind: str, place: str, tmp_path: Path) -> None:
    text = (GOLDEN / place.format(kind=kind)).read_text(encoding="utf-8")
    path = tmp_path / "config.yaml"
    path.write_text(text.replace("/data", str(tmp_path)), encoding="utf-8")
    written = written_again(kind, path).replace(str(tmp_path), "/data")
    assert written == text.replace("target_rows: exclude", "own_rows: false")  # the name of that key in former runs
    assert isinstance(yaml.safe_load(text), dict)


@pytest.fixture
def run(kind: str, tmp_path: Path) -> Path:
    """Return a copy of what a former version left."""
    return Path(shutil.copytree(RUNS / kind, tmp_path / "run"))


def summary_of(run: Path) -> dict[str, Any]:
    return json.loads((run / "summary.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("kind", KINDS)
def test_a_run_of_schema_1_is_shown(kind: str, run: Path) -> None:
    summary = summary_of(run)
    assert summary["schema"] == 1
    shown = json.loads(mixwright("show", run, "--json"))
    assert shown["schema"] == 2
    assert shown["task"] in kind
    assert {key: shown.get(key) for key in summary if key not in ("schema", "setting")} == {
        key: value for key, value in as_of_schema_2(summary, kind).items() if key not in ("schema", "setting")
    }
    assert summary.get("setting", shown["data"]) == shown["data"]
    text = mixwright("show", run)
    for name in names_of(summary):
        assert name in text
    check_golden(f"shown/{kind}.txt", numbers_of_lines(text.replace(str(run), "RUN")))


def as_of_schema_2(value: Any, kind: str) -> Any:
    """Return a summary of schema 1 with the fields of comparisons named as today."""
    if not kind.startswith("compare"):
        return value
    if isinstance(value, list):
        return [as_of_schema_2(item, kind) for item in value]
    if not isinstance(value, dict):
        return value
    names = {"tokens": "amount", "search_tokens": "search_cost", "total_tokens": "total_cost"}
    return {names.get(key, key): as_of_schema_2(item, kind) for key, item in value.items()}


def names_of(summary: dict[str, Any]) -> list[str]:
    """Return what the largest table has rows for."""
    return [row["name"] for row in summary["arms" if "arms" in summary else "sources"]]


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in WITHOUT_A_PAGE])
def test_a_run_of_schema_1_is_reported(kind: str, run: Path) -> None:
    page = run / "report.html"
    assert json.loads(mixwright("report", run, "--json")) == {"report": str(page)}
    text, summary = page.read_text(encoding="utf-8"), summary_of(run)
    for name in (*names_of(summary), summary["title"]):
        assert html.escape(name, quote=False) in text
    assert ('id="what-if"' in text) == (run / "whatif.json").exists()
    check_golden(f"pages/{kind}.txt", numbers_of_page(text.replace(f"mixwright {__version__}", "mixwright of now")))


@pytest.mark.parametrize("kind", WITHOUT_A_PAGE)
def test_a_run_without_a_page_is_refused(kind: str, run: Path) -> None:
    assert "has no page" in mixwright("report", run, code=2)
    assert not (run / "report.html").exists()


@pytest.mark.parametrize("kind", ["search-text", "search-assays"])
def test_a_mixture_of_schema_1_is_shown(kind: str, run: Path) -> None:
    text = mixwright("show", run / "mixture.json")
    check_golden(f"shown/{kind}-mixture.txt", numbers_of_lines(text))


@pytest.mark.parametrize(
    ("kind", "strategy"), [("train", "{name: PiKE, rule: exponentiated, wrap: [Guard]}"), ("prefer-train", "AMAR")]
)
def test_decisions_of_schema_1_are_replayed(kind: str, strategy: str, run: Path) -> None:
    replayed = json.loads(mixwright("replay", run, "--strategy", strategy, "--json"))
    assert replayed["sources"] == names_of(summary_of(run))
    if kind == "train":  # the strategy of the run itself
        assert max(replayed["distance"]) < 1e-9
