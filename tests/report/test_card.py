"""Cards: what they say, that names stand for themselves, that no path gets out, that only the section is replaced."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mixwright.errors import InputError
from mixwright.experiment.core.summary import read_summary
from mixwright.mixture_file import MixtureFile
from mixwright.report import model_card, write_card
from mixwright.report.card.markdown import linked, plain, table
from mixwright.report.card.places import origins, without_paths

RUNS = Path(__file__).parents[1] / "golden" / "runs"
NASTY = [
    "<b>&/numbers",
    "a|b",
    "[x](http://evil.example)",
    "`code` *b* _i_",
    "- list",
    "1. list",
    "# head",
    "www.x.org",
]
NASTY += ["<!-- mixwright:end -->", "$x$", "a\\|b", "~~gone~~", "a@b.example", "![x](y)", "\u202egnp.exe", "a\nb"]


def of(kind: str, **changes: object) -> str:
    config = yaml.safe_load((RUNS / kind / "config.yaml").read_text(encoding="utf-8"))
    return model_card(read_summary(RUNS / kind) | changes, config)


def cells(text: str, first: str) -> list[str]:
    """Return the cells of the row of a table that begins with a text."""
    row = next(line for line in text.splitlines() if line.startswith(f"| {first} |"))
    return [cell.strip().replace("\u202f", " ") for cell in row.strip("|").split("|")]


def section(text: str, title: str) -> str:
    return text.partition(f"### {title}\n")[2].partition("\n### ")[0]


def test_a_training_says_its_shares_and_that_it_compares_nothing() -> None:
    text = of("train")
    assert cells(text, "greek") == ["greek", "source0.jsonl", "3,007", "31.2 %", "31.9 %", "736", "0.25"]
    assert "2,304 tokens in 12 steps" in text  # 23 of 72 rows of 32 tokens: 736
    assert "PiKE" in section(text, "How the weights were found")
    assert "does not show whether other weights would have been better" in section(text, "What was not shown")
    assert "Run of mixwright 0.1.0, 2026-11-29, 10:27 UTC, seed 0." in text


def test_a_training_on_a_mixture_says_how_that_was_found() -> None:
    mixture = MixtureFile.read(RUNS / "search-text" / "mixture.json")
    text = model_card(read_summary(RUNS / "train") | {"fixed": True}, {}, mixture)
    found = section(text, "How the weights were found")
    assert "36 rows of 12 documents" in found
    assert "within 2.4e−14 nats per row" in found
    assert "Of the mixture: better than uniform by 0.4008 nats per row of the target" in section(text, "Evidence")
    assert "not with this model" in section(text, "What was not shown")


@pytest.mark.parametrize(
    ("weights", "said"),
    [
        ("natural", "Fixed weights: natural."),
        ({"greek": 1.0}, "by hand"),
        ("/gone/mixture.json", "that is gone or has changed"),
    ],
)
def test_fixed_weights_say_where_they_come_from(weights: object, said: str) -> None:
    text = model_card(read_summary(RUNS / "train") | {"fixed": True}, {"weights": weights})
    assert said in section(text, "How the weights were found")
    assert "/gone" not in text


def test_a_search_says_what_trainings_showed_and_what_they_did_not() -> None:
    text = of("search-text")
    assert cells(text, "greek")[2:] == ["19", "4,386", "58.9 % (50.4 to 66.7 %)"]
    assert cells(text, "search") == ["search", "2,560", "4.6929", "−0.0339", "−0.0451 to −0.0228"]
    missing = section(text, "What was not shown")
    assert "That search is better or worse than best\\_single on mix." in missing
    assert "natural" not in missing  # the interval is below 0: shown
    assert "One training for each mixture" in missing
    bare = of("search-text", runs=[], comparisons=[])
    assert "No model was trained with these weights" in section(bare, "What was not shown")


def test_a_comparison_says_each_verdict_in_words() -> None:
    text = of("compare-text")
    assert cells(text, "mixmin")[-2:] == ["+0.660 to +1.089", "worse"]
    assert "Verdict: No arm is better than uniform on this evidence. Worse: mixmin." in text
    summary = read_summary(RUNS / "compare-text")
    summary["measures"][0]["differences"][0] |= {"word": "no better", "low": -0.1, "high": 0.2}
    assert "That mixmin is better or worse than uniform on mix." in section(
        model_card(summary, {}), "What was not shown"
    )


@pytest.mark.parametrize("kind", sorted(path.name for path in RUNS.iterdir()))
def test_every_kind_of_run_has_a_card_or_says_why_not(kind: str) -> None:
    if kind == "prefer-specialists":
        with pytest.raises(InputError, match="a card is of a training, a search, a comparison"):
            of(kind)
        return
    text = of(kind)
    assert text.startswith("## ")
    assert "### What was not shown" in text
    assert "/data" not in text


def test_a_summary_that_lacks_a_field_is_one_error() -> None:
    summary = read_summary(RUNS / "train")
    del summary["held_out"]
    with pytest.raises(InputError, match="without 'held_out'; run the command again"):
        model_card(summary)


PLACES = [
    ("/home/alice/secret/web.jsonl", "web.jsonl", None),
    ({"path": "/home/alice/**/*.parquet", "field": "text"}, "*.parquet", None),
    (r"C:\Users\alice\web.jsonl", "web.jsonl", None),
    ("/home/alice", "a folder", None),
    ("s3://bucket/web/*.jsonl", "s3://bucket/web/*.jsonl", None),
    ("s3:/bucket/web", "s3://bucket/web", None),  # as a Path writes it
    ("s3://alice:secret@bucket/web", "an address that is not shown", None),
    ("https://example.org/web.jsonl?X-Amz-Signature=secret", "an address that is not shown", None),
    ("http://localhost:8000/home/alice/web.jsonl", "web.jsonl", None),
    ("https://10.0.0.7/secret/web.jsonl", "web.jsonl", None),
    ("sftp://host/home/alice/web.jsonl", "web.jsonl", None),
    ("hf://datasets/org/books@main/data/train.parquet", "hf://datasets/org/books@main/data/train.parquet", "org/books"),
    ({"path": {"dataset": "org/law", "config": "en"}}, "org/law (config en)", "org/law"),
    ("dataset:/org/law?config=en&split=train", "org/law (config en, split train)", "org/law"),
]


@pytest.mark.parametrize(("value", "text", "hub"), PLACES)
def test_a_place_is_named_without_what_is_private(value: object, text: str, hub: str | None) -> None:
    (found,) = origins(value)
    assert (found.text, found.hub) == (text, hub)


def test_no_path_of_the_machine_gets_into_a_card() -> None:
    config = {
        "sources": {"greek": {"path": "/home/alice/my secret/web.jsonl"}, "letters": "/home/alice/letters"},
        "tokenizer": {"path": "/home/alice/my secret/tokenizer"},
    }
    notes = [
        "/home/alice/my secret/web.jsonl has 3 rows without text",
        "of '/srv/secret/run/tokens' and C:\\Users\\alice\\x.bin",
        "fetched https://alice:secret@example.org/x?token=secret",
    ]
    text = model_card(
        read_summary(RUNS / "train") | {"notes": notes, "strategy": "Static('/home/alice/w.json')"}, config
    )
    assert not re.search("alice|secret|/home|/srv|Users", text)
    assert "web.jsonl has 3 rows without text" in text


@pytest.mark.parametrize(
    ("configured", "text", "said"),
    [
        ("/x", "of /home/jane and C:\\Users\\jane", "of a folder and a folder"),
        ("/scratch/jane", "of /scratch/jane/secret/part-0: no text", "of part-0: no text"),
        ("/scratch/jane/", "of /scratch/jane/secret/part-0.", "of part-0."),
        ("/data", "https://h.example/data/x, /data/x and '/data'", "https://h.example/data/x, x and 'data'"),
        ("/data/a b", "/data/a b/c, /data/a and /data/a b.txt", "c, a and a b.txt"),
    ],
)
def test_a_path_goes_with_what_lies_below_it_and_addresses_stay(configured: str, text: str, said: str) -> None:
    assert without_paths(text, {"sources": {"web": configured}}) == said


def test_numbers_and_shares_are_no_paths() -> None:
    for text in ("1/2 of it", "a/b/c", "nats/token and rows/s", "https://example.org/a/b", "<b>&/numbers"):
        assert without_paths(text) == text


def shown(markdown: str) -> list[str]:
    """Return the texts of the cells of tables and of paragraphs as a reader sees them."""
    parser = pytest.importorskip("markdown_it").MarkdownIt("commonmark").enable(["table", "strikethrough"])
    inline = [token for token in parser.parse(markdown) if token.type == "inline"]
    for token in inline:
        assert {child.type for child in token.children} <= {"text", "text_special"}
    return [token.content if not token.children else "".join(c.content for c in token.children) for token in inline]


@given(st.text(min_size=1, max_size=20))
@settings(max_examples=40, deadline=None)
@example("<!-- mixwright:end -->")
@example("a\\|b")
def test_a_name_stands_for_itself(name: str) -> None:
    cell = plain(name)
    assert "\n" not in cell
    if visible := " ".join(cell.split()):
        assert shown(table(["source", "share"], [[visible, "1"]]))[2] == re.sub(r"\\([\W_])", r"\1", visible)
        assert shown(visible) == [re.sub(r"\\([\W_])", r"\1", visible)]


@pytest.mark.parametrize("name", NASTY)
def test_difficult_names_stand_for_themselves(name: str) -> None:
    expected = " ".join(name.replace("\u202e", "\ufffd").split())
    assert shown(table(["source", "share"], [[plain(name), "1"]]))[2] == expected
    assert shown(plain(name)) == [expected]


def test_an_address_ends_where_it_should() -> None:
    assert linked("a]b", "https://x.org/a|b> <c") == "[a\\]b](<https://x.org/a%7Cb%3E%20%3Cc>)"


CONFIG = {
    "sources": {"greek": {"path": "dataset:/org/greek"}, "letters": {"path": "hf://datasets/org/letters/a.jsonl"}}
}


def test_a_new_card_is_read_by_the_hub(tmp_path: Path) -> None:
    hub = pytest.importorskip("huggingface_hub", reason="huggingface_hub is not installed")
    path, text = tmp_path / "README.md", model_card(read_summary(RUNS / "train"), CONFIG)
    assert write_card(text, path, CONFIG) == []
    assert hub.metadata_load(path) == {"datasets": ["org/greek", "org/letters"], "tags": ["data-mixture"]}
    loaded = hub.ModelCard.load(path)
    assert loaded.data.datasets == ["org/greek", "org/letters"]
    assert "[org/greek](<https://huggingface.co/datasets/org/greek>)" in loaded.text
    assert text.strip() in loaded.text


def test_only_the_section_is_replaced_and_twice_is_once(tmp_path: Path) -> None:
    path = tmp_path / "README.md"
    path.write_bytes(b"---\nlicense: mit\ndatasets: [org/greek]\n---\r\n# Model\r\n\r\nMy words | here.\r\n")
    first, second = "## One\n\nold", "## Two\n\nnew"
    should = f"datasets: in the metadata of {path} should name"
    assert write_card(first, path, CONFIG) == [f"{should} org/letters, found org/greek; add it there"]
    with path.open("ab") as handle:
        handle.write(b"\n## After\n")
    write_card(second, path)
    once = path.read_bytes()
    write_card(second, path)
    assert path.read_bytes() == once
    assert once.startswith(b"---\nlicense: mit\ndatasets: [org/greek]\n---\r\n# Model\r\n\r\nMy words | here.")
    assert once.endswith(b"<!-- mixwright:end -->\n\n## After\n")
    assert b"old" not in once
    assert once.count(b"new") == 1
    path.write_text("---\ndate: 2026-13-45\n---\n# Model\n")  # no day
    assert "org/letters, found none; add" in write_card(first, path, CONFIG)[0]
    path.write_bytes(once.replace(b"\n", b"\r\n"))  # an editor of another system
    write_card(first, path)
    assert path.read_bytes().count(b"mixwright:begin") == 1


def test_metadata_without_data_sets_say_what_to_add(tmp_path: Path) -> None:
    path = tmp_path / "README.md"
    path.write_text("# Model\n")
    assert write_card("## One", path, CONFIG) == [
        f"datasets: in the metadata of {path} should name org/greek, org/letters, found none; add it there"
    ]


@pytest.mark.parametrize(
    ("name", "text", "match"),
    [
        ("README.md", "<!-- mixwright:begin -->\n", "found begin; remove them"),
        ("README.md", "<!-- mixwright:end -->\n<!-- mixwright:begin -->\n", "found end begin"),
        ("README.txt", "words", "into a Markdown file .*, found .*README.txt; give .*README.md$"),
    ],
)
def test_a_file_that_does_not_fit_stays_as_it_was(name: str, text: str, match: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(InputError, match=match):
        write_card("## x", path)
    assert path.read_text() == text
    assert [one.name for one in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("name", ["model", "model.md"])
def test_a_folder_gets_the_advice_to_give_a_file_in_it(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.mkdir()
    with pytest.raises(InputError) as caught:
        write_card("## x", path)
    assert str(caught.value).endswith(f"(.md), found the folder {path}; give {path / 'README.md'}")
    assert not list(path.iterdir())


def test_the_command_prints_a_card_and_writes_it(tmp_path: Path) -> None:
    runner = pytest.importorskip("typer.testing").CliRunner()
    from mixwright.cli.app import app

    run, readme = str(RUNS / "search-text"), str(tmp_path / "README.md")
    printed = runner.invoke(app, ["show", run, "--card"])
    assert printed.stdout == of("search-text")
    assert runner.invoke(app, ["show", run, "--card", readme]).exit_code == 0
    assert of("search-text").strip() in Path(readme).read_text(encoding="utf-8")
    as_json = json.loads(runner.invoke(app, ["show", "--json", "--card", run]).stdout)
    assert as_json == {"card": of("search-text"), "file": None}
    mixture = runner.invoke(app, ["show", f"{run}/mixture.json", "--card"]).stdout
    assert cells(mixture, "greek") == ["greek", "source0.jsonl", "58.9 %", "50.4 to 66.7 %"]
    for arguments, said in (
        (["show", run, readme], f"to write a card there: mixwright show {run} --card {readme}"),
        (["show", "--card", readme, run], f"the run comes first, found {readme}; write: mixwright show {run} --card"),
    ):
        refused = runner.invoke(app, arguments)
        assert refused.exit_code == 2
        assert said in " ".join(refused.output.split())


@pytest.fixture
def trained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """A run of fixed weights from a mixture file, and that file."""
    monkeypatch.chdir(tmp_path)
    run, file = Path("run"), Path("mixture.json")
    shutil.copytree(RUNS / "train", run)
    summary, weights = json.loads((run / "summary.json").read_text()) | {"fixed": True}, [0.5, 0.25, 0.25]
    for source, weight in zip(summary["sources"], weights, strict=True):
        source["last_weight"] = weight
    (run / "summary.json").write_text(json.dumps(summary))
    (run / "config.yaml").write_text(f"weights: {file}\n")
    MixtureFile([source["name"] for source in summary["sources"]], weights, verdict="better by a hair").write(file)
    return run, file


def printed(*arguments: object) -> Any:
    runner = pytest.importorskip("typer.testing").CliRunner()
    from mixwright.cli.app import app

    return runner.invoke(app, ["show", *map(str, arguments), "--card"])


def test_a_mixture_is_quoted_only_while_it_is_what_was_trained(trained: tuple[Path, Path]) -> None:
    run, file = trained
    assert "better by a hair" in printed(run).stdout
    names = MixtureFile.read(file).sources
    changed = MixtureFile(names, [0.5, 0.3, 0.2], verdict="better by a mile")
    for spoil in (lambda: changed.write(file), lambda: file.write_text("{"), file.unlink):
        spoil()
        assert "gone or has changed since" in printed(run).stdout
        assert "better by" not in printed(run).stdout


def test_a_file_with_the_name_of_a_baseline_is_not_read(trained: tuple[Path, Path]) -> None:
    run, file = trained
    (run / "config.yaml").write_text("weights: uniform\n")
    file.rename("uniform")
    assert "Fixed weights: uniform." in printed(run).stdout


def test_a_damaged_summary_has_one_error_that_names_the_run(trained: tuple[Path, Path]) -> None:
    run, _ = trained
    summary = json.loads((run / "summary.json").read_text())
    summary["held_out"] = []
    (run / "summary.json").write_text(json.dumps(summary))
    found = printed(run)
    assert found.exit_code == 2
    assert f"{run / 'summary.json'} should be as the run wrote it" in " ".join(found.output.split())
