"""One search for one split: which sources, which folds, what each proxy says, what each arm predicts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mixwright.assays import classifiers
from mixwright.assays.data import AssayTable, Ints, check_choice, check_flag, listed, missing_name
from mixwright.assays.splits import Split, check_seed, trainable
from mixwright.assays.weights import MixtureRows, mixture_rows
from mixwright.errors import InputError

Array = NDArray[np.float64]
CLIP = 1e-6  # probabilities of proxies stay this far from 0 and 1
_NO_FOLD = -1
CALIBRATIONS = ("none", "intercept")
UNUSABLE = ("error", "drop")


@dataclass(frozen=True, eq=False)
class AssayPlan:
    """
    What a search for one target and one split works with. Make one with `make_plan`.

    Attributes
    ----------
    table, split
        The data, and which rows are searched, trained on, held out.
    sources
        [k] names.
    fold
        int64 [n]: the fold of each row whose group is in the target's training part, -1 elsewhere; None: no folds.
    model
        The classifier of proxies and of final models.
    seed
        Of the models.
    left_out
        {source: why it cannot be used}, of those that were dropped.
    """

    table: AssayTable
    split: Split
    sources: tuple[str, ...]
    fold: Ints | None
    model: Any
    seed: int
    left_out: Mapping[str, str] = field(default_factory=dict)

    @property
    def notes(self) -> tuple[str, ...]:
        """Return sentences for the result: which sources were left out, and why."""
        if not self.left_out:
            return ()
        by_reason: dict[str, list[str]] = {}
        for name, reason in self.left_out.items():
            by_reason.setdefault(reason.partition(" (")[0].removeprefix("has "), []).append(name)
        parts = [f"{listed(names)} ({reason})" for reason, names in by_reason.items()]
        were = "source was" if len(self.left_out) == 1 else "sources were"
        return (f"{len(self.left_out)} {were} left out: {'; '.join(parts)}.",)

    @property
    def labels(self) -> NDArray[np.int8]:
        """Return the labels of the target's training rows, [n_train]."""
        return self.table.labels[self.split.train, self.table.column(self.split.target)]

    @property
    def documents(self) -> Ints:
        """Return the group (molecule or scaffold) of the target's training rows, [n_train]."""
        return self.split.groups[self.split.train]

    @property
    def sizes(self) -> Ints:
        """Return the rows of each source that may be trained on, [k]."""
        return np.array([len(trainable(self.table, source, self.split.allowed)) for source in self.sources])

    def probabilities(self, source: str, proxy: Any = None) -> Array:
        """
        Return the probability of a 1 under a source's proxy for each training row of the target, [n_train].

        With folds a row is scored by a model that has not seen its molecule, in whatever assay: molecules are shared
        between assays, and a proxy that has learnt a molecule's label in its own assay says how well two label columns
        agree there, not what it will predict for a new molecule.

        Parameters
        ----------
        source
            The name.
        proxy
            A fitted classifier to use as it is; by default one is trained per fold.

        Raises
        ------
        InputError
            The given proxy does not fit the table's features.
        """
        rows, features = self.split.train, self.table.features
        if proxy is not None:
            return classifiers.positive(proxy, features[rows], f"the proxy of {source!r}")
        own = trainable(self.table, source, self.split.allowed)
        labels = self.table.labels[own, self.table.column(source)]
        if self.fold is None:
            fitted = classifiers.fit(self.model, features[own], labels, None, self.seed)
            return classifiers.positive(fitted, features[rows])
        out, whole = np.empty(len(rows)), None
        for fold in range(int(self.fold.max()) + 1):
            kept, inside = self.fold[own] != fold, self.fold[rows] == fold
            if kept.all():  # the source has no molecule of this fold: one model serves all such folds
                if whole is None:
                    whole = classifiers.fit(self.model, features[own], labels, None, self.seed)
                fitted = whole
            else:
                fitted = classifiers.fit(self.model, features[own[kept]], labels[kept], None, self.seed)
            out[inside] = classifiers.positive(fitted, features[rows[inside]])
        return out

    @property
    def own_rows(self) -> bool:
        """Whether the target's own training rows are a source."""
        return self.split.target in self.sources

    def without_own_rows(self) -> AssayPlan:
        """Return this plan without the target among the sources."""
        return replace(self, sources=tuple(name for name in self.sources if name != self.split.target))

    def rows_of(self, weights: ArrayLike, allowed: NDArray[np.bool_] | None = None) -> MixtureRows:
        """Return the rows of a mixture with their weights; `allowed` [n]: by default, rows not held out."""
        return mixture_rows(self.table, self.sources, weights, self.split.allowed if allowed is None else allowed)

    def train(self, rows: MixtureRows) -> Any:
        """Return the final model of a mixture's rows."""
        if classifiers.merges(self.model):
            rows = rows.merged()
        return classifiers.fit(self.model, self.table.features[rows.row], rows.label, rows.weight, self.seed)

    def log_likelihood(
        self, probabilities: Array, calibration: Literal["none", "intercept"] = "none", folds: int = 10
    ) -> Array:
        """
        Return the table of the search, [n_train, k]: log p_k(y_i | x_i) in nats, from probabilities [n_train, k].

        Parameters
        ----------
        probabilities
            Of a 1.
        calibration
            "intercept" moves each proxy's logit by the constant that suits the target best, fitted without the fold of
            the row: otherwise a source whose base rate is like the target's is favoured for that alone.
        folds
            Of the intercepts.
        """
        check_choice(calibration, CALIBRATIONS, "calibration")
        p = np.clip(probabilities, CLIP, 1 - CLIP)
        if calibration == "intercept":
            p = np.clip(calibrate(p, self.labels, self.documents, folds, self.seed), CLIP, 1 - CLIP)
        return np.where(self.labels[:, None] == 1, np.log(p), np.log1p(-p))


