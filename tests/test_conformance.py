"""Every strategy, and every wrapper around each, keeps to what the suite checks; the suite finds what does not."""

import re
from dataclasses import dataclass, replace
from inspect import signature
from itertools import product
from typing import NamedTuple

import numpy as np
import pytest

from mixwright import (
    ADO,
    AMAR,
    AMAS,
    Aioli,
    BalancedPiKE,
    DoGE,
    DoReMi,
    Every,
    Floor,
    GroupDRO,
    Guard,
    LossRatio,
    PiKE,
    Schedule,
    SkillIt,
    Smooth,
    Static,
    Strategy,
    Temperature,
    UniMax,
    Warmup,
)
from mixwright import strategies as room
from mixwright.strategies.amas import ESTIMATORS
from mixwright.strategy import Strategy as Base
from mixwright.strategy import carrying
from mixwright.testing import STRATEGY_CHECKS, StrategyCase, check_strategy

SHARES = np.array([0.4, 0.25, 0.15, 0.08, 0.06, 0.04, 0.02])


def shares(k, turn=0):
    out = np.roll(SHARES, turn)[:k]
    return out / out.sum()


def scheduled(k):
    return Schedule({0: shares(k), 20: shares(k, 3), 50: shares(k)}, interpolate=True)


def turned(schedule, order):
    table = {step: np.array(value)[order] for step, value in zip(schedule.steps, schedule.values, strict=True)}
    return Schedule(table, schedule.interpolate)


def sizes_of(strategy, order):
    return tuple(np.array(strategy.sizes)[order])


def who_helps(k, m=None):
    return np.cos(np.outer(np.arange(1, k + 1), np.arange(1, (m or k) + 1)))


def turned_graph(strategy, order):
    return np.array(strategy.graph)[np.ix_(order, order)]


def turned_order(strategy, order):
    """Perturb the same sources one after another: position j of the new order is what was at order[j]."""
    return replace(strategy, order=np.argsort(order)[list(strategy.order)])


PLAIN = {
    "static-prior": StrategyCase(lambda k: Static()),
    "static": StrategyCase(lambda k: Static(shares(k)), lambda s, order: Static(np.array(s.shares)[order])),
    "schedule": StrategyCase(scheduled, turned),
    "temperature-prior": StrategyCase(lambda k: Temperature(5.0)),
    "temperature": StrategyCase(
        lambda k: Temperature(2.0, 100 * shares(k)), lambda s, order: Temperature(2.0, sizes_of(s, order))
    ),
    "unimax": StrategyCase(
        lambda k: UniMax(1000 * shares(k), 900), lambda s, order: UniMax(sizes_of(s, order), s.budget, s.max_epochs)
    ),
    **{
        f"pike-{rule}": StrategyCase(lambda k, rule=rule: PiKE(rule=rule))
        for rule in ("exponentiated", "restoring", "optimal")
    },
    **{
        f"pike-{rule}-numbers": StrategyCase(lambda k, rule=rule: PiKE(zeta1=0.1, zeta2=0.1, rule=rule, floor=0.02))
        for rule in ("exponentiated", "restoring", "optimal")
    },
    "pike-no-floor": StrategyCase(lambda k: PiKE(floor=0.0, variance=False, decay=0.0)),
    "balanced": StrategyCase(lambda k: BalancedPiKE(3.0)),
    "balanced-optimal": StrategyCase(lambda k: BalancedPiKE(1.0, rule="optimal", reading="steps", loss="loss")),
    "balanced-held-out": StrategyCase(
        lambda k: BalancedPiKE(5.0, zeta1=0.1, zeta2=0.05, rule="restoring", loss="eval_loss")
    ),
    "ama-r": StrategyCase(lambda k: AMAR()),
    "ama-r-cap": StrategyCase(lambda k: AMAR(1.0, 0.2, 0.55)),
    **{f"ama-s-{estimator}": StrategyCase(lambda k, e=estimator: AMAS(estimator=e)) for estimator in ESTIMATORS},
    "ama-s-cap": StrategyCase(lambda k: AMAS(0.7, 0.0, cap=0.6)),
    "group-dro": StrategyCase(lambda k: GroupDRO()),
    "doremi-no-floor": StrategyCase(lambda k: DoReMi(0.5, 0.0)),
    "loss-ratio": StrategyCase(lambda k: LossRatio()),
    "loss-ratio-given": StrategyCase(
        lambda k: LossRatio(2 * shares(k), clip=False, smoothing=0.01),
        lambda s, order: LossRatio(np.array(s.reference)[order], clip=False, smoothing=0.01),
    ),
    **{
        f"doge-{objective}-{scale}": StrategyCase(lambda k, o=objective, s=scale: DoGE(0.1, o, s, clip=s == "norm"))
        for objective, scale in (("sources", "square"), ("sources", "norm"), ("targets", "square"), ("targets", "none"))
    },
    "skillit": StrategyCase(lambda k: SkillIt()),
    "skillit-graph": StrategyCase(lambda k: SkillIt(who_helps(k)), lambda s, order: SkillIt(turned_graph(s, order))),
    "skillit-targets": StrategyCase(
        lambda k: SkillIt(who_helps(k, 2), loss="target_loss"),
        lambda s, order: SkillIt(np.array(s.graph)[order], loss="target_loss"),
    ),
    "aioli": StrategyCase(lambda k: Aioli(order=range(k)), turned_order),
    "aioli-ema": StrategyCase(lambda k: Aioli(0.5, 1.0, 2, 0.9, ema=0.1, order=range(k)), turned_order),
    "ado-rarely": StrategyCase(lambda k: ADO(warmup=2, refit=3)),  # first: it is quicker, and goes into every wrapper
    "ado": StrategyCase(lambda k: ADO(warmup=2, refit=1)),
    "group-dro-held-out": StrategyCase(lambda k: GroupDRO(0.3, 0.05, 0.7, loss="eval_loss")),
}
ROOM = {name: value for name in room.__all__ if isinstance(value := getattr(room, name), type)}
HAVE_A_CASE = {type(case.make(7)) for case in PLAIN.values()}
PLAIN |= {  # a new strategy, with its defaults
    name: StrategyCase(lambda k, cls=cls: cls())
    for name, cls in ROOM.items()
    if cls not in HAVE_A_CASE and all(p.default is not p.empty for p in signature(cls).parameters.values())
}
WRAPPERS = {
    "floor": lambda inner: Floor(inner, 0.05),
    "warmup": lambda inner: Warmup(inner, 30),
    "every": lambda inner: Every(inner, 15),
    "smooth": lambda inner: Smooth(inner, 0.3),
    "guard": lambda inner: Guard(inner, entropy=0.8, lower=0.01, upper=0.6),
    "guard-prior": lambda inner: Guard(inner, entropy=0.9, fallback="prior"),
    "all": lambda inner: Guard(Smooth(Floor(Every(Warmup(inner, 10), 14), 0.03), 0.5)),
}


