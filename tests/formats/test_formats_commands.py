"""`mixwright export` and `mixwright import` as a person runs them."""

import contextlib
import json
import re
import shlex
from pathlib import Path
from typing import NamedTuple

import pytest

from mixwright.mixture_file import MixtureFile

pytest.importorskip("typer")


class Done(NamedTuple):
    returncode: int
    stdout: str
    stderr: str


def mixwright(*arguments: str, cwd: Path, stdin: str = "") -> Done:
    from typer.testing import CliRunner

    from mixwright.cli.app import app

    with contextlib.chdir(cwd):
        done = CliRunner().invoke(app, arguments, input=stdin, prog_name="mixwright")
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return Done(done.exit_code, done.stdout, done.stderr)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    MixtureFile(sources=("web", "the law", "never"), weights=(0.7, 0.3, 0.0)).write(tmp_path / "mixture.json")
    (tmp_path / "paths.yaml").write_text("web: data/web.jsonl\nthe law: [a.parquet, b.parquet]\n")
    return tmp_path


def test_there_and_back(folder: Path) -> None:
    there = mixwright("export", "mixture.json", "--to", "trl", "--paths", "paths.yaml", "--out", "m.yaml", cwd=folder)
    assert there.returncode == 0, there.stderr
    assert there.stdout == f"written: {folder / 'm.yaml'}\n"
    assert there.stderr == (
        "note: left out, with weight 0: 'never' (no path was given); the shares of the others are the same\n"
    )
    back = mixwright("import", "m.yaml", "--paths", "paths.yaml", "--out", "new/mixture.json", cwd=folder)
    assert back.returncode == 0, back.stderr
    made = MixtureFile.read(folder / "new" / "mixture.json")
    assert (made.sources, made.weights) == (("web", "the law"), (0.7, 0.3))


def test_the_text_alone_goes_to_stdout(folder: Path) -> None:
    blend = ["export", "mixture.json", "--to", "megatron", "--path", "web=/d/web", "--path", "the law=/d/law=1"]
    done = mixwright(*blend, cwd=folder)
    assert done.stdout == "0.7 /d/web\n0.3 /d/law=1\n"
    assert done.stderr.count("note: ") == 2
    assert mixwright(*blend, "--quiet", cwd=folder).stderr == ""
    assert (
        mixwright("import", "-", cwd=folder, stdin=done.stdout).stdout
        == mixwright("import", "0.7 /d/web 0.3 /d/law=1", cwd=folder).stdout
    )
    shown = json.loads(mixwright(*blend, "--json", cwd=folder).stdout)
    assert (shown["text"], shown["form"], shown["out"]) == (done.stdout, "args", None)
    shown = json.loads(mixwright("import", "30 a 70 b", "--json", "--out", "m.json", cwd=folder).stdout)
    assert shown["weights"] == [0.3, 0.7]
    assert shown == json.loads((folder / "m.json").read_text())


