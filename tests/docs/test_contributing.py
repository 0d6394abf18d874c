"""The recipes of CONTRIBUTING.md are followed: in a copy of the repository, with the lines that they show."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
RECIPES = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8").partition("## Recipes")[2].split("\n### ")[1:]
# Tests of all of a kind that meet the new one: a file, and which of its tests.
ALSO = {
    "A strategy": ("tests/test_conformance.py", "ByLoss or left_out"),
    "A search": ("tests/search/test_searches.py", "MeanLoss"),
    "A format": ("tests/formats/test_formats_export.py", "json-lines"),
}


def blocks(recipe: str) -> list[tuple[str, str, str]]:
    """Return (language, path, text) of the blocks that begin with the path of their file."""
    return re.findall(r"```(\w+)\n(?:# |{# )(\S+/\S+)(?: #})?\n(.*?)```", recipe, re.DOTALL)


def edit(path: Path, change: str) -> None:
    """Make the changes of a block: each part has one line that is there (" " or "-") beside those to add ("+")."""
    text = path.read_text(encoding="utf-8")
    for part in change.strip("\n").split("\n\n"):
        lines = part.split("\n")
        old = "".join(line[1:] + "\n" for line in lines if line[:1] in (" ", "-"))
        new = "".join(line[1:] + "\n" for line in lines if line[:1] in (" ", "+"))
        assert text.count("\n" + old) == 1, f"{path}: found {text.count(old)} times\n{old}"
        text = text.replace("\n" + old, "\n" + new)
    path.write_text(text, encoding="utf-8")


def follow(recipe: str, root: Path) -> list[str]:
    """Do what a recipe says in a copy of the repository; return the tests that it shows."""
    for folder in ("src", "tests", "docs"):
        shutil.copytree(ROOT / folder, root / folder, ignore=shutil.ignore_patterns("__pycache__", "golden"))
    shutil.copy(ROOT / "pyproject.toml", root)
    for language, path, text in blocks(recipe):
        if language == "text":
            edit(root / path, text)
        else:
            assert not (root / path).exists(), f"{path} is there already"
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_text(text, encoding="utf-8")
    return [path for _, path, _ in blocks(recipe) if path.startswith("tests/")]


def run(root: Path, *words: str) -> str:
    """Return what a module of Python prints in the copy."""
    environment = os.environ | {"PYTHONPATH": "src"}
    done = subprocess.run([sys.executable, "-m", *words], cwd=root, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.partition("\n")[0])
def test_a_recipe_works_as_it_is_written(recipe, tmp_path):
    shown = follow(recipe, tmp_path)
    assert shown
    also, which = ALSO.get(recipe.partition("\n")[0], (None, ""))
    words = ["pytest", "-p", "no:cacheprovider", "-vv", *shown]
    if also:  # together: a start takes seconds
        words += [also, "-k", " or ".join([which, *(Path(path).stem for path in shown)])]
    said = run(tmp_path, *words)
    for path in [*shown, *([also] if also else [])]:
        assert re.search(rf"{path}::\S+ PASSED", said), path
    run(tmp_path, "ruff", "check", *(path for _, path, _ in blocks(recipe) if path.endswith(".py")))


def test_a_recipe_that_is_out_of_date_is_found(tmp_path):
    path = tmp_path / "list.py"
    path.write_text("names = [\n    'a',\n]\n")
    edit(path, "     'a',\n+    'b',\n")
    assert path.read_text() == "names = [\n    'a',\n    'b',\n]\n"
    with pytest.raises(AssertionError, match="found 0 times"):
        edit(path, "     'c',\n+    'd',\n")
