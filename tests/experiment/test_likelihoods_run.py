"""Searches of tables of likelihoods that were given: from a file or a folder, by YAML or by options."""

import json
import warnings
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

pytest.importorskip("pydantic")
pytest.importorskip("typer")
pytest.importorskip("jinja2")

from typer.testing import CliRunner

from mixwright import LikelihoodTable, MixMin
from mixwright.cli.app import app
from mixwright.errors import InputError
from mixwright.experiment import drive, load, make
from mixwright.experiment.live import telling
from mixwright.experiment.live.look import Watched
from mixwright.experiment.live.pace import Rests
from mixwright.experiment.run import Run
from mixwright.search.mixmin import MixMin as SearchClass

SOURCES = ["web", "books", "code"]
WORDS = "from likelihoods that were given, not checked by training"


def logs_of(weights: list[float], n: int, seed: int) -> np.ndarray:
    """Return log-likelihoods [n, 3] of rows that a mixture of three well-separated sources has drawn."""
    rng = np.random.default_rng(seed)
    logs = rng.normal(-60, 0.3, (n, 3))
    logs[np.arange(n), rng.choice(3, n, p=weights)] += 3
    return logs


def write_csv(folder: Path, text: str = "", **columns: Any) -> Path:
    """Write a table of two targets with 90 rows each, three to a document; `columns` come on top."""
    law, sums = logs_of([0.7, 0.3, 0.0], 90, 1), logs_of([0.0, 0.2, 0.8], 90, 2)
    table: dict[str, Any] = dict(zip(SOURCES, np.vstack([law, sums]).T, strict=True))
    table |= {"target": ["law"] * 90 + ["sums"] * 90, "document": np.arange(180) // 3, **columns}
    lines = [",".join(str(cell) for cell in row) for row in zip(*table.values(), strict=True)]
    path = folder / "scores.csv"
    path.write_text("\n".join([",".join(table), *lines]) + "\n" + text)
    return path


def mixwright(*words: Any, code: int = 0) -> str:
    done = CliRunner().invoke(app, [str(word) for word in words])
    assert done.exit_code == code, done.output
    return " ".join(done.output.split())


def weights_of(summary: dict[str, Any]) -> dict[str, list[float]]:
    return {mixture["name"]: mixture["weights"] for mixture in summary["mixtures"]}


def test_the_page_is_there_while_the_run_goes_and_the_finished_one_stays(tmp_path: Path, monkeypatch) -> None:
    pages, write = [], telling.write_live

    def written(seen, folder, every):
        pages.append(seen.state)
        write(seen, folder, every)
        assert "location.reload" in (folder / "report.html").read_text(encoding="utf-8")

    monkeypatch.setattr(telling, "write_live", written)
    monkeypatch.setattr(telling, "_FIRST", 0.0)
    monkeypatch.setattr(telling, "Rests", lambda least, share: Rests(0.0, 1e9))
    table = {"kind": "likelihoods", "table": str(write_csv(tmp_path)), "search": {"shrinkage": 0.01}}
    summary = drive(make("search", table), tmp_path / "run")
    assert len(pages) > 1
    assert set(pages) == {"running"}
    page = (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    assert "location.reload" not in page
    assert summary["title"] in page
    assert Watched(tmp_path / "run").look().state == "finished"


def test_options_a_file_and_python_find_the_same(tmp_path: Path) -> None:
    path = write_csv(tmp_path)
    limits = ["--floor", "code=0.05", "--cap", "web=0.5"]
    mixwright("search", "--table", path, *limits, "--shrinkage", "0.01", "--run", tmp_path / "a", "-q")
    (tmp_path / "search.yaml").write_text(
        "kind: likelihoods\ntable: scores.csv\nsearch: {floors: {code: 0.05}, caps: {web: 0.5}, shrinkage: 0.01}\n"
    )
    summary = drive(load("search", tmp_path / "search.yaml"), tmp_path / "b")
    first = json.loads((tmp_path / "a" / "summary.json").read_text())
    assert weights_of(first) == weights_of(summary)
    table = LikelihoodTable.from_file(path)
    from mixwright import Constraints

    found = MixMin(shrinkage=0.01).fit(
        table.select("law"), constraints=Constraints(floors={"code": 0.05}, caps={"web": 0.5})
    )
    np.testing.assert_allclose(weights_of(summary)["search_law"], found.weights, atol=1e-12)
    assert weights_of(summary)["search_law"][0] == pytest.approx(0.5)  # the cap binds
    assert weights_of(summary)["search_law"][2] == pytest.approx(0.05)  # and so does the floor
    assert "the cap 0.5 of source 'web' binds" in mixwright("show", tmp_path / "b")


def test_what_a_run_leaves(tmp_path: Path) -> None:
    run = tmp_path / "run"
    output = mixwright("search", "--table", write_csv(tmp_path), "--run", run)
    summary = json.loads((run / "summary.json").read_text())
    assert (summary["task"], summary["data"], summary["runs"]) == ("search", "likelihoods", [])
    assert [search["rows"] for search in summary["searches"]] == [90, 90]
    assert [search["documents"] for search in summary["searches"]] == [30, 30]
    assert all(len(search["interval"]) == 3 for search in summary["searches"])
    assert all(verdict.endswith(WORDS) for verdict in summary["verdict"].splitlines())
    assert "nothing was trained or scored here" in output
    mixture = json.loads((run / "mixture.json").read_text())
    assert mixture["weights"] == weights_of(summary)["search_law"]
    assert "for the target law alone; those of the others: search/sums/mixture.json" in mixture["evidence"]["notes"][-1]
    assert (run / "whatif.json").exists()
    page = (run / "report.html").read_text(encoding="utf-8")
    assert "estimated from likelihoods that were given, not yet checked by training" in page
    assert 'id="what-if"' in page
    assert json.loads(mixwright("report", run, "--json")) == {"report": str(run / "report.html")}
    assert json.loads(mixwright("export", run / "mixture.json", "--to", "json"))["web"] == mixture["weights"][0]


def test_a_finished_run_searches_no_more_and_a_stopped_one_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, fitted = write_csv(tmp_path), []
    whole = drive(make("search", {"kind": "likelihoods", "table": str(path)}), tmp_path / "whole")
    fit = SearchClass.fit

    def stopping(self: SearchClass, table: LikelihoodTable, **more: Any) -> Any:
        if len(fitted) == stop:
            raise KeyboardInterrupt
        fitted.append(table.target_names)
        return fit(self, table, **more)

    monkeypatch.setattr(SearchClass, "fit", stopping)
    config, run, stop = make("search", {"kind": "likelihoods", "table": str(path)}), tmp_path / "run", 1
    with pytest.raises(KeyboardInterrupt):
        drive(config, run)
    stop = 2
    again = drive(config, run)
    assert fitted == [("law",), ("sums",)]
    assert weights_of(again) == weights_of(whole)
    assert drive(load("search", run / "config.yaml"), run)["searches"] == again["searches"]
    assert len(fitted) == 2
    stop = 3
    write_csv(tmp_path, weight=np.where(np.arange(180) % 2, 1.0, 2.0))
    drive(make("search", {"kind": "likelihoods", "table": str(path), "targets": "law"}), run)
    assert len(fitted) == 3  # another table


def test_targets_sources_and_sizes_are_chosen(tmp_path: Path) -> None:
    path = write_csv(tmp_path, n_tokens=np.arange(180) + 10)
    values = {
        "table": {"path": str(path), "sources": {"internet": "web", "code": "code"}, "unit": "question"},
        "targets": "sums",
        "sizes": {"internet": 900, "code": 100},
        "search": {"prior": "natural", "shrinkage": 1e4},
    }
    summary = drive(make("search", {"kind": "likelihoods", **values}), tmp_path / "run")
    assert [source["name"] for source in summary["sources"]] == ["internet", "code"]
    assert [source["tokens"] for source in summary["sources"]] == [900, 100]
    assert weights_of(summary)["search"] == pytest.approx([0.9, 0.1], abs=1e-3)  # so strong a pull leaves the prior
    assert summary["searches"][0]["unit"] == "question"
    marks = json.loads((tmp_path / "run" / "whatif.json").read_text())["marks"]
    assert "natural" in json.dumps(marks)
    mixwright(
        *("search", "--table", path, "--source", "internet=web", "--source", "code", "--target", "sums", "-q"),
        *("--size", "internet=900", "--size", "code=100", "--prior", "natural", "--shrinkage", "1e4"),
        *("--run", tmp_path / "options"),
    )
    other = json.loads((tmp_path / "options" / "summary.json").read_text())
    assert weights_of(other)["search"] == pytest.approx(weights_of(summary)["search"], abs=1e-9)


@pytest.mark.parametrize(("values", "scale"), [("loss", 1.0), ("bits", np.log(2)), ("perplexity", None)])
def test_losses_bits_and_perplexities_per_token(tmp_path: Path, values: str, scale: float | None) -> None:
    logs, tokens = logs_of([0.6, 0.4, 0.0], 80, 3), np.arange(80) % 7 + 20
    means = -logs / tokens[:, None]
    numbers = np.exp(means) if scale is None else means / scale
    rows = [
        "web,books,code,n_tokens",
        *(",".join(map(repr, map(float, [*row, t]))) for row, t in zip(numbers, tokens, strict=True)),
    ]
    path = tmp_path / "scores.csv"
    path.write_text("\n".join(rows) + "\n")
    run = tmp_path / "run"
    mixwright("search", "--table", path, "--values", values, "--tokens", "n_tokens", "--run", run, "-q")
    summary = json.loads((run / "summary.json").read_text())
    np.testing.assert_allclose(weights_of(summary)["search"], MixMin().fit(logs).weights, atol=1e-6)
    assert any("were multiplied by the tokens of their row" in note for note in summary["notes"])


def test_the_folder_of_a_table(tmp_path: Path) -> None:
    table = LikelihoodTable.from_file(write_csv(tmp_path))
    table.save(tmp_path / "scores")
    for name in ("scores", "scores.csv"):
        mixwright("search", "--table", tmp_path / name, "--target", "law", "--run", tmp_path / f"run-{name}", "-q")
    summaries = [json.loads((tmp_path / f"run-{n}" / "summary.json").read_text()) for n in ("scores", "scores.csv")]
    assert weights_of(summaries[0]) == weights_of(summaries[1])


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"targets": "lawn"}, "key targets: target should be in the table; found 'lawn'; did you mean 'law'?"),
        ({"table": {"path": "no.csv"}}, "key table: .*no.csv should be a .csv or .parquet file, found no such file"),
        ({"table": {"path": "scores"}}, "key table: .*scores: there should be a table here, .* found nothing"),
        ({"table": {"path": "."}}, r"key table: .* should be the folder of a table, found one without table\.json"),
        ({"table": {"path": "scores.csv", "sources": ["web", "bocks"]}}, "found 'bocks'; did you mean 'books'?"),
        ({"table": {"path": "scores.csv", "sources": []}}, "should name at least one column"),
        ({"table": {"path": "scores.csv", "values": "nats"}}, "table.values: should be"),
        (
            {"table": {"path": "scores.csv", "values": "loss"}},
            "losses in nats should be above 0; found 180 of 180 below",
        ),
        ({"table": {"path": "scores.csv", "values": "perplexity"}}, "perplexities should be at least 1"),
        ({"table": {"path": "scores.csv", "tokens": "count"}}, "tokens should name a column; found 'count'"),
        ({"search": {"floors": {"webb": 0.1}}}, "key search: .*'webb'"),
        ({"search": {"floors": {"web": 0.7, "books": 0.7}}}, "key search: .*floors"),
        ({"search": {"prior": "natural"}}, "key search.prior: this needs the sizes of the sources, found none"),
        ({"search": {"max_epochs": 2}}, "key search.max_epochs: this needs the sizes of the sources"),
        ({"sizes": {"web": 1, "books": 1}}, "key sizes: .*found none for 'code'"),
        ({"search": {"shrinkage": "strong"}}, "search.shrinkage: should be a number >= 0, or cv"),
        ({"quick": True}, "key quick: there is no such key"),
    ],
)
def test_bad_configurations(tmp_path: Path, values: dict[str, Any], says: str) -> None:
    write_csv(tmp_path)
    with pytest.raises(InputError, match=says):
        drive(
            make("search", {"kind": "likelihoods", "table": "scores.csv"} | values, folder=tmp_path), tmp_path / "run"
        )
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("columns", "says"),
    [
        ({"web": [3.5] * 180}, "'web' with numbers above 0"),
        ({"web": [float("-inf")] * 180}, "'web' with -inf in each row"),
        ({"web": [float("nan"), *[-1.5] * 179]}, "should be finite or -inf, found nan at row 0"),
        (
            {"n_tokens": list(range(180))},
            "found 'n_tokens' with numbers above 0, such as 1; name the columns that are sources",
        ),
        (
            {"document": [1] * 90 + [2] * 90},
            "search.shrinkage: cv needs at least 3 documents of each target, found 1 of law; give a number",
        ),
    ],
)
def test_numbers_that_are_no_log_likelihoods(tmp_path: Path, columns: dict[str, Any], says: str) -> None:
    path = write_csv(tmp_path, **columns)
    assert says in mixwright("search", "--table", path, "--run", tmp_path / "run", code=2)
    assert not (tmp_path / "run").exists()