@pytest.mark.parametrize(("name", "form"), [("b.json", '"train"'), ("blend.txt", "0.7 a"), ("blend", "0.7 a")])
def test_the_suffix_chooses_the_form(folder: Path, name: str, form: str) -> None:
    out = ["--path", "web=a", "--path", "the law=b", "--out", name]
    assert mixwright("export", "mixture.json", "--to", "megatron", *out, cwd=folder).returncode == 0
    assert form in (folder / name).read_text()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["export", "mixture.json"], "Missing option '--to'"),
        (["export", "mixture.json", "--to", "tlr"], "did you mean 'trl'"),
        (["export", "mixture.json", "--to", "trl"], "found none for 'web', 'the law'; give --path SOURCE=PATH"),
        (["export", "mixture.json", "--to", "trl", "--path", "web"], "--path should be SOURCE=PATH, found 'web'"),
        (["export", "mixture.json", "--to", "trl", "--path", "web=a", "--path", "web=b"], "once for 'web'"),
        (["export", "mixture.json", "--to", "trl", "--paths", "none.yaml"], "none.yaml should be a file of paths"),
        (["export", "mixture.json", "--to", "json", "--out", "paths.yaml"], "is there already"),
        (["export", "mixture.json", "--to", "trl", "--out", "x.py"], "trl is written as yaml, found the file x.py"),
        (["export", "mixture.json", "--to", "megatron", "--paths", "paths.yaml"], "one path for a source, found 2"),
        (["export", ".", "--to", "json"], "found a folder; give mixture.json"),
        (["export", "paths.yaml", "--to", "json"], "found a configuration"),
        (["export", "none.json", "--to", "json"], "none.json should be a mixture file"),
        (["import", "none.csv"], "none.csv should be a file with a mixture, found no such file"),
        (["import", "a b"], "a blend itself begins with a weight"),
        (["import", "0.5 a 0.5 a"], "different names, found 'a'"),
        (["import", "nan a 1 b"], "found 'nan'"),
        (["import", "1 a", "--out", "mixture.json"], "is there already"),
        (["import", "1 a", "--unit", "bytes"], "unit should be 'rows' or 'tokens'"),
        (["import", "paths.yaml"], "looks like none of megatron"),
    ],
)
def test_bad_input_is_status_2_and_one_message(folder: Path, arguments: list[str], says: str) -> None:
    before = {path: path.read_bytes() for path in folder.iterdir()}
    done = mixwright(*arguments, cwd=folder)
    assert done.returncode == 2
    assert says in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    assert before == {path: path.read_bytes() for path in folder.iterdir()}


def test_force_replaces(folder: Path) -> None:
    assert mixwright("import", "1 a", "--out", "mixture.json", "--force", cwd=folder).returncode == 0
    assert MixtureFile.read(folder / "mixture.json").sources == ("a",)
    assert (
        mixwright("export", "mixture.json", "--to", "json", "--out", "mixture.json", "--force", cwd=folder).returncode
        == 0
    )
    assert json.loads((folder / "mixture.json").read_text()) == {"a": 1.0}


def test_the_examples_of_the_documentation_give_what_it_shows(folder: Path) -> None:
    MixtureFile(sources=("web", "law", "never"), weights=(0.7, 0.3, 0.0)).write(folder / "mixture.json")
    text = (Path(__file__).parents[2] / "docs" / "formats.md").read_text(encoding="utf-8")
    examples = re.findall(r"```console\n\$ mixwright (.*?)\n(.*?)```", text, re.DOTALL)
    assert len(examples) == 8
    for command, shown in examples:
        done = mixwright(*shlex.split(command), cwd=folder)
        assert (done.returncode, done.stdout) == (0, shown), command


def test_the_paths_of_the_documentation_are_read(folder: Path) -> None:
    text = (Path(__file__).parents[2] / "docs" / "formats.md").read_text(encoding="utf-8")
    (paths,) = re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)
    (folder / "paths.yaml").write_text(paths)
    MixtureFile(sources=("web", "law", "books"), weights=(0.5, 0.3, 0.2)).write(folder / "mixture.json")
    done = mixwright("export", "mixture.json", "--to", "trl", "--paths", "paths.yaml", cwd=folder)
    assert "- data/law-1.jsonl" in done.stdout
    assert "name: english" in done.stdout


def test_weights_by_documents(folder: Path) -> None:
    lengths = {"tokens_per_document": {"web": 70, "the law": 300, "never": 1}}
    MixtureFile(("web", "the law", "never"), (0.7, 0.3, 0.0), evidence=lengths).write(folder / "long.json")
    made = ["export", "long.json", "--to", "datasets", "--paths", "paths.yaml", "--form", "yaml"]
    assert "the law (300 tokens in the mean) 64.7 %" in mixwright(*made, cwd=folder).stderr
    done = mixwright(*made, "--per-document", "--out", "m.yaml", cwd=folder)
    assert "each was divided by the mean tokens" in done.stderr
    mixwright("import", "m.yaml", "--out", "again.json", cwd=folder)
    assert MixtureFile.read(folder / "again.json").weights == pytest.approx((10 / 11, 1 / 11))
    refused = mixwright("export", "plan.csv", "--to", "trl", "--out", "new", "--per-document", cwd=folder)
    assert refused.returncode == 2
    assert "does not say how long documents are" in refused.stderr
