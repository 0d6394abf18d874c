"""The walls of the house: a room imports only from rooms below it, no circles, no private names from other rooms."""

import ast
import functools
from collections import Counter, defaultdict
from dataclasses import dataclass
from pathlib import Path

import pytest

import mixwright

SOURCE = Path(mixwright.__file__).parent
FLOORS = [  # from the ground up; rooms on one floor do not know each other
    {"errors", "version"},
    {"files", "checks", "lazy", "simplex", "observation"},
    {"source_change"},
    {"constraints", "mixture_file", "strategy", "batch_losses", "text"},
    {"strategies", "search", "gradients", "stream"},
    {"steering"},
    {"mixture", "decisions", "formats", "compare", "testing"},
    {"watching", "assays", "runs"},
    {"training", "integrations"},
    {"preference"},
    {"report"},
    {"experiment"},
    {"cli"},
]
FLOOR = {room: height for height, rooms in enumerate(FLOORS) for room in rooms}
FILES = sorted(SOURCE.rglob("*.py"))


def module_of(path: Path) -> str:
    parts = path.relative_to(SOURCE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_of(path): path for path in FILES}


def room_of(module: str) -> str:
    return module.split(".")[1] if "." in module else ""


@dataclass
class Read:
    """What the tests ask about a file, so that each is parsed once."""

    imports: list[tuple[str, str]]  # (module, name) from mixwright: at the top, in functions, and of types alike
    private: list[tuple[str, str]]  # (name, _attribute)
    classes: list[str]  # at the top


@functools.cache
def read(path: Path) -> Read:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    found = Read([], [], [node.name for node in tree.body if isinstance(node, ast.ClassDef)])
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            for alias in node.names if node.module and node.module.split(".")[0] == "mixwright" else ():
                whole = f"{node.module}.{alias.name}"
                found.imports.append((whole, "") if whole in MODULES else (node.module or "", alias.name))
        elif isinstance(node, ast.Import):
            found.imports += [(alias.name, "") for alias in node.names if alias.name.split(".")[0] == "mixwright"]
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.attr.startswith("_"):
            found.private.append((node.value.id, node.attr))
    return found


def test_every_room_has_its_floor() -> None:
    assert {room_of(module) for module in MODULES} - {""} == set(FLOOR)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_a_room_imports_only_from_rooms_below_it(path: Path) -> None:
    own = room_of(module_of(path))
    for module, name in read(path).imports:
        room = room_of(module)
        if own and room and room != own:
            assert FLOOR[room] < FLOOR[own], f"{own} (floor {FLOOR[own]}) imports {name or module} from {room}"


def test_no_private_name_crosses_a_wall() -> None:
    found = []
    for path in FILES:
        own, aliases = room_of(module_of(path)), {}
        for module, name in read(path).imports:
            private = [part for part in [*module.split("."), name] if part.startswith("_") and part != "__version__"]
            if private and room_of(module) != own:
                found.append(f"{path.name}: {module} {name}")
            aliases[name or module.rpartition(".")[2]] = module
        for name, attribute in read(path).private:  # module._name
            module = aliases.get(name, "")
            if module in MODULES and name == module.rpartition(".")[2] and room_of(module) != own:
                found += [] if attribute.startswith("__") else [f"{path.name}: {name}.{attribute}"]
    assert not found


def circles(edges: dict[str, set[str]]) -> list[list[str]]:
    """Return the sets of files that import each other, directly or by others (Tarjan's components)."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found: list[list[str]] = []

    def visit(node: str) -> None:
        index[node] = low[node] = len(index)
        stack.append(node)
        for other in sorted(edges[node]):
            if other not in index:
                visit(other)
            if other in stack:
                low[node] = min(low[node], low[other])
        if low[node] == index[node]:
            cut = stack.index(node)
            if len(stack) - cut > 1:
                found.append(sorted(stack[cut:]))
            del stack[cut:]

    for node in sorted(edges):
        if node not in index:
            visit(node)
    return found


def test_no_files_import_each_other_in_a_circle() -> None:
    edges: dict[str, set[str]] = {module: set() for module in MODULES}
    for module, path in MODULES.items():
        edges[module] |= {other for other, _ in read(path).imports if other in MODULES and other != module}
    assert circles(edges) == []


def test_a_circle_is_found() -> None:
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}}) == [["a", "b", "c"]]


def test_a_class_name_means_one_thing() -> None:
    places = defaultdict(list)
    for module, path in MODULES.items():
        for name in read(path).classes:
            if not name.startswith("_"):
                places[name].append(module)
    assert {name: modules for name, modules in places.items() if len(modules) > 1} == {}


def test_no_folder_is_a_heap() -> None:
    sizes = Counter(path.parent for path in FILES)
    assert {str(folder.relative_to(SOURCE)): size for folder, size in sizes.items() if size > 16} == {}


def test_kinds_of_data_do_not_know_each_other() -> None:
    data = {"text", "assays", "preference", "likelihoods"}
    for module, path in MODULES.items():
        parts = module.split(".")
        if parts[1:2] == ["experiment"] and len(parts) > 2 and parts[2] in data:
            known = {
                other.split(".")[2] for other, _ in read(path).imports if other.startswith("mixwright.experiment.")
            }
            assert not known & (data - {parts[2]}), module
