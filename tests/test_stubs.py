"""Type checkers see every name that is imported on first use, by a stub: `__getattr__` tells them nothing."""

import ast
import importlib
import inspect
import os
from pathlib import Path

import pytest

import mixwright

SOURCE = Path(mixwright.__file__).parent
LAZY = sorted(path.parent for path in SOURCE.rglob("__init__.py") if "__getattr__ = lazy(" in path.read_text())


def _stub(folder: Path) -> str:
    """Return the stub of a package: each public name from the module that defines it."""
    package = ".".join(folder.relative_to(SOURCE.parent).parts)
    names = inspect.getclosurevars(importlib.import_module(package).__getattr__).nonlocals["names"]
    found = {name: f"{package}.{module}" if module else package for name, module in names.items()}
    lines = []
    for node in ast.parse((folder / "__init__.py").read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ImportFrom) and node.module != "__future__":
            found |= {alias.name: node.module for alias in node.names if alias.name != "lazy"}
        elif isinstance(node, ast.Assign) and isinstance(name := node.targets[0], ast.Name) and name.id.isupper():
            lines += [] if name.id.startswith("_") else [f"{name.id}: dict[str, str]"]
    imports = sorted(f"from {module} import {name} as {name}" for name, module in found.items())
    return "\n".join([*imports, *(["", *lines] if lines else [])]) + "\n"


@pytest.mark.parametrize("folder", LAZY, ids=lambda folder: folder.name)
def test_type_checkers_see_every_lazy_name(folder: Path) -> None:
    path, expected = folder / "__init__.pyi", _stub(folder)
    if os.environ.get("UPDATE_GOLDEN") == "1":
        path.write_text(expected, encoding="utf-8")
    assert path.read_text(encoding="utf-8") == expected, "UPDATE_GOLDEN=1 writes it again"
