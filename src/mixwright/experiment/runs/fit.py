"""A fit of a table of runs from beginning to end: read, fit, propose, say how far to believe it."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mixwright.checks import by_name
from mixwright.compare.forecast import forecast
from mixwright.errors import InputError
from mixwright.experiment.core.errors import named
from mixwright.experiment.core.forecasts import FORECAST
from mixwright.experiment.core.searches import hand_out
from mixwright.experiment.core.stages import Progress, Stage
from mixwright.experiment.core.summary import stage_seconds
from mixwright.experiment.run import Run
from mixwright.experiment.runs.config import RunsConfig
from mixwright.experiment.runs.confirmed import with_confirmation
from mixwright.files import file_fingerprint, write_json
from mixwright.mixture_file import MixtureFile
from mixwright.runs.result import RunSearchResult
from mixwright.runs.search import RunSearch
from mixwright.runs.table import RunTable
from mixwright.version import __version__

Array = NDArray[np.float64]
ENDS = ("predicted", "low", "high")
STEPS = 21  # points of a response curve


class RunFit(Run[RunsConfig]):
    """The proposal of a law that was fitted to a table of runs; it leaves `mixture.json`."""

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
        """Fit, or take what is done; write `mixture.json`."""
        progress("fit", 0, 1)
        stage = self._stage()
        result = stage.result(lambda place, _: MixtureFile.read(place / "mixture.json"))
        if result is None:
            stage.begin()
            found = self.search.fit(self.table, **self.arguments, seed=self.config.seed)
            level = self.config.search.level
            file = found.to_file(level=level)
            file.write(stage.folder / "mixture.json")
            result = stage.finish(described(found, file, level, self._budget()))
        progress("fit", 1, 1)
        hand_out(self.folder, [("", stage.folder / "mixture.json")])
        write_json(self.folder / FORECAST, forecast_of(result))
        summary = {
            **{key: value for key, value in result.items() if key != "seconds"},
            "cost": {"seconds": {"table": round(self.reading, 3), **stage_seconds(self.folder, {"fit": []})}},
        }
        return with_confirmation(summary, self.folder)

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


def described(found: RunSearchResult, file: MixtureFile, level: float, tokens: float | None) -> dict[str, Any]:
    """Return what the summary says of a fit; `tokens` of the training that is predicted, where they are known."""
    best, nested = found.incumbent, found.choice.nested
    low, high = found.optimism_interval(level)
    mixtures = _mixtures(found, file)
    runs, measured, predicted = found.out_of_fold
    sizes: Any = found.table.sizes if found.table.sizes is not None else [None] * len(found.sources)
    return {
        "sources": [{"name": n, "tokens": _known(s)} for n, s in zip(found.sources, sizes, strict=True)],
        "targets": _targets(found),
        "fit": {
            "law": found.law,
            "laws": [{"name": name, **vars(scores)} for name, scores in found.scores.items()],
            "nested": vars(nested),
            "objective": found.settings.objective,  # type: ignore[attr-defined]
            "phases": found.table.phases,
            "tokens": tokens,
            "runs": found.rows,
            "mixtures": found.fewest[0],
            "noise": found.noise,
            "shrinkage": found.shrinkage,
            "gap": _known(found.gap),
            "search": None if np.isfinite(found.gap) else found.search_words,
            "predicted": found.predicted,
            "optimism": {"estimate": found.optimism, "low": low, "high": high},
            "incumbent": {"run": best.run, "loss": best.loss, "repeats": best.repeats},
            "distance": found.distance,
            "outside": found.outside,
            "level": level,
            "interval": file.uncertainty.get("interval"),
            "binding": file.certificate.get("binding", []),
        },
        "mixtures": [{**one, **_forecast(found, one, level)} for one in mixtures],
        "points": {"runs": list(runs), "measured": measured.tolist(), "predicted": predicted.tolist()},
        "responses": _responses(found),
        "notes": list(found.notes),
        "verdict": file.verdict,
    }


def forecast_of(found: Mapping[str, Any]) -> dict[str, Any]:
    """
    Return the forecast of a fit: of its sum of targets; of each, without an interval, where the worst one counts.

    A proposal in phases is left out: no arm of a comparison has phases.
    """
    fit, names = found["fit"], [source["name"] for source in found["sources"]]
    arms = ["proposal"] if fit.get("phases", 1) == 1 else []
    counted = {target["name"]: target for target in found["targets"] if target["share"] > 0}
    shares: Any = {name: target["share"] for name, target in counted.items()}
    arms += [one["name"] for one in found["mixtures"] if one["name"] != "proposal"]
    known = [one for one in found["mixtures"] if one["predicted"] is not None and one["name"] in arms]
    if fit["objective"] == "sum":
        target = next(iter(shares)) if len(shares) == 1 else shares
        entries = [{"arm": one["name"], "target": target, **{key: one[key] for key in ENDS}} for one in known]
    else:
        entries = [{"arm": "proposal", "target": name, "predicted": t["predicted"]} for name, t in counted.items()]
    mixtures = {one["name"]: dict(zip(names, one["weights"], strict=True)) for one in known}
    whole = [{**entry, "weights": mixtures[entry["arm"]]} for entry in entries if entry["arm"] in mixtures]
    return forecast("mixwright runs fit", fit["level"], whole)


def _targets(found: RunSearchResult) -> list[dict[str, Any]]:
    """
    Return the targets with their shares (0: a guardrail, with its limit) and the law's prediction for each.

    `alone` is what the law predicts of the best mixture for the target alone, where the worst regret counts.
    """
    goal = found.goal
    limits = goal.limits if goal.limits is not None else np.full(len(goal.targets), np.inf)
    alone = goal.best if goal.best is not None else np.full(len(goal.targets), np.nan)
    losses = found.predict_targets(found.phase_weights if found.table.phases > 1 else found.weights)
    return [
        {
            "name": name,
            "share": float(share),
            "limit": _known(limit),
            "alone": _known(best),
            "predicted": float(losses[name][0]),
        }
        for name, share, limit, best in zip(goal.targets, goal.shares, limits, alone, strict=True)
    ]


def _known(value: float | None) -> float | None:
    return None if value is None or not np.isfinite(value) else float(value)


def _mixtures(found: RunSearchResult, file: MixtureFile) -> list[dict[str, Any]]:
    """Return the proposal and what it is compared with."""
    k = len(found.sources)
    others = {"incumbent": found.incumbent.weights, "natural": found.natural, "uniform": np.full(k, 1 / k)}
    kinds = {"incumbent": "measured"}
    return [
        {"name": "proposal", "kind": "search", "weights": list(file.weights)},
        *(
            {"name": name, "kind": kinds.get(name, name), "weights": weights.tolist()}
            for name, weights in others.items()
            if weights is not None
        ),
    ]


def _forecast(found: RunSearchResult, mixture: dict[str, Any], level: float) -> dict[str, Any]:
    """Return what a training on a mixture is predicted to measure, and what it did measure."""
    if found.table.phases > 1:
        if mixture["kind"] not in ("search", "natural", "uniform"):  # an incumbent's phases are not in its weights
            return {"predicted": None, "low": None, "high": None, "measured": found.incumbent.loss}
        alike = np.tile(mixture["weights"], (found.table.phases, 1))
        weights = found.phase_weights if mixture["kind"] == "search" else alike
    else:
        weights = np.array(mixture["weights"])
    mean, low, high = found.predict(weights / weights.sum(-1, keepdims=True), level)
    measured = found.incumbent.loss if mixture["name"] == "incumbent" else None
    return {"predicted": float(mean), "low": float(low), "high": float(high), "measured": measured}


def _responses(found: RunSearchResult) -> dict[str, Any] | None:
    """
    Return the predicted loss as one source's weight changes and the others keep their proportions.

    Curves run over the weights that runs had; beyond them a law is a guess. None for trainings in phases.
    """
    if found.table.phases > 1:
        return None
    top = found.table.mean_weights.max(0)
    at = np.linspace(0, 1, STEPS)[None] * top[:, None]  # [k, steps]
    losses = [found.predict(_moved(found.weights, i, at[i]), None).tolist() for i in range(top.size)]
    return {"weights": at.tolist(), "losses": losses}


def _moved(weights: Array, i: int, to: Array) -> Array:
    """Return weights [n, k] in which source i has `to` [n], the others their proportions."""
    rest = np.delete(weights, i)
    rest = rest / rest.sum() if rest.sum() > 0 else np.full(rest.size, 1 / max(rest.size, 1))
    return np.insert((1 - to)[:, None] * rest, i, to, axis=1) if rest.size else np.ones((to.size, 1))
