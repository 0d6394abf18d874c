"""
What must not change unnoticed, in files beside this one; `UPDATE_GOLDEN=1 pytest ...` writes them again.

schemas/ what `--schema` prints. config/, keys/, stages/: config.yaml, the keys of summary.json and the fingerprints of
the stages of a tiny run of each kind. shown/, pages/: the numbers that `show` and `report` give for runs/. And runs/:
folders that a former version left (summary.json and what is read with it); these are never written again.
"""

import difflib
import hashlib
import json
import os
import re
from collections import Counter
from collections.abc import Iterator
from html.parser import HTMLParser
from itertools import islice
from pathlib import Path
from typing import Any

GOLDEN = Path(__file__).parent
KINDS = {  # of runs, with the command that makes them
    "search-text": ["search"],
    "search-assays": ["search"],
    "compare-text": ["compare"],
    "compare-assays": ["compare"],
    "compare-preference": ["compare"],
    "train": ["train"],
    "prefer-sft": ["prefer", "sft"],
    "prefer-specialists": ["prefer", "specialists"],
    "prefer-train": ["prefer", "train"],
}
# Inputs of stages that are other ones on other machines or with other libraries: a model is named by the bytes of its
# first weights, losses and found mixtures by what was computed. The formula of the fingerprint is checked with them.
_MODEL, _LOSSES, _VERSION, _WEIGHTS = "<model>", "<losses>", "<version>", "<weights>"
_COMPUTED = {"reference": _MODEL, "model": _MODEL, "specialists": _LOSSES}
_HASH = re.compile(r"[0-9a-f]{16}")
_NUMBER = re.compile(r"(?<![\w.])[-+−]?\d+(?:[.,]\d+)*(?:e[-+]?\d+)?(?: ?%)?")


def check_golden(name: str, text: str) -> None:
    """Compare a text with a golden file, or write the file again."""
    path = GOLDEN / name
    if os.environ.get("UPDATE_GOLDEN") == "1":
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    assert path.exists(), f"there is no {path}; UPDATE_GOLDEN=1 writes it"
    expected = path.read_text(encoding="utf-8")
    lines = difflib.unified_diff(expected.splitlines(), text.splitlines(), "golden", "found", lineterm="", n=1)
    assert text == expected, f"{path} differs; if that is meant: UPDATE_GOLDEN=1\n" + "\n".join(islice(lines, 40))


def check_run(kind: str, run: Path, data: Path) -> None:
    """Compare configuration, keys of the summary and stages of a finished tiny run whose data is in a folder."""
    config = (run / "config.yaml").read_text(encoding="utf-8")
    check_golden(f"config/{kind}.yaml", config.replace(str(data.resolve()), "/data"))
    summary = json.loads((run / "summary.json").read_text(encoding="utf-8"))
    check_golden(f"keys/{kind}.txt", "".join(f"{line}\n" for line in keys_of(summary)))
    check_golden(f"stages/{kind}.json", as_json(stages_of(run)))


def as_json(value: Any) -> str:
    return json.dumps(value, indent=1, ensure_ascii=False) + "\n"


# --- keys


def keys_of(value: Any) -> list[str]:
    """Return a line for each leaf: its keys and its types, over all items of lists."""
    found: dict[str, set[str]] = {}
    for key, kind in _leaves(value, ""):
        found.setdefault(key, set()).add(kind)
    return [f"{key}: {' | '.join(sorted(kinds))}" for key, kinds in found.items()]


def _leaves(value: Any, key: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, dict) and value:
        for name, item in value.items():
            yield from _leaves(item, f"{key}.{name}" if key else name)
    elif isinstance(value, list) and value:
        for item in value:
            yield from _leaves(item, f"{key}[]")
    else:
        yield key, "null" if value is None else type(value).__name__


# --- stages


