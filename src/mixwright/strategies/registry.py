"""Strategies by name, as a configuration has them."""

from __future__ import annotations

import difflib
import importlib
import inspect
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from mixwright.errors import InputError
from mixwright.strategies.wrappers.wrapper import Wrapper
from mixwright.strategy import Strategy

_PER_SOURCE = {"weights", "sizes", "reference"}
_ADVISED: dict[str, dict[str, Any]] = {  # what a name stands for, where that is not the class's own default
    # the printed rule ends with one source; updated at each observation, PiKE follows noise (decision 267)
    "pike": {"rule": "restoring", "wrap": [{"name": "Every", "steps": 20}, "Guard"]},
}


def known() -> dict[str, type[Strategy[Any]]]:
    """Return the strategies and wrappers of the library by name."""
    room = importlib.import_module("mixwright.strategies")
    found = {name: getattr(room, name) for name in room.__all__}
    return {name: value for name, value in found.items() if isinstance(value, type) and issubclass(value, Strategy)}


def is_known(name: str) -> bool:
    """Return whether a strategy or wrapper has this name, as `by_name` reads it."""
    return _plain(name) in map(_plain, known())


def by_name(name: str, **parameters: Any) -> Strategy[Any]:
    """
    Return the strategy of a name with its parameters, as in a configuration (`from_config`).

    Parameters
    ----------
    name
        Its class's name; capitals, hyphens, underscores and spaces do not matter ("pike", "balanced-pike").
    parameters
        Those of the class, and `wrap`.

    Raises
    ------
    InputError
        If there is no such strategy or parameter (the message has the nearest one), one is missing, or a value is
        wrong.

    Examples
    --------
    >>> by_name("unimax", sizes=[10, 90], budget=50)
    UniMax(sizes=(10.0, 90.0), budget=50.0, max_epochs=1.0)
    """
    values = _advised(name, parameters)
    wraps = values.pop("wrap", [])
    return _in_wraps(_of_class(name, values), wraps, "")


