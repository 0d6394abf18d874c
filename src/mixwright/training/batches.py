"""The rows of each step of a training: a plan over token stores, with weights that are given or follow a strategy."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mixwright.errors import InputError
from mixwright.mixture import Mixture
from mixwright.source_change import SourceChange
from mixwright.stream.plan.ledger import Ledger
from mixwright.stream.plan.plan import Plan
from mixwright.text.tokens import TokenPart, TokenStore
from mixwright.training.settings import TrainingSettings


class TokenBatch(NamedTuple):
    """
    The rows of a step.

    `source` int32 [b]; `row` int64 [b], which row of it; `tokens` int64 [b, context + 1]; `weights` [k] that drew them.
    `factors` [k]: what a row of each source counts in the loss; None: all the same.
    """

    source: NDArray[np.int32]
    row: NDArray[np.int64]
    tokens: NDArray[np.int64]
    weights: NDArray[np.float64]
    factors: NDArray[np.float64] | None = None

    def parts(self, number: int) -> list[TokenBatch]:
        """Return the rows in `number` micro-batches, in order; within each, rows of a source stand side by side."""
        found = []
        for rows in np.split(np.arange(len(self.source)), number):
            rows = rows[np.argsort(self.source[rows], kind="stable")]
            found.append(self._replace(source=self.source[rows], row=self.row[rows], tokens=self.tokens[rows]))
        return found


@dataclass
class Batches:
    """
    The rows of each step, read from token stores with one gather per source.

    Parameters
    ----------
    stores
        The sources.
    weights
        [k], or the `Mixture` that gives them.
    settings
        Batch size, context, seed and limits.
    rank, ranks
        Whose rows are read, of how many: a rank's slice of each step.
    pairs
        Whether a source's rows of a step come in pairs, as far as micro-batches allow: gradient statistics know nothing
        of a source with one row in a micro-batch.

    Raises
    ------
    InputError
        A source is shorter than a context, or all together give fewer rows than the training takes.
    """

    stores: Mapping[str, TokenStore]
    weights: Sequence[float] | NDArray[np.float64] | Mixture
    settings: TrainingSettings
    rank: int = 0
    ranks: int = 1
    pairs: bool = False
    plan: Plan = field(init=False)

    def __post_init__(self) -> None:
        """Make the plan."""
        wanted = self.settings
        micro = self.ranks * wanted.accumulate
        if wanted.batch_size % micro:
            raise InputError(
                f"batch_size should be a multiple of ranks x accumulate ({self.ranks} x {wanted.accumulate}), found "
                f"{wanted.batch_size}; change one of them"
            )
        sizes = {name: store.rows(wanted.context) for name, store in self.stores.items()}
        if wanted.max_epochs is not None:
            rows, needed = sum(int(n * wanted.max_epochs) for n in sizes.values()), wanted.steps * wanted.batch_size
            if rows < needed:
                raise InputError(
                    f"the sources should give {needed:,} rows within max_epochs {wanted.max_epochs:g}, found {rows:,}; "
                    "train for fewer tokens, raise max_epochs or add sources"
                )
        self.plan = Plan(
            sizes,
            self.weights,
            batch_size=wanted.batch_size,
            seed=wanted.seed,
            max_epochs=wanted.max_epochs,
            co_locate=2 if self.pairs and wanted.batch_size // micro % 2 == 0 else 1,
            fingerprints={name: store.fingerprint for name, store in self.stores.items()},
        )
        self._stores = list(self.stores.values())

    def with_sources(
        self,
        change: SourceChange,
        stores: Mapping[str, TokenStore],
        mixture: Mixture,
        rows: Mapping[str, Any],
        state: Mapping[str, Any] | None = None,
    ) -> Batches:
        """
        Return the batches of other sources, which go on at the next step; see `Plan.with_sources`.

        Parameters
        ----------
        change, stores, mixture
            The change; all sources after it; their mixture.
        rows
            Rows of new sources, and which rows of a split source each part has.
        state
            Of a later step.
        """
        cap, found = self.settings.max_epochs, copy.copy(self)
        found.plan = self.plan.with_sources(
            change,
            rows,
            mixture,
            fingerprints={name: stores[name].fingerprint for name in rows},
            max_epochs={} if cap is None else dict.fromkeys(set(rows) - set(found._parts(change)), cap),
            state=state,
        )
        tables = found.plan.tables
        found.stores = {name: s.laid_out(tables[name]) if isinstance(s, TokenPart) else s for name, s in stores.items()}
        found.weights, found._stores = mixture, list(found.stores.values())
        return found

    @staticmethod
    def _parts(change: SourceChange) -> list[str]:
        return [part for parts in change.parts.values() for part in parts]

    def next(self) -> TokenBatch:
        """Return this rank's rows of the next step."""
        planned = next(self.plan).for_rank(self.rank, self.ranks)
        tokens = np.empty((len(planned.source), self.settings.context + 1), np.int64)
        for i in np.unique(planned.source).tolist():
            here = planned.source == i
            tokens[here] = self._stores[i].gather(planned.row[here], self.settings.context)
        return TokenBatch(planned.source, planned.row, tokens, planned.weights)

    def probe(self) -> NDArray[np.int64]:
        """Return one row of tokens [1, context], to try a model on."""
        store = max(self._stores, key=lambda s: s.rows(self.settings.context))
        return np.asarray(store.gather(np.zeros(1, np.int64), self.settings.context), np.int64)[:, :-1]

    def ledger(self) -> Ledger:
        """Return what was asked of each source and what it gave so far."""
        return self.plan.ledger()

    def state_dict(self, step: int) -> dict[str, Any]:
        """Return the state before a step, as JSON-able values."""
        return self.plan.state_dict(step)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where a state was taken."""
        self.plan.load_state_dict(state)
