"""Which files a path stands for, what is left out, and that all of it is in the fingerprint."""

import os
from pathlib import Path

import pytest

from mixwright.errors import InputError
from mixwright.files import file_fingerprint
from mixwright.files.listing import list_files
from mixwright.text import read_documents
from mixwright.text.readers import list_texts


@pytest.fixture
def write(tmp_path):
    def write(name: str, text: str = '{"text": "x"}\n') -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    return write


def names(listing, folder):
    return [os.path.relpath(file, folder) for file in listing.files]


def test_links_to_folders_are_followed_and_in_the_fingerprint(write, tmp_path):
    write("web/a.jsonl")
    write("web/sub/b.jsonl")
    before = file_fingerprint(tmp_path / "web")
    write("disk2/deep/c.jsonl", '{"text": "other"}\n')
    os.symlink(tmp_path / "disk2", tmp_path / "web" / "shard1")
    assert names(list_files(tmp_path / "web"), tmp_path / "web") == ["a.jsonl", "shard1/deep/c.jsonl", "sub/b.jsonl"]
    linked = file_fingerprint(tmp_path / "web")
    assert linked != before
    write("disk2/deep/c.jsonl", '{"text": "changed"}\n')
    assert file_fingerprint(tmp_path / "web") != linked


def test_the_fingerprint_of_a_plain_folder_is_that_of_former_versions(write, tmp_path):
    for name in ("b/x.jsonl", "a.jsonl", "b.jsonl", "b/.hidden", ".cache/y"):
        write(f"web/{name}", name)
    assert file_fingerprint(tmp_path / "web") == "8c912b4c7c42e4b0"


@pytest.mark.parametrize("name", ["web", "web/**/*.jsonl"])
def test_a_circle_of_links_is_an_error(write, tmp_path, name):
    write("web/sub/a.jsonl")
    os.symlink(tmp_path / "web", tmp_path / "web" / "sub" / "again")
    with pytest.raises(InputError, match="links should not form a loop"):
        list_files(tmp_path / name)


def test_two_links_to_one_folder_are_no_circle(write, tmp_path):
    write("disk/a.jsonl")
    (tmp_path / "web").mkdir()
    for name in ("one", "two"):
        os.symlink(tmp_path / "disk", tmp_path / "web" / name)
    assert names(list_files(tmp_path / "web"), tmp_path / "web") == ["one/a.jsonl", "two/a.jsonl"]


def test_a_link_to_nothing_is_an_error(write, tmp_path):
    write("web/a.jsonl")
    os.symlink(tmp_path / "gone", tmp_path / "web" / "b.jsonl")
    with pytest.raises(InputError, match=r"b\.jsonl: there should be the file that this link leads to"):
        list_files(tmp_path / "web")


LEFTOVERS = ("b.jsonl.tmp", "a.jsonl~", "#a.jsonl#", "c.jsonl.bak", ".a.jsonl.swp", "._a.jsonl", ".git/config")


def test_leftovers_and_other_files_are_counted_and_read_when_asked(write, tmp_path):
    for name in ("a.jsonl", "note.txt", "README.md", "stats.csv", *LEFTOVERS):
        write(f"web/{name}")
    listing = list_texts(tmp_path / "web")
    assert names(listing, tmp_path / "web") == ["a.jsonl", "note.txt"]
    assert {why: len(paths) for why, paths in listing.left_out.items()} == {
        "hidden": 3,
        "temporary or backup": 4,
        "of another kind": 2,
    }
    assert listing.notes[0].startswith("9 files or folders were left out: ")
    assert names(list_texts(tmp_path / "web" / "*.md"), tmp_path / "web") == ["README.md"]
    assert names(list_texts(tmp_path / "web" / "*~"), tmp_path / "web") == ["a.jsonl~"]
    assert names(list_texts(tmp_path / "web" / "*"), tmp_path / "web") == ["a.jsonl", "note.txt"]


@pytest.mark.parametrize("pattern", ["web/**/*.jsonl", "web/*/*.jsonl", "*/*/*.jsonl", "web/*"])
def test_a_pattern_does_not_lead_into_folders_of_leftovers(write, tmp_path, pattern):
    for name in ("run/a.jsonl", "old~/b.jsonl", "_temporary/c.jsonl", "run.tmp/d.jsonl"):
        write(f"web/{name}")
    listing = list_files(tmp_path / pattern)
    assert names(listing, tmp_path) == ["web/run/a.jsonl"]
    assert len(listing.left_out["temporary or backup"]) == 3
    assert names(list_files(tmp_path / "web" / "_temporary" / "*.jsonl"), tmp_path) == ["web/_temporary/c.jsonl"]
    assert names(list_files(tmp_path / "web" / "*~" / "*.jsonl"), tmp_path) == ["web/old~/b.jsonl"]