def test_tables_that_are_not_complete_or_none(tmp_path: Path) -> None:
    table = LikelihoodTable.create(tmp_path / "half", SOURCES, documents=np.arange(4))
    table.append("web", [-1.0] * 4)
    table.finish("web")
    said = mixwright("search", "--table", tmp_path / "half", "--run", tmp_path / "run", code=2)
    assert "found 2 of 3 columns not finished ('books', 'code')" in said
    (tmp_path / "logs").mkdir()
    said = mixwright("search", "--table", tmp_path / "logs", "--run", tmp_path / "run", code=2)
    assert "mixwright table import" in said
    write_csv(tmp_path, text="-1,-2\n")
    said = mixwright("search", "--table", tmp_path / "scores.csv", "--run", tmp_path / "run", code=2)
    assert "should have 5 cells in each row, found 2 at row 180" in said
    for key, value in (("values", "loss"), ("tokens", 3), ("unit", "page")):
        given = {"kind": "likelihoods", "table": {"path": str(tmp_path / "half"), key: value}}
        with pytest.raises(InputError, match=f"there should be no key {key} for the folder of a table"):
            drive(make("search", given), tmp_path / "run")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--floor", "web=0.1"], "--floor goes with --table; in CONFIG write it as a key"),
        (["--table", "scores.csv", "search.yaml"], "give CONFIG or --table, not both"),
        (["--table", "scores.csv", "--floor", "web"], "--floor should be NAME=VALUE, found 'web'"),
        (["--table", "scores.csv", "--floor", "web=.1", "--floor", "web=.2"], "--floor should have each name once"),
        (["--table", "scores.csv", "--source", "web"], "a search should have at least two sources, found web alone"),
        (["--table", "scores.csv", "--source", "=web"], "--source should be NAME or NAME=COLUMN, found '=web'"),
        (["--table", "scores.csv", "--prior", "{web: "], "--prior should be a value as in a YAML file"),
        (["--table", "scores.csv", "--cap", "web=much"], "search.caps.web: should be a number"),
        (["--table", "scores.csv", "--quick"], "key quick: there is no such key"),
    ],
)
def test_bad_options(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], says: str) -> None:
    write_csv(tmp_path)
    monkeypatch.chdir(tmp_path)
    assert says in mixwright("search", *words, code=2)
    assert not (tmp_path / "runs").exists()


