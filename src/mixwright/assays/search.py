"""A search for a target assay, and its final model, as one scikit-learn estimator."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from mixwright.assays import classifiers
from mixwright.assays.data import AssayTable, check_choice, check_features
from mixwright.assays.labels import MISSING, read_labels
from mixwright.assays.plan import CALIBRATIONS, AssayPlan, make_plan
from mixwright.assays.splits import Split, whole_target
from mixwright.assays.trial import MIXTURE, Trial, limits_of, try_out
from mixwright.constraints.limits import Constraints
from mixwright.errors import InputError, missing_extra
from mixwright.search.mixmin import MixMin, MixMinResult
from mixwright.search.table.table import LikelihoodTable

try:
    from sklearn.base import BaseEstimator, ClassifierMixin
    from sklearn.utils.validation import check_is_fitted
except ImportError as error:
    raise missing_extra("scikit-learn", "tabular") from error


class AssaySearch(ClassifierMixin, BaseEstimator):
    """
    How much of each assay to train on, to be good at one of them; and the model that was trained so.

    One proxy classifier per source gives P[i, k] = p_k(y_i | x_i) on the target's rows; MixMin finds the weights w [k]
    that explain the target's labels best; the final model is one classifier on the rows of all sources with w_k > 0, a
    row of source k having the weight w_k / n_k (scaled to the mean 1).

    Labels are conditional on molecules here, so the search is exact only where sources agree on which molecules they
    measure; elsewhere it is a heuristic. `compare_arms` trains the baselines and measures.

    Parameters
    ----------
    target
        The assay that the model should be good at: its name, or its column of labels (0, 1, ...).
    sources
        Names, or columns. Default: all other assays of the table.
    classifier
        A Booster (XGBoost) or any scikit-learn classifier with predict_proba and sample_weight.
    folds
        A proxy scores a molecule only after training without it, by this many folds; 0: trained once on all.
    calibration
        "none", or "intercept": each proxy's base rate is moved to the target's before the search.
    own_rows
        Whether the target's own training rows are one more source; False: what the other assays are worth without them
        (as in the paper).
    unusable
        "error" or "drop" for sources with one class, or without a row besides held-out molecules. A source need not
        share molecules with the target.
    prior, shrinkage, tolerance, constraints
        As for MixMin.
    random_state
        Seed of folds, models and search.
    proxies
        {source: fitted classifier} that are used as they are.

    Attributes
    ----------
    weights_
        [k] in the order of `sources_`.
    result_
        The MixMinResult: certificate, intervals, improvement, verdict.
    trial_
        The Trial: average precision out of fold of the mixture, of borrowed rows and of the target alone; the best of
        them has the weights. None with `own_rows=False`, or where constraints fix the target's weight.
    sample_weight_, row_, source_, label_
        [m] each: the rows of the mixture, to train any model of your own with.
    classifier_
        The final model.
    seconds_
        {"proxies", "search", "final"}.

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> X = rng.normal(size=(300, 3))
    >>> Y = np.stack([X[:, 0] > 0, X[:, 0] > 0.2, X[:, 1] > 0], axis=1).astype(float)
    >>> search = AssaySearch("assay_0", classifier=classifiers.Booster(trees=10, threads=1)).fit(X, Y)
    >>> search.sources_, search.score(X, Y) > 0.9
    (('assay_1', 'assay_2', 'assay_0'), True)

    References
    ----------
    Thudi, Rovers, Ruan, Thrush, Maddison, "MixMin: Finding Data Mixtures via Convex Minimization", ICML 2025.
    """

    def __init__(
        self,
        target: str | int = 0,
        sources: Sequence[str | int] | None = None,
        *,
        classifier: Any = None,
        folds: int = 5,
        calibration: Literal["none", "intercept"] = "intercept",
        own_rows: bool = True,
        unusable: Literal["error", "drop"] = "error",
        prior: Any = "uniform",
        shrinkage: float | Literal["cv"] = "cv",
        tolerance: float = 1e-8,
        constraints: Constraints | None = None,
        random_state: int = 0,
        proxies: Mapping[str, Any] | None = None,
    ) -> None:
        self.target = target
        self.sources = sources
        self.classifier = classifier
        self.folds = folds
        self.calibration = calibration
        self.own_rows = own_rows
        self.unusable = unusable
        self.prior = prior
        self.shrinkage = shrinkage
        self.tolerance = tolerance
        self.constraints = constraints
        self.random_state = random_state
        self.proxies = proxies

    def fit(self, X: Any, Y: ArrayLike | None = None, split: Split | None = None) -> AssaySearch:
        """
        Search, and train the final model.

        Parameters
        ----------
        X
            An AssayTable, or features [n, d].
        Y
            Labels [n, a] (0, 1, NaN for missing) where X are features: an array, whose assays are called assay_0,
            assay_1, ..., or a data frame, whose columns name them.
        split
            From `split_target`: the search sees its training part, no model sees a held-out molecule. Default: all
            rows of the target are searched on.

        Raises
        ------
        InputError
            The data or a setting is not as it should be; nothing is trained then.
        """
        if isinstance(X, AssayTable) != (Y is None):
            raise InputError("give an AssayTable alone, or features X with labels Y [rows, assays]")
        table = X if isinstance(X, AssayTable) else AssayTable.from_arrays(X, np.asarray(Y), _column_names(Y))
        settings = self.mixmin()
        plan = self.plan(table, whole_target(table, self.target) if split is None else split)
        started = time.perf_counter()
        probabilities = score_proxies(plan, self.proxies)
        scored = time.perf_counter()
        self.result_, self.trial_ = search_weights(plan, probabilities, self.calibration, settings, self.constraints)
        found = time.perf_counter()
        self.plan_, self.sources_, self.weights_ = plan, plan.sources, self.result_.weights
        rows = plan.rows_of(self.weights_)
        self.row_, self.source_, self.label_, self.sample_weight_ = rows.row, rows.source, rows.label, rows.weight
        self.classifier_ = plan.train(rows)
        self.seconds_ = {
            "proxies": scored - started,
            "search": found - scored,
            "final": time.perf_counter() - found,
        }
        self.classes_ = np.array([0, 1])
        self.n_features_in_ = int(table.features.shape[1])
        self.features_fingerprint_ = table.features_fingerprint()
        return self

    def plan(self, table: AssayTable, split: Split) -> AssayPlan:
        """Return the plan for a split, after all checks, also of the search's settings; nothing is trained."""
        check_choice(self.calibration, CALIBRATIONS, "calibration")
        if split.target != table.name(self.target):
            raise InputError(
                f"the split should be of the target {table.name(self.target)!r}, found one of {split.target!r}; make "
                "it with split_target(table, target)"
            )
        for name, proxy in (self.proxies or {}).items():
            classifiers.check_fitted(proxy, table.features, f"the proxy of {name!r}")
        plan = make_plan(
            table,
            split,
            self.sources,
            model=self.classifier,
            folds=self.folds,
            own_rows=self.own_rows,
            unusable=self.unusable,
            seed=self.random_state,
            proxies=self.proxies,
        )
        self.mixmin().check(plan.sources, plan.sizes, self.constraints)
        return plan

    def mixmin(self) -> MixMin:
        """Return the settings of the search; InputError if one is wrong."""
        return MixMin(prior=self.prior, shrinkage=self.shrinkage, tolerance=self.tolerance)

    def predict_proba(self, X: Any) -> Any:
        """
        Return the probabilities of 0 and 1 under the final model, [n, 2].

        Raises
        ------
        InputError
            X is a table with other features than those that were trained on.
        """
        check_is_fitted(self, "classifier_")
        if isinstance(X, AssayTable):
            if X.features_fingerprint() != self.features_fingerprint_:
                raise InputError(
                    f"the table should have the features that the model was trained on, found {dict(X.described)}; "
                    "make the fingerprints with the same settings"
                )
            X = X.features
        else:
            X = check_features(X)
        one = classifiers.positive(self.classifier_, X, "the model")
        return np.stack([1 - one, one], axis=1)

    def predict(self, X: Any) -> Any:
        """Return the more probable label, [n]."""
        return (self.predict_proba(X)[:, 1] > 0.5).astype(np.int64)

    def score(self, X: Any, Y: Any = None) -> float:
        """
        Return the average precision of the final model on the target's labels, higher is better.

        Parameters
        ----------
        X, Y
            As in `fit`; Y may also be the target's labels alone, [n]. Rows without a label are left out.

        Raises
        ------
        InputError
            There is no row with a 1 to find.
        """
        from mixwright.assays.arms import average_precision

        check_is_fitted(self, "classifier_")
        if isinstance(X, AssayTable):
            labels = X.labels[:, X.column(self.target)]
        else:
            values = np.asarray(Y)
            if values.ndim == 1:
                labels = read_labels({str(self.target): values})[0][:, 0]
            else:
                table = AssayTable.from_arrays(X, values, _column_names(Y))
                labels = table.labels[:, table.column(self.target)]
        rows = np.flatnonzero(labels != MISSING)
        if not (labels[rows] == 1).any():
            raise InputError(f"to score, some row should have a 1 in {self.target!r}, found {len(rows)} without")
        return average_precision(labels[rows], self.predict_proba(X)[rows, 1])

    def __sklearn_tags__(self) -> Any:
        """Say what scikit-learn should know: labels are a matrix with gaps."""
        tags = super().__sklearn_tags__()
        tags.target_tags.required = False
        tags.input_tags.sparse = True
        return tags


