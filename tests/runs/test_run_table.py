"""Tables of runs from files, and what they refuse."""

from pathlib import Path

import numpy as np
import pytest

from mixwright import InputError, RunSearch, RunTable

HEADER = "run,w:web,w:code,loss:qa,loss:code\n"
ROWS = "a,1,0,2.5,3.1\nb,0.5,0.5,2.1,\nc,0,1,2.4,1.9\n"
SHARED = Path(__file__).parents[2] / ".." / "shared" / "data"


def written(folder, text, name="runs.csv"):
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def test_a_file_of_wide_columns(tmp_path):
    table = RunTable.from_file(written(tmp_path, HEADER + ROWS))
    assert table.sources == ("web", "code")
    assert table.targets == ("qa", "code")
    assert table.runs == ("a", "b", "c")
    assert table.weights.tolist() == [[1, 0], [0.5, 0.5], [0, 1]]
    assert np.isnan(table.losses[1, 1])
    assert table.exposures is None


def test_parquet_and_frames_are_read_alike(tmp_path):
    pandas = pytest.importorskip("pandas", reason="pandas is not installed")
    path = written(tmp_path, HEADER + ROWS)
    frame = pandas.read_csv(path)
    frame.to_parquet(tmp_path / "runs.parquet")
    for table in (RunTable.from_file(tmp_path / "runs.parquet"), RunTable.from_frame(frame)):
        np.testing.assert_array_equal(table.losses, RunTable.from_file(path).losses)
        assert table.runs == ("a", "b", "c")


def test_weights_and_metrics_in_two_files_are_joined_by_run(tmp_path):
    weights = written(tmp_path, "name,ratio_web,ratio_code\na,1,0\nb,0.25,0.75\n", "ratios.csv")
    metrics = written(tmp_path, "name,eval/qa_bpb\nb,2.0\na,1.0\n", "metrics.csv")
    table = RunTable.from_file(weights, weights="ratio_", metrics=metrics, losses="eval/*_bpb")
    assert table.targets == ("qa",)
    assert table.losses[:, 0].tolist() == [1.0, 2.0]
    short = written(tmp_path, "name,eval/qa_bpb\nb,2.0\n", "short.csv")
    with pytest.raises(InputError, match=r"short\.csv: should have the same runs .* none named 'a' \(1 missing\)"):
        RunTable.from_file(weights, weights="ratio_", metrics=short, losses="eval/")


def test_exposures_are_epochs(tmp_path):
    text = "run,tokens,w:web,w:code,loss:qa\na,100,1,0,2\nb,200,0.5,0.5,1\n"
    sizes = written(tmp_path, "source,available_tokens\ncode,50\nweb,400\n", "sources.csv")
    table = RunTable.from_file(written(tmp_path, text), sources=sizes)
    assert table.sizes.tolist() == [400, 50]
    assert table.exposures.tolist() == [[0.25, 0], [0.25, 2.0]]


def test_phases(tmp_path):
    text = "run,p1:a,p1:b,p2:a,p2:b,loss:x\nr,1,0,0,1,2\ns,0.5,0.5,1,0,3\n"
    shares = {"weights": {"first": "p1:", "second": "p2:"}, "phase_shares": [0.75, 0.25]}
    table = RunTable.from_file(written(tmp_path, text), **shares)
    assert table.weights.shape == (2, 2, 2)
    assert table.mean_weights.tolist() == [[0.75, 0.25], [0.625, 0.375]]


def test_a_proposal_for_phases():
    rng = np.random.default_rng(0)
    W = rng.dirichlet([1, 1, 1], (80, 2))
    y = 2 + np.exp(-1.5 * W[:, 0, 0] - 1.5 * W[:, 1, 1])  # source 0 first, source 1 after
    found = RunSearch(law="log_linear", shrinkage=0.0).fit(RunTable.from_array(W, y, phase_shares=[0.6, 0.4]))
    assert found.phase_weights == pytest.approx(np.eye(3)[:2], abs=1e-3)
    assert found.weights == pytest.approx([0.6, 0.4, 0], abs=1e-3)
    assert found.predict(found.phase_weights, level=None) == pytest.approx(found.predicted)


def test_rounded_weights_are_normalised_and_noted(tmp_path):
    table = RunTable.from_file(written(tmp_path, HEADER + "a,0.997,0,1,2\nb,0.5,0.5,2,3\n"))
    assert table.weights[0].tolist() == [1, 0]
    assert "the weights of 1 of 2 runs miss 1 by up to 0.003 and were normalised" in table.notes


