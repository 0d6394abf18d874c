"""What every strategy keeps to, as checks that run under pytest or without it: for strategies of your own, too."""

from __future__ import annotations

import dataclasses
import importlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mixwright.errors import InputError
from mixwright.observation import Observation
from mixwright.source_change import SourceChange
from mixwright.strategy import Strategy, carried, state_from_json, state_to_json

Array = NDArray[np.float64]
OPTIONAL = tuple(f.name for f in dataclasses.fields(Observation)[3:])
STEPS = 10


@dataclass(frozen=True)
class StrategyCase:
    """
    A strategy to be checked.

    Parameters
    ----------
    make
        From a number of sources to the strategy.
    permute
        From a strategy and an order [k] to the strategy whose hyperparameters per source are in that order; leave it
        out where there are none.
    names
        Names that the strategy's repr uses, beside the public ones of its own module and of `mixwright`.

    Examples
    --------
    >>> from mixwright import Temperature
    >>> sizes = np.array([5.0, 3.0, 2.0, 1.0, 1.0, 1.0, 1.0])
    >>> StrategyCase(
    ...     make=lambda k: Temperature(2.0, sizes[:k]),
    ...     permute=lambda strategy, order: Temperature(2.0, np.array(strategy.sizes)[order]),
    ... ).make(2)
    Temperature(temperature=2.0, sizes=(5.0, 3.0))
    """

    make: Callable[[int], Strategy[Any]]
    permute: Callable[[Strategy[Any], Array], Strategy[Any]] = lambda strategy, order: strategy
    names: dict[str, Any] = field(default_factory=dict)


@lru_cache(maxsize=64)
def observations(
    k: int, count: int = STEPS, seed: int = 0, scale: float = 1.0, unseen: float = 0.2, unknown: float = 0.1
) -> tuple[Observation, ...]:
    """
    Return made-up observations with every field: some sources unseen, some entries unknown, some norms below 0.

    `scale` multiplies losses (and its square the gradient statistics); `unseen` and `unknown` are shares.
    """
    rng = np.random.default_rng(seed)
    out = []
    for update in range(count):
        counts = np.where(rng.random(k) < unseen, 0, rng.integers(1, 20, k))
        counts[rng.integers(k)] = 5
        factors = rng.normal(size=(k, 3)) * scale
        values = {
            "planned": rng.dirichlet(np.ones(k)),
            "loss": rng.gamma(2.0, scale, k),
            "eval_loss": rng.gamma(2.0, scale, k),
            "excess_loss": rng.gamma(1.0, scale, k),
            "grad_sq_norm": rng.normal(1.0, 1.0, k) * scale**2,
            "grad_variance": rng.gamma(2.0, scale**2, k),
        }
        for name in ("eval_loss", "grad_sq_norm", "grad_variance"):
            values[name][rng.random(k) < unknown] = np.nan
        for name in values.keys() - {"planned"}:
            values[name][counts == 0] = np.nan
        gram = np.where(np.outer(counts, counts) > 0, factors @ factors.T, np.nan)
        values |= {"target_loss": rng.gamma(2.0, scale, 2), "gram": gram}
        values |= _later_fields(np.random.default_rng([seed, update]), k, counts, scale, unknown)
        out.append(Observation(7 * update + 6, 32, counts, **values))
    return tuple(out)


def _later_fields(rng: np.random.Generator, k: int, counts: Array, scale: float, unknown: float) -> dict[str, Array]:
    """Return fields that came later, from numbers of their own: those of the others stay as they were."""
    reference, products = rng.gamma(2.0, scale, k), rng.normal(size=(k, 2)) * scale**2
    reference[rng.random(k) < unknown] = np.nan
    products[rng.random((k, 2)) < unknown] = np.nan
    seen = counts > 0
    return {
        "reference_loss": np.where(seen, reference, np.nan),
        "target_gram": np.where(seen[:, None], products, np.nan),
    }


def declarations(case: StrategyCase) -> None:
    """Check that needs, uses, apply and draw are declared, and that the strategy is a frozen dataclass."""
    strategy = case.make(3)
    _that(isinstance(strategy, Strategy), "should be a mixwright.Strategy")
    _that(dataclasses.is_dataclass(strategy), "should be a dataclass")
    _that(type(strategy).__dataclass_params__.frozen, "should be a frozen dataclass")  # type: ignore[attr-defined]
    for name, known in (
        ("needs", (*OPTIONAL, "counts")),
        ("uses", OPTIONAL),
        ("apply", ("sampling", "loss")),
        ("draw", ("carry", "iid")),
    ):
        declared = getattr(strategy, name)
        _that(isinstance(declared, frozenset), f"{name} should be a frozenset, found {declared!r}")
        _that(declared <= set(known), f"{name} should be among {sorted(known)}, found {sorted(declared)}")
    _that(bool(strategy.apply) and bool(strategy.draw), "apply and draw should not be empty")
    _that(not strategy.needs & strategy.uses, "a field should be in needs or in uses, not in both")