def stages_of(run: Path) -> dict[str, Any]:
    """
    Return what each stage and each cached result of a run is made from, by its place in the run folder.

    Where an input is the fingerprint of another stage, that one's place stands for it. Fingerprints themselves are
    given where they are the same on every machine.
    """
    begun = {path.parent: _read(path) for path in sorted(run.rglob("begin.json"))}
    stages = {folder: record for folder, record in begun.items() if record["fingerprint"]}
    names = {record["fingerprint"]: f"@{_place(run, folder)}" for folder, record in stages.items()}
    lines = []
    for folder, record in stages.items():
        inputs, place = record["inputs"], _place(run, folder)
        assert record["fingerprint"] == _fingerprint({"version": 1, **inputs}), place
        assert _read(folder / "done.json")["fingerprint"] == record["fingerprint"], place
        assert folder.parent.name != "trainings" or folder.name == _fingerprint(inputs), place
        lines.append((place, {"inputs": _masked(inputs, names), "fingerprint": record["fingerprint"]}))
    for path in sorted(run.rglob("cache/*.npz")):
        about = _about(path)
        assert path.stem == f"{about['kind']}-{_fingerprint({'version': 1, **about['made_of']})}"
        lines.append((f"cache/{about['kind']}-*.npz", {**_masked(about, names), "fingerprint": path.stem[-16:]}))
    for path in sorted(p for name in _RECORDS for p in run.rglob(name)):
        record = {key: value for key, value in _read(path).items() if key in _RECORDS[path.name]}
        lines.append((f"{_place(run, path.parent)}/{path.name}", {"record": _masked(record, names)}))
    return _joined(lines)


_RECORDS = {  # other files of a run with fingerprints in them
    "checked.json": ("version", "sources"),
    "table.json": ("unit", "sources", "fingerprints", "data_fingerprint"),
    "meta.json": ("fingerprint", "tokenizer"),
    "encoded.json": ("fingerprint", "tokenizer"),
}


def _read(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8"))


def _about(path: Path) -> dict[str, Any]:
    import numpy as np

    with np.load(path, allow_pickle=False) as file:
        return json.loads(str(file["about"]))


def _fingerprint(value: Any) -> str:
    text = json.dumps(value, sort_keys=True, allow_nan=False, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _place(run: Path, folder: Path) -> str:
    return _HASH.sub("*", folder.relative_to(run).as_posix())


def _masked(value: Any, names: dict[str, str], key: str = "") -> Any:
    """Return inputs with places for the fingerprints of stages, and marks for what differs from machine to machine."""
    if isinstance(value, dict):
        return {name: _masked(item, names, key if key in _COMPUTED else name) for name, item in value.items()}
    if isinstance(value, list):
        drawn = len(value) == 3 and isinstance(value[2], float) and isinstance(value[1], str)
        items = [_masked(item, names, key) for item in value]
        return [*items[:2], _WEIGHTS] if drawn else items
    if isinstance(value, str) and value in names:
        return names[value]
    if key in ("version", "sklearn", "xgboost", "rdkit") and isinstance(value, str):
        return _VERSION
    if key == "arm" and isinstance(value, float):
        return _WEIGHTS
    hashed = isinstance(value, str) and _HASH.fullmatch(value)
    return _COMPUTED.get(key, value) if hashed else value


def _joined(lines: list[tuple[str, dict[str, Any]]]) -> dict[str, Any]:
    """Return the lines by place; a place with a mark has no fingerprint, nor has one that is made from such a place."""
    marked = {place for place, line in lines if any(mark in str(line) for mark in _MARKS)}
    while more := {p for p, line in lines if p not in marked and any(f"'@{m}'" in str(line) for m in marked)}:
        marked |= more
    found: dict[str, Any] = {}
    counts = Counter(as_json([place, _unmarked(line, place in marked)]) for place, line in lines)
    for text, count in sorted(counts.items()):
        place, line = json.loads(text)
        found.setdefault(place, []).append(line if count == 1 else {"times": count, **line})
    return {place: entries[0] if len(entries) == 1 else entries for place, entries in found.items()}


_MARKS = (_MODEL, _LOSSES, _VERSION, _WEIGHTS)


def _unmarked(line: dict[str, Any], marked: bool) -> dict[str, Any]:
    return {key: value for key, value in line.items() if key != "fingerprint" or not marked}


# --- numbers


def numbers_of_lines(text: str) -> str:
    """Return the numbers of each line of a text that has any: words may change, numbers may not."""
    found = (" ".join(_NUMBER.findall(line)) for line in text.splitlines())
    return "".join(f"{line}\n" for line in found if line)


def numbers_of_page(page: str) -> str:
    """Return the numbers that a reader sees on a page, sorted, one a line with how often it is there."""
    seen = _Seen()
    seen.feed(page)
    counts = Counter(_NUMBER.findall(" ".join(seen.texts)))
    return "".join(f"{number}  x{count}\n" for number, count in sorted(counts.items()))


class _Seen(HTMLParser):
    """The texts of a page outside scripts and styles."""

    def __init__(self) -> None:
        super().__init__()
        self.texts: list[str] = []
        self._hidden = False

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self._hidden = tag in ("script", "style")

    def handle_endtag(self, tag: str) -> None:
        self._hidden = False

    def handle_data(self, data: str) -> None:
        if not self._hidden:
            self.texts.append(data)
