"""The mean of several laws, which shows where they disagree."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mixwright.runs.laws.exposure import ExposureLaw
from mixwright.runs.laws.gaussian_process import GaussianProcessLaw
from mixwright.runs.laws.law import FittedLaw, Law, Runs
from mixwright.runs.laws.log_linear import LogLinearLaw

Array = NDArray[np.float64]
BETWEEN = " + "  # members, in a name
_MEMBERS = (LogLinearLaw(), ExposureLaw(), GaussianProcessLaw())


@dataclass(frozen=True)
class EnsembleLaw(Law):
    """
    The mean prediction of several laws; what they disagree by is added to the spread.

    That laws agree is no evidence that they are right: they share their runs.

    Parameters
    ----------
    members
        The laws. The default leaves out those that need exposures where exposures are not known.
    """

    members: tuple[Law, ...] = _MEMBERS

    fewest = 8

    @property
    def name(self) -> str:  # type: ignore[override]
        """Return "ensemble", or the names of members that are not the default, joined by " + "."""
        return "ensemble" if self._default else BETWEEN.join(one.name for one in self.members)

    @property
    def _default(self) -> bool:
        return [one.name for one in self.members] == [one.name for one in _MEMBERS]

    def needed(self) -> tuple[Law, ...]:
        """Return this law, and its members unless they are the default, which may be left out."""
        return (self, *(() if self._default else (law for one in self.members for law in one.needed())))

    def automatic(self, mixtures: int, exposures: bool) -> bool:
        """Return False: its members are tried one by one."""
        return False

    def fit(self, runs: Runs, like: FittedLaw | None = None) -> FittedEnsemble:
        """Return the fitted members."""
        members = [law for law in self.members if runs.E is not None or not (self._default and law.exposures)]
        near = like.members if isinstance(like, FittedEnsemble) else (None,) * len(members)
        return FittedEnsemble(tuple(law.fit(runs, one) for law, one in zip(members, near, strict=True)))


@dataclass(frozen=True, eq=False)
class FittedEnsemble(FittedLaw):
    """Several fitted laws."""

    members: tuple[FittedLaw, ...]

    @property
    def convex(self) -> bool:  # type: ignore[override]
        """Return whether every member is convex."""
        return all(law.convex for law in self.members)

    @property
    def smooth(self) -> bool:  # type: ignore[override]
        """Return whether every member has slopes."""
        return all(law.smooth for law in self.members)

    def predict(self, W: Array) -> Array:
        """Return the mean prediction [n]."""
        return np.asarray(np.mean([law.predict(W) for law in self.members], axis=0))

    def disagreement(self, W: Array) -> Array:
        """Return the standard deviation of the members' predictions [n]."""
        return np.asarray(np.std([law.predict(W) for law in self.members], axis=0))

    def spread(self, W: Array) -> Array:
        """Return the members' mean spread with their disagreement, in quadrature [n]."""
        return np.hypot(np.mean([law.spread(W) for law in self.members], axis=0), self.disagreement(W))

    def gradient(self, W: Array) -> Array:
        """Return the mean gradient [n, d]."""
        return np.asarray(np.mean([law.gradient(W) for law in self.members], axis=0))

    def hessian(self, w: Array) -> Array:
        """Return the mean Hessian [d, d]."""
        return np.asarray(np.mean([law.hessian(w) for law in self.members], axis=0))

    def numbers(self) -> dict[str, Any] | None:
        """Return the members as plain numbers; None where one of them has no form."""
        members = [law.numbers() for law in self.members]
        return None if any(one is None for one in members) else {"form": "ensemble", "members": members}
