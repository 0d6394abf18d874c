"""Searches by one proxy run: end to end, resumed, the same as an arm of a comparison, bad input."""

import json
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

import tiny
from comparing import SMALL
from comparing import make as comparison
from typer.testing import CliRunner

from forked import exit_code
from killing import die_soon
from mixwright.cli.app import app
from mixwright.decisions import read_decisions, replay
from mixwright.errors import InputError
from mixwright.experiment import drive, load
from mixwright.experiment import make as configured
from mixwright.experiment.text.proxies import neural, online
from mixwright.mixture_file import MixtureFile
from mixwright.strategies import DoGE, DoReMi

VERDICT = "not certified; an average of weights of one proxy run"
RUN = 640  # tokens of a proxy: 600 in whole steps of 4 x 32
FINAL = tiny.SETTINGS["final"] | {"tokens": 1280}
DOREMI: dict[str, Any] = {"search": {"method": "doremi"}, "proxy": {"tokens": 600}, "final": FINAL}
DOGE: dict[str, Any] = {"search": "doge", "proxy": {"tokens": 600}, "targets": {}}


def summary_of(run: Path) -> dict[str, Any]:
    return json.loads((run / "summary.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the tiny data and a search by DoReMi."""
    folder = tmp_path_factory.mktemp("doremi")
    plans: list[str] = []
    report = lambda stage, *more: plans.append(more[-1]) if stage == "plan" else None  # noqa: E731
    drive(load("search", tiny.write_tiny(folder, **DOREMI)), folder / "run", report)
    assert plans[0] == (
        f"a reference ({RUN} tokens to train), a proxy run of doremi ({RUN} tokens to train), 3 final runs of 1,280 "
        "tokens"
    )
    return folder


def test_the_mixture_is_the_mean_of_the_proxy_run(done: Path) -> None:
    run, summary = done / "run", summary_of(done / "run")
    log = read_decisions(run / "proxy_runs" / "doremi_uniform")
    assert len(log.observations) == RUN // 128
    found = MixtureFile.read(run / "mixture.json")
    np.testing.assert_allclose(found.weights, replay(log, DoReMi()).mean(0), rtol=1e-9)
    assert found.sources == tuple(tiny.KINDS)
    assert (found.verdict, dict(found.certificate)) == (summary["verdict"].splitlines()[0], {})
    assert VERDICT in found.verdict
    assert found.evidence["reference_tokens"] == RUN
    mixtures = {mixture["name"]: mixture["weights"] for mixture in summary["mixtures"]}
    assert list(mixtures) == ["uniform", "natural", "search"]
    assert mixtures["search"] == list(found.weights)
    course = summary["proxy_run"]["weights"]
    assert [point["step"] for point in course] == [1, 2, 3, 4, 5]
    np.testing.assert_allclose(np.mean([point["weights"] for point in course], 0), found.weights, rtol=1e-9)


def test_it_is_checked_on_the_target_and_says_that_it_has_no_certificate(done: Path) -> None:
    summary = summary_of(done / "run")
    (search,) = summary["searches"]
    assert (search["method"], search["target"], search["verdict"]) == ("DoReMi", "mix", VERDICT)
    assert not {"gap", "loss", "rows"} & set(search)
    assert [run["mixture"] for run in summary["runs"]] == ["uniform", "natural", "search"]
    assert {(c["mixture"], c["over"]) for c in summary["comparisons"]} == {
        ("natural", "uniform"),
        ("search", "uniform"),
        ("search", "natural"),
    }
    assert summary["verdict"].startswith("search on mix: ")
    assert summary["verdict"].endswith(f"; {VERDICT}")
    page = (done / "run" / "report.html").read_text(encoding="utf-8")
    assert 'id="proxy-run"' in page
    assert 'id="weights-of-proxy-run"' in page
    assert 'id="search"' not in page
    assert "Certificate and expected improvement" not in page


def test_the_terminal_shows_it(done: Path) -> None:
    shown = CliRunner().invoke(app, ["show", str(done / "run")], env={"COLUMNS": "200", "TERM": "dumb"})
    assert shown.exit_code == 0, shown.output
    assert "Weights of search (the mean of a proxy run of DoReMi, 5 steps)" in shown.output
    assert f"search: {VERDICT}" in shown.output
    assert "proxy run of DoReMi and its reference (1,280 tokens): " in shown.output


def test_reference_and_passes_cost_what_an_arm_is_charged(done: Path) -> None:
    cost = summary_of(done / "run")["cost"]
    assert cost["proxy_tokens"] == 2 * RUN
    # the proxy is as large as the final model: a pass over a token is a third of training on it
    assert cost["share"] == pytest.approx((RUN + RUN * 4 / 3) / 1280)
    assert {"reference", "proxy run", "final"} <= set(cost["seconds"])


def test_again_nothing_is_trained(done: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    summary = summary_of(done / "run")
    monkeypatch.setattr("mixwright.training.loop.LanguageModelLoop.run", None)
    again = drive(load("search", done / "run" / "config.yaml"), done / "run")
    assert {**again, "created": ""} == {**summary, "created": ""}


@pytest.mark.parametrize("search", [{"method": "doremi"}, {"method": "doge", "parameters": {"learning_rate": 0.01}}])
def test_an_arm_of_a_comparison_finds_the_same(search: dict[str, Any], tmp_path: Path) -> None:
    own = DOGE | {"search": {**search, "prior": "natural"}, "held_out": SMALL["held_out"], "seed": 3}
    drive(load("search", tiny.write_tiny(tmp_path, **own)), tmp_path / "search")
    arm = {"name": "it", "search": search["method"], "prior": "natural", "parameters": search.get("parameters")}
    final = {**SMALL["final"], "tokens": 2560}
    more = {"targets": {}, "arms": ["uniform", arm], "seeds": 1, "seed": 3, "final": final}
    summary = drive(comparison(tmp_path, **more), tmp_path / "compare")
    mixture = next(arm for arm in summary["arms"] if arm["name"] == "it")["mixtures"][0]
    found = MixtureFile.read(tmp_path / "search" / "mixture.json")
    weights = [mixture["weights"][name][0] for name in found.sources]
    assert weights == pytest.approx(list(found.weights), rel=1e-6)  # where threads differ, so may the last digits


def search_and_die(path: Path, run: Path) -> None:
    """Search; the process is killed when the proxy run begins."""

    def killed(stage: str, done: int, total: int, note: str = "") -> None:
        if "the proxy run" in note:
            die_soon()

    drive(load("search", path), run, killed)


def test_killed_between_reference_and_proxy_run_it_finds_the_same(done: Path, tmp_path: Path) -> None:
    path, run = tiny.write_tiny(tmp_path, **DOREMI | {"final": FINAL | {"mixtures": []}}), tmp_path / "run"
    assert exit_code(search_and_die, path, run) == -signal.SIGKILL
    reference = run / "reference" / "uniform" / "result.json"
    before = reference.stat().st_mtime_ns
    assert not (run / "mixture.json").exists()
    summary = drive(load("search", path), run)
    assert reference.stat().st_mtime_ns == before
    assert MixtureFile.read(run / "mixture.json").weights == MixtureFile.read(done / "run" / "mixture.json").weights
    assert summary["verdict"] == f"search on mix: {VERDICT}; not checked by training"


def test_without_targets_nothing_is_trained_after_the_search(tmp_path: Path) -> None:
    summary = drive(load("search", tiny.write_tiny(tmp_path, **DOGE)), tmp_path / "run")
    assert (summary["targets"], summary["runs"], summary["comparisons"]) == ([], [], [])
    assert summary["verdict"] == f"search: {VERDICT}; not checked by training"
    log = read_decisions(tmp_path / "run" / "proxy_runs" / "doge_uniform")
    weights = MixtureFile.read(tmp_path / "run" / "mixture.json").weights
    np.testing.assert_allclose(weights, replay(log, DoGE()).mean(0), rtol=1e-9)
    assert summary["cost"]["proxy_tokens"] == RUN
    assert not {"target", "gap"} & set(summary["searches"][0])
    assert "No improvement was estimated" in (tmp_path / "run" / "report.html").read_text(encoding="utf-8")


def test_a_method_may_read_gradients_of_targets(tmp_path: Path) -> None:
    own = {"search": {"method": "doge", "parameters": {"objective": "targets"}}, "targets": {"mix": "target.jsonl"}}
    path = tiny.write_tiny(tmp_path, **DOGE | own | {"held_out": 0.5, "final": FINAL | {"mixtures": []}})
    summary = drive(load("search", path), tmp_path / "run")
    assert summary["searches"][0]["reads_target"] is True
    (place,) = (tmp_path / "run" / "proxy_runs").glob("doge_uniform_*")
    assert np.isfinite(read_decisions(place).observations[-1].target_gram).all()
    weights = MixtureFile.read(tmp_path / "run" / "mixture.json").weights
    np.testing.assert_allclose(weights, replay(read_decisions(place), DoGE(objective="targets")).mean(0), rtol=1e-9)
    assert "read gradients of the targets" in (tmp_path / "run" / "report.html").read_text(encoding="utf-8")


def test_what_another_search_left_in_the_folder_goes(tmp_path: Path) -> None:
    run = tmp_path / "run"
    quick = tiny.write_tiny(tmp_path, quick=True)
    drive(load("search", quick), run)
    assert (run / "whatif.json").exists()
    drive(load("search", tiny.write_tiny(tmp_path, **DOGE)), run)
    assert not (run / "whatif.json").exists()
    assert not (run / "forecast.json").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"proxy": "ngram"}, "^key proxy: search: doge trains a proxy model, found count models"),
        ({"quick": True}, "^key proxy: search: doge trains a proxy model, .*leave out ngram and quick"),
        ({"proxy": {"checkpoints": {"greek": "m"}}}, r"^key proxy\.checkpoints: search: doge trains one proxy on all"),
        ({"final": {"mixtures": ["uniform", "search"]}}, r"^key final\.mixtures: mixtures are compared on targets"),
        ({"final": {"mixtures": ["uniform", "best_single"]}}, r"final\.mixtures: best_single takes a proxy per source"),
        ({"reference": {"train": "prior"}}, "^key reference: is for search: doremi alone, found doge; remove it"),
        ({"search": {"method": "mixmin"}}, "^key targets: this key is missing, or empty; add"),
        ({"search": {"parameters": {"learning_rate": 1}}}, "parameters belong to method: doremi or doge or aioli"),
        ({"search": {"method": "doge", "floors": {"greek": 0.1}}}, "no key floors with method: doge; remove it"),
        ({"search": {"method": "doge", "likelihood": "token"}}, "no key likelihood with method: doge; remove it"),
        ({"search": {"method": "doge", "prior": {"greek": 1.0}}}, "prior should be uniform or natural, found weights"),
        ({"search": {"method": "doge", "parameters": {"wrap": []}}}, "are numbers of doge, found wrap; remove it"),
        ({"search": {"method": "doge", "parameters": {"strength": 1}}}, "^key search: .*DoGE.*strength"),
        ({"search": {"method": "doge", "parameters": {"objective": "targets"}}}, "^key search: DoGE needs target_gram"),
        ({"search": {"method": "doreme"}}, r"^key search\.method: .*'mixmin', 'doremi', 'doge' or 'aioli'"),
        (
            {"search": "doremi", "reference": "nowhere"},
            "^key reference: .*there should be a model .*found no such folder",
        ),
        ({"search": "aioli", "proxy": {"tokens": 300}}, "^key search: a proxy run of aioli should have .* 4 steps"),
        ({"search": "aioli", "held_out": 0.01}, r"^key search: Aioli\(.*\) should have held-out documents of each"),
        ({"sources": {"greek": "source0.jsonl"}}, "a search should have at least two sources"),
        ({"kind": "likelihoods", "table": "t.parquet", "search": {"method": "doge"}}, r"search\.method: there is no"),
    ],
)
def test_what_does_not_fit_is_said_before_anything_is_trained(
    change: dict[str, Any], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(online, "train", None)
    monkeypatch.setattr(neural, "train", None)
    values = json.loads(tiny.write_tiny(tmp_path, **DOGE).read_text()) | change
    values = values if change.get("kind") is None else change
    with pytest.raises(InputError, match=message):
        drive(configured("search", values, folder=tmp_path), tmp_path / "run")
    assert not (tmp_path / "run" / "mixture.json").exists()


def test_a_method_is_an_arm_in_a_comparison(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="a method such as doremi is an arm; move it to arms"):
        comparison(tmp_path, search={"method": "doremi"})