def make_plan(
    table: AssayTable,
    split: Split,
    sources: Sequence[str | int] | None = None,
    *,
    model: Any = None,
    folds: int = 5,
    own_rows: bool = True,
    unusable: Literal["error", "drop"] = "error",
    seed: int = 0,
    proxies: Mapping[str, Any] | None = None,
) -> AssayPlan:
    """
    Check sources against a split, before any work.

    Parameters
    ----------
    table, split
        The data.
    sources
        Names, or columns, of the other assays; by default all but the target.
    model
        A Booster or a scikit-learn classifier.
    folds
        Of the proxies over the target's molecules; 0: every proxy is trained once and has seen them.
    own_rows
        Whether the target's own training rows are one more source (named like the target, the last one).
    unusable
        What to do with a source that has no row, or one class, in all or without a fold: an error, or drop it. A source
        need not share molecules with the target: its proxy predicts them from their features.
    seed
        Of folds and models.
    proxies
        Fitted classifiers that are used as they are: their sources need no folds.

    Raises
    ------
    InputError
        Names the source and what is wrong with it.
    """
    check_flag(own_rows, "own_rows")
    check_choice(unusable, UNUSABLE, "unusable")
    check_seed(seed, "the seed (random_state)")
    model = classifiers.Booster() if model is None else model
    classifiers.check_model(model)
    target = split.target
    chosen = [name for name in table.assays if name != target] if sources is None else _chosen(table, sources)
    if len(set(chosen)) < len(chosen):
        raise InputError(f"sources should be named once, found {listed([n for n in chosen if chosen.count(n) > 1])}")
    if target in chosen:
        raise InputError(
            f"the target {target!r} should not be among the sources; remove it: own_rows says whether its own "
            "training rows are one of them"
        )
    if not chosen:
        raise InputError("there should be at least one source besides the target, found none; name one")
    if own_rows:
        chosen.append(target)
    if isinstance(folds, bool) or not isinstance(folds, int | np.integer) or folds < 0 or folds == 1:
        raise InputError(f"folds should be 0 or a whole number >= 2, found {folds!r}")
    if own_rows and not folds:
        raise InputError(
            "own_rows needs folds >= 2, found 0: the target's proxy may not score rows that it has seen; raise folds, "
            "or set own_rows: false"
        )
    for name in proxies or {}:
        if name not in chosen:
            raise InputError(f"proxies should be of sources: {missing_name(name, chosen, 'a source')}")
    labels = table.labels[split.train, table.column(target)]
    fold = _folds(split, labels, folds, seed) if folds else None
    faults = {name: fault for name in chosen if (fault := _fault(table, split, name, fold, name in (proxies or {})))}
    if faults and unusable == "error":
        first = ", ".join(f"{name!r} {fault}" for name, fault in list(faults.items())[:3])
        more = f" and {len(faults) - 3} more" if len(faults) > 3 else ""
        raise InputError(
            f"each source should have both classes besides held-out molecules, found {first}{more}; leave them out "
            f"({'own_rows: false' if list(faults) == [target] else 'sources'}), or set unusable: drop"
        )
    chosen = [name for name in chosen if name not in faults]
    if not set(chosen) - {target}:
        raise InputError(
            "no source is left that can be used besides the target; give sources with labels of both classes"
        )
    return AssayPlan(table, split, tuple(chosen), fold, model, seed, faults)


