"""The models: XGBoost, or any scikit-learn classifier with predict_proba and sample_weight."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mixwright.errors import InputError, missing_extra

Array = NDArray[np.float64]
_REFUSED = ("objective", "random_state", "seed", "nthread", "n_jobs", "n_estimators", "max_depth", "learning_rate")


@dataclass(frozen=True)
class Booster:
    """
    Gradient-boosted trees (XGBoost, tree_method="hist"); proxies and all final models have the same capacity.

    Parameters
    ----------
    trees, depth, learning_rate
        Number of trees, their depth, the shrinkage of each.
    min_child_weight, reg_lambda
        As in XGBoost; both see the absolute scale of the row weights, which mixwright gives the mean 1.
    more
        Other parameters of xgboost.XGBClassifier.
    threads
        Default: all cores. A result is the same for any number of threads up to rounding.
    """

    trees: int = 100
    depth: int = 6
    learning_rate: float = 0.1
    min_child_weight: float = 1.0
    reg_lambda: float = 1.0
    more: Mapping[str, Any] | None = None
    threads: int | None = None

    def __post_init__(self) -> None:
        """Check the settings."""
        for name, low in (("trees", 1), ("depth", 1), ("learning_rate", 0), ("min_child_weight", 0), ("reg_lambda", 0)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value < math.inf:
                raise InputError(f"{name} of the booster should be a number >= {low}, found {value!r}")
        if self.learning_rate == 0:
            raise InputError("learning_rate of the booster should be above 0, found 0")
        if self.threads is not None and (not isinstance(self.threads, int) or self.threads < 1):
            raise InputError(f"threads should be a whole number >= 1, found {self.threads!r}")
        for name in self.more or ():
            if name in _REFUSED:
                raise InputError(f"more settings of the booster should not hold {name!r}: it has a setting of its own")

    def build(self, seed: int) -> Any:
        """Return a new xgboost.XGBClassifier."""
        try:
            import xgboost
        except ImportError as error:
            raise missing_extra("xgboost", "tabular") from error
        return xgboost.XGBClassifier(
            objective="binary:logistic",
            tree_method="hist",
            n_estimators=int(self.trees),
            max_depth=int(self.depth),
            learning_rate=self.learning_rate,
            min_child_weight=self.min_child_weight,
            reg_lambda=self.reg_lambda,
            nthread=self.threads or os.cpu_count() or 1,
            random_state=seed,
            **dict(self.more or {}),
        )

    def describe(self) -> dict[str, Any]:
        """Return what names this model; the number of threads is no part of it."""
        return {"kind": "xgboost", **{key: value for key, value in asdict(self).items() if key != "threads"}}

    @property
    def merges(self) -> bool:
        """Whether rows of one molecule and label may be merged into one: not where rows are drawn at random."""
        return float((self.more or {}).get("subsample", 1)) == 1


def build(model: Any, seed: int) -> Any:
    """
    Return a new, unfitted classifier.

    Parameters
    ----------
    model
        A Booster, or a scikit-learn classifier (it is cloned).
    seed
        Given to it as random_state where it has that parameter.
    """
    if isinstance(model, Booster):
        return model.build(seed)
    from sklearn.base import clone

    made = clone(model)
    if "random_state" in made.get_params(deep=False):
        made.set_params(random_state=seed)
    return made


def check_model(model: Any) -> None:
    """Raise InputError unless `model` can be a proxy and a final model."""
    if isinstance(model, Booster):
        return
    name = type(model).__name__
    for method in ("fit", "predict_proba", "get_params"):
        if not hasattr(model, method) or isinstance(model, type):
            raise InputError(
                f"the classifier should be a Booster or a scikit-learn classifier (an instance) with {method}; "
                f"found {model if isinstance(model, type) else name}"
            )
    try:
        from sklearn.utils.validation import has_fit_parameter
    except ImportError as error:
        raise missing_extra("scikit-learn", "tabular") from error
    if not has_fit_parameter(model, "sample_weight"):
        raise InputError(
            f"the classifier should take sample_weight in fit, found {name} which does not; choose another, since a "
            "mixture acts through the weights of rows"
        )


def describe(model: Any) -> dict[str, Any]:
    """Return what names a model, JSON-able."""
    if isinstance(model, Booster):
        return model.describe()
    kind = type(model)
    return {"kind": f"{kind.__module__}.{kind.__qualname__}", "settings": repr(sorted(model.get_params().items()))}


def merges(model: Any) -> bool:
    """Whether merging equal rows leaves the fit of this model as it is."""
    return isinstance(model, Booster) and model.merges


def from_name(name: str, settings: Mapping[str, Any]) -> Any:
    """
    Return a scikit-learn classifier by its dotted name, such as sklearn.linear_model.LogisticRegression.

    Raises
    ------
    InputError
        It is not in scikit-learn, there is no such class, or its settings do not fit.
    """
    module, _, kind = name.rpartition(".")
    if not module.startswith("sklearn."):
        raise InputError(
            f"the classifier should be one of scikit-learn, such as sklearn.linear_model.LogisticRegression; found "
            f"{name!r}; other ones are given from Python"
        )
    try:
        made = getattr(import_module(module), kind)(**settings)
    except ModuleNotFoundError as error:
        if error.name == "sklearn":
            raise missing_extra("scikit-learn", "tabular") from error
        raise InputError(f"the classifier should be one of scikit-learn, found {name!r}; correct the name") from error
    except AttributeError as error:
        raise InputError(f"the classifier should be one of scikit-learn, found {name!r}; correct the name") from error
    except TypeError as error:
        raise InputError(f"the settings of {name} should be its parameters; found: {error}") from error
    check_model(made)
    return made


def suited(model: Any, features: Any) -> Any:
    """Return features as a model takes them: dense where it does not read sparse ones."""
    if not hasattr(features, "tocsr"):
        return features
    from sklearn.utils import get_tags

    return features if get_tags(model).input_tags.sparse else features.toarray()


def fit(model: Any, features: Any, labels: NDArray[Any], weights: Array | None, seed: int) -> Any:
    """Return a classifier fitted to rows with weights [n] (None: all the same)."""
    made = build(model, seed)
    features = suited(made, features)
    made.fit(features, labels) if weights is None else made.fit(features, labels, sample_weight=weights)
    return made


def check_fitted(fitted: Any, features: Any, name: str) -> None:
    """Raise InputError unless a model is fitted to such features and to the classes 0 and 1."""
    if not hasattr(fitted, "predict_proba") or not hasattr(fitted, "classes_"):
        raise InputError(f"{name} should be a fitted classifier with predict_proba, found {type(fitted).__name__}")
    width = getattr(fitted, "n_features_in_", features.shape[1])
    if width != features.shape[1]:
        raise InputError(
            f"the table should have the features that {name} was trained on ({width}), found {features.shape[1]}; "
            "make the fingerprints with the same settings"
        )
    try:
        classes = [float(c) for c in fitted.classes_]
    except (TypeError, ValueError):
        classes = list(fitted.classes_)
    if classes != [0.0, 1.0]:
        raise InputError(f"{name} should know the classes 0 and 1, found {classes}; train it on both")


def positive(fitted: Any, features: Any, name: str = "a proxy") -> Array:
    """
    Return the probability of a 1, [n].

    Raises
    ------
    InputError
        The model was trained on other features than these, or on one class.
    """
    check_fitted(fitted, features, name)
    return np.asarray(fitted.predict_proba(suited(fitted, features))[:, 1], np.float64)
