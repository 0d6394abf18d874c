"""A search run from beginning to end: evidence, search, check by training, summary, page."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from mixwright.experiment.core.stages import Progress, check_folder, folder_name, open_run, silent
from mixwright.experiment.core.what_if import make_what_if_of_run, write_what_if_of_run
from mixwright.experiment.text.config import SearchConfig, config_text
from mixwright.experiment.text.final_runs import FinalRun, FinalRuns
from mixwright.experiment.text.inputs import (
    Source,
    Target,
    check_enough,
    check_inputs,
    check_sizes,
    make_tokenizer,
    overlaps,
    read_target,
    repeated,
    tokenize_sources,
)
from mixwright.experiment.text.mixtures import NamedMixture, baselines, search_mixture
from mixwright.experiment.text.proxies import (
    Proxy,
    flops_per_token,
    part_of,
    proxy_cost,
    score_target,
    train_proxies,
    units_of,
)
from mixwright.experiment.text.source_files import check_sources, remember_checked
from mixwright.experiment.text.summary import make_summary, stage_seconds
from mixwright.files import atomic_write, write_json
from mixwright.report import write_report
from mixwright.text import Tokenizer


def run_search(
    config: SearchConfig,
    folder: Path | str,
    progress: Progress = silent,
    command: str = "mixwright.run_search",
    annotate: Callable[[dict[str, Any]], list[str]] | None = None,
) -> dict[str, Any]:
    """
    Do a search run, or the rest of one, and return its summary.

    A run that was stopped, in whatever way, goes on where it was; a stage whose inputs did not change is not redone.

    Parameters
    ----------
    config
        From `load_config` or `make_config`.
    folder
        The run folder: a new one, an empty one or a run.
    progress
        Called as `progress(stage, done, total, note)`.
    command
        What the summary says the run was made with.
    annotate
        Given the summary, returns sentences that are added to its notes.

    Raises
    ------
    InputError
        The configuration does not fit the data, or the data cannot be read. All of it is read before anything is
        written.
    """
    folder = Path(folder)
    check_inputs(config)
    check_folder(folder)
    targets = [read_target(name, target, config.where("targets", name)) for name, target in config.targets.items()]
    for target in targets:
        check_enough(config, target)
    prints = check_sources(config, folder, progress)
    with open_run(folder, config_text(config)):
        run = _Run(config, folder, progress, command, targets, prints)
        summary = run.do()
        summary["notes"] += annotate(summary) if annotate else []
        write_what_if_of_run(folder, run.what_if)
        write_json(folder / "summary.json", summary)
        write_report(summary, folder / "report.html", run.what_if)
        progress("report", 1, 1)
        return summary


class _Run:
    """One search run at work."""

    def __init__(
        self,
        config: SearchConfig,
        folder: Path,
        progress: Progress,
        command: str,
        targets: list[Target],
        prints: dict[str, str],
    ) -> None:
        self.config, self.folder, self.progress, self.command = config, folder, progress, command
        self.targets, self.prints = targets, prints
        self.what_if: dict[str, Any] = {}  # for the page

    def do(self) -> dict[str, Any]:
        """Do all stages in order."""
        remember_checked(self.folder, self.prints)
        tokenizer = make_tokenizer(self.config, self.folder, self.prints, self.progress)
        sources = tokenize_sources(self.config, self.folder, tokenizer, self.prints, self.progress)
        check_sizes(self.config, sources)
        proxies = train_proxies(self.config, self.folder, tokenizer, sources, self.progress)
        searches, best, scored = self._search(tokenizer, sources, proxies)
        self._write_mixture(searches[0])
        mixtures = baselines(self.config, sources, best)
        for search in searches:
            made = NamedMixture(search["mixture"], "search", tuple(search["weights"]), search["target"])
            mixtures.append(made)
        cost = self._cost(tokenizer, proxies, scored)
        trained = [mixture for mixture in mixtures if mixture.kind in self.config.final.mixtures]
        if self.config.final.equal_cost and trained:
            extra = round(cost["proxy_flops"] / cost["final_flops"] * self.config.final.tokens)
            uniform = next(mixture for mixture in trained if mixture.kind == "uniform")
            arm = NamedMixture("uniform_equal_cost", "uniform", uniform.weights, None, extra)
            mixtures.append(arm)
            trained.append(arm)
        runs: list[FinalRun] = []
        if trained:
            runs = FinalRuns(self.config, self.folder, tokenizer, sources, self.targets, self.progress).run(trained)
        summary = make_summary(self.config, self.command, self.targets, sources, searches, mixtures, runs)
        names, goals, arms = list(self.config.sources), list(self.config.targets), [m.name for m in trained]
        used = {"tokenizer": [], "tokens": names, "proxies": names, "scores": goals, "search": goals}
        seconds = stage_seconds(self.folder, used | ({"final": arms, "evaluation": arms} if arms else {}))
        return {
            **summary,
            "cost": {**cost, "seconds": seconds},
            "notes": repeated(sources) + overlaps(self.targets, sources),
        }

    def _search(
        self, tokenizer: Tokenizer, sources: list[Source], proxies: list[Proxy]
    ) -> tuple[list[dict[str, Any]], dict[str, int], int]:
        """Return the searches, the best single source of each target, and the tokens that were scored."""
        searches: list[dict[str, Any]] = []
        best: dict[str, int] = {}
        scored = 0
        wanted = [(target, unit) for target in self.targets for unit in units_of(self.config, target)]
        tables = []
        for index, (target, unit) in enumerate(wanted):
            report = part_of(self.progress, "scores", index, len(wanted), target.name)
            scores = score_target(self.config, self.folder, tokenizer, proxies, target, unit, report)
            tables.append(scores.table)
            scored += scores.tokens
            best.setdefault(target.name, scores.losses.index(min(scores.losses)))
        for index, ((target, _), table) in enumerate(zip(wanted, tables, strict=True)):
            report = part_of(self.progress, "search", index, len(wanted), target.name)
            searches.append(search_mixture(self.config, self.folder, sources, table, target.name, report))
        self.what_if = make_what_if_of_run(
            searches,
            tables,
            np.array([source.train.tokens for source in sources], np.float64),
            self.config.search.constraints(self.config.final.tokens),
            self.config.search.prior,
            self.config.seed,
        )
        return searches, best, scored

    def _write_mixture(self, search: dict[str, Any]) -> None:
        """Write the first search's mixture.json where people look for it."""
        made = self.folder / "search" / folder_name(search["target"]) / search["unit"] / "mixture.json"
        with atomic_write(self.folder / "mixture.json") as handle:
            handle.write(made.read_text(encoding="utf-8"))

    def _cost(self, tokenizer: Tokenizer, proxies: list[Proxy], scored: int) -> dict[str, Any]:
        """Return what the search cost beside one final run: training the proxies and scoring with them."""
        tokens, flops = proxy_cost(self.config, tokenizer, proxies, scored)
        final = self.config.final.tokens
        final_flops = final * flops_per_token(self.config.model.spec(), tokenizer, self.config.final.context)
        return {
            "proxy_tokens": tokens,
            "scored_tokens": scored,
            "proxy_flops": flops,
            "final_tokens": final,
            "final_flops": final_flops,
            "share": flops / final_flops,
        }
