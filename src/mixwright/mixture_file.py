"""The file mixture.json: sources with their weights, and the evidence they rest on."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields
from difflib import get_close_matches
from numbers import Real
from os import PathLike
from pathlib import Path
from typing import Any

from mixwright.checks import read_object, unique_names
from mixwright.errors import InputError
from mixwright.files import write_json
from mixwright.version import __version__

SCHEMA = 1
SUM_TOLERANCE = 1e-6
_UNITS = ("rows", "tokens")
_MAPPINGS = ("method", "evidence", "certificate", "uncertainty")


@dataclass(frozen=True)
class MixtureFile:
    """
    A mixture with its evidence: what mixture.json holds.

    Numpy numbers and arrays inside the mappings become plain numbers and lists, so that reading a written file gives
    an equal object.

    Parameters
    ----------
    sources : sequence of str
        k different names.
    weights : sequence of float
        [k], the share that is asked for of each source: at least 0, with sum 1 (within 1e-6).
    unit : {"rows", "tokens"}
        What the weights are shares of.
    method : mapping
        How they were found: name and hyperparameters.
    evidence : mapping
        What they were found from: rows, documents, unit, fingerprints.
    certificate : mapping
        "loss", "objective" and "gap", in nats per row of the table.
    uncertainty : mapping
        "level" (between 0 and 1), "interval" ([k, 2], one for each weight) and "improvement" ("over" a mixture, with
        "estimate", "low" and "high" in nats per row).
    verdict : str
        One sentence, or "unverified".

    Raises
    ------
    InputError
        A field that is not as above; the message names it.

    Examples
    --------
    >>> MixtureFile(sources=["web", "books"], weights=[0.75, 0.25]).weights
    (0.75, 0.25)
    """

    sources: tuple[str, ...]
    weights: tuple[float, ...]
    unit: str = "rows"
    method: Mapping[str, Any] = field(default_factory=dict)
    evidence: Mapping[str, Any] = field(default_factory=dict)
    certificate: Mapping[str, Any] = field(default_factory=dict)
    uncertainty: Mapping[str, Any] = field(default_factory=dict)
    verdict: str = "unverified"

    def __post_init__(self) -> None:
        """Check every field and make it plain."""
        plain: dict[str, Any] = {"sources": unique_names(self.sources)}
        plain["weights"] = _weights(self.weights, len(plain["sources"]))
        if self.unit not in _UNITS:
            raise InputError(f"unit should be 'rows' or 'tokens', found {self.unit!r}; choose one of the two")
        if not isinstance(self.verdict, str):
            raise InputError(f"verdict should be a text, found {self.verdict!r}; write one sentence")
        plain |= {name: _plain_mapping(name, getattr(self, name)) for name in _MAPPINGS}
        plain["verdict"] = _plain("verdict", self.verdict)
        _check_certificate(plain["certificate"])
        _check_uncertainty(plain["uncertainty"], len(plain["sources"]))
        for name, value in plain.items():
            object.__setattr__(self, name, value)

    def write(self, path: str | PathLike[str]) -> None:
        """
        Write the file atomically, with the schema version and the version of the library.

        Raises
        ------
        InputError
            The file cannot be written; what was there before is unchanged.
        """
        write_json(Path(path), self.to_json())

    def to_json(self) -> dict[str, Any]:
        """Return what the file holds."""
        return {"schema": SCHEMA, "version": __version__, **asdict(self)}

    @classmethod
    def read(cls, path: str | PathLike[str]) -> MixtureFile:
        """
        Read a file that `write` wrote.

        Raises
        ------
        InputError
            The file is missing, not JSON, from a newer version, or a field is absent, unknown or wrong (it is named).
        """
        value = read_object(Path(path), "a mixture file (mixture.json)", SCHEMA)
        known = [f.name for f in fields(cls)]
        for name in ("version", *known):
            if name not in value:
                raise InputError(f"{path} should have a field {name!r}, found none; add it or write the file again")
        for name in value:
            if name not in {"schema", "version", *known}:
                nearest = get_close_matches(name, known, n=1)
                advice = f"did you mean {nearest[0]!r}?" if nearest else "remove it"
                raise InputError(f"{path} has a field {name!r}, which mixture files do not have; {advice}")
        try:
            return cls(**{name: value[name] for name in known})
        except InputError as error:
            raise InputError(f"{path}: {error}") from error


def _weights(weights: Iterable[float], k: int) -> tuple[float, ...]:
    """Return the weights as k floats on the simplex."""
    if isinstance(weights, str | bytes | Mapping) or not isinstance(weights, Iterable):
        raise InputError(f"weights should be a list of {k} numbers, found {weights!r}; give one number for each source")
    checked = tuple(_number(f"weights[{i}]", w) for i, w in enumerate(weights))
    if len(checked) != k:
        raise InputError(f"weights should have one number for each of {k} sources, found {len(checked)}; give {k}")
    for i, weight in enumerate(checked):
        if weight < 0:
            raise InputError(f"weights should be at least 0, found {weight} at position {i}; correct it")
    total = math.fsum(checked)
    if abs(total - 1) > SUM_TOLERANCE:
        raise InputError(f"weights should have sum 1 (within {SUM_TOLERANCE}), found {total}; divide them by their sum")
    return checked


def _number(name: str, value: Any) -> float:
    """Return a finite number as a float."""
    wrong = InputError(f"{name} should be a finite number, found {value!r:.60}; correct it")
    if isinstance(value, bool) or not isinstance(value, Real):
        raise wrong
    try:
        number = float(value)
    except (OverflowError, ValueError):
        raise wrong from None
    if not math.isfinite(number):
        raise wrong
    return number


def _plain(name: str, value: Any) -> Any:
    """Return `value` as JSON would give it back."""
    try:
        text = json.dumps(value, allow_nan=False, ensure_ascii=False, default=_to_plain)
        text.encode()
        return json.loads(text)
    except (TypeError, ValueError, RecursionError) as error:
        raise InputError(
            f"{name} should hold only texts, finite numbers, lists and mappings, as JSON does, found something else "
            f"({error}); convert it"
        ) from error


def _plain_mapping(name: str, value: Any) -> dict[str, Any]:
    """Return a mapping with text keys, made plain."""
    if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
        raise InputError(f"{name} should be a mapping with texts as keys, found {value!r:.60}; correct it")
    plain: dict[str, Any] = _plain(name, dict(value))
    return plain


def _to_plain(value: Any) -> Any:
    """Convert what JSON does not know: numpy numbers and arrays, and mappings that are not dictionaries."""
    if isinstance(value, Mapping):
        return dict(value)
    if hasattr(value, "tolist"):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} {value!r:.60}")


def _check_certificate(certificate: Mapping[str, Any]) -> None:
    """Check the numbers of a certificate that are present."""
    for name in ("loss", "objective", "gap"):
        if name in certificate:
            _number(f"certificate.{name}", certificate[name])


def _check_uncertainty(uncertainty: Mapping[str, Any], k: int) -> None:
    """Check the parts of the uncertainty that are present and known (not null)."""
    level = uncertainty.get("level")
    if level is not None and not 0 < _number("uncertainty.level", level) < 1:
        raise InputError(f"uncertainty.level should lie between 0 and 1, found {level!r}; write 0.9 for 90 %")
    interval = uncertainty.get("interval")
    if interval is not None:
        if not isinstance(interval, list) or len(interval) != k:
            raise InputError(f"uncertainty.interval should be a list of {k} pairs, found {interval!r:.60}; correct it")
        for i, pair in enumerate(interval):
            if not isinstance(pair, list) or len(pair) != 2:
                raise InputError(f"uncertainty.interval[{i}] should be a pair [low, high], found {pair!r:.60}")
            for end, value in zip(("low", "high"), pair, strict=True):
                _number(f"uncertainty.interval[{i}] ({end})", value)
    improvement = uncertainty.get("improvement")
    if improvement is not None:
        if not isinstance(improvement, dict):
            raise InputError(f"uncertainty.improvement should be a mapping, found {improvement!r:.60}; correct it")
        for name in ("estimate", "low", "high"):
            _number(f"uncertainty.improvement.{name}", improvement.get(name))
