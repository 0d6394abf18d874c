"""What training reports per source since the last update of the weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mixwright.errors import InputError

Array = NDArray[np.float64]
_PER_SOURCE = (
    *("counts", "planned", "loss", "eval_loss", "excess_loss", "reference_loss"),
    *("grad_sq_norm", "grad_variance"),
)
_NOT_NEGATIVE = ("counts", "planned", "grad_variance")
_MATRICES = ("gram", "target_gram")
_EVERY = "every training reports it"
_STATISTICS = "mixwright train, mixwright compare and use_mixture(statistics='auto') take it from the backward pass"
# Where a field comes from today, for the error of a strategy that lacks it and for the page on strategies.
REPORTED_BY = {
    "counts": _EVERY,
    "planned": _EVERY,
    "loss": _EVERY,
    "eval_loss": "mixwright train and compare measure it; a Trainer does with an eval_dataset {source: rows}",
    "target_loss": "mixwright train and compare measure it if the configuration has targets",
    "excess_loss": "mixwright train and compare report it with `reference: MODEL`, use_mixture with `reference=`; of "
    "pairs, with specialists",
    "reference_loss": "mixwright train and compare with `reference: MODEL`, use_mixture with `reference=` and an "
    "eval_dataset {source: rows}; or give the strategy the numbers as `reference`",
    "grad_sq_norm": _STATISTICS,
    "grad_variance": _STATISTICS,
    "gram": _STATISTICS,
    "target_gram": "mixwright train and compare measure it on held-out texts if the configuration has targets, and not "
    "with parallel: fsdp2; use_mixture with targets=, and an eval_dataset {name: rows} of sources and targets",
}


@dataclass(frozen=True, slots=True, eq=False)
class Observation:
    """
    What training reports per source since the last update; means over the examples that were seen since then.

    A source with count 0 was not seen: its other entries are nan and are ignored. A field may be nan for a source that
    was seen, too (one example gives no variance): unknown is never zero.

    Parameters
    ----------
    step
        The last step that is part of it, from 0.
    batch_size
        Rows in the global batch of one step.
    counts
        [k] examples.
    planned
        [k] weights with which the counted examples were drawn, averaged over steps; not today's.
    loss, eval_loss, target_loss
        [k] mean training loss; [k] held-out loss per source; [m] held-out loss per target. Nats per token.
    excess_loss
        [k] mean of the loss less a reference model's, clipped at 0 where the training says: per example, per source, or
        nowhere (only then may it be below 0). `excess_losses` makes it. Nats, per token or per pair as the loss is.
    reference_loss
        [k] a reference model's held-out loss per source, to compare `eval_loss` with. Nats per token.
    grad_sq_norm, grad_variance, gram
        [k] unbiased estimate of |grad L_i|^2 (it may be below 0); [k] trace of the covariance of one example's
        gradient; [k, k] inner products of the sources' mean gradients.
    target_gram
        [k, m] inner products of the sources' mean gradients with the gradients of the targets' losses.

    Raises
    ------
    InputError
        If a shape is wrong, or an entry infinite, or negative where it cannot be.

    Examples
    --------
    >>> Observation(step=9, batch_size=4, counts=[3, 1], loss=[2.5, 3.0]).counts
    array([3., 1.])
    """

    step: int
    batch_size: int
    counts: Array
    planned: Array | None = None
    loss: Array | None = None
    eval_loss: Array | None = None
    target_loss: Array | None = None
    excess_loss: Array | None = None
    grad_sq_norm: Array | None = None
    grad_variance: Array | None = None
    gram: Array | None = None
    reference_loss: Array | None = None
    target_gram: Array | None = None

    def __post_init__(self) -> None:
        """Check each field, and keep a copy that cannot be written to."""
        for name, least in (("step", 0), ("batch_size", 1)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < least:
                raise InputError(
                    f"{name} of an observation should be a whole number of at least {least}, found {value!r}"
                )
            object.__setattr__(self, name, int(value))
        for field in fields(self)[2:]:
            value = getattr(self, field.name)
            if value is not None:
                object.__setattr__(self, field.name, _array(field.name, value))
        k = len(self.counts)
        if np.isnan(self.counts).any():
            raise InputError("counts of an observation should be numbers, found nan; a source that was not seen has 0")
        for name in (*_PER_SOURCE, *_MATRICES):
            value = getattr(self, name)
            shape = (k,) if name in _PER_SOURCE else (k, k if name == "gram" else self._m(value))
            if value is not None and value.shape != shape:
                raise InputError(f"{name} of an observation should have the shape {shape}, found {value.shape}")

    def _m(self, target_gram: Array | None) -> int:
        """Return the number of targets: that of their losses, if there are any."""
        if self.target_loss is not None:
            return len(self.target_loss)
        return 0 if target_gram is None else target_gram.shape[1]

    @property
    def given(self) -> frozenset[str]:
        """Return the names of the optional fields that are there."""
        return frozenset(f.name for f in fields(self)[2:] if getattr(self, f.name) is not None)

    def to_json(self) -> dict[str, Any]:
        """Return JSON-able numbers and lists; nan is None."""
        return {f.name: _plain(getattr(self, f.name)) for f in fields(self) if getattr(self, f.name) is not None}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Observation:
        """Return the observation that `to_json` described."""
        if unknown := set(values) - {f.name for f in fields(cls)}:
            raise InputError(f"an observation has no field {sorted(unknown)[0]!r}")
        if missing := {"step", "batch_size", "counts"} - set(values):
            raise InputError(f"an observation should have the field {sorted(missing)[0]!r}, found none")
        return cls(**values)


def _array(name: str, value: Any) -> Array:
    if hasattr(value, "detach"):  # a tensor of torch, wherever it is
        value = value.detach().cpu().double()
    try:
        array = np.asarray(value, np.float64).copy()
    except (TypeError, ValueError):
        raise InputError(f"{name} of an observation should be numbers, found {value!r}") from None
    if array.ndim != (2 if name in _MATRICES else 1):
        raise InputError(f"{name} of an observation should have one number per source, found shape {array.shape}")
    if np.isinf(array).any():
        raise InputError(f"{name} of an observation should be finite (nan: unknown), found {array.tolist()}")
    if name in _NOT_NEGATIVE and np.any(array < 0):
        raise InputError(f"{name} of an observation should be at least 0, found {array.tolist()}")
    array.flags.writeable = False
    return array


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return _plain(value.tolist())
    if isinstance(value, list):
        return [_plain(v) for v in value]
    return None if isinstance(value, float) and np.isnan(value) else value
