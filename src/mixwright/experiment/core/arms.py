"""From an arm of the configuration to what is trained: fixed weights, a strategy, or a search that is to come."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mixwright.compare import ArmInfo
from mixwright.errors import InputError
from mixwright.experiment.core.compare_config import ArmConfig
from mixwright.mixture import Mixture
from mixwright.mixture_file import MixtureFile
from mixwright.strategies import from_config
from mixwright.strategies.registry import is_known
from mixwright.strategy import Strategy
from mixwright.watching.watcher import GIVEN

Weights = tuple[float, ...]
MEASURED = frozenset({"eval_loss"})  # what runs over texts measure for strategies
OF_TARGETS = frozenset({"target_loss", "target_gram"})  # with targets also these, on their search parts


def describe(arm: ArmConfig, per: str, several: bool) -> ArmInfo:
    """Return an arm as reports name it; `per`: what a row of evidence is; `several`: whether there are more targets."""
    words = {
        "uniform": "equal weights",
        "natural": "in proportion to the sources' sizes",
        "best_single": "the source whose proxy suits the target best" + (", for each target" if several else ""),
        "target_alone": "the target's own training rows, no source",
        "mixture": f"the weights of {arm.mixture.name if arm.mixture else ''}",
        "weights": "the weights given in the configuration",
        "strategy": f"weights that follow a strategy: {arm.strategy}, from {arm.prior}",
    }
    text = words.get(arm.kind) or _search_words(arm, per, several)
    own = {None: "", True: ", with the target's own rows", False: ", without the target's own rows"}[arm.own_rows]
    apart = "" if arm.sampling is None else f", in the loss; rows are drawn by {arm.sampling}"
    return ArmInfo(arm.title, arm.kind, text + own + apart, arm.per_target)


def _search_words(arm: ArmConfig, per: str, several: bool) -> str:
    if arm.proxy_run:
        given = f" with {arm.parameters}" if arm.parameters else ""
        return f"the mean weights of a proxy run of {arm.search}{given}, from {arm.prior}"
    if arm.search == "worst_regret":
        return f"least worst regret over all targets, per {per}"
    return f"MixMin per {per}" + (", a mixture for each target" if several else "")


def fixed_weights(arm: ArmConfig, sources: Sequence[str], sizes: Sequence[float]) -> Weights | None:
    """
    Return the weights [k] of an arm that needs no search; None for one that does, or that follows a strategy.

    Raises
    ------
    InputError
        A mixture file or weights that name other sources, or do not sum to 1.
    """
    k = len(sources)
    if arm.baseline == "uniform":
        return (1 / k,) * k
    if arm.baseline == "natural":
        return tuple(size / sum(sizes) for size in sizes)
    if arm.mixture is not None:
        return _from_file(arm, sources)
    if arm.weights is not None:
        return _given(arm.weights, sources, "the weights")
    return None


def _from_file(arm: ArmConfig, sources: Sequence[str]) -> Weights:
    assert arm.mixture is not None
    path = Path(arm.mixture)
    if is_known(path.name) and not path.exists():
        raise InputError(f"should be a mixture file, found the strategy {path.name}; give it as strategy: {path.name}")
    file = MixtureFile.read(path)
    if file.unit == "tokens":
        raise InputError(f"{arm.mixture} has shares of tokens, a training draws rows; convert it, or search again")
    weights = dict(zip(file.sources, file.weights, strict=True))
    return _given(weights, sources, f"the weights of {arm.mixture}")


def _given(weights: Mapping[str, float], sources: Sequence[str], where: str) -> Weights:
    if unknown := [name for name in weights if name not in sources]:
        raise InputError(
            f"{where} should name the sources of this configuration ({', '.join(sources)}), found {unknown[0]!r}"
        )
    values = tuple(float(weights.get(name, 0.0)) for name in sources)
    if abs(sum(values) - 1) > 1e-6:
        raise InputError(f"{where} should sum to 1, found {sum(values):g}; correct them")
    return values


def strategy_of(
    arm: ArmConfig, sources: Sequence[str], measured: frozenset[str] = frozenset(), apart: bool = False
) -> Strategy[Any] | None:
    """
    Return the strategy of an arm, checked against what a training of texts reports; None if it has none.

    Parameters
    ----------
    arm, sources
        Whose strategy; the names of the sources.
    measured
        Fields of Observation that the training measures besides what every training reports.
    apart
        Whether rows are drawn by shares of their own (`sampling`), and the weights act on the loss.

    Raises
    ------
    InputError
        There is no such strategy, or it needs what this training does not report: said before anything is trained.
    """
    if arm.strategy is None:
        return None
    strategy = from_config(arm.strategy, sources=sources)
    apart = apart or arm.sampling is not None
    apply = "loss" if apart or "sampling" not in strategy.apply else "sampling"
    Mixture(dict.fromkeys(sources, 1), strategy).check(GIVEN | measured, apply=apply, draw="carry")
    return strategy
