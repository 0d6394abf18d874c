"""A fit of a table of runs from beginning to end: read, fit, propose, say how far to believe it."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import numpy as np

from mixwright.checks import by_name
from mixwright.errors import InputError
from mixwright.experiment.core.errors import named
from mixwright.experiment.core.forecasts import FORECAST
from mixwright.experiment.core.searches import hand_out
from mixwright.experiment.core.stages import Progress, Stage
from mixwright.experiment.core.summary import stage_seconds
from mixwright.experiment.core.what_if import NAME, write_what_if_of_run
from mixwright.experiment.run import Run
from mixwright.experiment.runs.config import RunsConfig
from mixwright.experiment.runs.confirmed import with_confirmation
from mixwright.experiment.runs.summary import described, forecast_of, what_if_of
from mixwright.files import file_fingerprint, write_json
from mixwright.mixture_file import MixtureFile
from mixwright.runs.design.plan import purposes
from mixwright.runs.reading import read_columns
from mixwright.runs.search import RunSearch
from mixwright.runs.table import RunTable
from mixwright.version import __version__


class RunFit(Run[RunsConfig]):
    """The proposal of a law that was fitted to a table of runs; it leaves `mixture.json` and `whatif.json`."""

    @property
    def title(self) -> str:
        """Return the heading of the report where the configuration gives none."""
        target = self.config.target
        names = list(target or ()) if not isinstance(target, str) else [target]
        return f"A mixture for {', '.join(names[:3]) or self.config.table.path.stem}, from measured runs"

    def check(self, progress: Progress) -> None:
        """Read the table, and check that target, laws and limits fit it."""
        config, started = self.config, time.perf_counter()
        with named(config.where("table")):
            self.table = RunTable.from_file(**config.table.reading())
        with named(config.where("sizes")):
            self.sizes = by_name(config.sizes, self.table.sources, "sizes", None) if config.sizes else None
        chosen = config.search
        shrinkage: Any = chosen.shrinkage
        law: Any = config.law[0] if len(config.law) == 1 else config.law
        with named(config.where("search")):
            self.search = RunSearch(law, chosen.prior, shrinkage, config.objective, chosen.tolerance)
        self._require_sizes()
        self.arguments: dict[str, Any] = {
            "target": config.target,
            "sizes": self.sizes,
            "constraints": chosen.constraints(self._budget()),
            "scale": config.scale,
            "tokens": config.tokens,
            "guardrails": config.guardrails or None,
        }
        with named(str(config.table.path)):
            self.search.check(self.table, **self.arguments)
        self.reading = time.perf_counter() - started

    def _require_sizes(self) -> None:
        chosen, known = self.config.search, self.sizes is not None or self.table.sizes is not None
        if not known and (chosen.prior == "natural" or chosen.max_epochs is not None):
            key = "prior" if chosen.prior == "natural" else "max_epochs"
            raise InputError(
                f"{self.config.where('search', key)}: this needs the sizes of the sources, found none; add sources: to "
                "the table (a file with the columns source and available_tokens), or sizes: {source: tokens}"
            )

    def _budget(self) -> float | None:
        """Return the tokens of the training that is predicted."""
        if self.config.tokens is not None or self.table.tokens is None:
            return self.config.tokens
        return float(np.nanmedian(self.table.tokens))

    def plan(self) -> str:
        """Return how many runs there are."""
        table = self.table
        return f"{table.n:,} runs of {len(table.sources)} sources to fit; nothing is trained"

    def work(self, progress: Progress) -> dict[str, Any]:
        """Fit, or take what is done; write `mixture.json` and `whatif.json`."""
        progress("fit", 0, 1)
        stage = self._stage()
        result = stage.result(_whole)
        if result is None:
            stage.begin()
            found = self.search.fit(self.table, **self.arguments, seed=self.config.seed)
            level = self.config.search.level
            file = found.to_file(level=level)
            file.write(stage.folder / "mixture.json")
            result = {**described(found, file, level, self._budget()), "design": self._design()}
            what_if = what_if_of(found, result["mixtures"], file.uncertainty.get("interval"), level)
            write_what_if_of_run(stage.folder, what_if)
            result = stage.finish(result)
        progress("fit", 1, 1)
        hand_out(self.folder, [("", stage.folder / "mixture.json")])
        write_json(self.folder / FORECAST, forecast_of(result))
        write_what_if_of_run(self.folder, json.loads((stage.folder / NAME).read_text(encoding="utf-8")))
        summary = {
            **{key: value for key, value in result.items() if key != "seconds"},
            "cost": {"seconds": {"table": round(self.reading, 3), **stage_seconds(self.folder, {"fit": []})}},
        }
        return with_confirmation(summary, self.folder)

    def _design(self) -> dict[str, Any] | None:
        """Return what the runs were planned for, where the table is of `mixwright runs plan`."""
        found = purposes(read_columns(self.config.table.path))
        return None if found is None else vars(found)

    def _stage(self) -> Stage:
        """Return the fit, which depends on the content of the files and on all settings."""
        config = self.config
        files = [config.table.path, config.table.metrics, config.table.sources]
        inputs = {
            "stage": "fit",
            "data": [file_fingerprint(path) for path in files if path is not None],
            "version": __version__,
            "table": config.table.model_dump(mode="json", exclude={"path", "metrics", "sources"}),
            "settings": config.model_dump(mode="json", exclude={"table", "title"}),
        }
        return Stage(self.folder / "fit", inputs)


def _whole(place: Path, _: dict[str, Any]) -> None:
    """Raise where a file of a finished fit cannot be read."""
    MixtureFile.read(place / "mixture.json")
    json.loads((place / NAME).read_text(encoding="utf-8"))
