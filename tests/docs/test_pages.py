"""What the pages show runs as it stands, in an empty folder; what cannot be run here says why."""

import re

import pytest

pytest.importorskip("sybil", reason="reads the blocks of the pages (extra dev)")

from blocks import PAGES, ROOT, WITH_BLOCKS, commands, dotted_names, missing, read, run_in, run_page

from forked import in_a_fresh_process


@pytest.mark.parametrize("page", WITH_BLOCKS, ids=lambda page: str(page.relative_to(ROOT)))
def test_the_blocks_of_a_page_run(page, tmp_path):
    for reason in in_a_fresh_process(run_in, page, tmp_path):
        assert len(reason.split()) > 2, f"skip: next {reason!r} should say why"


def test_the_names_that_the_pages_show_are_there_after_import_mixwright_alone():
    assert in_a_fresh_process(missing, dotted_names()) == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_block_that_could_run_has_its_language(page):
    fences = re.findall(r"^\s*```(.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    assert set(fences[::2]) <= {
        "python",
        "yaml",
        "shell",
        "console",
        "text",
        "json",
    }  # console: with its output, see tests/formats
    assert set(fences[1::2]) <= {""}


def test_every_command_that_a_page_shows_is_one():
    typer = pytest.importorskip("typer")
    from mixwright.cli.app import app

    command = typer.main.get_command(app)
    found = 0
    for page in PAGES:
        for words in commands(read(page)):
            name, *rest = words[1:]
            if name != "--version":
                command.commands[name].make_context(name, rest)  # an unknown option or a missing argument raises
            found += 1
    assert found > 10


def test_a_name_that_is_not_there_is_found():
    assert "mixwright.report.write_what_if" in dotted_names()
    names = ["mixwright.formats.write_nothing", "mixwright.report.write"]
    assert in_a_fresh_process(missing, names) == names[:1]


def test_a_block_that_fails_fails_the_page(tmp_path):
    page = tmp_path / "page.md"
    for block, error in (
        ("```python\nassert 1 + 1 == 3\n```", AssertionError),
        ("```yaml\nsources: {a: a}\ntargets: {t: t}\nproxy: {tokenz: 3}\n```", ValueError),
        ("```shell\nmixwright show nothing.json\n```", AssertionError),
    ):
        page.write_text(block)
        with pytest.raises(error):
            run_page(read(page))
