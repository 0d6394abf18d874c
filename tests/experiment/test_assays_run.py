import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml
from golden_files import check_run

from mixwright.assays import Booster
from mixwright.assays.arms import held_out_labels
from mixwright.errors import InputError
from mixwright.experiment import drive, load, read_summary
from mixwright.experiment.assays import search as assays_run
from mixwright.experiment.core.run_folder import config_text
from mixwright.experiment.kinds import of_config
from mixwright.experiment.run import json_schema
from mixwright.mixture_file import MixtureFile
from mixwright.report import write

MINIMAL = {"kind": "assays", "table": "t.csv", "target": "target"}
SMALL = {
    **MINIMAL,
    "table": {"path": "t.csv", "features": ["x_*"]},
    "classifier": {"trees": 10, "depth": 3},
    "proxy": {"folds": 2},
    "split": {"held_out": 0.3, "seeds": 2},
    "own_rows": False,
    "threads": 1,
}


def write_table(folder: Path, n: int = 240) -> None:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(n, 4)).round(6)
    labels = np.stack([X[:, 0] > 0.5, X[:, 0] + 0.2 * rng.normal(size=n) > 0, X[:, 1] > 0], axis=1).astype(int)
    lines = ["x_0,x_1,x_2,x_3,target,twin,other"]
    lines += [",".join(map(str, [*row, *label])) for row, label in zip(X, labels, strict=True)]
    (folder / "t.csv").write_text("\n".join(lines) + "\n")


def write_config(folder: Path, **changes: object) -> Path:
    path = folder / "search.yaml"
    path.write_text(yaml.safe_dump({**SMALL, **changes}, sort_keys=False))
    return path


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("assays")
    write_table(folder)
    drive(load("search", write_config(folder)), folder / "run", command="mixwright search search.yaml")
    return folder


def test_keys_and_fingerprints_are_the_golden_ones(done: Path) -> None:
    check_run("search-assays", done / "run", done)


def test_what_a_run_leaves(done: Path) -> None:
    run = done / "run"
    summary = read_summary(run)
    assert [m["name"] for m in summary["mixtures"]] == [
        "uniform",
        "natural",
        "target_alone",
        "best_single",
        "search",
        "search_uncalibrated",
    ]
    assert [s["name"] for s in summary["sources"]] == ["twin", "other", "target"]
    for mixture in summary["mixtures"]:
        assert sum(mixture["weights"]) == pytest.approx(1)
    entry = next(r for r in summary["runs"] if r["mixture"] == "search")
    assert entry["average_precision"]["target"] == pytest.approx(np.mean(entry["by_seed"]))
    over = {c["over"] for c in summary["comparisons"] if c["mixture"] == "search"}
    assert over == {"uniform", "natural", "target_alone", "best_single"}
    assert ". search on target: " in summary["verdict"]
    what_if = json.loads((run / "whatif.json").read_text(encoding="utf-8"))
    assert what_if["sources"] == ["twin", "other"]
    assert what_if["targets"][0]["losses"][0] == pytest.approx(summary["searches"][0]["loss"], abs=1e-9)
    assert {m["name"]: m["weights"] for m in what_if["marks"]} == {
        m["name"]: m["weights"][:2] for m in summary["mixtures"] if m["name"] in [w["name"] for w in what_if["marks"]]
    }
    assert 'id="what-if"' in (run / "report.html").read_text(encoding="utf-8")
    assert any("Calibration of the proxies" in note for note in summary["notes"])
    mixture = MixtureFile.read(run / "mixture.json")
    assert mixture.verdict == summary["verdict"]
    assert mixture.sources == ("twin", "other")
    assert mixture.weights[0] > 0.7
    assert (run / ".mixwright-run").exists()
    page = (run / "report.html").read_text()
    assert "Average precision by mixture" in page
    assert "Higher is better" in page
    assert "row_weights.parquet" in page
    assert "nats per token" not in page.replace("0.01 nats per token", "")