def with_same_sources(
    plan: Callable[[Split, Sequence[str] | None], AssayPlan], splits: Sequence[Split], sources: Sequence[str] | None
) -> list[AssayPlan]:
    """
    Return a plan for each split; what one split leaves out is left out of all, and every plan says why.

    Parameters
    ----------
    plan
        Makes the plan of a split from sources (None: all other assays); sources never hold the target.
    splits
        One for each seed.
    sources
        Names.

    Raises
    ------
    InputError
        No source can be used in every split.
    """
    plans = [plan(split, sources) for split in splits]
    left_out = {name: why for made in reversed(plans) for name, why in made.left_out.items()}
    common = [name for name in plans[0].sources if all(name in made.sources for made in plans)]
    if any(len(made.sources) > len(common) for made in plans):
        named = [name for name in common if name != splits[0].target]
        if not named:
            raise InputError("no source can be used for every seed; give more, or another split")
        plans = [plan(split, named) for split in splits]
        if not all(made.own_rows for made in plans):  # unusable in one split: the target is no source in any
            plans = [made.without_own_rows() for made in plans]
    return [replace(made, left_out=left_out) for made in plans]


def _chosen(table: AssayTable, sources: Any) -> list[str]:
    """Return the names of sources, given by names or columns; InputError names one that is not there."""
    if isinstance(sources, str) or not isinstance(sources, Sequence | np.ndarray):
        raise InputError(f"sources should be a list of assays, found {sources!r}; write [{sources!r}] for one")
    return [table.name(source) for source in sources]


def _folds(split: Split, labels: NDArray[np.int8], folds: int, seed: int) -> Ints:
    """
    Return the fold of each row of the table: by the groups of the target's training rows, -1 elsewhere.

    `labels`, one per training row, decide: groups with a 1 are spread over the folds, however few they are.
    """
    held = np.unique(split.groups[split.train])
    if len(held) < folds:
        what = "scaffolds" if split.kind == "scaffold" else "molecules"
        raise InputError(f"folds should be at most the target's {len(held)} {what} to search on, found {folds}")
    active = np.isin(held, split.groups[split.train[labels == 1]])
    order = np.random.default_rng([seed, 13]).permutation(len(held))
    order = order[np.argsort(~active[order], kind="stable")]  # those with a 1 first: each fold has its share of them
    number = np.empty(len(held), np.int64)
    number[order] = np.arange(len(held)) % folds
    position = np.searchsorted(held, split.groups)
    inside = np.isin(split.groups, held)
    return np.where(inside, number[np.minimum(position, len(held) - 1)], _NO_FOLD)


def _fault(table: AssayTable, split: Split, source: str, fold: Ints | None, given: bool) -> str:
    """Say what makes a source unusable, or nothing."""
    own = trainable(table, source, split.allowed)
    labels = table.labels[own, table.column(source)]
    if not len(own):
        return "has no labelled row besides held-out molecules"
    if len(np.unique(labels)) < 2:
        return f"has one class ({labels[0]} in all of its {len(own)} rows)"
    if fold is not None and not given:
        for left in range(int(fold.max()) + 1):
            if len(np.unique(labels[fold[own] != left])) < 2:
                return f"has one class once a fold is left out ({int(labels.sum())} of its {len(own)} rows are 1)"
    return ""


def calibrate(probabilities: Array, labels: NDArray[Any], groups: Ints, folds: int, seed: int) -> Array:
    """
    Return probabilities [n, k] whose logits are moved by one constant per column, fitted without the fold of the row.

    The constant is the maximum-likelihood one (Newton's method); groups stay in one fold.
    """
    logit = np.log(probabilities) - np.log1p(-probabilities)
    names, index = np.unique(groups, return_inverse=True)
    folds = min(folds, len(names))
    fold = (np.random.default_rng([seed, 14]).permutation(len(names)) % max(folds, 1))[index]
    out = np.empty_like(logit)
    for left in range(folds):
        inside = fold == left
        base = ~inside if (~inside).any() else inside
        out[inside] = logit[inside] + _intercepts(logit[base], labels[base])
    return 1 / (1 + np.exp(-out))


def _intercepts(logit: Array, labels: NDArray[Any]) -> Array:
    """Return the constant [k] that makes each column's mean probability that of the labels."""
    wanted = (labels.sum() + 0.5) / (len(labels) + 1)  # half a row of each class: finite also with one class
    low, high = np.full(logit.shape[1], -40.0), np.full(logit.shape[1], 40.0)
    shift = np.zeros(logit.shape[1])
    for _ in range(60):  # Newton's step where it stays in the bracket, else bisection
        p = 1 / (1 + np.exp(-(logit + shift)))
        miss = p.mean(0) - wanted
        low, high = np.where(miss < 0, shift, low), np.where(miss > 0, shift, high)
        step = shift - miss / np.maximum((p * (1 - p)).mean(0), 1e-12)
        shift = np.where((step > low) & (step < high), step, (low + high) / 2)
        if np.abs(miss).max() < 1e-12:
            break
    return shift
