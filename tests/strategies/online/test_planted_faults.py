"""Faults as one would make them in these strategies, a line each: the conformance suite catches every one."""

import re
from dataclasses import dataclass

import numpy as np
import pytest

from mixwright import ADO, GRAPE, ODM, Aioli, DoGE, DoReMi, LossRatio, SkillIt
from mixwright.strategies.online._power_law import PowerLaws
from mixwright.strategies.online._products import Products
from mixwright.strategies.online.doremi import DoReMiState
from mixwright.testing import STRATEGY_CHECKS, StrategyCase

RNG = np.random.default_rng(0)
KEPT: list[np.ndarray] = []
LAWS: dict[int, PowerLaws] = {}


@dataclass(frozen=True)
class AliasOfThePrior(DoReMi):
    def init(self, prior):
        state = super().init(prior)
        return state._replace(moving=state.moving._replace(prior=prior))


@dataclass(frozen=True)
class MeanKeptBeside(DoReMi):
    """Smooths with weights that live in the process: a checkpoint does not have them."""

    def update(self, state, obs):
        moved = super().update(state, obs)
        KEPT.append(moved.moving.weights)
        recent = np.mean([weights for weights in KEPT[-3:] if len(weights) == len(obs.counts)], 0)
        with np.errstate(divide="ignore"):
            return moved._replace(moving=moved.moving._replace(log_weights=np.log(recent)))


@dataclass(frozen=True)
class UnseenIsZero(DoReMi):
    """A source without rows has an excess of whatever stands there, instead of its last one."""

    def update(self, state, obs):
        excess = np.nan_to_num(obs.excess_loss)
        return DoReMiState(state.moving.moved(excess, self.smoothing), excess)


@dataclass(frozen=True)
class AverageOfTheSums(DoReMi):
    def average(self, state):
        return state.moving.total


@dataclass(frozen=True)
class WritesTheLatest(LossRatio):
    def update(self, state, obs):
        known = ~np.isnan(obs.eval_loss)
        state.latest[known] = obs.eval_loss[known]
        return super().update(state, obs)


@dataclass(frozen=True)
class UnknownIsNoNumber(LossRatio):
    """Adds what is unknown to the weights."""

    def update(self, state, obs):
        logs = state.moving.log_weights + obs.eval_loss - obs.reference_loss
        return state._replace(moving=state.moving.replaced(logs))


@dataclass(frozen=True)
class TodaysWeights(ODM):
    """Divides by what it would draw now: it reads no planned weights, and says that it does."""

    needs = frozenset({"loss"})


@dataclass(frozen=True)
class PlainExponential(ODM):
    def weights(self, state):
        weights = state.prior * np.exp(state.rewards)
        return weights / weights.sum()


@dataclass(frozen=True)
class DrawsAnArm(ODM):
    """A bandit that samples: two ranks would draw different arms."""

    def update(self, state, obs):
        state = super().update(state, obs)
        return state._replace(rewards=state.rewards * RNG.random())


@dataclass(frozen=True)
class ColumnsOfTheUnseen(DoGE):
    """Masks the rows of unseen sources in the products, but not their columns."""

    def _read(self, obs):
        return obs.gram, np.diag(obs.gram)


@dataclass(frozen=True)
class ProductsWithNan(DoGE):
    def _scores(self, products):
        return Products(products.flat, products.norms).matrix.sum(1) * 0 + np.nan_to_num(products.matrix[:, 0], nan=9.0)


@dataclass(frozen=True)
class TargetsFromTheStart(GRAPE):
    """Weighs the first sources more, as if there were a target for each."""

    def update(self, state, obs):
        moved = super().update(state, obs)
        return moved._replace(moving=moved.moving.moved(-0.1 * np.arange(len(obs.counts))))


@dataclass(frozen=True)
class WindowThatGrows(SkillIt):
    """Appends losses without end: a state of another shape than at the start."""

    def update(self, state, obs):
        grown = super().update(state, obs)
        return grown._replace(losses=np.concatenate([state.losses, grown.losses[-1:]]))


@dataclass(frozen=True)
class StartsTilted(SkillIt):
    def starts_at(self, prior):
        return prior.copy()

    def weights(self, state):
        return self._tilted(state.prior, np.linspace(0, 1, len(state.prior)))


@dataclass(frozen=True)
class FitBesideTheState(ADO):
    """Keeps the laws in the process: a run that resumes between two fits has those of another moment."""

    warmup: int = 2
    refit: int = 3

    def update(self, state, obs):
        k = len(obs.counts)
        moved = super().update(state._replace(laws=LAWS.get(k, state.laws)), obs)
        LAWS[k] = moved.laws
        return moved._replace(laws=state.laws)


@dataclass(frozen=True)
class OneHotOfOne(Aioli):
    """Shares what is left among k - 1 sources, without a thought of k = 1."""

    def weights(self, state):
        k = len(state.before)
        out = np.full(k, (1 - self.strength) / (k - 1) if k > 1 else 0.0)
        out[state.position % k] = self.strength
        return out


FAULTS = [
    (AliasOfThePrior, "hold a copy of the prior"),
    (MeanKeptBeside, "update should give the same state from the same arguments"),
    (UnseenIsZero, "whatever unseen sources report"),
    (AverageOfTheSums, "sum 1"),
    (WritesTheLatest, "update should not write to the state"),
    (UnknownIsNoNumber, "finite and at least 0, found"),
    (TodaysWeights, r"found \['planned'\]"),
    (PlainExponential, "overflow|finite"),
    (DrawsAnArm, "update should give the same state from the same arguments"),
    (ColumnsOfTheUnseen, "whatever unseen sources report"),
    (ProductsWithNan, "permuted weights should be"),
    (TargetsFromTheStart, "permuted weights should be"),
    (WindowThatGrows, "the checkpoint is of other sources"),
    (StartsTilted, "the first weights should be"),
    (FitBesideTheState, "resumed weights should be"),
    (OneHotOfOne, "the weight of one source should be 1"),
]


@pytest.mark.parametrize(("strategy", "message"), FAULTS, ids=lambda value: getattr(value, "__name__", ""))
def test_the_suite_catches_it(strategy, message):
    found = []
    for check in STRATEGY_CHECKS:
        try:
            check(StrategyCase(lambda k: strategy()))
        except Exception as error:
            found.append(f"{check.__name__}: {error}")
    assert any(re.search(message, text) for text in found), found


def test_the_same_strategies_without_the_fault_pass_where_it_was_caught():
    """What a fault derives from passes every check (Aioli but for the order of its perturbations)."""
    for good in {fault.__mro__[1] for fault, _ in FAULTS}:
        for check in STRATEGY_CHECKS:
            if (good, check.__name__) != (Aioli, "permuting_permutes"):
                check(StrategyCase(lambda k, good=good: good()))
