"""The decision log of a run, and what another strategy would have decided on it."""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mixwright.errors import InputError
from mixwright.files.opening import read_text
from mixwright.observation import Observation
from mixwright.simplex import normalise
from mixwright.strategies.static import simplex_tuple
from mixwright.strategy import Strategy

Array = NDArray[np.float64]
LOG = "decisions.jsonl"
TRAINER_RESTS = 600.0  # seconds without a line after which a Trainer counts as stopped
Records = str | PathLike[str] | Iterable[Mapping[str, Any]]


@dataclass(frozen=True, eq=False)
class DecisionLog:
    """
    What a `Mixture` wrote down, checked.

    Attributes
    ----------
    observations
        One per update, in order.
    weights
        [updates, k]: those of the run's strategy that followed each (before constraints, where there are some).
    begins
        [updates]: the first step of each.
    prior
        [k], or None in a log that does not say.
    sources
        Names; source_0, ... in a log that does not say.
    strategy
        The repr of the run's strategy, or "".
    """

    observations: tuple[Observation, ...]
    weights: Array
    begins: NDArray[np.int64]
    prior: Array | None
    sources: tuple[str, ...]
    strategy: str

    @property
    def given(self) -> frozenset[str]:
        """Return the fields that every observation has."""
        return frozenset.intersection(*(obs.given for obs in self.observations))


def read_decisions(records: Records) -> DecisionLog:
    """
    Return a decision log.

    Parameters
    ----------
    records
        The path of `decisions.jsonl`, the folder of a run that has one, or the lines as mappings. If the sources of the
        run changed, the decisions since then are read.

    Raises
    ------
    InputError
        There is no such file, it holds no decision, or a line is no decision that fits the others: the message has the
        line. A last line that was cut off (the run was killed, or is writing it) is not read.
    """
    path = Path(records) if isinstance(records, str | PathLike) else None
    lines: list[Any] = list(records) if path is None else _lines(path)  # type: ignore[arg-type]
    if path is not None and path.is_dir():
        path = path / LOG
    if not lines:
        raise InputError(
            f"{path or 'the log'} should have at least one decision, found none; has the run observed yet?"
        )
    decisions = [_decision(line, f"{path or 'the log'}, line {i + 1}") for i, line in enumerate(lines)]
    # where the sources changed, the former ones' numbers are of something else
    changes = [i for i, (*_, about) in enumerate(decisions) if "sources" in about and lines[i].get("decision")]
    first = changes[-1] if changes else 0
    decisions = decisions[first:]
    _check_order(decisions, str(path or "the log"), first)
    about, k = decisions[0][3], len(decisions[0][1])
    sources = about.get("sources") or [f"source_{i}" for i in range(k)]
    prior = about.get("prior")
    where = f"{path or 'the log'}, line {first + 1}"
    for what, found in (("sources", sources), ("shares in its prior", [0.0] * k if prior is None else prior)):
        if not (isinstance(found, list | tuple) and len(found) == k):
            raise InputError(f"{where}: the run should have {k} {what}, as its weights, found {found!r:.200}")
    try:
        checked = None if prior is None else np.array(simplex_tuple(prior, "prior"))
    except InputError as error:
        raise InputError(f"{where}: {error}") from None
    return DecisionLog(
        tuple(obs for obs, *_ in decisions),
        np.array([weights for _, weights, *_ in decisions]),
        np.array([begins for *_, begins, _ in decisions], np.int64),
        checked,
        tuple(map(str, sources)),
        str(about.get("strategy", "")),
    )


def replay(
    records: Records | DecisionLog, strategy: Strategy[Any], prior: Sequence[float] | Array | None = None
) -> Array:
    """
    Return the weights [updates, k] that a strategy would have given after each observation of a log.

    A dry run: the observations come from the run, which was trained with its own weights. What a training with the
    other strategy would have observed is not known. Differences show what the rule makes of the same evidence; they
    say nothing about the loss.

    Parameters
    ----------
    records
        A decision log, as for `read_decisions`.
    strategy
        The strategy to ask.
    prior
        [k]; None: the run's, or uniform where the log does not say.

    Raises
    ------
    InputError
        As `read_decisions`; and if the strategy needs a field that the log does not have throughout, or the prior is
        wrong.

    Examples
    --------
    >>> from mixwright import BalancedPiKE, replay
    >>> seen = {"step": 9, "batch_size": 8, "counts": [4, 4], "loss": [1.0, 2.0], "grad_sq_norm": [1.0, 1.0]}
    >>> record = {"decision": 0, "begins": 17, "weights": [0.5, 0.5], "observation": seen}
    >>> replay([record], BalancedPiKE(1.0, variance=False)).round(3)
    array([[0.454, 0.546]])
    """
    log = records if isinstance(records, DecisionLog) else read_decisions(records)
    if missing := sorted(strategy.needs - log.given):
        raise InputError(
            f"{type(strategy).__name__} needs {', '.join(missing)} in each observation; the log has "
            f"{', '.join(sorted(log.given))}; replay a strategy that needs no more, or record it in the next run"
        )
    k = log.weights.shape[1]
    start = normalise(prior, "prior") if prior is not None else np.full(k, 1 / k) if log.prior is None else log.prior
    if len(start) != k:
        raise InputError(f"prior should have one weight per source ({k}), found {len(start)}")
    state, out = strategy.init(start.copy()), np.empty_like(log.weights)
    for i, (obs, begins) in enumerate(zip(log.observations, log.begins, strict=True)):
        state = strategy.update(state, obs)
        known = strategy.weights_at(int(begins))
        out[i] = strategy.weights(state) if known is None else known
    return out


