"""The reference: every public name of every package of mixwright, from its docstring, on the page of its room."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Iterator
from typing import Any

from sphinx.util import logging

import mixwright

# A page and the modules whose names it has; names of modules that are in no list go to the last page.
PAGES = {
    "docs/api/search": ("search", "runs", "constraints", "simplex"),
    "docs/api/strategies": (
        *(
            "observation",
            "batch_losses",
            "strategy",
            "strategies",
            "mixture",
            "steering",
            "decisions",
            "gradients",
            "testing",
        ),
    ),
    "docs/api/stream": ("stream", "text"),
    "docs/api/training": ("integrations", "training", "watching", "preference"),
    "docs/api/assays": ("assays",),
    "docs/api/compare": ("compare",),
    "docs/api/files": ("mixture_file", "experiment", "formats", "report", "errors"),
}
_log = logging.getLogger("mixwright.docs")


def public_names() -> dict[str, list[str]]:
    """Return {page: paths of its names}, each name by its shortest path."""
    found: dict[str, list[str]] = {page: [] for page in PAGES}
    seen: set[int] = set()
    for package in _packages():
        for name in sorted(getattr(package, "__all__", ()), key=str.lower):
            value = getattr(package, name)
            if (inspect.isclass(value) or inspect.isfunction(value)) and id(value) not in seen:
                seen.add(id(value))
                found[_page(value)].append(f"{package.__name__}.{name}")
    return found


def _packages() -> Iterator[Any]:
    yield mixwright
    for module in pkgutil.iter_modules(mixwright.__path__, "mixwright."):
        if module.ispkg and module.name != "mixwright.cli":
            yield importlib.import_module(module.name)
    yield importlib.import_module("mixwright.integrations.transformers")


def _page(value: Any) -> str:
    room = value.__module__.split(".")[1]
    return next((page for page, rooms in PAGES.items() if room in rooms), list(PAGES)[-1])


def add_reference(app: Any, name: str, text: list[str]) -> None:
    """Put the names of a page of the reference below what the page says."""
    if name not in PAGES:
        return
    for path in public_names()[name]:
        module, _, attribute = path.rpartition(".")
        value = getattr(importlib.import_module(module), attribute)
        kind = "class" if inspect.isclass(value) else "function"
        members = "\n   :members:" if kind == "class" else ""
        text[0] += f"\n\n## {attribute}\n\n```{{eval-rst}}\n.. auto{kind}:: {path}{members}\n```\n"


def check_reference(app: Any, env: Any) -> None:
    """Warn, which fails the build, of public names that no page has."""
    described = set(env.get_domain("py").objects)
    for path in sorted({path for paths in public_names().values() for path in paths} - described):
        _log.warning("%s is public and should be on a page of docs/api", path)
