"""A mixture with the target's own rows, or without, or the own rows alone? Each is trained, out of fold, to choose."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from mixwright.assays import classifiers
from mixwright.assays.judge import Difference, HeldOutRows, Judge
from mixwright.assays.plan import AssayPlan
from mixwright.constraints.limits import Constraints
from mixwright.errors import InputError
from mixwright.search.mixmin import MixMin

Array = NDArray[np.float64]
MIXTURE, BORROWED, ALONE = "mixture", "borrowed", "target_alone"
CANDIDATES = (MIXTURE, BORROWED, ALONE)
SHARES = {BORROWED: 0.0, ALONE: 1.0}  # of the target's own rows
LEVEL = 0.68  # of the interval that decides: one standard error
ENOUGH = 150  # own rows with a 1, for the plain difference to decide


@dataclass(frozen=True)
class Trial:
    """
    What cross-validation on the target's training rows says of "mixture", "borrowed" and "target_alone".

    Attributes
    ----------
    weights
        [k] of each: as the search found them, with no weight and with all weight on the target's own rows.
    average_precision
        Of each, out of fold.
    gain
        That of the others minus that of the mixture, with an interval of 68 % (one standard error) over molecules.
    positives
        Training rows of the target with a 1.
    """

    weights: Mapping[str, Array]
    average_precision: Mapping[str, float]
    gain: Mapping[str, Difference]
    positives: int

    @property
    def chosen(self) -> str:
        """
        Return the one to use: the mixture, unless another is better.

        With fewer than 150 positives by more than a standard error: the figures are then coarse, and the mixture, which
        learns from both kinds of rows, is nearly always as good as the others.
        """
        sure = self.positives < ENOUGH
        better = [name for name, gain in self.gain.items() if (gain.word == "better" if sure else gain.value > 0)]
        return max(better, key=lambda name: self.average_precision[name], default=MIXTURE)


def try_out(plan: AssayPlan, weights: Mapping[str, Array]) -> Trial:
    """
    Return how mixtures rank the target's training rows.

    The programme takes the model of a mixture for the mixture of the proxies, and the likelihood for the goal. Neither
    is exact: borrowed rows whose labels mean something else can harm the ranking of a model that is good without them,
    and so can a few own rows. So each is trained as the final model is, once for each of the proxies' folds, and ranks
    what it has not seen.

    Parameters
    ----------
    plan
        With folds.
    weights
        {name: [k]} of the mixtures, with "mixture".
    """
    rows = HeldOutRows(
        plan.labels,
        plan.table.molecules[plan.split.train],
        {name: _out_of_fold(plan, w) for name, w in weights.items()},
    )
    gain = Judge([rows], LEVEL).differences(list(weights), MIXTURE)
    found = {name: rows.average_precision(name) for name in weights}
    return Trial(weights, found, gain, int(plan.labels.sum()))


def limits_of(plan: AssayPlan, settings: MixMin, constraints: Constraints | None) -> dict[str, Constraints]:
    """
    Return the constraints of "borrowed" and "target_alone": those given, and the target's own share.

    One that is not possible is left out: both where the own rows are no source, or their weight is fixed.
    """
    given = constraints or Constraints()
    if not plan.own_rows or plan.split.target in (given.frozen or {}):
        return {}
    found = {}
    for name, share in SHARES.items():
        limits = replace(given, frozen={**(given.frozen or {}), plan.split.target: share})
        try:
            settings.check(plan.sources, plan.sizes, limits)
        except InputError:
            continue
        found[name] = limits
    return found


def _out_of_fold(plan: AssayPlan, weights: Array) -> Array:
    """Return the probability of a 1 for each training row of the target, [n_train], by models that have not seen it."""
    assert plan.fold is not None
    out = np.empty(len(plan.split.train))
    for fold in range(int(plan.fold.max()) + 1):
        inside = plan.fold[plan.split.train] == fold
        fitted = plan.train(plan.rows_of(weights, plan.split.allowed & (plan.fold != fold)))
        out[inside] = classifiers.positive(fitted, plan.table.features[plan.split.train[inside]], "a model of a fold")
    return out
