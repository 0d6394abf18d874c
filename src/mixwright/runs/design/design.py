"""Which mixtures to train: anchors, repeats, and the mixtures that tell most about a law."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import count, islice
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from mixwright.checks import is_number, unique_names
from mixwright.constraints.limits import Constraints
from mixwright.errors import InputError
from mixwright.runs.design.candidates import candidates, inside
from mixwright.runs.design.coverage import Coverage
from mixwright.runs.design.information import Information, distances, features, most_informative
from mixwright.runs.design.plan import RunPlan
from mixwright.runs.table import RunTable
from mixwright.search.inputs import Allowed, PerSource, Prior, checked_seed, in_order

Array = NDArray[np.float64]
CANDIDATES = 1000
COMPARED = 20  # random designs of the same size
Chooser = Callable[[int, float], list[int]]
Gain = Callable[[list[int]], float | None]


@dataclass(frozen=True)
class RunDesign:
    """
    Which mixtures to train, so that a law can be fitted to them.

    Candidates are drawn from Dirichlet distributions around the prior, of many strengths, and moved into the
    constraints. Beside the anchors, the runs are by default those after which a smooth law is least uncertain over all
    candidates (I-optimal). They can also be those that tell most about the coefficients of laws (D-optimal): the
    determinant of the information is largest, averaged over guesses of what a law is not linear in.

    Parameters
    ----------
    runs
        How many trainings, anchors and repeats included.
    method
        "i_optimal"; "d_optimal", for more runs than sources; or "dirichlet": the candidates as they are drawn.
    laws
        For d_optimal: "log_linear", "exposure", "linear", or several. Default: log_linear, and exposure where sizes and
        tokens are known.
    anchors
        "natural" (the prior), "centroid" (every source the same), "vertices" (each source alone, as far as the
        constraints allow; k runs). Default: the first two, and vertices where they are at most a third of the runs.
    repeats
        Trainings of the first anchor beside its first one: they show the noise. Default: a tenth of the runs, at
        most 4.
    distance
        How much weight must move at least from each mixture to each other one.
    prior
        "uniform", "natural", weights [k] or {source: weight}. None: natural where sizes are known, else uniform.

    Examples
    --------
    >>> plan = RunDesign(runs=12).plan(["web", "code", "law"], tokens=2e6)
    >>> plan.n, plan.cost, plan.kinds[:3]
    (12, 24000000.0, ('natural', 'vertex web', 'vertex code'))

    References
    ----------
    Liu et al., RegMix, 2407.01492 (Dirichlet around the prior); Olmix, 2602.12237 (how many); Fedorov 1972 (exchanges);
    2606.07597 (matched repetition).
    """

    runs: int
    method: Literal["i_optimal", "d_optimal", "dirichlet"] = "i_optimal"
    laws: tuple[str, ...] | None = None
    anchors: tuple[str, ...] | None = None
    repeats: int | None = None
    distance: float = 0.02
    prior: Prior | None = None

    def __post_init__(self) -> None:
        """Check the settings."""
        for name, value, least in (("runs", self.runs, 1), ("repeats", self.repeats, 0)):
            if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < least):
                raise InputError(f"{name} should be a whole number of at least {least}; found {value!r}")
        if self.method not in ("i_optimal", "d_optimal", "dirichlet"):
            raise InputError(f"method should be 'i_optimal', 'd_optimal' or 'dirichlet'; found {self.method!r}")
        if self.laws is not None and self.method != "d_optimal":
            raise InputError(f"laws go with the method 'd_optimal'; found {self.method!r}; leave one of them out")
        for name in self.anchors or ():
            if name not in ("natural", "centroid", "vertices"):
                raise InputError(f"anchors should be natural, centroid or vertices; found {name!r}")
        if not 0 <= self.distance < 1:
            raise InputError(f"distance should be at least 0 and below 1; found {self.distance!r}")

    def plan(
        self,
        sources: Sequence[str] | None = None,
        *,
        sizes: PerSource | None = None,
        constraints: Constraints | None = None,
        tokens: float | None = None,
        final_tokens: float | None = None,
        given: RunTable | None = None,
        extra: dict[str, Array] | None = None,
        seed: int = 0,
    ) -> RunPlan:
        """
        Return the runs to train.

        Parameters
        ----------
        sources
            k names; default: those of `given`.
        sizes
            Tokens that exist of each source, [k] or {source: tokens}; default: those of `given`.
        constraints
            What weights are allowed.
        tokens, final_tokens
            Of each run, and of the training that they stand for. Where both are given, the runs are to repeat each
            source as often as that training will, and exposures count `final_tokens`.
        given
            Runs that are done: the next ones tell most beside them. Anchors that are among them are left out.
        extra
            {kind: weights [k]} that are trained in any case, such as a proposal.
        seed
            Of candidates and guesses.

        Raises
        ------
        InputError
            For sources, sizes or constraints that do not fit, or fewer runs than anchors and repeats need.
        """
        names = _names(sources, given)
        _check_tokens(tokens, final_tokens)
        if sizes is None and given is not None and given.sizes is not None and not np.isnan(given.sizes).any():
            sizes = given.sizes
        sizes = None if sizes is None else np.asarray(in_order(sizes, names, "sizes"), np.float64)
        allowed = Allowed.of(
            ("uniform" if sizes is None else "natural") if self.prior is None else self.prior, names, sizes, constraints
        )
        rng = np.random.default_rng([checked_seed(seed), 19])
        fixed = self._fixed(allowed, given, extra or {})
        done = np.zeros((0, len(names))) if given is None else given.take(_first_of_each(given)).mean_weights
        repeats = self._repeated(given)
        free = self.runs - len(fixed.kinds) - repeats
        if free < 0 or (free == 0 and not fixed.kinds and given is None):
            anchors = len(fixed.kinds)
            raise InputError(
                f"runs should be at least {max(anchors, 1) + repeats}, for {anchors} anchors and {repeats} repeats; "
                f"found {self.runs}; ask for more, or for fewer anchors"
            )
        pool = _Pool(candidates(allowed, CANDIDATES, rng), np.vstack([done, fixed.weights]))
        chosen, gained = self._criterion(pool, _exposures(pool.all, sizes, final_tokens or tokens), rng)
        rows, notes = self._chosen(chosen, free)
        gain = gained(rows) if rows and self.method != "dirichlet" else None
        weights = np.vstack([fixed.weights, pool.all[rows]])
        kinds = [*fixed.kinds, *["design"] * len(rows)]
        return _finished(
            names,
            weights,
            kinds,
            repeats,
            given,
            tokens=tokens,
            final_tokens=final_tokens,
            sizes=sizes,
            gain=gain,
            notes=(*notes, *_notes(self.runs, given, len(names))),
        )

    def _fixed(self, allowed: Allowed, given: RunTable | None, extra: dict[str, Array]) -> _Fixed:
        """Return the anchors that are not done yet, after what is trained in any case."""
        k = len(allowed.sources)
        anchors = self.anchors
        if anchors is None:
            anchors = ("natural", "centroid", "vertices") if 3 * k <= self.runs else ("natural", "centroid")
        found = dict(extra)
        if "natural" in anchors:
            found["natural"] = allowed.prior
        if "centroid" in anchors:
            found["centroid"] = np.full(k, 1 / k)
        if "vertices" in anchors:
            found |= {f"vertex {allowed.sources[i]}": np.eye(k)[i] for i in allowed.positions}
        weights = inside(allowed, np.stack(list(found.values()))) if found else np.zeros((0, k))
        kept: list[int] = []
        before = np.zeros((0, k)) if given is None else given.mean_weights
        for i, w in enumerate(weights):
            others = np.vstack([before, weights[kept]])
            if not len(others) or distances(others, w).min() > 1e-4:
                kept.append(i)
        return _Fixed(weights[kept], [list(found)[i] for i in kept])

    def _repeated(self, given: RunTable | None) -> int:
        if self.repeats is not None:
            return self.repeats
        known = given is not None and len(np.unique(given.mixtures)) < given.n
        return 0 if known else min(self.runs // 10, 4)

    def _criterion(self, pool: _Pool, exposed: Array | None, rng: np.random.Generator) -> tuple[Chooser, Gain]:
        """Return what chooses rows of the pool by number and distance, and what says how much better than chance."""
        fixed = list(range(pool.fixed))
        if self.method == "dirichlet":
            return (lambda count, least: _spread(pool, count, least)), lambda rows: None
        if self.method == "i_optimal":
            cover = Coverage(pool.all, len(pool.drawn))
            random = lambda rows: float(np.mean([cover.left([*fixed, *some]) for some in pool.random(rows, rng)]))  # noqa: E731
            return (lambda count, least: cover.best(fixed, count, least)), (
                lambda rows: random(rows) / cover.left([*fixed, *rows])
            )
        laws = self.laws or (("log_linear",) if exposed is None else ("log_linear", "exposure"))
        matrices = features(laws, pool.all, exposed, rng)
        return (lambda count, least: most_informative(matrices, pool.all, fixed, count, least)), (
            lambda rows: _gain(matrices, pool, rows, rng)
        )

    def _chosen(self, choose: Chooser, count: int) -> tuple[list[int], list[str]]:
        """Return the rows of the pool that are trained; the distance is halved where it leaves too few."""
        least = self.distance
        while True:
            rows = choose(count, least)
            if len(rows) == count or least < 1e-4:
                break
            least /= 2
        notes = []
        if least < self.distance:
            notes.append(
                f"the allowed mixtures lie so close together that {count} runs with a distance of {self.distance:g} "
                f"do not fit; it was lowered to {least:.2g}"
            )
        return rows, notes


@dataclass(frozen=True, eq=False)
class _Fixed:
    """Mixtures [n, k] that are trained in any case, with the word for each."""

    weights: Array
    kinds: list[str]


@dataclass(frozen=True, eq=False)
class _Pool:
    """Candidates, after the mixtures that are done or trained in any case."""

    drawn: Array
    before: Array
    all: Array = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "all", np.vstack([self.before, self.drawn]))

    @property
    def fixed(self) -> int:
        return len(self.before)

    def random(self, rows: list[int], rng: np.random.Generator) -> list[list[int]]:
        """Return sets of as many candidates at random."""
        n = len(self.drawn)
        return [(self.fixed + rng.choice(n, len(rows), replace=False)).tolist() for _ in range(COMPARED)]


def _names(sources: Sequence[str] | None, given: RunTable | None) -> tuple[str, ...]:
    if sources is None and given is None:
        raise InputError("a plan needs the names of the sources; found none")
    names = given.sources if sources is None and given is not None else unique_names(sources or ())
    if len(names) < 2:
        raise InputError(f"there should be at least 2 sources; found {len(names)}")
    if given is not None and names != given.sources:
        raise InputError("sources should be those of the runs that are done, in their order; leave them out")
    if given is not None and given.phases > 1:
        raise InputError("a plan is for trainings of one phase; found runs of several phases")
    return names


def _first_of_each(table: RunTable) -> NDArray[np.intp]:
    return np.unique(table.mixtures, return_index=True)[1]


def _check_tokens(tokens: float | None, final_tokens: float | None) -> None:
    """Raise InputError for numbers of tokens that no training has, or a final training that is below a run."""
    for name, value in (("tokens", tokens), ("final_tokens", final_tokens)):
        if value is not None and not (is_number(value) and 0 < value < np.inf):
            raise InputError(f"{name} should be a number above 0; found {value!r}")
    if tokens is not None and final_tokens is not None and final_tokens < tokens:
        raise InputError(
            f"final_tokens should be at least the tokens of a run ({tokens:g}); found {final_tokens:g}; shorten the "
            "runs, or leave final_tokens out"
        )


def _exposures(W: Array, sizes: Array | None, tokens: float | None) -> Array | None:
    return None if sizes is None or tokens is None else W * tokens / sizes


def _spread(pool: _Pool, count: int, least: float) -> list[int]:
    """Return the first candidates that keep the distance."""
    rows: list[int] = []
    for i in range(pool.fixed, len(pool.all)):
        if len(rows) == count:
            break
        others = np.vstack([pool.before, pool.all[rows]])
        if not len(others) or distances(others, pool.all[i]).min() >= least:
            rows.append(i)
    return rows


def _gain(matrices: list[Array], pool: _Pool, rows: list[int], rng: np.random.Generator) -> float | None:
    """Return the ratio of the determinants' f-th roots of the chosen rows and of random ones, beside the fixed ones."""
    if pool.fixed + len(rows) < max(X.shape[1] for X in matrices):  # some coefficients stay unknown
        return None
    known, fixed = Information(matrices), list(range(pool.fixed))
    random = [known.of([*fixed, *some]) for some in pool.random(rows, rng)]
    return float(np.exp(known.of([*fixed, *rows]) - np.mean(random)))


def _notes(runs: int, given: RunTable | None, k: int) -> list[str]:
    total, least = runs + (0 if given is None else given.n), 3 * (k + 1)
    if total >= least:
        return []
    return [f"{total} runs are few for {k} sources: a rule of thumb is at least 3 (k + 1) = {least} (Olmix)"]


def _finished(
    names: tuple[str, ...], weights: Array, kinds: list[str], repeats: int, given: RunTable | None, **more: Any
) -> RunPlan:
    """Return the plan with the names of its runs, and with repeats of its first mixture."""
    taken = set() if given is None else set(given.runs)
    numbers = (f"plan_{i:03d}" for i in count())
    runs = list(islice((name for name in numbers if name not in taken), len(weights) + repeats))
    of: list[str | None] = [None] * len(weights)
    if repeats:
        first, again = (
            (runs[0], weights[0]) if given is None or len(weights) else (given.runs[0], given.mean_weights[0])
        )
        weights = np.vstack([weights, np.tile(again, (repeats, 1))])
        kinds, of = [*kinds, *["repeat"] * repeats], [*of, *[first] * repeats]
    return RunPlan(names, weights, tuple(runs), tuple(kinds), tuple(of), **more)
