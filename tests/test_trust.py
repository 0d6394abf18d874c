"""What docs/security.md promises of the code: nothing that is read is run, and templates escape."""

import ast
import functools
import re
from dataclasses import dataclass
from pathlib import Path

import mixwright

ROOT = Path(mixwright.__file__).parent
FILES = {str(path.relative_to(ROOT)): path.read_text(encoding="utf-8") for path in sorted(ROOT.rglob("*.py"))}
RUNS_WHAT_IT_READS = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal", "jsonpickle"}
NEEDED = (  # what a call has to say, by its end
    (r"(np|numpy)\.(load|save|savez|savez_compressed)", "allow_pickle", False),
    (r"torch\.load", "weights_only", True),
    (r"(Auto\w+|loader)\.(from_pretrained|from_config)", "trust_remote_code", False),
)
EVALUATED = {"testing/conformance.py": ["eval"]}  # the text that a strategy of the own process gave for itself
NO_ALLOW_PICKLE = {"savez"}  # numpy before 2.? does not take it there; objects are refused when they are read


@dataclass
class Read:
    """What the tests ask about a file, so that each is parsed once."""

    imports: list[str]
    calls: list[tuple[str, ast.Call]]  # of names and attributes of names: `eval`, `np.load`


@functools.cache
def read(name: str) -> Read:
    found = Read([], [])
    for node in ast.walk(ast.parse(FILES[name])):
        if isinstance(node, ast.Import):
            found.imports += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            found.imports.append(node.module or "")
        elif isinstance(node, ast.Call):
            found.calls.append((called(node.func), node))
    return found


def called(function: ast.expr) -> str:
    """Return `a.b.c` as it is written; what else may stand before a name is `?`."""
    if isinstance(function, ast.Attribute):
        return f"{called(function.value)}.{function.attr}"
    if isinstance(function, ast.Call):
        return f"{called(function.func)}()"
    return function.id if isinstance(function, ast.Name) else "?"


def test_nothing_that_is_read_is_unpickled_or_run() -> None:
    wrong = []
    for name in FILES:
        wrong += [(name, one) for one in read(name).imports if one.partition(".")[0] in RUNS_WHAT_IT_READS]
        for function, node in read(name).calls:
            if function in ("eval", "exec", "compile", "os.system", "os.popen", "__import__"):
                wrong += [(name, function)] if function not in EVALUATED.get(name, []) else []
            if function.startswith("subprocess.") and any(k.arg == "shell" for k in node.keywords):
                wrong.append((name, "a shell"))
            if re.fullmatch(r"\w*yaml(\(\))?\.\w*load\w*", function):  # yaml.load, pyyaml().safe_load
                wrong.append((name, function))
    assert wrong == []


def test_calls_say_that_they_trust_nothing() -> None:
    wrong, seen = [], 0
    for name in FILES:
        for function, node in read(name).calls:
            given = {k.arg: k.value.value for k in node.keywords if isinstance(k.value, ast.Constant)}
            for pattern, keyword, value in NEEDED:
                if re.fullmatch(pattern, function) and function.rpartition(".")[2] not in NO_ALLOW_PICKLE:
                    seen += 1
                    wrong += [] if given.get(keyword) is value else [(name, function, node.lineno)]
    assert wrong == []
    assert seen > 15


def test_templates_escape_all_but_what_is_a_constant() -> None:
    safe = {}
    for path in sorted(ROOT.rglob("*.html")):
        found = re.findall(r"\{\{[^{}]*\|\s*safe[^{}]*\}\}", path.read_text(encoding="utf-8"))
        if found:
            safe[path.name] = len(found)
    # two symbols of a fixed table, and the line break between two lines of a verdict
    assert safe == {"macros.html": 2, "base.html": 1}
    assert "autoescape=True" in FILES["report/page.py"]
    assert [name for name, text in FILES.items() if "Markup(" in text] == ["report/page.py"]
