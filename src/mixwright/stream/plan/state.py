"""The state of a plan as JSON-able numbers and texts, and back, with sources known by name."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypedDict

import numpy as np
from numpy.typing import NDArray

from mixwright.checks import unique_names
from mixwright.errors import InputError
from mixwright.stream.plan.settings import UNLIMITED, PlanSettings, checked_weights
from mixwright.stream.plan.steps import PlanState

Array = NDArray[np.float64]
Change = tuple[int, Array]
VERSION = 1
ALLOW = "if this is intended, pass changed=True to load_state_dict"  # which cannot be done in a Trainer
_SMALL = 1e-6
_MOST_OWED = 16  # rows of a source; a plan that is owed millions would count them one by one
_SAME = ("seed", "batch_size", "draw", "unit", "co_locate")
_PER_SOURCE = (
    "sizes",
    "fingerprints",
    "max_epochs",
    "exhausted",
    "weights",
    "credit",
    "cursor",
    "tokens",
    "dropped",
    "asked",
)


class Retired(TypedDict):
    """What is kept of a source that was removed, for the day it comes back."""

    size: int
    fingerprint: str | None
    cursor: int
    tokens: int


def to_dict(
    p: PlanSettings, state: PlanState, pending: Sequence[Change], retired: Mapping[str, Retired]
) -> dict[str, Any]:
    """Return all that the rows from `state.step` on depend on."""
    return {
        "version": VERSION,
        **{name: getattr(p, name) for name in _SAME},
        "step": state.step,
        "since": state.since,
        "sources": list(p.names),
        "sizes": p.sizes.tolist(),
        "fingerprints": list(p.fingerprints),
        "max_epochs": _epochs(p),
        "exhausted": list(p.policies),
        "weights": state.weights.tolist(),
        "pending": [[step, weights.tolist()] for step, weights in pending],
        "credit": state.credit.tolist(),
        "cursor": state.cursor.tolist(),
        "tokens": state.tokens.tolist(),
        "dropped": state.dropped.tolist(),
        "asked": state.asked.tolist(),
        "retired": {name: dict(values) for name, values in retired.items()},
    }


def from_dict(
    p: PlanSettings, d: Mapping[str, Any], weights: Callable[[int], Array], changed: bool
) -> tuple[PlanState, list[Change], dict[str, Retired]]:
    """
    Return the state, the pending changes and the removed sources that a dict describes, in the order of `p`.

    `weights` gives those [k] that hold from a step where the sources differ. For what is an error see
    `Plan.load_state_dict`.
    """
    check_form(d)
    if p.unit == "rows":
        # no source is further than about ln k + 1 rows from what was asked; sources that left shared theirs out
        most = _MOST_OWED * (p.k + len(d["sources"]))
        _check("credit", d["credit"], lambda owed: max(map(abs, owed)) <= most)
    for name in _SAME:
        if d[name] != getattr(p, name):
            raise InputError(
                f"the checkpoint's {name} is {d[name]!r}, this plan's is {getattr(p, name)!r}; the rows would differ: "
                f"make the plan with {name}={d[name]!r}"
            )
    old: list[str] = d["sources"]
    retired: dict[str, Retired] = dict(d["retired"])
    _check_sources(p, d, changed)
    if old == list(p.names):
        state = _state(d)
        # a source whose limit was raised gives again
        state.dropped &= state.cursor >= p.limits
        return state, [(s, checked_weights(w, p.names)) for s, w in d["pending"]], retired
    return _moved(p, d, weights, retired)


def _state(d: Mapping[str, Any]) -> PlanState:
    return PlanState(
        step=d["step"],
        weights=np.array(d["weights"], np.float64),
        credit=np.array(d["credit"], np.float64),
        cursor=np.array(d["cursor"], np.int64),
        tokens=np.array(d["tokens"], np.int64),
        dropped=np.array(d["dropped"], bool),
        asked=np.array(d["asked"], np.float64),
        since=d["since"],
    )


def _moved(
    p: PlanSettings, d: Mapping[str, Any], weights: Callable[[int], Array], retired: dict[str, Retired]
) -> tuple[PlanState, list[Change], dict[str, Retired]]:
    """Return the state where the sources, or their order, are others."""
    old, at = _state(d), {name: i for i, name in enumerate(d["sources"])}
    from_old = np.array([at.get(name, -1) for name in p.names])
    stays = from_old >= 0
    moved = {name: np.where(stays, getattr(old, name)[from_old], 0) for name in ("credit", "cursor", "tokens", "asked")}
    asked = old.asked_so_far(p.batch_size, p.unit)
    moved["asked"] = np.where(stays, asked[from_old], 0.0)
    for i, name in enumerate(p.names):
        if not stays[i] and name in retired:
            moved["cursor"][i], moved["tokens"][i] = retired[name]["cursor"], retired[name]["tokens"]
    gone = [i for i, name in enumerate(d["sources"]) if name not in p.names]
    same = not gone and stays.all()
    # sources in another order keep their weights; other sources need new ones
    new_weights = old.weights[from_old] if same else weights(old.step)
    if not new_weights.any():
        raise InputError(
            "the sources differ from the checkpoint's, so the plan needs weights for them; give weights to Plan"
        )
    state = PlanState(
        step=old.step,
        weights=new_weights,
        # by weight, so that the credits of all sources keep their sum
        credit=moved["credit"] + new_weights * old.credit[gone].sum(),
        cursor=moved["cursor"].astype(np.int64),
        tokens=moved["tokens"].astype(np.int64),
        dropped=np.where(stays, old.dropped[from_old], False) & (moved["cursor"] >= p.limits),
        asked=moved["asked"],
        since=old.step,
    )
    names = [d["sources"][i] for i in gone]
    # a removed source that comes back must not repeat rows of its epoch, so its cursor is kept
    kept: dict[str, Retired] = {name: values for name, values in retired.items() if name not in p.names}
    for i, name in zip(gone, names, strict=True):
        kept[name] = {
            "size": d["sizes"][i],
            "fingerprint": d["fingerprints"][i],
            "cursor": int(old.cursor[i]),
            "tokens": int(old.tokens[i]),
        }
    pending = [(s, np.array(w)[from_old]) for s, w in d["pending"]] if same else []
    return state, pending, kept


def check_form(d: Any) -> None:
    """Raise InputError unless a dict has the form of a state: every field, of its kind, in its range."""
    if not isinstance(d, Mapping) or not isinstance(d.get("version"), int):
        raise InputError("the state of a plan should be what Plan.state_dict returned, found something else")
    if d["version"] != VERSION:
        raise InputError(f"the state's version is {d['version']}, this mixwright reads {VERSION}; install a newer one")
    names = (*_SAME, "step", "since", "sources", "pending", "retired", *_PER_SOURCE)
    if missing := [name for name in names if name not in d]:
        raise InputError(f"the state of the plan is damaged: it has no {missing[0]!r}; use another checkpoint")
    k = len(unique_names(d["sources"], "sources of the state"))
    for name in _PER_SOURCE:
        if not isinstance(d[name], Sequence) or len(d[name]) != k:
            found = len(d[name]) if isinstance(d[name], Sequence) else "no"
            raise InputError(
                f"the state of the plan is damaged: {name!r} has {found} entries for {k} sources; use another one"
            )
    for name, right in _KINDS.items():
        for value in d[name]:
            _check(name, value, right)
    _check("step", d["step"], _count)
    # what some sources are owed, others have had in advance
    _check("credit", d["credit"], lambda owed: abs(sum(owed)) <= _SMALL * (1 + d["step"]) * (1 + max(map(abs, owed))))
    _check("since", d["since"], lambda x: _count(x) and x <= d["step"])
    # all 0: a plan that has no weights yet
    _check("weights", d["weights"], lambda w: sum(w) == 0 or abs(sum(w) - 1) <= 1e-6)
    _check("pending", d["pending"], lambda pending: all(_is_change(change, k) for change in pending))
    _check("retired", d["retired"], lambda retired: all(_is_retired(entry) for entry in retired.values()))


def _check(name: str, value: Any, right: Callable[[Any], bool]) -> None:
    try:
        fine = right(value)
    except (TypeError, ValueError, AttributeError, LookupError, OverflowError):
        fine = False
    if not fine:
        raise InputError(f"the state of the plan is damaged: {name!r} has {value!r:.80}; use another checkpoint")


def _count(x: Any) -> bool:
    return isinstance(x, int) and not isinstance(x, bool) and 0 <= x <= UNLIMITED


def _number(x: Any) -> bool:
    return isinstance(x, int | float) and not isinstance(x, bool) and math.isfinite(x)


_KINDS: dict[str, Callable[[Any], bool]] = {
    "sizes": _count,
    "cursor": _count,
    "tokens": _count,
    "weights": lambda x: _number(x) and x >= 0,
    "credit": _number,
    "asked": lambda x: _number(x) and x >= 0,
    "dropped": lambda x: isinstance(x, bool),
}


def _is_change(change: Any, k: int) -> bool:
    step, weights = change
    fine = _count(step) and len(weights) == k and all(_number(w) and w >= 0 for w in weights)
    return fine and abs(sum(weights) - 1) <= 1e-6


def _is_retired(entry: Any) -> bool:
    return all(_count(entry[name]) for name in ("size", "cursor", "tokens")) and "fingerprint" in entry


def _check_sources(p: PlanSettings, d: Mapping[str, Any], changed: bool) -> None:
    """Raise InputError where a source is another one than the checkpoint's."""
    known = {
        name: (size, print_) for name, size, print_ in zip(d["sources"], d["sizes"], d["fingerprints"], strict=True)
    }
    if not known.keys() & set(p.names):
        raise InputError(
            f"the checkpoint is of other sources: it has {_some(d['sources'])}, this plan has {_some(p.names)}; "
            "use the checkpoint of this run, or the same names"
        )
    back = {name: (r["size"], r["fingerprint"]) for name, r in d["retired"].items() if name not in known}
    for name, size, print_ in zip(p.names, p.sizes.tolist(), p.fingerprints, strict=True):
        before = known.get(name) or back.get(name)
        if before and before[0] != size:
            raise InputError(
                f"the source {name!r} has {size} rows, at the checkpoint it had {before[0]}; restore it, or give the "
                "changed source another name"
            )
        if before and before[1] is not None and print_ is not None and before[1] != print_:
            raise InputError(
                f"the content of the source {name!r} is not what it was at the checkpoint (fingerprint {print_}, then "
                f"{before[1]}); restore it, or give the changed source another name"
            )
    if not changed:
        _check_unchanged(p, d)


def _check_unchanged(p: PlanSettings, d: Mapping[str, Any]) -> None:
    missing, new = [n for n in d["sources"] if n not in p.names], [n for n in p.names if n not in d["sources"]]
    if missing or new:
        parts = [f"no longer there: {_some(missing)}"] * bool(missing) + [f"new: {_some(new)}"] * bool(new)
        raise InputError(f"the sources are not the checkpoint's ({'; '.join(parts)}); {ALLOW}")
    if d["sources"] != list(p.names):
        raise InputError(f"the sources are in another order than the checkpoint's ({_some(d['sources'])}); {ALLOW}")
    for i, name in enumerate(p.names):
        now, then = (_epochs(p)[i], p.policies[i]), (d["max_epochs"][i], d["exhausted"][i])
        if now != then:
            raise InputError(
                f"the source {name!r} has max_epochs {now[0]} and exhausted {now[1]!r}, at the checkpoint "
                f"{then[0]} and {then[1]!r}; {ALLOW}"
            )


def _epochs(p: PlanSettings) -> list[float | None]:
    return [None if math.isinf(e) else e for e in p.epochs.tolist()]


def _some(names: Sequence[str]) -> str:
    return ", ".join(map(repr, names[:5])) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
