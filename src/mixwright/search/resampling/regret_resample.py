"""What resampling the documents of each target says about the least worst regret."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mixwright.search.resampling.resample import FOLDS, assign_folds, student_quantile
from mixwright.search.solver.all_sources import losses_under
from mixwright.search.solver.minimax import Targets
from mixwright.search.solver.target_problem import TargetProblem

Array = NDArray[np.float64]
REPLICATES, SCORES = 100, 1000  # refits for the interval; draws of the scores for the improvement
MOST = 700.0  # nats that a row counts where it is impossible under weights that were fitted without it
TOLERANCE = 1e-4  # nats: below the noise of resampling


def refit(targets: Targets, row_weights: list[Array], start: Array) -> tuple[Array, Array]:
    """Return weights [k] and the best of each target [m, k] for other row weights, from `start` [1 + m, k]."""
    part = targets.weighted(row_weights)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        best = part.best(TOLERANCE / 10, start[0])
        near = 0.9 * start[0] + 0.1 * best.weights.mean(0)  # every row is possible under it
        return part.minimise(best, TOLERANCE, near).point.weights, best.weights


def bootstrap(problem: TargetProblem, start: Array, seed: int) -> Array:
    """Return weights [replicates, k] refitted on documents drawn with replacement within each target."""
    rng = np.random.default_rng([seed, 1])
    out = np.empty((REPLICATES, problem.start.size))
    for i in range(REPLICATES):
        c = []
        for (document, share), rows in zip(problem.documents, problem.targets.rows, strict=True):
            times = np.zeros(share.size)
            present = np.flatnonzero(share)
            times[present] = rng.multinomial(present.size, np.full(present.size, 1 / present.size))
            c.append(rows.c * times[document])
        out[i] = refit(problem.targets, c, start)[0]
    return out


@dataclass(frozen=True)
class TargetFolds:
    """Losses of rows under weights fitted without their documents: of the mixture and of each target's best."""

    problem: TargetProblem
    own: list[Array]  # [n_t] under the mixture
    alone: list[Array]  # [n_t] under the best of that target
    spread: float  # in nats: what refitting adds to the error
    seed: int

    @classmethod
    def fit(cls, problem: TargetProblem, start: Array, seed: int) -> TargetFolds:
        """Fit without each fold of the documents of every target, and score it."""
        targets, documents = problem.targets, problem.documents
        folds = min(FOLDS, *(int(np.count_nonzero(share)) for _, share in documents))
        fold = [assign_folds(share, seed, folds)[document] for document, share in documents]
        own = [np.empty(rows.n) for rows in targets.rows]
        alone = [np.empty(rows.n) for rows in targets.rows]
        for left in range(folds):
            c = [np.where(f == left, 0.0, rows.c) for f, rows in zip(fold, targets.rows, strict=True)]
            w, best = refit(targets, c, start)
            for t, rows in enumerate(targets.rows):
                inside = np.flatnonzero(fold[t] == left)
                own[t][inside], alone[t][inside] = rows.losses(inside, np.stack([w, best[t]]))
        return cls(problem, own, alone, _spread(problem, own, start), seed)

    def improvement(self, reference: Array, level: float) -> tuple[float, float, float]:
        """Return (estimate, low, high) of worst(reference) - worst(mixture)."""
        problem = self.problem
        over = [
            losses_under(table, rows, reference, f" of target {name!r}")
            for name, table, rows in zip(problem.names, problem.tables, problem.targets.rows, strict=True)
        ]
        sums = []
        for (document, share), rows, own, alone, there in zip(
            problem.documents, problem.targets.rows, self.own, self.alone, over, strict=True
        ):
            present = np.flatnonzero(share)
            columns = [rows.c * np.minimum(x, MOST) for x in (own, alone, there)]
            sums.append(np.stack([share, *(np.bincount(document, x) for x in columns)])[:, present])
        estimate = float(_difference([s.sum(1)[:, None] for s in sums])[0])
        rng = np.random.default_rng([self.seed, 2])
        drawn: list[Array] = []
        for s in sums:
            d = s.shape[1]
            drawn.append(s @ rng.multinomial(d, np.full(d, 1 / d), SCORES).T.astype(np.float64))
        fewest = min(s.shape[1] for s in sums)
        error = float(np.hypot(_difference(drawn).std(ddof=1) * np.sqrt(fewest / (fewest - 1)), self.spread))
        half = student_quantile((1 + level) / 2, fewest - 1) * error
        return estimate, estimate - half, estimate + half


def _difference(sums: list[Array]) -> Array:
    """Return worst(reference) - worst(mixture) [draws] from the sums [4, draws] of each target."""
    ours, theirs = [], []
    for share, own, alone, over in sums:
        ours.append((own - alone) / share)
        theirs.append((over - alone) / share)
    return np.asarray(np.max(theirs, axis=0) - np.max(ours, axis=0))


def _spread(problem: TargetProblem, own: list[Array], start: Array) -> float:
    """Return half of the optimism (out-of-fold minus in-sample loss of the mixture) of the target that has most."""
    optimism = []
    for rows, losses in zip(problem.targets.rows, own, strict=True):
        counted = rows.c > 0
        inside = rows.losses(np.flatnonzero(counted), start[:1])[0]
        optimism.append(float(rows.c[counted] @ (np.minimum(losses[counted], MOST) - inside)))
    return max(0.0, *optimism) / 2
