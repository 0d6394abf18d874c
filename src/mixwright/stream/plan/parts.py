"""Other sources for a plan under way: those that stay go on, and so do the parts of a source that is split."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mixwright.checks import near
from mixwright.errors import InputError
from mixwright.source_change import SourceChange
from mixwright.stream.plan.rows import halves, key_of, rows_of
from mixwright.stream.plan.settings import PlanSettings
from mixwright.stream.plan.state import check_form

Ints = NDArray[np.int64]


def changed_plan(
    plan: Any,
    change: SourceChange,
    rows: Mapping[str, Any],
    weights: Any,
    now: dict[str, Any],
    more: Mapping[str, Mapping[str, Any]],
    state: Mapping[str, Any] | None,
) -> Any:
    """Return a plan of other sources; see `Plan.with_sources`. `now`: the state of `plan` at the change."""
    p = plan.settings
    if change.before != p.names:
        raise InputError(f"the change should be one of the sources {list(p.names)}, found {list(change.before)}")
    change.check_not_split(plan.split)
    check_given(change, rows)
    if state is not None:
        check_after(change, state)
    sizes: dict[str, int] = dict(zip(p.names, p.sizes.tolist(), strict=True))
    tables: dict[str, Ints] = {}
    before = now
    for whole, parts in change.parts.items():
        cursor = now["cursor"][p.names.index(whole)] if state is None else state["retired"][whole]["cursor"]
        own = part_tables(p.seed, whole, sizes[whole], cursor, {part: rows[part] for part in parts})
        if p.unit == "rows":
            _check_shares(change, own, sizes[whole])
        before, tables = split_state(p, before, whole, own), {**tables, **own}
    sizes = {name: len(tables[name]) if name in tables else sizes.get(name) or rows[name] for name in change.names}
    parent = {name: p.names[at] for name, at in zip(change.names, change.parents, strict=True) if at >= 0}
    limits = dict(zip(p.names, zip(_caps(p), p.policies, strict=True), strict=True))
    kept = {name: limits[of] for name, of in parent.items()}
    known = {name: print_ for name, print_ in zip(p.names, p.fingerprints, strict=True) if print_ and name in sizes}
    made = type(plan)(
        sizes,
        change.weights(np.array(now["weights"])) if weights is None else weights,
        batch_size=p.batch_size,
        seed=p.seed,
        max_epochs={**{name: cap for name, (cap, _) in kept.items() if cap is not None}, **more["max_epochs"]},
        exhausted={name: policy for name, (_, policy) in kept.items()},
        draw=p.draw,
        unit=p.unit,
        lengths={**{n: v for n, v in plan.given_lengths.items() if n in sizes}, **more["lengths"]} or None,
        co_locate=p.co_locate,
        fingerprints={**known, **more["fingerprints"]},
        history=plan._history_steps,
        compiled=plan._compiled,
    )
    if state is None:
        made.load_state_dict(before, changed=True)
    elif list(state["sources"]) == list(change.names):
        made.load_state_dict(state)
    else:
        made.awaits = tuple(state["sources"])
    # also of parts that were removed, which may come back
    made.tables, made.split = {**plan.tables, **tables}, plan.split | set(change.parts)
    return made


def check_given(change: SourceChange, given: Mapping[str, Any]) -> None:
    """Raise InputError if a new source, or a part, of a change is not among what is given for it."""
    for name, stays in zip(change.names, change.stays.tolist(), strict=True):
        if not stays and name not in given:
            other = next((each for each in given if each not in change.names), None)
            found = "; found none" if other is None else near(other, change.names, "sources of the change")
            raise InputError(f"the change brings {name!r}, which should be given with its rows{found}")


def check_after(change: SourceChange, state: Mapping[str, Any]) -> None:
    """Raise InputError if a state cannot be one after a change: a source was never there."""
    check_form(state)
    known = {*state["sources"], *state["retired"]}
    if lost := [name for name in (*change.names, *change.before) if name not in known]:
        raise InputError(
            f"the state should be one after the change to {', '.join(change.names)}, found one of the sources "
            f"{', '.join(state['sources'])} that never had {lost[0]!r}; use a state of this run after this change, or "
            "load the state before you make the change"
        )


def _check_shares(change: SourceChange, tables: Mapping[str, Ints], size: int) -> None:
    """Raise InputError if parts have other sizes than the change says, which their weights follow."""
    for name, table in tables.items():
        said = change.shares[change.names.index(name)] * size
        if abs(said - len(table)) > 0.5:
            raise InputError(
                f"the part {name!r} has {len(table)} rows, the change says {said:g} (of {size}); give "
                "SourceChange.split the sizes of the parts"
            )


def _caps(p: Any) -> list[float | None]:
    return [None if policy == "repeat" else cap for cap, policy in zip(p.epochs.tolist(), p.policies, strict=True)]


def part_tables(seed: int, name: str, size: int, cursor: int, rows: Mapping[str, ArrayLike]) -> dict[str, Ints]:
    """
    Return which row of a source each row of a part is, int64 [n] by part.

    The tables are such that a plan goes through each part, in the epoch at work, in the order in which it would have
    gone through the source: what the source gave in this epoch comes first, and the rest is still to come.

    Parameters
    ----------
    seed, name, size
        The plan's seed, and the source.
    cursor
        Rows that the source has given.
    rows
        The rows of each part; each row of the source is in one of them.

    Raises
    ------
    InputError
        A row is in no part or in two, or is none of the source's.
    """
    part = _part_of_rows(name, size, rows)
    epoch = cursor // size
    order = _epoch(seed, name, size, epoch)
    found = {}
    for i, each in enumerate(rows):
        come = order[part[order] == i]
        table = np.empty(len(come), np.int64)
        table[_epoch(seed, each, len(come), epoch)] = come
        found[each] = table
    return found


def split_state(p: PlanSettings, state: Mapping[str, Any], name: str, tables: Mapping[str, Ints]) -> dict[str, Any]:
    """
    Return the state of a plan with the parts of a source in its place.

    Each part has drawn what the source has drawn of its rows. Credit is shared out by size.

    Parameters
    ----------
    p
        Settings of the plan before.
    state
        Its state, from `Plan.state_dict`.
    name, tables
        The source, and what `part_tables` returned.
    """
    state, at = _settled(p, state), list(p.names).index(name)
    size = int(p.sizes[at])
    epoch, drawn = divmod(state["cursor"][at], size)
    given = np.zeros(size, bool)
    given[_epoch(p.seed, name, size, epoch)[:drawn]] = True
    cursors = [epoch * len(rows) + int(given[rows].sum()) for rows in tables.values()]
    shares = [len(rows) / size for rows in tables.values()]
    credits = [share * state["credit"][at] for share in shares]
    # what was asked of a source is what it gave and what it is owed
    asked = [max(0.0, cursor + credit) for cursor, credit in zip(cursors, credits, strict=True)]
    if p.unit == "tokens" or p.draw == "iid":
        asked = [share * state["asked"][at] for share in shares]
    own: dict[str, list[Any]] = {
        "sources": list(tables),
        "sizes": [len(rows) for rows in tables.values()],
        "fingerprints": [None] * len(tables),
        "weights": [share * state["weights"][at] for share in shares],
        "credit": credits,
        "cursor": cursors,
        "tokens": [round(share * state["tokens"][at]) for share in shares],
        "asked": asked,
    }
    found = dict(state)
    for field in (*own, "max_epochs", "exhausted", "dropped"):
        values = own.get(field, [state[field][at]] * len(tables))
        found[field] = [*state[field][:at], *values, *state[field][at + 1 :]]
    found["pending"] = [[step, _spread(weights, at, shares)] for step, weights in state["pending"]]
    gone = {key: state[field][at] for key, field in _RETIRED.items()}
    found["retired"] = {**state["retired"], name: gone}
    return found


def _settled(p: PlanSettings, state: Mapping[str, Any]) -> dict[str, Any]:
    """Return a state whose `asked` is of all steps before it."""
    steps = (state["step"] - state["since"]) * p.batch_size if p.unit == "rows" else 0
    asked = [before + steps * w for before, w in zip(state["asked"], state["weights"], strict=True)]
    return {**state, "asked": asked, "since": state["step"]}


_RETIRED = {"size": "sizes", "fingerprint": "fingerprints", "cursor": "cursor", "tokens": "tokens"}


def _spread(weights: list[float], at: int, shares: list[float]) -> list[float]:
    return [*weights[:at], *(share * weights[at] for share in shares), *weights[at + 1 :]]


def _epoch(seed: int, name: str, size: int, epoch: int) -> Ints:
    """Return the rows [size] of a source in the order of an epoch."""
    draws, (a, b) = np.arange(epoch * size, (epoch + 1) * size), halves(size)
    key, first, second = (np.array([each], np.uint64) for each in (key_of("rows", seed, name), a, b))
    return rows_of(np.zeros(size, np.int64), draws, np.array([size], np.int64), key, first, second)


def _part_of_rows(name: str, size: int, rows: Mapping[str, ArrayLike]) -> Ints:
    """Return the number [size] of the part that each row is in."""
    part = np.full(size, -1, np.int64)
    for i, (each, values) in enumerate(rows.items()):
        numbers = np.asarray(values, np.int64)
        if numbers.ndim != 1 or not len(numbers) or numbers.min() < 0 or numbers.max() >= size:
            raise InputError(
                f"the part {each!r} should have rows of {name!r}, from 0 to {size - 1}, found {values!r:.80}"
            )
        if (part[numbers] >= 0).any() or len(np.unique(numbers)) < len(numbers):
            raise InputError(
                f"each row of {name!r} should be in one part once, found some of {each!r} again; correct it"
            )
        part[numbers] = i
    if missing := np.flatnonzero(part < 0)[:3].tolist():
        raise InputError(
            f"each row of {name!r} should be in a part, found none for row {missing[0]}; add a part for the rest"
        )
    return part