def on_the_simplex(case: StrategyCase) -> None:
    """Check that weights are on the simplex, after every update, for k = 1, 2, 7 and several priors."""
    for k, prior in _priors():
        for weights in _path(case.make(k), prior, observations(k)):
            _simplex(weights, k)


def starts_where_it_says(case: StrategyCase) -> None:
    """Check that the first weights equal `starts_at`: the prior, unless the strategy says otherwise."""
    for k, prior in _priors():
        strategy = case.make(k)
        _same(strategy.weights(strategy.init(prior.copy())), strategy.starts_at(prior.copy()), "the first weights")


def one_source_gets_all(case: StrategyCase) -> None:
    """Check that the weight of a single source is 1."""
    for weights in _path(case.make(1), np.ones(1), observations(1)):
        _that(weights.tolist() == [1.0], f"the weight of one source should be 1, found {weights.tolist()}")


def reading_writes_nothing(case: StrategyCase) -> None:
    """Check that weights and remarks change nothing, and that weights can be written to without harm."""
    strategy = case.make(3)
    for state in _states(strategy, _prior(3), observations(3)):
        before, weights = state_to_json(state), strategy.weights(state).copy()
        json.dumps(strategy.remarks(state), allow_nan=False)
        strategy.weights_at(5)
        given = strategy.weights(state)
        if given.flags.writeable:
            given[:] = -1.0  # a reader that writes
        _that(state_to_json(state) == before, "reading weights should not change the state")
        _same(strategy.weights(state), weights, "weights that are read again")


def update_is_pure(case: StrategyCase) -> None:
    """Check that an update leaves its state as it was, and gives the same from the same."""
    strategy = case.make(3)
    state = strategy.init(_prior(3))
    for obs in observations(3):
        before = state_to_json(state)
        once, again = strategy.update(state, obs), strategy.update(state, obs)
        _that(state_to_json(state) == before, "update should not write to the state it is given")
        _that(state_to_json(once) == state_to_json(again), "update should give the same state from the same arguments")
        state = once


def averages_are_on_the_simplex(case: StrategyCase) -> None:
    """Check that `average` is None for every state, or always on the simplex and `starts_at` before any update."""
    for k, prior in _priors():
        strategy = case.make(k)
        states = list(_states(strategy, prior, observations(k)))
        found = [strategy.average(state) for state in states]
        _that(len({mean is None for mean in found}) == 1, "average should be None for every state, or for none")
        for state, mean in zip(states, found, strict=True):
            if mean is None:
                continue
            _simplex(mean, k)
            kept = mean.copy()
            if mean.flags.writeable:
                mean[:] = -1.0  # a reader that writes
            _same(strategy.average(state), kept, "an average that is read again")
        if found[0] is not None:
            _same(strategy.average(states[0]), strategy.starts_at(prior.copy()), "the average of no updates")


def prior_is_not_kept(case: StrategyCase) -> None:
    """Check that the state holds no alias of the prior."""
    strategy, prior = case.make(3), _prior(3)
    state = strategy.init(prior)
    weights, before = strategy.weights(state).copy(), state_to_json(state)
    prior[:] = [0.0, 0.0, 1.0]
    _that(state_to_json(state) == before, "the state should hold a copy of the prior")
    _same(strategy.weights(state), weights, "weights after the prior's array was written to")


def resumes_through_json(case: StrategyCase) -> None:
    """Check that a state that went through JSON gives the same weights, bit by bit, after each update that follows."""
    strategy, prior, seen = case.make(3), _prior(3), observations(3)
    states = list(_states(strategy, prior, seen))
    for stop, state in enumerate(states):
        text = json.dumps(state_to_json(state), allow_nan=False)
        resumed = state_from_json(strategy.init(prior.copy()), json.loads(text))
        _that(
            strategy.weights(resumed).tobytes() == strategy.weights(state).tobytes(),
            "resumed weights should be the same",
        )
        for obs, undisturbed in zip(seen[stop:], states[stop + 1 :], strict=True):
            resumed = strategy.update(resumed, obs)
            found, expected = strategy.weights(resumed), strategy.weights(undisturbed)
            if found.tobytes() != expected.tobytes():
                raise AssertionError(f"resumed weights should be {expected}, found {found}")
        _that(state_to_json(resumed) == state_to_json(states[-1]), "a resumed state should end as the undisturbed one")


