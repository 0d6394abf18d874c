"""One reader per format: from a text to names and weights as they are written there; and which format a text is."""

from __future__ import annotations

import ast
import csv
import io
import re
import shlex
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from mixwright.errors import InputError
from mixwright.formats._hub import label
from mixwright.formats._text import NOTHING, parse_json, parse_yaml
from mixwright.formats.croissant import RECORDS, SOURCE, WEIGHT

_SCRIPT = re.compile(r"^SOURCES = \{", re.MULTILINE)
_HEAD = re.compile(r"---[ \t]*\r?\n(.*?)^---[ \t]*\r?$", re.DOTALL | re.MULTILINE)
_NAME_COLUMNS = ("source", "name", "dataset", "domain", "path")
_WEIGHT_COLUMNS = ("weight", "weights", "share", "proportion", "probability", "fraction", "ratio")
_DEEPEST = 4  # of the section `streams` in a configuration


@dataclass(frozen=True)
class Found:
    """Names and weights as a file has them, unchecked; what they are shares of; what is worth knowing."""

    names: tuple[Any, ...]
    weights: tuple[Any, ...]
    unit: str = "rows"
    notes: tuple[str, ...] = field(default=())


def _megatron(text: str) -> Found:
    """Return a blend from words, from the flag with its words, or from the JSON with a blend per split."""
    notes: tuple[str, ...] = ()
    words: Any = text.split()
    if text.lstrip().startswith("{"):
        splits = parse_json(text)
        words = splits.get("train")
        words = words.split() if isinstance(words, str) else words
        if others := [name for name in ("valid", "test") if splits.get(name)]:
            notes = (f"only the blend of train was read; {' and '.join(others)} may differ",)
        if not isinstance(words, list) or not all(isinstance(word, str | float | int) for word in words):
            raise InputError("a Megatron-LM file of blends should have a list under 'train', found none; add it")
    elif words and words[0].startswith("--"):
        words = _words_of_flag(text)
    return _blend(words, notes)


def _blend(words: list[Any], notes: tuple[str, ...] = ()) -> Found:
    """Return the names and weights of a blend's words."""
    if len(words) < 2 or len(words) % 2 or not _is_number(words[0]):
        found = "no weights" if words and not _is_number(words[0]) else f"{len(words)} words"
        raise InputError(
            f"a Megatron-LM blend should be weights and prefixes in turn, `0.3 a 0.7 b`, found {found}; give a weight "
            "before each prefix"
        )
    return Found(tuple(str(word) for word in words[1::2]), tuple(words[::2]), "tokens", notes)


def _blend_under(text: str, key: str) -> Found:
    """Return the blend under a key of a configuration: a list, or a mapping with one for `train`."""
    words = _find(parse_yaml(text), key)
    words = words.get("train") if isinstance(words, dict) else words
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        raise InputError(f"there should be a list of weights and prefixes under `{key}`, found {words!r:.60}; add it")
    return _blend(words)


def _megatron_bridge(text: str) -> Found:
    return _blend_under(text, "data_path")


def _automodel(text: str) -> Found:
    return _blend_under(text, "paths")


def _llama_factory(text: str) -> Found:
    """Return the names under `dataset`, and the probabilities."""
    value = parse_yaml(text)
    value = value if isinstance(value, dict) else {}
    names, weights = ([part.strip() for part in str(value.get(key) or "").split(",") if part.strip()]
                      for key in ("dataset", "interleave_probs"))  # fmt: skip
    if not names or len(names) != len(weights):
        raise InputError(
            f"`dataset` and `interleave_probs` should have as many parts, found {len(names)} and {len(weights)}; "
            "without probabilities LLaMA-Factory takes all rows, which gives no weights"
        )
    return Found(tuple(names), tuple(weights))


