"""A strategy: a rule that changes weights during training."""

from __future__ import annotations

import ast
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from mixwright.checks import is_number, is_whole
from mixwright.errors import InputError
from mixwright.observation import REPORTED_BY, Observation
from mixwright.source_change import SourceChange

Array = NDArray[np.float64]
S = TypeVar("S", bound=tuple[Any, ...])


class Strategy(ABC, Generic[S]):
    """
    Observations to weights, again and again: a frozen dataclass of hyperparameters with pure methods.

    A strategy never sees a model, a dataset or a file, and keeps nothing: its state S, a NamedTuple of arrays, numbers
    and texts, goes in and comes out. So a checkpoint cannot forget it, and a recorded log replays through any strategy.

    Attributes
    ----------
    needs
        The fields of `Observation` that it reads; checked before the first step.
    uses
        Fields that it reads too where they are given.
    apply
        How its weights may act: "sampling" (rows are drawn by them), "loss" (rows are weighted), or both.
    draw
        The plans that its estimates are right for: "carry", "iid", or both.
    excess_clip
        Where a training clips the excess loss at 0, unless its settings say otherwise: per "token", per "example" (a
        row), or nowhere ("none").
    carries
        How each field of the state goes over to other sources: "weights" (shared out like weights), "logs" (of
        weights), "values" (a source's parts have its value, [..., k]), "kept" (as it is). Other fields are as `init`
        makes them. A strategy without any starts again from the weights in force.
    costs, fails
        What it costs a training, and when it goes wrong, in a few words: for the table in docs/strategies.md.
    """

    needs: ClassVar[frozenset[str]] = frozenset()
    uses: ClassVar[frozenset[str]] = frozenset()
    apply: ClassVar[frozenset[str]] = frozenset({"sampling", "loss"})
    draw: ClassVar[frozenset[str]] = frozenset({"carry", "iid"})
    excess_clip: ClassVar[str] = "example"
    carries: ClassVar[Mapping[str, str]] = {}
    costs: ClassVar[str] = ""
    fails: ClassVar[str] = ""

    @abstractmethod
    def init(self, prior: Array) -> S:
        """Return the state before any observation; `prior` [k] is not kept as it is but copied."""

    @abstractmethod
    def update(self, state: S, obs: Observation) -> S:
        """Return the state after an observation; `state` stays as it was."""

    @abstractmethod
    def weights(self, state: S) -> Array:
        """Return the weights [k] of a state, on the simplex; reading changes nothing."""

    def average(self, state: S) -> Array | None:
        """Return the mean [k] of the weights after each update where that is the method's answer; None: it is not."""
        return None

    def weights_at(self, step: int) -> Array | None:
        """Return the weights [k] of a step where they depend on nothing else; None: on observations."""
        return None

    def starts_at(self, prior: Array) -> Array:
        """Return the weights [k] of the first step: the prior, unless the strategy's definition says otherwise."""
        return prior.copy()

    def for_sources(self, change: SourceChange) -> Strategy[S]:
        """Return the strategy for other sources: its numbers per source moved, if it has some."""
        return self

    @property
    def revision(self) -> int:
        """
        Of the rule: raised where the same observations give other weights than in the version before.

        Above 1 it is in the record of a training, which so does not go on by another rule than it was begun with.
        """
        return 1

    def remarks(self, state: S) -> dict[str, Any]:
        """
        Return what the decision log should say of a state beside its weights: JSON-able values by name.

        A text under "alarm" is about the last update; `Mixture` raises it as an `AlarmWarning`, too.
        """
        return {}


def revisions(strategy: Strategy[Any]) -> dict[str, int]:
    """Return {class: revision} of a strategy and those inside it."""
    inside = getattr(strategy, "strategy", None)
    found = revisions(inside) if isinstance(inside, Strategy) else {}
    return {**found, type(strategy).__name__: strategy.revision}


def recorded(found: Mapping[str, int]) -> dict[str, dict[str, int]]:
    """Return the revisions above 1 as a part of a record; nothing if there are none, as in records of before."""
    above = {name: number for name, number in found.items() if number > 1}
    return {"revisions": above} if above else {}


def check_revisions(before: Mapping[str, int], now: Mapping[str, int], what: str) -> None:
    """Raise InputError if `what` was begun with other revisions, where 1 is left out, than those of now."""
    if other := sorted(name for name in {**before, **now} if before.get(name, 1) != now.get(name, 1)):
        when = "an earlier" if all(before.get(name, 1) < now.get(name, 1) for name in other) else "another"
        raise InputError(
            f"{what} was begun with {when} rule of {' and '.join(other)} than this version's; begin in a new folder, "
            "or finish it with the version of mixwright that began it"
        )


def differences(before: str, now: str) -> str:
    """Return in what the reprs of two strategies differ, by class and parameter; "" where they cannot be read."""
    try:
        (former, then), (latter, here) = (_parts(ast.parse(text, mode="eval").body) for text in (before, now))
    except (SyntaxError, ValueError, RecursionError):
        return ""
    said = [] if former == latter else [f"{former} there, {latter} here"]
    differ = [name for name in here if name in then and then[name] != here[name]]
    return "; ".join(said + [f"{name} {then[name]} there, {here[name]} here" for name in differ])


def _parts(node: ast.expr) -> tuple[str, dict[str, str]]:
    """Return the classes of a strategy's repr, from the outside to the inside, and each parameter by its class."""
    if not isinstance(node, ast.Call):
        raise ValueError("this is no call")
    name, inside = ast.unparse(node.func), ""
    found: dict[str, str] = {}
    for key, value in [("", each) for each in node.args] + [(each.arg or "", each.value) for each in node.keywords]:
        if key == "strategy":
            inside, more = _parts(value)
            found |= more
        else:
            found[f"{name}.{key}" if key else name] = ast.unparse(value)
    return (f"{name}({inside})" if inside else name), found


