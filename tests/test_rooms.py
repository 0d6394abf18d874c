"""A room imports only from the rooms below it (docs/interfaces.md), at its top and within functions alike."""

import ast
from pathlib import Path

import mixwright

SOURCE = Path(mixwright.__file__).parent
FLOORS = [  # from the ground up; what stands together may import each other
    {"errors", "files", "_checks", "_version"},
    {"simplex", "polytope", "constraints", "_newton", "_barrier", "_quadratic"},
]


def imported(path: Path) -> set[str]:
    """Return the rooms that a file imports, types alone left out."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            node.body = []
    names = [n.module for n in ast.walk(tree) if isinstance(n, ast.ImportFrom) and n.module]
    names += [alias.name for n in ast.walk(tree) if isinstance(n, ast.Import) for alias in n.names]
    return {name.split(".")[1] for name in names if name.startswith("mixwright.")}


def test_what_weights_are_allowed_does_not_need_the_search() -> None:
    allowed: set[str] = set()
    for floor in FLOORS:
        allowed |= floor
        for room in floor:
            above = imported(SOURCE / f"{room}.py") - allowed
            assert not above, f"{room} imports from above: {above}"
