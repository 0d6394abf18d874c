"""Inputs from stores: the same rows as from this disk, or one clear error, whatever the network does."""

import functools
import http.server
import json
import sys
import threading
from typing import ClassVar

import pytest
from s3_here import KEY, LAW, SECRET, WEB, lines

from mixwright.errors import InputError, MissingExtraError
from mixwright.experiment.run import drive, load
from mixwright.files.stores import addresses, copies, fetching, systems
from mixwright.files.stores.addresses import address_of, masked
from mixwright.files.stores.fetching import changed
from mixwright.stream.sources.opening import open_source
from mixwright.text.readers import read_documents

pytestmark = pytest.mark.usefixtures("quick")


class Server(http.server.SimpleHTTPRequestHandler):
    """Files of a folder, and the faults that a test asks for: each is taken from the front of a list."""

    faults: ClassVar[list] = []
    etag: str | None = '"one"'
    gets = 0

    def log_message(self, *args):
        pass

    def end_headers(self):
        if self.etag:
            self.send_header("ETag", self.etag)
        super().end_headers()

    def do_GET(self):
        type(self).gets += 1
        fault = type(self).faults.pop(0) if type(self).faults else None
        if isinstance(fault, int):
            return self.send_error(fault)
        if fault == "cut":
            data = lines(WEB)
            self.send_response(200)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data[: len(data) // 2])
            self.close_connection = True
            return None
        if fault == "silent":
            self.close_connection = True
            return threading.Event().wait(1.5)
        if fault == "change":
            type(self).etag = f'"{self.gets}"'
        return super().do_GET()


@pytest.fixture
def web(tmp_path, monkeypatch):
    pytest.importorskip("aiohttp", reason="stores are tested where their packages are: pip install 'mixwright[stores]'")
    folder = tmp_path / "site"
    folder.mkdir()
    (folder / "web.jsonl").write_bytes(lines(WEB))
    kind = type("Site", (Server,), {"faults": [], "gets": 0})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(kind, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    kind.url = f"http://127.0.0.1:{server.server_port}/web.jsonl"
    kind.folder = folder
    yield kind
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("fault", [[], [503, 500], ["cut"], ["silent"], ["cut", 503, "silent"]])
def test_rows_of_the_web_are_those_of_the_file(web, fault, monkeypatch):
    monkeypatch.setattr(systems, "_QUIET", 0.5)
    web.faults.extend(fault)
    assert list(read_documents(web.url)) == WEB


def test_a_copy_is_fetched_once_and_again_after_a_change(web):
    assert list(read_documents(web.url)) == list(read_documents(web.url)) == WEB
    assert web.gets == 1
    (web.folder / "web.jsonl").write_bytes(lines(LAW))
    web.etag = '"two"'
    assert list(read_documents(web.url)) == LAW


def test_without_a_tag_or_time_the_content_is_the_version(web, monkeypatch):
    web.etag = None
    monkeypatch.setattr(web, "send_head", _without_time(web))
    assert list(read_documents(web.url)) == WEB
    (web.folder / "web.jsonl").write_bytes(lines(LAW))
    assert list(read_documents(web.url)) == LAW


def test_a_store_says_another_version_or_none_or_is_away(web, monkeypatch):
    assert changed(address_of(web.url), "0" * 12) is True
    assert changed(address_of("http://127.0.0.1:9/web.jsonl"), "0" * 12) is None
    web.etag = None
    monkeypatch.setattr(web, "send_head", _without_time(web))
    assert changed(address_of(web.url), "0" * 12) is False


def _without_time(kind):
    real = kind.send_header

    def send_header(self, name, value):
        if name != "Last-Modified":
            real(self, name, value)

    kind.send_header = send_header
    return kind.send_head


def test_a_file_that_changes_meanwhile_is_fetched_again(web):
    web.faults.append("change")
    assert list(read_documents(web.url)) == WEB
    assert web.gets == 2


def test_a_file_that_never_stays_the_same_is_an_error(web):
    web.faults.extend(["change"] * 50)
    with pytest.raises(InputError, match="should stay the same"):
        list(read_documents(web.url))


@pytest.mark.parametrize(
    ("fault", "message"),
    [(503, "a fault in each of 4 tries .*503"), (403, "credentials.*403.*netrc"), ("cut", "in each of 4 tries")],
)
def test_a_fault_that_stays_is_one_error(web, fault, message):
    web.faults.extend([fault] * 50)
    with pytest.raises(InputError, match=message):
        list(read_documents(web.url))
    assert not list(copies.cache_folder().rglob("*.tmp"))


def test_nothing_is_there(web):
    with pytest.raises(InputError, match=r"nothing\.jsonl.*check the address"):
        list(read_documents(web.url.replace("web.jsonl", "nothing.jsonl")))


def test_nobody_listens(monkeypatch):
    pytest.importorskip("aiohttp", reason="stores are tested where their packages are")
    with pytest.raises(InputError, match="check the network"):
        list(read_documents("http://127.0.0.1:9/web.jsonl"))


# ---------------------------------------------------------------- S3


@pytest.mark.parametrize("fault", [[], ["503", "503"], ["cut"], ["silent"]])
def test_rows_of_a_store_are_those_of_the_folder(s3, fault):
    s3.faults.extend(fault)
    assert list(read_documents(f"{s3.url}/in/web")) == WEB


def test_a_pattern_and_a_stream(s3):
    assert list(read_documents(f"{s3.url}/in/**/*.jsonl")) == [*LAW, *WEB]
    assert list(read_documents(f"{s3.url}/in/web/*.jsonl")) == WEB[:20]
    rows = open_source(f"{s3.url}/in/web")
    assert [row["text"] for row in rows.gather(range(40))] == WEB


def test_expired_credentials(s3):
    s3.faults.extend(["expired"] * 50)
    with pytest.raises(InputError, match=r"credentials.*expired.*aws sso login") as error:
        list(read_documents(f"{s3.url}/in/web"))
    assert SECRET not in str(error.value)


def test_no_bucket_and_no_key(s3):
    with pytest.raises(InputError, match="check the address"):
        list(read_documents("s3://no-such-bucket-at-all/in"))
    with pytest.raises(InputError, match="check the address"):
        list(read_documents(f"{s3.url}/in/none.jsonl"))


def _searched(folder, web, law):
    folder.mkdir()
    (folder / "search.yaml").write_text(
        f"quick: true\nsources:\n  web: {web}\n  law: {law}\ntargets:\n  goal: {law}\n"
        "final: {context: 16}\nproxy: {context: 16}\n"
    )
    return drive(load("search", folder / "search.yaml"), folder / "run")


def test_a_search_is_the_same_and_its_folder_holds_no_secret(s3, tmp_path):
    for key in ("in/web/a.jsonl", "in/web/b/c.jsonl", "in/law.jsonl"):
        path = tmp_path / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(s3.get_object(Bucket=s3.bucket, Key=key)["Body"].read())
    here = _searched(tmp_path / "here", tmp_path / "in/web", tmp_path / "in/law.jsonl")
    there = _searched(tmp_path / "there", f"{s3.url}/in/web", f"{s3.url}/in/law.jsonl")
    changing = {"created", "command", "title", "seconds"}
    assert _without(here, changing) == _without(there, changing)
    checked = [json.loads((tmp_path / which / "run" / "checked.json").read_text()) for which in ("here", "there")]
    assert checked[0] == checked[1]  # fingerprints of content
    config = (tmp_path / "there" / "run" / "config.yaml").read_text()
    assert f"{s3.url}/in/web" in config
    assert load("search", tmp_path / "there" / "run" / "config.yaml").dumped()
    for file in (tmp_path / "there" / "run").rglob("*"):
        content = file.read_bytes() if file.is_file() else b""
        assert KEY.encode() not in content, file
        assert SECRET.encode() not in content, file


def _without(value, names):
    if isinstance(value, dict):
        return {key: _without(inner, names) for key, inner in value.items() if key not in names}
    return [_without(inner, names) for inner in value] if isinstance(value, list) else value


# ---------------------------------------------------------------- addresses


@pytest.mark.parametrize(
    "text",
    [
        "https://user:pw-secret@host/a.jsonl",
        "https://host/a.jsonl?X-Amz-Signature=secret&X-Amz-Expires=3",
        "s3://AKIA:pw/secret@bucket/a.jsonl",
        "https://host/a.jsonl?secret",
        "s3://bucket/a.jsonl?X-Amz-Signature=secret",
    ],
)
def test_an_address_with_a_credential_is_refused_and_not_shown(text, tmp_path):
    with pytest.raises(InputError, match="no credentials") as error:
        address_of(text)
    assert "secret" not in str(error.value)
    (tmp_path / "s.yaml").write_text(f"sources:\n  web: {text}\n  law: law.jsonl\ntargets: {{goal: law.jsonl}}\n")
    with pytest.raises(InputError, match="no credentials") as error:
        load("search", tmp_path / "s.yaml")
    assert "secret" not in str(error.value)
    assert str(error.value).count("://") == 1


def test_a_package_that_is_missing_is_named_with_the_key(tmp_path, monkeypatch):
    pytest.importorskip("fsspec")
    monkeypatch.setitem(sys.modules, "gcsfs", None)
    (tmp_path / "law.jsonl").write_bytes(lines(LAW))
    file = tmp_path / "s.yaml"
    file.write_text("quick: true\nsources:\n  web: gs://bucket/web\n  law: law.jsonl\ntargets: {goal: law.jsonl}\n")
    with pytest.raises(MissingExtraError, match=r"s\.yaml, line 3, key sources\.web.*needs the package 'gcsfs'"):
        drive(load("search", file), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_addresses():
    assert str(address_of("s3://b/web/")) == "s3://b/web"
    assert str(address_of("https://h:80/a.csv?download=1")) == "https://h:80/a.csv?download=1"
    assert str(addresses.of_dataset({"dataset": "o/n", "split": "test"})) == "dataset://o/n?split=test"
    for path in ("web.jsonl", "/data/web", "C:/data", "web/*.jsonl"):
        assert address_of(path) is None
    assert masked("at https://h/a?sig=secret, then") == "at https://h/a?... then"


@pytest.mark.parametrize(
    ("path", "pattern", "matches"),
    [
        ("b/web/a.jsonl", "b/*/*.jsonl", True),
        ("b/web/x/a.jsonl", "b/*/*.jsonl", False),
        ("b/web/x/a.jsonl", "b/**/*.jsonl", True),
        ("b/a.jsonl", "b/**/*.jsonl", True),
        ("b/web1/a.jsonl", "b/web[0-9]", True),
        ("b/webx/a.jsonl", "b/web[!0-9]", True),
        ("b/web1/a.jsonl", "b/web[!0-9]", False),
    ],
)
def test_patterns(path, pattern, matches):
    assert fetching._matches(path, pattern) == matches
