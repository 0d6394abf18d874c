"""
Logs of other programs as tables: real ones in `logs/`, of two tiny models with random weights.

They were written by `benchmarks/table.py` with lm_eval 0.4.13 and lighteval 0.13; its tasks are made up.
"""

import json
import math
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mixwright import InputError, LikelihoodTable
from mixwright.search.table.logs.read import read_logs

LOGS = Path(__file__).parent / "logs"
SOURCES = ("web", "books")


@pytest.fixture
def logs(tmp_path: Path) -> dict[str, Path]:
    """Return copies of the harness's logs that a test may spoil."""
    return {name: Path(shutil.copytree(LOGS / name, tmp_path / name)) for name in SOURCES}


def log_of(folder: Path, task: str) -> Path:
    return next(folder.glob(f"samples_{task}_*.jsonl"))


def change(path: Path, how: Callable[[list[dict[str, Any]]], Any]) -> None:
    """Change the rows of a log."""
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    how(rows)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def change_results(folder: Path, key: str, task: str, value: Any) -> None:
    path = next(folder.glob("results_*.json"))
    results = json.loads(path.read_text(encoding="utf-8"))
    results[key][task] = value
    path.write_text(json.dumps(results), encoding="utf-8")


def column(table: LikelihoodTable, target: str, source: str) -> np.ndarray:
    part = table.select(target)
    return part.block(0, part.n)[:, part.sources.index(source)]


@pytest.mark.parametrize("source", SOURCES)
def test_sums_are_those_that_the_harness_printed(source: str) -> None:
    table = read_logs({name: LOGS / name for name in SOURCES})
    assert table.sources == SOURCES
    assert set(table.target_names) == {"choose", "last", "whole"}
    assert table.notes == ()
    printed = json.loads(next((LOGS / source).glob("results_*.json")).read_text(encoding="utf-8"))["results"]
    last, whole = column(table, "last", source), column(table, "whole", source)
    assert last.sum() == pytest.approx(-4 * math.log(printed["last"]["perplexity,none"]), rel=1e-9)
    size = sum(len(json.loads(s)["doc"]["text"]) for s in log_of(LOGS / source, "whole").read_text().splitlines())
    assert whole.sum() == pytest.approx(-printed["whole"]["bits_per_byte,none"] * size * math.log(2), rel=1e-9)


def test_the_row_of_a_question_is_its_right_answer() -> None:
    table = read_logs({name: LOGS / name for name in SOURCES})
    for source in SOURCES:
        samples = [json.loads(line) for line in log_of(LOGS / source, "choose").read_text().splitlines()]
        samples.sort(key=lambda sample: sample["doc_id"])
        right = [float(sample["resps"][sample["doc"]["answer"]][0][0]) for sample in samples]
        assert column(table, "choose", source).tolist() == right


def test_a_target_that_is_a_text_names_the_choice(logs: dict[str, Path]) -> None:
    before = read_logs(logs)

    def name_the_choice(rows: list[dict[str, Any]]) -> None:
        for row in rows:
            row["target"] = row["doc"]["choices"][row["doc"]["answer"]]

    for folder in logs.values():
        change(log_of(folder, "choose"), name_the_choice)
    np.testing.assert_array_equal(read_logs(logs).block(0, before.n), before.block(0, before.n))


def test_lighteval_says_the_same_as_the_harness(tmp_path: Path) -> None:
    pa, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    for name in SOURCES:
        rows = [json.loads(line) for line in (LOGS / f"lighteval_{name}.jsonl").read_text().splitlines()]
        (tmp_path / name).mkdir()
        parquet.write_table(
            pa.Table.from_pylist(rows), tmp_path / name / "details_choose|0_2026-11-29T14-26-18.9.parquet"
        )
    table = read_logs([tmp_path / name for name in SOURCES])
    assert table.sources == SOURCES
    assert table.target_names == ("choose|0",)
    ids = [int(json.loads(line)["doc"]["id"]) for line in (LOGS / "lighteval_web.jsonl").read_text().splitlines()]
    harness = read_logs({name: LOGS / name for name in SOURCES})
    for name in SOURCES:  # documents are shuffled there
        np.testing.assert_allclose(column(table, "choose|0", name), column(harness, "choose", name)[ids], atol=1e-4)


