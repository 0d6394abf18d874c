"""What counts as better where there are several targets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mixwright.checks import by_name, is_number, near, unique_names
from mixwright.errors import InputError
from mixwright.runs.table import RunTable

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Goal:
    """
    The targets that count, and how.

    shares [m]: of a weighted sum, 0 for a guardrail. best [m]: what each target reaches alone, where the worst regret
    counts, else None. limits [m]: what a guardrail's loss may be, infinite for other targets.
    """

    targets: tuple[str, ...]
    shares: Array
    best: Array | None = None
    limits: Array | None = None

    @property
    def counts(self) -> NDArray[np.bool_]:
        """Return [m], which targets count (the others are guardrails)."""
        return self.shares > 0

    def position(self, target: str | None) -> int:
        """Return where a target is among those that were fitted; None: the only one."""
        if target is None and len(self.targets) == 1:
            return 0
        if target not in self.targets:
            raise InputError(f"target should name one that was fitted{near(target, self.targets, 'targets')}")
        return self.targets.index(target)

    def alone(self, j: int) -> Goal:
        """Return the goal that counts one target alone, without limits."""
        return Goal(self.targets, np.eye(len(self.targets))[j])

    def loss(self, Y: Array) -> Array:
        """Return what counts [n] of losses [n, m]."""
        if self.best is None:
            return np.asarray(Y @ self.shares)
        return np.asarray((Y - self.best)[:, self.counts].max(1))

    def excess(self, y: Array) -> float:
        """Return by how much losses [m] are above a guardrail's limit at most (0 where none is)."""
        return 0.0 if self.limits is None else max(0.0, float((y - self.limits).max()))

    def spread(self, S: Array) -> Array:
        """Return a bound on the standard deviation [n] from those of the targets [n, m], which may go together."""
        if self.best is None:
            return np.asarray(S @ self.shares)
        return np.asarray(S[:, self.counts].max(1))


def with_guardrails(goal: Goal, table: RunTable, guardrails: Mapping[str, float] | None) -> Goal:
    """Return the goal with guardrails as more targets, without a share; InputError for ones that do not fit."""
    if not guardrails:
        return goal
    if not isinstance(guardrails, Mapping):
        raise InputError(f"guardrails should be {{target: how much worse it may get}}; found {guardrails!r}")
    for name, worse in guardrails.items():
        if name not in table.targets or name in goal.targets:
            others = [other for other in table.targets if other not in goal.targets]
            raise InputError(f"guardrails should name targets that do not count already{near(name, others, 'others')}")
        if not is_number(worse) or not 0 <= worse < np.inf:
            raise InputError(
                f"the guardrail of {name!r} should be a share of at least 0, such as 0.01; found {worse!r}"
            )
    return Goal((*goal.targets, *guardrails), np.r_[goal.shares, np.zeros(len(guardrails))])


def goal_of(table: RunTable, target: Any) -> Goal:
    """Return the goal for one target, a list (their mean) or {target: its share}; None where the table has one."""
    if target is None:
        if len(table.targets) != 1:
            some = ", ".join(map(repr, table.targets[:6]))
            raise InputError(f"target should say which of the table's {len(table.targets)} targets counts: {some} ...")
        target = table.targets[0]
    if isinstance(target, str):
        target = [target]
    if isinstance(target, Mapping):
        names: Sequence[str] = unique_names(target, "targets")
    else:
        names = unique_names(target, "targets")
    for name in names:
        if name not in table.targets:
            raise InputError(f"target should name one of the table's{near(name, table.targets, 'targets')}")
    if not isinstance(target, Mapping):
        return Goal(tuple(names), np.full(len(names), 1 / len(names)))
    for name, share in target.items():
        if not is_number(share) or not 0 < share < np.inf:
            raise InputError(f"the share of target {name!r} should be a number above 0; found {share!r}")
    shares = np.array(by_name(target, names, "target"))
    return Goal(tuple(names), shares / shares.sum())
