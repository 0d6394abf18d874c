"""
The documentation site: Sphinx over the Markdown pages and the docstrings. `make docs` builds it; see docs/writing.md.

The source folder is the repository itself: a relative link between two files means the same here and on a forge.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT / "src"), str(Path(__file__).parent)]

from latex2mathml.converter import convert as to_mathml  # noqa: E402
from reference_pages import PAGES, add_reference, check_reference  # noqa: E402
from sphinx.util import logging  # noqa: E402

from mixwright import __version__  # noqa: E402

# The side bar: a caption and its pages. A page that is in no list fails the build.
NAVIGATION = {
    "Start": ["docs/quick-start", "docs/tutorial-text", "docs/tutorial-assays", "docs/tutorial-change"],
    "Results": ["docs/reading-a-result", "docs/page"],
    "Guides": [
        "docs/which",
        "docs/search",
        "docs/runs",
        "docs/compare",
        "docs/inputs",
        "docs/engines",
        "docs/tracking",
        "docs/constraints",
        "docs/assays",
        "docs/strategies",
        "docs/train",
        "docs/gradients",
        "docs/transformers",
        "docs/trainers",
        "docs/preference",
        "docs/stream",
        "docs/formats",
    ],
    "Reference": list(PAGES),
    "Project": [
        "docs/architecture",
        "docs/security",
        "SECURITY",
        "docs/support",
        "docs/release-0.2.0",
        "CONTRIBUTING",
        "docs/writing",
        "docs/decisions/README",
        "CHANGELOG",
    ],
    "Measured": ["benchmarks/results/*"],
}
DECISIONS = "docs/decisions/README"  # the pages of its folder are below it in the side bar

project = "mixwright"
author = "the authors of mixwright"
version = release = __version__
extensions = ["myst_parser", "sphinx.ext.autodoc", "numpydoc"]
root_doc = "docs/index"
include_patterns = ["docs/**", "benchmarks/results/*.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md"]
exclude_patterns = [".venv", "build", "runs", "src", "tests", "**/__pycache__"]

myst_heading_anchors = 3  # links to #a-heading, by the same rule as on a forge
default_role = "code"  # docstrings write `code` as Markdown does

autodoc_member_order = "bysource"
autodoc_typehints = "none"  # the numpy sections say what each parameter is
autodoc_class_signature = "mixed"
numpydoc_show_class_members = False

html_theme = "furo"
html_title = f"mixwright {version}"
html_math_renderer = "mathml"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_copyright = False
html_show_sourcelink = False
pygments_style = "friendly"
pygments_dark_style = "monokai"

_log = logging.getLogger("mixwright.docs")


def add_navigation(app: Any, name: str, text: list[str]) -> None:
    """Put the side bar below the first page, which stays plain Markdown in the repository."""
    if name == root_doc:
        text[0] += "".join(_toctree(caption, pages) for caption, pages in NAVIGATION.items())
    elif name == DECISIONS:
        text[0] += _toctree("By room", ["docs/decisions/*"])


def _toctree(caption: str, pages: list[str]) -> str:
    lines = "\n".join(f"/{page}" for page in pages)
    return f"\n\n```{{toctree}}\n:caption: {caption}\n:hidden:\n:glob:\n\n{lines}\n```\n"


def plain_text(app: Any, what: str, name: str, value: Any, options: Any, lines: list[str]) -> None:
    """Let docstrings write |x| and weights_ as such: in reStructuredText both are marks."""
    for i, line in enumerate(lines):
        if not line.lstrip().startswith((">>>", "...")):
            parts = re.split(r"(`[^`]*`)", line)
            parts[::2] = [re.sub(r"(\||(?<=\w)_(?!\w))", r"\\\1", part) for part in parts[::2]]
            lines[i] = "".join(parts)


def leave_out(app: Any, what: str, name: str, value: Any, skip: bool, options: Any) -> bool | None:
    """Leave out what a class has of another library, and fields without a docstring of their own."""
    module = getattr(value, "__module__", None) or getattr(getattr(value, "fget", None), "__module__", "mixwright")
    return True if not str(module).startswith("mixwright") and callable(value) else None


def check_offline(app: Any, error: Exception | None) -> None:
    """Warn of pages that would load something from elsewhere: the site has to be readable without a network."""
    if error or app.builder.format != "html":
        return
    loaded = re.compile(r"""<(?:script|link|img|iframe)\b[^>]*?(?:src|href)=["']((?:https?:)?//[^"']+)""")
    for page in Path(app.outdir).rglob("*.html"):
        for address in loaded.findall(page.read_text(encoding="utf-8")):
            _log.warning("%s loads %s; ship it with the site or leave it out", page.name, address)
    first = Path(app.outdir, "index.html")
    first.write_text(f'<!doctype html><meta http-equiv="refresh" content="0; url={root_doc}.html">\n', encoding="utf-8")


def inline_math(writer: Any, node: Any) -> None:
    """Write a formula as MathML, which browsers draw themselves."""
    writer.body.append(to_mathml(node.astext()))
    raise _skip()


def display_math(writer: Any, node: Any) -> None:
    """Write a displayed formula as MathML."""
    writer.body.append(f'<div class="math">{to_mathml(node.astext(), display="block")}</div>')
    raise _skip()


def _skip() -> Exception:
    from docutils.nodes import SkipNode

    return SkipNode()


def setup(app: Any) -> dict[str, Any]:
    """Connect the above."""
    app.add_html_math_renderer("mathml", (inline_math, None), (display_math, None))
    app.connect("autodoc-process-docstring", plain_text, priority=400)
    app.connect("autodoc-skip-member", leave_out)
    app.connect("source-read", add_navigation)
    app.connect("source-read", add_reference)
    app.connect("env-check-consistency", check_reference)
    app.connect("build-finished", check_offline)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