@pytest.mark.parametrize(
    ("how", "says"),
    [
        (lambda doc, response: doc.update(query="Another?"), "row 2: the prompt should be the same for every source"),
        (lambda doc, response: doc.update(gold_index=0), "row 2: the right answer should be the same"),
        (lambda doc, response: response.update(truncated_tokens_count=3), "found 3 here and 0 under source 'web'"),
        (lambda doc, response: response["logprobs"].clear() or doc["choices"].clear(), "1 of 4 rows of .* missing"),
        (lambda doc, response: doc.update(gold_index=7), "row 2: this should be a row of lighteval's details"),
    ],
)
def test_details_of_lighteval_that_do_not_fit(tmp_path: Path, how: Callable[..., Any], says: str) -> None:
    pa, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    for name in SOURCES:
        rows = [json.loads(line) for line in (LOGS / f"lighteval_{name}.jsonl").read_text().splitlines()]
        rows[1]["doc"]["gold_index"] = 1  # of all sources
        if name == "books":
            how(rows[1]["doc"], rows[1]["model_response"])
        (tmp_path / name).mkdir()
        parquet.write_table(pa.Table.from_pylist(rows), tmp_path / name / "details_choose.parquet")
    with pytest.raises(InputError, match=says):
        read_logs([tmp_path / name for name in SOURCES])


def test_versions_of_lighteval(tmp_path: Path) -> None:
    pa, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    for version, name in enumerate(SOURCES):
        rows = [json.loads(line) for line in (LOGS / f"lighteval_{name}.jsonl").read_text().splitlines()]
        details, results = tmp_path / name / "details" / "m" / "DATE", tmp_path / name / "results" / "m"
        details.mkdir(parents=True)
        results.mkdir(parents=True)
        parquet.write_table(pa.Table.from_pylist(rows), details / "details_choose.parquet")
        said = {"config_tasks": {"choose": {"version": version}}}
        (results / "results_DATE.json").write_text(json.dumps(said))
    with pytest.raises(InputError, match="the task's version should be the same for every source, found 1 here and 0"):
        read_logs([tmp_path / name for name in SOURCES])


def test_tasks_as_one_target_and_what_search_finds(logs: dict[str, Path], tmp_path: Path) -> None:
    table = read_logs(logs, target="all")
    assert table.target_names == ("all",)
    assert table.n == 12
    assert len(set(table.documents)) == 12  # document 0 of two tasks is not one document
    table.save(tmp_path / "scores")
    again = LikelihoodTable.open(tmp_path / "scores")
    np.testing.assert_array_equal(again.block(0, 12), table.block(0, 12))
    assert again.data_fingerprint == table.data_fingerprint != ""


def update(**fields: Any) -> Callable[[list[dict[str, Any]]], Any]:
    return lambda rows: rows[1].update(fields)


@pytest.mark.parametrize(
    ("how", "says"),
    [
        (update(prompt_hash="x"), "line 2: the prompt should be the same for every source, found a different one here"),
        (update(doc_hash="x"), "line 2: the document should be the same"),
        (update(target_hash="x"), "line 2: the right answer should be the same"),
        (
            update(arguments={"gen_args_0": {"arg_0": "A shorter one", "arg_1": " maple"}}),
            "line 2: the scored text should",
        ),
        (update(filtered_resps=[["3.5", "False"]]), "line 2: a log-likelihood should be at most 0, found 3.5"),
        (update(filtered_resps=[["nan", "False"]]), "line 2: a log-likelihood should be at most 0, found nan"),
        (update(doc_id=0), "line 2: source 'books' should have each row once, found 0 of last a second time"),
        (lambda rows: rows.pop(), "the log should have 4 rows, as the results beside it say, found 3"),
        (lambda rows: rows[1].pop("arguments"), "line 2: this should be a sample of lm-evaluation-harness"),
    ],
)
def test_logs_that_do_not_fit(logs: dict[str, Path], how: Callable[..., Any], says: str) -> None:
    change(log_of(logs["books"], "last"), how)
    with pytest.raises(InputError, match=says):
        read_logs(logs)


