"""Supervised fine-tuning on the better answers of pairs: what `mixwright prefer sft` does."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from mixwright.experiment.core.errors import named
from mixwright.experiment.core.stages import Progress, Stage
from mixwright.experiment.preference.config import SftConfig
from mixwright.experiment.preference.inputs import load_model, on_device, open_inputs, with_adapter
from mixwright.experiment.preference.summary import repeated
from mixwright.experiment.run import Run
from mixwright.files import write_json
from mixwright.files.models import holds_model
from mixwright.preference.fitting import forget_checkpoints
from mixwright.preference.sft import answer_losses, fine_tune, shares_of


class FineTuningRun(Run[SftConfig]):
    """
    Supervised fine-tuning on the better answers; it leaves `model/` (with its tokenizer) and `metrics.jsonl`.

    Stopped in whatever way and started again it resumes, and on a CPU ends with the same model bit by bit.
    """

    @property
    def title(self) -> str:
        """Return the heading where the configuration gives none."""
        return f"Fine-tuning on {', '.join(self.config.sources)}"

    def check(self, progress: Progress) -> None:
        """Read the pairs, and check that tokeniser and model fit."""
        config = self.config
        self.inputs = open_inputs(config, self.folder, progress)
        self.sizes = {name: len(source.train) for name, source in self.inputs.sources.items()}
        self.shares = shares_of(config.weights, self.sizes)
        self.settings = config.training.settings(config.training.total_steps(sum(self.sizes.values())), config.seed)

    def plan(self) -> str:
        """Return how many rows are trained on, if it is not done."""
        if self._done() is not None:
            return ""
        return f"{self.settings.steps:,} steps, {self.settings.steps * self.settings.batch_size:,} rows to train"

    def work(self, progress: Progress) -> dict[str, Any]:
        """Train and measure, or take what is done, and return the summary without its head."""
        self.inputs.keep()
        result = self._done()
        if result is None:
            (self.folder / "summary.json").unlink(missing_ok=True)  # it is of another training
            result = self._trained(self._stage, progress)
        return self._summary(result)

    @property
    def _stage(self) -> Stage:
        return Stage(self.folder / "trained", self._made_from)

    def _done(self) -> dict[str, Any] | None:
        """Return the result of a training that is finished and whose model is there."""
        return self._stage.result() if holds_model(self.folder / "model") else None

    def _trained(self, stage: Stage, progress: Progress) -> dict[str, Any]:
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
                track=self.track,
            )
        model = self.inputs.save(model, self.folder / "model", merge=self.config.adapter is not None)
        measured = {"before": before, "after": self._measure(model, progress, "after")}
        ledger = {line["source"]: line for line in mixture.loader.ledger().to_json()["sources"]}
        result = stage.finish({"measured": measured, "ledger": ledger, "parameters": model.num_parameters()})
        forget_checkpoints(stage.folder)
        return result

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

    def _summary(self, result: Mapping[str, Any]) -> dict[str, Any]:
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
            "model": str(self.config.model),
            "parameters": result["parameters"],
            "adapter": self.inputs.adapter_summary,
            "training": self.config.training.model_dump(mode="json", exclude_none=True),
            "steps": settings.steps,
            "rows": settings.steps * settings.batch_size,
            "seconds": result["seconds"],
            "sources": sources,
            "held_out": {
                when: sum(part["loss"] for part in measured[when].values()) / len(sources)
                for when in ("before", "after")
            },
            "notes": [*self.inputs.notes, *repeated({source["name"]: source["epochs"] for source in sources})],
        }
