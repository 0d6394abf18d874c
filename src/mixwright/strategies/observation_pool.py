"""Several observations as one."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mixwright.observation import Observation

Array = NDArray[np.float64]
MEANS = ("loss", "excess_loss", "grad_sq_norm", "grad_variance")
LATEST = ("eval_loss", "reference_loss", "target_loss")
POOLED = (*MEANS, *LATEST, "gram", "target_gram", "planned")


class Pool(NamedTuple):
    """
    Sums out of which the observation of several updates is made; a state of arrays and numbers, never written to.

    - counts: summed. `planned`: averaged by the examples of each observation, so by its steps.
    - loss, excess_loss, grad_sq_norm, grad_variance: of each source, averaged by its examples; where the value is
      unknown (nan) its examples do not count. So a mean over unbiased estimates stays unbiased; nan if it never was
      known.
    - gram: averaged by sqrt(n_i n_j), which on the diagonal is the weighting of grad_sq_norm. target_gram: averaged by
      the source's examples, row by row of the matrix (`targets`: sums and weights, as long as there are targets).
    - eval_loss, reference_loss, target_loss: the latest that was known. An older model's is not averaged in.

    Examples
    --------
    >>> pool = Pool.empty(2, {"loss"})
    >>> pool = pool.add(Observation(step=0, batch_size=4, counts=[3, 1], loss=[2.0, 1.0]))
    >>> pool = pool.add(Observation(step=1, batch_size=4, counts=[1, 0], loss=[6.0, np.nan]))
    >>> pool.observation().loss
    array([3., 1.])
    """

    step: int
    batch_size: int
    counts: Array
    fields: tuple[str, ...]
    given: tuple[str, ...]
    total: Array
    weight: Array
    gram: Array
    pairs: Array
    planned: Array
    rows: float
    eval_loss: Array
    target_loss: tuple[float, ...]
    reference_loss: tuple[float, ...] = ()  # the last two have defaults: states of earlier versions do not have them
    targets: tuple[float, ...] = ()

    @classmethod
    def empty(cls, k: int, fields: Collection[str] = POOLED) -> Pool:
        """Return the pool of no observation, for k sources and those of the `fields` that can be pooled."""
        kept = tuple(name for name in POOLED if name in fields)
        means, none = np.zeros((len(MEANS), k)), np.zeros((k, k) if "gram" in kept else (0, 0))
        unknown = np.full(k, np.nan)
        return cls(-1, 1, np.zeros(k), kept, (), means, means, none, none, np.zeros(k), 0.0, unknown, ())

    def add(self, obs: Observation) -> Pool:
        """Return the pool with one more observation."""
        seen = obs.counts > 0
        total, weight = self.total.copy(), self.weight.copy()
        for i, name in enumerate(MEANS):
            value = getattr(obs, name) if name in self.fields else None
            if value is not None:
                known = seen & ~np.isnan(value)
                total[i] += np.where(known, obs.counts * np.where(known, value, 0.0), 0.0)
                weight[i] += np.where(known, obs.counts, 0.0)
        kept = [name for name in POOLED if name in self.fields]  # no other name, whatever a damaged state says
        given = tuple(name for name in kept if name in self.given or getattr(obs, name) is not None)
        changes: dict[str, Any] = {"total": total, "weight": weight, "counts": self.counts + obs.counts, "given": given}
        ways = {"gram": self._gram, "target_gram": self._target_gram, "planned": self._planned}
        for name, change in ways.items():
            if name in self.fields and getattr(obs, name) is not None:
                changes |= change(obs, seen)
        for name in LATEST:
            value = getattr(obs, name) if name in self.fields else None
            if value is not None:
                known = ~np.isnan(value) if name == "target_loss" else seen & ~np.isnan(value)
                changes[name] = _newer(getattr(self, name), value, known)
        return self._replace(step=obs.step, batch_size=obs.batch_size, **changes)

    def observation(self) -> Observation:
        """Return what was pooled as one observation, with the fields that at least one of them gave."""
        values: dict[str, Any] = {}
        with np.errstate(invalid="ignore", divide="ignore"):
            for i, name in enumerate(MEANS):
                if name in self.given:
                    values[name] = np.where(self.weight[i] > 0, self.total[i] / self.weight[i], np.nan)
            if "gram" in self.given:
                values["gram"] = np.where(self.pairs > 0, self.gram / self.pairs, np.nan)
            if self.targets:
                total, weight = np.array(self.targets).reshape(2, len(self.counts), -1)
                values["target_gram"] = np.where(weight > 0, total / weight, np.nan)
        if self.rows > 0:
            values["planned"] = self.planned / self.rows
        values |= {name: getattr(self, name) for name in LATEST if name in self.given and len(getattr(self, name))}
        return Observation(step=max(self.step, 0), batch_size=self.batch_size, counts=self.counts, **values)

    def _gram(self, obs: Observation, seen: NDArray[np.bool_]) -> dict[str, Any]:
        assert obs.gram is not None
        known = np.outer(seen, seen) & ~np.isnan(obs.gram)
        weight = np.where(known, np.sqrt(np.outer(obs.counts, obs.counts)), 0.0)
        return {"gram": self.gram + weight * np.where(known, obs.gram, 0.0), "pairs": self.pairs + weight}

    def _planned(self, obs: Observation, seen: NDArray[np.bool_]) -> dict[str, Any]:
        rows = float(obs.counts.sum())
        if rows == 0 or np.isnan(obs.planned).any():  # type: ignore[arg-type]
            return {}
        return {"planned": self.planned + rows * obs.planned, "rows": self.rows + rows}  # type: ignore[operator]

    def _target_gram(self, obs: Observation, seen: NDArray[np.bool_]) -> dict[str, Any]:
        assert obs.target_gram is not None
        known = seen[:, None] & ~np.isnan(obs.target_gram)
        weight = np.where(known, obs.counts[:, None], 0.0)
        new = np.stack([weight * np.where(known, obs.target_gram, 0.0), weight]).ravel()
        before = np.array(self.targets) if len(self.targets) == new.size else np.zeros(new.size)
        return {"targets": tuple((before + new).tolist())}


def _newer(before: Array | tuple[float, ...], value: Array, known: NDArray[np.bool_]) -> Array | tuple[float, ...]:
    """Return the values that are known and the earlier ones elsewhere, as the kind that they are kept as."""
    old = np.array(before) if len(before) == len(value) else np.full(len(value), np.nan)
    latest = np.where(known, value, old)
    return tuple(latest.tolist()) if isinstance(before, tuple) else latest
