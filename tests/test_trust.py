"""What docs/security.md promises of the code: nothing that is read is run, and templates escape."""

import ast
import re
from collections.abc import Iterator
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
YAML = {"files/yaml_text.py"}  # the one place that makes a loader
NO_ALLOW_PICKLE = {"savez"}  # numpy before 2.? does not take it there; objects are refused when they are read


def calls(text: str) -> Iterator[tuple[str, ast.Call]]:
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), node


def test_nothing_that_is_read_is_unpickled_or_run() -> None:
    wrong = []
    for name, text in FILES.items():
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.Import | ast.ImportFrom):
                modules = [node.module or ""] if isinstance(node, ast.ImportFrom) else [a.name for a in node.names]
                wrong += [(name, module) for module in modules if module.partition(".")[0] in RUNS_WHAT_IT_READS]
        for called, node in calls(text):
            if called in ("eval", "exec", "compile", "os.system", "os.popen", "__import__"):
                wrong += [(name, called)] if called not in EVALUATED.get(name, []) else []
            if called.startswith("subprocess.") and any(k.arg == "shell" for k in node.keywords):
                wrong.append((name, "a shell"))
            if re.fullmatch(r"yaml\.\w*load\w*", called):
                wrong.append((name, called))
    assert wrong == []


def test_calls_say_that_they_trust_nothing() -> None:
    wrong = []
    for name, text in FILES.items():
        for called, node in calls(text):
            given = {k.arg: k.value.value for k in node.keywords if isinstance(k.value, ast.Constant)}
            for pattern, keyword, value in NEEDED:
                if re.fullmatch(pattern, called) and called.rpartition(".")[2] not in NO_ALLOW_PICKLE:
                    wrong += [] if given.get(keyword) is value else [(name, called, node.lineno)]
    assert wrong == []


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
