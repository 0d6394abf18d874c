"""The table in memory and in a folder: the same values, continued after a kill, and one clear error otherwise."""

import os
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from mixwright.errors import InputError
from mixwright.files.claims import Claim
from mixwright.files.storage import is_shared
from mixwright.search.table.files import locked
from mixwright.search.table.table import LikelihoodTable, factorise

SOURCES = ("web", "books", "code")


def logs(n=20, k=3, seed=0):
    return -np.random.default_rng(seed).exponential(100, size=(n, k))


def contents(folder):
    """Return the bytes of all files below a folder."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(Path(folder).rglob("*")) if p.is_file()}


def start(path, n=20, **changes):
    arguments = {
        "sources": SOURCES,
        "documents": np.arange(n) // 2,
        "targets": np.arange(n) // 10,
        "target_names": ["quiz", "prose"],
        "fingerprints": {"web": "w1", "books": "b1"},
        "data_fingerprint": "d1",
    }
    return LikelihoodTable.create(path, **(arguments | changes))


def fill(table, values):
    for j, source in enumerate(table.sources):
        table.append(source, values[table.rows_done(source) :, j])
        table.finish(source)


# -------------------------------------------------------------------- in memory


def test_in_memory():
    values = logs()
    table = LikelihoodTable.from_array(values)
    assert (table.n, table.k, table.unit) == (20, 3, "row")
    assert table.sources == ("source_0", "source_1", "source_2")
    assert table.target_names == ("target",)
    assert table.missing == ()
    assert table.complete
    assert table.documents.tolist() == list(range(20))
    assert (table.documents.dtype, table.weights.dtype, table.targets.dtype) == (np.int64, np.float64, np.int32)
    block = table.block(3, 7)
    np.testing.assert_array_equal(block, values[3:7])
    block[:] = 0
    np.testing.assert_array_equal(table.block(3, 7), values[3:7])
    assert table.rows_done("source_1") == 20
    table.finish("source_1")
    assert "in memory" in repr(table)
    table.verify()


@pytest.mark.parametrize("dtype", [np.float16, np.float32, ">f8", np.int32, np.uint8])
def test_numbers_of_any_kind(dtype):
    values = np.array([[1, 2], [3, 4]]).astype(dtype)
    block = LikelihoodTable.from_array(values, values="log_likelihood").block(0, 2)
    assert block.dtype == np.float64
    assert block.tolist() == [[1, 2], [3, 4]]


def test_the_attributes_cannot_be_changed_by_accident():
    weights = np.ones(20)
    table = LikelihoodTable.from_array(logs(), weights=weights)
    weights[0] = 7
    assert table.weights[0] == 1
    with pytest.raises(ValueError, match="read-only"):
        table.documents[0] = 3
    table.fingerprints["x"] = "y"
    assert table.fingerprints == {}


ONE = [[-1.0, -2.0], [-3.0, -4.0]]


@pytest.mark.parametrize(
    ("values", "options", "message"),
    [
        ([[-1.0, np.nan], [0, 0]], {}, "found nan at row 0 .*source 'source_1'"),
        ([[-1.0, -np.inf], [0, np.inf]], {}, "found inf at row 1 .*source 'source_1'"),
        ([[-1.0, -np.inf], [-np.inf, -np.inf]], {}, "row 1 .*-inf under every one"),
        (np.zeros((0, 2)), {}, "at least one row and one source"),
        (np.zeros((2, 0)), {}, "at least one row and one source"),
        ([], {}, "two-dimensional"),
        ([-1.0, -2.0], {}, r"two-dimensional .*found shape \(2,\)"),
        ([[-1.0], [-1.0, 2.0]], {}, "two-dimensional .*array of numbers"),
        (np.array(ONE, complex), {}, "real numbers, found dtype complex128"),
        (np.array(ONE, object), {}, "real numbers, found dtype object"),
        ([["a", "b"]], {}, "real numbers"),
        ([[True, False]], {}, "real numbers, found dtype bool"),
        (np.ma.masked_less(np.array(ONE), -2), {}, "masked"),
        (ONE, {"sources": ["a"]}, r"shape \[2, 1\] .*found \[2, 2\]"),
        (ONE, {"sources": ["a", "a"]}, "different names"),
        (ONE, {"sources": ["a", ""]}, "should have a name, found '' at position 1"),
        (ONE, {"sources": "ab"}, "list of names"),
        (ONE, {"documents": [0]}, r"shape \[1, 2\]"),
        (ONE, {"documents": [0.0, 1.0]}, "whole numbers, found dtype float64.*factorise"),
        (ONE, {"documents": ["a", "b"]}, "factorise"),
        (ONE, {"documents": [True, False]}, "whole numbers"),
        (ONE, {"documents": [[0, 1]]}, "one-dimensional"),
        (ONE, {"documents": []}, "at least one row"),
        (ONE, {"documents": np.array([0, 2**63], np.uint64)}, "64 bits"),
        (ONE, {"weights": [1.0]}, "each of the 2 rows, found 1"),
        (ONE, {"weights": [1.0, -1.0]}, "found -1.0 at row 1"),
        (ONE, {"weights": [np.nan, 1.0]}, "found nan at row 0"),
        (ONE, {"weights": [np.inf, 1.0]}, "found inf at row 0"),
        (ONE, {"weights": [0.0, 0.0]}, "not all be 0"),
        (ONE, {"weights": ["1", "2"]}, "real numbers"),
        (ONE, {"targets": [0, 0]}, "come with target_names"),
        (ONE, {"target_names": ["a", "b"]}, "which of 2 targets"),
        (ONE, {"targets": [0, 2], "target_names": ["a", "b"]}, "from 0 to 1 .*found 2 at row 1"),
        (ONE, {"targets": [0, -1], "target_names": ["a", "b"]}, "found -1 at row 1"),
        (ONE, {"targets": [0], "target_names": ["a"]}, "found 1; give 2"),
        (ONE, {"targets": [0, 0], "target_names": []}, "at least one name in target_names"),
        (ONE, {"unit": ""}, "unit should be a text"),
        (ONE, {"unit": None}, "unit should be a text"),
    ],
)
def test_wrong_arrays_are_explained(values, options, message):
    with pytest.raises(InputError, match=message):
        LikelihoodTable.from_array(values, **options)


def test_wrong_requests_are_explained():
    table = LikelihoodTable.from_array(logs())
    for bounds in ((-1, 3), (0, 21), (5, 4)):
        with pytest.raises(InputError, match="within rows 0 to 20"):
            table.block(*bounds)
    with pytest.raises(InputError, match="takes rows"):
        table.append("source_0", [0.0])
    with pytest.raises(InputError, match="source should be in the table; found 'nope'"):
        table.rows_done("nope")
    with pytest.raises(InputError, match="target should be in the table"):
        table.select("nope")


def test_factorise_in_order_of_first_appearance():
    codes, names = factorise(["b", "a", "b", "c"])
    assert codes.tolist() == [0, 1, 0, 2]
    assert names == ["b", "a", "c"]
    assert codes.dtype == np.int64
    assert factorise([])[0].size == 0


# -------------------------------------------------------------------- one target


@pytest.mark.parametrize("on_disk", [False, True])
@pytest.mark.parametrize("targets", [np.arange(20) // 10, np.arange(20) % 2])
def test_select(tmp_path, on_disk, targets):
    values = logs()
    table = LikelihoodTable.from_array(
        values, targets=targets, target_names=["quiz", "prose"], weights=np.arange(1, 21), documents=np.arange(20)
    )
    if on_disk:
        table.save(tmp_path / "table")
        table = LikelihoodTable.open(tmp_path / "table")
    for t, name in enumerate(table.target_names):
        rows = np.flatnonzero(targets == t)
        view = table.select(name)
        assert view.n == rows.size
        assert view.target_names == (name,)
        assert not view.targets.any()
        np.testing.assert_array_equal(view.documents, rows)
        np.testing.assert_array_equal(view.weights, rows + 1)
        np.testing.assert_array_equal(view.block(0, view.n), values[rows])
        np.testing.assert_array_equal(view.block(2, 5), values[rows[2:5]])
        np.testing.assert_array_equal(view.select(name).block(2, 5), values[rows[2:5]])
        view.check()
        view.save(tmp_path / name)
        again = LikelihoodTable.open(tmp_path / name)
        np.testing.assert_array_equal(again.block(0, again.n), values[rows])
        with pytest.raises(InputError, match="takes rows"):
            view.append(view.sources[0], [0.0])


@pytest.mark.parametrize("targets", [np.arange(20) // 10, np.arange(20) % 2])
def test_a_fault_below_a_selection_names_the_row_of_the_whole_table(tmp_path, targets):
    values = logs()
    values[13] = -np.inf
    table = start(tmp_path / "table", targets=targets)
    fill(table, values)
    table.select("quiz").check()
    with pytest.raises(InputError, match="found row 13 "):
        table.select("prose").check()
    with pytest.raises(InputError, match="found row 13 "):
        table.select("prose").select("prose").check()
    with pytest.raises(InputError, match="found row 13 "):
        table.check()
    with pytest.raises(InputError, match="found row 13 "):
        table.save(tmp_path / "copy")
    assert not (tmp_path / "copy").exists()


def test_targets_without_rows_or_weight():
    table = LikelihoodTable.from_array(
        logs(3), targets=[0, 0, 1], target_names=["a", "b", "c"], weights=[1.0, 1.0, 0.0]
    )
    with pytest.raises(InputError, match="'c' should have rows"):
        table.select("c")
    with pytest.raises(InputError, match="'b' should not all be 0"):
        table.select("b")


# -------------------------------------------------------------------- in a folder


def test_written_in_blocks(tmp_path):
    values = logs()
    values[0, 0], values[1, 1] = -np.inf, -1e6 - 0.015625
    table = start(tmp_path / "table")
    assert table.missing == SOURCES
    assert table.rows_done("books") == 0
    table.append("books", values[:7, 1])
    table.append("books", [])
    assert table.rows_done("books") == 7
    with pytest.raises(InputError, match="3 of 3 columns not finished"):
        table.block(0, 1)
    with pytest.raises(InputError, match="should have 20 rows, found 7"):
        table.finish("books")
    fill(table, values)
    for found in (table, LikelihoodTable.open(tmp_path / "table"), start(tmp_path / "table")):
        assert found.complete
        assert found.missing == ()
        assert found.sources == SOURCES
        assert found.target_names == ("quiz", "prose")
        assert found.fingerprints == {"web": "w1", "books": "b1"}
        assert (found.data_fingerprint, found.unit) == ("d1", "sequence")
        np.testing.assert_array_equal(found.documents, np.arange(20) // 2)
        np.testing.assert_array_equal(found.block(0, 20), values)
        found.check()
        found.verify()
        found.finish("web")
    with pytest.raises(InputError, match="finished and takes no rows"):
        table.append("web", [0.0])
    files = set(contents(tmp_path / "table"))
    assert files == {
        "table.json",
        "documents.npy",
        "weights.npy",
        "targets.npy",
        *(f"columns/000{i}.f64" for i in range(3)),
    }
    raw = np.fromfile(tmp_path / "table" / "columns" / "0001.f64", "<f8")
    np.testing.assert_array_equal(raw, values[:, 1])


shapes = st.tuples(st.integers(1, 30), st.integers(1, 5))


@given(values=hnp.arrays(np.float64, shapes, elements=st.floats(-1e300, 1e300)), cuts=st.lists(st.integers(0, 30)))
@settings(max_examples=25)
def test_round_trip_is_exact(tmp_path_factory, values, cuts):
    folder = tmp_path_factory.mktemp("table")
    n = len(values)
    memory = LikelihoodTable.from_array(values, values="log_likelihood")
    memory.save(folder / "saved")
    given = {"documents": np.arange(n), "unit": "row", "densities": True}
    written = LikelihoodTable.create(folder / "written", memory.sources, **given)
    for j, source in enumerate(written.sources):
        for first, last in zip([0, *sorted(cuts)], [*sorted(cuts), n], strict=True):
            written.append(source, values[first : min(last, n), j])
        written.finish(source)
    for table in (memory, written, LikelihoodTable.open(folder / "saved")):
        assert table.block(0, n).tobytes() == values.tobytes()
        middle = n // 2
        assert table.block(middle, n).tobytes() == values[middle:].tobytes()
    assert contents(folder / "saved") == contents(folder / "written")


def test_many_columns_stay_within_the_open_files(tmp_path, monkeypatch):
    from mixwright.search.table import columns as _columns

    monkeypatch.setattr(_columns, "_MAPS", 2)
    values = logs(10, 7)
    LikelihoodTable.from_array(values).save(tmp_path / "table")
    table = LikelihoodTable.open(tmp_path / "table")
    for _ in range(2):
        np.testing.assert_array_equal(table.block(2, 9), values[2:9])


def test_two_writers_of_different_columns(tmp_path):
    values = logs()
    one, two = start(tmp_path / "table"), start(tmp_path / "table")
    for table, j in ((one, 0), (two, 1), (one, 2)):
        table.append(SOURCES[j], values[:, j])
        table.finish(SOURCES[j])
    for table in (one, two):
        assert table.complete
        np.testing.assert_array_equal(table.block(0, 20), values)
        table.verify()


def test_a_changed_proxy_starts_its_column_again(tmp_path):
    values = logs()
    table = start(tmp_path / "table")
    fill(table, values)
    again = start(tmp_path / "table", fingerprints={"web": "w2", "books": "b1"})
    assert again.missing == ("web",)
    assert again.rows_done("web") == 0
    assert again.fingerprints == {"web": "w2", "books": "b1"}
    fill(again, values + 1)
    np.testing.assert_array_equal(again.block(0, 20)[:, 0], values[:, 0] + 1)
    np.testing.assert_array_equal(again.block(0, 20)[:, 1:], values[:, 1:])
    assert start(tmp_path / "table", fingerprints=None).complete
    again = start(tmp_path / "table", fingerprints={"code": "c1"})  # unknown before: it may be another proxy
    assert again.missing == ("code",)


def test_a_changed_proxy_drops_the_rows_of_an_unfinished_column(tmp_path):
    start(tmp_path / "table").append("web", [-1.0, -2.0])
    assert start(tmp_path / "table").rows_done("web") == 2
    assert start(tmp_path / "table", fingerprints={"web": "w2"}).rows_done("web") == 0


class Killed(BaseException):
    """Stands for a kill at one moment."""


@pytest.mark.parametrize("moment", range(5))
def test_a_kill_while_a_column_starts_again(tmp_path, monkeypatch, moment):
    values = logs()
    fill(start(tmp_path / "table"), values)
    moments = iter(range(100))

    def killed_at_the_moment(real):
        def call(*args, **kwargs):
            if next(moments) == moment:
                raise Killed
            return real(*args, **kwargs)

        return call

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", killed_at_the_moment(os.replace))
        patch.setattr(Path, "unlink", killed_at_the_moment(Path.unlink))
        with pytest.raises(Killed):
            start(tmp_path / "table", fingerprints={"web": "w2"})
    table = start(tmp_path / "table", fingerprints={"web": "w2"})
    assert table.rows_done("web") == 0
    fill(table, values + 1)
    np.testing.assert_array_equal(table.block(0, 20)[:, 0], values[:, 0] + 1)
    table.verify()


def test_a_kill_between_the_checksum_and_the_name(tmp_path, monkeypatch):
    table = start(tmp_path / "table")
    table.append("web", logs()[:, 0])
    replace = os.replace

    def killed_at_the_name(source, target):
        if str(target).endswith(".f64"):
            raise Killed
        replace(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", killed_at_the_name)
        with pytest.raises(Killed):
            table.finish("web")
    again = start(tmp_path / "table")
    assert again.rows_done("web") == 20
    assert "web" in again.missing
    again.finish("web")
    assert "web" not in again.missing
    np.testing.assert_array_equal(np.fromfile(tmp_path / "table/columns/0000.f64"), logs()[:, 0])


def test_a_piece_of_a_number_is_cut(tmp_path):
    table = start(tmp_path / "table")
    table.append("web", [-1.0, -2.0])
    with open(tmp_path / "table/columns/0000.f64.part", "ab") as handle:
        handle.write(b"\x01\x02\x03")
    again = start(tmp_path / "table")
    assert again.rows_done("web") == 2
    again.append("web", [-3.0])
    raw = (tmp_path / "table/columns/0000.f64.part").read_bytes()
    assert raw == np.array([-1.0, -2.0, -3.0]).tobytes()


def test_kill_nine(tmp_path):
    n, path = 3_000_000, tmp_path / "table"
    script = textwrap.dedent(f"""
        import time
        import numpy as np
        from mixwright.search.table.table import LikelihoodTable
        documents = np.zeros({n}, np.int64)
        table = LikelihoodTable.create({str(path)!r}, ["web", "books"], documents=documents)
        print("started", flush=True)
        while (done := table.rows_done("web")) < {n} - 2000:
            table.append("web", -np.arange(done, done + 1001.0))
        time.sleep(60)
    """)
    part = path / "columns/0000.f64.part"
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE)
    process.stdout.readline()
    while not part.exists() or part.stat().st_size < 80_000:
        assert process.poll() is None
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    table = LikelihoodTable.create(path, ["web", "books"], documents=np.zeros(n, np.int64))
    done = table.rows_done("web")
    assert done >= 10_000
    table.append("web", -np.arange(done, done + 5.0))
    np.testing.assert_array_equal(np.fromfile(part, "<f8"), -np.arange(done + 5.0))


@pytest.mark.parametrize(
    ("step", "moment"), [("_write_array", "after"), ("write_header", "after"), ("_rename", "before")]
)
def test_what_a_kill_in_create_leaves_is_removed_by_the_next_one(tmp_path, step, moment):
    script = textwrap.dedent("""
        import os, sys
        import numpy as np
        from mixwright.search.table import files as _table_files
        from mixwright.search.table.table import LikelihoodTable
        step = getattr(_table_files, sys.argv[2])
        _table_files.__dict__[sys.argv[2]] = lambda *rest: (step(*rest) if sys.argv[3] == "after" else 0, os._exit(9))
        LikelihoodTable.create(sys.argv[1], ["web"], documents=np.zeros(3, np.int64))
    """)
    table = tmp_path / "a[b]"
    subprocess.run([sys.executable, "-c", script, str(table), step, moment], check=False)
    (left,) = os.listdir(tmp_path)
    assert left.startswith(".a[b].")
    LikelihoodTable.create(table, ["web"], documents=np.zeros(3, np.int64))
    assert os.listdir(tmp_path) == ["a[b]"]


def test_what_is_not_ours_or_at_work_is_kept(tmp_path):
    fcntl = pytest.importorskip("fcntl")
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    (tmp_path / f".table.{process.pid}.tmp" / "columns").mkdir(parents=True)
    kept = [f".other.{dead.pid}.tmp", f".table.{dead.pid}.tmp.old", ".table.x.tmp", f"table.{dead.pid}.tmp"]
    for name in kept:
        (tmp_path / name / "columns").mkdir(parents=True)
    (tmp_path / f".table.{dead.pid}.tmp").mkdir()
    (tmp_path / f".table.{dead.pid}.tmp" / "thesis.tex").write_text("mine")
    (tmp_path / f".table.00{dead.pid}.tmp" / "columns").mkdir(parents=True)
    held = os.open(tmp_path / f".table.00{dead.pid}.tmp", os.O_RDONLY)
    fcntl.flock(held, fcntl.LOCK_EX)
    (tmp_path / f".table.0{dead.pid}.tmp").symlink_to(tmp_path / ".table.x.tmp")
    before = contents(tmp_path), set(os.listdir(tmp_path))
    start(tmp_path / "table")
    process.communicate(b"\n")
    os.close(held)
    after = contents(tmp_path), set(os.listdir(tmp_path))
    assert after[1] == before[1] | {"table"}
    assert {name: value for name, value in after[0].items() if not name.startswith("table/")} == before[0]


def test_what_another_machine_writes_is_kept_for_a_day(tmp_path):
    pytest.importorskip("fcntl")
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    folders = [tmp_path / f".table.{dead.pid}{of}.tmp" for of in ("-0123abcd", "")]  # another machine's; a former name
    for folder in folders:
        (folder / "columns").mkdir(parents=True)
    start(tmp_path / "table")
    assert all(folder.exists() for folder in folders)
    for path in [p for folder in folders for p in (folder, folder / "columns")]:
        os.utime(path, (time.time() - 90_000,) * 2)
    start(tmp_path / "table2")  # of another table: these are not its own
    assert all(folder.exists() for folder in folders)
    shutil.rmtree(tmp_path / "table")
    start(tmp_path / "table")
    assert not any(folder.exists() for folder in folders)


def test_where_the_file_system_refuses_locks_claims_guard_the_header(tmp_path, monkeypatch):
    fcntl = pytest.importorskip("fcntl")

    def refuse(*_):
        raise OSError(9, "Bad file descriptor")

    monkeypatch.setattr(fcntl, "flock", refuse)
    table = start(tmp_path / "table")
    with locked(tmp_path / "table"):
        assert Claim(tmp_path / "table" / ".claims").owner().process == os.getpid()
        assert not Claim(tmp_path / "table" / ".claims").take()
    table.append("web", -np.arange(1.0, 21.0))
    table.finish("web")
    assert LikelihoodTable.open(tmp_path / "table").rows_done("web") == 20
    assert Claim(tmp_path / "table" / ".claims").owner() is None


def test_on_storage_that_machines_share_claims_guard_the_header_besides_locks(tmp_path, monkeypatch):
    pytest.importorskip("fcntl")
    start(tmp_path / "table")
    with locked(tmp_path / "table"):
        assert not (tmp_path / "table" / ".claims").exists()  # one machine has this one
    monkeypatch.setattr("mixwright.search.table.files.is_shared", lambda folder: True)
    with locked(tmp_path / "table"):
        assert Claim(tmp_path / "table" / ".claims").owner().process == os.getpid()


@pytest.mark.parametrize(("kind", "shared"), [("nfs4", True), ("fuse.sshfs", True), ("ext4", False)])
def test_storage_is_known_by_its_mount(tmp_path, monkeypatch, kind, shared):
    device = os.stat(tmp_path).st_dev
    line = f"36 35 {os.major(device)}:{os.minor(device)} / /data rw - {kind} server:/data rw"
    with monkeypatch.context() as patch:
        patch.setattr(Path, "read_text", lambda *_, **__: f"1 0 0:1 / / rw - ext4 x rw\n{line}\n")
        assert is_shared(tmp_path) == shared


# -------------------------------------------------------------------- wrong input leaves every file as it was


@pytest.mark.parametrize(
    ("source", "values", "message"),
    [
        ("web", [-1.0, np.nan], "found nan at row 4 .*'web'"),
        ("web", [np.inf], "found inf at row 3 .*'web'"),
        ("web", np.zeros(18), "should get 20 rows, 3 are written, found 18 more"),
        ("web", [[-1.0]], r"one-dimensional .*found shape \(1, 1\)"),
        ("web", [1j], "real numbers, found dtype complex128"),
        ("web", ["-1"], "real numbers"),
        ("web", [None], "real numbers, found dtype object"),
        ("nope", [-1.0], "found 'nope'"),
    ],
)
def test_wrong_rows_are_explained(tmp_path, source, values, message):
    table = start(tmp_path / "table")
    table.append("web", [-1.0, -2.0, -3.0])
    before = contents(tmp_path)
    with pytest.raises(InputError, match=message):
        table.append(source, values)
    assert contents(tmp_path) == before


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"data_fingerprint": "d2"}, r"data_fingerprint \('d1' there, 'd2' asked for\)"),
        ({"sources": ["web", "code", "books"]}, "sources"),
        ({"sources": [*SOURCES, "more"]}, "sources"),
        ({"documents": np.arange(20)}, r"documents \(from row 1 on\)"),
        ({"n": 30, "targets": None, "target_names": None}, r"documents \(20 rows there, 30 asked for\)"),
        ({"weights": np.arange(1, 21)}, r"weights \(from row 1 on\)"),
        ({"target_names": ["quiz", "code"]}, "target_names"),
        ({"unit": "chunk"}, "unit"),
        ({"fingerprints": {"nope": "x"}}, "found 'nope'"),
        ({"fingerprints": {"web": 3}}, "fingerprint of 'web' should be a text"),
        ({"fingerprints": ["w1"]}, "fingerprints should be a mapping"),
        ({"sources": []}, "at least one name"),
        ({"data_fingerprint": None}, "data_fingerprint should be a text"),
    ],
)
def test_other_arguments_are_explained(tmp_path, changes, message):
    table = start(tmp_path / "table")
    table.append("web", [-1.0])
    before = contents(tmp_path)
    with pytest.raises(InputError, match=message):
        start(tmp_path / "table", **changes)
    assert contents(tmp_path) == before


def test_other_folders_are_left_alone(tmp_path):
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "notes.txt").write_text("mine")
    (tmp_path / "file").write_text("mine")
    before = contents(tmp_path)
    with pytest.raises(InputError, match="a new or an empty folder"):
        start(tmp_path / "other")
    with pytest.raises(InputError, match="a new or an empty folder"):
        start(tmp_path / "file")
    with pytest.raises(InputError, match=r"cannot write|a new or an empty folder"):
        start(tmp_path / "file" / "below")
    with pytest.raises(InputError, match="a new or an empty folder"):
        LikelihoodTable.from_array(logs()).save(tmp_path / "other")
    with pytest.raises(InputError, match=r"a folder without table\.json"):
        LikelihoodTable.open(tmp_path / "other")
    with pytest.raises(InputError, match="no such folder"):
        LikelihoodTable.open(tmp_path / "nothing")
    with pytest.raises(InputError, match=r"found a file.*from_file"):
        LikelihoodTable.open(tmp_path / "file")
    assert contents(tmp_path) == before
    (tmp_path / "empty").mkdir()
    assert start(tmp_path / "empty").missing == SOURCES


def complete(tmp_path):
    table = start(tmp_path / "table")
    fill(table, logs())
    return tmp_path / "table"


def test_an_incomplete_table_is_not_saved(tmp_path):
    table = start(tmp_path / "table")
    with pytest.raises(InputError, match="columns not finished"):
        table.save(tmp_path / "copy")
    assert not (tmp_path / "copy").exists()


def shorten(path):
    path.write_bytes(path.read_bytes()[:-1])


@pytest.mark.parametrize(
    ("name", "damage", "message"),
    [
        ("columns/0001.f64", shorten, r"0001\.f64 \(source 'books'\) should have 160 bytes .*found 159"),
        ("columns/0001.f64", Path.unlink, r"0001\.f64 .*found no such file"),
        ("documents.npy", shorten, r"documents\.npy .*should hold 20 numbers"),
        ("documents.npy", Path.unlink, r"documents\.npy"),
        ("documents.npy", lambda p: p.write_bytes(b""), r"documents\.npy"),
        ("documents.npy", lambda p: np.save(p, np.zeros(20)), r"documents\.npy should hold .*found float64"),
        ("documents.npy", lambda p: np.save(p, np.zeros(19, np.int64)), r"documents\.npy should hold .*\(19,\)"),
        ("targets.npy", lambda p: np.save(p, np.full(20, 7, np.int32)), "damaged: targets should lie from 0 to 1"),
        ("weights.npy", lambda p: np.save(p, np.full(20, np.nan)), "damaged: the weights of rows"),
        ("table.json", shorten, None),
        ("table.json", lambda p: p.write_text("{}"), "'schema' from 1"),
        ("table.json", lambda p: p.write_text(p.read_text().replace('"schema": 1', '"schema": 3')), "newer version"),
        ("table.json", lambda p: p.write_text(p.read_text().replace('"rows": 20', '"rows": true')), "field 'rows'"),
        ("table.json", lambda p: p.write_text(p.read_text().replace('"rows": 20', '"rows": 21')), "21 numbers"),
        ("table.json", lambda p: p.write_text(p.read_text().replace('"books",', '"web",')), "different names"),
        ("table.json", lambda p: p.write_text(p.read_text().replace('"unit"', '"units"')), "field 'unit'"),
        ("table.json", lambda p: p.write_text(p.read_text().replace('"b1"', "7")), "field 'fingerprints'"),
    ],
)
def test_damage_is_found_when_opened(tmp_path, name, damage, message):
    path = complete(tmp_path)
    if message is None:  # the last byte is a line end
        shorten(path / name)
        message = "not JSON"
    damage(path / name)
    before = contents(tmp_path)
    for attempt in (LikelihoodTable.open, start):
        with pytest.raises(InputError, match=message):
            attempt(path)
    assert contents(tmp_path) == before


def test_a_part_that_is_too_long(tmp_path):
    start(tmp_path / "table")
    (tmp_path / "table/columns/0000.f64.part").write_bytes(bytes(161))
    with pytest.raises(InputError, match="at most 160 bytes for 20 rows, found 161; delete it"):
        LikelihoodTable.open(tmp_path / "table")


def test_damage_that_keeps_the_size(tmp_path):
    path = complete(tmp_path)
    column = path / "columns/0002.f64"
    column.write_bytes(b"\x01" + column.read_bytes()[1:])
    np.save(path / "documents.npy", np.arange(20))
    table = LikelihoodTable.open(path)
    with pytest.raises(InputError, match=r"documents\.npy, columns/0002\.f64"):
        table.verify()
    values = np.fromfile(column, "<f8")
    values[5] = np.nan
    values.tofile(column)
    with pytest.raises(InputError, match=r"found nan at row 5 .*'code'"):
        LikelihoodTable.open(path).check()


def test_a_damaged_part_is_not_finished(tmp_path):
    table = start(tmp_path / "table")
    values = logs()[:, 0]
    table.append("web", values)
    values[5] = np.nan
    values.tofile(tmp_path / "table/columns/0000.f64.part")
    before = contents(tmp_path)
    with pytest.raises(InputError, match="found nan at row 5"):
        table.finish("web")
    assert contents(tmp_path) == before


@given(name=st.sampled_from(["table.json", "documents.npy", "weights.npy", "targets.npy"]), data=st.data())
@settings(max_examples=60)
@pytest.mark.filterwarnings("ignore")
def test_any_damage_ends_in_one_error_or_none(tmp_path_factory, name, data):
    path = complete(tmp_path_factory.mktemp("damage"))
    whole = (path / name).read_bytes()
    at = data.draw(st.integers(0, len(whole) - 1))
    if data.draw(st.booleans()):
        (path / name).write_bytes(whole[:at])
        if at < len(whole) - 1:
            with pytest.raises(InputError):
                LikelihoodTable.open(path)
    else:
        piece = data.draw(st.binary(min_size=1, max_size=4))
        (path / name).write_bytes(whole[:at] + piece + whole[at + len(piece) :])
    before = contents(path)
    try:
        table = LikelihoodTable.open(path)
        table.check()
        table.verify()
    except InputError:
        pass
    assert contents(path) == before


# -------------------------------------------------------------------- disks that are full, folders that are read-only


def full(*_args, **_kwargs):
    raise OSError(28, "No space left on device")


def test_a_full_disk_while_rows_are_written(tmp_path, monkeypatch):
    table = start(tmp_path / "table")
    table.append("web", [-1.0, -2.0])
    before = contents(tmp_path)
    real = os.write

    def first_piece_then_full(descriptor, view):
        return real(descriptor, view[:11]) if len(view) == 16 else full()

    for source in ("web", "books"):
        with monkeypatch.context() as patch:
            patch.setattr(os, "write", first_piece_then_full)
            with pytest.raises(InputError, match="disk is full"):
                table.append(source, [-3.0, -4.0])
        assert contents(tmp_path) == before
    table.append("web", [-3.0])
    assert table.rows_done("web") == 3


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="this system has no /dev/full")
def test_a_device_that_is_full(tmp_path):
    table = start(tmp_path / "table")
    part = tmp_path / "table/columns/0000.f64.part"
    part.symlink_to("/dev/full")
    with pytest.raises(InputError, match="disk is full"):
        table.append("web", [-1.0])
    assert part.is_symlink()


@pytest.mark.parametrize("call", ["fsync", "replace", "open"])
def test_a_full_disk_while_a_column_is_finished(tmp_path, monkeypatch, call):
    table = start(tmp_path / "table")
    table.append("web", logs()[:, 0])
    before = contents(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(os, call, full)
        with pytest.raises(InputError, match="disk is full"):
            table.finish("web")
    assert contents(tmp_path) == before
    table.finish("web")
    assert table.rows_done("web") == 20


@pytest.mark.parametrize("call", ["fsync", "mkdir", "rename", "replace"])
def test_a_full_disk_while_a_table_is_made(tmp_path, monkeypatch, call):
    with monkeypatch.context() as patch:
        patch.setattr(os, call, full)
        with pytest.raises(InputError, match=r"cannot write .*made.*disk is full") as found:
            LikelihoodTable.from_array(logs()).save(tmp_path / "made")
        assert ".tmp" not in str(found.value)
        with pytest.raises(InputError, match=r"cannot write .*made.*disk is full"):
            start(tmp_path / "made")
    assert os.listdir(tmp_path) == []
    start(tmp_path / "made")


def test_a_read_only_folder(tmp_path, monkeypatch):
    def read_only(*_args, **_kwargs):
        raise OSError(30, "Read-only file system")

    path = complete(tmp_path)
    incomplete = start(tmp_path / "incomplete")
    before = contents(tmp_path)
    with monkeypatch.context() as patch:
        for call in ("mkdir", "open", "write"):
            patch.setattr(os, call, read_only)
        LikelihoodTable.open(path).check()
        with pytest.raises(InputError, match="read-only"):
            incomplete.append("web", [-1.0])
        with pytest.raises(InputError, match="read-only"):
            start(tmp_path / "new")
    assert contents(tmp_path) == before


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="the superuser may write anywhere")
def test_a_folder_without_permission(tmp_path):
    start(tmp_path / "table")
    (tmp_path / "table" / "columns").chmod(0o500)
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(InputError, match="permission denied"):
            start(tmp_path / "new")
        with pytest.raises(InputError, match="permission denied"):
            LikelihoodTable.open(tmp_path / "table").append("web", [-1.0])
    finally:
        tmp_path.chmod(0o700)
        (tmp_path / "table" / "columns").chmod(0o700)