def _column_names(Y: Any) -> list[str] | None:
    """Return the names of a data frame's columns where they are texts."""
    names = list(getattr(Y, "columns", []))
    return names if names and all(isinstance(name, str) for name in names) else None


def score_proxies(plan: AssayPlan, proxies: Mapping[str, Any] | None = None) -> Any:
    """Return the probability of a 1 under each source's proxy, [n_train, k]."""
    given = proxies or {}
    return np.stack([plan.probabilities(name, given.get(name)) for name in plan.sources], axis=1)


def evidence(plan: AssayPlan, probabilities: Any, calibration: Literal["none", "intercept"]) -> LikelihoodTable:
    """Return the likelihoods [n_train, k] of the target's training rows as a table for MixMin."""
    logs = plan.log_likelihood(probabilities, calibration)
    return LikelihoodTable.from_array(logs, plan.sources, documents=plan.documents, unit="row", values="log_likelihood")


def search_weights(
    plan: AssayPlan,
    probabilities: Any,
    calibration: Literal["none", "intercept"],
    settings: MixMin,
    constraints: Constraints | None = None,
) -> tuple[MixMinResult, Trial | None]:
    """
    Return MixMin's result for the probabilities [n_train, k] of the proxies, and the trial where there was one.

    Where the target's own rows are a source, their share may be 0 or 1 instead, as the trial chooses; the result is
    then certified among the weights with that share. There is no trial (None) without own rows, or where limits fix
    their weight.
    """
    table = evidence(plan, probabilities, calibration)

    def fit(limits: Constraints | None) -> MixMinResult:
        found = settings.fit(table, sizes=plan.sizes, constraints=limits, seed=plan.seed)
        return replace(found, documents_are="scaffolds" if plan.split.kind == "scaffold" else "molecules")

    others = {name: fit(limits) for name, limits in limits_of(plan, settings, constraints).items()}
    found = {MIXTURE: fit(constraints), **others}
    if not others:
        return found[MIXTURE], None
    trial = try_out(plan, {name: result.weights for name, result in found.items()})
    return found[trial.chosen], trial