def _words_of_flag(text: str) -> list[str]:
    """Return the words after `--data-path` (or the like) up to the next flag, as a shell parts them."""
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise InputError(f"this is no command line ({error}); check the quotes") from None
    flag, words = words[0], words[1:]
    flag, _, joined = flag.partition("=")
    if flag not in ("--data-path", "--train-data-path", "--data_path"):
        raise InputError(
            f"the blend should come after --data-path or --train-data-path, found {flag}; give the blend alone"
        )
    words = ([joined] if joined else []) + words
    end = next((i for i, word in enumerate(words) if word.startswith("--")), len(words))
    return words[:end]


def _hub_list(value: Any, weight: str) -> Iterator[tuple[str, Any]]:
    """Yield (name, weight) of the entries below `datasets`."""
    entries = value.get("datasets") if isinstance(value, dict) else None
    if not isinstance(entries, list) or not entries:
        raise InputError("there should be a list of data sets under `datasets`, found none; add it")
    for position, entry in enumerate(entries):
        if not isinstance(entry, dict) or not isinstance(entry.get("path"), str):
            raise InputError(f"datasets[{position}] should be a mapping with a path, found {entry!r:.60}; correct it")
        given = entry.get(weight)
        yield label({k: v for k, v in entry.items() if v not in NOTHING}), None if given in NOTHING else given


def _trl(text: str) -> Found:
    """Return the fractions of the section `datasets`."""
    pairs = list(_hub_list(parse_yaml(text), "fraction"))
    if lacking := [name for name, weight in pairs if weight is None]:
        raise InputError(
            f"every data set should have a fraction, found none for {lacking[0]!r}; without fractions TRL takes all "
            "rows, which gives no weights"
        )
    return _pairs(pairs)


def _datasets(text: str) -> Found:
    """Return the probabilities of the YAML, or the weights of the Python file, that `export` writes."""
    if _is_script(text):
        return _script(text, "load_dataset")
    if (head := _head_of_card(text)) is not None:
        return _of_card(head)
    value = parse_yaml(text)
    names = [name for name, _ in _hub_list(value, "fraction")]
    weights, own = value.get("probabilities"), value.get("sources", names)
    if not isinstance(weights, list) or len(weights) != len(names):
        found = f"{len(weights)}" if isinstance(weights, list) else "none"
        raise InputError(f"there should be {len(names)} probabilities, one per data set, found {found}; add them")
    if not isinstance(own, list) or len(own) != len(names):
        raise InputError(f"sources should be {len(names)} names, one per data set, found {own!r:.60}; correct them")
    return Found(tuple(own), tuple(weights))


def _of_card(head: str) -> Found:
    """Return the mixture in the metadata of a dataset card."""
    value = parse_yaml(head)
    found = value.get("mixture") if isinstance(value, dict) else None
    mixture = found if isinstance(found, dict) else {}
    entries = mixture.get("sources")
    if not isinstance(entries, list) or not all(isinstance(one, dict) and "source" in one for one in entries):
        raise InputError("the metadata should have mixture: with a list of sources, found none; add it")
    unit = "tokens" if mixture.get("unit") == "tokens" else "rows"
    return Found(tuple(one["source"] for one in entries), tuple(one.get("weight") for one in entries), unit)


def _head_of_card(text: str) -> str | None:
    """Return the metadata at the beginning of a card; None where it has none with a mixture."""
    found = _HEAD.match(text)
    return found[1] if found and re.search(r"^mixture:", found[1], re.MULTILINE) else None


def _croissant(text: str) -> Found:
    """Return the records of the record set `mixture`."""
    value = parse_json(text)
    sets = value.get("recordSet") if isinstance(value, dict) else None
    named = (
        [one for one in sets if isinstance(one, dict) and one.get("@id") == RECORDS] if isinstance(sets, list) else []
    )
    data = named[0].get("data") if named else None
    if not isinstance(data, list) or not all(isinstance(one, dict) and {SOURCE, WEIGHT} <= set(one) for one in data):
        raise InputError(f"there should be a record set {RECORDS!r} with sources and weights, found none; add it")
    unit = "tokens" if "of tokens" in str(named[0].get("description")) else "rows"
    return Found(tuple(one[SOURCE] for one in data), tuple(one[WEIGHT] for one in data), unit)