def permuting_permutes(case: StrategyCase) -> None:
    """Check that sources in another order get the same weights in that order."""
    for k, order in ((2, [1, 0]), (7, [3, 0, 6, 1, 5, 2, 4])):
        strategy, prior = case.make(k), _prior(k)
        other = case.permute(strategy, np.array(order))
        straight = _path(strategy, prior, observations(k))
        turned = _path(other, prior[order], [_permuted(obs, order) for obs in observations(k)])
        for a, b in zip(straight, turned, strict=True):
            _same(b, a[order], "permuted weights", 1e-9, 1e-12)


def ignores_unseen(case: StrategyCase) -> None:
    """Check that the values of a source with count 0 do not matter."""
    for fill in (1e3, 0.0):
        seen = observations(3, unseen=0.5)
        filled = [_filled(obs, fill) for obs in seen]
        for a, b in zip(_path(case.make(3), _prior(3), seen), _path(case.make(3), _prior(3), filled), strict=True):
            _same(b, a, "weights whatever unseen sources report")


def finite_at_any_scale(case: StrategyCase) -> None:
    """Check that weights stay on the simplex for losses from 0 to 1e8, and nothing overflows without a word."""
    for k in (1, 3):
        high, low = observations(k, scale=1e8), observations(k, scale=1e-8)
        mixed = [(high if i % 2 else low)[i] for i in range(STEPS)]
        for seen in (observations(k, scale=0.0), observations(k, scale=1e8), observations(k, scale=1e-8), mixed):
            with np.errstate(over="raise", invalid="raise", divide="raise"):
                for weights in _path(case.make(k), _prior(k), seen):
                    _simplex(weights, k)


def bears_unknown_values(case: StrategyCase) -> None:
    """Check that entries that are unknown (nan) of sources that were seen leave weights on the simplex."""
    for share in (0.5, 1.0):
        for weights in _path(case.make(3), _prior(3), observations(3, unseen=0.0, unknown=share)):
            _simplex(weights, 3)


def reads_what_it_declares(case: StrategyCase) -> None:
    """Check that an update reads no optional field beyond `needs` and `uses`, and can do without those of `uses`."""
    strategy = case.make(3)
    state = bare = strategy.init(_prior(3))
    for obs in observations(3):
        watched = _Watched(**{f.name: getattr(obs, f.name) for f in dataclasses.fields(obs)})
        state = strategy.update(state, watched)
        undeclared = watched.was_read - strategy.needs - strategy.uses
        _that(
            not undeclared,
            f"update should read {sorted(strategy.needs | strategy.uses)} alone, found {sorted(undeclared)}",
        )
        given = {name: getattr(obs, name) for name in strategy.needs - {"counts"}}
        bare = strategy.update(bare, Observation(obs.step, obs.batch_size, obs.counts, **given))
        _simplex(strategy.weights(bare), 3)


def repr_round_trips(case: StrategyCase) -> None:
    """Check that evaluating the repr gives an equal strategy with the same repr."""
    strategy = case.make(3)
    back = eval(repr(strategy), _names(strategy) | case.names)  # the text is the strategy's own
    _that(back == strategy, f"the repr should give an equal strategy, found {back!r} from {strategy!r}")
    _that(repr(back) == repr(strategy), f"the repr should stay, found {back!r} from {strategy!r}")


def known_steps_are_on_the_simplex(case: StrategyCase) -> None:
    """Check that `weights_at` gives weights on the simplex, or None."""
    for step in (0, 1, 10, 10**6):
        known = case.make(3).weights_at(step)
        if known is not None:
            _simplex(known, 3)


def goes_on_with_other_sources(case: StrategyCase) -> None:
    """Check that a strategy whose sources change refuses, or goes on with weights on the simplex, resumed or not."""
    names, seen = ("a", "b", "c"), observations(3)
    changes = (
        SourceChange.add(names, {"d": 0.25}),
        SourceChange.remove(names, ["b"]),
        SourceChange.split(names, "a", {"x": 3, "y": 1}),
    )
    strategy = case.make(3)
    for change in changes:
        *_, state = _states(strategy, _prior(3), seen)
        try:
            other = strategy.for_sources(change)
            found = fresh = other.init(change.weights(_prior(3)))
        except InputError:
            continue
        before = state_to_json(state)
        if other.carries:
            found = carried(other, state, change, fresh)
        _that(state_to_json(state) == before, "a change of sources should not write to the state it is given")
        again = state_from_json(fresh, json.loads(json.dumps(state_to_json(found), allow_nan=False)))
        for obs in observations(len(change.names)):
            _simplex(other.weights(found), len(change.names))
            found, again = other.update(found, obs), other.update(again, obs)
            _that(state_to_json(found) == state_to_json(again), "a state of other sources should go through JSON")