def test_repeats_are_one_mixture_with_its_noise():
    W = np.array([[1.0, 0.0], [1.0, 0.0], [0.5, 0.5]])
    table = RunTable.from_array(W, [1.0, 3.0, 5.0], repeats=[None, "run_0", None])
    assert table.mixtures.tolist() == [0, 0, 1]
    with pytest.raises(InputError, match=r"run 'run_2' should have the weights of run 'run_0', which it repeats"):
        RunTable.from_array(W, [1.0, 3.0, 5.0], repeats=[None, None, "run_0"])


def test_a_repeat_of_a_run_that_is_not_there_is_noted():
    W, names = [[1.0, 0], [0.5, 0.5]], ["r", "s"]
    part = RunTable.from_array(W, [1.0, 3.0], runs=names, repeats=["plan_7", ""])
    assert part.notes == (
        "1 of 2 runs repeat one that is not in the table, such as 'r' of 'plan_7'; runs with the same weights count as "
        "repeats of each other",
    )
    rest = RunTable.from_array(W, [1.5, 3.0], runs=["plan_7", "t"], repeats=[None, "far"])
    assert [note[:30] for note in rest.notes] == ["1 of 2 runs repeat one that is"]
    whole = part.joined(rest)  # plan_7 is there now
    assert [note.split("; ")[0] for note in whole.notes] == [
        "1 of 4 runs repeat one that is not in the table, such as 't' of 'far'"
    ]


@pytest.mark.parametrize(
    ("text", "arguments", "message"),
    [
        (HEADER + "a,0.9,0,1,2\n", {}, r"should sum to 1, found 0.9 in run 'a'"),
        (HEADER + "a,1.2,-0.2,1,2\n", {}, r"at least 0, found -0.2 for source 'code' in run 'a'"),
        (HEADER + "a,1,0,inf,2\n", {}, r"finite or empty, found inf for target 'qa' in run 'a'"),
        (HEADER + "a,1,zero,1,2\n", {}, r"column 'w:code' should hold numbers, found 'zero' at row 0"),
        (HEADER + "a,1,0,1\n", {}, "should have 5 cells in each row, found 4 at row 0"),
        (HEADER, {}, "at least one run, found none"),
        (HEADER + "a,1,0,1,2\na,1,0,1,2\n", {}, "runs should have different names, found 'a' at positions 0 and 1"),
        (HEADER + ROWS, {"weights": "x:"}, "weights should be in columns that begin with 'x:', found none among run"),
        (HEADER + ROWS, {"losses": ["loss:q"]}, "losses should name columns; found 'loss:q'; did you mean 'loss:qa'"),
        (HEADER + ROWS, {"sources": {"web": 1.0}}, "sizes should have a number for each source; found none for 'code'"),
        (HEADER + ROWS, {"sources": [1.0, -1.0]}, "the size of source 'code' should be a number above 0; found -1"),
        (HEADER + ROWS, {"tokens": "budget"}, "tokens should name a column; found 'budget'"),
        (HEADER + ROWS, {"last_step": 10}, "last_step needs the column of steps, 'step'"),
    ],
)
def test_what_is_refused(tmp_path, text, arguments, message):
    path = written(tmp_path, text)
    with pytest.raises(InputError, match=message):
        RunTable.from_file(path, **arguments)


def test_values_of_an_early_step_are_refused(tmp_path):
    text = "run,step,w:a,w:b,loss:x\nr,100,1,0,2\ns,90,0,1,3\n"
    with pytest.raises(InputError, match=r"last step, found 1 of 2 runs short of it: 's' \(step 90 of 100\)"):
        RunTable.from_file(written(tmp_path, text))
    assert RunTable.from_file(written(tmp_path, text.replace("90", "100"))).n == 2


def test_steps_that_are_not_there_are_refused(tmp_path):
    path, text = tmp_path / "runs.csv", "run,scale,step,end,w:a,w:b,loss:x\nr,1M,{},9,1,0,2\ns,2M,9,{},0,1,3\n"
    path.write_text(text.format("", "9"))  # no step at all at the scale 1M
    with pytest.raises(InputError, match=r"each run should have a number in 'step', found none for 1 of 2: 'r'"):
        RunTable.from_file(path)
    path.write_text(text.format("9", "nan"))
    with pytest.raises(InputError, match=r"each run should have a number in 'end', found none for 1 of 2: 's'"):
        RunTable.from_file(path, last_step="end")
    assert RunTable.from_file(path).n == 2


