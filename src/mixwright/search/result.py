"""What every search is and returns: weights with their certificate, their uncertainty and a verdict."""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from os import PathLike
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from mixwright.checks import near, unique_names
from mixwright.constraints.polytope import Binding, Polytope
from mixwright.errors import InputError
from mixwright.search.inputs import FEWEST_DOCUMENTS, Allowed, PerSource, checked_level, reference_weights

if TYPE_CHECKING:
    from mixwright.mixture_file import MixtureFile

Array = NDArray[np.float64]


class Search(Protocol):
    """
    What maps evidence to weights, once: a frozen dataclass of settings with one method.

    `fit` takes its evidence first, and by keyword, with defaults: `sizes` (per source, by name or in order),
    `constraints`, `seed`, and what this search needs beyond them (`targets`, `documents`, ...). It returns a
    `SearchResult`. It warns where the tolerance was not reached, and raises InputError for input that does not fit.
    """

    @property
    def prior(self) -> Any:
        """Weights before any evidence."""
        ...

    @property
    def shrinkage(self) -> Any:
        """How strongly the weights are pulled to the prior."""
        ...

    @property
    def tolerance(self) -> float:
        """The certificate to reach."""
        ...

    def fit(self, evidence: Any, /, *args: Any, **kwargs: Any) -> SearchResult:
        """Return the weights for some evidence."""
        ...