def _streaming(text: str) -> Found:
    """Return the proportions of the section `streams`, also within a configuration, or those of the Python file."""
    if _is_script(text):
        return _script(text, "stream")
    streams = _find(parse_yaml(text), "streams")
    if not isinstance(streams, dict) or not streams:
        raise InputError("there should be a mapping of streams under `streams`, found none; add it")
    return _pairs((name, _weight_of(name, stream, "proportion")) for name, stream in streams.items())


def _litdata(text: str) -> Found:
    return _script(text, "input_dir")


def _olmo_core(text: str) -> Found:
    """Return the ratios of the list `sources`."""
    value = parse_yaml(text)
    entries = value.get("sources") if isinstance(value, dict) else None
    if not isinstance(entries, list) or not entries or not all(isinstance(entry, dict) for entry in entries):
        raise InputError("there should be a list of sources under `sources`, found none; add it")
    pairs = [(e.get("source_name"), _weight_of(e.get("source_name"), e, "target_ratio")) for e in entries]
    return Found(tuple(n for n, _ in pairs), tuple(w for _, w in pairs), "tokens")


def _json(text: str) -> Found:
    """Return {source: weight}, or the sources and weights of a mixture.json."""
    value = parse_json(text)
    if not isinstance(value, dict) or not value:
        raise InputError(f"there should be an object {{source: weight}}, found {type(value).__name__}; correct it")
    sources, weights = value.get("sources"), value.get("weights")
    if isinstance(sources, list) and isinstance(weights, list):
        if len(sources) != len(weights):
            raise InputError(
                f"there should be one weight per source, found {len(sources)} and {len(weights)}; correct them"
            )
        unit = "tokens" if value.get("unit") == "tokens" else "rows"
        return Found(tuple(sources), tuple(weights), unit)
    return _pairs(value.items())


def _csv(text: str) -> Found:
    """Return a column of names and one of weights: by their header, or the two there are."""
    try:
        rows = [row for row in csv.reader(io.StringIO(text), delimiter=_delimiter(text)) if any(c.strip() for c in row)]
    except csv.Error as error:
        raise InputError(f"this is not CSV ({error}); check the quotes") from None
    if not rows:
        raise InputError("there should be rows of a name and a weight, found none")
    columns, header = (0, 1), False
    lowered = [cell.strip().lower() for cell in rows[0]]
    name = next((i for i, cell in enumerate(lowered) if cell in _NAME_COLUMNS), None)
    weight = next((i for i, cell in enumerate(lowered) if cell in _WEIGHT_COLUMNS), None)
    if name is not None and weight is not None:
        columns, header = (name, weight), True
    elif len(rows[0]) != 2 or not _is_number(rows[0][1]):
        raise InputError(
            f"the first row should be the header source,weight or a name and a weight, found {rows[0]!r:.60}"
        )
    for number, row in enumerate(rows[header:], 1 + header):
        if len(row) <= max(columns) or (not header and len(row) != 2):
            raise InputError(f"row {number} should have a name and a weight, found {row!r:.60}; correct it")
    return _pairs((row[columns[0]].strip(), row[columns[1]].strip()) for row in rows[header:])


def _delimiter(text: str) -> str:
    first = next((line for line in text.splitlines() if line.strip()), "")
    return next((mark for mark in ("\t", ";") if mark in first), ",")


def _script(text: str, key: str) -> Found:
    """Return the names and weights of the literal SOURCES in a Python file; nothing in it is run."""
    sources = _literal(text)
    if sources is None or not all(isinstance(entry, dict) for entry in sources.values()):
        raise InputError(
            f"the file should have SOURCES = {{name: {{'weight': ..., {key!r}: ...}}}}, found none; see export"
        )
    return _pairs((name, _weight_of(name, entry, "weight")) for name, entry in sources.items())


