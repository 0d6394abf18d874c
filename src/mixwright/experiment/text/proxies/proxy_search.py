"""A search by one proxy run of an online method: what `mixwright search` writes and says of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mixwright.decisions import read_decisions
from mixwright.experiment.core.forecasts import FORECAST
from mixwright.experiment.core.stages import Progress
from mixwright.experiment.core.what_if import NAME as WHAT_IF
from mixwright.experiment.text.config import SearchConfig
from mixwright.experiment.text.inputs import Target, TokenSource, about_documents
from mixwright.experiment.text.proxies.neural import settings_for
from mixwright.experiment.text.proxies.online import (
    METHODS,
    average_of,
    method_of,
    online_cost,
    proxy_run,
    reads_targets,
    reference_of,
)
from mixwright.experiment.text.proxies.scores import part_of
from mixwright.experiment.text.reference import MadeReference
from mixwright.mixture_file import MixtureFile
from mixwright.report.courses import thinned
from mixwright.text import Tokenizer
from mixwright.training.language_model import TrainingResult

VERDICT = "not certified; an average of weights of one proxy run"
_POINTS = 200  # of the weights over the proxy run, in the summary


@dataclass(frozen=True)
class ProxySearch:
    """
    A search that one proxy run has done.

    Parameters
    ----------
    weights
        [k], the mean weights.
    entries
        What the summary says of the search: an entry for each target, or one without.
    about
        What the summary says of the proxy run.
    tokens, flops
        What reference and proxy run took: operations as a comparison charges them.
    seconds
        {stage: seconds}.
    """

    weights: tuple[float, ...]
    entries: list[dict[str, Any]]
    about: dict[str, Any]
    tokens: int
    flops: float
    seconds: dict[str, float]


def planned_tokens(config: SearchConfig) -> tuple[int, int]:
    """Return the tokens that the reference and the proxy run will be trained on."""
    settings, chosen = settings_for(config, config.proxy.tokens, proxy=True), config.reference_of(config.search.arm)
    step = settings.batch_size * settings.context
    run = settings.steps * step
    own = 0 if chosen is None or chosen.path is not None else -(-(chosen.tokens or run) // step) * step
    return own, run


def search_by_proxy_run(
    config: SearchConfig,
    folder: Path,
    tokenizer: Tokenizer,
    sources: list[TokenSource],
    targets: list[Target],
    progress: Progress,
) -> ProxySearch:
    """Train the reference and the proxy run of a method, or the rest of them, and write `mixture.json`."""
    arm = config.search.arm
    progress("proxies", 0, 1, f"{arm.search}")
    parts = [part_of(progress, "proxies", i, 2, what) for i, what in enumerate(("the reference", "the proxy run"))]
    made = reference_of(config, folder, tokenizer, sources, arm, parts[0])
    run = proxy_run(config, folder, tokenizer, sources, targets, arm, made, parts[1])
    progress("proxies", 1, 1)
    weights, cost = average_of(run, sources), online_cost(config, tokenizer, sources, targets, arm)
    about = _about(config, sources, made, run)
    names: list[str | None] = [target.name for target in targets]
    _write(folder, sources, weights, about, run, about_documents(config, sources))
    return ProxySearch(
        tuple(weights),
        [_entry(config, name, weights, about["reads_targets"]) for name in names or [None]],
        about,
        run.tokens + (made.tokens if made else 0),
        cost.before,
        {**({"reference": made.seconds} if made and made.tokens else {}), "proxy run": run.seconds},
    )


def _about(
    config: SearchConfig, sources: list[TokenSource], made: MadeReference | None, run: TrainingResult
) -> dict[str, Any]:
    arm, log = config.search.arm, read_decisions(run.folder)
    method = method_of(arm, [source.name for source in sources])
    course = [(seen.step + 1, row.tolist()) for seen, row in zip(log.observations, log.weights, strict=True)]
    given = None if made is None or made.tokens else str(made.reference.path)
    return {
        "method": METHODS[config.search.method],
        "strategy": repr(method),
        "reads_targets": reads_targets(method),
        "prior": arm.prior,
        "steps": run.steps,
        "tokens": run.tokens,
        "reference": None if made is None else given or "trained on the prior",
        "reference_tokens": made.tokens if made else 0,
        "lag": config.lag,
        "weights": [dict(zip(("step", "weights"), course[i], strict=True)) for i in thinned(course, _POINTS)],
    }


def _write(
    folder: Path,
    sources: list[TokenSource],
    weights: list[float],
    about: dict[str, Any],
    run: TrainingResult,
    documents: dict[str, Any],
) -> None:
    """Write `mixture.json`, and remove what another search left beside it."""
    method = {"name": f"average of the weights of one proxy run of {about['method']}", "strategy": about["strategy"]}
    kept = ("steps", "tokens", "reference", "reference_tokens")
    evidence = {
        **{key: about[key] for key in kept},
        "prior": about["prior"],
        "fingerprint": run.fingerprint,
        **documents,
    }
    names = tuple(source.name for source in sources)
    MixtureFile(names, tuple(weights), method=method, evidence=evidence, verdict=VERDICT).write(folder / "mixture.json")
    for name in (WHAT_IF, FORECAST):
        (folder / name).unlink(missing_ok=True)


def _entry(config: SearchConfig, target: str | None, weights: list[float], reads: bool) -> dict[str, Any]:
    """Return what the summary says of a search for a target, like `search_entry`; `reads`: the method saw targets."""
    return {
        **({} if target is None else {"target": target}),
        "method": METHODS[config.search.method],
        "prior": config.search.prior,
        "level": config.search.level,
        "reads_target": reads,
        "interval": None,
        "improvement": None,
        "binding": [],
        "verdict": VERDICT,
        "weights": weights,
        "mixture": "search",
    }