def test_a_file_without_its_kind_names_those_with_a_table(tmp_path: Path) -> None:
    (tmp_path / "search.yaml").write_text("table: scores.csv\n")
    with pytest.raises(InputError, match=r"line 1, key table: .* needs the key kind: assays or likelihoods; add one"):
        load("search", tmp_path / "search.yaml")


def likelihoods(folder: Path, **more: Any) -> Any:
    values = {"kind": "likelihoods", "table": str(write_csv(folder)), "targets": "law", "search": {"shrinkage": 0.1}}
    return make("search", {**values, **more})


def test_a_finished_run_needs_no_tracker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    weights = weights_of(drive(likelihoods(tmp_path), tmp_path / "run"))
    monkeypatch.setattr("mixwright.watching.trackers.tracker.find_spec", lambda name: None)
    with pytest.raises(InputError, match="tensorboard should be installed"):
        drive(likelihoods(tmp_path, track="tensorboard"), tmp_path / "other")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it says that it is left out
        assert weights_of(drive(likelihoods(tmp_path, track="tensorboard"), tmp_path / "run")) == weights


def test_a_further_rank_refuses_another_version_than_that_of_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MIXWRIGHT_CACHE", str(tmp_path / "cache"))
    copy, run = tmp_path / "cache" / "views" / ("0" * 12) / "s3" / "bucket", tmp_path / "run"
    copy.mkdir(parents=True)
    drive(config := likelihoods(copy), run)
    text = (run / "inputs.json").read_text()
    assert "0" * 12 in text
    (run / "inputs.json").write_text(text.replace("0" * 12, "1" * 12))
    second = SimpleNamespace(main=False, shared=lambda value: value)
    monkeypatch.setattr(Run, "processes", lambda self: nullcontext(second))
    with pytest.raises(InputError, match=r"s3://bucket/.*: a copy of the version that the run began with should be"):
        drive(config, run)


