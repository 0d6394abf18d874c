"""YAML from anywhere: nothing in it is run, every fault is one kind of error, a small text is no large value."""

from __future__ import annotations

from typing import Any

from mixwright.errors import InputError, missing_extra

LARGEST = 1_000_000  # values that aliases stand for: nine lists of nine aliases each would be 400 million


def load_yaml(text: str, loader: Any = None) -> Any:
    """
    Return the value of a YAML text, by a loader of PyYAML that makes plain values (default: `SafeLoader`).

    Raises
    ------
    yaml.MarkedYAMLError
        The text is no YAML, has a date or a number that there is not, an escape of a surrogate, lists in lists without
        end, an alias that holds itself, or aliases for more than a million values. It has `problem`, and where that is
        known `problem_mark`.
    """
    return node_and_value(text, loader)[1]


def node_and_value(text: str, loader: Any = None) -> tuple[Any, Any]:
    """Return the root node of a YAML text, from which lines can be read, and its value; None twice if it is empty."""
    yaml = pyyaml()
    try:
        made = (loader or yaml.SafeLoader)(text)
    except yaml.reader.ReaderError as error:
        mark = yaml.Mark("", error.position, text.count("\n", 0, error.position), 0, None, None)
        raise _wrong(f"the character {chr(error.character)!a} is not allowed", mark) from None
    try:
        node = made.get_single_node()
        if node is None:
            return None, None
        _size(node, {})
        return node, made.construct_document(node)
    except InputError:  # of a loader that checks
        raise
    except RecursionError:
        raise _wrong("lists or mappings in one another without end") from None
    except (ValueError, OverflowError, AttributeError) as error:  # AttributeError: a sexagesimal number without digits
        raise _wrong(" ".join(str(error).split())) from None
    finally:
        made.dispose()


def _size(node: Any, known: dict[int, int | None]) -> int:
    """Return how many values a node stands for; its problem as an error."""
    if id(node) in known:
        size = known[id(node)]
        if size is None:
            raise _wrong("an alias holds itself; write the value out", node.start_mark)
        return size
    known[id(node)] = None
    for key, _ in node.value if node.id == "mapping" else ():
        if key.id != "scalar":
            raise _wrong("a key should be plain text, found a list or a mapping", key.start_mark)
    if isinstance(node.value, str):
        if any("\ud800" <= character <= "\udfff" for character in node.value):
            raise _wrong(
                "an escape of a surrogate (\\ud800 to \\udfff) is no character; write the character itself",
                node.start_mark,
            )
        inner = []
    else:
        inner = [one for item in node.value for one in (item if isinstance(item, tuple) else (item,))]
    size = 1 + sum(_size(one, known) for one in inner)
    if size - len(known) > LARGEST:  # each value that is written is one of `known`
        raise _wrong(f"aliases should stand for at most {LARGEST:,} values, found more", node.start_mark)
    known[id(node)] = size
    return size


def _wrong(problem: str, mark: Any = None) -> Exception:
    error: Exception = pyyaml().MarkedYAMLError(problem=problem, problem_mark=mark)
    return error


def pyyaml() -> Any:
    """Return the module yaml; MissingExtraError if PyYAML is not installed."""
    try:
        import yaml
    except ModuleNotFoundError:
        raise missing_extra("pyyaml", "cli") from None
    return yaml