def test_a_log_without_filtered_answers(logs: dict[str, Path]) -> None:
    change(log_of(logs["books"], "choose"), lambda rows: [row.pop("filtered_resps") for row in rows])
    before = read_logs([LOGS / name for name in SOURCES])
    np.testing.assert_array_equal(read_logs(logs).block(0, 12), before.block(0, 12))


def test_half_a_log_without_results(logs: dict[str, Path]) -> None:
    for folder in logs.values():
        next(folder.glob("results_*.json")).unlink()
    table = read_logs(logs)
    assert any("the version of last was not checked" in note for note in table.notes)
    change(log_of(logs["books"], "last"), lambda rows: rows.pop())
    with pytest.raises(InputError, match="1 of 4 rows of last missing under source 'books', first 3, which 'web' has"):
        read_logs(logs)
    log_of(logs["books"], "last").unlink()
    with pytest.raises(InputError, match="4 of 4 rows of last missing under source 'books'"):
        read_logs(logs)
    log_of(logs["web"], "last").unlink()
    assert read_logs(logs).n == 8


def test_a_line_that_was_cut_off(logs: dict[str, Path]) -> None:
    path = log_of(logs["books"], "whole")
    path.write_text(path.read_text(encoding="utf-8")[:-100], encoding="utf-8")
    with pytest.raises(InputError, match=r"samples_whole.*line 4"):
        read_logs(logs)


def test_another_version_of_a_task(logs: dict[str, Path]) -> None:
    change_results(logs["books"], "versions", "last", 9.0)
    with pytest.raises(InputError, match="the task's version should be the same for every source, found 9 here and 2 "):
        read_logs(logs)


def test_two_logs_of_a_task(logs: dict[str, Path]) -> None:
    path = log_of(logs["web"], "last")
    shutil.copy(path, path.with_name(path.name.replace("2026", "2027")))
    with pytest.raises(InputError, match="source 'web' should have one log of last, found another"):
        read_logs(logs)


def test_texts_that_models_wrote_are_left_out(logs: dict[str, Path]) -> None:
    for folder in logs.values():
        change(
            log_of(folder, "last"),
            lambda rows: [r["arguments"]["gen_args_0"].update(arg_1={"until": []}) for r in rows],
        )
    table = read_logs(logs)
    assert set(table.target_names) == {"choose", "whole"}
    assert table.notes == ("last was left out: its models write texts, which have no log-likelihoods",)
    for folder in logs.values():
        change(log_of(folder, "whole"), lambda rows: [row.update(filter="strict") for row in rows])
    assert read_logs(logs).target_names == ("choose",)
    for folder in logs.values():
        log_of(folder, "choose").unlink()
    with pytest.raises(InputError, match="the logs should have rows with log-likelihoods, found none"):
        read_logs(logs)


def sample(
    target: str, prompts: Sequence[str], answers: Sequence[str], scores: Sequence[float], **more: Any
) -> dict[str, Any]:
    arguments = [[prompt, " " + answer] for prompt, answer in zip(prompts, answers, strict=True)]
    responses = [[score, False] for score in scores]
    return {
        "doc_id": 0,
        "target": target,
        "arguments": arguments,
        "filtered_resps": responses,
        "filter": "none",
        **more,
    }