def wrapped(wrap, case):
    def permute(strategy, order):
        inner = strategy
        while hasattr(inner, "strategy"):
            inner = inner.strategy
        return wrap(case.permute(inner, order))

    return StrategyCase(lambda k: wrap(case.make(k)), permute)


# Each strategy within each wrapper, and other settings of it within all at once: a wrapper
# sees what a strategy observes and returns, not its settings.
ONE_OF_EACH = {type(case.make(7)): name for name, case in reversed(PLAIN.items())}.values()
CASES = PLAIN | {
    f"{name}({inner})": wrapped(WRAPPERS[name], PLAIN[inner])
    for name, inner in product(WRAPPERS, PLAIN)
    if name == "all" or inner in ONE_OF_EACH
}


@pytest.mark.parametrize("name", CASES)
def test_every_strategy_and_every_wrapper_conforms(name):
    check_strategy(CASES[name])


def test_no_strategy_is_left_out():
    tested = set()
    for case in CASES.values():
        strategy = case.make(7)
        while isinstance(strategy, Base):
            tested.add(type(strategy).__name__)
            strategy = getattr(strategy, "strategy", None)
    assert tested == set(ROOM)


class Logits(NamedTuple):
    logits: np.ndarray
    updates: int


@dataclass(frozen=True)
class Good(Strategy[Logits]):
    """More weight where the loss was higher."""

    rate: float = 1e-3
    needs = frozenset({"loss"})

    def init(self, prior):
        with np.errstate(divide="ignore"):
            return Logits(np.log(prior), 0)

    def update(self, state, obs):
        return Logits(
            state.logits + self.rate * np.where(np.isnan(obs.loss) | (obs.counts == 0), 0, obs.loss), state.updates + 1
        )

    def weights(self, state):
        weights = np.exp(state.logits - state.logits.max())
        return weights / weights.sum()


def test_a_strategy_of_ones_own():
    check_strategy(lambda k: Good())


@dataclass(frozen=True)
class NoState(Good):
    def weights(self, state):
        state.logits.sort()
        return super().weights(state)


