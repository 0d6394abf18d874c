"""The page of a run on the loopback address: that page and the tables that it links to, and nothing else."""

from __future__ import annotations

import errno
import json
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from mixwright.errors import InputError
from mixwright.experiment.live.look import FINISHED, RunState
from mixwright.report import render

LOOPBACK = "127.0.0.1"
_NAMES = {LOOPBACK, "localhost"}  # that a browser may call it by: another name is a stranger's that leads here
_PAGE = "report.html"
_GONE = (ConnectionError, TimeoutError)  # what writing to a browser raises that went away
_HEADERS = {
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
}


class PageServer:
    """
    A context in which the page of a run is served.

    Parameters
    ----------
    folder
        Of the run.
    port
        0: one that is free.

    Raises
    ------
    InputError
        The port is in use, or may not be had.
    """

    def __init__(self, folder: Path, port: int = 0) -> None:
        self._folder, self._lock = folder, threading.Lock()
        self._seen: RunState | None = None
        self._made: tuple[RunState, bytes] | None = None
        try:
            self._server = _Server((LOOPBACK, port), _handler(self))
        except OSError as error:
            found = {errno.EADDRINUSE: "another program has it", errno.EACCES: "this user may not have it"}
            why = found.get(error.errno or 0, error.strerror or str(error))
            raise InputError(f"port {port} should be free, found that {why}; give another: --serve PORT") from error
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.2,), daemon=True)

    @property
    def address(self) -> str:
        """Return what a browser is given."""
        return f"http://{LOOPBACK}:{self._server.server_address[1]}/"

    def __enter__(self) -> PageServer:
        """Start serving."""
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        """Stop serving."""
        self._server.shutdown()
        self._server.server_close()

    def show(self, seen: RunState) -> None:
        """Serve this from now on."""
        self._seen = seen

    def answer(self, path: str) -> tuple[str, bytes] | None:
        """Return the type and the bytes of what is at a path; None for all that is not the page's."""
        name = unquote(path.partition("?")[0]).removeprefix("/")
        if name in ("", _PAGE):
            return "text/html; charset=utf-8", self._page()
        if name in _linked(self._folder) and (found := _inside(self._folder, name)) is not None:
            return "text/csv; charset=utf-8", found
        return None

    def _page(self) -> bytes:
        """Return the page of the finished run, else of what was seen last, which is made once."""
        seen = self._seen
        if seen is None:
            return b""
        if seen.state == FINISHED and (found := _inside(self._folder, _PAGE)) is not None:
            return found
        with self._lock:
            if self._made is None or self._made[0] is not seen:
                self._made = (seen, render("live", seen.to_json()).encode())
            return self._made[1]


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    allow_reuse_port = False

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of a browser that went away, but any other error."""
        if not isinstance(sys.exc_info()[1], _GONE):
            super().handle_error(request, client_address)


def _linked(folder: Path) -> set[str]:
    """Return the names of the tables that the page of a finished run links to."""
    try:
        summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
        names = {summary.get("csv"), (summary.get("forecast") or {}).get("csv")}
    except (OSError, ValueError, AttributeError):
        return set()
    return {name for name in names if isinstance(name, str) and name.endswith(".csv") and Path(name).name == name}


def _inside(folder: Path, name: str) -> bytes | None:
    """Return what a file in a folder holds; None if there is none, or it lies elsewhere."""
    path = folder / name
    try:
        if path.resolve().parent != folder.resolve() or not path.is_file():
            return None
        return path.read_bytes()
    except OSError:
        return None


def _handler(pages: PageServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        timeout = 10

        def do_GET(self) -> None:
            """Answer with the page, or what it links to."""
            self._answer(whole=True)

        def do_HEAD(self) -> None:
            """Answer as to GET, without the content."""
            self._answer(whole=False)

        def _answer(self, whole: bool) -> None:
            host = self.headers.get("Host", "").rpartition(":")
            name = host[0] if host[2].isdigit() else "".join(host)
            if name not in _NAMES:
                self._send(403, "text/plain", f"this is for http://{LOOPBACK} alone\n".encode(), whole)
                return
            try:
                found = pages.answer(self.path)
            except Exception as error:  # the page of a damaged run, say: the browser shows why
                said = f"this could not be made ({type(error).__name__}: {error}); nothing of the run is changed\n"
                self._send(500, "text/plain; charset=utf-8", said.encode(), whole)
                return
            status, (kind, content) = (200, found) if found else (404, ("text/plain", b"there is nothing here\n"))
            self._send(status, kind, content, whole)

        def _send(self, status: int, kind: str, content: bytes, whole: bool) -> None:
            self.send_response(status)
            for header, value in {"Content-Type": kind, "Content-Length": str(len(content)), **_HEADERS}.items():
                self.send_header(header, value)
            self.end_headers()
            if whole:
                self.wfile.write(content)

        def version_string(self) -> str:
            """Name the program."""
            return "mixwright"

        def log_message(self, *args: Any) -> None:
            """Write nothing to the terminal, which shows the run."""

    return Handler
