"""Supervised fine-tuning on the better answers of pairs, from beginning to end: what `mixwright prefer sft` does."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from mixwright.experiment.core.same_folder import check_same
from mixwright.experiment.core.stages import Progress, Stage, check_folder, open_run, silent
from mixwright.experiment.preference.config import SftConfig, config_text, dumped
from mixwright.experiment.preference.inputs import Inputs, load_model, on_device, open_inputs, with_adapter
from mixwright.experiment.preference.work import save_model
from mixwright.experiment.text.source_files import named
from mixwright.experiment.text.summary import SCHEMA
from mixwright.files import write_json
from mixwright.preference.fitting import FitSettings, forget_checkpoints
from mixwright.preference.sft import answer_losses, fine_tune, shares_of
from mixwright.version import __version__

MAY_DIFFER = (("title",), ("training", "checkpoint_every"))
_SAME = ("batch_size", "accumulate", "learning_rate", "weight_decay", "max_grad_norm", "precision")


def run_sft(
    config: SftConfig, folder: Path | str, progress: Progress = silent, command: str = "mixwright.run_sft"
) -> dict[str, Any]:
    """
    Do a supervised fine-tuning, or the rest of one, and return its summary; a finished one is not done again.

    Stopped in whatever way and called again it goes on, and on a CPU ends with the same model bit by bit.

    Parameters
    ----------
    config
        From `load_prefer_config(SftConfig, path)` or `make_prefer_config(SftConfig, values)`.
    folder
        The run folder: a new one, an empty one, or one of the same configuration.
    progress
        Called as `progress(stage, done, total, note)`.
    command
        What the summary says the run was made with.

    Returns
    -------
    dict
        `summary.json`; beside it are `model/` (with its tokenizer) and `metrics.jsonl` (a line per step).

    Raises
    ------
    InputError
        The configuration does not fit the data, the model or the folder, which holds another run.
    """
    folder = Path(folder)
    check_folder(folder)
    check_same(dumped(config), folder, "fine-tuning", ("training", "model"), MAY_DIFFER)
    inputs = open_inputs(config, folder, progress)
    with open_run(folder, config_text(config, "mixwright prefer sft")):
        inputs.keep()
        return _Work(config, folder, inputs).do(progress, command)


class _Work:
    """One fine-tuning at work."""

    def __init__(self, config: SftConfig, folder: Path, inputs: Inputs) -> None:
        self.config, self.folder, self.inputs = config, folder, inputs
        self.sizes = {name: len(source.train) for name, source in inputs.sources.items()}
        self.shares = shares_of(config.weights, self.sizes)
        training = config.training
        steps = training.total_steps(sum(self.sizes.values()))
        self.settings = FitSettings(
            steps=steps,
            warmup=round(training.warmup * steps),
            seed=config.seed,
            checkpoint_seconds=training.checkpoint_every,
            gradient_checkpointing=training.gradient_checkpointing,
            **{name: getattr(training, name) for name in _SAME},
        )

    def do(self, progress: Progress, command: str) -> dict[str, Any]:
        """Train and measure; write the summary."""
        stage = Stage(self.folder / "trained", self._made_from)
        result, path = stage.result(), self.folder / "summary.json"
        if result is not None and (self.folder / "model" / "config.json").exists() and path.exists():
            return dict(json.loads(path.read_text(encoding="utf-8")))
        path.unlink(missing_ok=True)
        stage.begin()
        before = self._before(stage, progress)
        model = load_model(self.inputs.model)
        if self.config.adapter is not None:
            model = with_adapter(model, self.config.adapter, self.config.seed)
        with named(self.config.where("training")):
            mixture = fine_tune(
                model,
                {name: source.train for name, source in self.inputs.sources.items()},
                self.shares,
                self.settings,
                self.folder,
                pad=self.inputs.pad,
                checkpoints=stage.folder,
                progress=lambda done, total: progress("train", done, total),
            )
        if self.config.adapter is not None:
            model = model.merge_and_unload()
        measured = {"before": before, "after": self._measure(model, progress, "after")}
        save_model(model, self.inputs.tokenizer, self.folder / "model")
        ledger = {line["source"]: line for line in mixture.loader.ledger().to_json()["sources"]}
        result = stage.finish({"measured": measured, "ledger": ledger, "parameters": model.num_parameters()})
        forget_checkpoints(stage.folder)
        summary = self._summary(result, command)
        write_json(path, summary)
        return summary

    @property
    def _made_from(self) -> dict[str, Any]:
        training = self.config.training.model_dump(mode="json", exclude={"checkpoint_every", "observe_every"})
        return {
            "stage": "sft",
            "model": self.inputs.model_fingerprint,
            "tokenizer": self.inputs.tokenizer_fingerprint,
            "tokens": {n: [s.train.fingerprint, s.test.fingerprint] for n, s in self.inputs.sources.items()},
            "weights": self.shares,
            "adapter": self.inputs.adapter_described,
            "training": training,
            "seed": self.config.seed,
        }

    def _before(self, stage: Stage, progress: Progress) -> dict[str, Any]:
        """Return the held-out losses of the model at the start: measured once, also where the training is resumed."""
        path = stage.folder / "before.json"
        if not path.exists():
            write_json(path, self._measure(on_device(load_model(self.inputs.model)), progress, "before"))
        return dict(json.loads(path.read_text(encoding="utf-8")))

    def _measure(self, model: Any, progress: Progress, note: str) -> dict[str, Any]:
        found, total = {}, len(self.inputs.sources)
        size = max(1, self.settings.batch_size // self.settings.accumulate)
        for index, (name, source) in enumerate(self.inputs.sources.items()):
            progress("measure", index, total, f"{note}, {name}")
            losses = answer_losses(model, source.test, size)
            found[name] = {"loss": losses.mean, "tokens": int(losses.tokens.sum())}
        progress("measure", total, total, note)
        return found

    def _summary(self, result: Mapping[str, Any], command: str) -> dict[str, Any]:
        settings, measured = self.settings, result["measured"]
        sources = [
            {
                "name": name,
                "pairs": len(source.train),
                "held_out_pairs": len(source.test),
                "weight": self.shares[name],
                **{key: result["ledger"][name][key] for key in ("asked", "drawn", "rows", "epochs")},
                "held_out_loss_before": measured["before"][name]["loss"],
                "held_out_loss": measured["after"][name]["loss"],
                "held_out_tokens": measured["after"][name]["tokens"],
            }
            for name, source in self.inputs.sources.items()
        ]
        return {
            "schema": SCHEMA,
            "kind": "fine-tuning",
            "version": __version__,
            "title": self.config.title or f"Fine-tuning on {', '.join(self.inputs.sources)}",
            "command": command,
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "seed": self.config.seed,
            "model": str(self.config.model),
            "parameters": result["parameters"],
            "adapter": self.inputs.adapter_described,
            "training": self.config.training.model_dump(mode="json", exclude_none=True),
            "steps": settings.steps,
            "rows": settings.steps * settings.batch_size,
            "seconds": result["seconds"],
            "sources": sources,
            "held_out": {
                when: sum(part["loss"] for part in measured[when].values()) / len(sources)
                for when in ("before", "after")
            },
            "notes": list(self.inputs.notes),
        }