def test_sources_that_differ_are_refused(tmp_path):
    path = written(tmp_path, HEADER + ROWS)
    sizes = written(tmp_path, "source,available_tokens\nweb,1\ncode,1\nmaths,1\n", "sources.csv")
    with pytest.raises(InputError, match="one that no run has weights of: 'maths'"):
        RunTable.from_file(path, sources=sizes)
    other = RunTable.from_array([[1.0, 0.0]], [[1.0, 2.0]], ["web", "maths"], ["qa", "code"], runs=["d"])
    with pytest.raises(InputError, match="both tables should have the same sources, found 'code' in one of them alone"):
        RunTable.from_file(path).joined(other)


def test_tables_are_joined_by_name(tmp_path):
    own = RunTable.from_file(written(tmp_path, HEADER + ROWS))
    other = RunTable.from_array([[0.25, 0.75]], [[9.0, 8.0]], ["code", "web"], ["code", "qa"], runs=["d"])
    both = own.joined(other)
    assert both.weights[3].tolist() == [0.75, 0.25]
    assert both.losses[3].tolist() == [8.0, 9.0]


def test_exposures_without_sizes_are_refused():
    W = np.random.default_rng(0).dirichlet([1, 1], 20)
    with pytest.raises(InputError, match="the law 'exposure' needs exposures: the tokens of each run and the size"):
        RunSearch(law="exposure").fit(RunTable.from_array(W, W[:, 0]))
    for mean in ("linear + exposure", "exposure + exposure", ["linear", "ensemble + bimix + exposure"]):
        with pytest.raises(InputError, match="the law 'exposure' needs exposures"):
            RunSearch(law=mean).fit(RunTable.from_array(W, W[:, 0]))
    assert RunSearch(law="ensemble").fit(RunTable.from_array(W, W[:, 0])).law == "ensemble"  # leaves it out


def test_rows_without_the_target_are_left_out_and_noted():
    W = np.random.default_rng(0).dirichlet([1, 1], 20)
    y = W[:, 0] + 1
    y[3] = np.nan
    found = RunSearch(law="linear").fit(RunTable.from_array(W, y))
    assert found.rows == 19
    assert "1 of 20 runs have no loss of 'target_0' and were left out" in found.notes


@pytest.mark.shared_data
def test_published_tables_are_read():
    for name, n, k, m in (
        ("olmix_dclm", 127, 24, 114),
        ("marin_delphi39_fit", 187, 39, 8),
        ("regmix_1m_60m", 1024, 17, 13),
    ):
        files = SHARED / "runs" / f"{name}.runs.parquet", SHARED / "runs" / f"{name}.sources.csv"
        if not files[0].exists():
            pytest.skip("../shared/data/runs is absent")
        table = RunTable.from_file(files[0], sources=files[1])
        assert (table.n, len(table.sources), len(table.targets)) == (n, k, m)
    weights, metrics = SHARED / "regmix" / "train_mixture_1m.csv", SHARED / "regmix" / "train_pile_loss_1m.csv"
    pile = RunTable.from_file(weights, "train_the_pile_", "metric/the_pile_*_val_loss", metrics=metrics)
    assert pile.n == 512
    assert pile.target("pile_cc").min() == pytest.approx(5.08213, abs=1e-4)


def test_the_file_without_names_of_runs_is_named(tmp_path):
    weights, losses = tmp_path / "weights.csv", tmp_path / "losses.csv"
    weights.write_text("run,w:web,w:law\na,1,0\nb,0,1\n")
    losses.write_text("row,loss:qa\na,1\nb,2\n")
    with pytest.raises(InputError, match=r"losses\.csv: should have a column that names the runs, found none"):
        RunTable.from_file(weights, metrics=losses)
    losses.write_text("name,loss:qa\na,1\nb,2\n")
    with pytest.raises(InputError, match=r"losses\.csv: should name the runs in the column 'run' .* found 'name'"):
        RunTable.from_file(weights, metrics=losses)
    with pytest.raises(InputError, match=r"weights\.csv: .* found no 'name'"):
        RunTable.from_file(weights, metrics=losses, key="name")


def test_weights_below_zero_are_refused():
    with pytest.raises(InputError, match=r"found -0\.5 for source 'law' in run 'run_1'"):
        RunTable.from_array([[0.5, 0.5], [1.5, -0.5]], [1.0, 2.0], ["web", "law"])
