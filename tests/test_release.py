"""What a release says of itself: the citation, the table of supported versions, the types that others see."""

import re
import runpy
import subprocess
import sys
import tomllib
import venv
import zipfile
from pathlib import Path

import pytest

import mixwright

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
LOWEST = {  # of every package in an extra; where two ask for it, of the first
    re.split(r"[\[>=<; ]", text)[0]: found[1]
    for extra in reversed([PROJECT["dependencies"], *PROJECT["optional-dependencies"].values()])
    for text in extra
    if (found := re.search(r">=([\d.]+)", text))
}
PINNED = dict(line.split("==") for line in (ROOT / "constraints.txt").read_text().split() if "==" in line)


def test_the_citation_is_valid_and_names_this_version() -> None:
    yaml = pytest.importorskip("yaml")
    cff = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert set(cff) == {
        *("cff-version", "message", "title", "abstract", "type", "authors", "version", "license", "keywords")
    }
    assert (cff["cff-version"], cff["type"], cff["license"]) == ("1.2.0", "software", PROJECT["license"])
    assert cff["version"] == mixwright.__version__
    assert all(set(author) == {"name"} for author in cff["authors"])  # schema 1.2.0: an entity has a name


def test_the_citation_is_of_the_schema() -> None:
    schema = pytest.importorskip("cffconvert", reason="cffconvert is not installed")
    schema.Citation((ROOT / "CITATION.cff").read_text(encoding="utf-8")).validate()


def _table() -> list[tuple[str, str, str]]:
    """Return (package, lowest, newest) of the rows of the support table that name packages."""
    found = []
    for line in (ROOT / "docs" / "support.md").read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) == 4 and re.match(r"`\w+`.*: |numpy", cells[0]):
            names, lowest, newest = (re.split(r"[,;] ", cell.rpartition(": ")[2]) for cell in cells[:3])
            assert len(names) == len(lowest) == len(newest), line
            found += zip(names, lowest, newest, strict=True)
    return found


def test_the_support_table_has_the_versions_that_are_asked_for_and_pinned() -> None:
    rows = _table()
    assert len(rows) > 15
    for name, lowest, newest in rows:
        assert _whole(lowest) == LOWEST[name], name
        if name in PINNED:
            assert _whole(newest) == PINNED[name], name


def _whole(version: str) -> str:
    return f"0{version}" if version.startswith(".") else version


def test_the_check_of_a_release_knows_every_extra() -> None:
    script = runpy.run_path(str(ROOT / "benchmarks" / "release.py"))
    extras = set(PROJECT["optional-dependencies"]) - {"docs", "dev", "benchmarks"}
    assert set(script["IMPORTS"]) - {""} == extras
    assert set(script["GPU"]) | set(script["LOWEST"]) - {""} <= extras


def test_workflows_try_each_python_and_pin_their_actions_to_commits() -> None:
    yaml = pytest.importorskip("yaml")
    workflows = {path.stem: path.read_text(encoding="utf-8") for path in (ROOT / ".github/workflows").glob("*.yml")}
    steps = [
        step
        for text in workflows.values()
        for job in yaml.safe_load(text)["jobs"].values()
        for step in job.get("steps", ())
    ]
    used = [step["uses"] for step in steps if "uses" in step]
    assert len(used) > 5
    assert [name for name in used if not re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40}", name)] == []
    said = {text[-4:] for text in PROJECT["classifiers"] if re.search(r":: 3\.\d+$", text)}
    packages = yaml.safe_load(workflows["ci"])["jobs"]["packages"]["steps"]
    (tried,) = (step["with"]["python-version"].split() for step in packages if "setup-python" in step.get("uses", ""))
    assert set(tried) == said == set(runpy.run_path(str(ROOT / "benchmarks" / "release.py"))["PYTHONS"])


PROGRAM = """
import mixwright

mixture = mixwright.MixtureFile(sources=("a", "b"), weights=(0.5, 0.5))
reveal_type(mixture.weights)
mixwright.MixtureFile(sources=("a",), weights=1.0)
"""


@pytest.mark.slow
def test_a_program_elsewhere_sees_the_types_of_the_wheel(tmp_path: Path) -> None:
    pytest.importorskip("mypy")
    pytest.importorskip("setuptools")
    pip = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", str(tmp_path)]
    subprocess.run([*pip, str(ROOT)], check=True, capture_output=True)
    venv.create(tmp_path / "env")
    (place,) = (tmp_path / "env").glob("lib/python*/site-packages")
    (wheel,) = tmp_path.glob("*.whl")
    zipfile.ZipFile(wheel).extractall(place)
    (tmp_path / "program.py").write_text(PROGRAM)
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--python-executable", str(tmp_path / "env/bin/python"), "program.py"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        env={"PATH": "/usr/bin:/bin", "MYPY_CACHE_DIR": str(tmp_path / "cache")},
    )
    assert re.search(r'Revealed type is "tuple\[(builtins\.)?float, \.\.\.\]"', done.stdout), done.stdout + done.stderr
    assert re.search(r"program.py:6: error: Argument .weights.* has incompatible type .float.", done.stdout), (
        done.stdout
    )
    assert "Found 1 error in 1 file" in done.stdout
