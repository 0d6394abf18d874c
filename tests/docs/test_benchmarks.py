"""Benchmarks are run by hand, months apart: what was renamed under them should be seen before."""

import ast
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
BENCHMARKS = ROOT / "benchmarks"


@cache
def names_in(path: Path) -> set[str]:
    """Return the names that a file has at its top level."""
    found: set[str] = set()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        for inner in ast.walk(node):
            if isinstance(inner, ast.FunctionDef | ast.ClassDef):
                found.add(inner.name)
            elif isinstance(inner, ast.Name) and isinstance(inner.ctx, ast.Store):
                found.add(inner.id)
            elif isinstance(inner, ast.Import | ast.ImportFrom):
                found |= {alias.asname or alias.name.split(".")[0] for alias in inner.names}
    return found


def file_of(module: str) -> Path | None:
    """Return the file of a benchmark or of a module of the library; None: a package, or another library."""
    own = BENCHMARKS / f"{module}.py"
    path = own if own.exists() else ROOT / "src" / Path(*module.split(".")).with_suffix(".py")
    return path if path.exists() else None


def missing(path: Path) -> list[str]:
    """Return what a file imports and is not there."""
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and (origin := file_of(node.module)):
            found += [f"{node.module}.{alias.name}" for alias in node.names if alias.name not in names_in(origin)]
    return found


def test_what_benchmarks_import_is_there(tmp_path: Path) -> None:
    scripts = sorted(BENCHMARKS.rglob("*.py"))
    assert len(scripts) > 40
    assert not {path.name: names for path in scripts if (names := missing(path))}
    other = tmp_path / "other.py"
    other.write_text("from map import REGIMES, plain\nfrom mixwright.mixture import Mixture, Nothing\n")
    assert missing(other) == ["map.plain", "mixwright.mixture.Nothing"]