@dataclass(frozen=True, eq=False, kw_only=True)
class SearchResult(ABC):
    """
    What a search found, with its evidence.

    Attributes
    ----------
    weights
        [k] on the simplex, in source order; 0 for a source that is not allowed.
    objective
        What was minimised, penalty included, at the weights.
    gap
        The certificate: objective - its minimum over the allowed weights <= gap.
    shrinkage
        The tau used.
    settings
        The search.
    seed
        Of folds and bootstrap.
    """

    method: ClassVar[str]  # the name in mixture.json
    measured: ClassVar[str] = "nats per row of the target"  # what an improvement is in, for the verdict
    where: ClassVar[str] = ""  # what a difference of about nothing is in, where that needs saying
    unit: ClassVar[str] = " nats per row"

    weights: Array
    objective: float
    gap: float
    shrinkage: float
    settings: Search
    seed: int
    allowed: Allowed

    def __repr__(self) -> str:
        """Return a line with the figures."""
        figures = "".join(f"{name}={value:.6g}, " for name, value in self._figures().items())
        weights = np.array2string(self.weights, precision=4, threshold=8)
        return f"{type(self).__name__}(k={self.weights.size}, {figures}gap={self.gap:.2g}, weights={weights})"

    # ---------------------------------------------------------------- what each search adds

    @property
    @abstractmethod
    def rows(self) -> int:
        """Return the number of rows of evidence."""

    @property
    @abstractmethod
    def gain(self) -> Array:
        """Return [k], minus the gradient of the objective at the weights."""

    @property
    @abstractmethod
    def fewest(self) -> tuple[int, str]:
        """Return the documents of the target that has fewest, and how to name that target ("" for a single one)."""

    @abstractmethod
    def _drawn(self) -> Array:
        """Return the weights [draws, allowed] refitted on documents drawn with replacement."""

    @abstractmethod
    def _improvement(self, reference: Array, level: float) -> tuple[float, float, float]:
        """Return `improvement` over checked weights [k]."""

    @abstractmethod
    def _figures(self) -> dict[str, float]:
        """Return the figures for `repr`."""

    @abstractmethod
    def _file_parts(self) -> dict[str, dict[str, Any]]:
        """Return what this search adds to method, evidence and certificate of the file."""

    @property
    def _scale(self) -> float:
        """Return the unit of the tolerance."""
        return 1.0

    @property
    def _counted(self) -> str:
        """Return what the interval of the verdict was taken over."""
        return ""

    # ---------------------------------------------------------------- what all have

    @property
    def sources(self) -> tuple[str, ...]:
        """Return the names of the sources, [k]."""
        return self.allowed.sources

    @property
    def space(self) -> Polytope:
        """Return the allowed weights."""
        return self.allowed.space

    @property
    def prior(self) -> Array:
        """Return the prior [k]."""
        return self.allowed.prior

    @property
    def natural(self) -> Array | None:
        """Return weights [k] proportional to the sizes; None where no sizes were given."""
        return self.allowed.natural

    @property
    def notes(self) -> tuple[str, ...]:
        """Return sentences that belong beside the result."""
        return ()

    @cached_property
    def binding(self) -> tuple[Binding, ...]:
        """Return the constraints that hold with equality, with what relaxing each would save; dearest first."""
        return self.space.binding(self.weights, self.gain)

    @cached_property
    def _draws(self) -> Array:
        return self._drawn()

    def interval(self, level: float = 0.9) -> Array:
        """
        Return [k, 2], the interval of each weight: percentiles over bootstrap draws of whole documents.

        Every draw uses the result's shrinkage. Intervals are of each weight alone, not joint.

        Raises
        ------
        InputError
            With fewer than 3 documents.
        """
        tail = (1 - checked_level(level)) / 2
        self._require_documents("an interval")
        low, high = np.quantile(self._draws, [tail, 1 - tail], axis=0)
        return np.clip(np.stack([self.allowed.full(low), self.allowed.full(high)], axis=1), 0.0, 1.0)

    def improvement(
        self, over: Literal["uniform", "natural"] | PerSource = "uniform", level: float = 0.9
    ) -> tuple[float, float, float]:
        """
        Return (estimate, low, high) of how much less the target loses than under `over`, out of fold.

        Each fold of documents is scored by weights that were fitted without it. Where the shrinkage was chosen, the
        estimate is the middle of two: with a shrinkage that was chosen without the fold too, and with the result's own.
        A lower end of 0 or less means: no better.

        Parameters
        ----------
        over
            "uniform", "natural", or weights with sum 1: [k], or {source: weight}.
        level
            Of the interval.

        Raises
        ------
        InputError
            With fewer than 3 documents, or for "natural" where no sizes were given to `fit`.
        """
        level, reference = checked_level(level), reference_weights(over, self.sources, self.natural)
        self._require_documents("the improvement out of fold")
        return self._improvement(reference, level)

    def _require_documents(self, what: str) -> None:
        count, of = self.fewest
        if count < FEWEST_DOCUMENTS:
            raise InputError(
                f"{what} needs at least {FEWEST_DOCUMENTS} documents{' of each target' if of else ''}; found "
                f"{count}{of}; give more target rows, or their documents"
            )

    @cached_property
    def verdict(self) -> str:
        """Return one sentence: whether the proxies favour the mixture over uniform, with a 90 % interval."""
        return self.verdict_at(0.9)

    def verdict_at(self, level: float) -> str:
        """Return `verdict` with an interval of another level."""
        sentence, limit = self._verdict(checked_level(level)), self.settings.tolerance * self._scale
        return sentence if self.gap <= limit else f"{sentence}; {self._uncertified(limit)}"

    def _uncertified(self, limit: float) -> str:
        return f"the certificate was not reached: gap {self.gap:.2g} > tolerance {limit:.2g}"

    def _verdict(self, level: float) -> str:
        count, of = self.fewest
        if count < FEWEST_DOCUMENTS:
            documents = f"document(s){of}" if of else "target document(s)"
            return f"unverified: {count} {documents} are too few to say whether it is better than uniform"
        if self.weights.size == 1:
            return "no better than uniform on this evidence: there is one source, so there is nothing to decide"
        estimate, low, high = self.improvement("uniform", level)
        interval = f"({100 * level:g} % interval {low:+.4g} to {high:+.4g}{self.unit}{self._counted})"
        rounding = 1e-12 * (self._scale + abs(self.objective))
        if low > rounding:
            favoured = f"the proxies favour it over uniform by {estimate:.4g} {self.measured} {interval}"
            return f"{favoured}; not checked by training"
        worse = f": worse by {-estimate:.4g} {self.measured}" if high < -rounding else self.where
        return f"no better than uniform on this evidence{worse} {interval}"

    # ---------------------------------------------------------------- the file

    def to_file(self, sources: Sequence[str] | None = None, level: float = 0.9) -> MixtureFile:
        """
        Return the content of mixture.json: weights with method, evidence, certificate, uncertainty and verdict.

        Parameters
        ----------
        sources
            The names of the result's sources in the order that the file should have; weights go by name. Where the
            evidence had no names, [k] names in the order of its columns. Default: the result's own names and order.
        level
            Of the intervals.

        Raises
        ------
        InputError
            For names that are not those of the result.
        """
        from mixwright.mixture_file import MixtureFile

        names, order = self._file_order(sources)
        uncertainty: dict[str, Any] = {}
        if self.fewest[0] >= FEWEST_DOCUMENTS:
            improvement = dict(zip(("estimate", "low", "high"), self.improvement("uniform", level), strict=True))
            uncertainty = {
                "level": level,
                "interval": self.interval(level)[order].tolist(),
                "improvement": {"over": "uniform", **improvement},
            }
        binding = [
            {"constraint": b.constraint, "limit": b.limit, "price": b.price if np.isfinite(b.price) else None}
            for b in self.binding
        ]
        parts, prior = self._file_parts(), self.settings.prior
        notes = {"notes": list(self.notes)} if self.notes else {}
        return MixtureFile(
            sources=names,
            weights=tuple(self.weights[order].tolist()),
            method={
                "name": self.method,
                "prior": prior if isinstance(prior, str) else self.prior[order].tolist(),
                "shrinkage": self.shrinkage,
                "shrinkage_by": "cv" if isinstance(self.settings.shrinkage, str) else "given",
                "tolerance": self.settings.tolerance,
                "seed": self.seed,
                **parts["method"],
            },
            evidence={"rows": self.rows, **parts["evidence"], **notes},
            certificate={
                "objective": self.objective,
                **({"gap": self.gap} if np.isfinite(self.gap) else {}),  # a law without a certificate has none
                **parts["certificate"],
                **({"binding": binding} if binding else {}),
            },
            uncertainty=uncertainty,
            verdict=self.verdict_at(level),
        )

    def save(self, path: str | PathLike[str], sources: Sequence[str] | None = None) -> None:
        """Write mixture.json, atomically; `sources` as in `to_file`."""
        self.to_file(sources).write(path)

    def _file_order(self, sources: Sequence[str] | None) -> tuple[tuple[str, ...], NDArray[np.intp]]:
        """Return the names for the file, and which source each is."""
        own = self.sources
        if sources is None:
            return own, np.arange(len(own))
        names = unique_names(sources)
        if len(names) != len(own):
            raise InputError(f"sources should be {len(own)} names, one per source; found {len(names)}")
        if own == numbered(len(own)):  # evidence without names: the columns are in the order that the caller knows
            return names, np.arange(len(own))
        for name in names:
            if name not in own:
                raise InputError(f"sources should be the names of this result's sources{near(name, own, 'sources')}")
        return names, np.array([own.index(name) for name in names], np.intp)


def too_few_for_folds(documents: int) -> InputError:
    """Return the error of a cross-validation that has too few documents."""
    return InputError(
        f"shrinkage='cv' needs at least {FEWEST_DOCUMENTS} documents; found {documents}; pass a number, shrinkage=0.0 "
        "for the exact optimum"
    )


def warn_uncertified(gap: float, limit: float, unit: str = " nats per row", depth: int = 3) -> None:
    """Warn the caller, `depth` frames up, of a certificate that was not reached."""
    if gap > limit:
        words = f"the certificate was not reached: gap {gap:.2g}, tolerance {limit:.2g}{unit}"
        warnings.warn(words, RuntimeWarning, stacklevel=depth)


def numbered(k: int) -> tuple[str, ...]:
    """Return the names of sources that were given none."""
    return tuple(f"source_{i}" for i in range(k))