def _literal(text: str) -> dict[Any, Any] | None:
    """Return what SOURCES is in a Python file, None if there is no such literal."""
    try:
        assigned = [line for line in ast.parse(text).body if isinstance(line, ast.Assign)]
        found = [a.value for a in assigned if isinstance(a.targets[0], ast.Name) and a.targets[0].id == "SOURCES"]
        if not found or not isinstance(found[0], ast.Dict):
            return None
        keys = [ast.literal_eval(key) for key in found[0].keys if key is not None]
        made = dict(ast.literal_eval(found[0]))
    except (SyntaxError, ValueError, TypeError, MemoryError, RecursionError):
        return None
    if len(keys) != len(made):
        raise InputError("a name appears twice in SOURCES; rename or remove one")
    return made


def _weight_of(name: Any, entry: Any, key: str) -> Any:
    if not isinstance(entry, dict) or entry.get(key) is None or entry.get(key) in NOTHING:
        raise InputError(f"{name!r} should have a {key}, found none; add it")
    return entry[key]


def _pairs(pairs: Any) -> Found:
    pairs = list(pairs)
    return Found(tuple(name for name, _ in pairs), tuple(weight for _, weight in pairs))


def _find(value: Any, key: str, depth: int = 0) -> Any:
    """Return what stands under a key, at most `_DEEPEST` mappings down; the first there is, or None."""
    if not isinstance(value, dict) or depth > _DEEPEST:
        return None
    if key in value:
        return value[key]
    inner = (_find(one, key, depth + 1) for one in value.values())
    return next((found for found in inner if found is not None), None)


def _is_number(word: Any) -> bool:
    try:
        float(word)
    except (ValueError, TypeError, OverflowError):
        return False
    return True


def _is_script(text: str) -> bool:
    return _SCRIPT.search(text) is not None


READERS: dict[str, Callable[[str], Found]] = {
    "megatron": _megatron,
    "megatron-bridge": _megatron_bridge,
    "automodel": _automodel,
    "datasets": _datasets,
    "trl": _trl,
    "llama-factory": _llama_factory,
    "streaming": _streaming,
    "litdata": _litdata,
    "olmo-core": _olmo_core,
    "croissant": _croissant,
    "json": _json,
    "csv": _csv,
}


def detect(text: str, suffix: str) -> str | None:
    """Return which format a text is by its content, or None; the suffix of its file decides between several."""
    start = text.lstrip()
    if start.startswith("{"):
        return _detect_json(text)
    if start.startswith("["):
        return "json"
    if _is_script(text):
        return _detect_script(text)
    if _head_of_card(text) is not None:
        return "datasets"
    if suffix in (".csv", ".tsv"):
        return "csv"
    if (words := text.split()) and (words[0].startswith("--") or (len(words) > 1 and _is_number(words[0]))):
        return "megatron"
    return _detect_yaml(text) or ("csv" if _looks_like_csv(text) else None)


def _detect_json(text: str) -> str | None:
    value = parse_json(text)
    if "train" in value and not _is_number(value["train"]):
        return "megatron"
    return "croissant" if "@context" in value and "recordSet" in value else "json"


def _detect_script(text: str) -> str | None:
    entries = [entry for entry in (_literal(text) or {}).values() if isinstance(entry, dict)]
    for key, name in (("stream", "streaming"), ("input_dir", "litdata")):
        if entries and key in entries[0]:
            return name
    return "datasets" if entries else None


def _detect_yaml(text: str) -> str | None:
    try:
        value = parse_yaml(text)
    except InputError as error:
        if "twice" in str(error):
            raise
        return None
    if not isinstance(value, dict):
        return None
    if "datasets" in value:
        return "datasets" if "probabilities" in value else "trl"
    if isinstance(value.get("sources"), list):
        return "olmo-core"
    if "interleave_probs" in value:
        return "llama-factory"
    keys = {"streams": "streaming", "data_path": "megatron-bridge", "paths": "automodel"}
    return next((name for key, name in keys.items() if _find(value, key) is not None), None)


def _looks_like_csv(text: str) -> bool:
    first = next((line for line in text.splitlines() if line.strip()), "")
    return _delimiter(text) in first