STRATEGY_CHECKS: tuple[Callable[[StrategyCase], None], ...] = (
    declarations,
    on_the_simplex,
    starts_where_it_says,
    one_source_gets_all,
    reading_writes_nothing,
    update_is_pure,
    averages_are_on_the_simplex,
    prior_is_not_kept,
    resumes_through_json,
    permuting_permutes,
    ignores_unseen,
    finite_at_any_scale,
    bears_unknown_values,
    reads_what_it_declares,
    repr_round_trips,
    known_steps_are_on_the_simplex,
    goes_on_with_other_sources,
)


def check_strategy(case: StrategyCase | Callable[[int], Strategy[Any]]) -> None:
    """
    Do all of `STRATEGY_CHECKS`; AssertionError says which property does not hold and what was found.

    Parameters
    ----------
    case
        A `StrategyCase`, or what makes the strategy from a number of sources.

    Examples
    --------
    >>> from mixwright import PiKE
    >>> check_strategy(lambda k: PiKE())
    """
    case = case if isinstance(case, StrategyCase) else StrategyCase(case)
    for check in STRATEGY_CHECKS:
        check(case)


class _Watched(Observation):
    """An observation that writes down which of its optional fields are read."""

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "was_read", set())

    def __getattribute__(self, name: str) -> Any:
        if name in OPTIONAL:
            log = object.__getattribute__(self, "__dict__").get("was_read")
            if log is not None:
                log.add(name)
        return super().__getattribute__(name)


def _priors() -> Iterator[tuple[int, Array]]:
    for k in (1, 2, 7):
        yield k, np.full(k, 1 / k)
        yield k, _prior(k)
        yield k, np.eye(k)[k - 1]


def _prior(k: int) -> Array:
    weights = np.arange(k, 0, -1.0) ** 2
    return weights / weights.sum()


def _states(strategy: Strategy[Any], prior: Array, seen: Sequence[Observation]) -> Iterator[Any]:
    state = strategy.init(prior.copy())
    yield state
    for obs in seen:
        state = strategy.update(state, obs)
        yield state


def _path(strategy: Strategy[Any], prior: Array, seen: Sequence[Observation]) -> list[Array]:
    return [strategy.weights(state).copy() for state in _states(strategy, prior, seen)]


def _permuted(obs: Observation, order: list[int]) -> Observation:
    values = {name: getattr(obs, name) for name in OPTIONAL}
    turned = {name: value if name == "target_loss" else value[order] for name, value in values.items()}
    turned["gram"] = values["gram"][np.ix_(order, order)]
    return Observation(obs.step, obs.batch_size, obs.counts[order], **turned)


def _filled(obs: Observation, fill: float) -> Observation:
    unseen, values = obs.counts == 0, {name: getattr(obs, name) for name in OPTIONAL}
    for name in values.keys() - {"planned", "target_loss", "gram", "target_gram"}:
        values[name] = np.where(unseen, fill, values[name])
    values["target_gram"] = np.where(unseen[:, None], fill, values["target_gram"])
    values["gram"] = np.where(np.add.outer(unseen, unseen), fill, values["gram"])
    return Observation(obs.step, obs.batch_size, obs.counts, **values)


def _names(strategy: Strategy[Any]) -> dict[str, Any]:
    """Return what a repr may use: public names of mixwright's strategies, and those of the strategy's own module."""
    strategies = importlib.import_module("mixwright.strategies")
    own = vars(importlib.import_module(type(strategy).__module__))
    return {
        **{name: getattr(strategies, name) for name in strategies.__all__},
        **own,
        type(strategy).__name__: type(strategy),
    }


def _simplex(weights: Any, k: int) -> None:
    if not isinstance(weights, np.ndarray) or weights.shape != (k,):
        raise AssertionError(f"weights should be an array [{k}], found {weights!r}")
    if not np.isfinite(weights).all() or np.any(weights < 0):
        raise AssertionError(f"weights should be finite and at least 0, found {weights}")
    if abs(float(weights.sum()) - 1) > 1e-9:
        raise AssertionError(f"weights should have the sum 1, found {weights} with the sum {weights.sum()!r}")


def _same(found: Any, expected: Array, what: str, rtol: float = 1e-12, atol: float = 1e-15) -> None:
    if not np.allclose(found, expected, rtol, atol):
        raise AssertionError(f"{what} should be {expected}, found {found}")


def _that(holds: bool, text: str) -> None:
    if not holds:
        raise AssertionError(text)