def state_to_json(state: tuple[Any, ...]) -> dict[str, Any]:
    """Return a strategy's state, a NamedTuple of arrays, numbers and texts, as JSON-able values by field."""
    return {name: _plain(value) for name, value in zip(_fields(state), state, strict=True)}


def state_from_json(like: S, values: dict[str, Any]) -> S:
    """
    Return a state as `like` (types and shapes) with the values of `state_to_json`, bit by bit.

    Raises
    ------
    InputError
        If the fields or a shape differ: the state is of another strategy or of other sources.
    """
    names = _fields(like)
    later = {name: default for name, default in getattr(like, "_field_defaults", {}).items() if name not in values}
    if set(names) != set(values) | set(later):  # a field with a default may be newer than the checkpoint
        raise InputError(
            f"the strategy's state should have the fields {sorted(names)}, found {sorted(values)}; the "
            "checkpoint is of another strategy"
        )
    found = {name: _like(name, old, values[name]) for name, old in zip(names, like, strict=True) if name in values}
    return type(like)(**later | found)


def carrying(**ways: str) -> dict[str, str]:
    """Return a strategy's `carries` from {way: fields, with spaces between}."""
    return {name: way for way, names in ways.items() for name in names.split()}


def carried(strategy: Strategy[Any], state: S, change: SourceChange, fresh: S) -> S:
    """Return a state for other sources: what `strategy.carries` names, and the rest from a `fresh` state of them."""
    found: dict[str, Any] = {}
    # what a wrapper holds besides the strategy inside it may have fields of the same names
    inside = getattr(strategy, "strategy", None)
    own = getattr(strategy, "also_carries", strategy.carries) if strategy.carries else {}
    for name in _fields(fresh):
        old, new = getattr(state, name), getattr(fresh, name)
        way = own.get(name)
        if isinstance(new, tuple) and hasattr(new, "_fields") and (inside is None or name == "inner"):
            found[name] = carried(inside or strategy, old, change, new)
        elif way in ("weights", "logs"):
            found[name] = (change.weights if way == "weights" else change.logs)(old)
        elif way == "values":
            found[name] = change.values(old, new)
        else:
            found[name] = old if way == "kept" else new
    return type(fresh)(**found)


def _fields(state: tuple[Any, ...]) -> tuple[str, ...]:
    names = getattr(state, "_fields", None)
    if names is None:
        raise TypeError(f"the state of a strategy should be a NamedTuple, found {type(state).__name__}")
    return tuple(names)


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray | np.generic):
        return _nan_text(value.tolist())
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return state_to_json(value)
    return _nan_text(value)


def _nan_text(value: Any) -> Any:
    """Return a value with nan and infinities as texts, which JSON has no numbers for."""
    if isinstance(value, list | tuple):
        return [_nan_text(v) for v in value]
    return repr(value) if isinstance(value, float) and not np.isfinite(value) else value


def _like(name: str, old: Any, value: Any) -> Any:
    if isinstance(old, np.ndarray):
        array = np.array(value, old.dtype)
        if array.size == old.size == 0:  # a list of no lists does not say how long they would be
            return old.copy()
        if array.shape != old.shape:
            raise InputError(
                f"the strategy's state has {name!r} of shape {array.shape}, expected {old.shape}; the checkpoint is of "
                "other sources"
            )
        return array
    if isinstance(old, tuple) and hasattr(old, "_fields"):
        return state_from_json(old, value)
    if isinstance(old, tuple):
        found = tuple(float(v) if v in ("nan", "inf", "-inf") else v for v in value)
        if not (all(isinstance(v, bool) or is_number(v) for v in found) or all(isinstance(v, str) for v in found)):
            raise InputError(f"the strategy's state should have numbers in {name!r}, found {value!r:.80}")
        return found
    if isinstance(old, int) and not (is_whole(value) and abs(value) < 2**63):
        raise InputError(f"the strategy's state should have a whole number as {name!r}, found {value!r:.80}")
    return type(old)(value) if old is not None else value


def require_strategy(value: Any, should: str) -> None:
    """Raise InputError, which begins with `should`, unless a value is a Strategy."""
    if isinstance(value, str):
        raise InputError(f"{should}, found the text {value!r}; give an object such as mixwright.PiKE()")
    if not isinstance(value, Strategy):
        raise InputError(f"{should}, found {value!r}; use Static(weights)")


_DRAWS_ONLY = (
    ": it decides which rows are drawn, and weights no losses; leave `sampling` out, or choose a strategy that may act "
    "on losses, such as DoReMi or GroupDRO"
)


def check_fed(strategy: Strategy[Any], given: Iterable[str], apply: str, draw: str) -> None:
    """Raise InputError if a run cannot feed a strategy; see `Mixture.check`."""
    inside: Any = strategy
    while hasattr(inside, "strategy"):  # a wrapper needs what the strategy inside it needs
        inside = inside.strategy
    name = type(inside).__name__
    if missing := sorted(strategy.needs - set(given)):
        raise InputError(
            f"{name} needs {', '.join(missing)} in each observation, found "
            f"{', '.join(sorted(given)) or 'nothing'}; {REPORTED_BY[missing[0]]}; or use another strategy"
        )
    for what, value, allowed in (("apply", apply, strategy.apply), ("draw", draw, strategy.draw)):
        if value not in allowed:
            remedy = _DRAWS_ONLY if value == "loss" else ""
            found = f"{name} works with {what}={' or '.join(map(repr, sorted(allowed)))}, found {value!r}"
            raise InputError(found + remedy)