def set_aside(log: Path, sources: Sequence[str], strategy: Strategy[Any]) -> Path | None:
    """Rename a log if its first line is of these sources and this strategy; return the new path, or None."""
    try:
        with open(log, encoding="utf-8") as handle:
            about = json.loads(handle.readline())["run"]
        if (about["sources"], about["strategy"]) != (list(sources), repr(strategy)):
            return None
    except (OSError, ValueError, LookupError, TypeError, RecursionError):  # there is none, or it is something else
        return None
    names = (log.with_name(f"{log.stem}.before-{n}{log.suffix}") for n in itertools.count(1))
    kept = next(path for path in names if not path.exists())
    os.replace(log, kept)
    return kept


def _is_other(text: str) -> bool:
    """Whether a text is one JSON object, such as a mixture, and no decision."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return False
    return isinstance(value, dict) and not {"decision", "observation"} & set(value)


def _lines(path: Path) -> list[Any]:
    file = path / LOG if path.is_dir() else path
    text = read_text(file, "the decision log of a run (what Mixture(log=...) writes)", "check the path")
    if _is_other(text):
        raise InputError(f"{file} should be a decision log, found another JSON file; give the folder of a run")
    out = []
    for number, line in enumerate(text.splitlines(keepends=True), 1):
        if not line.endswith("\n"):
            break
        try:
            out.append(json.loads(line))
        except (ValueError, RecursionError):
            raise InputError(f"{file}, line {number}: should be a JSON object, found {line.strip()[:60]!r}") from None
    return out


def _decision(line: Any, where: str) -> tuple[Observation, Array, int, Mapping[str, Any]]:
    """Return observation, weights [k], first step and the description of the run from one line."""
    if not isinstance(line, Mapping):
        raise InputError(f"{where}: a decision should be a mapping, found {type(line).__name__}")
    for name in ("begins", "weights", "observation"):
        if name not in line:
            raise InputError(
                f"{where}: a decision should have {name!r}, found {', '.join(map(str, line)) or 'nothing'}"
            )
    begins, run = line["begins"], line.get("run", {})
    if (
        isinstance(begins, bool)
        or not isinstance(begins, int)
        or not 0 <= begins < 2**63
        or not isinstance(run, Mapping)
    ):
        raise InputError(f"{where}: 'begins' should be a step and 'run' a mapping, found {begins!r} and {run!r}")
    if not isinstance(line["observation"], Mapping):
        raise InputError(f"{where}: an observation should be a mapping, found {line['observation']!r}")
    try:
        obs = Observation.from_json(line["observation"])
        weights = np.array(simplex_tuple(line.get("strategy_weights", line["weights"])))
    except (InputError, TypeError, ValueError, OverflowError) as error:
        raise InputError(f"{where}: {error}") from None
    if len(weights) != len(obs.counts):
        raise InputError(f"{where}: found {len(weights)} weights and counts of {len(obs.counts)} sources")
    return obs, weights, begins, run


def _check_order(decisions: Sequence[tuple[Observation, Array, int, Any]], where: str, first: int) -> None:
    k = len(decisions[0][1])
    for i in range(1, len(decisions)):
        before, now, line = decisions[i - 1], decisions[i], f"{where}, line {first + i + 1}"
        if len(now[1]) != k:
            raise InputError(f"{line}: should have {k} sources as the first line, found {len(now[1])}")
        if now[0].step <= before[0].step:
            raise InputError(
                f"{line}: should be of a step after {before[0].step}, found {now[0].step}; the file "
                "holds more than one run, or lines out of order"
            )
