"""What a training found: its `summary.json`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from mixwright.experiment.text.inputs import Source
from mixwright.experiment.text.summary import SCHEMA
from mixwright.experiment.text.train_config import TrainConfig
from mixwright.training.result import TrainingResult
from mixwright.version import __version__


def make_training_summary(
    config: TrainConfig,
    command: str,
    sources: Sequence[Source],
    trained: TrainingResult,
    measured: Mapping[str, Mapping[str, float]],
    how: Mapping[str, Any],
) -> dict[str, Any]:
    """
    Return the summary of a training.

    Parameters
    ----------
    config, command
        What it was told, and by which command.
    sources, trained
        Its sources and its result.
    measured
        {"target_loss": {target: nats per token}, "accuracy": {target: share}}, on all that is held out.
    how
        {"strategy": repr, "fixed": whether the weights are, "prior"}.
    """
    curve = [_point(point) for point in trained.curve]
    held_out = curve[-1]["source_loss"]
    worst = max(held_out, key=lambda name: held_out[name], default=None)
    return {
        "schema": SCHEMA,
        "kind": "training",
        "version": __version__,
        "title": config.title or f"A training on {', '.join(s.name for s in sources)}",
        "command": command,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "seed": config.seed,
        **how,
        "model": config.model.spec(),
        "training": config.training.model_dump(mode="json", exclude_none=True),
        "steps": trained.steps,
        "tokens": trained.tokens,
        "seconds": trained.seconds,
        "flops": trained.flops,
        "skipped": trained.skipped,
        "sources": [_source(source, trained, curve[-1]) for source in sources],
        "held_out": {
            "average": sum(held_out.values()) / len(held_out) if held_out else None,
            "worst": None if worst is None else held_out[worst],
            "worst_source": worst,
        },
        "targets": [
            {"name": name, "loss": loss, "accuracy": measured["accuracy"].get(name)}
            for name, loss in measured["target_loss"].items()
        ],
        "curve": curve,
        "notes": list(trained.notes),
    }


def _point(point: Mapping[str, Any]) -> dict[str, Any]:
    """Return a point of the curve with the losses of sources and targets apart."""
    parts: dict[str, dict[str, float]] = {"source": {}, "target": {}}
    for key, value in point["loss"].items():
        kind, _, name = key.partition(" ")
        parts[kind][name] = value
    kept = {key: point[key] for key in ("step", "tokens", "train_loss", "source_train_loss")}
    return {**kept, "source_loss": parts["source"], "target_loss": parts["target"]}


def _source(source: Source, trained: TrainingResult, last: Mapping[str, Any]) -> dict[str, Any]:
    line = next(line for line in trained.ledger["sources"] if line["source"] == source.name)
    return {
        "name": source.name,
        "documents": source.train.documents,
        "tokens": source.train.tokens,
        "last_weight": trained.weights[source.name],
        "asked": line["asked"],
        "drawn": line["drawn"],
        "rows": line["rows"],
        "epochs": line["epochs"],
        "held_out_loss": last["source_loss"].get(source.name),
    }