@pytest.mark.parametrize(
    ("logged", "right"),
    [
        (sample("ran", ["The cat", "The dog"], ["ran", "ran"], [-3.0, -2.0], acc=1.0), -2.0),  # as winogrande
        (sample("ran", ["The cat", "The dog"], ["ran", "ran"], [-3.0, -2.0], acc=0.0), -3.0),
        (sample("1", ["1 + 0 ="] * 3, ["5", "3", "1"], [-3.0, -2.0, -1.0], acc=1.0), -1.0),
        (sample("1", ["2 + 1 ="] * 3, ["5", "3", "1"], [-3.0, -2.0, -1.0], acc=0.0), -2.0),
        (sample("b", ["Which?", "Which?", "", ""], ["a", "b", "a", "b"], [-3.0, -2.0, -9.0, -8.0]), -2.0),
        (sample("ran", ["The cat", "The dog"], ["ran", "ran"], [-3.0, -2.0]), None),
        (sample("ran", ["A", "B", "C"], ["ran"] * 3, [-3.0, -2.0, -1.0], acc=0.0), None),
    ],
)
def test_a_target_that_fits_several_answers(tmp_path: Path, logged: dict[str, Any], right: float | None) -> None:
    path = write_lines(tmp_path / "samples_task.jsonl", logged)
    if right is None:
        with pytest.raises(InputError, match=r"line 1: .* which may be any of several answers; leave the log"):
            read_logs([path])
    else:
        assert read_logs([path]).block(0, 1).tolist() == [[right]]


# --- JSON lines


