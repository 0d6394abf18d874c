"""The commands as a person runs them; in a process of their own where that is the point."""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from forked import command
from mixwright.cli.app import app
from mixwright.mixture_file import MixtureFile


def called(*arguments: str, cwd: Path | str = ".") -> Result:
    """Call a command in this process: much quicker."""
    with contextlib.chdir(cwd):
        return CliRunner().invoke(app, arguments, env={"COLUMNS": "120"})


def mixwright(*arguments: str, cwd: Path | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "mixwright.cli.main", *arguments],
        capture_output=True,
        text=True,
        cwd=cwd,
        env=os.environ | {"COLUMNS": "120"} | environment,
        check=False,
    )


@pytest.fixture
def mixture(tmp_path: Path) -> Path:
    path = tmp_path / "mixture.json"
    MixtureFile(
        sources=("web", "[bold]<script>alert(1)</script>"),
        weights=(0.75, 0.25),
        certificate={"loss": 2.0, "objective": 2.1, "gap": 1e-9},
        uncertainty={"level": 0.9, "interval": [[0.7, 0.8], [0.2, 0.3]]},
        verdict="better than uniform",
    ).write(path)
    return path


def _hear_ctrl_c() -> None:
    """Undo what a shell does to commands in its background: they and all below them do not hear Ctrl-C."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def test_version_and_help() -> None:
    assert mixwright("--version").stdout.startswith("mixwright 0.")
    for name in ("demo", "search", "compare", "train", "show", "report"):
        shown = called(name, "--help")
        assert shown.exit_code == 0
        assert "mixwright " + name in shown.stdout
        assert "--quiet" in shown.stdout
        assert "--json" in shown.stdout
        assert name in called("--help").stdout


def test_the_schema_is_json_and_nothing_else() -> None:
    shown = called("search", "--schema")
    assert "sources" in json.loads(shown.stdout)["$defs"]["SearchConfig"]["properties"]
    assert shown.stderr == ""


def test_show_a_mixture(mixture: Path) -> None:
    shown = called("show", str(mixture))
    assert shown.exit_code == 0, shown.stderr
    assert "75.0" in shown.stdout
    assert "70.0 to 80.0" in shown.stdout
    assert "[bold]<script>alert(1)</script>" in shown.stdout
    assert "better than uniform" in shown.stdout
    assert json.loads(called("show", str(mixture), "--json").stdout)["weights"] == [0.75, 0.25]
    assert json.loads(called("--json", "show", str(mixture)).stdout)["weights"] == [0.75, 0.25]
    assert called("show", str(mixture), "--quiet").stdout == ""


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["search", "nothing.yaml"], "there is no file nothing.yaml"),
        (["search"], "give the YAML file"),
        (["show", "nothing.json"], "nothing.json"),
        (["show", "."], "should be a run"),
        (["report", "."], "should be a run"),
        (["report", "nothing"], "found nothing"),
        (["serach"], "serach"),
    ],
)
def test_bad_input_is_status_2_and_one_message(tmp_path: Path, arguments: list[str], says: str) -> None:
    shown = called(*arguments, cwd=tmp_path)
    assert shown.exit_code == 2
    assert says in shown.stderr
    assert "Traceback" not in shown.stderr
    assert shown.stdout == ""
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["search", "empty"], "empty should be a YAML file, found a folder; there is none in it"),
        (["search", "data"], "give the file in it: data/a.yml or data/b.yaml"),
        (
            ["search", "runs/one"],
            "the folder of a run; to resume it: mixwright search runs/one/config.yaml --run runs/one",
        ),
        (["show", "runs/one/summary.json"], "shown as a whole: mixwright show runs/one (its mixture alone"),
        (["show", "runs/one/config.yaml"], "mixwright show runs/one "),
        (["show", "data/a.yml"], "found a configuration; first search with it: mixwright search data/a.yml"),
        (["show", "runs"], "there are runs in it, give one: runs/one"),
        (["show", "empty"], "found none; check the path"),
        (["report", "runs/one/summary.json"], "found a file; give runs/one"),
        (["report", "data/a.yml"], "found a file; check the path"),
    ],
)
def test_a_wrong_path_says_which_one_is_right(tmp_path: Path, arguments: list[str], says: str) -> None:
    for name in ("data/a.yml", "data/b.yaml", "runs/one/.mixwright-run", "runs/one/config.yaml"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x: 1\n")
    (tmp_path / "runs/one/summary.json").write_text('{"schema": 1}')
    (tmp_path / "empty").mkdir()
    shown = called(*arguments, cwd=tmp_path)
    assert shown.exit_code == 2
    assert says in shown.stderr
    assert shown.stdout == ""


def test_a_newer_mixture_file(mixture: Path) -> None:
    value = json.loads(mixture.read_text())
    mixture.write_text(json.dumps(value | {"schema": 99}))
    shown = called("show", str(mixture))
    assert shown.exit_code == 2
    assert "99" in shown.stderr


def test_an_unfinished_run_says_how_to_go_on(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("x")
    shown = called("show", str(tmp_path))
    assert shown.exit_code == 2
    assert "is not finished; to resume it: mixwright search" in shown.stderr


@pytest.mark.parametrize("package", ["typer", "rich"])
def test_a_missing_package_gives_one_line_to_install(tmp_path: Path, package: str) -> None:
    hide = tmp_path / "sitecustomize.py"
    hide.write_text(
        "import sys\n"
        "class Hide:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        f"        if name.partition('.')[0] == {package!r}:\n"
        "            raise ModuleNotFoundError(f'No module named {name!r}', name=name)\n"
        "sys.meta_path.insert(0, Hide())\n"
    )
    shown = mixwright("--version", PYTHONPATH=str(tmp_path))
    assert shown.returncode == 1
    assert "pip install 'mixwright[cli]'" in shown.stderr
    assert len(shown.stderr.strip().splitlines()) == 1


def test_showing_needs_no_torch(mixture: Path) -> None:
    code = (
        "import sys; sys.argv = ['mixwright', 'show', sys.argv[1]]\n"
        "from mixwright.cli.main import main\n"
        "try: main()\n"
        "except SystemExit as stop: assert not stop.code\n"
        "assert 'torch' not in sys.modules and 'transformers' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code, str(mixture)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("ranks", [1, 2])
def test_a_rank_ends_without_what_may_abort_at_exit(ranks: int) -> None:
    code = (
        "import atexit, os, sys; atexit.register(os.abort); sys.argv = ['mixwright', *sys.argv[1:]]\n"
        "from mixwright.cli.main import main\n"
        "main()"
    )
    for argument, status in (("--version", 0), ("--nonsense", 2)):
        done = subprocess.run(
            [sys.executable, "-c", code, argument],
            env=os.environ | {"WORLD_SIZE": str(ranks)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == (status if ranks == 2 else -signal.SIGABRT)
        assert "mixwright 0." in done.stdout if status == 0 else "--nonsense" in done.stderr


@pytest.fixture
def tiny_config(tmp_path: Path) -> Path:
    sys.path.insert(0, str(Path(__file__).parents[1] / "experiment"))
    try:
        from tiny import write_tiny
    finally:
        sys.path.pop(0)
    return write_tiny(tmp_path)


def test_search_from_beginning_to_page(tiny_config: Path, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    first = command("search", tiny_config, "--json", cwd=tmp_path, COLUMNS="120")
    assert first.returncode == 0, first.stderr
    summary = json.loads(first.stdout)
    run = tmp_path / "runs" / "search"
    assert json.loads((run / "summary.json").read_text()) == summary
    assert summary["command"] == f"mixwright search {tiny_config} --json"
    assert "final runs: done" in first.stderr
    shown = called("show", str(run))
    for words in ("Weights of search", "<b>&/numbers", "90 % interval", "certificate:", "verdict:", "cost:", "page:"):
        assert words in shown.stdout
    (run / "report.html").unlink()
    assert called("report", str(run)).exit_code == 0
    assert (run / "report.html").stat().st_size > 10_000
    assert 'id="what-if"' in (run / "report.html").read_text(encoding="utf-8")
    (run / "whatif.json").unlink()  # a run of an older form
    assert called("report", str(run)).exit_code == 0
    assert 'id="what-if"' not in (run / "report.html").read_text(encoding="utf-8")
    quiet = called("search", str(tiny_config), "--run", str(run), "--quiet", cwd=tmp_path)
    assert (quiet.exit_code, quiet.stdout, quiet.stderr) == (0, "", "")


def test_ctrl_c_while_the_command_loads_shows_no_traceback(tmp_path: Path) -> None:
    (tmp_path / "typer.py").write_text("raise KeyboardInterrupt\n")
    shown = mixwright("--version", PYTHONPATH=str(tmp_path))
    assert (shown.returncode, shown.stdout, shown.stderr) == (130, "", "")


def test_what_may_not_be_opened_is_named() -> None:
    code = (
        "import typer\n"
        "from mixwright.cli.output import Output, guarded\n"
        "try:\n"
        "    with guarded(Output(True, False)): raise PermissionError(13, 'Permission denied', 'closed/x.json')\n"
        "except typer.Exit as stop: print(stop.exit_code)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout == "2\n"
    assert "cannot get at closed/x.json: permission denied; change its rights or choose another path" in done.stderr


def test_ctrl_c_says_how_to_go_on(tiny_config: Path, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    value = json.loads(tiny_config.read_text())
    value["proxy"]["tokens"] = 10_000_000
    tiny_config.write_text(json.dumps(value))
    with subprocess.Popen(
        [sys.executable, "-m", "mixwright.cli.main", "search", str(tiny_config), "--run", str(tmp_path / "run")],
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=_hear_ctrl_c,
    ) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if line.startswith("proxies"):
                break
        process.send_signal(signal.SIGINT)
        rest = process.stderr.read()
        assert process.wait(300) == 130
    assert "Stopped. Finished work is saved; run the same command to resume." in rest
    assert "Traceback" not in rest
    value["proxy"]["tokens"] = 1500
    tiny_config.write_text(json.dumps(value))
    assert called("search", str(tiny_config), "--run", str(tmp_path / "run"), "-q").exit_code == 0


def test_the_help_of_export_and_import_names_every_format() -> None:
    from mixwright.formats import FORMATS, READABLE

    said = {name: re.sub(r"-\n +", "-", called(name, "--help").stdout) for name in ("export", "import")}
    words = {name: set(re.findall(r"[\w-]+", text)) for name, text in said.items()}
    assert set(FORMATS) | {form for made in FORMATS.values() for form in made.forms} <= words["export"]
    assert set(READABLE) <= words["import"]
    for text in said.values():
        assert all(made.tool in " ".join(text.split()) for made in FORMATS.values())
    assert "{path: org/books, name: english" in said["export"]
    assert "{source: weight}" in said["import"]
