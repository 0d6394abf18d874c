"""Numbers and YAML that come back as they went: what is written is read as the same number and the same text."""

from __future__ import annotations

import json
import math
from typing import Any

from mixwright.errors import InputError, missing_extra
from mixwright.files.yaml_text import load_yaml

NOTHING = ("", "null", "~")


def to_number(value: Any, what: str) -> float:
    """
    Return a weight that a file gives, as a number or as text.

    Raises
    ------
    InputError
        If it is no number, not finite or below 0; the message begins with `what`.
    """
    wrong = InputError(f"{what} should be a finite number of at least 0, found {value!r:.60}; correct it")
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise wrong
    try:
        number = float(value)
    except (ValueError, OverflowError):
        raise wrong from None
    if not math.isfinite(number) or number < 0:
        raise wrong
    return abs(number)  # -0.0 is 0


def dump_yaml(value: Any) -> str:
    """Return `value` as YAML that YAML 1.1 and 1.2 read the same way; the order of keys is kept."""
    yaml = _yaml()

    class Dumper(yaml.SafeDumper):  # type: ignore[name-defined]
        """SafeDumper without anchors, with quotes around texts that some reader would take for something else."""

        def ignore_aliases(self, data: Any) -> bool:
            return True

    def text(dumper: Any, data: str) -> Any:
        return dumper.represent_scalar("tag:yaml.org,2002:str", data, style='"' if _needs_quotes(data) else None)

    Dumper.add_representer(str, text)
    return str(yaml.dump(value, Dumper=Dumper, sort_keys=False, allow_unicode=True, width=10**9))


def parse_yaml(text: str) -> Any:
    """
    Return the YAML in a text with every scalar as it is written: `1e-05` and `no` are texts.

    Raises
    ------
    InputError
        It is no YAML, or has a key twice.
    """
    yaml = _yaml()

    class Loader(yaml.BaseLoader):  # type: ignore[name-defined]
        """BaseLoader that refuses a key written twice."""

        def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
            keys = [key.value for key, _ in node.value]
            seen: set[str] = set()
            for position, key in enumerate(keys):
                if key in seen:
                    line = node.value[position][0].start_mark.line + 1
                    raise InputError(f"line {line}: the name {key!r} appears twice; rename or remove one")
                seen.add(key)
            made: dict[Any, Any] = super().construct_mapping(node, deep=True)
            return made

    try:
        return load_yaml(text, Loader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", None) or str(error).partition("\n")[0] or type(error).__name__
        raise InputError(f"this is not YAML{line} ({problem}); check the indentation, colons and quotes") from None


def parse_json(text: str) -> Any:
    """Return the JSON in a text; InputError if it is none, has a key twice, or NaN or infinity."""
    try:
        return json.loads(text, object_pairs_hook=_unique, parse_constant=_refuse)
    except InputError:
        raise
    except (ValueError, RecursionError) as error:
        raise InputError(f"this is not JSON ({error}); check the quotes, commas and braces") from None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made: dict[str, Any] = {}
    for key, value in pairs:
        if key in made:
            raise InputError(f"the name {key!r} appears twice; rename or remove one")
        made[key] = value
    return made


def _refuse(text: str) -> None:
    raise InputError(f"every weight should be a finite number of at least 0, found {text}; correct it")


def _needs_quotes(text: str) -> bool:
    """Return whether a text has line breaks or the like, or looks like a number to some reader: `1e5`, `0o17`."""
    if not text.isprintable():
        return True
    plain = text.replace("_", "").strip()
    if plain[:2].lower() in ("0o", "0x", "0b"):
        return True
    try:
        float(plain)
    except ValueError:
        return False
    return True


def _yaml() -> Any:
    try:
        import yaml
    except ModuleNotFoundError:
        raise missing_extra("pyyaml", "cli") from None
    return yaml
