"""Propose a mixture from a table of runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from mixwright.constraints.limits import Constraints
from mixwright.errors import InputError
from mixwright.runs.choice import Choice, asked, choose
from mixwright.runs.goal import Goal, goal_of, with_guardrails
from mixwright.runs.laws import Law
from mixwright.runs.measured import Measured
from mixwright.runs.optimism import nested_selection
from mixwright.runs.optimum.problem import Problem
from mixwright.runs.result import RunSearchResult
from mixwright.runs.table import RunTable
from mixwright.runs.transfer import transfers
from mixwright.search.inputs import PerSource, Prior, check_settings, checked_seed, in_order
from mixwright.search.result import warn_uncertified

Array = NDArray[np.float64]
NAMED = 3  # targets whose transfer between scales is noted
PULLS = (0.0, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0)  # in standard deviations of the measured losses


@dataclass(frozen=True)
class RunSearch:
    """
    The weights for which a law, fitted to measured mixtures, predicts the least loss.

    It minimises, over the weights that are allowed,

        y(w) + tau * s * sum_k (w_k - pi_k)^2 / (pi_k + 1/k)

    - y(w) is the law's prediction for the target (a weighted sum for several, or their worst regret).
    - s is the standard deviation of the measured losses, pi [k] the prior, tau the shrinkage. The second term is
      KL(w | pi) to second order (Olmix), with a metric between the prior and uniform weights.

    A prediction at its own minimum is too good, because it was selected. So the result says how much (`optimism`, from
    selection inside the table), widens its intervals by it, names the best measured run, and calls nothing better that
    was not trained.

    Parameters
    ----------
    law
        A law's name ("linear + bimix" for a mean), a law, several of them, or "auto": of the laws that the table can
        bear the one with the least squared error out of fold. The result says which, with the scores of all.
    prior
        "uniform", "natural" (proportional to the sizes), weights [k], or {source: weight}. None: natural where sizes
        are known, else uniform.
    shrinkage
        tau >= 0, or "cv": the largest tau whose picks among mixtures out of fold are measured to be as good as any.
    objective
        "sum" of the targets by their shares, or "worst_regret": the largest excess of a target over what the best
        mixture for it alone would reach.
    tolerance
        The certificate to reach, in standard deviations of the measured losses.

    Examples
    --------
    >>> import numpy as np
    >>> W = np.random.default_rng(0).dirichlet([1, 1, 1], 40)
    >>> table = RunTable.from_array(W, 2 + np.exp(-W @ [2.0, 1.0, 0.0]), ["web", "code", "law"], ["qa"])
    >>> result = RunSearch(law="log_linear", shrinkage=0.0).fit(table, target="qa")
    >>> result.weights.round(2).tolist()
    [1.0, 0.0, 0.0]
    >>> result.verdict.split(":")[0]
    'unverified'

    References
    ----------
    Liu et al., RegMix, 2407.01492; Ye et al., Data Mixing Laws, 2403.16952; Olmix, 2602.12237.
    """

    law: str | Law | Sequence[str | Law] = "auto"
    prior: Prior | None = None
    shrinkage: float | Literal["cv"] = "cv"
    objective: Literal["sum", "worst_regret"] = "sum"
    tolerance: float = 1e-4

    def __post_init__(self) -> None:
        """Check the settings."""
        check_settings("uniform" if self.prior is None else self.prior, self.shrinkage, self.tolerance, 1e-8, unit="")
        if self.objective not in ("sum", "worst_regret"):
            raise InputError(f"objective should be 'sum' or 'worst_regret'; found {self.objective!r}")

    def fit(
        self,
        evidence: RunTable,
        target: str | Sequence[str] | Mapping[str, float] | None = None,
        *,
        sizes: PerSource | None = None,
        constraints: Constraints | None = None,
        seed: int = 0,
        scale: str | None = None,
        tokens: float | None = None,
        guardrails: Mapping[str, float] | None = None,
    ) -> RunSearchResult:
        """
        Return the proposal for a table of runs.

        Parameters
        ----------
        evidence
            The table.
        target
            A target, a list of them (their mean counts), or {target: share}. None where the table has one alone.
        sizes
            Tokens that exist of each source, [k] or {source: tokens}; default: the table's.
        constraints
            What weights are allowed.
        seed
            Of folds and bootstrap.
        scale
            The scale whose runs are fitted, where the table has several; default: the one with most mixtures.
        tokens
            Tokens of the training that is predicted, for exposures; default: the median of the runs.
        guardrails
            {target: share}: targets that do not count, but whose predicted loss may exceed its prediction at the prior
            by at most this share, such as 0.01.

        Raises
        ------
        InputError
            For a table, target, law, sizes or constraints that do not fit; the message says which and what to do.
        """
        seed = checked_seed(seed)
        ready = self._prepared(evidence, target, sizes, constraints, scale, tokens, guardrails)
        notes, goal, measured, problem = ready.notes, ready.goal, ready.measured, ready.problem
        choice = choose(self.law, measured, goal, seed)
        goal = self._with_best(goal, problem, choice, measured)
        goal = _with_limits(goal, problem, choice, guardrails)
        tau = self._tau(problem, choice, measured, goal)
        found = problem.minimise(choice.taken.fitted, goal, tau, measured, self.tolerance)
        unit = problem.unit(goal, measured)
        if np.isfinite(found.gap):
            warn_uncertified(found.gap, self.tolerance * unit, unit="")
        taken = choice.taken
        optimism = nested_selection(problem, taken.law, taken.fitted, measured, taken.held, goal, tau, seed)
        return RunSearchResult(
            weights=problem.mean_weights(found.weights),
            objective=found.value,
            gap=found.gap,
            shrinkage=tau,
            settings=self,
            seed=seed,
            allowed=problem.allowed,
            goal=goal,
            choice=choice,
            table=evidence,
            _measured=measured,
            _problem=problem,
            _optimism=optimism,
            _at=found.weights,
            _descents=(found.agreed, found.descents),
            _notes=(*notes, *measured.notes, *choice.notes),
        )

    def check(
        self,
        evidence: RunTable,
        target: str | Sequence[str] | Mapping[str, float] | None = None,
        *,
        sizes: PerSource | None = None,
        constraints: Constraints | None = None,
        scale: str | None = None,
        tokens: float | None = None,
        guardrails: Mapping[str, float] | None = None,
    ) -> None:
        """Raise InputError for what `fit` would refuse, before any law is fitted; arguments as there."""
        asked(self.law, self._prepared(evidence, target, sizes, constraints, scale, tokens, guardrails).measured)

    def _prepared(
        self,
        evidence: RunTable,
        target: str | Sequence[str] | Mapping[str, float] | None,
        sizes: PerSource | None,
        constraints: Constraints | None,
        scale: str | None,
        tokens: float | None,
        guardrails: Mapping[str, float] | None,
    ) -> _Prepared:
        if not isinstance(evidence, RunTable):
            raise TypeError(f"evidence should be a mixwright.RunTable; found {type(evidence).__name__}")
        table, notes = _of_one_scale(evidence, scale)
        goal = with_guardrails(goal_of(table, target), table, guardrails)
        at = set(table.scales)
        for name in goal.targets[:NAMED]:
            notes += tuple(f"target {name!r}: {one}" for one in transfers(evidence, name) if one.of in at)
        known = table.sizes if sizes is None else np.asarray(in_order(sizes, table.sources, "sizes"), np.float64)
        if known is not None and np.isnan(known).any():
            known = None
        measured = Measured.of(table, goal.targets, known, tokens)
        _refuse_constant(measured)
        problem = Problem.of(table, self.prior, known, constraints)
        return _Prepared((*table.notes, *notes), goal, measured, problem)

    def _with_best(self, goal: Goal, problem: Problem, choice: Choice, measured: Measured) -> Goal:
        """Return the goal with what each target reaches alone, where the worst regret counts."""
        if self.objective == "sum" or goal.counts.sum() == 1:
            return goal
        best = np.zeros(len(goal.targets))
        for j in np.flatnonzero(goal.counts):
            one = replace(goal, shares=np.eye(best.size)[j])
            best[j] = problem.minimise(choice.taken.fitted, one, 0.0, measured, self.tolerance).value
        return replace(goal, best=best)

    def _tau(self, problem: Problem, choice: Choice, measured: Measured, goal: Goal) -> float:
        if self.shrinkage != "cv":
            return float(self.shrinkage)
        total, distance = goal.loss(measured.Y), problem.penalty(measured, goal, 1.0)
        picked = []  # [folds of all partitions, taus]: the measured loss of what each tau would have picked
        for held in choice.taken.held:
            value = goal.loss(held.predicted)
            for f in range(int(held.fold.max()) + 1):
                rows = np.flatnonzero(held.fold == f)
                picked.append([total[rows[np.argmin(value[rows] + tau * distance[rows])]] for tau in PULLS])
        losses = np.array(picked)
        best = int(losses.mean(0).argmin())
        worse = losses - losses[:, [best]]
        error = worse.std(0, ddof=1) / np.sqrt(len(losses) / len(choice.taken.held))
        return float(max(tau for tau, w, e in zip(PULLS, worse.mean(0), error, strict=True) if w <= e))


@dataclass(frozen=True, eq=False)
class _Prepared:
    """A table that was checked: what laws are fitted to, and where the optimum is sought."""

    notes: tuple[str, ...]
    goal: Goal
    measured: Measured
    problem: Problem


def _of_one_scale(table: RunTable, scale: str | None) -> tuple[RunTable, tuple[str, ...]]:
    if scale is not None:
        return table.at_scale(scale), ()
    names = sorted(set(table.scales))
    if len(names) < 2:
        return table, ()
    counts = {name: len(set(table.at_scale(name).mixtures.tolist())) for name in names}
    best = max(names, key=lambda name: counts[name])
    listed = ", ".join(f"{name!r} ({counts[name]})" for name in names)
    return table.at_scale(best), (f"the table has the scales {listed}, by number of mixtures; {best!r} was fitted",)


def _with_limits(goal: Goal, problem: Problem, choice: Choice, guardrails: Mapping[str, float] | None) -> Goal:
    """Return the goal with the limits of its guardrails, from what the law predicts at the prior."""
    if not guardrails:
        return goal
    prior = problem.full(problem.prior)[None]
    limits = np.full(len(goal.targets), np.inf)
    for j, name in enumerate(goal.targets):
        if name in guardrails:
            here = float(choice.taken.fitted[j].predict(prior)[0])
            limits[j] = here + guardrails[name] * abs(here)
    return replace(goal, limits=limits)


def _refuse_constant(measured: Measured) -> None:
    constant = np.ptp(measured.Y, axis=0) <= 1e-12 * (1 + np.abs(measured.Y).max(0))
    for j in np.flatnonzero(constant)[: measured.n > 1]:
        raise InputError(
            f"the losses of target {measured.targets[j]!r} should differ between mixtures; found {measured.Y[0, j]:g} "
            f"in all {measured.n}; check the column, or take another target"
        )
