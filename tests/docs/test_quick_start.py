"""The quick start ends with a verdict: its files, its configuration, with smaller budgets than a reader's."""

import json
from pathlib import Path

import pytest
import yaml

pytest.importorskip("sybil", reason="reads the blocks of the pages (extra dev)")
pytest.importorskip("torch", reason="trains language models")

from blocks import ROOT, commands, language, read
from tiny_runs import MODEL
from typer.testing import CliRunner

from mixwright.cli.app import app


def test_the_quick_start_ends_with_a_verdict(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    page = read(ROOT / "docs" / "quick-start.md")
    examples = list(page.examples())
    files = next(example for example in examples if language(example) == "python")
    files.evaluate()
    for path in Path("data").glob("*.jsonl"):  # the first documents, cut short: the whole takes minutes
        lines = [json.loads(line)["text"][:2000] for line in path.read_text().splitlines()[:40]]
        path.write_text("".join(json.dumps({"text": text}) + "\n" for text in lines))
    config = yaml.safe_load(next(example.parsed for example in examples if language(example) == "yaml"))
    config["model"] = MODEL
    config["proxy"]["tokens"] = config["final"]["tokens"] = 4096
    Path("search.yaml").write_text(json.dumps(config))
    search, show, report = (
        words for words in commands(page) if words[1] in ("search", "show", "report") and "--schema" not in words
    )
    for words in (search, show, [word for word in report if word != "--open"]):
        done = CliRunner().invoke(app, words[1:])
        assert done.exit_code == 0, done.output
        assert "uniform" in done.output or "page:" in done.output
    assert json.loads(Path("runs/search/summary.json").read_text())["verdict"]