def test_molecules_are_counted_once_and_the_same_everywhere(tmp_path: Path) -> None:
    write_table(tmp_path)
    lines = (tmp_path / "t.csv").read_text().splitlines()
    again = [line.rpartition(",")[0] + "," for line in lines[1:61]]  # the same molecules, with fewer labels
    rows = [f"{line},{1000 - i if i < 240 else 1000 - (i - 240)}" for i, line in enumerate([*lines[1:], *again])]
    (tmp_path / "t.csv").write_text("\n".join([lines[0] + ",day", *rows]) + "\n")
    config = load(
        "search",
        write_config(
            tmp_path,
            table={"path": "t.csv", "features": ["x_*"], "time": "day"},
            split={"kind": "time", "seeds": 3, "duplicates": "drop"},
        ),
    )
    summary = drive(config, tmp_path / "run")
    plan = assays_run.check_plans(config, assays_run.read_table(config))[0]
    held = np.unique(plan.table.molecules[plan.split.test])
    assert len(held) < len(plan.split.test)  # rows are not molecules here
    target, search = summary["targets"][0], summary["searches"][0]
    assert target["held_out_documents"] == len(held)
    assert target["documents"] == search["documents"] < search["rows"] == len(plan.split.train)
    words = f"{len(held)} held-out molecules, 3 seeds on one split"
    assert all(words in c["verdict"] and c["among"] == words for c in summary["comparisons"] if c["low"] != c["high"])
    assert f"{search['documents']} molecules)" in search["verdict"]
    assert any("all on the same split" in note for note in summary["notes"])
    page = (tmp_path / "run" / "report.html").read_text()
    assert f"paired over {words}" in page
    assert "each with its own split" not in page
    assert f"{len(plan.split.test)} held-out molecules" not in page
    mixture = MixtureFile.read(tmp_path / "run" / "mixture.json")
    assert mixture.evidence["documents_are"] == "molecules"


def test_the_row_weights_that_are_handed_out(done: Path) -> None:
    rows = pq.read_table(done / "run" / "row_weights.parquet").to_pydict()
    weights = np.array(rows["sample_weight"])
    different = len(set(zip(rows["row"], rows["label"], strict=True)))  # a molecule of several assays counts once
    assert 0.5 * different < weights.sum() <= different + 1e-6
    mixture = MixtureFile.read(done / "run" / "mixture.json")
    for source, weight in zip(mixture.sources, mixture.weights, strict=True):
        mine = np.array([name == source for name in rows["source"]])
        assert weights[mine].sum() / weights.sum() == pytest.approx(weight)
    lines = (done / "t.csv").read_text().splitlines()
    for i in range(0, len(weights), 17):
        cells = lines[1 + rows["row"][i]].split(",")
        assert int(cells[4 + ["target", "twin", "other"].index(rows["source"][i])]) == rows["label"][i]


