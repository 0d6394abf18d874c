"""Stores on this machine, with the faults that a test asks for."""

import threading

import pytest
from s3_here import KEY, LAW, SECRET, WEB, lines

from mixwright.files.stores import faults


@pytest.fixture
def quick(monkeypatch, tmp_path):
    monkeypatch.setenv("MIXWRIGHT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(faults, "PAUSE", 0.0)


@pytest.fixture(scope="module")
def endpoint():
    pytest.importorskip("s3fs", reason="S3 is tested where s3fs is: pip install 'mixwright[stores]'")
    server = pytest.importorskip("moto.server", reason="S3 is tested where moto is: pip install 'moto[s3]' flask")
    here = server.ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    here.start()
    host, port = here.get_host_and_port()
    yield f"http://{host}:{port}"
    here.stop()


@pytest.fixture
def s3(endpoint, monkeypatch, tmp_path):
    import boto3
    import fsspec
    from moto.server import DomainDispatcherApplication

    monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setitem(
        fsspec.config.conf, "s3", {"config_kwargs": {"read_timeout": 1, "retries": {"max_attempts": 0}}}
    )
    client = boto3.client("s3", endpoint_url=endpoint)
    name = "bucket-" + tmp_path.name.replace("_", "-").replace("[", "").replace("]", "").lower()[-40:].strip("-")
    client.create_bucket(Bucket=name)
    client.bucket, client.url, client.faults = name, f"s3://{name}", []
    for key, data in {"in/web/a.jsonl": lines(WEB[:20]), "in/web/b/c.jsonl": lines(WEB[20:])}.items():
        client.put_object(Bucket=name, Key=key, Body=data)
    client.put_object(Bucket=name, Key="in/law.jsonl", Body=lines(LAW))
    real = DomainDispatcherApplication.__call__

    def call(self, environ, start_response):
        wanted = environ["REQUEST_METHOD"] == "GET" and environ["PATH_INFO"].endswith(".jsonl")
        fault = client.faults.pop(0) if client.faults and (wanted or client.faults[0] == "expired") else None
        if fault is None:
            return real(self, environ, start_response)
        if fault == "silent":
            threading.Event().wait(2)
        if fault == "cut":
            body = b"".join(real(self, environ, lambda *args: None))
            start_response("200 OK", [("Content-Length", str(len(body)))])
            return [body[: len(body) // 2]]
        status, code = {"expired": ("403 Forbidden", "ExpiredToken")}.get(fault, ("503 Slow", "SlowDown"))
        start_response(status, [("Content-Type", "application/xml")])
        if environ["REQUEST_METHOD"] == "HEAD":  # which has no body
            return []
        return [f"<Error><Code>{code}</Code><Message>{code}</Message></Error>".encode()]

    monkeypatch.setattr(DomainDispatcherApplication, "__call__", call)
    return client