@pytest.mark.parametrize("shrinkage", [0.0, 10.0])
def test_intervals_without_width_are_explained(tmp_path: Path, shrinkage: float) -> None:
    logs = np.full((40, 3), -60.0)
    logs[:, 0] = -20  # one source explains each document best, by far
    values = {"table": {"path": "scores.csv"}, "kind": "likelihoods", "search": {"shrinkage": shrinkage}}
    table = dict(zip(SOURCES, (logs + np.random.default_rng(0).normal(0, 0.1, (40, 3))).T, strict=True))
    lines = [",".join(str(cell) for cell in row) for row in zip(*table.values(), strict=True)]
    (tmp_path / "scores.csv").write_text("\n".join([",".join(table), *lines]) + "\n")
    summary = drive(make("search", values, folder=tmp_path), tmp_path / "run")
    (weights,) = weights_of(summary).values()
    assert weights[0] == pytest.approx((1 + shrinkage / 3) / (1 + shrinkage))
    (note,) = [note for note in summary["notes"] if "have no width" in note]
    assert ("the shrinkage (10)" in note) == bool(shrinkage)
    write_csv(tmp_path)
    wide = drive(make("search", values, folder=tmp_path), tmp_path / "wide")
    assert not [note for note in wide["notes"] if "have no width" in note]
