"""What a table's numbers are: whatever is done to a file, the answer is the same, or the file is refused."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mixwright import InputError, LikelihoodTable, MixMin, WorstRegret

pandas = pytest.importorskip("pandas")
pytest.importorskip("pyarrow")

N = 40
SOURCES = ("web", "law", "code")
TOKENS = np.random.default_rng(1).integers(5, 60, N)
LOGS = -TOKENS[:, None] * np.random.default_rng(0).gamma(4, 0.25, (N, 3)) * [1.0, 0.9, 1.3]
KINDS = ("log_likelihood", "loss", "bits", "perplexity", "probability")
WRONG = {  # columns that are no sources: each would win, or take weight
    "index": lambda rng: np.arange(N),
    "level_0": lambda rng: -rng.permutation(N) / 7,
    "Unnamed: 0": lambda rng: rng.permutation(N),
    "__index_level_0__": lambda rng: np.arange(N) * 2,
    "n_tokens": lambda rng: rng.integers(10, 500, N),
    "doc_id": lambda rng: rng.permutation(N),
    "rank": lambda rng: -rng.permutation(N),
    "seconds": lambda rng: np.sort(rng.random(N)) - 1,
    "minus_time": lambda rng: -np.sort(rng.random(N)),
    "temperature": lambda rng: np.full(N, -0.7),
    "score": lambda rng: rng.random(N) - 0.2,
    "mean_log_p": lambda rng: -rng.random(N) / 50,  # of each token, beside sums
}


def frame_of(logs=LOGS, names=SOURCES):
    return pandas.DataFrame(dict(zip(names, logs.T, strict=True)))


def written(frame, how, folder, **arguments):
    """Return the table of a data frame, by way of a file or in memory."""
    if how == "frame":
        return LikelihoodTable.from_array(frame, **arguments)
    if how == "arrow":
        pyarrow = pytest.importorskip("pyarrow")
        return LikelihoodTable.from_array(pyarrow.Table.from_pandas(frame), **arguments)
    path = folder / f"table.{how}"
    frame.to_csv(path, index=False) if how == "csv" else frame.to_parquet(path)
    return LikelihoodTable.from_file(path, **arguments)


def answer(table):
    result = MixMin(shrinkage=0.1).fit(table)
    return dict(zip(table.sources, result.weights, strict=True))


EXPECTED = answer(LikelihoodTable.from_array(LOGS, SOURCES))


def as_kind(kind, logs=LOGS):
    if kind == "log_likelihood":
        return logs
    if kind == "perplexity":
        return np.exp(-logs / TOKENS[:, None])
    return np.exp(logs / 10) if kind == "probability" else -logs / (np.log(2) if kind == "bits" else 1)


@given(
    order=st.permutations(range(3)),
    added=st.lists(st.sampled_from(list(WRONG)), max_size=3, unique=True),
    places=st.lists(st.integers(0, 6), min_size=3, max_size=3),
    kind=st.sampled_from(KINDS),
    said=st.booleans(),
    named=st.booleans(),
    how=st.sampled_from(["csv", "parquet", "frame", "arrow"]),
    seed=st.integers(0, 100),
)
@settings(max_examples=150)
def test_the_answer_is_the_same_or_refused(tmp_path_factory, order, added, places, kind, said, named, how, seed):
    frame = frame_of(as_kind(kind))[[SOURCES[i] for i in order]]
    expected = EXPECTED if kind != "probability" else answer(LikelihoodTable.from_array(LOGS / 10, SOURCES))
    for name, place in zip(added, places, strict=False):
        frame.insert(min(place, len(frame.columns)), name, WRONG[name](np.random.default_rng(seed)))
    arguments = {"sources": list(SOURCES)} if named else {}
    arguments |= {"values": kind} if said else {}
    arguments |= {"tokens": TOKENS} if said and kind == "perplexity" else {}
    must_pass = (said or kind == "log_likelihood") and (named or not set(added) - set(list(WRONG)[:4]))
    try:
        table = written(frame, how, tmp_path_factory.mktemp("table"), **arguments)
    except InputError as error:
        if must_pass:
            raise error
        return
    assert set(table.sources) == set(SOURCES)
    assert answer(table) == pytest.approx(expected, abs=1e-4)
    assert said or kind == "log_likelihood"


@pytest.mark.parametrize("name", list(WRONG)[4:])
def test_columns_that_are_no_sources_are_refused_by_name(tmp_path, name):
    frame = frame_of()
    frame[name] = WRONG[name](np.random.default_rng(3))
    for how in ("csv", "parquet", "frame", "arrow"):
        with pytest.raises(InputError, match=rf"found '{name}' with .*sources=\['web', 'law', 'code'\]"):
            written(frame, how, tmp_path)


def test_what_to_do_with_a_path_a_folder_or_columns_that_are_all_odd(tmp_path):
    (tmp_path / "t.csv").write_text("a,b\n-1,-3\n-2,-1\n-1,-4\n")
    with pytest.raises(InputError, match=r"found a path; read it with LikelihoodTable.from_file\(\.\.\.\)"):
        MixMin().fit(str(tmp_path / "t.csv"))
    with pytest.raises(InputError, match=r"found a folder; if it is a saved table, open it with LikelihoodTable.open"):
        LikelihoodTable.from_file(tmp_path)
    with pytest.raises(InputError, match=r"if they are log-likelihoods, say so: sources=\[\.\.\.\]$"):
        LikelihoodTable.from_file(tmp_path / "t.csv")


def test_the_index_of_a_data_frame_is_no_source(tmp_path):
    frame = frame_of().sample(frac=1, random_state=0)
    frame.to_parquet(tmp_path / "a.parquet")
    frame.rename_axis("row").to_parquet(tmp_path / "b.parquet")
    frame.to_csv(tmp_path / "c.csv")
    frame.reset_index().to_csv(tmp_path / "d.csv", index=False)
    for path in sorted(tmp_path.iterdir()):
        table = LikelihoodTable.from_file(path)
        assert table.sources == SOURCES
        assert answer(table) == pytest.approx(EXPECTED, abs=1e-6)
        named = path.name != "c.csv"
        assert len(table.notes) == named
        assert not named or "it is an index" in MixMin(shrinkage=0.1).fit(table).notes[0]


@pytest.mark.parametrize("kind", KINDS[1:])
def test_numbers_above_zero_are_refused_until_they_are_said(kind, tmp_path):
    numbers = as_kind(kind)
    tokens = {"tokens": TOKENS} if kind == "perplexity" else {}
    match = "log-likelihoods should be at most 0; found 40 of 40 above 0 under source '.*'; say what the numbers are"
    for how in ("csv", "parquet", "frame", "arrow"):
        with pytest.raises(InputError, match=match.replace("; say", ", such as .*; say")):
            written(frame_of(numbers), how, tmp_path)
    with pytest.raises(InputError, match=r"values='loss', 'bits', 'perplexity' or 'probability'"):
        MixMin().fit(numbers)
    with pytest.raises(InputError, match="at most 0"):
        LikelihoodTable.from_array(LOGS, SOURCES).with_source("new", numbers[:, 0])
    folder = LikelihoodTable.create(tmp_path / "folder", SOURCES, documents=np.arange(N))
    folder.append("web", numbers[:, 0])
    with pytest.raises(InputError, match="at most 0"):
        folder.finish("web")
    assert folder.missing == SOURCES
    table = LikelihoodTable.from_array(numbers, SOURCES, values=kind, **tokens)
    expected = LOGS / 10 if kind == "probability" else LOGS
    np.testing.assert_allclose(table.block(0, N), expected, rtol=1e-9)


def test_one_source_with_the_wrong_sign_is_refused():
    logs = LOGS.copy()
    logs[:, 1] *= -1
    with pytest.raises(InputError, match="under source 'law'"):
        LikelihoodTable.from_array(logs, SOURCES)


def test_numbers_of_which_none_is_below_zero_are_refused():
    logs = LOGS.copy()
    logs[:, 1] = np.arange(N) % 3 == 0
    with pytest.raises(InputError, match=r"found 14 of 40 above 0 under source 'law'"):
        LikelihoodTable.from_array(logs, SOURCES)


def test_a_named_index_in_an_arrow_table_is_no_source():
    pyarrow = pytest.importorskip("pyarrow")
    frame = frame_of().sample(frac=1, random_state=0).rename_axis("row")
    assert LikelihoodTable.from_array(pyarrow.Table.from_pandas(frame)).sources == SOURCES


def test_densities_may_be_above_zero(tmp_path):
    logs = LOGS + 100
    with pytest.raises(InputError, match="at most 0"):
        MixMin().fit(logs)
    table = LikelihoodTable.from_array(logs, SOURCES, values="log_likelihood")
    assert answer(table) == pytest.approx(EXPECTED, abs=1e-6)
    assert table.with_source("new", logs[:, 0]).k == 4
    table.save(tmp_path / "table")
    assert LikelihoodTable.open(tmp_path / "table").with_source("new", logs[:, 0]).k == 4
    folder = LikelihoodTable.create(tmp_path / "folder", ["web"], documents=np.arange(N), densities=True)
    folder.append("web", logs[:, 0])
    folder.finish("web")
    assert folder.complete


def test_means_per_token_are_multiplied_by_tokens_and_said(tmp_path):
    frame = frame_of(-LOGS / TOKENS[:, None])
    frame["n"] = TOKENS
    for tokens in (TOKENS, "n"):
        table = written(frame, "csv", tmp_path, sources=list(SOURCES), values="loss", tokens=tokens)
        np.testing.assert_allclose(table.block(0, N), LOGS, rtol=1e-9)
        assert "taken as losses in nats" in table.notes[0]
        assert "multiplied by the tokens of their row, 6 to 58" in table.notes[1]
    table.save(tmp_path / "table")
    assert LikelihoodTable.open(tmp_path / "table").notes == table.notes
    assert WorstRegret().fit(table).notes == table.notes
    assert list(table.notes) == MixMin(shrinkage=0.1).fit(table).to_file().evidence["notes"]
    short = written(frame, "csv", tmp_path, sources=list(SOURCES), values="loss")
    assert "if they are means per token, give tokens" in short.notes[1]


@pytest.mark.parametrize(
    ("numbers", "arguments", "message"),
    [
        (LOGS, {"values": "nats"}, "values should be one of 'log_likelihood', 'loss'"),
        (LOGS, {"values": "loss"}, "losses in nats should be above 0; found 40 of 40 below under source 'web'"),
        (LOGS, {"values": "bits"}, "losses in bits should be above 0"),
        (LOGS, {"values": "probability"}, "probabilities should be from 0 to 1"),
        (-LOGS, {"values": "probability"}, "probabilities should be from 0 to 1; found .* at row 0"),
        (np.exp(LOGS / 99), {"values": "perplexity", "tokens": 1}, "perplexities should be at least 1"),
        (np.exp(-LOGS / 99), {"values": "perplexity"}, "give tokens, the number of tokens in each row"),
        (LOGS, {"tokens": TOKENS[:-1]}, "one number for each of the 40 rows, found 39"),
        (LOGS, {"tokens": TOKENS - 6}, "tokens should be above 0, found 0"),
        (LOGS, {"tokens": "n"}, "only a file or a frame has named columns"),
        (LOGS, {"tokens": [["a"]]}, "tokens should be"),
    ],
)
def test_numbers_that_are_not_what_was_said(numbers, arguments, message):
    with pytest.raises(InputError, match=message):
        LikelihoodTable.from_array(numbers, SOURCES, **arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"sources": ["web", "lav"]}, "found 'lav'; did you mean 'law'"),
        ({"sources": "web"}, "list of names"),
        ({"sources": ["web", "web"]}, "different names"),
        ({"sources": []}, "at least one name"),
        ({"sources": ["web", "target"]}, "sources should name columns of likelihoods"),
        ({"tokens": "n_token"}, "did you mean 'n_tokens'"),
    ],
)
def test_columns_that_are_not_there(tmp_path, arguments, message):
    frame = frame_of()
    frame["n_tokens"], frame["target"] = TOKENS, "quiz"
    for how in ("csv", "parquet", "frame", "arrow"):
        with pytest.raises(InputError, match=message):
            written(frame, how, tmp_path, **arguments)


def test_a_data_frame_has_documents_weights_and_targets():
    frame = frame_of()
    frame["document"], frame["weight"] = ["a", "b"] * 20, 2.0
    frame["target"] = ["news"] * 30 + ["quiz"] * 10
    frame["text"] = "words"
    with pytest.raises(InputError, match=r"column 'text' should hold numbers, found .*; name the columns"):
        LikelihoodTable.from_array(frame)
    table = LikelihoodTable.from_array(frame, ["code", "web"])
    assert table.sources == ("code", "web")
    assert table.target_names == ("news", "quiz")
    assert table.documents.tolist() == [0, 1] * 20
    assert table.weights.tolist() == [2.0] * N
    np.testing.assert_array_equal(table.block(0, N), LOGS[:, [2, 0]])
    assert LikelihoodTable.from_array(frame, ["web"], weights=np.ones(N)).weights.tolist() == [1.0] * N
    assert MixMin(shrinkage=0.1).fit(frame_of()).sources == SOURCES


def test_files_of_other_programs_say_nothing_of_an_index(tmp_path):
    import pyarrow
    import pyarrow.parquet

    for metadata in (b"{", b"[]", json.dumps({"index_columns": [{"kind": "range"}, 3]}).encode()):
        table = pyarrow.Table.from_pandas(frame_of(), preserve_index=False)
        pyarrow.parquet.write_table(table.replace_schema_metadata({b"pandas": metadata}), tmp_path / "table.parquet")
        assert LikelihoodTable.from_file(tmp_path / "table.parquet").sources == SOURCES
