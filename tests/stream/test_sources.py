"""Sources of tokens and objects: the rows, the boundaries, the fingerprints, what is refused."""

import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mixwright.errors import InputError
from mixwright.stream.gather import Sources
from mixwright.stream.sources.opening import open_source
from mixwright.stream.sources.source import AnyRows
from mixwright.stream.sources.tokens import PaddedDocuments, TokenRows
from mixwright.text.tokenizer import byte_tokenizer
from mixwright.text.tokens import write_tokens


def rows(*numbers):
    return np.array(numbers, np.int64)


def test_every_way_to_give_tokens_gives_the_same_rows(tmp_path):
    tokens = np.arange(103, dtype=np.uint16)
    np.save(tmp_path / "a.npy", tokens)
    tokens.tofile(tmp_path / "a.bin")
    mapped = np.memmap(tmp_path / "a.bin", np.uint16, "r")
    found = [
        open_source(tmp_path / "a.npy", 10),
        open_source(str(tmp_path / "a.bin"), 10, dtype="uint16"),
        open_source(tokens, 10),
        open_source(mapped, 10),
        open_source(tokens[:100].reshape(10, 10)),
    ]
    for source in found:
        assert len(source) == 10
        assert source.gather(rows(9, 0, 9))[:, 0].tolist() == [90, 0, 90]
        assert source.gather(rows(3)).dtype == np.uint16
    assert len({source.fingerprint for source in found}) == 1


def test_overlap_shares_the_end_token_and_needs_one_token_more():
    assert len(TokenRows(np.arange(21), 10, overlap=1)) == 2
    assert len(TokenRows(np.arange(20), 10, overlap=1)) == 1
    assert TokenRows(np.arange(21), 10, overlap=1).gather(rows(1)).tolist() == [list(range(10, 21))]


def test_a_token_store_is_read_with_its_documents(tmp_path):
    store = write_tokens(tmp_path / "t", ["ab", "", "cdefg"], byte_tokenizer())
    source = open_source(store, 4, boundaries=True)
    found = source.gather(rows(0, 1))
    assert found["input_ids"].ravel().tolist() == store.data[:8].tolist()
    assert found["document_ids"].tolist() == [[0, 0, 0, 1], [2, 2, 2, 2]]
    assert found["position_ids"].tolist() == [[0, 1, 2, 0], [0, 1, 2, 3]]
    assert open_source(tmp_path / "t", 4).gather(rows(1)).tolist() == found["input_ids"][1:].tolist()


@given(st.lists(st.integers(0, 9), min_size=1, max_size=8).filter(sum), st.integers(1, 6), st.integers(0, 1))
def test_positions_restart_where_documents_do(lengths, context, overlap):
    bounds = np.concatenate([[0], np.cumsum(lengths)])
    if bounds[-1] < context + overlap:
        return
    source = TokenRows(np.arange(bounds[-1]), context, overlap, documents=bounds, boundaries=True)
    found = source.gather(np.arange(len(source)))
    for token, position, document in zip(*(found[key].ravel() for key in found), strict=True):
        assert bounds[document] <= token < bounds[document + 1]
        assert 0 <= position <= token - bounds[document]
    zero = (found["position_ids"] == 0)[:, 1:]
    assert np.array_equal(zero, np.diff(found["document_ids"], axis=1) != 0)


@given(st.lists(st.integers(0, 9), min_size=1, max_size=8).filter(sum), st.integers(1, 6))
def test_padded_documents_lose_nothing_when_split(lengths, context):
    bounds = np.concatenate([[0], np.cumsum(lengths)])
    source = PaddedDocuments(np.arange(bounds[-1]), context, pad=-1, documents=bounds)
    found = source.gather(np.arange(len(source)))
    kept = found["input_ids"][found["attention_mask"] == 1]
    assert kept.tolist() == list(range(bounds[-1]))
    assert np.all(found["input_ids"][found["attention_mask"] == 0] == -1)
    cut = PaddedDocuments(np.arange(bounds[-1]), context, long="cut", documents=bounds)
    assert len(cut) == sum(length > 0 for length in lengths)


def test_objects_are_read_by_number_or_at_once():
    class Many:
        def __len__(self):
            return 3

        def __getitems__(self, numbers):
            return [f"row {i}" for i in numbers]

    assert open_source(Many()).gather(rows(2, 0)) == ["row 2", "row 0"]
    assert open_source(["a", "b"]).gather(rows(1)) == ["b"]
    assert open_source(["a", "b"]).fingerprint == open_source(("a", "b")).fingerprint
    assert open_source(["a", "b"]).fingerprint != open_source(["a", "c"]).fingerprint


def test_rows_that_are_random_do_not_change_the_fingerprint():
    class Crops:
        def __len__(self):
            return 5

        def __getitem__(self, i):
            return np.random.default_rng().random(3)

    assert AnyRows(Crops()).fingerprint == AnyRows(Crops()).fingerprint


@pytest.mark.parametrize("what", [5, "text.txt", {"a": 1}, iter([1]), (i for i in range(3))])
def test_what_is_no_source_is_refused(what, tmp_path):
    (tmp_path / "text.txt").write_text("x")
    with pytest.raises(InputError, match="source"):
        open_source(tmp_path / what if isinstance(what, str) else what)


