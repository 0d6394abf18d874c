"""The plan: which rows of which sources make the batch of a step, with weights that may change."""

from __future__ import annotations

import copy
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mixwright.checks import whole_number
from mixwright.errors import InputError, missing_extra
from mixwright.source_change import SourceChange
from mixwright.stream.plan.ledger import Ledger
from mixwright.stream.plan.parts import changed_plan
from mixwright.stream.plan.settings import checked_settings, checked_weights
from mixwright.stream.plan.state import from_dict, to_dict
from mixwright.stream.plan.steps import Ended, PlanState, careful_step, check_shares, plain_steps
from mixwright.stream.plan.tokens import Lengths, token_step

if TYPE_CHECKING:
    from mixwright.stream.plan.state import Retired

Array = NDArray[np.float64]
_BLOCK_STEPS, _BLOCK_SLOTS = 64, 1 << 16
_COMPILED = "mixwright.stream.plan.compiled"
_PLAIN_ROWS = 1 << 16  # loading numba takes about a second


@runtime_checkable
class Driver(Protocol):
    """What gives weights to a plan step by step: a `Mixture`."""

    def weights_for(self, step: int) -> Array:
        """Return the weights [k] of a step, fixed once asked."""
        ...


class PlannedStep(NamedTuple):
    """
    The batch of one step.

    Attributes
    ----------
    step
        From 0.
    source, row
        int32 [B] and int64 [B]: the source of each slot, and its row there. A source's rows stand in the order in which
        they are drawn.
    weights
        [k], the shares that the rows were drawn with: those that were asked, over the sources that still give.
    """

    step: int
    source: NDArray[np.int32]
    row: NDArray[np.int64]
    weights: Array

    @property
    def counts(self) -> NDArray[np.int64]:
        """Return how many rows [k] each source gives, in the order of the plan's `sources`."""
        return np.bincount(self.source, minlength=len(self.weights))

    def for_rank(self, rank: int, world_size: int) -> PlannedStep:
        """Return the slots of one rank: the ranks' slots one after another are the batch."""
        world_size = whole_number(world_size, "the world size", 1)
        rank, batch = whole_number(rank, "the rank", 0), len(self.source)
        if rank >= world_size:
            raise InputError(f"the rank should be below the world size {world_size}, found {rank}")
        if batch % world_size:
            raise InputError(
                f"the batch size should be a multiple of the world size {world_size}, found {batch}; use "
                f"{batch // world_size * world_size or world_size} rows a step or another number of ranks"
            )
        part = slice(rank * (batch // world_size), (rank + 1) * (batch // world_size))
        return PlannedStep(self.step, self.source[part], self.row[part], self.weights)


class Plan:
    """
    The rows of every step, on every rank the same, with weights that may change at any step that is not planned yet.

    A source's credit grows by B * w_i a step and is paid in whole rows; what is left is carried on. So the number of
    rows drawn stays within one row of what was asked while weights are constant, within two under changes that do not
    depend on the plan, and within 2 + ln k under any. A source with weight 0 gets nothing and keeps its credit. Each
    row of a source comes once per epoch, in an order that depends on the seed, the source's name and the epoch alone.
    Nothing depends on ranks, workers or chance: the state is a few numbers per source.

    Parameters
    ----------
    sizes
        Rows of each source, by name; 0 for a source that never has a weight.
    weights
        [k] in the order of `sizes`, or by name: shares of rows, at least 0, sum 1 within 1e-6; or what has
        `weights_for(step)`, a `Mixture`; None: `set_weights` comes before the first step.
    batch_size
        B, rows of the global batch.
    seed
        A whole number.
    max_epochs, exhausted
        A number for all or by name: how often a source may be gone through, and what happens at the first row beyond:
        "drop" (the others fill its slots), "stop" (the stream ends before that step), "error"; "repeat" has no limit.
        Without `exhausted`, sources with max_epochs drop and the others repeat; without max_epochs the limit of "drop",
        "stop" and "error" is one epoch.
    draw
        "carry", or "iid": slots are drawn independently, for estimators that assume it.
    unit
        "rows", or "tokens": weights are shares of tokens, and `lengths` are needed. Then a source stays within about
        one longest row of what was asked.
    lengths
        By name: tokens of each row, as an array [size], a function of an int64 [m] array of rows, or one number. With
        unit="rows" they fill the ledger's tokens.
    co_locate
        The slots of a source come in groups of this many side by side; a rank's slice must hold whole groups.
    fingerprints
        By name: what a source's content is called, checked at a resume.
    history
        Steps back for which `state_dict(step)` can still be asked: at least what a loader reads ahead.
    compiled
        Whether numba plans; None: where it is installed, after the first 65,536 rows, since loading it takes a second
        (compiling it, once per installation, some seconds). The rows are the same.

    Raises
    ------
    InputError
        If an argument is not as above; it names the source.

    Examples
    --------
    >>> plan = Plan({"en": 100, "hi": 10}, [0.75, 0.25], batch_size=4)
    >>> step = next(plan)
    >>> sorted(step.source.tolist())
    [0, 0, 0, 1]
    >>> plan.set_weights({"en": 0.5, "hi": 0.5}, at_step=2)
    """

    def __init__(
        self,
        sizes: Mapping[str, int],
        weights: ArrayLike | Mapping[str, float] | Driver | None = None,
        *,
        batch_size: int,
        seed: int = 0,
        max_epochs: float | Mapping[str, float] | None = None,
        exhausted: str | Mapping[str, str] | None = None,
        draw: str = "carry",
        unit: str = "rows",
        lengths: Mapping[str, Any] | None = None,
        co_locate: int = 1,
        fingerprints: Mapping[str, str] | None = None,
        history: int = 64,
        compiled: bool | None = None,
    ) -> None:
        self.settings = checked_settings(
            sizes, batch_size, seed, max_epochs, exhausted, draw, unit, co_locate, fingerprints
        )
        self.given_lengths = dict(lengths or {})
        self._lengths = Lengths(self.settings, lengths)
        self._history_steps = whole_number(history, "history", 0)
        self._compiled, self._block_steps = compiled, 1
        self._rows, self._fast = 0, _compiled_code(unit, compiled, 0)
        self._driver = weights if isinstance(weights, Driver) else None
        if hasattr(weights, "check_plan"):
            weights.check_plan(self.settings)  # type: ignore[union-attr]
        k = self.settings.k
        start = np.zeros(k) if weights is None or self._driver else self._checked(weights)
        zeros = np.zeros(k, np.int64)
        state = PlanState(0, start, np.zeros(k), zeros, zeros.copy(), np.zeros(k, bool), np.zeros(k), 0)
        self._retired: dict[str, Retired] = {}
        self.tables: dict[str, NDArray[np.int64]] = {}  # of the parts of split sources: which row of it each row is
        self.split: frozenset[str] = frozenset()  # sources that were split: their names stay theirs
        self.awaits: tuple[str, ...] = ()  # sources of a state that further changes lead to
        self._changes: list[tuple[int, Array]] = []
        if start.any():
            check_shares(self.settings, state, new=True)
        self._restart(state)

    @property
    def sources(self) -> tuple[str, ...]:
        """Return the names of the sources, in order."""
        return self.settings.names

    @property
    def driver(self) -> Any:
        """Return the `Mixture` that gives the weights; None: there is none."""
        return self._driver

    @property
    def changes(self) -> tuple[tuple[int, Array], ...]:
        """Return the weights that `set_weights` asked for from steps that are not planned yet: (step, weights [k])."""
        return () if self._driver is not None else tuple(c for c in self._changes if c[0] >= self.step)

    @property
    def batch_size(self) -> int:
        """Return the rows of the global batch."""
        return self.settings.batch_size

    @property
    def step(self) -> int:
        """Return the next step to be planned."""
        return self._state.step + self._given

    def __iter__(self) -> Iterator[PlannedStep]:
        """Return the plan: it is its own iterator."""
        return self

    def __next__(self) -> PlannedStep:
        """Plan the next step; StopIteration at the end of the data, InputError where a source may not run out."""
        self.check_arrived()
        if self._given == len(self._block):
            self._extend()
        self._given += 1
        return self._block[self._given - 1]

    def set_weights(self, weights: ArrayLike | Mapping[str, float], at_step: int | None = None) -> None:
        """
        Ask for other weights [k] from a step on that is not planned yet; None: from the next one that is not.

        Raises
        ------
        InputError
            If the step is planned already, the weights are wrong or positive only for sources that have given what they
            may, or a `Mixture` gives the weights.
        """
        if self._driver is not None:
            raise InputError("a Mixture gives this plan its weights; change them there, or make the plan without one")
        values = self._checked(weights)
        step = self.step if at_step is None else whole_number(at_step, "at_step", 0)
        if step < self.step:
            raise InputError(
                f"new weights should begin at a step that is not planned yet, found {step}; the steps before "
                f"{self.step} are planned (a loader plans ahead): use at_step={self.step} or later"
            )
        self._settle()
        state = self._state
        check_shares(self.settings, replace(state, weights=values, step=step), new=True)
        self._changes = sorted([c for c in self._changes if c[0] != step] + [(step, values)], key=lambda c: c[0])

    def state_dict(self, step: int | None = None) -> dict[str, Any]:
        """
        Return the state before `step` is planned (None: the next one), as JSON-able numbers and texts.

        A loader that reads ahead asks for the step after the last consumed one; `history` says how far back it may be.
        """
        self.check_arrived()
        return self._state_dict(step)

    def check_arrived(self) -> None:
        """Raise InputError if the plan was made with a state of other sources, and the changes to them are to come."""
        if self.awaits:
            raise InputError(
                f"this state has the sources {', '.join(self.awaits)}, and the changes so far lead to "
                f"{', '.join(self.sources)}; make the next change too, as then (a state from before a change is loaded "
                "before the change is made)"
            )

    def _state_dict(self, step: int | None) -> dict[str, Any]:
        state = self._state_at(self.step if step is None else whole_number(step, "step", 0))
        pending = [c for c in self._changes if c[0] >= state.step and self._driver is None]
        return to_dict(self.settings, state, pending, self._retired)

    def load_state_dict(self, state: Mapping[str, Any], *, changed: bool = False) -> None:
        """
        Go on where a state was taken: the steps that follow are those that followed then, bit by bit.

        Parameters
        ----------
        state
            From `state_dict`.
        changed
            Allow sources that were added, removed or are in another order, and other limits. Sources are known by
            name: those that stay go on in their epoch, a removed one's credit is shared out, and one that comes back
            goes on where it was. With other sources the weights of this plan hold, and pending ones are forgotten.

        Raises
        ------
        InputError
            If the state is damaged, or of another seed, batch size, unit or draw; if a source has another size or
            fingerprint (always), or sources or limits differ (without `changed`). The plan is then as it was.
        """
        loaded, pending, retired = from_dict(self.settings, state, self._weights_for_others, changed)
        self._changes, self._retired, self.awaits = [] if self._driver else pending, retired, ()
        self._restart(loaded)

    def with_sources(
        self,
        change: SourceChange,
        rows: Mapping[str, Any],
        weights: ArrayLike | Mapping[str, float] | Driver | None = None,
        *,
        step: int | None = None,
        fingerprints: Mapping[str, str] | None = None,
        lengths: Mapping[str, Any] | None = None,
        max_epochs: Mapping[str, float] | None = None,
        state: Mapping[str, Any] | None = None,
    ) -> Plan:
        """
        Return a plan of other sources that goes on from a step; this one stays as it is.

        No row of the sources that stay is lost or repeated. The parts of a split source go on in its epoch: in their
        `tables`, each row of a part is one of the source.

        Parameters
        ----------
        change
            From the sources of this plan.
        rows
            Of each new source a number; of each part of a split source the rows of that source, int64 [n].
        weights
            Those of the new plan, or its `Mixture`; None: this plan's, moved.
        step
            The first one of the new plan; None: the next one. Steps that this plan has planned beyond it are dropped.
        fingerprints, lengths, max_epochs
            As for Plan, of the new sources. Those of this plan are kept; parts have the epochs of their source.
        state
            A state after this change: to go on there, or, if it is of other sources, to make further changes first:
            the plan gives no step before they are made.

        Raises
        ------
        InputError
            If the change is not one of this plan's sources, rows do not fit, or the state is from before the change or
            of another run; as from Plan.
        """
        now, more = self._state_dict(step), {"fingerprints": fingerprints, "lengths": lengths, "max_epochs": max_epochs}
        return changed_plan(self, change, rows, weights, now, {name: dict(v or {}) for name, v in more.items()}, state)

    def ledger(self, steps: int | None = None, step: int | None = None) -> Ledger:
        """
        Return what was asked and drawn so far.

        Parameters
        ----------
        steps
            Of a whole run: what each source can give in it.
        step
            The step before which the account is made, as in `state_dict`; None: all that is planned.
        """
        state = self._state_at(self.step if step is None else whole_number(step, "step", 0))
        return Ledger.of(self.settings, state, self._lengths.known, steps)

    def _weights_for_others(self, step: int) -> Array:
        """Return the weights [k] for a state of other sources: a driver's at its step, else those of this plan now."""
        if self._driver is not None:
            return self._checked(self._driver.weights_for(step))
        return next((w for begins, w in reversed(self._changes) if begins <= self.step), self._state.weights)

    def _checked(self, weights: ArrayLike | Mapping[str, float] | Driver) -> Array:
        p = self.settings
        if isinstance(weights, Mapping):
            for name in weights:
                if name not in p.names:
                    raise InputError(
                        f"weights should name sources of the plan, found {name!r}; known: {list(p.names)[:5]}"
                    )
            weights = [weights.get(name, 0.0) for name in p.names]
        values = checked_weights(weights, p.names, p.sizes)  # type: ignore[arg-type]
        values.flags.writeable = False
        return values

    def _restart(self, state: PlanState) -> None:
        self._state, self._after, self._past = state, state, [state]
        self._block: list[PlannedStep] = []
        self._given = 0

    def _extend(self) -> None:
        """Plan a block of steps: one, and more each time while the weights stay; what is not given is never shown."""
        self._settle()
        begin = self._entered(self._state)
        if not begin.weights.any():
            raise InputError("the plan has no weights; give them to Plan, or call set_weights before the first step")
        try:
            after, source, row = self._advanced(begin, self._steps_ahead(begin.step))
        except Ended:
            raise StopIteration from None
        shares = begin.shares()
        shares.flags.writeable = False
        narrow = source.astype(np.int32, copy=False)
        self._block = [PlannedStep(begin.step + t, narrow[t], row[t], shares) for t in range(len(row))]
        self._after, self._rows = after, self._rows + row.size
        if self._compiled is None and self._fast is None:
            self._fast = _compiled_code(self.settings.unit, None, self._rows)

    def _steps_ahead(self, step: int) -> int:
        # a driver may give other weights to every step, so no step is planned before it is asked for
        if self._driver is not None or (self._fast is None and self.settings.unit == "tokens"):
            return 1
        # blocks start short and double: a plan whose weights change often would throw most of a long block away
        most = max(1, min(_BLOCK_STEPS, _BLOCK_SLOTS // self.settings.batch_size))
        self._block_steps = min(2 * self._block_steps, most)
        return min([self._block_steps] + [later - step for later, _ in self._changes if later > step])

    def _settle(self) -> None:
        """Make the present state that of the next step, and forget what was planned beyond it."""
        if self._given == len(self._block):
            state = self._after
        else:
            # a block keeps only its last state; where a part of it was given, these steps are planned again
            state = self._advanced(self._entered(self._state), self._given)[0] if self._given else self._state
        if state is not self._past[-1]:
            self._past.append(state)
        # keep one state at or before the oldest step that may be requested: the later ones are planned again from it
        oldest = state.step - self._history_steps
        while len(self._past) > 1 and self._past[1].step <= oldest:
            del self._past[0]
        self._changes = [c for c in self._changes if c[0] >= self._past[0].step]
        self._state, self._after, self._block, self._given = state, state, [], 0

    def _state_at(self, step: int) -> PlanState:
        """Return the state before `step`, from the nearest one that is kept."""
        known = [s for s in self._past if s.step <= step]
        if not known or step > self.step:
            raise InputError(
                f"the plan keeps the states of steps {self._past[0].step} to {self.step}, found step {step}; use a "
                "larger history="
            )
        state = known[-1]
        while state.step < step:
            state = self._advanced(self._entered(state), step - state.step)[0]
        return state

    def _entered(self, state: PlanState) -> PlanState:
        """Return the state with the weights that begin at its step."""
        new = next((w for step, w in self._changes if step == state.step), None)
        # only the present state asks the driver; a replay takes the weights of that time from _changes
        if new is None and self._driver is not None and state is self._state:
            new = self._checked(self._driver.weights_for(state.step))
            if not np.array_equal(new, state.weights):
                self._changes.append((state.step, new))
        if new is None or np.array_equal(new, state.weights):
            return state
        state = state.copy()
        # `asked` is a product of steps and weights: settle it before other weights hold
        state.asked = state.asked_so_far(self.batch_size, self.settings.unit)
        state.weights, state.since = new, state.step
        check_shares(self.settings, state, new=True)
        return state

    def _advanced(self, state: PlanState, steps: int) -> tuple[PlanState, NDArray[Any], NDArray[np.int64]]:
        """Return the state after up to `steps` steps, at least one, and their source and row [n, B]."""
        p, state, first = self.settings, state.copy(), state.cursor
        if p.unit == "tokens":
            return (state, *self._token_steps(state, steps))
        source, row = plain_steps(p, state, steps) if self._fast is None else self._fast(p, state, steps)
        # not one step fitted: a source runs out in the next one
        if not len(row):
            source, row = careful_step(p, state)
        if self._lengths.known:
            self._lengths.count(state, first)
        return state, source, row

    def _token_steps(self, state: PlanState, steps: int) -> tuple[NDArray[Any], NDArray[np.int64]]:
        """Advance `state` by up to `steps` steps, at least one, in which weights are shares of tokens."""
        check_shares(self.settings, state)
        if self._fast is not None:
            source, row = self._fast(self.settings, state, self._lengths, steps)
            if len(row):
                return source, row
        return token_step(self.settings, state, self._lengths)


_Fast = Callable[..., tuple[NDArray[Any], NDArray[np.int64]]]


def resumed(plan: Plan, state: Mapping[str, Any], step: int | None = None) -> Plan:
    """
    Return a copy of a plan that goes on at a state, with the weights that `plan` has for later steps.

    Parameters
    ----------
    plan
        As it was given, with the changes that were asked for; it stays as it is.
    state
        From `Plan.state_dict`.
    step
        The first step whose weights may change; None: the state's.

    Raises
    ------
    InputError
        If the state does not fit, or was drawn with other weights than those of a change that began before `step`.
    """
    made = copy.deepcopy(plan)
    made.load_state_dict(state)
    step = made.step if step is None else step
    holds = [(made._state.since, made._state.weights), *made.changes]
    since, weights = [change for change in holds if change[0] < step or change is holds[0]][-1]
    earlier = [change for change in plan.changes if change[0] < step]
    # the state's weights may be of a later change, one that was made while it ran
    if earlier and since <= earlier[-1][0] and not np.allclose(weights, earlier[-1][1]):
        raise InputError(
            f"new weights should begin at a step that is not drawn yet, found a change at step {earlier[-1][0]}: the "
            f"state is of step {step}, and its steps from {earlier[-1][0]} on were drawn with other weights; use "
            f"at_step={step} or later, or an earlier state"
        )
    for begin, new in plan.changes:
        if begin >= step:
            made.set_weights(new, at_step=begin)
    return made


def _compiled_code(unit: str, compiled: bool | None, rows: int) -> _Fast | None:
    """Return the compiled steps, or None where numpy plans; `rows` is how many a plan has given so far."""
    if compiled is None:
        compiled = find_spec("numba") is not None and (rows >= _PLAIN_ROWS or _COMPILED in sys.modules)
    if not compiled:
        return None
    try:
        if unit == "tokens":
            return import_module("mixwright.stream.plan.tokens_compiled").compiled_token_steps
        return import_module(_COMPILED).compiled_steps
    except ImportError:
        raise missing_extra("numba", "stream") from None
