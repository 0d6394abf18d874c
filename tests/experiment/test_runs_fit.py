"""Fits of tables of runs: from a file, by YAML or by options."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("pydantic")
pytest.importorskip("typer")
pytest.importorskip("jinja2")

from typer.testing import CliRunner

from mixwright import Constraints, MixtureFile, RunSearch, RunTable
from mixwright.cli.app import app
from mixwright.errors import InputError
from mixwright.experiment import drive, load, make
from mixwright.report.runs.parts import wishes_view
from mixwright.runs.search import RunSearch as SearchClass

SOURCES = ["web", "code", "law"]


def write_table(folder: Path, n: int = 30, **columns: Any) -> Path:
    """Write a table of two targets, of which web helps the first and law the second; two runs are repeats."""
    rng = np.random.default_rng(0)
    W = rng.dirichlet([1, 1, 1], n)
    W[-2:] = W[:2]
    table: dict[str, Any] = {"run": [f"r{i}" for i in range(n)], **dict(zip([f"w:{s}" for s in SOURCES], W.T))}  # noqa: B905
    for name, t in (("qa", [2.0, 1.0, 0.0]), ("cases", [0.0, 0.5, 2.0])):
        table[f"loss:{name}"] = 2 + np.exp(-W @ t) + 0.005 * rng.normal(size=n)
    table |= {"tokens": [100.0] * n, **columns}
    lines = [",".join(map(str, row)) for row in zip(*table.values(), strict=True)]
    path = folder / "runs.csv"
    path.write_text("\n".join([",".join(table), *lines]) + "\n")
    (folder / "sources.csv").write_text("source,available_tokens\nweb,50\ncode,300\nlaw,150\n")
    return path


def mixwright(*words: Any, code: int = 0) -> str:
    done = CliRunner().invoke(app, [str(word) for word in words], env={"COLUMNS": "250"})
    assert done.exit_code == code, done.output
    return " ".join(done.output.split())


def test_options_a_file_and_python_find_the_same(tmp_path: Path) -> None:
    path = write_table(tmp_path)
    limits = ["--cap", "web=0.5", "--floor", "law=0.1", "--sources-file", tmp_path / "sources.csv"]
    mixwright("runs", "fit", path, "--target", "qa", "--law", "log_linear", *limits, "--run", tmp_path / "a", "-q")
    (tmp_path / "fit.yaml").write_text(
        "table: {path: runs.csv, sources: sources.csv}\ntarget: qa\nlaw: log_linear\n"
        "search: {caps: {web: 0.5}, floors: {law: 0.1}}\n"
    )
    summary = drive(load("runs fit", tmp_path / "fit.yaml"), tmp_path / "b")
    first = json.loads((tmp_path / "a" / "summary.json").read_text())
    assert first["mixtures"] == summary["mixtures"]
    table = RunTable.from_file(path, sources=tmp_path / "sources.csv")
    found = RunSearch(law="log_linear").fit(
        table, target="qa", constraints=Constraints(caps={"web": 0.5}, floors={"law": 0.1})
    )
    proposal, incumbent, natural, uniform = summary["mixtures"]
    np.testing.assert_allclose(proposal["weights"], found.weights, atol=1e-12)
    assert proposal["weights"][0] == pytest.approx(0.5)  # the cap binds
    assert (proposal["predicted"], proposal["low"], proposal["high"]) == pytest.approx(found.predict(found.weights))
    assert incumbent["measured"] == found.incumbent.loss == summary["fit"]["incumbent"]["loss"]
    assert natural["weights"] == pytest.approx([0.1, 0.6, 0.3])
    assert uniform["measured"] is None
    assert "the cap 0.5 of source 'web' binds" in mixwright("show", tmp_path / "b")


def test_what_a_run_leaves(tmp_path: Path) -> None:
    run = tmp_path / "run"
    output = mixwright("runs", "fit", write_table(tmp_path), "--target", "qa", "--law", "linear", "--run", run)
    summary = json.loads((run / "summary.json").read_text())
    assert (summary["task"], summary["data"], summary["kind"]) == ("fit", "runs", "runs")
    assert (summary["fit"]["runs"], summary["fit"]["mixtures"]) == (30, 28)
    assert summary["fit"]["noise"] > 0
    assert len(summary["points"]["runs"]) == 28
    assert summary["verdict"].startswith("unverified: not shown better than the best measured run")
    assert "nothing is trained" in output
    mixture = MixtureFile.read(run / "mixture.json")
    assert list(mixture.weights) == summary["mixtures"][0]["weights"]
    page = (run / "report.html").read_text(encoding="utf-8")
    assert "Not trained yet, so not known" in page
    assert "Unverified: not shown better than the best measured run" in page  # the heading
    assert summary["fit"]["incumbent"]["run"] in page
    assert json.loads(mixwright("report", run, "--json")) == {"report": str(run / "report.html")}
    assert json.loads(mixwright("export", run / "mixture.json", "--to", "json"))["web"] == mixture.weights[0]
    assert "verdict: unverified" in mixwright("show", run / "mixture.json")


def test_the_page_has_wishes_sensitivity_epochs_and_the_plan(tmp_path: Path) -> None:
    kinds = ["natural", "centroid", *["design"] * 26, "repeat", "repeat"]
    path = write_table(tmp_path, kind=kinds, repeat_of=[*[""] * 28, "r0", "r1"], scale=["1M"] * 30)
    words = ["--sources-file", tmp_path / "sources.csv", "--law", "log_linear", "--run", tmp_path / "run", "-q"]
    mixwright("runs", "fit", path, "--target", "qa", *words)
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    found = RunSearch(law="log_linear").fit(RunTable.from_file(path, sources=tmp_path / "sources.csv"), target="qa")
    for wish in summary["wishes"]:
        if wish["refused"] is None:
            change = found.smallest_change("qa", by=wish["by"])
            assert wish["moved"] == pytest.approx(change.moved, abs=1e-9)
    assert summary["wishes"][-1]["refused"].startswith("no allowed mixture is predicted to lower the loss of 'qa' by 5")
    assert summary["sensitivity"]["step"] == 0.05
    assert len(summary["influence"]) == 10
    assert summary["responses"]["epochs"] == pytest.approx([2.0, 1 / 3, 2 / 3])  # 100 tokens of 50, 300, 150
    assert summary["design"]["tokens"] == 3000
    page = (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    for words_of_page in (
        'id="wishes"',
        'id="sensitivity"',
        'id="plan"',
        "30 runs by purpose",
        "by epochs",
        "3\u202fk tokens",
    ):
        assert words_of_page in page
    what_if = json.loads((tmp_path / "run" / "whatif.json").read_text())
    assert [mark["name"] for mark in what_if["marks"]] == [one["name"] for one in summary["mixtures"]]
    last, wish = summary["wishes"][-1], "No allowed mixture is predicted to; the least that is predicted is "
    assert last["before"] * 0.95 < last["least"] < last["before"]
    assert f"{wish}{last['least']:.3f} ({100 * (1 - last['least'] / last['before']):.1f}" in page
    assert "a smaller change may do" not in page  # the law is convex
    assert last["certified"]
    for one in summary["wishes"]:
        one |= {"certified": False}
    wishes = [one["words"] for one in wishes_view(summary, 2)]
    assert wishes[-1].startswith("No allowed mixture was found that is predicted to; the least that was found is 2.1")
    summary["wishes"][-1] = {"target": "qa", "by": 0.05, "refused": "whether there is one is open <b>"}
    (tmp_path / "run" / "summary.json").write_text(json.dumps(summary))
    mixwright("report", tmp_path / "run")
    page = (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    assert page.count("a smaller change may do") == sum(one["refused"] is None for one in summary["wishes"]) > 0
    assert wish not in page
    assert "whether there is one is open &lt;b&gt;" in page


def test_trees_have_neither_sliders_nor_wishes_and_the_page_says_so(tmp_path: Path) -> None:
    pytest.importorskip("lightgbm")
    path = write_table(tmp_path, 60)
    mixwright("runs", "fit", path, "--target", "qa", "--law", "trees", "--run", tmp_path / "run", "-q")
    page = (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    assert "There are no sliders for the law trees" in page
    assert "There are no wishes for the law trees: it has no slopes." in page
    assert "wishes-table" not in page
    assert json.loads((tmp_path / "run" / "whatif.json").read_text()) is None


def test_without_scipy_the_page_says_why_it_has_no_wishes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mixwright.experiment.runs.summary.find_spec", lambda name: None)
    mixwright(
        "runs", "fit", write_table(tmp_path), "--target", "qa", "--law", "linear", "--run", tmp_path / "run", "-q"
    )
    page = (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    assert "There are no wishes without scipy; install it with: pip install &#39;mixwright[runs]&#39;" in page
    assert "wishes-table" not in page


def test_a_guardrail_holds_a_target_that_does_not_count(tmp_path: Path) -> None:
    path, run = write_table(tmp_path), tmp_path / "run"
    words = ["runs", "fit", path, "--target", "qa", "--law", "linear", "--shrinkage", "0"]
    free = json.loads(mixwright(*words, "--run", tmp_path / "free", "--json", "-q"))
    held = json.loads(mixwright(*words, "--guardrail", "cases=0.01", "--run", run, "--json", "-q"))
    guard = held["targets"][1]
    assert (guard["name"], guard["share"]) == ("cases", 0.0)
    assert guard["predicted"] <= guard["limit"] + 1e-3
    assert held["fit"]["predicted"] > free["fit"]["predicted"]  # it binds
    page = (run / "report.html").read_text(encoding="utf-8")
    assert "guardrail" in page
    heading = page.partition('<span class="for">')[2].partition("</h2>")[0]
    assert "qa" in heading
    assert "cases" not in heading
    assert f"guardrail: cases: predicted {guard['predicted']:.2f}" in mixwright("show", run)


def test_responses_pass_through_the_proposal(tmp_path: Path) -> None:
    config = make("runs fit", {"table": str(write_table(tmp_path)), "target": "qa", "law": "linear"})
    summary = drive(config, tmp_path / "run")
    weights, losses = np.array(summary["responses"]["weights"]), np.array(summary["responses"]["losses"])
    for own, at, curve in zip(summary["mixtures"][0]["weights"], weights, losses, strict=True):
        if at[0] <= own <= at[-1]:
            assert np.interp(own, at, curve) == pytest.approx(summary["fit"]["predicted"], abs=1e-3)


def test_a_law_without_a_certificate_has_none_in_its_files(tmp_path: Path) -> None:
    pytest.importorskip("sklearn")
    config = make("runs fit", {"table": str(write_table(tmp_path)), "target": "qa", "law": "gaussian_process"})
    summary = drive(config, tmp_path / "run")
    assert summary["fit"]["gap"] is None
    assert "gap" not in MixtureFile.read(tmp_path / "run" / "mixture.json").certificate
    assert "certificate: none: the law gaussian_process is not convex" in mixwright("show", tmp_path / "run")


def test_a_finished_fit_is_not_done_again_unless_the_table_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, fitted, fit = write_table(tmp_path), [], SearchClass.fit

    def counted(self: SearchClass, table: RunTable, **more: Any) -> Any:
        fitted.append(table.n)
        return fit(self, table, **more)

    monkeypatch.setattr(SearchClass, "fit", counted)
    config = make("runs fit", {"table": str(path), "target": ["qa", "cases"], "law": "linear"})
    first = drive(config, tmp_path / "run")
    assert drive(config, tmp_path / "run")["mixtures"] == first["mixtures"]
    assert fitted == [30]
    write_table(tmp_path, 31)
    drive(config, tmp_path / "run")
    assert fitted == [30, 31]


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"target": "q"}, "target should name one of the table's; found 'q'; did you mean 'qa'"),
        ({}, "target should say which of the table's 2 targets counts"),
        ({"target": "qa", "law": "exposure"}, "the law 'exposure' needs exposures"),
        ({"target": "qa", "law": "log"}, "law should be 'auto', a law or its name"),
        ({"target": "qa", "search": {"max_epochs": 4}}, "search.max_epochs: this needs the sizes of the sources"),
        ({"target": "qa", "search": {"prior": "natural"}}, "search.prior: this needs the sizes of the sources"),
        ({"target": "qa", "search": {"floors": {"web": 0.8, "law": 0.8}}}, "floors"),
        ({"target": "qa", "scale": "1B"}, "scale should be one of the table's"),
    ],
)
def test_what_does_not_fit_is_said_before_anything_is_written(
    keys: dict[str, Any], message: str, tmp_path: Path
) -> None:
    config = make("runs fit", {"table": str(write_table(tmp_path)), **keys})
    with pytest.raises(InputError, match=message):
        drive(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_stale_losses_are_refused(tmp_path: Path) -> None:
    path = write_table(tmp_path, step=[100] * 29 + [90])
    assert (
        "losses should be of each run's last step, found 1 of 30 runs short of it: 'r29' (step 90 of 100)"
        in mixwright("runs", "fit", path, "--target", "qa", code=2)
    )


def test_options_go_with_a_table(tmp_path: Path) -> None:
    path = tmp_path / "fit.yaml"
    path.write_text(f"table: {write_table(tmp_path)}\n")
    assert "--sources-file goes with a table" in mixwright("runs", "fit", path, "--sources-file", "x.csv", code=2)
    assert "give" in mixwright("runs", "fit", code=2)


def test_trainings_in_phases(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    W = rng.dirichlet([1, 1], (20, 2))
    y = 2 - W[:, 1, 0] + 0.01 * rng.normal(size=20)
    rows = [",".join(map(str, [i, *W[i].ravel(), y[i]])) for i in range(20)]
    path = tmp_path / "runs.csv"
    path.write_text("run,a:web,a:code,b:web,b:code,loss:qa\n" + "\n".join(rows) + "\n")
    table = {"path": str(path), "weights": {"a": "a:", "b": "b:"}}
    summary = drive(make("runs fit", {"table": table, "law": "linear"}), tmp_path / "run")
    assert summary["responses"] is None
    assert summary["mixtures"][0]["predicted"] < summary["mixtures"][-1]["predicted"]
    assert "Responses" not in (tmp_path / "run" / "report.html").read_text(encoding="utf-8")


def test_an_option_that_does_not_fit_is_named_by_its_key_alone(tmp_path: Path) -> None:
    values = {"table": str(write_table(tmp_path)), "target": "qa", "search": {"prior": {"web": 2}}}
    with pytest.raises(InputError, match=r"^key search\.prior\.web: should be at most 1 \(.*2 % is 0\.02\), found 2$"):
        make("runs fit", values)


def test_mixtures_that_a_run_has_within_rounding_are_measured(tmp_path: Path) -> None:
    path = write_table(tmp_path)
    lines = path.read_text().splitlines()
    lines += ["even,0.33333333,0.33333333,0.33333334,2.5,2.5,100", "natural,0.1000000001,0.6,0.2999999999,2.75,2.5,100"]
    path.write_text("\n".join(lines) + "\n")
    run = tmp_path / "run"
    output = mixwright("runs", "fit", path, "--target", "qa", "--law", "linear", "--sources-file",
                       tmp_path / "sources.csv", "--run", run)  # fmt: skip
    measured = {one["name"]: one["measured"] for one in json.loads((run / "summary.json").read_text())["mixtures"]}
    assert (measured["natural"], measured["uniform"]) == (2.75, 2.5)
    assert "not trained" in output  # the proposal
    assert output.count("not trained") == 1


def test_numbers_of_options_that_do_not_fit_are_said_once(tmp_path: Path) -> None:
    words = ["runs", "fit", write_table(tmp_path), "--target", "qa", "--run", tmp_path / "run"]
    said = mixwright(*words, "--tokens=-5", code=2)
    assert "tokens: should be above 0, found -5" in said
    assert "a text" not in said
    assert "found sum 0.5; add what is missing" in mixwright(*words, "--prior", "{web: 0.5}", code=2)
    (tmp_path / "twice.csv").write_text("source,available_tokens\nweb,50\ncode,300\nlaw,150\nweb,60\n")
    said = mixwright(*words, "--sources-file", tmp_path / "twice.csv", code=2)
    assert "twice.csv: sources should have different names, found 'web' at positions 0 and 3" in said
    assert not (tmp_path / "run").exists()
