"""The summaries of specialists and generalists on preference pairs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mixwright.experiment.core.repeats import repeats
from mixwright.experiment.preference.measures import Specialist
from mixwright.experiment.preference.train_config import PreferConfig, SpecialistsConfig
from mixwright.experiment.preference.work import PairWork
from mixwright.preference.specialists import overfit_note

_MEASURES = ("loss", "accuracy", "margin", "excess", "gap")


def settings_of(config: PreferConfig, work: PairWork, specialists: SpecialistsConfig | None) -> dict[str, Any]:
    """Return what the summary repeats of the configuration, and the layers that the adapter is on."""
    return {
        "model": str(config.model),
        "adapter": work.inputs.adapter_summary,
        "loss": config.loss.model_dump(mode="json"),
        "specialist_settings": None if specialists is None else specialists.model_dump(mode="json", exclude_none=True),
        "training": config.training.model_dump(mode="json", exclude_none=True),
    }


def specialists_summary(
    work: PairWork,
    found: Mapping[str, Specialist],
    measured: Mapping[str, Mapping[str, Any]],
) -> dict[str, Any]:
    """
    Return the summary of a run of specialists, without head and settings.

    Parameters
    ----------
    work, found
        The pairs, and the specialists of all sources.
    measured
        {specialist: {source: held-out numbers}}, of models that were kept.
    """
    return {
        "sources": [
            {
                **_pairs(work, name),
                "train_loss": float(own.train.mean()),
                "held_out_loss": float(own.test.mean()),
                "cost": own.pairs,
                "model": None if own.model is None else str(own.model.relative_to(work.folder)),
            }
            for name, own in found.items()
        ],
        "measured": {name: dict(numbers) for name, numbers in measured.items()},
        "cost": {"pairs": sum(own.pairs for own in found.values())},
        "notes": _notes(work, found),
    }


def training_summary(
    work: PairWork,
    found: Mapping[str, Specialist] | None,
    result: Mapping[str, Any],
) -> dict[str, Any]:
    """
    Return the summary of a generalist, without head and settings.

    Parameters
    ----------
    found
        The specialists; None: there are none.
    result
        What `PairWork.result` returned, with its curve.
    """
    measured = result["measured"]
    return {
        "specialists": found is not None,
        "steps": result["steps"],
        "pairs": result["pairs"],
        "seconds": result["seconds"],
        "sources": [
            {
                **_pairs(work, name),
                "last_weight": result["weights"][name],
                **result["drawn"][name],
                "held_out": measured[name],
                "specialist": None
                if found is None
                else {"train": float(found[name].train.mean()), "held_out": float(found[name].test.mean())},
            }
            for name in work.names
        ],
        "held_out": {name: _overall(measured, name) for name in _MEASURES if _known(measured, name)},
        "curve": result["curve"],
        "cost": {
            "pairs": result["pairs"],
            "specialist_pairs": None if found is None else sum(own.pairs for own in found.values()),
        },
        "notes": _notes(work, found) + repeated({name: drawn["epochs"] for name, drawn in result["drawn"].items()}),
    }


def repeated(epochs: Mapping[str, float]) -> list[str]:
    """Return a sentence if a training on pairs goes many times through a source."""
    return repeats("the training", epochs, "train for fewer steps, or give the source less weight", "pairs")


def _notes(work: PairWork, found: Mapping[str, Specialist] | None) -> list[str]:
    """Return what became of the pairs, and what to know of the adapter and of specialists that learned by heart."""
    own = [overfit_note(name, each.train, each.test, work.loss) for name, each in (found or {}).items()]
    return [*work.inputs.notes, *work.inputs.adapter_notes, *(note for note in own if note)]


def _pairs(work: PairWork, name: str) -> dict[str, Any]:
    source = work.inputs.sources[name]
    return {"name": name, "pairs": len(source.train), "held_out_pairs": len(source.test)}


def _known(measured: Mapping[str, Mapping[str, Any]], name: str) -> bool:
    return all(own[name] is not None for own in measured.values())


def _overall(measured: Mapping[str, Mapping[str, Any]], name: str) -> dict[str, Any]:
    values = {source: own[name] for source, own in measured.items()}
    worst = (min if name in ("accuracy", "margin") else max)(values, key=lambda source: values[source])
    return {"average": sum(values.values()) / len(values), "worst": values[worst], "worst_source": worst}
