"""A mixture in training: sources, a strategy, its state and the log of its decisions."""

from __future__ import annotations

import json
import operator
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mixwright.checks import by_name, reading_state, unique_names
from mixwright.constraints.limits import Constraints
from mixwright.errors import AlarmWarning, InputError
from mixwright.files import atomic_write, explain_write_error
from mixwright.observation import Observation
from mixwright.simplex import entropy, normalise
from mixwright.source_change import SourceChange
from mixwright.steering.hand import Hand
from mixwright.steering.hands import Hands
from mixwright.steering.reigns import Reigns
from mixwright.strategies.registry import from_config
from mixwright.strategy import (
    Strategy,
    carried,
    check_fed,
    check_revisions,
    differences,
    recorded,
    require_strategy,
    state_from_json,
    state_to_json,
)

if TYPE_CHECKING:
    from mixwright.stream.plan.ledger import Ledger
    from mixwright.stream.plan.settings import PlanSettings

Array = NDArray[np.float64]
VERSION = 1


class Mixture:
    """
    Sources with weights that a strategy changes: the one object with a state, on every rank the same.

    The weights that follow an observation of step t act from step t + lag on. So they do not depend on how far ahead
    a loader reads, and a resumed run has those of an undisturbed one.

    Parameters
    ----------
    sources
        Names, or rows by name.
    strategy
        The rule.
    lag
        Steps between an observation and the first step of its weights: more than what is read ahead (`check_ahead`).
    prior
        [k], {source: weight} (0 where not named), "uniform", or "natural" (in proportion to rows).
    log
        A file to which each decision is appended as a line of JSON; on one rank only.
    constraints
        What weights are allowed: the strategy's are projected onto it (the nearest allowed ones), also the first. The
        strategy itself sees nothing of it. `max_epochs` needs sources as {name: rows}; `max_distance` is from `prior`.

    Attributes
    ----------
    alarm
        Of the last decision, as the log has it; "" if there was none.
    alarm_on
        Returns an alarm about decided weights [k], or "", beside those of the strategy.
    listener
        Called with the sources and the line of the log after each decision, whether there is a log or not.

    Raises
    ------
    InputError
        If an argument is not as above, the strategy's weights do not fit the sources, or nothing is allowed.

    Examples
    --------
    >>> from mixwright import Mixture, Schedule
    >>> mixture = Mixture(["en", "hi"], Schedule({0: [1.0, 0.0], 10: [0.5, 0.5]}))
    >>> mixture.weights_for(10)
    array([0.5, 0.5])
    """

    def __init__(
        self,
        sources: Iterable[str] | Mapping[str, int],
        strategy: Strategy[Any],
        lag: int = 8,
        prior: str | Mapping[str, float] | Sequence[float] | Array = "uniform",
        log: str | PathLike[str] | None = None,
        constraints: Constraints | None = None,
    ) -> None:
        require_strategy(strategy, "strategy should be a Strategy")
        if isinstance(lag, bool) or not isinstance(lag, int | np.integer) or lag < 1:
            raise InputError(f"lag should be a whole number of at least 1, found {lag!r}")
        self.sources, self.strategy, self.lag = unique_names(sources), strategy, int(lag)
        self.prior = _prior(prior, sources, self.sources)
        self.log = None if log is None else Path(log)
        self.hands = Hands(sources, self.sources, self.prior, constraints)
        self.constraints = self.hands.limits
        self._reigns = Reigns(strategy, self.sources)
        self._reported: tuple[frozenset[str], str, str] | None = None
        self._state = strategy.init(self.prior.copy())
        self._timeline: list[tuple[int, Array]] = [(0, self._allowed(self._given()))]
        self._asked, self._last, self._decisions, self._own_log = -1, -1, 0, False
        self._introduced = False  # whether the log has the sources
        self.alarm = ""  # of the last decision
        self.alarm_on: Callable[[Array], str] | None = None
        self.listener: Callable[[tuple[str, ...], Mapping[str, Any]], None] | None = None

    @property
    def k(self) -> int:
        """Return the number of sources."""
        return len(self.sources)

    @property
    def state(self) -> Any:
        """Return the strategy's state after the last observation."""
        return self._state

    @property
    def last_strategy(self) -> Strategy[Any]:
        """Return the strategy that gives the weights once all holds that is set by hand so far."""
        return self._reigns.made(self.hands.last.strategy)

    def weights_for(self, step: int) -> Array:
        """Return the weights [k] that the plan of a step asks; once asked, they stay."""
        self._turn(step)
        self._asked = max(self._asked, step)
        return self._weights_at(step)

    def _weights_at(self, step: int) -> Array:
        known = self._reigns.at(step).weights_at(step)
        if known is not None:
            return self.hands.in_force(self._allowed(self._checked(known)), step)
        if step < self._timeline[0][0]:
            raise InputError(f"weights are kept only from step {self._timeline[0][0]}; step {step} was requested")
        return self.hands.in_force(next(w for begins, w in reversed(self._timeline) if begins <= step), step)

    def set_weights(self, weights: Mapping[str, float] | Sequence[float] | None, at_step: int | None = None) -> int:
        """
        Let weights by name or [k] hold instead of the strategy's; None: the strategy's again. See `steer` for the rest.

        The strategy goes on observing meanwhile.
        """
        return self.steer(self.hands.last.weighed(weights, self.sources), at_step)

    def pin(self, shares: Mapping[str, float], at_step: int | None = None) -> int:
        """
        Hold sources at shares; the strategy's weights share the rest in proportion. See `steer` for the rest.

        Examples
        --------
        >>> from mixwright import Mixture, Static
        >>> mixture = Mixture(["code", "books", "web"], Static([0.5, 0.25, 0.25]))
        >>> mixture.pin({"code": 0.2}, at_step=10)
        10
        >>> mixture.weights_for(10).round(3)
        array([0.2, 0.4, 0.4])
        """
        return self.steer(self.hands.last.pinned(shares, self.sources), at_step)

    def unpin(self, names: Iterable[str] | None = None, at_step: int | None = None) -> int:
        """Let pinned sources (None: all) follow the strategy again. See `steer` for the rest."""
        return self.steer(self.hands.last.unpinned(names), at_step)

    def steer(self, hand: Hand, at_step: int | None = None) -> int:
        """
        Let what is set by hand hold from a step on; return the step.

        Every rank must do the same. It is part of the state, and later decisions in the log name it.

        Parameters
        ----------
        hand
            All that is set by hand from there on.
        at_step
            A step that is not planned yet; None: the first one.

        Raises
        ------
        InputError
            If the step is planned already or before the last change, or `constraints` do not allow it. Nothing is
            changed then.
        """
        step = self.check_steer(hand, at_step)
        self.hands.add(hand, step)
        return step

    def check_steer(self, hand: Hand, at_step: int | None = None) -> int:
        """Return the step from which `steer` would let this hold; InputError as there."""
        step = self.hands.check(hand, at_step, self._asked)
        if hand.strategy != self.hands.last.strategy:
            # an observation that was read by one strategy cannot go to another one
            if self._last >= 0 and step < self._last + self.lag:
                raise InputError(
                    f"another strategy should begin at step {self._last + self.lag} or later (the weights before are "
                    f"decided), found {step}"
                )
            if hand.strategy is not None and self._reported is not None:
                check_fed(from_config(hand.strategy, self.sources), *self._reported)
        return step

    def prepare(self, step: int) -> None:
        """
        Let the strategy take over that reads the observation of a step, if it was changed by hand.

        `observe` does this, too. Who measures what the strategy needs calls it before.
        """
        self._turn(step + self.lag - 1)

    def _turn(self, step: int) -> None:
        """Let strategies take over that were set by hand for steps up to this one."""
        while found := self.hands.turn(*self._reigns.last[:2], step):
            before = self._weights_at(max(found[0] - 1, 0))
            self.strategy, self._state = self._reigns.take_over(*found, self._state, before)
            kept = [each for each in self._timeline if each[0] < found[0]]
            self._timeline = [*kept, (found[0], self._allowed(self._given()))]

    def observe(self, observation: Observation, ledger: Ledger | None = None) -> Array:
        """
        Update the strategy; return its weights [k], which act from observation.step + lag on.

        Parameters
        ----------
        observation
            The same on every rank, of a later step than the last one.
        ledger
            The plan's, for the log.

        Raises
        ------
        InputError
            If a field is absent that the strategy needs, the step is not a later one, or the plan has been asked for
            the step from which the weights would act: the message says which lag is needed. Nothing is changed then.

        Warns
        -----
        AlarmWarning
            If the strategy's remarks on its new state hold an alarm; the log has it, too.
        """
        begins = observation.step + self.lag
        self.prepare(observation.step)
        self._check_observation(observation, begins)
        before, self._state = self._state, self.strategy.update(self._state, observation)
        try:
            given = self._given()
            allowed = self._allowed(given)
            weights = self.hands.in_force(allowed, begins)
            remarks = self._remarks(weights)
            line = self._decision(observation, begins, weights, given, remarks, ledger)
            self._write(line)
        except BaseException:
            self._state = before
            raise
        self.alarm = remarks.get("alarm", "")
        self._last, self._decisions, self._introduced = observation.step, self._decisions + 1, True
        # without what is set by hand: that may still change before the step comes
        self._timeline.append((begins, allowed))
        while len(self._timeline) > 1 and self._timeline[1][0] <= self._last:
            del self._timeline[0]
        if self.listener is not None:
            self.listener(self.sources, line)
        if alarm := self.strategy.remarks(self._state).get("alarm"):
            warnings.warn(f"after step {observation.step}: {alarm}", AlarmWarning, stacklevel=2)
        return weights.copy()

    def with_sources(self, change: SourceChange, sources: Iterable[str] | Mapping[str, int] | None = None) -> Mixture:
        """
        Return a mixture of other sources that goes on where this one is; this one stays as it is.

        Weights, those that are decided but not yet in force too, go over as `SourceChange` says, and so do the prior,
        and what is set by hand. The strategy's state goes over if it can; else it begins again from those weights.

        Parameters
        ----------
        change
            From the sources of this mixture.
        sources
            The new sources, with their rows if a constraint counts epochs; None: their names.

        Raises
        ------
        InputError
            The strategy or the constraints do not fit the new sources, or no source that stays has a weight.

        Warns
        -----
        AlarmWarning
            If the strategy begins again.
        """
        if change.before != self.sources:
            raise InputError(f"the change should be one of {list(self.sources)}, found {list(change.before)}")
        own, prior = self._reigns.own.for_sources(change), change.weights(self.prior)
        named = change.names if sources is None else sources
        try:
            new = Mixture(named, own, self.lag, prior, self.log, self.hands.constraints)
        except InputError as error:
            name = type(own).__name__
            raise InputError(f"{name} and the constraints should fit the new sources, found: {error}") from error
        new.hands.replace(self.hands.for_sources(change))
        new._take(self, change)
        return new

    def _take(self, other: Mixture, change: SourceChange) -> None:
        """Take over what another mixture of the former sources is at."""
        # what rests is of the former sources: it starts again when it comes back
        turns = [(begins, self.hands.at(begins).strategy) for begins, _ in other._reigns.to_json()["turns"]]
        self._reigns = self._reigns.loaded({"turns": turns, "resting": {}})
        strategy = self.strategy = self._reigns.last[2]
        # one that does not fit the new sources has given way to what was set after it
        if strategy.carries and self._reigns.last[1] == other._reigns.last[1]:
            self._state = carried(strategy, other._state, change, strategy.init(self.prior.copy()))
        else:
            self._state = strategy.init(change.weights(np.array(other.strategy.weights(other._state))))
            said = "cannot take its state over to other sources: it begins again from the weights in force"
            warnings.warn(f"{type(strategy).__name__} {said}", AlarmWarning, stacklevel=3)
        moved = [(begins, self._checked(change.weights(weights))) for begins, weights in other._timeline]
        self._timeline = [(begins, self._allowed(weights)) for begins, weights in moved]
        self._last, self._decisions, self._own_log = other._last, other._decisions, other._own_log
        self._reported, self.listener = other._reported, other.listener

    def check(self, given: Iterable[str] = (), apply: str = "sampling", draw: str = "carry") -> None:
        """
        Check a run before its first step: what it reports, how weights act and how rows are drawn.

        Raises
        ------
        InputError
            If the strategy needs a field that is not in `given`, or is not right for `apply` or `draw`.
        """
        check_fed(self.strategy, given, apply, draw)
        self._reported = frozenset(given), apply, draw

    @property
    def reported(self) -> tuple[frozenset[str], str, str] | None:
        """Return what `check` was given; None before."""
        return self._reported

    def check_log(self) -> None:
        """Raise InputError if the log has the decisions of an earlier run."""
        log = self.log
        if log is not None and not self._own_log and log.exists() and log.stat().st_size:
            raise InputError(
                f"{log} holds the decisions of an earlier run; resume from its checkpoint, remove the file to begin "
                "again, or choose another one"
            )

    def check_ahead(self, steps: int) -> None:
        """Raise InputError if `lag` does not cover steps that are planned before the step at work is observed."""
        if self.strategy.weights_at(0) is None and self.lag <= steps:
            raise InputError(
                f"workers and prefetching plan {steps} steps ahead, so lag should be at least {steps + 1}, found "
                f"{self.lag}; use lag={steps + 1}"
            )

    def check_plan(self, settings: PlanSettings) -> None:
        """Raise InputError if a plan has other sources, or draws rows as the strategy cannot use them."""
        if settings.names != self.sources:
            raise InputError(
                f"the plan and the mixture should have the same sources in the same order, found "
                f"{list(settings.names)[:5]} and {list(self.sources)[:5]}"
            )
        if "sampling" not in self.strategy.apply:
            raise InputError(
                f"{type(self.strategy).__name__} weights losses (apply='loss'), and a Mixture in a plan draws rows; "
                "give the plan `mixture.prior`, and a step's rows `row_weights(mixture.weights_for(step), source)`"
            )
        check_fed(self.strategy, self.strategy.needs, "sampling", settings.draw)

    @property
    def average(self) -> Array | None:
        """The mean [k] of the weights so far, within what is allowed, where the strategy's answer is one; else None."""
        mean = self.strategy.average(self._state)
        return None if mean is None else self._allowed(self._checked(mean))

    def state_dict(self) -> dict[str, Any]:
        """Return the state after the last observation as JSON-able numbers and texts."""
        return {
            "version": VERSION,
            "sources": list(self.sources),
            "strategy": repr(self._reigns.own),
            "lag": self.lag,
            "state": state_to_json(self._state),
            "pending": [[begins, weights.tolist()] for begins, weights in self._timeline],
            "last": self._last,
            "decisions": self._decisions,
            "constraints": None if self.constraints is None else self.constraints.described,
            "by_hand": self.hands.to_json(),
            "reigns": self._reigns.to_json(),
            "introduced": self._introduced,
            **recorded(self._reigns.revisions),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """
        Go on where a state was taken; the log is cut back to the decisions that had been made.

        Raises
        ------
        InputError
            If the state is damaged, or of other sources, another strategy or lag. The mixture is then as it was.
        """
        if not isinstance(state, Mapping) or state.get("version") != VERSION:
            raise InputError(f"the state of a mixture should be what Mixture.state_dict returned, version {VERSION}")
        now = self.state_dict()
        state = {
            "constraints": None,
            "by_hand": [],
            "reigns": {"turns": [], "resting": {}},
            "introduced": bool(state.get("decisions")),
            "revisions": {},
            **state,
        }  # a state of a version that had none
        if missing := [name for name in now if name not in state]:
            raise InputError(f"the state of the mixture is damaged: it has no {missing[0]!r}; use another checkpoint")
        for name in ("sources", "strategy", "lag", "constraints"):
            if state[name] != now[name]:
                if name == "strategy" and (differ := differences(str(state[name]), now[name])):
                    raise InputError(f"the checkpoint's strategy is another one: {differ}; use the same")
                raise InputError(
                    f"the checkpoint's {name} is {state[name]!r}, this mixture's is {now[name]!r}; use the same"
                )
        with reading_state("the mixture"):
            reigns = self._reigns.loaded(state["reigns"])
            check_revisions(state["revisions"], reigns.revisions, "the checkpoint")
            strategy = reigns.last[2]
            loaded = state_from_json(strategy.init(self.prior.copy()), state["state"])
            timeline = [(int(begins), self._checked(weights)) for begins, weights in state["pending"]]
            if not timeline:
                raise ValueError("no weights are in force")
            last, decisions = operator.index(state["last"]), operator.index(state["decisions"])
            hands = Hands.from_json(state["by_hand"], self.sources)
        self._cut_log(decisions)
        self.strategy, self._reigns, self._state, self._timeline = strategy, reigns, loaded, timeline
        self.hands.replace(hands)
        self._asked, self._last, self._decisions, self._introduced = -1, last, decisions, bool(state["introduced"])

    def _check_observation(self, observation: Observation, begins: int) -> None:
        if len(observation.counts) != self.k:
            raise InputError(f"an observation should have {self.k} sources, found {len(observation.counts)}")
        if observation.step <= self._last:
            raise InputError(f"an observation should be of a step after {self._last}, found {observation.step}")
        check_fed(self.strategy, observation.given, min(self.strategy.apply), min(self.strategy.draw))
        if begins <= self._asked and self.strategy.weights_at(begins) is None:
            raise InputError(
                f"the weights after step {observation.step} would act from step {begins} on, but step {self._asked} is "
                f"planned already; use lag={self._asked - observation.step + 1} or more, or read less ahead"
            )

    def _given(self) -> Array:
        return self._checked(self.strategy.weights(self._state))

    def _allowed(self, given: Array) -> Array:
        """Return the allowed weights [k] nearest to the strategy's, read-only."""
        return given if self.constraints is None else self.constraints.project(given)

    def _checked(self, weights: Any) -> Array:
        """Return the weights [k], read-only; InputError, which names the strategy, if they are not on the simplex."""
        values = np.array(weights, np.float64)
        on_simplex = values.shape == (self.k,) and np.all(values >= 0) and abs(values.sum() - 1) <= 1e-6
        if not on_simplex:
            raise InputError(
                f"{type(self.strategy).__name__} should give {self.k} weights of at least 0 with the sum 1, found "
                f"{values.tolist()}"
            )
        values.flags.writeable = False
        return values

    def _remarks(self, weights: Array) -> dict[str, Any]:
        """Return what the log says of a decision beside its weights [k]."""
        remarks = self.strategy.remarks(self._state)
        said = self.alarm_on(weights) if self.alarm_on is not None else ""
        return {**remarks, "alarm": "; ".join(filter(None, (remarks.get("alarm"), said)))} if said else remarks

    def _decision(
        self,
        observation: Observation,
        begins: int,
        weights: Array,
        given: Array,
        remarks: Mapping[str, Any],
        ledger: Ledger | None,
    ) -> dict[str, Any]:
        line = {"decision": self._decisions, "begins": begins, "weights": weights.tolist()}
        by_hand = self.hands.at(begins).to_json()
        if self.constraints is not None or by_hand:
            line["strategy_weights"] = given.tolist()  # before the projection, and what is set by hand
        if by_hand:
            line["by_hand"] = by_hand
        line["entropy"] = entropy(weights)  # nats
        if remarks:
            line["remarks"] = remarks
        if not self._introduced:  # what a replay needs to know of the run
            about = {"sources": list(self.sources), "prior": self.prior.tolist(), "lag": self.lag}
            line["run"] = {**about, "strategy": repr(self.strategy)}
        line["observation"] = observation.to_json()
        return line if ledger is None else {**line, "ledger": ledger.to_json()}

    def _write(self, line: Mapping[str, Any]) -> None:
        if self.log is None:
            return
        self.check_log()
        try:
            self.log.parent.mkdir(parents=True, exist_ok=True)
            with open(self.log, "a", encoding="utf-8") as handle:
                handle.write(json.dumps(line, allow_nan=False) + "\n")
        except OSError as error:
            raise explain_write_error(self.log, error) from error
        self._own_log = True

    def _cut_log(self, decisions: int) -> None:
        """Keep the log's first `decisions` decisions: what was decided after the checkpoint is decided again."""
        if self.log is not None and self.log.exists():
            lines = self.log.read_text(encoding="utf-8").splitlines(keepends=True)
            kept = [line for line in lines if line.endswith("\n") and json.loads(line)["decision"] < decisions]
            if len(kept) < len(lines):
                with atomic_write(self.log) as handle:
                    handle.writelines(kept)
        self._own_log = True


def _prior(prior: Any, sources: Any, names: tuple[str, ...]) -> Array:
    if isinstance(prior, str):
        if prior == "uniform":
            return np.full(len(names), 1 / len(names))
        if prior != "natural":
            raise InputError(f"prior should be 'uniform', 'natural' or one weight per source, found {prior!r}")
        if not isinstance(sources, Mapping):
            raise InputError("prior='natural' needs the rows of each source; give sources as {name: rows}")
        return normalise([sources[name] for name in names], "rows")
    values = normalise(by_name(prior, names, "prior") if isinstance(prior, Mapping) else prior, "prior")
    if len(values) != len(names):
        raise InputError(f"prior should have one weight per source ({len(names)}), found {len(values)}")
    return values