def test_folders_that_match_a_pattern_of_files_are_read_for_their_data(write, tmp_path):
    for name in ("day.jsonl/part-0.jsonl", "day.jsonl/_SUCCESS", "day.jsonl/README.md", "other.jsonl"):
        write(f"web/{name}")
    listing = list_texts(tmp_path / "web" / "*.jsonl")
    assert names(listing, tmp_path / "web") == ["day.jsonl/part-0.jsonl", "other.jsonl"]
    assert [path.name for path in listing.left_out["of another kind"]] == ["README.md", "_SUCCESS"]


def test_a_link_to_a_folder_that_is_gone_is_an_error(write, tmp_path):
    write("web/a.jsonl")
    os.symlink(tmp_path / "gone", tmp_path / "web" / "shard1")
    for given in ("web", "web/*"):
        with pytest.raises(InputError, match="shard1: there should be the file that this link leads to"):
            list_files(tmp_path / given)


def test_files_that_are_not_read_are_no_part_of_the_content(write, tmp_path):
    write("web/a.jsonl")
    first = file_fingerprint(tmp_path / "web", list_texts(tmp_path / "web").unread)
    write("web/README.md", "about")
    assert file_fingerprint(tmp_path / "web", list_texts(tmp_path / "web").unread) == first


def test_patterns_and_lists(write, tmp_path):
    for name in ("a.jsonl", "b.jsonl", "sub/c.jsonl", "sub/d.txt", "x*y.jsonl"):
        write(f"web/{name}")
    web = tmp_path / "web"
    assert names(list_files(web / "*.jsonl"), web) == ["a.jsonl", "b.jsonl", "x*y.jsonl"]
    assert names(list_files(web / "**/*.jsonl"), web) == ["a.jsonl", "b.jsonl", "sub/c.jsonl", "x*y.jsonl"]
    assert names(list_files(web / "x*y.jsonl"), web) == ["x*y.jsonl"]
    assert names(list_files([web / "b.jsonl", web / "[ab].jsonl", web / "sub"]), web) == [
        "b.jsonl",
        "a.jsonl",
        "sub/c.jsonl",
    ]
    with pytest.raises(InputError, match="this pattern should match files, found none"):
        list_files(web / "*.parquet")
    with pytest.raises(InputError, match="a list of files should name at least one"):
        list_files([])


@pytest.mark.parametrize(
    ("make", "command"),
    [
        (
            lambda p: p.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n"),
            r"git -C \S+ lfs",
        ),
        (lambda p: p.write_text("/annex/objects/SHA256E-s9--0.jsonl\n"), r"git -C \S+ annex get a.jsonl"),
        (lambda p: p.write_text("../.git/annex/objects/x/SHA256E-s9--0"), r"git -C \S+ annex get a.jsonl"),
        (lambda p: os.symlink("../.git/annex/objects/x/SHA256E-s9--0", p), r"git -C \S+ annex get a.jsonl"),
        (lambda p: Path(f"{p}.dvc").write_text("outs:\n- md5: 0\n  path: a.jsonl\n"), r"dvc pull \S+/a.jsonl.dvc"),
    ],
)
@pytest.mark.parametrize("given", ["web", "web/a.jsonl", "web/*.jsonl", "web/*"])
def test_pointers_name_the_command_that_fetches_the_data(write, tmp_path, make, command, given):
    write("web/b.jsonl")
    make(tmp_path / "web" / "a.jsonl")
    with pytest.raises(InputError, match=f"found only a pointer of .*run: {command}"):
        list(read_documents(tmp_path / given))


def test_an_address_of_no_known_store_is_to_be_downloaded_first(tmp_path, monkeypatch):
    pytest.importorskip("fsspec", reason="says which stores there are")
    monkeypatch.setenv("MIXWRIGHT_CACHE", str(tmp_path))
    with pytest.raises(InputError, match=r"nowhere://, which fsspec does not know; .*download the data first"):
        list_files("nowhere://bucket/a")


def test_a_dvc_file_beside_its_data_is_left_out(write, tmp_path):
    write("web/a.txt", "one")
    write("web/a.txt.dvc", "outs:\n- md5: 0\n  path: a.txt\n")
    assert list(read_documents(tmp_path / "web")) == ["one"]


def test_a_text_about_pointers_is_no_pointer(write):
    path = write("a.txt", "version https://git-lfs.github.com/spec/v1 is how a pointer of Git LFS begins.")
    assert next(read_documents(path)).startswith("version")
