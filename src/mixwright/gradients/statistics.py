"""Gradient statistics per source for a training: the public class."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import nn

from mixwright.checks import reading_state, state_numbers
from mixwright.errors import InputError
from mixwright.gradients.adam import AdamMetric
from mixwright.gradients.distributed import sum_over_ranks
from mixwright.gradients.estimators import Sums
from mixwright.gradients.homogeneous import HomogeneousBatches
from mixwright.gradients.rows import read_rows
from mixwright.gradients.split import SplitBackward
from mixwright.observation import Observation

VERSION = 1
LEVELS = ("example", "source", "micro-batch")


class GradientStatistics:
    """
    Norms, variances and inner products of the sources' gradients, from the training step's own backward pass.

    With g_b the gradient of the loss of row b of source k, L_k the expected loss of a row of source k, and n_k the
    rows of source k in a micro-batch:

        |grad L_k|^2 ~ (|sum_b g_b|^2 - sum_b |g_b|^2) / (n_k (n_k - 1))
        sigma_k^2 ~ sum_b |g_b|^2 / n_k - |grad L_k|^2
        <grad L_j, grad L_k> ~ <sum_{b in j} g_b, sum_{b in k} g_b> / (n_j n_k)

    each unbiased; numerators and denominators are summed separately over micro-batches, ranks and steps.

    Parameters
    ----------
    model
        The model as it is trained, also wrapped (DDP, FSDP2, compiled). It runs its own code except within `observe`.
    num_sources
        k.
    level
        "example": norms, variances and inner products. "source": norms and inner products, a little cheaper; norms come
        from the products of each source's two halves in a micro-batch. "micro-batch": any model, micro-batches of one
        source each, one gradient per source in memory; see the notes.
    mode
        "fused": a weight's gradient is the sum of the pieces that the statistics need (it differs by rounding).
        "mirror": the training's gradient stays bit by bit what it is, for a second product.
    optimizer
        Adam or a variant: gradients count in its metric, divided by sqrt(v) + eps. None: as they are.
    half_life
        Observations after which a micro-batch counts half in the averages; None: an observation is of what was
        observed since the last one.
    check
        Whether the first micro-batch is checked: do the pieces add up to the gradient? (One process, no gradients
        before it, weights in the loss that are equal within each source.)
    process_group
        The ranks of data parallelism; None: all.

    Raises
    ------
    InputError
        If an argument is not as above, rows are coupled by a batch norm, or a trainable parameter is in no layer that
        can be split by row: it is named.

    Notes
    -----
    Rows must not depend on each other, and belong to one source each. The first dimension of every layer's input must
    be the rows. `level="micro-batch"` takes each micro-batch as one unit: nothing is known about a source with
    one micro-batch in a step, and the parameters may change only between steps.

    Examples
    --------
    >>> stats = GradientStatistics(torch.nn.Linear(2, 1), num_sources=2)
    >>> with stats.observe([0, 0, 1, 1]):
    ...     stats.model(torch.eye(4, 2)).square().mean().backward()
    >>> stats.observation(step=0, batch_size=4).grad_sq_norm.shape
    (2,)
    """

    def __init__(
        self,
        model: nn.Module,
        num_sources: int,
        level: str = "example",
        mode: str = "fused",
        optimizer: torch.optim.Optimizer | None = None,
        half_life: float | None = None,
        check: bool = True,
        process_group: Any = None,
    ) -> None:
        if isinstance(num_sources, bool) or not isinstance(num_sources, int | np.integer) or num_sources < 1:
            raise InputError(f"num_sources should be a whole number of at least 1, found {num_sources!r}")
        if level not in LEVELS:
            raise InputError(f"level should be {', '.join(map(repr, LEVELS))}, found {level!r}")
        if mode not in ("fused", "mirror"):
            raise InputError(f"mode should be 'fused' or 'mirror', found {mode!r}")
        if half_life is not None and not half_life > 0:
            raise InputError(f"half_life should be above 0 or None, found {half_life!r}")
        self.model, self.k, self.level, self.group = model, int(num_sources), level, process_group
        self._decay = 0.0 if half_life is None else 0.5 ** (1 / half_life)
        self._metric = None if optimizer is None else AdamMetric(optimizer)
        self._recorder: SplitBackward | HomogeneousBatches = (
            HomogeneousBatches(model, self.k)
            if level == "micro-batch"
            else SplitBackward(model, self.k, mode == "fused", check and optimizer is None)
        )
        self._average, self._new = Sums.zero(self.k), Sums.zero(self.k)
        self._seen, self._bad, self._unready = np.zeros(self.k), np.zeros(self.k), 0.0
        self.notes: tuple[str, ...] = ()

    @contextmanager
    def observe(self, source: Any, loss_weight: Any = None) -> Iterator[None]:
        """
        Observe one forward and one backward pass within the `with`.

        Parameters
        ----------
        source
            [b] ids from 0 to k - 1: the source of each row. Sorted ids are faster.
        loss_weight
            [b] or a number: the weight of each row's own loss in the loss that is differentiated, as tokens_b / tokens
            for a mean over tokens, or 1 / (b * m) if the loss is divided by m under accumulation; times the scale if
            the loss is scaled. None: 1 / b, a mean over rows. Rows of weight 0 do not count.

        Raises
        ------
        InputError
            If ids or weights are not as above, the model was run in a way that cannot be split (see the notes), or no
            backward pass happened. The training's gradients are complete all the same; the micro-batch is not counted.
        """
        device = next(self.model.parameters()).device
        rows = read_rows(source, loss_weight, self.k, self.level == "example", device)
        if not self._recorder.ready(self._metric):
            # Adam's moments do not exist before its first step, so there is no metric yet
            self._unready += 1
            yield
            return
        with self._recorder.recording(rows):
            yield
        self._seen += rows.counts
        self._take()

    def observation(self, step: int, batch_size: int, **more: Any) -> Observation:
        """
        Return what was observed since the last observation, summed over ranks; every rank must call it.

        Parameters
        ----------
        step, batch_size
            The last step that is part of it; rows of a global batch.
        **more
            Other fields (loss, planned, ...). `counts` are the observed rows unless they are among these.

        Returns
        -------
        Observation
            With grad_sq_norm [k], gram [k, k] (its diagonal is grad_sq_norm) and, but for level "source",
            grad_variance [k] (at least 0). nan: unknown, and `notes` say why.
        """
        self._flush()
        # one vector, so that ranks meet once
        vector = np.concatenate([self._new.to_vector(), self._seen, self._bad, [self._unready]])
        vector = sum_over_ranks(vector, next(self.model.parameters()).device, self.group)
        k = self.k
        new, (seen, bad, unready) = (
            Sums.from_vector(vector[: -2 * k - 1], k),
            np.split(vector[-2 * k - 1 :], [k, 2 * k]),
        )
        # numerators and denominators decay apart: a ratio of averages stays unbiased where a source is rare
        self._average = self._average * self._decay + new
        self._new, self._seen, self._bad, self._unready = Sums.zero(k), np.zeros(k), np.zeros(k), 0.0
        self.notes = self._explained(seen, bad, float(unready[0]))
        found: dict[str, Any] = {"counts": seen, "grad_sq_norm": self._average.sq_norm, "gram": self._average.gram}
        if self.level != "source":
            found["grad_variance"] = np.maximum(self._average.variance, 0)
        return Observation(step=step, batch_size=batch_size, **{**found, **more})

    def state_dict(self) -> dict[str, Any]:
        """Return the averages, and what was observed since the last observation on this rank, as JSON-able values."""
        self._flush()
        return {
            "version": VERSION,
            "num_sources": self.k,
            "level": self.level,
            "average": self._average.to_json(),
            "new": self._new.to_json(),
            "seen": self._seen.tolist(),
            "bad": self._bad.tolist(),
            "unready": self._unready,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """
        Go on where a state was taken.

        Raises
        ------
        InputError
            If it is no such state, or of other sources or another level.
        """
        if not isinstance(state, Mapping) or state.get("version") != VERSION or set(state) != set(self.state_dict()):
            raise InputError("the state should be what GradientStatistics.state_dict returned, found something else")
        for name, now in (("num_sources", self.k), ("level", self.level)):
            if state[name] != now:
                raise InputError(f"the checkpoint's {name} is {state[name]!r}, found {now!r} here; use the same")
        with reading_state("gradient statistics"):
            average, new = (Sums.from_json(state[name], self.k) for name in ("average", "new"))
            seen, bad = (state_numbers(state[name], self.k) for name in ("seen", "bad"))
            unready = float(state_numbers(state["unready"]))
        self._average, self._new, self._seen, self._bad, self._unready = average, new, seen, bad, unready

    def _flush(self) -> None:
        """Count gradients in that are kept until the step ends."""
        if isinstance(self._recorder, HomogeneousBatches):
            self._recorder.flush()
            self._take()

    def _take(self) -> None:
        """Count the recorder's sums in, without sources whose gradients are not finite."""
        sums, self._recorder.sums = self._recorder.sums, Sums.zero(self.k)
        # one infinite gradient would stay in every later average
        finite = np.isfinite(np.diag(sums.products)) & np.isfinite(sums.squares)
        self._bad += ~finite
        self._new = self._new + sums.only(finite)

    def _explained(self, seen: Any, bad: Any, unready: float) -> tuple[str, ...]:
        notes = []
        unknown = np.flatnonzero(np.isnan(self._average.sq_norm) & (seen > 0) & (bad == 0)).tolist()
        if unknown and self.level != "micro-batch":
            notes.append(
                f"sources {unknown} had fewer than two rows in every micro-batch: norm and variance are unknown; make "
                "batches larger, or let the plan put rows of a source side by side: Plan(..., co_locate=2)"
            )
        elif unknown:
            notes.append(f"sources {unknown} had one micro-batch in each step, so nothing is known; give them two")
        for source in np.flatnonzero(bad).tolist():
            notes.append(f"source {source} had gradients that are not finite {bad[source]:.0f} times: left out")
        if unready:
            notes.append(f"{unready:.0f} micro-batches came before the optimiser's first step and were left out")
        return tuple(notes)