def test_a_finished_run_trains_nothing_again(done: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = read_summary(done / "run")
    monkeypatch.setattr(Booster, "build", lambda *args: pytest.fail("a model was built"))
    again = drive(load("search", done / "run" / "config.yaml"), done / "run")
    for key in ("mixtures", "comparisons", "searches", "verdict", "runs"):
        assert again[key] == before[key]


@pytest.mark.parametrize(
    "gone",
    [
        "final/seed_0/search/held_out.npy",
        "search/seed_0/intercept/mixture.json",
        "proxies/seed_0/table/columns/0000.f64",
        "proxies/seed_0/table",
    ],
)
def test_what_was_deleted_is_made_again(done: Path, tmp_path: Path, gone: str) -> None:
    shutil.copytree(done / "run", tmp_path / "run")
    path = tmp_path / "run" / gone
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    summary = drive(load("search", done / "search.yaml"), tmp_path / "run")
    assert summary["comparisons"] == read_summary(done / "run")["comparisons"]
    assert path.exists()


def test_numbers_of_other_rows_are_made_again(done: Path, tmp_path: Path) -> None:
    shutil.copytree(done / "run", tmp_path / "run")
    path = tmp_path / "run" / "final" / "seed_0" / "search" / "held_out.npy"
    whole = np.load(path)
    np.save(path, whole[:-1])
    drive(load("search", done / "search.yaml"), tmp_path / "run")
    np.testing.assert_array_equal(np.load(path), whole)


def test_a_run_that_was_stopped_ends_with_the_same_numbers(
    done: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copy(done / "t.csv", tmp_path / "t.csv")
    config = load("search", write_config(tmp_path))
    real, left = Booster.build, [0]

    def build(self: Booster, seed: int):
        left[0] -= 1
        if left[0] < 0:
            raise KeyboardInterrupt
        return real(self, seed)

    monkeypatch.setattr(Booster, "build", build)
    stops = 0
    while True:
        left[0] = 7
        try:
            found = drive(config, tmp_path / "run")
            break
        except KeyboardInterrupt:
            stops += 1
            assert not (tmp_path / "run" / "summary.json").exists()
    assert stops >= 2
    whole = read_summary(done / "run")
    assert found["mixtures"] == whole["mixtures"]
    assert found["comparisons"] == whole["comparisons"]


def test_a_change_does_again_what_depends_on_it(done: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(done, tmp_path / "copy")
    folder = tmp_path / "copy"
    built = []
    real = Booster.build
    monkeypatch.setattr(Booster, "build", lambda self, seed: built.append(seed) or real(self, seed))
    found = drive(load("search", write_config(folder, search={"caps": {"twin": 0.5}})), folder / "run")
    assert len(built) == 4  # two searches in each of two seeds have new weights; proxies and baselines are kept
    assert next(m for m in found["mixtures"] if m["name"] == "search")["weights"][0] == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"target": "tagret"}, ["key target", "'tagret'", "'target'"]),
        ({"sources": ["twin", "othr"]}, ["line", "key sources", "'othr'", "'other'"]),
        ({"target": "tagret", "sources": ["twin"]}, ["key target", "'tagret'", "'target'"]),
        ({"table": {"path": "t.csv", "features": ["x_*"], "ignore": ["id"]}}, ["column to ignore", "'id'"]),
        ({"table": {"path": "t.csv", "coding": {"active": 1}}}, ["table.coding.inactive", "missing"]),
        ({"table": {"path": "t.csv", "features": ["x_*"], "standardise": "parent"}}, ["standardise is for SMILES"]),
        ({"table": ["t.csv", "none.csv"]}, ["none.csv", "no such file"]),
        ({"sources": ["twin", "target"]}, ["sources should not hold the target"]),
        ({"sources": ["twin", "twin"]}, ["named once"]),
        ({"tabel": 1}, ["key tabel", "did you mean 'table'?"]),
        ({"table": {"path": "t.csv", "featuers": []}}, ["table.featuers", "did you mean 'features'?"]),
        ({"table": "none.csv"}, ["none.csv", "no such file"]),
        ({"table": "t.csv"}, ["the column for smiles should be one of the table's, found 'smiles'"]),
        ({"split": "day"}, ["key split", "'random', 'scaffold', 'time' or 'column'"]),
        ({"split": "scaffold"}, ["needs SMILES"]),
        ({"split": "time"}, ["table: time"]),
        ({"split": {"seeds": 0}}, ["split.seeds", "should be at least 1, found 0"]),
        ({"classifier": "sklearn.linear_model.Logistic"}, ["'sklearn.linear_model.Logistic'"]),
        ({"classifier": "sklearn.neighbors.KNeighborsClassifier"}, ["sample_weight"]),
        ({"classifier": "os.system"}, ["one of scikit-learn"]),
        ({"classifier": {"name": "sklearn.linear_model.LogisticRegression", "trees": 3}}, ["are of xgboost"]),
        ({"classifier": {"settings": {"n_jobs": 3}}}, ["'n_jobs'"]),
        ({"proxy": {"folds": 1}}, ["folds should be 0 or"]),
        ({"search": {"floors": {"twin": 0.7, "other": 0.7}}}, ["sum"]),
        ({"search": {"prior": {"twni": 1.0}}}, ["search.prior", "'twni'"]),
        ({"search": {"caps": {"twni": 0.5}}}, ["twni"]),
        ({"final": {"mixtures": ["uniform"]}}, ["should hold search"]),
        ({"kind": "assay"}, ["line 1", "kind should be text, assays or likelihoods"]),
    ],
)
def test_bad_input_is_one_error_before_anything_is_written(
    tmp_path: Path, changes: dict, says: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Booster, "build", lambda *args: pytest.fail("a model was built"))
    write_table(tmp_path, 80)
    with pytest.raises(InputError) as caught:
        drive(load("search", write_config(tmp_path, **changes)), tmp_path / "run")
    for part in says:
        assert part in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_a_table_without_the_kind_says_so(tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_text("table: t.csv\ntarget: a\n")
    with pytest.raises(InputError, match=r"line 1, key table: .*kind: assays"):
        load("search", tmp_path / "s.yaml")


def test_a_misspelt_key_of_a_text_search_is_not_taken_for_assays(tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_text("sources: {a: a.jsonl}\ntarget: {t: t.jsonl}\n")
    with pytest.raises(
        InputError, match=r"line 2, key target: there is no key 'target' here; did you mean 'targets'\?"
    ):
        load("search", tmp_path / "s.yaml")


def test_signed_labels_in_several_files_and_columns_that_are_ignored(tmp_path: Path) -> None:
    write_table(tmp_path)
    rows = [line.split(",") for line in (tmp_path / "t.csv").read_text().splitlines()[1:]]
    signed = [[*row[:4], *(("-1", "1")[int(label)] for label in row[4:])] for row in rows]
    signed[5][4] = "0"  # not measured
    first = [",".join([f"m{i}", *row[:5]]) for i, row in enumerate(signed)]
    second = [",".join([f"m{i}", "note", *row[5:]]) for i, row in reversed(list(enumerate(signed)))]
    (tmp_path / "one.csv").write_text("\n".join(["id,x_0,x_1,x_2,x_3,target", *first]) + "\n")
    (tmp_path / "two.csv").write_text("\n".join(["id,remark,twin,other", *second]) + "\n")
    given = {"path": ["one.csv", "two.csv"], "features": ["x_*"], "molecule": "id", "ignore": "remark"}
    given["coding"] = {"active": 1, "inactive": -1, "missing": 0}
    config = load("search", write_config(tmp_path, table=given))
    joined, plain = assays_run.read_table(config), assays_run.read_table(load("search", write_config(tmp_path)))
    assert joined.assays == ("target", "twin", "other")
    for i in range(240):
        rows_of = np.flatnonzero(joined.molecules == i)
        assert len(rows_of) == 2
        expected = [-1 if i == 5 else plain.labels[i, 0], *plain.labels[i, 1:]]
        assert joined.labels[rows_of].max(0).tolist() == expected
    (tmp_path / "again.yaml").write_text(config_text(of_config(config), config.dumped()))
    assert load("search", tmp_path / "again.yaml").model_dump() == config.model_dump()


def test_positives_stand_beside_every_average_precision(done: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from rich.console import Console

    from mixwright.cli.tables.search import print_summary

    summary = read_summary(done / "run")
    target = summary["targets"][0]
    config = load("search", done / "run" / "config.yaml")
    labels = [held_out_labels(plan) for plan in assays_run.check_plans(config, assays_run.read_table(config))]
    assert target["held_out_rows"] == np.mean([len(part) for part in labels])
    assert target["held_out_positives"] == np.mean([part.sum() for part in labels])
    rate = target["held_out_positives"] / target["held_out_rows"]
    words = f"held-out rows have a 1 (base rate {rate:.3f})"
    print_summary(Console(width=200), summary, done / "run")
    assert words in capsys.readouterr().out
    assert (done / "run" / "report.html").read_text().count(words) == 2


def test_where_the_target_alone_is_better_that_is_the_headline(done: Path) -> None:
    summary = json.loads(json.dumps(read_summary(done / "run")))
    worse = {"difference": -0.16, "low": -0.2, "high": -0.12, "verdict": "worse than target_alone by 0.160"}
    for comparison in summary["comparisons"]:
        if comparison["over"] == "target_alone":
            comparison |= worse
    page = write("search", summary, done / "alone.html").read_text()
    assert page.count("<bdi>Train on the target alone</bdi>") == 2  # both searches
    assert "Better than uniform" not in page


def test_a_search_over_one_source_has_nothing_to_decide(tmp_path: Path) -> None:
    write_table(tmp_path)
    config = load("search", write_config(tmp_path, sources=["twin"], split={"seeds": 1}))
    lines: list[str] = []
    summary = drive(config, tmp_path / "run", lambda stage, done, total, note="": lines.append(note))
    assert "There is one source, twin, so there is nothing to decide: its weight is 1." in summary["notes"]
    assert "1 seed: 1 proxy (once for each fold), 5 final models" in lines


def test_another_classifier_and_the_targets_own_rows(tmp_path: Path) -> None:
    write_table(tmp_path)
    changes = {"classifier": "sklearn.linear_model.LogisticRegression", "own_rows": True, "split": {"seeds": 1}}
    summary = drive(load("search", write_config(tmp_path, **changes)), tmp_path / "run")
    trial = summary["searches"][0]["trial"]
    assert set(trial["average_precision"]) == {"mixture", "borrowed", "target_alone"}
    assert trial["chosen"] in trial["average_precision"]
    assert any("out of fold on the target's training rows" in note for note in summary["notes"])
    assert [s["name"] for s in summary["sources"]] == ["twin", "other", "target"]
    search = next(m for m in summary["mixtures"] if m["name"] == "search")
    assert search["weights"][1] < 0.1  # the target's own rows, and its twin
    assert "held-out molecules" in summary["comparisons"][0]["verdict"]


def test_the_target_alone_that_the_search_chose_is_the_headline(tmp_path: Path) -> None:
    write_table(tmp_path)
    text = (tmp_path / "t.csv").read_text().splitlines()
    (tmp_path / "t.csv").write_text(
        "\n".join(
            line.rpartition(",")[0].rpartition(",")[0] + "," + line[-1] if i else "x_0,x_1,x_2,x_3,target,other"
            for i, line in enumerate(text)
        )
        + "\n"
    )
    changes = {"own_rows": True, "search": {"floors": {"target": 1.0}}}
    summary = drive(load("search", write_config(tmp_path, **changes)), tmp_path / "run")
    assert summary["verdict"].startswith("Train on the target alone (target): it was the best out of fold")
    page = (tmp_path / "run" / "report.html").read_text()
    assert page.count("<bdi>Train on the target alone</bdi>") == 2
    assert MixtureFile.read(tmp_path / "run" / "mixture.json").weights == (0.0, 1.0)


def test_the_key_of_older_versions_is_read(tmp_path: Path) -> None:
    path = write_config(tmp_path)
    for old, new in (("include", True), ("exclude", False)):
        path.write_text(yaml.safe_dump({k: v for k, v in SMALL.items() if k != "own_rows"} | {"target_rows": old}))
        assert load("search", path).own_rows is new
    for changes in ({"target_rows": "include"}, {"target_rows": True}):  # beside own_rows
        with pytest.raises(InputError, match="target_rows is called own_rows now; write own_rows: true"):
            load("search", write_config(tmp_path, **changes))


def test_stages_of_an_older_version_are_done_again(done: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(done, tmp_path / "copy")
    folder, built, real = tmp_path / "copy", [], Booster.build
    monkeypatch.setattr(assays_run, "_RULES", 1)
    monkeypatch.setattr(Booster, "build", lambda self, seed: built.append(seed) or real(self, seed))
    drive(load("search", write_config(folder)), folder / "run")
    assert len(built) == 2 * (2 * 2 + 6)  # seeds, proxies and their folds, final models


def test_the_command_line_counts_in_place_of_the_file(tmp_path: Path) -> None:
    from typer.testing import CliRunner

    from mixwright.cli.app import app

    write_table(tmp_path, 120)
    path = write_config(tmp_path, split={"seeds": 1}, final={"both_calibrations": False})
    done = CliRunner().invoke(app, ["search", str(path), "--own-rows", "--run", str(tmp_path / "run"), "--quiet"])
    assert done.exit_code == 0, done.output
    assert load("search", tmp_path / "run" / "config.yaml").own_rows is True
    assert MixtureFile.read(tmp_path / "run" / "mixture.json").sources == ("twin", "other", "target")


def test_a_search_on_a_long_table(tmp_path: Path) -> None:
    write_table(tmp_path)
    names, *lines = (line.split(",") for line in (tmp_path / "t.csv").read_text().splitlines())
    long = [
        [*line[:4], name, str(5.5 + int(value))]
        for line in lines
        for name, value in zip(names[4:], line[4:], strict=True)
    ]
    (tmp_path / "long.csv").write_text(
        "\n".join(",".join(row) for row in [[*names[:4], "test", "pIC50"], *long]) + "\n"
    )
    given = {"path": "long.csv", "features": ["x_*"], "assay": "test", "value": "pIC50", "threshold": 6}
    for sources in ([], ["twin"]):
        config = load("search", write_config(tmp_path, table=given, sources=sources))
        found = assays_run.read_table(config)
        plain = assays_run.read_table(load("search", write_config(tmp_path, sources=sources)))
        order = [found.assays.index(name) for name in plain.assays]
        np.testing.assert_array_equal(found.labels[:, order], plain.labels)
        np.testing.assert_array_equal(found.features, plain.features)
    with pytest.raises(InputError, match=r"key target.*'tagret'.*'target'"):
        assays_run.read_table(load("search", write_config(tmp_path, table=given, target="tagret")))
    plain = {"path": "long.csv", "features": ["x_*"]}
    with pytest.raises(InputError, match=r"key target.* for a row per measurement, say .* \(assay, value\)$"):
        assays_run.read_table(load("search", write_config(tmp_path, table=plain, target="SR-p53")))


def test_a_source_that_is_unusable_in_one_seed_is_dropped_in_all(tmp_path: Path) -> None:
    write_table(tmp_path)
    lines = (tmp_path / "t.csv").read_text().splitlines()
    rare = ["rare", *("1" if i in (3, 50) else "0" for i in range(len(lines) - 1))]
    (tmp_path / "t.csv").write_text("\n".join(f"{a},{b}" for a, b in zip(lines, rare, strict=True)) + "\n")
    config = load("search", write_config(tmp_path, unusable="drop", split={"seeds": 6}))
    plans = assays_run.check_plans(config, assays_run.read_table(config))
    assert {plan.sources for plan in plans} == {("twin", "other")}
    assert plans[0].notes[0].startswith("1 source was left out: 'rare' (one class")
    strict = load("search", write_config(tmp_path, split={"seeds": 6}))
    table = assays_run.read_table(strict)
    with pytest.raises(InputError, match="'rare' has one class"):
        assays_run.check_plans(strict, table)


def test_the_schema_and_the_written_configuration(tmp_path: Path) -> None:
    schema = json_schema("search")
    kinds = [schema["$defs"][entry["$ref"].rpartition("/")[2]] for entry in schema["anyOf"]]
    assert [kind["properties"]["kind"]["const"] for kind in kinds] == ["text", "assays", "likelihoods"]
    config = load("search", write_config(tmp_path, search={"shrinkage": 0.1}))
    (tmp_path / "again.yaml").write_text(config_text(of_config(config), config.dumped()))
    assert load("search", tmp_path / "again.yaml").model_dump() == config.model_dump()
    assert json.loads(json.dumps(schema))


def test_the_example_is_valid_and_complete() -> None:
    config = load("search", Path(__file__).parents[2] / "examples" / "search_assays.yaml")
    assert config.kind == "assays"
    assert set(type(config).model_fields) <= config.model_fields_set
