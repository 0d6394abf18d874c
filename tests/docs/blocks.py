"""The fenced blocks of a Markdown page, read by Sybil: what runs, what is checked, what is skipped and why."""

import importlib
import operator
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from unittest import SkipTest

import yaml
from sybil import Document, Example
from sybil.parsers.markdown import CodeBlockParser, PythonCodeBlockParser, SkipParser
from sybil.sybil import Sybil

ROOT = Path(__file__).parents[2]
PAGES = [*sorted((ROOT / "docs").rglob("*.md")), ROOT / "README.md"]
WITH_BLOCKS = [page for page in PAGES if re.search(r"```(python|yaml|shell)", page.read_text(encoding="utf-8"))]
# What the keys of a fragment belong to, where a page shows only a part of a configuration.
AROUND = {"sources": {"a": "a.jsonl", "b": "b.jsonl"}, "targets": {"t": "t.jsonl"}}


def check_yaml(example: Example) -> None:
    """Check a YAML block with the schema of the configuration that it is (of); no data is opened."""
    from mixwright.experiment import make

    value = yaml.safe_load(example.parsed)
    if set(value) == {"strategy"}:
        from mixwright.strategies import from_config

        from_config(value["strategy"], ("a", "b"))
    elif "forecasts" in value:
        from mixwright.experiment.core.forecasts import ForecastConfig

        ForecastConfig.model_validate(value)
    elif value.get("kind") == "preference" and "arms" not in value:
        of_train = {"loss", "specialists", "strategy", "prior", "constraints"} & set(value)
        make("prefer train" if of_train else "prefer sft", value)
    elif "training" in value:
        make("train", value)
    elif "arms" in value:
        make("compare", value)
    elif {"evaluate", "seeds"} & set(value) and "kind" not in value:
        make("compare", AROUND | {"arms": ["uniform"]} | value)
    else:
        make("search", value if "kind" in value else AROUND | value)


def run_shell(example: Example) -> None:
    """Run a shell block in the current folder, with this mixwright and this Python first on the path."""
    paths = [str(Path(sys.executable).parent), os.environ["PATH"]]
    environment = os.environ | {"PATH": os.pathsep.join(paths), "PYTHONPATH": str(ROOT / "src")}
    done = subprocess.run(["bash", "-euc", example.parsed], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, f"line {example.line}: {done.stdout}{done.stderr}"


def read(page: Path) -> Document:
    """Read the blocks of a page."""
    parsers = [
        SkipParser(),
        PythonCodeBlockParser(),
        CodeBlockParser("yaml", check_yaml),
        CodeBlockParser("shell", run_shell),
    ]
    return Sybil(parsers=parsers).parse(page)


def language(example: Example) -> str:
    """Return the language of a block; "" for a mark that skips others."""
    return (example.region.lexemes or {}).get("arguments", "")


def run_page(document: Document) -> list[str]:
    """Run the blocks of a page in order; return the reasons of those that are skipped."""
    skipped = []
    for example in document.examples():
        try:
            example.evaluate()
        except SkipTest as reason:
            skipped.append(str(reason))
    return skipped


def run_in(page: Path, folder: Path) -> list[str]:
    """Run the blocks of a page in a folder; return the reasons of those that are skipped."""
    os.chdir(folder)
    return run_page(read(page))


def dotted_names() -> list[str]:
    """Return the names that the pages use as attributes of `mixwright`; importing lines are tested by running them."""
    text = "\n".join(page.read_text(encoding="utf-8") for page in PAGES)
    lines = [line for line in text.splitlines() if not re.search(r"(\b(from|import)|-m) mixwright\.", line)]
    return sorted(set(re.findall(r"(?<![\w./-])mixwright(?:\.[A-Za-z_]\w*)+(?![\w/])", "\n".join(lines))))


def missing(names: list[str]) -> list[str]:
    """Return the dotted names that cannot be followed from `import mixwright` alone; each is tried in a fork."""
    package, lost = importlib.import_module("mixwright"), []
    for name in names:
        if (child := os.fork()) == 0:
            try:
                operator.attrgetter(name.partition(".")[2])(package)
            except BaseException:
                os._exit(1)
            os._exit(0)
        if os.waitpid(child, 0)[1]:
            lost.append(name)
    return lost


def commands(document: Document) -> list[list[str]]:
    """Return the words of every `mixwright ...` line of the shell blocks, also of those that are skipped."""
    lines = [
        line.strip()
        for example in document.examples()
        if language(example) == "shell"
        for line in example.parsed.replace("\\\n", " ").splitlines()
    ]
    return [shlex.split(line.split(" > ")[0], comments=True) for line in lines if line.startswith("mixwright ")]
