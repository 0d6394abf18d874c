"""The forecast of a comparison: read, checked against its arms, and fixed before the first training."""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from mixwright.checks import near
from mixwright.compare.forecast import OTHER, SCHEMA, targets_of
from mixwright.errors import InputError
from mixwright.experiment.core.config_parts import Between, Part, Positive, Share, not_bool
from mixwright.experiment.core.errors import explain
from mixwright.experiment.core.yaml import read_yaml
from mixwright.files import fingerprint, write_json

FORECAST = "forecast.json"  # in the folder of a fit or a search, which made it, and of a comparison, which fixed it
_Number = Annotated[float, BeforeValidator(not_bool)]


class PredictionConfig(Part):
    """What one arm was predicted to measure, or its difference from another arm."""

    arm: str = Field(description="The arm.")
    target: str | dict[str, Positive] | None = Field(
        default=None, description="A target, or {target: share} for a weighted sum. Default: the only one."
    )
    over: str | None = Field(default=None, description="The prediction is the difference: the arm minus this one.")
    quantity: str | None = Field(default=None, description="What is measured. Default: what the verdicts are about.")
    predicted: _Number = Field(description="The prediction: the mean over seeds.")
    low: _Number | None = Field(default=None, description="Low end of its interval. Default: open.")
    high: _Number | None = Field(default=None, description="High end of its interval. Default: open.")
    weights: dict[str, Share] | None = Field(default=None, description="{source: weight} that the prediction is for.")

    @model_validator(mode="after")
    def _in_order(self) -> PredictionConfig:
        low, high = self.low, self.high
        if (low is not None and low > self.predicted) or (high is not None and high < self.predicted):
            ends = " to ".join("open" if end is None else f"{end:g}" for end in (low, high))
            raise ValueError(f"the interval should hold the prediction {self.predicted:g}, found {ends}; correct it")
        return self


class ForecastConfig(Part):
    """What trainings are predicted to measure, written before they begin."""

    model_config = ConfigDict(title="mixwright forecast")
    version: int = Field(default=SCHEMA, alias="schema", ge=1, le=SCHEMA, description="Of this file.")
    made_by: str = Field(default="", description="What made the predictions.")
    level: Between = Field(default=0.9, description="Level of the intervals.")
    about: str = Field(default="", description="What one must know of them.")
    forecasts: list[PredictionConfig] = Field(min_length=1, description="The predictions.")

    @model_validator(mode="after")
    def _once(self) -> ForecastConfig:
        keys = [json.dumps([p.arm, p.over, p.target, p.quantity], sort_keys=True) for p in self.forecasts]
        if twice := [p for p, key in zip(self.forecasts, keys, strict=True) if keys.count(key) > 1]:
            raise ValueError(f"each arm and target should have one prediction, found {twice[0].arm} twice; remove one")
        return self


def read_forecast(path: Path) -> dict[str, Any]:
    """
    Return a forecast from a JSON or YAML file, in the form of `mixwright.compare.forecast`.

    Raises
    ------
    InputError
        For a file that is none; the line, the key and what to do are named.
    """
    if not path.exists():
        raise InputError(f"there should be a forecast at {path}, found nothing; check the path")
    file = read_yaml(path)
    if not isinstance(file.value, dict):
        raise InputError(f"{path} should hold the key forecasts:, a list of {{arm: ..., predicted: ...}}, found none")
    values = {key: value for key, value in file.value.items() if key not in ("fingerprint", "fixed")}
    try:
        found = ForecastConfig.model_validate(values)
    except ValidationError as error:
        raise InputError(explain(ForecastConfig, error, file)) from error
    return found.model_dump(mode="json", by_alias=True, exclude_none=True)


def check_names(made: Mapping[str, Any], arms: Sequence[str], measures: Sequence[str], several: bool) -> None:
    """
    Raise InputError for predictions that a comparison cannot score.

    An arm that it does not have is left out, and said so, unless its name looks misspelt or no other one is there.

    Parameters
    ----------
    made
        The forecast.
    arms, measures
        Of the comparison.
    several
        Whether a prediction must say what it is of.
    """
    named = list(dict.fromkeys(name for e in made["forecasts"] for name in (e["arm"], e.get("over", e["arm"]))))
    for name in (one for one in named if one not in arms):
        if close := difflib.get_close_matches(name, [arm for arm in arms if arm not in named], 1, cutoff=0.8):
            raise InputError(f"the forecast should name arms ({', '.join(arms)}), found {name!r}; is it {close[0]!r}?")
    for entry in made["forecasts"]:
        for name in targets_of(entry):
            if name is None and several:
                should = f"should say its target, one of {', '.join(measures)}; add target:"
                raise InputError(f"the forecast of {entry['arm']} {should}")
            if name is not None and name not in measures:
                should = f"should be of what is measured{near(name, measures, 'measures')}"
                raise InputError(f"the forecast of {entry['arm']} {should}")
    if not any({e["arm"], e.get("over", e["arm"])} <= set(arms) for e in made["forecasts"]):
        raise InputError(
            f"the forecast should be of arms of this comparison ({', '.join(arms)}), found {', '.join(named)}; give "
            "the arms those names (name:)"
        )


def check_weights(made: Mapping[str, Any], arm: str, weights: Mapping[str, float]) -> None:
    """Raise InputError if an arm has other weights than its prediction is for."""
    for entry in made["forecasts"]:
        wanted = entry.get("weights")
        if entry["arm"] == arm and wanted is not None:
            off = {name: abs(weights.get(name, 0.0) - wanted.get(name, 0.0)) for name in {**weights, **wanted}}
            name = max(off, key=lambda one: off[one])
            if off[name] > OTHER:
                raise InputError(
                    f"the forecast of {arm} is for other weights: {name} should have {wanted.get(name, 0.0):.4g}, "
                    f"found {weights.get(name, 0.0):.4g}; give the arm those weights, or make the forecast again"
                )


def check_fixed(made: Mapping[str, Any], folder: Path) -> None:
    """Raise InputError if another forecast was fixed in a run folder, or if its trainings were done without one."""
    path, found = folder / FORECAST, fingerprint(made)
    if not path.exists():
        if (folder / "summary.json").exists():
            raise InputError(
                f"a forecast should be there before the first training, found {folder} trained without one (it has no "
                f"{FORECAST}); choose another folder (--run)"
            )
        return
    try:
        fixed = json.loads(path.read_text(encoding="utf-8"))
        before, when = fixed["fingerprint"], fixed["fixed"]
    except (OSError, ValueError, KeyError, TypeError):
        raise InputError(
            f"{path} should be the forecast that was fixed there, cannot read it; choose another folder"
        ) from None
    if before != found:
        raise InputError(
            f"the forecast should be the one that was fixed before the first training ({when}, fingerprint {before}), "
            f"found another one ({found}); put the former one back (a copy is {path}), or choose another folder (--run)"
        )


def fix(made: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Write a forecast with its fingerprint and the time into a run folder, unless it is there; return both."""
    path = folder / FORECAST
    if not path.exists():
        now = datetime.now(UTC).isoformat(timespec="seconds")
        write_json(path, {**made, "fingerprint": fingerprint(made), "fixed": now})
    kept = json.loads(path.read_text(encoding="utf-8"))
    return {key: kept[key] for key in ("fingerprint", "fixed")}
