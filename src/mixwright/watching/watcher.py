"""From a training's own steps to observations: what each source's rows showed since the last one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mixwright.checks import reading_state, whole_number
from mixwright.errors import InputError
from mixwright.mixture import Mixture
from mixwright.observation import Observation
from mixwright.simplex import entropy
from mixwright.stream.plan.ledger import Ledger
from mixwright.watching.statistics import FIELDS, SampledStatistics
from mixwright.watching.window import Window

Array = NDArray[np.float64]
Measure = Callable[[Any], Any]  # model -> [k] or [m], the same on every rank
GIVEN = frozenset({"planned", "loss"}) | FIELDS  # what every training reports; the rest is measured
ROWS = ("rows", "loss")


def row_means(window: Window) -> dict[str, Array]:
    """Return the counts and mean losses of an observation, from sums of `ROWS`."""
    return {"counts": window["rows"], "loss": window.mean("loss")}


def excess_means(window: Window) -> dict[str, Array]:
    """Return the fields of `row_means`, with the mean excess over a reference, from sums that have "excess" too."""
    return {**row_means(window), "excess_loss": window.mean("excess")}


class Watcher:
    """
    Adds up what training steps show of each source and, when it is time, passes an observation to a mixture.

    It is the same for the reference loop, for a Trainer of transformers and for preference pairs; they differ in what
    is added up.

    Parameters
    ----------
    mixture
        Whose strategy observes.
    every
        Steps between two observations.
    batch_size
        Rows of a step, of all ranks.
    names, fields
        What is added up per source in each step, and how the fields of an observation follow from the sums.
    measures
        {field of Observation: model -> array}: measured when an observation is due, if the strategy reads the field.
    statistics
        How gradient statistics are sampled; None: they are not.
    held_out
        Whether `evaluated` will get a loss of every source.

    Attributes
    ----------
    since, logged
        Sums since the last observation, and since the last line of the log.
    held_out
        [k] the last held-out losses; nan before the first.
    observation
        The last one; None before the first.

    Examples
    --------
    >>> from mixwright import GroupDRO, Mixture
    >>> watcher = Watcher(Mixture(["en", "hi"], GroupDRO(learning_rate=1.0)), every=2, batch_size=4)
    >>> for step in range(2):
    ...     watcher.add(np.array([[2.0, 2.0], [4.0, 6.0]]), planned=np.array([0.5, 0.5]))
    ...     observed = watcher.observe(step)
    >>> watcher.observation.loss
    array([2., 3.])
    """

    def __init__(
        self,
        mixture: Mixture,
        every: int,
        batch_size: int,
        names: Sequence[str] = ROWS,
        fields: Callable[[Window], dict[str, Array]] = row_means,
        *,
        measures: Mapping[str, Measure] | None = None,
        statistics: SampledStatistics | None = None,
        held_out: bool = False,
    ) -> None:
        self.mixture, self.every, self.batch_size, self.statistics = mixture, every, batch_size, statistics
        self._fields, self._measures, self._evaluates = fields, dict(measures or {}), held_out
        self.since, self.logged = Window(names, mixture.k), Window(names, mixture.k)
        self.held_out = np.full(mixture.k, np.nan)
        self.observation: Observation | None = None
        self._alarms = 0

    @property
    def given(self) -> set[str]:
        """Return the fields that an observation will have, for `Mixture.check`."""
        found = {"planned", *self._fields(self.since), *self._measures} - {"counts"}
        found |= {"eval_loss"} if self._evaluates else set()
        return found | (self.statistics.fields if self.statistics is not None else set())

    def add(self, sums: Array, planned: Array) -> None:
        """Add a step: its sums [names, k] over all ranks, and the weights [k] that drew its rows."""
        for window in (self.since, self.logged):
            window.add(sums, planned)

    def skip(self) -> None:
        """Count a step that was left out."""
        for window in (self.since, self.logged):
            window.skipped += 1

    def observe(self, step: int, model: Any = None, ledger: Callable[[], Ledger] | None = None) -> bool:
        """
        Pass an observation to the mixture if one is due after a step; return whether one was.

        Every rank must call it.

        Parameters
        ----------
        step
            From 0, the one that was just done and added.
        model
            For the measures.
        ledger
            Returns the plan's account, for the log of decisions.
        """
        # no step since the last observation (all were skipped): there is nothing to observe
        if (step + 1) % self.every or not self.since.steps:
            return False
        self.mixture.prepare(step)
        observation = Observation(step=step, batch_size=self.batch_size, **self._found(step, model))
        # a ledger goes through the whole plan: make one only for a log
        account = None if ledger is None or self.mixture.log is None else ledger()
        self.mixture.observe(observation, account)
        self._alarms += bool(self.mixture.alarm)
        self.observation = observation
        self.since.clear()
        return True

    def _found(self, step: int, model: Any) -> dict[str, Any]:
        read = self.mixture.strategy.needs | self.mixture.strategy.uses
        found: dict[str, Any] = {**self._fields(self.since), "planned": self.since.planned / self.since.steps}
        # a measure may run the model on every source: only what the strategy reads is measured
        found |= {name: measure(model) for name, measure in self._measures.items() if name in read}
        if self._evaluates and "eval_loss" in read - set(found):
            found["eval_loss"] = self.held_out
        # take() even if nothing reads it: ranks meet there, and its window must end; what was measured goes before
        return found if self.statistics is None else {**self.statistics.take(step, self.batch_size), **found}

    def evaluated(self, metrics: Mapping[str, Any] | None) -> None:
        """Keep the held-out losses, eval_NAME_loss, of data sets that are named after sources."""
        for i, name in enumerate(self.mixture.sources):
            if (metrics or {}).get(f"eval_{name}_loss") is not None:
                self.held_out[i] = float((metrics or {})[f"eval_{name}_loss"])

    def line(self, values: Mapping[str, Array], weights: Array) -> dict[str, float]:
        """
        Return a line of the log, and begin the sums of the next one.

        Parameters
        ----------
        values
            {what: [k]}: they become mixture/WHAT/NAME, without those that are not known.
        weights
            [k] in force: their entropy (nats) is logged, with the alarms since the last line.
        """
        lines = {
            f"mixture/{what}/{name}": float(value)
            for what, numbers in {**values, "weight": weights}.items()
            for name, value in zip(self.mixture.sources, numbers, strict=True)
            if np.isfinite(value)
        }
        lines |= {"mixture/entropy": entropy(weights), "mixture/alarms": float(self._alarms)}
        self.logged.clear()
        self._alarms = 0
        return lines

    def state_dict(self) -> dict[str, Any]:
        """Return the state as JSON-able values, without the mixture's."""
        return {
            "every": self.every,
            "since": self.since.state_dict(),
            "logged": self.logged.state_dict(),
            "alarms": self._alarms,
            "held_out": [None if np.isnan(value) else value for value in self.held_out.tolist()],
            "observation": None if self.observation is None else self.observation.to_json(),
            "statistics": None if self.statistics is None else self.statistics.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any], gathered: bool = False) -> None:
        """
        Go on where a state was taken, also by an earlier version; `gathered`: see `SampledStatistics`.

        Raises
        ------
        InputError
            If observations were made at other steps, or with gradient statistics and now without, or the reverse, or if
            the state is damaged. The watcher is then as it was.
        """
        if not isinstance(state, Mapping):
            raise InputError(f"there should be a state of what a training observes, found {state!r:.80}")
        state = {"every": self.every, "statistics": None, **state}
        for name, found, now in (
            ("observe_every", state["every"], self.every),
            ("statistics", state["statistics"] is not None, self.statistics is not None),
        ):
            if found != now:
                raise InputError(f"{name} should be the checkpoint's ({found!r}), found {now!r}; use the same")
        before = self.state_dict()
        try:
            with reading_state("what a training observes"):
                self._load(state, gathered)
        except InputError:
            self._load(before, False)
            raise

    def _load(self, state: Mapping[str, Any], gathered: bool) -> None:
        if "losses" in state:  # the reference loop kept only the sums since the last observation
            state = {**state, "since": {**state, "sums": state["losses"]}}
        else:
            self.logged.load_state_dict(state["logged"])
            self._alarms, seen = whole_number(state["alarms"], "alarms", 0), state["observation"]
            held_out = np.array([np.nan if value is None else float(value) for value in state["held_out"]])
            if held_out.shape != (self.mixture.k,):
                raise ValueError(f"there should be {self.mixture.k} held-out losses, found {len(held_out)}")
            self.held_out = held_out
            self.observation = None if seen is None else Observation.from_json(seen)
        self.since.load_state_dict(state["since"])
        if self.statistics is not None:
            self.statistics.load_state_dict(state["statistics"], gathered)