def _advised(name: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is given, and what the name stands for besides; who gives a rule means that rule and nothing more."""
    return dict(values) if "rule" in values else {**_ADVISED.get(_plain(name), {}), **values}


def _of_class(name: str, parameters: Mapping[str, Any]) -> Strategy[Any]:
    """Return the strategy of a name with the class's own defaults; InputError as from `by_name`."""
    made, classes = _plain(name), known()
    names = {_plain(each): each for each in classes}
    if made not in names:
        raise InputError(f"there is no strategy {name!r}{_near(made, names, _own(classes))}")
    cls = classes[names[made]]
    signature = inspect.signature(cls)
    takes = {each: p for each, p in signature.parameters.items() if each != "self"}
    for each in parameters:
        if each not in takes:
            raise InputError(f"{cls.__name__} has no parameter {each!r}{_near(each, {p: p for p in takes})}")
    for each, parameter in takes.items():
        if parameter.default is inspect.Parameter.empty and each not in parameters:
            raise InputError(
                f"{cls.__name__} needs the parameter {each!r}, found {sorted(parameters) or 'none'}; give it"
            )
    return cls(**parameters)


def check_named_before(before: str, now: Strategy[Any], what: str) -> None:
    """Raise InputError if `before`, the repr of a strategy, is what the name of `now` meant in former versions."""
    inner: Any = now
    pike: Any = known()["PiKE"]
    while isinstance(inner, Wrapper):
        inner = inner.strategy
    if inner is now or type(inner) is not pike or repr(replace(inner, rule="exponentiated")) != before:
        return
    raise InputError(
        f"{what} was begun with {before}, which PiKE by name meant before; it means {now} now: write "
        "'rule: exponentiated' beside the name, in its config.yaml and in your file, to go on as before, or finish it "
        "with the version of mixwright that began it"
    )


def from_config(config: str | Mapping[str, Any] | Strategy[Any], sources: Sequence[str] | None = None) -> Strategy[Any]:
    """
    Return the strategy that a configuration describes.

    Parameters
    ----------
    config
        A name, or a mapping with `name` and the parameters. PiKE by name is the restoring rule in a Guard, updated
        every 20 steps, also with parameters; with a `rule`, it is that rule alone, and with `wrap`, the wrappers are
        those. A wrapper has the strategy inside under `strategy`, or any strategy has its wrappers under `wrap`, from
        the inside to the outside: {name: BalancedPiKE, tau: 2, wrap: [{name: Every, steps: 20}, Guard]}. Numbers per
        source are lists, or, where `sources` is given, {source: number}. A strategy is returned as it is.
    sources
        Names in their order.

    Raises
    ------
    InputError
        As from `by_name`; the message says where in the configuration.

    Examples
    --------
    >>> from_config({"name": "Static", "weights": {"hi": 0.25, "en": 0.75}}, sources=["en", "hi"])
    Static([0.75, 0.25])
    """
    return _made(config, tuple(sources) if sources is not None else None, "strategy")


def _made(config: Any, sources: tuple[str, ...] | None, where: str) -> Strategy[Any]:
    if isinstance(config, Strategy):
        return config
    if isinstance(config, str):
        config = {"name": config}
    if not isinstance(config, Mapping):
        raise InputError(f"{where} should be a name, or a mapping with a name and parameters, found {config!r}")
    values = dict(config)
    name = values.pop("name", None)
    if not isinstance(name, str):
        raise InputError(f"{where}.name should be the name of a strategy, found {name!r}")
    values = _advised(name, values)
    wraps = values.pop("wrap", [])
    if "strategy" in values:
        values["strategy"] = _made(values["strategy"], sources, f"{where}.strategy")
    values = {each: _in_order(value, each, sources, where) for each, value in values.items()}
    return _in_wraps(_call(name, values, where), wraps, f"{where}.")


def _in_wraps(strategy: Strategy[Any], wraps: Any, where: str) -> Strategy[Any]:
    if not isinstance(wraps, list | tuple):
        raise InputError(f"{where}wrap should be a list of wrappers, from the inside to the outside, found {wraps!r}")
    for i, wrap in enumerate(wraps):
        strategy = _wrapped(strategy, wrap, f"{where}wrap[{i}]")
    return strategy


def _wrapped(strategy: Strategy[Any], wrap: Any, where: str) -> Strategy[Any]:
    values = {"name": wrap} if isinstance(wrap, str) else dict(wrap) if isinstance(wrap, Mapping) else {}
    name = values.pop("name", None)
    if not isinstance(name, str) or "strategy" in values:
        raise InputError(f"{where} should be the name of a wrapper, with its parameters, found {wrap!r}")
    wrappers = {_plain(each): each for each, cls in known().items() if issubclass(cls, Wrapper)}
    if _plain(name) not in wrappers and _plain(name) in {_plain(each) for each in known()}:
        raise InputError(f"{where} should be a wrapper ({', '.join(sorted(wrappers.values()))}), found {name!r}")
    return _call(name, {"strategy": strategy, **values}, where)


def _call(name: str, values: dict[str, Any], where: str) -> Strategy[Any]:
    try:
        return _of_class(name, {str(each): value for each, value in values.items()})
    except InputError as error:
        raise InputError(f"{where}: {error}") from None


def _in_order(value: Any, name: str, sources: tuple[str, ...] | None, where: str) -> Any:
    """Return numbers by source as a list in the sources' order; also in each step of a schedule."""
    if name not in _PER_SOURCE or not isinstance(value, Mapping):
        return value
    if value and all(_is_step(key) for key in value) and not all(key in (sources or ()) for key in value):
        return {int(step): _in_order(inner, name, sources, f"{where}.{name}[{step}]") for step, inner in value.items()}
    if sources is None:
        raise InputError(f"{where}.{name} should be a list in source order here, found {dict(value)!r}")
    for key in value:
        if key not in sources:
            raise InputError(f"{where}.{name} names {key!r}, which is no source{_near(key, {s: s for s in sources})}")
    if missing := [each for each in sources if each not in value]:
        raise InputError(f"{where}.{name} should have a number for each source, found none for {missing[0]!r}; add it")
    return [value[each] for each in sources]


def _is_step(key: Any) -> bool:
    """Whether a key of a schedule is a step: a whole number, which YAML and JSON may give as text."""
    return (isinstance(key, int) and not isinstance(key, bool)) or (isinstance(key, str) and key.isdecimal())


def _plain(name: Any) -> str:
    return "".join(c for c in str(name).lower() if c not in "-_ ")


def _own(classes: Mapping[str, type[Strategy[Any]]]) -> list[str]:
    """Return the names of strategies that stand alone; wrappers need one inside."""
    return [name for name, cls in classes.items() if not issubclass(cls, Wrapper)]


def _near(word: Any, names: Mapping[str, str], shown: Sequence[str] | None = None) -> str:
    close = difflib.get_close_matches(str(word), list(names), 1, cutoff=0.5)
    hint = f"; did you mean {names[close[0]]!r}?" if close else "."
    return f"{hint} Known: {', '.join(names.values() if shown is None else shown)}"
