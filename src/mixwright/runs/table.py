"""Tables of runs: mixtures that were trained, with the losses that were measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mixwright.checks import near, unique_names
from mixwright.errors import InputError
from mixwright.runs.columns import (
    PerSource,
    checked_sizes,
    floats,
    refuse_stale,
    run_names,
    sizes_of,
    tokens_of,
    weights_of,
)
from mixwright.runs.reading import Chosen, Columns, join, numbers, of_frame, pick, read_columns, texts
from mixwright.runs.trackers import recognised, settled

Array = NDArray[np.float64]
OFF = 0.01  # a row of weights may miss 1 by this much (published tables are rounded); then it is normalised, and noted
SAME = 1e-6  # weights that differ by less are one mixture


@dataclass(frozen=True, eq=False)
class RunTable:
    """
    Trainings on different mixtures, one row each, with the losses that were measured.

    Make one with `from_file`, `from_frame` or `from_array`, which check what they read.

    Attributes
    ----------
    sources
        k names.
    targets
        m names.
    weights
        [n, k], each row with sum 1; or [n, p, k] for trainings of p phases.
    losses
        [n, m], lower is better; nan where a run has no value for a target.
    runs
        n names.
    sizes
        [k] tokens (or rows) that exist of each source, nan where not known; None if none is.
    tokens
        [n] tokens that each run was trained on (or whose repetition it simulates), nan where not known; or None.
    scales
        n names of the scale (the model's size); () if the table has none.
    repeats
        n: the name of the run whose mixture this one repeats, or None; () if the table has none.
    phase_shares
        [p] the share of the tokens in each phase.
    notes
        What was done while reading, in sentences.
    """

    sources: tuple[str, ...]
    targets: tuple[str, ...]
    weights: Array
    losses: Array
    runs: tuple[str, ...]
    sizes: Array | None = None
    tokens: Array | None = None
    scales: tuple[str, ...] = ()
    repeats: tuple[str | None, ...] = ()
    phase_shares: Array = field(default_factory=lambda: np.ones(1))
    notes: tuple[str, ...] = ()

    def __repr__(self) -> str:
        """Return a line with the sizes."""
        scales = f", scales={sorted(set(self.scales))}" if self.scales else ""
        return f"RunTable({self.n} runs, {len(self.sources)} sources, {len(self.targets)} targets{scales})"

    # ---------------------------------------------------------------- making one

    @classmethod
    def from_file(
        cls,
        path: str | PathLike[str],
        weights: Chosen | Mapping[str, Chosen] = "w:",
        losses: Chosen = "loss:",
        sources: str | PathLike[str] | PerSource | None = None,
        *,
        metrics: str | PathLike[str] | None = None,
        key: str | None = None,
        tokens: str | float | None = None,
        scale: str = "scale",
        repeat_of: str = "repeat_of",
        step: str = "step",
        last_step: str | float | None = None,
        phase_shares: Sequence[float] | None = None,
    ) -> RunTable:
        """
        Return the table in a .csv or .parquet file with one row for each run.

        Parameters
        ----------
        path
            The file; with `metrics`, the file of weights.
        weights, losses
            The columns: a prefix, a pattern with one `*`, or a list of names. For trainings in phases {phase: columns}.
        sources
            Sizes: a file with the columns `source` and `available_tokens` (or tokens, size, rows), or {source: size}.
        metrics
            A second file with the losses, where weights and losses are kept apart.
        key
            The column that names the runs, in both files; default: run, run_id, name, id or index.
        tokens
            Tokens that each run was trained on: a column, or one number for all. Default: the column
            `epoch_budget_tokens` (a training that simulates the repetition of a longer one) or `tokens`.
        scale, repeat_of
            Columns, where the file has them: the model's size, and the run whose mixture this one repeats.
        step, last_step
            Columns of a tracker's export: the step that the losses are of, and the last one of the run (or a number).
            Where the file has the first, every run should be at its last step (default: the largest of its scale).
        phase_shares
            The share of the tokens in each phase, in the order of `weights`; default: equal.

        Raises
        ------
        InputError
            For a file, columns, weights or losses that do not fit; the message says which and what to do.

        Examples
        --------
        >>> from pathlib import Path
        >>> from tempfile import TemporaryDirectory
        >>> rows = "run,w:web,w:code,loss:qa\\na,1,0,2.5\\nb,0.5,0.5,2.1\\n"
        >>> with TemporaryDirectory() as folder:
        ...     path = Path(folder) / "runs.csv"
        ...     _ = path.write_text(rows, encoding="utf-8")
        ...     RunTable.from_file(path)
        RunTable(2 runs, 2 sources, 1 targets)
        """
        columns = read_columns(Path(path))
        where = f"{path}: "
        if metrics is not None:
            columns = join(columns, read_columns(Path(metrics)), key, (where, f"{metrics}: "))
        settings = {"key": key, "tokens": tokens, "scale": scale, "repeat_of": repeat_of, "step": step}
        return cls._of_columns(columns, weights, losses, sources, last_step, phase_shares, where, **settings)

    @classmethod
    def from_frame(
        cls,
        frame: Any,
        weights: Chosen | Mapping[str, Chosen] = "w:",
        losses: Chosen = "loss:",
        sources: str | PathLike[str] | PerSource | None = None,
        *,
        key: str | None = None,
        tokens: str | float | None = None,
        scale: str = "scale",
        repeat_of: str = "repeat_of",
        step: str = "step",
        last_step: str | float | None = None,
        phase_shares: Sequence[float] | None = None,
    ) -> RunTable:
        """Return the table in a data frame (pandas, polars) or {column: values}; arguments as in `from_file`."""
        settings = {"key": key, "tokens": tokens, "scale": scale, "repeat_of": repeat_of, "step": step}
        return cls._of_columns(
            recognised(of_frame(frame), ""), weights, losses, sources, last_step, phase_shares, "", **settings
        )

    @classmethod
    def from_array(
        cls,
        weights: ArrayLike,
        losses: ArrayLike,
        sources: Sequence[str] | None = None,
        targets: Sequence[str] | None = None,
        *,
        sizes: PerSource | None = None,
        tokens: ArrayLike | None = None,
        scales: Sequence[str] | None = None,
        repeats: Sequence[str | None] | None = None,
        runs: Sequence[str] | None = None,
        phase_shares: Sequence[float] | None = None,
    ) -> RunTable:
        """
        Return a table of weights [n, k] (or [n, p, k]) and losses [n, m] (or [n] for one target).

        Parameters
        ----------
        weights, losses
            Rows are runs; a loss that was not measured is nan.
        sources, targets
            Names; default source_0, ... and target_0, ....
        sizes
            [k] or {source: tokens that exist}.
        tokens
            [n] or one number: what each run was trained on.
        scales, repeats, runs
            n names, as in the attributes.
        phase_shares
            [p]; default: equal.

        Raises
        ------
        InputError
            As `from_file`.
        """
        w, y = floats(weights, "weights"), floats(losses, "losses")
        y = y[:, None] if y.ndim == 1 else y
        if w.ndim not in (2, 3) or y.ndim != 2 or len(w) != len(y) or not w.size or not y.size:
            raise InputError(
                f"weights should be [n, k] or [n, p, k] and losses [n, m] of the same n runs; found {w.shape} and "
                f"{y.shape}"
            )
        k, m, n = w.shape[-1], y.shape[1], len(w)
        names = unique_names(sources) if sources is not None else tuple(f"source_{i}" for i in range(k))
        of = unique_names(targets, "targets") if targets is not None else tuple(f"target_{i}" for i in range(m))
        if len(names) != k or len(of) != m:
            raise InputError(f"there should be {k} sources and {m} targets; found {len(names)} and {len(of)} names")
        found = cls(
            names,
            of,
            w,
            y,
            unique_names(runs, "runs") if runs is not None else tuple(f"run_{i}" for i in range(n)),
            None if sizes is None else checked_sizes(sizes, names),
            None if tokens is None else np.broadcast_to(floats(tokens, "tokens"), (n,)).copy(),
            tuple(scales or ()),
            tuple(repeats or ()),
            _shares(phase_shares, w.shape[1] if w.ndim == 3 else 1),
        )
        return found._checked("")

    @classmethod
    def _of_columns(
        cls,
        columns: Columns,
        weights: Chosen | Mapping[str, Chosen],
        losses: Chosen,
        sources: Any,
        last_step: str | float | None,
        phase_shares: Sequence[float] | None,
        where: str,
        **named: Any,
    ) -> RunTable:
        """Return the checked table in columns."""
        names, w = weights_of(columns, weights, where)
        of = pick(columns, losses, "losses", where)
        y = np.stack([numbers(columns[column], column, where) for column in of.values()], axis=1)
        columns, unsure = settled(columns, list(of.values()), named["step"], where)
        runs = run_names(columns, named["key"], where)
        scales = texts(columns, named["scale"])
        refuse_stale(columns, named["step"], last_step, runs, scales, where)
        sizes = sizes_of(sources, names)
        tokens, note = tokens_of(columns, named["tokens"], len(runs), where)
        repeats = texts(columns, named["repeat_of"])
        table = cls(
            names,
            tuple(of),
            w,
            y,
            runs,
            sizes,
            tokens,
            tuple(name or "" for name in scales) if scales else (),
            tuple(repeats) if repeats else (),
            _shares(phase_shares, w.shape[1] if w.ndim == 3 else 1),
            tuple(filter(None, (note, unsure))),
        )
        return table._checked(where)

    def _checked(self, where: str) -> RunTable:
        """Return the table with its weights normalised, after checking what the columns say together."""
        self._check_numbers(where)
        off = np.abs(self.weights.sum(-1) - 1).reshape(self.n, -1).max(1)
        if off.max() > OFF:
            i = int(off.argmax())
            raise InputError(
                f"{where}the weights of each run should sum to 1, found {_sum_of(self.weights[i]):.6g} in run "
                f"{self.runs[i]!r}; correct it, or check that every source has its column"
            )
        notes = self.notes
        if off.max() > SAME:
            notes += (
                f"the weights of {int((off > SAME).sum())} of {self.n} runs miss 1 by up to {off.max():.2g} and were "
                "normalised",
            )
        notes = tuple(dict.fromkeys(filter(None, (*notes, self._absent))))
        table = replace(self, weights=self.weights / self.weights.sum(-1, keepdims=True), notes=notes)
        table._check_repeats(where)
        return table

    def _check_numbers(self, where: str) -> None:
        for name, count in (("tokens", self.tokens), ("scales", self.scales), ("repeats", self.repeats)):
            if count is not None and len(count) not in (0, self.n):
                raise InputError(f"{where}{name} should have one value per run ({self.n}); found {len(count)}")
        if len(self.runs) != self.n:
            raise InputError(f"{where}runs should be {self.n} names; found {len(self.runs)}")
        w = self.weights.reshape(self.n, -1)
        for i, j in np.argwhere(~np.isfinite(w) | (w < 0))[:1]:
            raise InputError(
                f"{where}weights should be numbers of at least 0, found {w[i, j]:g} for source "
                f"{self.sources[j % len(self.sources)]!r} in run {self.runs[i]!r}; correct it"
            )
        for i, j in np.argwhere(np.isinf(self.losses))[:1]:
            raise InputError(
                f"{where}losses should be finite or empty, found {self.losses[i, j]:g} for target {self.targets[j]!r} "
                f"in run {self.runs[i]!r}; a run that diverged should be left out"
            )
        if self.tokens is not None and (self.tokens <= 0).any():
            raise InputError(f"{where}tokens should be above 0, found {np.nanmin(self.tokens):g}; correct it")

    @property
    def _absent(self) -> str:
        """Return a note on runs that repeat one that is not in the table, as in a part of a plan; "" if none does."""
        there = {None, "", *self.runs}
        found = [pair for pair in zip(self.runs, self.repeats, strict=False) if pair[1] not in there]
        if not found:
            return ""
        which = f"{len(found)} of {self.n} runs repeat one that is not in the table, such as {found[0][0]!r} of"
        return f"{which} {found[0][1]!r}; runs with the same weights count as repeats of each other"

    def _check_repeats(self, where: str) -> None:
        """Refuse a repeat whose weights are not those of the run that it repeats."""
        index = {name: i for i, name in enumerate(self.runs)}
        for i, name in enumerate(self.repeats):
            if name is None or name not in index:  # of a run that is not in the table: repeats of each other
                continue
            off = np.abs(self.weights[i] - self.weights[index[name]]).max()
            if off > SAME:
                raise InputError(
                    f"{where}run {self.runs[i]!r} should have the weights of run {name!r}, which it repeats; found a "
                    f"difference of {off:.3g}; correct one of them"
                )

    # ---------------------------------------------------------------- what is in it

    @property
    def n(self) -> int:
        """Return the number of runs."""
        return len(self.weights)

    @property
    def phases(self) -> int:
        """Return the number of phases."""
        return self.weights.shape[1] if self.weights.ndim == 3 else 1

    @property
    def mean_weights(self) -> Array:
        """Return the weights [n, k] over the whole of each training."""
        return np.einsum("npk,p->nk", self.weights, self.phase_shares) if self.weights.ndim == 3 else self.weights

    @cached_property
    def mixtures(self) -> NDArray[np.intp]:
        """Return [n], which mixture each run is of: runs with the same weights are of one, at whatever scale."""
        rounded = np.round(self.weights.reshape(self.n, -1) / SAME)
        _, first, inverse = np.unique(rounded, axis=0, return_index=True, return_inverse=True)
        order = np.argsort(np.argsort(first))  # numbered as they come
        return np.asarray(order[inverse.ravel()])

    @property
    def exposures(self) -> Array | None:
        """Return the epochs [n, k] that each run made of each source: its tokens of the source / the source's size."""
        if self.sizes is None or self.tokens is None:
            return None
        return self.mean_weights * self.tokens[:, None] / self.sizes

    def target(self, name: str) -> Array:
        """Return the losses [n] of a target."""
        if name not in self.targets:
            raise InputError(f"target should name one of the table's{near(name, self.targets, 'targets')}")
        return np.asarray(self.losses[:, self.targets.index(name)])

    def take(self, rows: ArrayLike) -> RunTable:
        """Return some of the runs: positions, or a mask [n]."""
        at = np.asarray(rows)
        at = np.flatnonzero(at) if at.dtype == bool else at.astype(np.intp)
        pick_names = lambda names: tuple(names[i] for i in at) if names else ()  # noqa: E731
        return replace(
            self,
            weights=self.weights[at],
            losses=self.losses[at],
            runs=pick_names(self.runs),
            tokens=None if self.tokens is None else self.tokens[at],
            scales=pick_names(self.scales),
            repeats=pick_names(self.repeats),
        )

    def at_scale(self, scale: str) -> RunTable:
        """Return the runs of one scale."""
        if scale not in self.scales:
            raise InputError(f"scale should be one of the table's{near(scale, sorted(set(self.scales)), 'scales')}")
        return self.take([name == scale for name in self.scales])

    def joined(self, other: RunTable) -> RunTable:
        """Return the runs of both tables; sources and targets are matched by name."""
        for own, theirs, what in ((self.sources, other.sources, "sources"), (self.targets, other.targets, "targets")):
            if set(own) != set(theirs):
                odd = sorted(set(own) ^ set(theirs))[0]
                raise InputError(
                    f"both tables should have the same {what}, found {odd!r} in one of them alone; leave it out, or "
                    "add it to the other"
                )
        sources = [other.sources.index(name) for name in self.sources]
        targets = [other.targets.index(name) for name in self.targets]
        if self.phases != other.phases or not np.allclose(self.phase_shares, other.phase_shares):
            raise InputError("both tables should have the same phases; found different ones")
        both = replace(
            self,
            weights=np.concatenate([self.weights, other.weights[..., sources]]),
            losses=np.concatenate([self.losses, other.losses[:, targets]]),
            runs=unique_names([*self.runs, *other.runs], "runs"),
            sizes=self.sizes if self.sizes is not None else None if other.sizes is None else other.sizes[sources],
            tokens=_both(self.tokens, other.tokens, self.n, other.n),
            scales=_both_names(self.scales, other.scales, self.n, other.n, ""),
            repeats=_both_names(self.repeats, other.repeats, self.n, other.n, None),
            notes=tuple(n for n in (*self.notes, *other.notes) if n not in (self._absent, other._absent)),
        )
        return both._checked("")


def _both(own: Array | None, other: Array | None, n: int, m: int) -> Array | None:
    if own is None and other is None:
        return None
    empty = np.full(n, np.nan), np.full(m, np.nan)
    return np.concatenate([empty[0] if own is None else own, empty[1] if other is None else other])


def _both_names(own: Sequence[Any], other: Sequence[Any], n: int, m: int, none: Any) -> tuple[Any, ...]:
    return (tuple(own) or (none,) * n) + (tuple(other) or (none,) * m) if own or other else ()


def _sum_of(row: Array) -> float:
    sums = np.atleast_1d(row.sum(-1))
    return float(sums[np.abs(sums - 1).argmax()])


def _shares(shares: Sequence[float] | None, phases: int) -> Array:
    out = np.full(phases, 1 / phases) if shares is None else floats(shares, "phase_shares")
    if out.shape != (phases,) or not (out > 0).all() or abs(out.sum() - 1) > SAME:
        raise InputError(f"phase_shares should be {phases} positive numbers with sum 1; found {shares!r}")
    return out