@dataclass(frozen=True)
class Impure(Good):
    def update(self, state, obs):
        state.logits[:] += 0.1 * np.arange(len(state.logits))
        return state


@dataclass(frozen=True)
class Alias(Good):
    def init(self, prior):
        return Logits(prior, 0)

    def weights(self, state):
        return state.logits / state.logits.sum()

    def update(self, state, obs):
        return state


@dataclass(frozen=True)
class Overflows(Good):
    def weights(self, state):
        weights = np.exp(state.logits * 1e-2)
        return weights / weights.sum()


@dataclass(frozen=True)
class Elsewhere(Good):
    def init(self, prior):
        return Logits(np.zeros(len(prior)), 0)


@dataclass(frozen=True)
class Undeclared(Good):
    needs = frozenset()


@dataclass(frozen=True)
class Greedy(Good):
    def update(self, state, obs):
        return super().update(state, obs)._replace(updates=int(obs.eval_loss is None))


@dataclass(frozen=True)
class Unseen(Good):
    def update(self, state, obs):
        return Logits(state.logits + self.rate * np.nan_to_num(obs.loss), state.updates + 1)


@dataclass(frozen=True)
class Unknown(Good):
    needs = frozenset({"grad_variance"})

    def update(self, state, obs):
        return Logits(state.logits + 1e-9 * np.where(obs.counts > 0, obs.grad_variance, 0), state.updates + 1)


@dataclass(frozen=True)
class Positions(Good):
    def update(self, state, obs):
        return Logits(state.logits + 0.01 * np.arange(len(obs.counts)), state.updates + 1)


@dataclass(frozen=True)
class Short(Good):
    def __repr__(self):
        return "Short(rate=0.5)"


@dataclass(frozen=True)
class Half(Good):
    def weights(self, state):
        return super().weights(state) * (1.0 if len(state.logits) > 1 else 0.5)


UPDATES = []


@dataclass(frozen=True)
class Hidden(Good):
    def update(self, state, obs):
        UPDATES.append(obs.step)
        return Logits(super().update(state, obs).logits, len(UPDATES))


@dataclass(frozen=True)
class NoneFirst(Good):
    """A field that is None at first comes back from JSON as a list."""

    def init(self, prior):
        return Second(super().init(prior).logits, None)

    def update(self, state, obs):
        return Second(super().update(Logits(state.logits, 0), obs).logits, obs.counts / obs.counts.sum())

    def weights(self, state):
        if state.shares is None:
            return super().weights(state)
        return 0.5 * (super().weights(state) + state.shares.reshape(-1))


class Second(NamedTuple):
    logits: np.ndarray
    shares: np.ndarray | None


@dataclass(frozen=True)
class Kept(Good):
    carries = carrying(kept="logits updates")


@dataclass(frozen=True)
class Moves(Good):
    """Another strategy when the sources change, which is wrong."""

    def for_sources(self, change):
        return Twice()


@dataclass(frozen=True)
class Twice(Good):
    def weights(self, state):
        return 2 * super().weights(state)


@dataclass
class Thawed:
    pass


@pytest.mark.parametrize(
    ("strategy", "message"),
    [
        (NoState, "reading weights should not change the state"),
        (Impure, "update should not write to the state"),
        (Alias, "hold a copy of the prior"),
        (Overflows, "overflow|finite"),
        (Elsewhere, "the first weights should be"),
        (Undeclared, r"update should read \[\] alone, found \['loss'\]"),
        (Greedy, r"update should read \['loss'\] alone, found \['eval_loss'\]"),
        (Unseen, "whatever unseen sources report"),
        (Unknown, "finite and at least 0, found"),
        (Positions, "permuted weights should be"),
        (Short, "the repr should give an equal strategy"),
        (Half, "sum 1"),
        (Hidden, "update should give the same state from the same arguments"),
        (Kept, r"'logits' of shape \(3,\), expected \(4,\)"),
        (Moves, "sum 1, found"),
        (NoneFirst, "'list' object has no attribute 'reshape'"),
        (lambda: Thawed(), r"should be a mixwright.Strategy"),
    ],
)
def test_the_suite_finds_what_is_wrong(strategy, message):
    case = StrategyCase(lambda k: strategy())
    found = []
    for check in STRATEGY_CHECKS:
        try:
            check(case)
        except Exception as error:
            found.append(f"{type(error).__name__}: {error}")
    assert found
    assert any(re.search(message, text) for text in found), found
