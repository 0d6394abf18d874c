"""Sampling apart from the weights: rows are drawn by shares q, and a row's loss counts w / q."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mixwright.batch_losses import source_factors
from mixwright.checks import by_name
from mixwright.constraints.limits import Constraints
from mixwright.errors import AlarmWarning, InputError
from mixwright.mixture import Mixture
from mixwright.strategies import Static
from mixwright.strategy import Strategy

Array = NDArray[np.float64]
MOST = 20.0  # how often a row may count: above, single rows decide a step
_ROUNDING = 1e-6


def sampling_shares(sampling: Any, rows: Mapping[str, int], strategy: Strategy[Any], prior: Any) -> Array | None:
    """
    Return the shares q [k] that rows are drawn by where weights act on the loss; None: rows are drawn by the weights.

    Parameters
    ----------
    sampling
        {source: share} or [k] with the sum 1, "uniform", "natural" (by rows) or "prior". None: by the weights, or by
        the prior if the strategy's weights may act on the loss alone.
    rows
        {source: rows}.
    strategy, prior
        Of the mixture.

    Raises
    ------
    InputError
        If `sampling` is not as above, or the strategy's weights may not act on the loss.
    """
    if sampling is None and "sampling" in strategy.apply:
        return None
    if sampling is None or (isinstance(sampling, str) and sampling == "prior"):
        return Mixture(rows, Static(), prior=prior).prior
    if isinstance(sampling, str):
        if sampling not in ("uniform", "natural"):
            raise InputError(
                "sampling should be 'uniform', 'natural', 'prior' or one share per source, which sum to 1, found "
                f"{sampling!r}"
            )
        return Mixture(rows, Static(), prior=sampling).prior
    values = by_name(sampling, tuple(rows), "sampling", None) if isinstance(sampling, Mapping) else list(sampling)
    if len(values) != len(rows):
        raise InputError(f"sampling should have one share per source ({len(rows)}), found {len(values)}")
    try:
        return np.array(Static(values).shares, np.float64)
    except InputError as error:
        raise InputError(f"sampling: {error}") from error


def held_within(constraints: Constraints | None, rows: Mapping[str, int], sampling: Array) -> Constraints | None:
    """Return the constraints with a cap of `MOST` x q on each weight: where a strategy asks for more, it is held."""
    names, given = tuple(rows), constraints or Constraints()
    if np.all(MOST * sampling >= 1):
        return constraints
    _, upper = given.bounds(len(names), names, list(rows.values()))
    caps = np.minimum(upper, MOST * sampling)
    return replace(given, caps=dict(zip(names, caps.tolist(), strict=True)))


class RowWeights:
    """
    What a row counts in a step where rows are drawn by q and the weights w act on the loss: w_s / q_s.

    The objective of a step is 1 / T x the sum over its T supervised tokens of w_s / q_s x the token's loss, s being the
    source of the token's row; all ranks and micro-batches have a part in T. If the sources have their share q
    of the tokens, that is the sum over the sources of w_s x mean loss of s.

    Parameters
    ----------
    mixture
        Gives w.
    sampling
        q [k].
    steps
        Of the training: weights that are known in advance are checked for each of them.

    Raises
    ------
    InputError
        If a row would count more than `MOST` times at the start, or at any step whose weights are known.

    Examples
    --------
    >>> mixture = Mixture(["code", "web"], Static([0.75, 0.25]))
    >>> RowWeights(mixture, np.array([0.5, 0.5]), steps=10).at(0)
    array([1.5, 0.5])
    """

    def __init__(self, mixture: Mixture, sampling: Array, steps: int) -> None:
        self.mixture, self.sampling = mixture, sampling
        self._said: set[str] = set()
        mixture.alarm_on = self.alarm_on
        strategy = mixture.strategy
        if strategy.weights_at(0) is None:
            self._check(strategy.weights(mixture.state), 0)
        else:
            for step in range(steps):
                self._check(strategy.weights_at(step), step)

    def at(self, step: int) -> Array:
        """
        Return what a row of each source counts in a step, [k]; 1 for a source that is not drawn.

        Warns
        -----
        AlarmWarning
            The first time that a source's weight is held at `MOST` x its share.
        """
        weights = self.mixture.weights_for(step)
        self._check(weights, step)
        factors = source_factors(weights, self.sampling)
        if new := [name for name in self._held(weights) if name not in self._said]:
            self._said.update(new)
            warnings.warn(f"at step {step}: {_held_words(new)}", AlarmWarning, stacklevel=2)
        return factors

    def alarm_on(self, weights: Array) -> str:
        """Return an alarm for the log if weights [k] are held at `MOST` x their share; "" if none is."""
        held = self._held(weights)
        return _held_words(held) if held else ""

    def _held(self, weights: Array) -> list[str]:
        held = np.flatnonzero((weights >= MOST * self.sampling * (1 - _ROUNDING)) & (self.sampling > 0))
        return [self.mixture.sources[i] for i in held.tolist()]

    def _check(self, weights: Any, step: int) -> None:
        """Raise InputError if a row would count more than `MOST` times."""
        over = np.asarray(weights) > MOST * self.sampling * (1 + _ROUNDING)
        for i in np.flatnonzero(over).tolist():
            name, weight, share = self.mixture.sources[i], float(weights[i]), float(self.sampling[i])
            found = f"{weight / share:.4g} times" if share else "without bound, since none is drawn,"
            raise InputError(
                f"a row should count at most {MOST:g} times (weight / share in sampling), found {found} for {name!r} "
                f"at step {step} (weight {weight:.4g}, share {share:.4g}); give it a share of at least "
                f"{weight / MOST:.4g} in sampling"
            )


def _held_words(names: Sequence[str]) -> str:
    """Say that the weights of sources are held."""
    return (
        f"a row of {' or '.join(map(repr, names))} counts {MOST:g} times, the most that is allowed, and its weight is "
        "held there; raise its share in sampling"
    )