def write_lines(path: Path, *rows: dict[str, Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def row(model: str, key: int, *logs: float | None, **more: Any) -> dict[str, Any]:
    return {"id": key, "model": model, "token_logprobs": list(logs), **more}


def test_json_lines_of_several_models(tmp_path: Path) -> None:
    path = write_lines(
        tmp_path / "scores.jsonl",
        row("web", 1, None, -2.0, -0.5, tokens=3, target="law", document="a"),
        row("books", 2, -1.0, -0.25, tokens=2, target="law", document="a"),
        row("books", 1, None, -1.0, -1.0, tokens=["a", "b", "c"], target="law", document="a"),
        {"id": 2, "model": "web", "logprob": -4.0, "tokens": 2, "target": "law", "document": "a"},
        {"id": 1, "model": "web", "logprob": -7.0, "target": "sums"},
        {"id": 1, "model": "books", "logprob": -8.0, "target": "sums"},
    )
    table = read_logs([path])
    assert table.sources == ("web", "books")
    assert table.target_names == ("law", "sums")
    np.testing.assert_array_equal(table.block(0, 3), [[-2.5, -2.0], [-4.0, -1.25], [-7.0, -8.0]])
    assert table.documents.tolist() == [0, 0, 1]


def test_json_lines_in_a_file_for_each_source(tmp_path: Path) -> None:
    for name, value in (("web", -2.0), ("books", -3.0)):
        write_lines(tmp_path / f"{name}.jsonl", {"id": "a", "logprob": value}, {"id": "b", "logprob": value - 1})
    by_name = read_logs([tmp_path / "web.jsonl", tmp_path / "books.jsonl"])
    named = read_logs({"web": tmp_path / "web.jsonl", "books": tmp_path / "books.jsonl"})
    assert by_name.sources == named.sources == SOURCES
    np.testing.assert_array_equal(by_name.block(0, 2), [[-2.0, -3.0], [-3.0, -4.0]])


@pytest.mark.parametrize(
    ("second", "says"),
    [
        (row("books", 1, -1.0, -1.0, tokens=2), "line 2: the number of tokens should be .* found 2 here and 3 under"),
        (row("books", 1, -1.0, -1.0, -1.0), "number of scored tokens should be .* found 3 here and 2 under"),
        (row("books", 1, None, -1.0, -1.0, tokens=3, text="other"), "line 2: the text should be the same"),
        (row("books", 1, None, -1.0, -1.0, tokens=["a", "b", "d"]), "line 2: the tokens should be the same"),
        (row("books", 1, None, -1.0, 0.5), "line 2: token_logprobs should be natural logs .* at most 0; found 0.5"),
        (row("books", 1, None, -1.0, None), "line 2: token_logprobs should be natural logs .* found null"),
        (row("books", 1, None, -1.0, float("nan")), "line 2: token_logprobs should be natural logs .* found nan"),
        (row("books", 1, -1.0, tokens=3), "line 2: token_logprobs should have a number for each of 3 tokens, found 1"),
        (row("books", 1, None), "line 2: token_logprobs should have at least one number"),
        (row("books", 2, -1.0), "1 of 2 rows of target missing under source 'web', first 2"),
        ({"id": 1, "model": "books"}, "line 2: a row should have token_logprobs .* found neither"),
        ({"id": 1, "model": "books", "logprob": 12.5}, "line 2: logprob should be natural logs .* found 12.5"),
        (
            {"id": 1, "model": "books", "logprob": -1, "tokens": 0},
            "line 2: tokens should be a list of them or their num",
        ),
        ({"id": None, "model": "books", "logprob": -1}, "line 2: id should be a text or a whole number, found None"),
        (row("web", 1, None, -1.0, -1.0), "source 'web' should have each row once, found 1 of target a second time"),
    ],
)
def test_json_lines_that_do_not_fit(tmp_path: Path, second: dict[str, Any], says: str) -> None:
    first = row("web", 1, None, -1.0, -2.0, tokens=["a", "b", "c"], text="a b c")
    with pytest.raises(InputError, match=says):
        read_logs([write_lines(tmp_path / "scores.jsonl", first, second)])


def test_a_name_for_rows_of_several_models(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "scores.jsonl", row("a", 1, -1.0), row("b", 1, -2.0))
    with pytest.raises(InputError, match="the rows of source 'web' should be of one model, found 'a', 'b'"):
        read_logs({"web": path})


def test_one_log_for_two_sources(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "scores.jsonl", row("a", 1, -1.0))
    with pytest.raises(InputError, match=r"scores.jsonl should be given once, found it for 'x' and 'y'"):
        read_logs({"x": path, "y": tmp_path / "." / "scores.jsonl"})


def test_what_is_no_log(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there should be a file or folder here, found nothing"):
        read_logs([tmp_path / "nothing"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"there should be samples_.*found none"):
        read_logs([tmp_path / "empty"])


# --- the command


def mixwright(*words: Any, code: int = 0) -> str:
    pytest.importorskip("typer")
    from typer.testing import CliRunner

    from mixwright.cli.app import app

    done = CliRunner().invoke(app, [str(word) for word in words])
    assert done.exit_code == code, done.output
    return done.output


def test_import_from_the_command_line(logs: dict[str, Path], tmp_path: Path) -> None:
    named = [f"{name}={folder}" for name, folder in logs.items()]
    shown = mixwright("table", "import", *named, "--out", tmp_path / "scores")
    assert "Log-likelihoods of 12 rows under 2 sources" in shown
    assert f"mixwright search --table {tmp_path / 'scores'}" in " ".join(shown.split())
    said = json.loads(
        mixwright("table", "import", *logs.values(), "--out", tmp_path / "b", "--target", "all", "--json")
    )
    assert said["sources"] == list(SOURCES)
    assert (said["rows"], said["targets"], said["notes"]) == (12, ["all"], [])
    before = (tmp_path / "scores" / "table.json").read_bytes()
    assert "needs a new or an empty folder" in mixwright(
        "table", "import", *named, "--out", tmp_path / "scores", code=2
    ).replace("\n", " ")
    assert (tmp_path / "scores" / "table.json").read_bytes() == before
    assert "either each log or none should have a name" in mixwright(
        "table", "import", named[0], logs["books"], "--out", tmp_path / "c", code=2
    )
    assert not (tmp_path / "c").exists()


def test_nothing_is_written_for_logs_that_do_not_fit(logs: dict[str, Path], tmp_path: Path) -> None:
    change(log_of(logs["books"], "last"), update(prompt_hash="x"))
    assert "the prompt should be the same" in mixwright(
        "table", "import", *logs.values(), "--out", tmp_path / "scores", code=2
    ).replace("\n", " ")
    assert not (tmp_path / "scores").exists()
