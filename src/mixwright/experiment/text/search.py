"""A search over texts from beginning to end: evidence, search, check by training."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mixwright.compare.forecast import forecast
from mixwright.experiment.core.forecasts import FORECAST
from mixwright.experiment.core.repeats import repeats
from mixwright.experiment.core.searches import hand_out
from mixwright.experiment.core.stages import PLAN, Progress, folder_name
from mixwright.experiment.core.summary import stage_seconds
from mixwright.experiment.core.what_if import make_what_if_of_run, write_what_if_of_run
from mixwright.experiment.run import Run
from mixwright.experiment.text.config import SearchConfig
from mixwright.experiment.text.inputs import (
    Target,
    TokenSource,
    check_choice,
    check_enough,
    check_inputs,
    check_sizes,
    left_out,
    make_tokenizer,
    read_target,
    repeated,
    tokenize_sources,
)
from mixwright.experiment.text.mixtures import NamedMixture, baselines, search_mixture
from mixwright.experiment.text.overlaps.contamination import Contamination
from mixwright.experiment.text.proxies.counts import count_notes, counted_tokens, score_by_counts
from mixwright.experiment.text.proxies.scores import Scores, part_of, target_rows, units_of
from mixwright.experiment.text.source_files import check_sources, remember_checked
from mixwright.experiment.text.summary import make_summary, standing
from mixwright.files import write_json
from mixwright.report.words import duration
from mixwright.text import Tokenizer

if TYPE_CHECKING:
    from mixwright.experiment.text.final_runs import FinalRun
    from mixwright.experiment.text.proxies.neural import Proxy

_BOUND = (
    "differences of the loss per token between mixtures of the proxies' predictions; bounds, since a model that is "
    "trained on a mixture usually gains more"
)
_LARGE = 20_000_000  # likelihoods, from which on a search takes many minutes


class TextSearchRun(Run[SearchConfig]):
    """A search over texts: proxies, their scores, the search, and final runs that check the result."""

    @property
    def title(self) -> str:
        """Return the heading of the report where the configuration gives none."""
        return "A mixture for " + ", ".join(self.config.targets)

    def check(self, progress: Progress) -> None:
        """Read sources and targets to their end."""
        config = self.config
        check_inputs(config)
        check_choice(config)
        self.targets = [
            read_target(name, target, config.where("targets", name)) for name, target in config.targets.items()
        ]
        for target in self.targets:
            check_enough(config, target)
        self.prints = check_sources(config, self.folder, progress)

    def prepare(self, progress: Progress) -> None:
        """Make the tokens, and look for documents of the targets in them."""
        remember_checked(self.folder, self.prints)
        self.tokenizer = make_tokenizer(self.config, self.folder, self.prints, progress)
        self.sources = tokenize_sources(self.config, self.folder, self.tokenizer, self.prints, progress)
        check_sizes(self.config, self.sources)
        self.contamination = Contamination(self.folder, self.tokenizer, self.targets, self.sources, progress)

    def plan(self) -> str:
        """Return what proxies, scores, searches and final runs take."""
        config, k = self.config, len(self.sources)
        wanted, context = self._wanted(), config.proxy_setting("context")
        rows = [target_rows(target.search, self.tokenizer, context, unit) for target, unit in wanted]
        scored = sum(int(found.document_tokens.sum()) for found in rows) * k
        arms = {"uniform": 1, "natural": 1, "best_single": len(self.targets), "search": len(wanted)}
        runs = sum(arms[kind] for kind in config.final.mixtures)
        runs += bool(config.final.equal_cost and runs)
        numbers = sum(len(found.documents) for found in rows) * k
        long = "; large searches take long: max_documents of a target takes a sample" if numbers > _LARGE else ""
        final = f"{runs} final runs of {config.final.tokens:,} tokens" if runs else "no final runs"
        return (
            f"{self._planned_proxies()}, {scored:,} tokens to score, {numbers:,} likelihoods to search, {final}{long}"
        )

    def _planned_proxies(self) -> str:
        if self.config.proxy.kind == "ngram":
            return f"{len(self.sources)} count models ({counted_tokens(self.config, self.sources):,} tokens to count)"
        from mixwright.experiment.text.proxies.cost import planned_proxies

        proxies = planned_proxies(self.config, list(self.config.sources))
        return f"{sum(p.tokens > 0 for p in proxies)} proxies ({sum(p.tokens for p in proxies):,} tokens to train)"

    def work(self, progress: Progress) -> dict[str, Any]:
        """Do all stages in order; write `mixture.json` and `whatif.json`."""
        self.progress = progress
        tokenizer, sources, contamination = self.tokenizer, self.sources, self.contamination
        scores, cost = self._scores(tokenizer, sources)
        searches, best = self._search(sources, scores)
        made = [(search["target"], self._made(search)) for search in searches]
        notes = hand_out(self.folder, made, contamination.doubt_of_search(searches[0]["target"]))
        mixtures = baselines(self.config, sources, best)
        mixtures += [NamedMixture(s["mixture"], "search", tuple(s["weights"]), s["target"]) for s in searches]
        trained = self._trained(mixtures, cost)
        mixtures += [mixture for mixture in trained if mixture not in mixtures]
        self._write_forecast(searches, scores)
        runs = self._final_runs(tokenizer, sources, trained, cost)
        summary = make_summary(self.config, self.targets, sources, searches, mixtures, runs, contamination)
        notes += left_out(self.targets, sources) + repeated(sources) + contamination.notes()
        notes += standing(summary["comparisons"], contamination) + self._repeats(mixtures, sources)
        if self.config.proxy.kind == "ngram":
            summary["proxies"] = self.config.proxy.words
            notes += count_notes(self.config, sources, scores)
        return {
            **summary,
            "cost": {**cost, "seconds": self._seconds([mixture.name for mixture in trained])},
            "notes": notes,
        }

    def _repeats(self, mixtures: list[NamedMixture], sources: list[TokenSource]) -> list[str]:
        """Return a sentence for each mixture whose sources are repeated much in the final run's budget."""
        notes = []
        for mixture in mixtures:
            tokens = self.config.final.tokens + mixture.extra_tokens
            epochs = {s.name: w * tokens / s.train.tokens for s, w in zip(sources, mixture.weights, strict=True)}
            notes += repeats(f"the mixture {mixture.name}", epochs)
        return notes

    def _announce_rest(self, cost: dict[str, Any], trained: list[NamedMixture]) -> None:
        """Say how long the final runs will take, judged by the time that the proxies and their scores took."""
        seconds = self._seconds([])
        spent = seconds.get("proxies", 0.0) + seconds["scores"]
        done = sum((self.folder / "final" / folder_name(m.name) / "done.json").exists() for m in trained)
        if spent > 0 and cost["share"] > 0 and done < len(trained):
            left = len(trained) - done
            words = f"about {duration(left * spent / cost['share'])} for {left} final runs, judged by the proxies"
            self.progress(PLAN, 0, 1, words)

    def _trained(self, mixtures: list[NamedMixture], cost: dict[str, Any]) -> list[NamedMixture]:
        """Return the mixtures that final runs train with; besides, uniform with what the proxies cost on top."""
        trained = [mixture for mixture in mixtures if mixture.kind in self.config.final.mixtures]
        if self.config.final.equal_cost and trained:
            extra = round(cost["proxy_flops"] / cost["final_flops"] * self.config.final.tokens)
            uniform = next(mixture for mixture in trained if mixture.kind == "uniform")
            trained.append(NamedMixture("uniform_equal_cost", "uniform", uniform.weights, None, extra))
        return trained

    def _final_runs(
        self, tokenizer: Tokenizer, sources: list[TokenSource], trained: list[NamedMixture], cost: dict[str, Any]
    ) -> list[FinalRun]:
        if not trained:
            return []
        self._announce_rest(cost, trained)
        from mixwright.experiment.text.final_runs import FinalRuns  # a search by count models alone needs no torch

        return FinalRuns(self.config, self.folder, tokenizer, sources, self.targets, self.progress).run(trained)

    @property
    def _place(self) -> Path:
        """Return where tables and searches are; count models have their own, so that both kinds can share a run."""
        return self.folder / "ngram" if self.config.proxy.kind == "ngram" else self.folder

    def _seconds(self, arms: list[str]) -> dict[str, float]:
        names, goals = list(self.config.sources), list(self.config.targets)
        seconds = stage_seconds(self.folder, {"tokenizer": [], "tokens": names})
        proxies = {"proxies": names} if self.config.proxy.kind == "neural" else {}
        seconds |= stage_seconds(self._place, {**proxies, "scores": goals, "search": goals})
        return seconds | stage_seconds(self.folder, {"final": arms, "evaluation": arms} if arms else {})

    def _wanted(self) -> list[tuple[Target, str]]:
        """Return the tables: a target and a unit for each."""
        return [(target, unit) for target in self.targets for unit in units_of(self.config, target)]

    def _scores(self, tokenizer: Tokenizer, sources: list[TokenSource]) -> tuple[list[Scores], dict[str, Any]]:
        """Return what the proxies say about each target and unit, and what that cost."""
        if self.config.proxy.kind == "ngram":
            wanted = self._wanted()
            scores = score_by_counts(self.config, self._place, tokenizer, sources, wanted, self.progress)
            return scores, self._cost_of_counts(sources, scores)
        from mixwright.experiment.text.proxies.neural import score_target, train_proxies

        proxies, scores = train_proxies(self.config, self.folder, tokenizer, sources, self.progress), []
        wanted = self._wanted()
        for index, (target, unit) in enumerate(wanted):
            report = part_of(self.progress, "scores", index, len(wanted), target.name)
            scores.append(score_target(self.config, self.folder, tokenizer, proxies, target, unit, report))
        return scores, self._cost(tokenizer, proxies, sum(found.tokens for found in scores))

    def _search(self, sources: list[TokenSource], scores: list[Scores]) -> tuple[list[dict[str, Any]], dict[str, int]]:
        """Return the searches, and the best single source of each target."""
        searches: list[dict[str, Any]] = []
        best: dict[str, int] = {}
        wanted, tables = self._wanted(), [found.table for found in scores]
        for index, ((target, _), found) in enumerate(zip(wanted, scores, strict=True)):
            best.setdefault(target.name, found.losses.index(min(found.losses)))
            report = part_of(self.progress, "search", index, len(wanted), target.name)
            searches.append(search_mixture(self.config, self._place, sources, found.table, target.name, report))
        what_if = make_what_if_of_run(
            searches,
            tables,
            np.array([source.train.tokens for source in sources], np.float64),
            self.config.search.constraints(self.config.final.tokens),
            self.config.search.prior,
            self.config.seed,
        )
        write_what_if_of_run(self.folder, what_if)
        return searches, best

    def _write_forecast(self, searches: list[dict[str, Any]], scores: list[Scores]) -> None:
        """Write what the proxies say of the loss after training: by how much at least each mixture beats uniform."""
        names, entries = list(self.config.sources), []
        for search, found in zip(searches, scores, strict=True):
            if (gain := search["improvement"]) is not None:
                per_token = search["rows"] * found.table.k / found.tokens  # a search's figures are per row
                ends = {"predicted": -gain["estimate"] * per_token, "high": -gain["low"] * per_token}
                arm = {"arm": search["mixture"], "target": search["target"], "over": gain["over"]}
                entries.append({**arm, **ends, "weights": dict(zip(names, search["weights"], strict=True))})
        if entries:
            level = (1 + self.config.search.level) / 2  # of one end of an interval with two
            write_json(self.folder / FORECAST, forecast("mixwright search", level, entries, _BOUND))

    def _made(self, search: dict[str, Any]) -> Path:
        return self._place / "search" / folder_name(search["target"]) / search["unit"] / "mixture.json"

    def _cost(self, tokenizer: Tokenizer, proxies: list[Proxy], scored: int) -> dict[str, Any]:
        """Return what the search cost beside one final run: training the proxies and scoring with them."""
        from mixwright.experiment.text.proxies.cost import flops_per_token, proxy_cost

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

    def _cost_of_counts(self, sources: list[TokenSource], scores: list[Scores]) -> dict[str, Any]:
        """Return the cost of count models: no training, and no operations that count beside one; seconds are given."""
        return {
            "proxy_tokens": None,
            "counted_tokens": counted_tokens(self.config, sources),
            "scored_tokens": sum(found.tokens for found in scores),
            "proxy_flops": None,
            "final_tokens": self.config.final.tokens,
            "final_flops": None,
            "share": 0.0,
        }
