"""Every reader of files and the same twelve oddities, against one table of what comes of them."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

pyarrow = pytest.importorskip("pyarrow")
parquet = pytest.importorskip("pyarrow.parquet")

from readers import READERS, VALUES, Reader  # noqa: E402

from mixwright.errors import InputError  # noqa: E402

POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 5000000\n"


# Each oddity writes files and returns the path to read and the values that are in it; None where it cannot be.
Written = tuple[Path, list[str]] | None


def bom(reader: Reader, folder: Path) -> Written:
    if not reader.is_text:
        return None
    path = reader.write(folder / f"a{reader.suffix}")
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    return path, VALUES


def crlf(reader: Reader, folder: Path) -> Written:
    if not reader.is_text:
        return None
    path = reader.write(folder / f"a{reader.suffix}")
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    return path, VALUES


def links(reader: Reader, folder: Path) -> Written:
    """A hub's cache: a link with a suffix to a file without one; for a folder, another link to the link's folder."""
    blob = reader.write(folder / "blobs" / "0f343b0931126a20")
    link = folder / "snapshots" / f"a{reader.suffix}"
    link.parent.mkdir()
    os.symlink(os.path.relpath(blob, link.parent), link)
    if not reader.folders:
        return link, VALUES
    (folder / "data").mkdir()
    os.symlink(link.parent, folder / "data" / "shard1")
    return folder / "data", VALUES


def pointer(reader: Reader, folder: Path) -> Written:
    path = folder / f"a{reader.suffix}"
    path.write_bytes(POINTER)
    return path, []


def hidden(reader: Reader, folder: Path) -> Written:
    path = reader.write(folder / f"a{reader.suffix}")
    for name in (".b", "._a", ".cache/c"):
        reader.write(folder / f"{name}{reader.suffix}", ["hidden"])
    for name in ("~", ".tmp", ".bak"):
        reader.write(folder / f"a{reader.suffix}{name}", ["old"])
    (folder / "README.md").write_text("# About")
    return (folder if reader.folders else path), VALUES


def empty(reader: Reader, folder: Path) -> Written:
    path = folder / f"a{reader.suffix}"
    path.write_bytes(b"")
    return path, []


def null(reader: Reader, folder: Path) -> Written:
    return reader.write(folder / f"a{reader.suffix}", ["a", None, "ç"]), ["a", "b", "ç"]


def a_list(reader: Reader, folder: Path) -> Written:
    if reader.suffix != ".jsonl":
        return None
    rows = [reader.row(i, value) for i, value in enumerate(VALUES)]
    (folder / "a.json").write_text(json.dumps(rows, indent=1, ensure_ascii=False), encoding="utf-8")
    return folder / "a.json", VALUES


def nested(reader: Reader, folder: Path) -> Written:
    reader.write(folder / "data" / "0" / "deep" / f"a{reader.suffix}", VALUES[:1])
    reader.write(folder / "data" / f"b{reader.suffix}", VALUES[1:])
    return folder / "data", VALUES


def huge_row(reader: Reader, folder: Path) -> Written:
    if reader.suffix == ".npy":
        return None
    values = ["a", "b" * 20_000_000 if "csv" in reader.suffix else "b" * 3_000_000, "ç"]
    return reader.write(folder / f"a{reader.suffix}", values), values


def wrong_suffix(reader: Reader, folder: Path) -> Written:
    path = folder / f"a{reader.suffix}"
    if reader.suffix == ".parquet":
        path.write_bytes(b"\x1f\x8b" + b"0" * 100)
    else:
        parquet.write_table(pyarrow.table({"text": VALUES}), path)
    return path, []


def cut_off(reader: Reader, folder: Path) -> Written:
    path = reader.write(folder / f"a{reader.suffix}")
    whole = path.read_bytes()
    end = whole.rindex(b",") if reader.suffix == ".csv" else len(whole) - 3
    path.write_bytes(whole[:end])
    return path, []


READ = None  # or a pattern of the message
EXPECTED: dict[Callable[[Reader, Path], Written], str | None] = {
    bom: READ,
    crlf: READ,
    links: READ,
    pointer: r"a\.\w+: there should be data, found only a pointer of Git LFS, .*; run: git -C \S+ lfs pull",
    hidden: READ,
    empty: r"found none|it is empty|nothing but white space|No data left",
    null: r"(line|row|at row|weight of) '?[12b]",
    a_list: READ,
    nested: READ,
    huge_row: READ,
    wrong_suffix: r"found a parquet file|it is a gzip file",
    cut_off: r"bad JSON|one JSON value|cut off|greater than file size|cells|columns, got 2|a name and a weight",
}
OTHERWISE = {  # (reader, oddity): what the table does not say
    ("assays", null): READ,  # a label without a value is missing, as it should be
    ("assays of parquet", null): READ,
    ("stream", null): READ,  # rows are handed out as they are
    ("stream of parquet", null): READ,
    ("tokens", null): READ,
    **{(name, nested): "folder|cannot" for name, reader in READERS.items() if not reader.folders},
}


@pytest.mark.parametrize("oddity", EXPECTED, ids=lambda oddity: oddity.__name__)
@pytest.mark.parametrize("name", READERS)
def test_a_reader_and_an_oddity(name: str, oddity: Callable[[Reader, Path], Written], tmp_path: Path) -> None:
    reader, expected = READERS[name], OTHERWISE.get((name, oddity), EXPECTED[oddity])
    written = oddity(reader, tmp_path)
    if written is None:
        pytest.skip("this cannot be in a file of this kind")
    path, values = written
    before = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    if expected is READ:
        found = reader.read(path)
        if oddity is null and name.startswith(("stream", "tokens")):
            values = ["a", "", "ç"] if name == "tokens" else ["a", None, "ç"]
        assert found == reader.expected(values)
    else:
        with pytest.raises(InputError, match=expected) as caught:
            reader.read(path)
        assert "\n" not in str(caught.value)
    assert {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()} == before


@pytest.mark.parametrize("name", READERS)
def test_the_plain_file_is_read(name: str, tmp_path: Path) -> None:
    reader = READERS[name]
    assert reader.read(reader.write(tmp_path / f"a{reader.suffix}")) == reader.expected(VALUES)