def test_bad_tokens_are_refused_with_the_file(tmp_path):
    (tmp_path / "odd.bin").write_bytes(b"12345")
    with pytest.raises(InputError, match=r"odd.bin.*whole number of uint16.*found 5 bytes"):
        open_source(tmp_path / "odd.bin", 2, dtype="uint16")
    with pytest.raises(InputError, match=r"odd.bin.*dtype"):
        open_source(tmp_path / "odd.bin", 2)
    np.save(tmp_path / "cut.npy", np.arange(1000))
    data = (tmp_path / "cut.npy").read_bytes()
    (tmp_path / "cut.npy").write_bytes(data[:-9])
    with pytest.raises(InputError, match=r"cut\.npy.*complete"):
        open_source(tmp_path / "cut.npy", 10)
    with pytest.raises(InputError, match="nothing"):
        open_source(tmp_path / "absent.npy", 10)
    with pytest.raises(InputError, match="integers, found float64"):
        open_source(np.ones(10), 2)
    with pytest.raises(InputError, match="at least 11 tokens"):
        open_source(np.arange(10), 10, overlap=1)
    with pytest.raises(InputError, match="context"):
        open_source(np.arange(10))
    with pytest.raises(InputError, match="options"):
        open_source(np.arange(10), 2, colour="red")
    with pytest.raises(InputError, match="documents"):
        TokenRows(np.arange(10), 2, documents=[0, 5], boundaries=True)


def test_arrays_that_are_no_numbers_of_this_machine(tmp_path):
    np.arange(20, dtype=">i4").tofile(tmp_path / "big.bin")
    with pytest.raises(InputError, match=r"big\.bin: .* byte order, found >i4"):
        open_source(tmp_path / "big.bin", 2, dtype=">i4")
    (tmp_path / "none.bin").touch()
    with pytest.raises(InputError, match=r"none\.bin: .* an empty file"):
        open_source(tmp_path / "none.bin", 2, dtype="i4")
    records = np.array([(1, 2.0), (3, 4.0)], [("a", "i4"), ("b", "f4")])
    assert open_source(records).gather(rows(1))[0]["a"] == 3
    with pytest.raises(InputError, match="integers, found ndarray of <U1"):
        TokenRows(np.array(["a", "b"]), 1)


def test_a_row_out_of_range_is_refused():
    with pytest.raises(InputError, match="between 0 and 4, found 5"):
        TokenRows(np.arange(10), 2).gather(rows(5))


def test_pickled_maps_are_opened_again_not_sent(tmp_path):
    np.save(tmp_path / "a.npy", np.arange(100_000))
    sources = Sources({"a": open_source(tmp_path / "a.npy", 10)})
    sources.read(rows(0), rows(0))
    sent = pickle.dumps(sources)
    assert len(sent) < 5_000
    assert pickle.loads(sent).read(rows(0), rows(7))[0, 0] == 70


token_arrays = st.lists(st.integers(3, 40), min_size=1, max_size=5)


@given(token_arrays, st.sampled_from(["u1", "<u2", "<i4", "<i8"]), st.integers(0, 1), st.data())
def test_compiled_and_numpy_gather_the_same_rows(lengths, dtype, overlap, data):
    pytest.importorskip("numba", reason="the compiled copy needs numba")
    rng = np.random.default_rng(0)
    made = {str(i): TokenRows(rng.integers(0, 250, n).astype(dtype), 2, overlap) for i, n in enumerate(lengths)}
    source = np.array(data.draw(st.lists(st.integers(0, len(lengths) - 1), min_size=1, max_size=20)), np.int32)
    row = np.array([data.draw(st.integers(0, len(made[str(i)]) - 1)) for i in source], np.int64)
    fast, plain = (Sources(made, compiled=c).read(source, row) for c in (True, False))
    slow = Sources({name: AnyRows(list(s.windows)) for name, s in made.items()}).read(source, row)
    assert fast.dtype == plain.dtype == slow[0].dtype
    assert np.array_equal(fast, plain)
    assert np.array_equal(fast, slow)
    for slot, (i, r) in enumerate(zip(source, row, strict=True)):
        assert np.array_equal(fast[slot], made[str(i)].gather(rows(r))[0])


@pytest.mark.parametrize(
    ("one", "other", "message"),
    [
        (np.arange(10, dtype="u2"), np.arange(10, dtype="u4"), r"uint16 \[2\] in 'a' and uint32 \[2\] in 'b'"),
        (np.arange(10).reshape(5, 2), np.arange(10).reshape(2, 5), r"\[2\] in 'a' and int64 \[5\]"),
        (np.arange(10), ["text"], "not one array"),
        ([np.zeros(3)], [np.zeros(3, "f4")], "float64 in 'a' and float32 in 'b'"),
    ],
)
def test_rows_that_cannot_stand_in_one_batch_are_refused_at_the_start(one, other, message):
    opened = {n: open_source(x, 2 if getattr(x, "ndim", 0) == 1 else None) for n, x in (("a", one), ("b", other))}
    with pytest.raises(InputError, match=message):
        Sources(opened)


@pytest.mark.parametrize("compiled", [True, False])
def test_a_failure_names_source_row_and_place(compiled):
    class Breaks:
        def __len__(self):
            return 10

        def __getitem__(self, i):
            if i == 7:
                raise OSError("disk gone")
            return i

    if compiled:
        pytest.importorskip("numba", reason="the compiled copy needs numba")
    sources = Sources({"good": [1, 2], "bad": Breaks()}, compiled=compiled)
    with pytest.raises(InputError, match=r"'bad', row 7 \(Breaks\[7\]\).*OSError: disk gone"):
        sources.read(rows(0, 1, 1, 1), rows(0, 3, 7, 4))
    tokens = Sources({"a": TokenRows(np.arange(10), 2)}, compiled=compiled)
    with pytest.raises(InputError, match="'a', row 5"):
        tokens.read(rows(0, 0), rows(1, 5))


def test_an_empty_source_of_another_width_does_no_harm():
    made = {"none": open_source(np.zeros((0, 9), np.int8)), "some": open_source(np.arange(8).reshape(4, 2))}
    assert Sources(made).read(rows(1, 1), rows(3, 0)).tolist() == [[6, 7], [0, 1]]
