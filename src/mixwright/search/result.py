"""What a search found: weights with their certificate, their uncertainty and a verdict."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from os import PathLike
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mixwright.constraints.polytope import Binding, Polytope
from mixwright.errors import InputError
from mixwright.search.resampling import resample
from mixwright.search.resampling.sampled import FEWEST_DOCUMENTS, Sample, SearchRows
from mixwright.search.table.table import LikelihoodTable
from mixwright.search.table.target_weights import losses_by_target
from mixwright.simplex import normalise

if TYPE_CHECKING:
    from mixwright.mixture_file import MixtureFile
    from mixwright.search.mixmin import MixMin

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class MixMinResult:
    """
    What a search found, with its evidence.

    Attributes
    ----------
    weights
        [k] on the simplex, in source order; 0 for a source that is not allowed.
    loss
        f(w), nats per row of the table, without the penalty.
    objective
        F(w) = loss + penalty, nats per row.
    gap
        The certificate: objective - its minimum over the allowed weights <= gap, nats per row.
    shrinkage
        The tau used.
    space
        The allowed weights, a Polytope.
    prior, natural
        [k]; `natural` is None where no sizes were given.
    documents_are
        What is kept together in folds and bootstrap draws, for sentences: documents, molecules, scaffolds.
    """

    weights: Array
    loss: float
    objective: float
    gap: float
    shrinkage: float
    prior: Array
    natural: Array | None
    table: LikelihoodTable
    settings: MixMin
    seed: int
    space: Polytope
    _gain: Array
    _search: SearchRows
    _allowed: NDArray[np.intp]
    _folds: resample.FoldFits | None
    documents_are: str = "documents"

    def __repr__(self) -> str:
        """Return a line with the figures."""
        return (
            f"MixMinResult(k={self.weights.size}, loss={self.loss:.6g}, gap={self.gap:.2g}, "
            f"shrinkage={self.shrinkage:g}, weights={np.array2string(self.weights, precision=4, threshold=8)})"
        )

    @cached_property
    def gain(self) -> Array:
        """
        Return [k], minus the gradient of the objective at the weights: nats per row and unit of weight.

        Of a source that is far from being used it may be an upper bound; of one that is not allowed it is that of the
        loss alone.
        """
        out, excluded = self._gain.copy(), np.setdiff1d(np.arange(self.weights.size), self._allowed)
        if excluded.size:
            rows, used = self._search.whole, np.flatnonzero(self.weights)
            for part in rows.parts():
                logs = self.table.by_source(part.start, part.stop) - rows.maximum[part]
                y = self.weights[used] @ np.exp(logs[used])
                ratio = np.divide(rows.c[part], y, out=np.zeros_like(y), where=rows.c[part] > 0)
                out[excluded] += np.exp(np.minimum(logs[excluded], 600.0)) @ ratio
        return out

    @cached_property
    def binding(self) -> tuple[Binding, ...]:
        """Return the constraints that hold with equality, with what relaxing each would save; dearest first."""
        return self.space.binding(self.weights, self.gain)

    @cached_property
    def target_losses(self) -> dict[str, float]:
        """Return {target: f_t(w)}, nats per row of that target by the table's own row weights, without the penalty."""
        return losses_by_target(self.table, self.weights)

    @property
    def target_weights(self) -> dict[str, float]:
        """Return {target: its weight in the loss}, with sum 1."""
        share = np.bincount(self.table.targets, self._search.row_weights, minlength=len(self.table.target_names))
        return dict(zip(self.table.target_names, (share / share.sum()).tolist(), strict=True))

    @property
    def rows(self) -> int:
        """Return the number of rows of evidence."""
        return self.table.n

    @property
    def documents(self) -> int:
        """Return the number of documents with a positive weight."""
        return self._search.documents

    @cached_property
    def sample(self) -> Sample | None:
        """
        Return the rows that intervals and improvement (with `max_rows`, the weights too) come from; None for all.

        It has `rows`, `documents`, and the mean `loss` of the weights there (nats per row) with its standard `error`.
        """
        return self._search.sample(self.weights[self._allowed])

    @property
    def notes(self) -> tuple[str, ...]:
        """Return sentences that belong beside the result."""
        return self._search.notes()

    @property
    def _setting(self) -> resample.Setting:
        return self._search.setting

    @cached_property
    def _bootstrap(self) -> Array:
        return resample.bootstrap(self._setting, self.shrinkage, self.weights[self._allowed], self.seed)

    def interval(self, level: float = 0.9) -> Array:
        """
        Return [k, 2], the interval of each weight: percentiles over 200 bootstrap draws of whole documents.

        The shrinkage is that of the result in every draw. Intervals are of each weight alone, not joint.

        Raises
        ------
        InputError
            With fewer than 3 documents.
        """
        tail = (1 - checked_level(level)) / 2
        enough_documents(self._setting, "an interval", "give more target rows, or their documents")
        out = np.zeros((self.weights.size, 2))
        out[self._allowed] = np.quantile(self._bootstrap, [tail, 1 - tail], axis=0).T
        return np.clip(out, 0.0, 1.0)

    def improvement(
        self, over: Literal["uniform", "natural"] | ArrayLike = "uniform", level: float = 0.9
    ) -> tuple[float, float, float]:
        """
        Return (estimate, low, high) of f(over) - f(weights) in the population of target rows, nats per row.

        Out of fold: each fold of documents is scored by weights fitted without it, the shrinkage chosen without it too.
        The interval is that of the mean of paired differences, by document; its error is the larger one of this
        estimate and of that with the result's shrinkage in every fold. In quadrature to it: half of their difference,
        since a choice that is a toss-up differs between folds, and the spread of one fit's loss about the mean of such
        fits, sqrt(p / 2) / m for p free weights and m effective rows; p is m times the optimism (in-sample minus
        out-of-fold; for the p weights of a likelihood both are chi-square terms). A lower end of 0 or less means: no
        better.

        Raises
        ------
        InputError
            With fewer than 3 documents, or for "natural" where no sizes were given to `fit`.
        """
        level = checked_level(level)
        reference = self._reference(over)
        losses, rows, document = self._reference_losses(reference), self._setting.rows, self._setting.document
        counted = rows.c > 0
        nested, given = (
            resample.paired_error((losses - own)[counted], rows.c[counted], document[counted])
            for own in self._out_of_fold
        )
        mean, d = nested[0], nested[2]
        in_sample = float(rows.c[counted] @ (losses - self._reference_losses(self.weights))[counted])
        effective = resample.effective_rows(
            (losses - self._out_of_fold[0])[counted], rows.c[counted], document[counted]
        )
        own = np.sqrt(max(in_sample - given[0], 0.0) / (2 * effective))
        error = float(np.linalg.norm([max(nested[1], given[1]), (mean - given[0]) / 2, own]))
        half = resample.student_quantile((1 + level) / 2, d - 1) * error
        return mean, mean - half, mean + half

    def _reference_losses(self, reference: Array) -> Array:
        """Return the loss of each row [n], nats, relative to its offset, under some weights."""
        rows, used = self._setting.rows, np.flatnonzero(reference)
        out, logs = np.empty(rows.n), np.log(reference[used])
        table = self._search.resampled[0]
        for part in rows.parts():
            block = table.block(part.start, part.stop)[:, used] + logs
            top = block.max(1)
            possible = np.isfinite(top)
            top[~possible] = 0.0
            with np.errstate(divide="ignore"):
                out[part] = rows.maximum[part] - top - np.log(np.exp(block - top[:, None]).sum(1))
        if not np.isfinite(out[rows.c > 0]).all():
            row = int(np.flatnonzero(~np.isfinite(out) & (rows.c > 0))[0])
            raise InputError(
                f"the weights to compare with should make every row possible; row {row} is -inf under their sources"
            )
        return out

    @cached_property
    def _out_of_fold(self) -> tuple[Array, Array]:
        """Return the losses [n], [n] of rows under weights fitted without their fold: shrinkage nested, and given."""
        setting = self._setting
        enough_documents(setting, "the improvement out of fold", "give more target rows, or their documents")
        singles = self._folds
        if singles is None:
            fold = resample.assign_folds(setting, self.seed)[setting.document]
            singles = resample.fit_folds(setting, fold, (self.shrinkage,), pairs=False)
        nested, given = np.empty(setting.rows.n), np.empty(setting.rows.n)
        chosen = self._nested_choice(singles)
        for position, (left,) in enumerate(singles.left_out):
            inside, losses = singles.losses([position], left)
            nested[inside] = losses[chosen[left], 0]
            given[inside] = losses[singles.grid.index(self.shrinkage), 0]
        return nested, given

    def _nested_choice(self, singles: resample.FoldFits) -> list[int]:
        """Return, for each fold, the position on the grid that cross-validation without that fold chooses."""
        folds = len(singles.left_out)
        if len(singles.grid) == 1:
            return [0] * folds
        setting = self._setting
        pairs = resample.fit_folds(setting, singles.fold, singles.grid, pairs=True)
        chosen = []
        for outer in range(folds):
            losses, keep = np.zeros((len(singles.grid), setting.rows.n)), singles.fold != outer
            for inner in range(folds):
                if inner != outer:
                    fit = pairs.left_out.index((min(inner, outer), max(inner, outer)))
                    inside, loss = pairs.losses([fit], inner)
                    losses[:, inside] = loss[:, 0]
            chosen.append(resample.choose(losses[:, keep], setting.rows.c[keep], setting.document[keep]))
        return chosen

    def _reference(self, over: Any) -> Array:
        if isinstance(over, str):
            if over == "uniform":
                return np.full(self.weights.size, 1 / self.weights.size)
            if over != "natural":
                raise InputError(f"over should be 'uniform', 'natural' or weights; found {over!r}")
            if self.natural is None:
                raise InputError("over='natural' needs the sizes of the sources; call fit(..., sizes=...)")
            return self.natural
        weights = np.asarray(over, np.float64)
        if weights.ndim == 1 and abs(float(weights.sum()) - 1) > 1e-6:
            raise InputError(f"over should be weights with sum 1; found sum {weights.sum():g}")
        return per_source(weights, self.weights.size, "over")

    @cached_property
    def verdict(self) -> str:
        """Return one sentence: whether the evidence says that the mixture is better than uniform (90 % interval)."""
        return self.verdict_at(0.9)

    def verdict_at(self, level: float) -> str:
        """Return `verdict` with an interval of another level."""
        sentence = self._verdict(checked_level(level))
        if self.gap <= self.settings.tolerance:
            return sentence
        if self._search.partial:
            return (
                f"{sentence}; from {self._setting.rows.n:,} of {self.rows:,} rows: the optimum of all is at most "
                + (f"{self.gap:.2g} nats per row better")
            )
        return (
            f"{sentence}; the certificate was not reached: gap {self.gap:.2g} > tolerance {self.settings.tolerance:.2g}"
        )

    def _verdict(self, level: float) -> str:
        if self.documents < FEWEST_DOCUMENTS:
            return (
                f"unverified: {self.documents} target document(s) are too few to say whether it is better than uniform"
            )
        if self.weights.size == 1:
            return "no better than uniform on this evidence: there is one source"
        estimate, low, high = self.improvement("uniform", level)
        interval = (
            f"({100 * level:g} % interval {low:+.4g} to {high:+.4g} nats per row, {self._setting.documents} "
            f"{self.documents_are})"
        )
        rounding = 1e-12 * (1 + abs(self.loss))
        if low > rounding:
            return f"better than uniform by {estimate:.4g} nats per row of the target {interval}"
        if high < -rounding:
            return f"no better than uniform on this evidence: worse by {-estimate:.4g} nats per row {interval}"
        return f"no better than uniform on this evidence {interval}"

    def to_file(self, sources: Sequence[str] | None = None, level: float = 0.9) -> MixtureFile:
        """Return the content of mixture.json: weights with method, evidence, certificate, uncertainty and verdict."""
        from mixwright.mixture_file import MixtureFile

        names = tuple(self.table.sources if sources is None else sources)
        if len(names) != self.weights.size:
            raise InputError(f"sources should be {self.weights.size} names, one per source; found {len(names)}")
        uncertainty: dict[str, Any] = {}
        if self.documents >= FEWEST_DOCUMENTS:
            improvement = dict(zip(("estimate", "low", "high"), self.improvement("uniform", level), strict=True))
            uncertainty = {
                "level": level,
                "interval": self.interval(level).tolist(),
                "improvement": {"over": "uniform", **improvement},
            }
        prior = self.settings.prior if isinstance(self.settings.prior, str) else self.prior.tolist()
        return MixtureFile(
            sources=names,
            weights=tuple(self.weights.tolist()),
            method={
                "name": "mixmin",
                "prior": prior,
                "shrinkage": self.shrinkage,
                "shrinkage_by": "cv" if self.settings.shrinkage == "cv" else "given",
                "tolerance": self.settings.tolerance,
                "seed": self.seed,
                **({"target_weights": self.target_weights} if len(self.table.target_names) > 1 else {}),
            },
            evidence={
                "rows": self.rows,
                "documents": self.documents,
                "unit": self.table.unit,
                **({} if self.documents_are == "documents" else {"documents_are": self.documents_are}),
                "fingerprints": {**self.table.fingerprints, "data": self.table.data_fingerprint},
                **self._sampled(),
            },
            certificate={"loss": self.loss, "objective": self.objective, "gap": self.gap, **self._limits()},
            uncertainty=uncertainty,
            verdict=self.verdict_at(level),
        )

    def _sampled(self) -> dict[str, Any]:
        """Return which rows were drawn, for the file; nothing where all were used."""
        if self.sample is None:
            return {}
        return {"sample": asdict(self.sample), "notes": list(self.notes)}

    def _limits(self) -> dict[str, Any]:
        """Return the constraints that bind, for the file; nothing without constraints."""
        found = [
            {"constraint": b.constraint, "limit": b.limit, "price": b.price if np.isfinite(b.price) else None}
            for b in self.binding
        ]
        return {"binding": found} if found else {}

    def save(self, path: str | PathLike[str], sources: Sequence[str] | None = None) -> None:
        """Write mixture.json, atomically; `sources` [k] are the names (default: the table's)."""
        self.to_file(sources).write(path)


def is_number(value: object) -> bool:
    """Return whether a setting is a real number."""
    return isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool)


def checked_level(level: float) -> float:
    """Return a checked level of an interval."""
    if not is_number(level) or not 0 < level < 1:
        raise InputError(f"level should be between 0 and 1, such as 0.9; found {level!r}")
    return float(level)


def enough_documents(setting: resample.Setting, what: str, instead: str) -> None:
    """Raise an InputError that says `what` needs more documents, and what to do `instead`."""
    if setting.documents < FEWEST_DOCUMENTS:
        raise InputError(f"{what} needs at least {FEWEST_DOCUMENTS} documents; found {setting.documents}; {instead}")


def per_source(values: ArrayLike, k: int, what: str) -> Array:
    """Return weights [k] normalised, from one number per source."""
    out = normalise(values, what)
    if out.size != k:
        raise InputError(f"{what} should be one number per source ({k}); found {out.size}")
    return out
