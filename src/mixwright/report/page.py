"""Pages: one HTML file for each run, comparison or what-if table, that needs nothing but a browser."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import Any

from mixwright.errors import InputError, missing_extra
from mixwright.files import atomic_write
from mixwright.report import words
from mixwright.report.comparison.view import build_comparison
from mixwright.report.live.view import build_live
from mixwright.report.preference.view import build_preference
from mixwright.report.runs.view import build_runs
from mixwright.report.search.view import build_search
from mixwright.report.training.view import build_training
from mixwright.report.what_if.view import build_what_if
from mixwright.version import __version__

_MARK = 'document.documentElement.classList.add("js");'  # before anything is drawn: the style depends on it
_FORBIDDEN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")
_FILES = {"what_if": "whatif.json", "decisions": "decisions.jsonl", "metrics": "metrics.jsonl"}
_FILTERS = (
    *(words.number, words.signed, words.small, words.large, words.scientific, words.count, words.percent),
    *(words.span, words.duration, words.moment, words.shorten, words.address),
)


@dataclass(frozen=True)
class Page:
    """
    A kind of page; its template is `<name>/page.html`.

    Parameters
    ----------
    view
        Called with the summary and, by name, what is shown beside it; checks them and returns the template's
        variables, among them `title` and `charts` (the figures in the order of the page).
    beside
        What is shown beside the summary: keys of `_FILES`.
    """

    view: Callable[..., dict[str, Any]]
    beside: tuple[str, ...] = ()


PAGES = {
    "search": Page(build_search, ("what_if",)),
    "comparison": Page(build_comparison),
    "training": Page(build_training, ("decisions",)),
    "preference": Page(build_preference, ("metrics", "decisions")),
    "runs": Page(build_runs, ("what_if",)),
    "what_if": Page(build_what_if, ("what_if",)),
    "live": Page(build_live),
}


def write(name: str, summary: Mapping[str, Any], path: Path | str, **beside: Any) -> Path:
    """
    Write a page, atomically, and return its path.

    Parameters
    ----------
    name : str
        The kind of page: "search", "comparison", "training", "preference", "runs" or "what_if".
    summary : mapping
        What `summary.json` of the run holds, or what `mixwright.compare.summarise` returned.
    path : Path or str
        The HTML file to write, whose folder is made when it is missing; or the folder of a run. Then the page is its
        `report.html`, and what is not given in `beside` is read from the folder.
    **beside
        What the page shows beside the summary: `what_if` (what `whatif.json` of a search holds), `decisions` (the lines
        of `decisions.jsonl` of a training) and `metrics` (those of `metrics.jsonl`, preference only).

    Returns
    -------
    Path
        Of the page.

    Raises
    ------
    InputError
        There is no page of that name; the summary is of another kind, of a newer schema, or lacks a field (which is
        named); a file cannot be read or written.
    MissingExtraError
        When jinja2 or plotly is not installed.
    """
    path = Path(path)
    if path.is_dir():
        beside, path = {**read_beside(name, path), **beside}, path / "report.html"
    text = render(name, summary, **beside)
    with atomic_write(path) as handle:
        handle.write(text)
    return path


def render(name: str, summary: Mapping[str, Any], **beside: Any) -> str:
    """
    Return a page as HTML; see `write`.

    The page holds its style, its scripts, its data and the chart library (compressed), asks the network for nothing,
    and its content security policy forbids that. The same input gives the same text.
    """
    return _document(f"{name}/page.html", _page(name).view(summary, **beside))


def read_beside(name: str, folder: Path | str) -> dict[str, Any]:
    """
    Return what a page shows beside the summary, by name, from the files of a run folder.

    A file that is not there gives None, or no lines. The last line of a log is left out while it is being written.
    """
    return {part: _read(Path(folder) / _FILES[part]) for part in _page(name).beside}


def _page(name: str) -> Page:
    if name not in PAGES:
        raise InputError(f"the kind of page should be one of {', '.join(PAGES)}; found {name!r}")
    return PAGES[name]


def _read(path: Path) -> Any:
    by_line = path.suffix == ".jsonl"
    if not path.exists():
        return [] if by_line else None
    try:
        text = path.read_text(encoding="utf-8")
        if not by_line:
            return json.loads(text)
        return [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]
    except (OSError, ValueError) as error:
        raise InputError(f"cannot read {path}: {error}; run the command again to rewrite it") from error


def _document(template: str, view: Mapping[str, Any]) -> str:
    """Return a template with what it shows; the page's own script draws the charts of the view."""
    what_if, charts = view.get("what_if"), [chart.to_json() for chart in view["charts"]]
    scripts = {"mark": _MARK}
    if charts:
        scripts |= {"script": _file("page.js")}
    if what_if:
        parts = (*(("laws.js",) if what_if["law"] else ()), "numbers.js", "what_if.js")
        scripts |= {"what_if_script": "".join(_file(f"what_if/{part}") for part in parts)}
    if refresh := view.get("refresh"):
        scripts |= {"live_script": _file("live/live.js")}
    styles = ["style.css", *(["what_if/what_if.css"] if what_if else []), *view.get("styles", ())]
    hashes = [_hash(text.encode()) for text in scripts.values()]
    library, library_hash = _library() if charts else ("", None)
    text = (
        _environment()
        .get_template(template)
        .render(
            {"what_if": None, **view, "refresh": refresh},
            library_version=__version__,
            style=_literal("".join(map(_file, styles))),
            data=charts,
            bundle=library,
            hashes=[*hashes, *([library_hash] if library_hash else [])],
            **{name: _literal(script) for name, script in scripts.items()},
        )
    )
    return _FORBIDDEN.sub("\ufffd", text)


def script_json(value: Any) -> Any:
    """Return `value` as JSON that can stand inside a script element: no `<`, `>` or `&` is left in it."""
    text = json.dumps(value, allow_nan=False, separators=(",", ":"))
    return _literal(text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026"))


@lru_cache(maxsize=1)  # templates are compiled once
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
    environment.filters |= {function.__name__: function for function in (*_FILTERS, script_json)}
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
