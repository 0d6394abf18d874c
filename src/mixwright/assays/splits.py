"""What of a target is searched and trained on, and what it is measured on."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from mixwright.assays.data import AssayTable, Ints, check_choice
from mixwright.assays.labels import MISSING
from mixwright.errors import InputError

Kind = Literal["random", "scaffold", "time", "column"]
KINDS = ("random", "scaffold", "time", "column")
DUPLICATES = ("error", "drop")
FEWEST = 2  # rows of each class, in each part


@dataclass(frozen=True, eq=False)
class Split:
    """
    The rows of a target: `train` for the search (and "target alone"), `test` for the metric.

    `allowed` [n] are the rows of the table that any model may be trained on: none of them, whatever the assay, is of a
    molecule (scaffold split: of a scaffold; time split: of a time) that is in `test`. `groups` int64 [n] are what is
    kept together: molecules, or scaffolds.
    """

    target: str
    kind: str
    seed: int
    train: Ints
    test: Ints
    allowed: NDArray[np.bool_]
    groups: Ints
    notes: tuple[str, ...] = ()


def whole_target(table: AssayTable, target: str | int) -> Split:
    """Return the split that holds nothing out: all rows of the target are for the search."""
    target = table.name(target)
    rows = table.labelled(target)
    _both_classes(target, table.labels[rows, table.column(target)], "its labelled rows")
    return Split(target, "none", 0, rows, rows[:0], np.ones(table.n, bool), table.molecules)


def split_target(
    table: AssayTable,
    target: str | int,
    kind: Kind = "random",
    held_out: float = 0.25,
    seed: int = 0,
    duplicates: Literal["error", "drop"] = "error",
) -> Split:
    """
    Split the labelled rows of a target.

    - random: molecules, the same share of each class.
    - scaffold: whole Bemis-Murcko scaffolds, in random order, as near to that share of each class as they allow.
    - time: the latest rows are held out; no model sees a row of any assay from that time on.
    - column: what the table's column of train/test says.

    Parameters
    ----------
    table, target
        The assay that the model should be good at: its name, or its column.
    kind
        As above.
    held_out
        Share of the target's rows (not for column).
    seed
        Of random and scaffold.
    duplicates
        For time and column, where a molecule (by canonical SMILES) is in both parts: an error, or its training rows
        are dropped. Random and scaffold splits keep the rows of a molecule together.

    Raises
    ------
    InputError
        The table lacks what the split needs, a part would lack one of the two classes, or a molecule is in both parts.
    """
    check_choice(kind, KINDS, "split")
    check_choice(duplicates, DUPLICATES, "duplicates")
    if isinstance(held_out, bool) or not isinstance(held_out, int | float | np.number) or not 0 < held_out < 1:
        raise InputError(f"held_out should be a share between 0 and 1, found {held_out!r}")
    check_seed(seed, "seed")
    target = table.name(target)
    rows = table.labelled(target)
    labels = table.labels[rows, table.column(target)]
    _both_classes(target, labels, "its labelled rows")
    notes: tuple[str, ...] = ()
    if kind == "random":
        groups = table.molecules
        held = _draw(groups[rows], labels, held_out, np.random.default_rng([seed, 11]), whole_shares=False)
        allowed = ~np.isin(groups, held)
    elif kind == "scaffold":
        if table.scaffolds is None:
            raise InputError("a scaffold split needs SMILES (or scaffolds); this table has features alone")
        groups = table.scaffolds
        held = _draw(groups[rows], labels, held_out, np.random.default_rng([seed, 12]), whole_shares=True)
        if not held.size:
            sizes = np.bincount(np.unique(groups[rows], return_inverse=True)[1])
            raise InputError(
                f"a scaffold split of {target!r} should hold out {held_out:g} of its rows, found only larger "
                f"scaffolds ({len(sizes)}, the smallest of {sizes.min()} of {len(rows)} rows); raise held_out, or use "
                "another split"
            )
        allowed = ~np.isin(groups, held)
    else:
        later = _later(table, target, rows, held_out) if kind == "time" else _given(table)
        allowed, notes = _without_duplicates(table, rows, later, kind, duplicates)
        test = rows[later[rows]]
        train = rows[allowed[rows]]
        return _checked(table, Split(target, kind, seed, train, test, allowed, table.molecules, notes))
    train, test = rows[allowed[rows]], rows[~allowed[rows]]
    return _checked(table, Split(target, kind, seed, train, test, allowed, groups))


def check_seed(seed: object, what: str) -> int:
    """Return a seed; InputError unless it is a whole number of at least 0."""
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer) or seed < 0:
        raise InputError(f"{what} should be a whole number of at least 0, found {seed!r}")
    return int(seed)


def _draw(
    groups: Ints, labels: NDArray[np.int8], share: float, rng: np.random.Generator, whole_shares: bool
) -> NDArray[np.int64]:
    """Return the groups that are held out: about `share` of each class, whole groups only."""
    names, index = np.unique(groups, return_inverse=True)
    counts = np.stack([np.bincount(index, labels == c, len(names)) for c in (0, 1)], axis=1)
    if not whole_shares:  # groups are molecules: draw within each class, a molecule with a 1 counts as a 1
        active = counts[:, 1] > 0
        drawn = [rng.permutation(np.flatnonzero(part)) for part in (~active, active)]
        return names[np.concatenate([part[: _held_of_class(share, len(part))] for part in drawn])]
    wanted = np.maximum(share * counts.sum(0), FEWEST)
    held, so_far = [], np.zeros(2)
    order = rng.permutation(len(names))
    for group in order[np.argsort(counts[order, 1] == 0, kind="stable")]:  # those with a 1 first: they are the rarer
        if ((so_far + counts[group]) <= wanted + 1).all():
            held.append(group)
            so_far += counts[group]
    return names[held]


def _held_of_class(share: float, molecules: int) -> int:
    """Return how many molecules of a class to hold out: its share, but the fewest in both parts if that can be."""
    wanted = max(1, round(share * molecules))
    return min(max(wanted, FEWEST), molecules - FEWEST) if molecules >= 2 * FEWEST else wanted


def _later(table: AssayTable, target: str, rows: Ints, share: float) -> NDArray[np.bool_]:
    if table.times is None:
        raise InputError("a time split needs a column of dates or numbers; name it (table: time)")
    ordered = np.sort(table.times[rows])
    start = ordered[min(len(rows) - 1, int(np.ceil((1 - share) * len(rows))))]
    if start == ordered[0]:
        raise InputError(f"a time split of {target!r} should leave earlier rows, found {start:g} as the time of most")
    return table.times >= start


def _given(table: AssayTable) -> NDArray[np.bool_]:
    if table.parts is None:
        raise InputError("a split by column needs a column of train/test; name it (table: part)")
    return np.asarray(table.parts == "test")


def _without_duplicates(
    table: AssayTable, rows: Ints, later: NDArray[np.bool_], kind: str, duplicates: str
) -> tuple[NDArray[np.bool_], tuple[str, ...]]:
    """Return the rows that may be trained on, once molecules of the test rows are out of them."""
    held = np.unique(table.molecules[rows[later[rows]]])
    both = np.unique(table.molecules[rows[~later[rows]]])
    leaking = np.intersect1d(held, both)
    notes: tuple[str, ...] = ()
    if leaking.size:
        shown = ", ".join(table.name_of(int(m))[:60] for m in leaking[:3])
        more = " ..." if leaking.size > 3 else ""
        if duplicates == "error":
            raise InputError(
                f"no molecule should be in both parts of a split, found {leaking.size} in the {kind} split "
                f"(leakage, by canonical SMILES: {shown}{more}); remove them, or set duplicates: drop to leave "
                "their training rows out"
            )
        notes = (f"{leaking.size} molecules were in both parts of the {kind} split; they are not trained on.",)
    return ~later & ~np.isin(table.molecules, held), notes


_WAYS_OUT = {
    "random": f"it takes {2 * FEWEST} molecules of each class to hold some out: choose a target with more, or search "
    "on all of them without held-out molecules (in Python: AssaySearch(target).fit(table))",
    "scaffold": "choose a target with more, another held_out, or split: random",
    "time": "choose a target with more, another held_out, or split: random",
    "column": "put more of them into that part in the column, or use split: random",
}


def _both_classes(
    target: str,
    labels: NDArray[np.int8],
    where: str,
    way_out: str = "choose a target with more, or check its coding or threshold",
) -> None:
    counts = [int((labels == c).sum()) for c in (0, 1)]
    if min(counts) < FEWEST:
        raise InputError(
            f"target {target!r} should have at least {FEWEST} rows of each class in {where}, found {counts[0]} with 0 "
            f"and {counts[1]} with 1; {way_out}"
        )


def _checked(table: AssayTable, split: Split) -> Split:
    column = table.column(split.target)
    for rows, where in ((split.train, "its training part"), (split.test, "its held-out part")):
        _both_classes(split.target, table.labels[rows, column], where, _WAYS_OUT[split.kind])
    return replace(split, notes=(*split.notes, *_salts(table, split)))


def _salts(table: AssayTable, split: Split) -> tuple[str, ...]:
    """Return a note on held-out molecules of which a salt, or another form with atom maps, is trained on."""
    if table.parents is None:
        return ()
    trained = np.isin(table.parents[split.test], table.parents[split.allowed])
    if not (count := len(found := np.unique(table.molecules[split.test[trained]]))):
        return ()
    are = "1 held-out molecule is" if count == 1 else f"{count:,} held-out molecules are"
    return (
        f"{are} trained on in another form, which differs in salt or atom maps (such as "
        f"{table.name_of(int(found[0]))[:60]}); standardise: parent (of the table) makes them one molecule.",
    )


def trainable(table: AssayTable, assay: str, allowed: NDArray[np.bool_]) -> Ints:
    """Return the labelled rows of an assay that may be trained on."""
    return np.flatnonzero(allowed & (table.labels[:, table.column(assay)] != MISSING))
