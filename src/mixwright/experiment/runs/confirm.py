"""Training what a fit proposed beside other mixtures, and what that says of the fit and of its forecast."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mixwright.compare.forecast import error_of
from mixwright.compare.statistics import PairedDifference, paired_differences
from mixwright.errors import InputError
from mixwright.experiment.core.forecasts import FORECAST
from mixwright.experiment.core.stages import Progress, silent
from mixwright.experiment.core.summary import read_summary
from mixwright.experiment.run import drive, load, write_page
from mixwright.experiment.runs.confirmed import CONFIRMED, with_confirmation
from mixwright.experiment.runs.training import arm_of, comparison_of, measures_of, repeating
from mixwright.files import write_json

OTHER_SEEDS = 1000  # a confirmation's seeds begin so far behind those of the runs: the incumbent was chosen by its luck
BEST = "the best measured run"


def confirm(
    fit: Path,
    config: Path,
    folder: Path,
    seeds: int = 3,
    beside: Mapping[str, Path] | None = None,
    progress: Progress = silent,
    command: str = "confirm",
    engine: Any = None,
    track: Any = None,
) -> dict[str, Any]:
    """
    Train a proposal beside the best measured run, natural and uniform weights; compare with what was predicted.

    The verdict, the summary and the page of the fit then say what was found.

    Parameters
    ----------
    fit
        The folder of a finished `mixwright runs fit`, whose predictions were written before.
    config
        The YAML file that the runs of the table were trained with: that of a comparison, without `arms`. Where it has
        fewer tokens than the training that the fit predicts, it draws from as small a share of each source.
    folder
        The run folder, which gets `confirmed.json` too.
    seeds
        How many trainings of each mixture, with seeds that no run of a plan has.
    beside
        {name: mixture.json} of other mixtures of the same sources, such as that of a search; trained too.
    progress, command
        As for `mixwright.experiment.drive`.
    engine, track
        In place of the keys of the configuration.

    Returns
    -------
    dict
        "verdict" and "word"; "difference" of the proposal from the incumbent over paired seeds, with what was
        predicted for it; "forecast", how many intervals have the measured loss, and by how much all predictions are off
        together; "mixtures", each with the predicted and the measured loss.

    Raises
    ------
    InputError
        For a fit, mixtures or a configuration that do not fit; before anything is trained.
    """
    found = read_summary(fit)
    _check_fit(found, fit)
    sources = [source["name"] for source in found["sources"]]
    arms = [arm_of(one["name"], sources, one["weights"]) for one in found["mixtures"]]
    arms += _arms_beside(beside or {}, [arm["name"] for arm in arms])
    tokens = found["fit"].get("tokens")  # of the training that is predicted: shorter ones repeat sources as it would
    given: dict[str, Any] = {"seeds": seeds, "over": "incumbent", "forecast": str((fit / FORECAST).resolve())}
    given |= {} if tokens is None else repeating(load("compare", config, arms=arms), tokens)
    given |= {k: v for k, v in (("engine", engine), ("track", track)) if v is not None}
    made = comparison_of(config, arms, OTHER_SEEDS, **given)
    counted = [target for target in found["targets"] if target["share"] > 0]
    if missing := [target["name"] for target in counted if target["name"] not in made.targets]:
        raise InputError(f"{config} should have the target {missing[0]!r} of the fit, found none of that name")
    summary = drive(made, folder, progress, command)
    result = _scored(found, counted, summary)
    write_json(folder / CONFIRMED, result)
    write_json(fit / CONFIRMED, result)
    write_json(fit / "summary.json", confirmed := with_confirmation(found, fit))
    write_page(confirmed, fit)
    return result


def _check_fit(found: Mapping[str, Any], fit: Path) -> None:
    """Raise InputError for a run that is no fit, or one whose proposal no comparison can train."""
    if found.get("kind") != "runs":
        raise InputError(f"{fit} should be a run of mixwright runs fit, found {found.get('kind')!r}")
    if found["fit"].get("phases", 1) > 1:
        raise InputError(
            f"{fit} should be a fit of trainings in one phase, found {found['fit']['phases']}; train the proposal's "
            "phases as an arm with the strategy Schedule: mixwright compare"
        )
    if not (fit / FORECAST).is_file():
        raise InputError(
            f"{fit} should have {FORECAST}, found none; fit again there, which keeps the fit: mixwright runs fit"
        )
    if found["fit"]["objective"] != "sum" and any("alone" not in target for target in found["targets"]):
        raise InputError(f"{fit} was fitted by a former version; fit it again: mixwright runs fit")


def _arms_beside(beside: Mapping[str, Path], taken: Sequence[str]) -> list[dict[str, Any]]:
    for name, path in beside.items():
        if name in taken:
            raise InputError(f"a mixture beside should have another name than {', '.join(taken)}; found {name!r}")
        if not Path(path).is_file():
            raise InputError(f"the mixture {name!r} should be a mixture.json, found none at {path}; check the path")
    return [{"name": name, "mixture": str(Path(path).resolve())} for name, path in beside.items()]


def _scored(
    found: Mapping[str, Any], counted: Sequence[Mapping[str, Any]], summary: Mapping[str, Any]
) -> dict[str, Any]:
    """Return what the trainings say of the fit."""
    measured = _goal(found["fit"]["objective"], counted, measures_of(summary))
    mixtures = [_compared(one, measured[one["name"]]) for one in found["mixtures"]]
    mixtures += [
        _compared({"name": name}, measured[name]) for name in measured if name not in {m["name"] for m in mixtures}
    ]
    level = found["fit"]["level"]
    names = [BEST if name == "incumbent" else name for name in measured]
    differences = paired_differences(list(measured.values()), names, BEST, level, unit="loss")
    own = next(d for d in differences if d.arm == "proposal")
    doubt = _doubt(summary, [target["name"] for target in counted])
    return {
        "verdict": doubt or own.verdict,
        "word": "unverified" if doubt else own.word,
        "seeds": list(summary["seeds"]),
        "difference": _difference(own, found["mixtures"]),
        "expected_optimism": found["fit"]["optimism"],
        "forecast": _forecast(mixtures),
        "mixtures": mixtures,
    }


def _goal(
    objective: str, counted: Sequence[Mapping[str, Any]], measured: Mapping[str, Mapping[str, list[float]]]
) -> dict[str, list[float]]:
    """Return {mixture: [what counts by seed]}: the sum of the targets by their shares, or their worst regret."""
    Y = {
        arm: np.array([measured[t["name"]][arm] for t in counted]) for arm in measured[counted[0]["name"]]
    }  # [m, seeds]
    if objective == "sum" or len(counted) == 1:
        shares = np.array([target["share"] for target in counted])
        return {arm: (shares @ y).tolist() for arm, y in Y.items()}
    alone: NDArray[np.float64] = np.array([target["alone"] for target in counted])
    return {arm: (y - alone[:, None]).max(0).tolist() for arm, y in Y.items()}


def _compared(one: Mapping[str, Any], measured: list[float]) -> dict[str, Any]:
    """Return a mixture with its forecast, where it had one, and what it measured."""
    mean = float(np.mean(measured))
    error, inside = error_of(one, mean)
    own = {key: one.get(key) for key in ("name", "predicted", "low", "high")}
    return {**own, "measured": mean, "by_seed": measured, "error": error, "inside": inside}


def _difference(own: PairedDifference, mixtures: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the measured difference of the proposal from the incumbent, and the one that was predicted."""
    known, by_name = np.isfinite(own.low), {one["name"]: one["predicted"] for one in mixtures}
    predicted = [by_name["proposal"], by_name["incumbent"]]
    return {
        "estimate": own.difference,
        "low": own.low if known else None,
        "high": own.high if known else None,
        "level": own.level,
        "predicted": None if None in predicted else predicted[0] - predicted[1],
    }


def _forecast(mixtures: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return how many intervals have the measured loss, and the mean error: a training of another size moves all."""
    errors = [one["error"] for one in mixtures if one["error"] is not None]
    return {
        "of": len(errors),
        "inside": sum(one["inside"] is True for one in mixtures),
        "shift": float(np.mean(errors)) if errors else None,
    }


def _doubt(summary: Mapping[str, Any], counted: Sequence[str]) -> str | None:
    """Return why the comparison calls the proposal unverified on a target that counts; None where it does not."""
    for measure in summary["measures"]:
        if measure["name"] in counted and measure["kind"] == "target":
            for one in measure["differences"]:
                if one["arm"] == "proposal" and one["word"] == "unverified":
                    return str(one["verdict"])
    return None
