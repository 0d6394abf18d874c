"""What resampling the documents of each target says about the least worst regret."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mixwright.errors import InputError
from mixwright.search.resampling.resample import FOLDS, student_quantile
from mixwright.search.solver.minimax import Best, Targets
from mixwright.search.solver.solve import solve

if TYPE_CHECKING:
    from mixwright.search.worst_regret import TargetProblem

Array = NDArray[np.float64]
Documents = list[tuple[NDArray[np.int64], Array]]
REPLICATES, SCORES = 100, 1000  # refits for the interval; draws of the scores for the improvement
MOST = 700.0  # nats that a row counts where it is impossible under weights that were fitted without it
TOLERANCE = 1e-4  # nats: below the noise of resampling


def documents_of(problem: TargetProblem) -> Documents:
    """Return for each target the document [n_t] of its rows, 0..d-1, and the share [d] of each document."""
    out = []
    for table, rows in zip(problem.tables, problem.targets.rows, strict=True):
        _, document = np.unique(table.documents, return_inverse=True)
        share = np.bincount(document, rows.c).astype(np.float64)
        out.append((document.astype(np.int64), share))
    return out


def refit(targets: Targets, row_weights: list[Array], start: Array) -> tuple[Array, Array]:
    """Return weights [k] and the best of each target [m, k] for other row weights, from `start` [1 + m, k]."""
    part = targets.weighted(row_weights)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        alone = [solve(rows, part.region, TOLERANCE / 10, start[0]) for rows in part.rows]
        value = np.array([a.objective for a in alone])
        own = np.stack([a.weights for a in alone])
        best = Best(own, value, value - np.array([a.gap for a in alone]))
        near = 0.9 * start[0] + 0.1 * own.mean(0)  # every row is possible under it
        return part.minimise(best, TOLERANCE, near).point.weights, own


def bootstrap(problem: TargetProblem, documents: Documents, start: Array, seed: int) -> Array:
    """Return weights [replicates, k] refitted on documents drawn with replacement within each target."""
    rng = np.random.default_rng([seed, 1])
    out = np.empty((REPLICATES, problem.allowed.size))
    for i in range(REPLICATES):
        c = []
        for (document, share), rows in zip(documents, problem.targets.rows, strict=True):
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
    documents: Documents
    own: list[Array]  # [n_t] under the mixture
    alone: list[Array]  # [n_t] under the best of that target
    spread: float  # in nats: what refitting adds to the error
    seed: int

    @classmethod
    def fit(cls, problem: TargetProblem, documents: Documents, start: Array, seed: int) -> TargetFolds:
        """Fit without each fold of the documents of every target, and score it."""
        targets = problem.targets
        folds = min(FOLDS, *(int(np.count_nonzero(share)) for _, share in documents))
        fold = [_assign(share, folds, seed)[document] for document, share in documents]
        own = [np.empty(rows.n) for rows in targets.rows]
        alone = [np.empty(rows.n) for rows in targets.rows]
        for left in range(folds):
            c = [np.where(f == left, 0.0, rows.c) for f, rows in zip(fold, targets.rows, strict=True)]
            w, best = refit(targets, c, start)
            for t, rows in enumerate(targets.rows):
                inside = np.flatnonzero(fold[t] == left)
                own[t][inside], alone[t][inside] = rows.losses(inside, np.stack([w, best[t]]))
        return cls(problem, documents, own, alone, _spread(problem, own, start), seed)

    def improvement(self, reference: Array, level: float) -> tuple[float, float, float]:
        """Return (estimate, low, high) of worst(reference) - worst(mixture)."""
        over = [_reference_losses(self.problem, t, reference) for t in range(len(self.documents))]
        sums = []
        for (document, share), rows, own, alone, there in zip(
            self.documents, self.problem.targets.rows, self.own, self.alone, over, strict=True
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


def _reference_losses(problem: TargetProblem, t: int, reference: Array) -> Array:
    """Return the losses [n_t] of a target's rows under weights of all sources, relative to the rows' maxima."""
    rows, table = problem.targets.rows[t], problem.tables[t]
    used = np.flatnonzero(reference)
    out, logs = np.empty(rows.n), np.log(reference[used])
    for part in rows.parts():
        block = table.block(part.start, part.stop)[:, used] + logs
        top = block.max(1)
        possible = np.isfinite(top)
        top[~possible] = 0.0
        with np.errstate(divide="ignore"):
            out[part] = rows.maximum[part] - top - np.log(np.exp(block - top[:, None]).sum(1))
    if not np.isfinite(out[rows.c > 0]).all():
        raise InputError(
            "the weights to compare with should make every row possible; a row of target "
            f"{problem.names[t]!r} is -inf under their sources"
        )
    return out


def _assign(share: Array, folds: int, seed: int) -> NDArray[np.int64]:
    """Return the fold of each document [d]: in random order, heaviest first, each to the lightest fold."""
    rng = np.random.default_rng(seed)
    shuffled = rng.permutation(share.size)
    order = shuffled[np.argsort(-share[shuffled].round(12), kind="stable")]
    load, count = np.zeros(folds), np.zeros(folds)
    out = np.zeros(share.size, np.int64)
    for d in order[share[order] > 0]:
        at = np.lexsort((count, load.round(12)))[0]
        out[d], load[at], count[at] = at, load[at] + share[d], count[at] + 1
    return out
