"""The page of a run: one HTML file that needs nothing but a browser."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import re
from collections.abc import Mapping
from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import Any

from mixwright.errors import missing_extra
from mixwright.files import atomic_write
from mixwright.report import words
from mixwright.report.looks import Look
from mixwright.report.search.schema import check_summary, completed
from mixwright.report.search.view import build_view
from mixwright.report.what_if.view import what_if_view
from mixwright.version import __version__

_MARK = 'document.documentElement.classList.add("js");'  # before anything is drawn: the style depends on it
_FORBIDDEN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")


def write_report(summary: Mapping[str, Any], path: Path | str, what_if: Mapping[str, Any] | None = None) -> Path:
    """
    Write the page of a run to `path`, atomically, and return the path.

    Parameters
    ----------
    summary : mapping
        What `summary.json` of a run folder holds.
    path : Path or str
        The HTML file to write; its folder is made when it is missing.
    what_if : mapping, optional
        What `whatif.json` of a run folder holds: the page gets sliders for the weights.

    Returns
    -------
    Path
        `path`.

    Raises
    ------
    InputError
        When the summary is of a newer schema or lacks a field (which is named), or the file cannot be written.
    MissingExtraError
        When jinja2 or plotly is not installed.
    """
    text = render(summary, what_if)
    with atomic_write(path) as handle:
        handle.write(text)
    return Path(path)


def render(summary: Mapping[str, Any], what_if: Mapping[str, Any] | None = None) -> str:
    """
    Return the page of a run as HTML.

    The page holds its style, its script, its data and the chart library (compressed), asks the network for nothing,
    and its content security policy forbids that. The same summary gives the same text.

    Parameters
    ----------
    summary : mapping
        What `summary.json` of a run folder holds.
    what_if : mapping, optional
        What `whatif.json` of a run folder holds: the page gets sliders for the weights.

    Returns
    -------
    str
        The whole HTML document.

    Raises
    ------
    InputError
        When the summary is of a newer schema or lacks a field (which is named).
    MissingExtraError
        When jinja2 or plotly is not installed.
    """
    check_summary(summary)
    view = build_view(completed(summary))
    looks = {mixture.name: mixture.look for mixture in view["mixtures"]}
    return document("search/page.html", view, what_if_parts(what_if, looks))


def document(template: str, view: Mapping[str, Any], playing: Mapping[str, Any] | None = None) -> str:
    """Return a page: a template with what it shows, whose `charts` are drawn by the page's own script."""
    more = dict(playing or what_if_parts(None))
    further = more.pop("hashes")
    environment = _environment()
    library, library_hash = _library()
    script = _file("page.js")
    text = environment.get_template(template).render(
        view,
        library_version=__version__,
        style=_literal(_file("style.css") + (_file("what_if/what_if.css") if more["what_if"] else "")),
        mark=_literal(_MARK),
        script=_literal(script),
        data=_literal(script_json([chart.to_json() for chart in view["charts"]])),
        bundle=library,
        hashes=[_hash(_MARK.encode()), _hash(script.encode()), library_hash, *further],
        **more,
    )
    return _FORBIDDEN.sub("\ufffd", text)


def render_what_if(what_if: Mapping[str, Any], title: str, verdict: str = "") -> str:
    """Return a page with the what-if part alone, as HTML; it needs no chart library."""
    playing = what_if_parts(what_if)
    text = (
        _environment()
        .get_template("what_if/page.html")
        .render(
            title=title,
            verdict=verdict,
            library_version=__version__,
            style=_literal(_file("style.css") + _file("what_if/what_if.css")),
            mark=_literal(_MARK),
            hashes=[_hash(_MARK.encode()), *playing.pop("hashes")],
            **playing,
        )
    )
    return _FORBIDDEN.sub("\ufffd", text)


def what_if_parts(what_if: Mapping[str, Any] | None, looks: Mapping[str, Look] | None = None) -> dict[str, Any]:
    """Return what a template with the what-if part needs, and the hashes of its scripts."""
    if what_if is None:
        return {"what_if": None, "hashes": []}
    view = what_if_view(what_if, looks)
    script = _file("what_if/numbers.js") + _file("what_if/what_if.js")
    return {
        "what_if": view,
        "what_if_data": _literal(script_json(what_if)),
        "what_if_script": _literal(script),
        "hashes": [_hash(script.encode())],
    }


def script_json(value: Any) -> str:
    """Return `value` as JSON that can stand inside a script element: no `<`, `>` or `&` is left in it."""
    text = json.dumps(value, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _environment() -> Any:
    try:
        import jinja2
    except ImportError as error:
        raise missing_extra("jinja2", "report") from error
    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(_file),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    for name in (
        "number",
        "signed",
        "small",
        "large",
        "scientific",
        "count",
        "percent",
        "span",
        "duration",
        "moment",
        "shorten",
        "address",
    ):
        environment.filters[name] = getattr(words, name)
    return environment


@lru_cache(maxsize=1)
def _library() -> tuple[str, str]:
    """
    Return plotly's script, compressed and in base64, and the hash that allows the page to run it.

    The package ships one bundle of almost 5 MB; compressed it is less than half of that, and every browser since 2023
    can unpack it. A link to a smaller bundle elsewhere would need the network.
    """
    try:
        from plotly.offline import get_plotlyjs
    except ImportError as error:
        raise missing_extra("plotly", "report") from error
    source = str(get_plotlyjs()).encode()
    return base64.b64encode(gzip.compress(source, 9, mtime=0)).decode(), _hash(source)


def _hash(source: bytes) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(source).digest()).decode()


def _file(name: str) -> str:
    return (resources.files("mixwright.report") / name).read_text(encoding="utf-8")


def _literal(text: str) -> Any:
    """Mark text of our own (style, script, escaped JSON) as needing no escaping."""
    from markupsafe import Markup

    return Markup(text)
