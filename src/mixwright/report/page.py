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

from mixwright._version import __version__
from mixwright.errors import missing_extra
from mixwright.files import atomic_write
from mixwright.report import words
from mixwright.report.schema import check_summary, completed
from mixwright.report.view import build_view

_MARK = 'document.documentElement.classList.add("js");'  # before anything is drawn: the style depends on it
_FORBIDDEN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")


def write_report(summary: Mapping[str, Any], path: Path | str) -> Path:
    """
    Write the page of a run to `path`, atomically, and return the path.

    Parameters
    ----------
    summary : mapping
        What `summary.json` of a run folder holds.
    path : Path or str
        The HTML file to write; its folder is made when it is missing.

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
    text = render(summary)
    with atomic_write(path) as handle:
        handle.write(text)
    return Path(path)


def render(summary: Mapping[str, Any]) -> str:
    """
    Return the page of a run as HTML.

    The page holds its style, its script, its data and the chart library (compressed), asks the network for nothing,
    and its content security policy forbids that. The same summary gives the same text.

    Parameters
    ----------
    summary : mapping
        What `summary.json` of a run folder holds.

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
    return document("page.html", build_view(completed(summary)))


def document(template: str, view: Mapping[str, Any]) -> str:
    """Return a page: a template with what it shows, whose `charts` are drawn by the page's own script."""
    environment = _environment()
    library, library_hash = _library()
    script = _file("page.js")
    text = environment.get_template(template).render(
        view,
        library_version=__version__,
        style=_literal(_file("style.css")),
        mark=_literal(_MARK),
        script=_literal(script),
        data=_literal(script_json([chart.to_json() for chart in view["charts"]])),
        bundle=library,
        hashes=[_hash(_MARK.encode()), _hash(script.encode()), library_hash],
    )
    return _FORBIDDEN.sub("\ufffd", text)


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
