"""A search over texts from beginning to end: evidence, search, check by training."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

from mixwright.compare.forecast import forecast
from mixwright.experiment.core.errors import named
from mixwright.experiment.core.forecasts import FORECAST
from mixwright.experiment.core.repeats import repeats
from mixwright.experiment.core.searches import hand_out, keep_verdict, without_width
from mixwright.experiment.core.stages import PLAN, Progress, folder_name
from mixwright.experiment.core.summary import stage_seconds
from mixwright.experiment.core.what_if import make_what_if_of_run, write_what_if_of_run
from mixwright.experiment.engines.cluster import on_cluster
from mixwright.experiment.engines.pieces import spread_of
from mixwright.experiment.run import Run
from mixwright.experiment.text.config import SearchConfig
from mixwright.experiment.text.inputs import (
    Target,
    TokenSource,
    check_choice,
    check_enough,
    check_inputs,
    check_sizes,
    make_tokenizer,
    read_target,
    tokenize_sources,
)
from mixwright.experiment.text.mixtures import NamedMixture, baselines, search_mixture
from mixwright.experiment.text.overlaps.contamination import Contamination
from mixwright.experiment.text.overlaps.input_notes import about_inputs, passes_over
from mixwright.experiment.text.proxies.counts import count_notes, counted_tokens, score_by_counts
from mixwright.experiment.text.proxies.scores import Scores, part_of, target_rows, units_of
from mixwright.experiment.text.questions.checks import check_lengths_of_choices, check_questions, few_questions
from mixwright.experiment.text.source_files import check_sources, remember_checked
from mixwright.experiment.text.summary import make_summary, standing
from mixwright.files import write_json
from mixwright.report.words import duration
from mixwright.text import Tokenizer
from mixwright.training.settings import ema_notes

if TYPE_CHECKING:
    from mixwright.experiment.text.final_runs import FinalRun
    from mixwright.experiment.text.proxies.neural import Proxy

_BOUND = (
    "differences of the loss per token between mixtures of the proxies' predictions; bounds, since a model that is "
    "trained on a mixture usually gains more"
)
_LARGE = 20_000_000  # likelihoods, from which on a search takes many minutes


@dataclass(frozen=True)
class _Found:
    """What a search found: entries of the summary, the mixtures to train, the cost; notes that come first and last."""

    searches: list[dict[str, Any]]
    mixtures: list[NamedMixture]
    cost: dict[str, Any]
    notes: list[str]
    more: dict[str, Any] = field(default_factory=dict)
    last_notes: list[str] = field(default_factory=list)


class TextSearchRun(Run[SearchConfig]):
    """A search over texts: proxies, their scores, the search, and final runs that check the result."""

    _proxy_seconds: Mapping[str, float] = MappingProxyType({})  # of reference and proxy run

    @property
    def title(self) -> str:
        """Return the heading of the report where the configuration gives none."""
        targets = self.config.targets
        return "A mixture " + (f"for {', '.join(targets)}" if targets else f"of {', '.join(self.config.sources)}")

    def check(self, progress: Progress) -> None:
        """Read sources and targets to their end."""
        config = self.config
        check_inputs(config)
        check_choice(config)
        self._check_method()
        self.targets = [
            read_target(name, target, config.where("targets", name)) for name, target in config.targets.items()
        ]
        for target in self.targets if not config.search.proxy_run else ():
            check_enough(config, target)
        if config.final.mixtures:
            check_questions(config, self.targets)
        self.prints = check_sources(config, self.folder, progress)

    def _check_method(self) -> None:
        """Raise InputError if the method of a proxy run has other parameters, or its reference is no model."""
        if self.config.search.proxy_run:
            from mixwright.experiment.text.proxies.online import check_method, check_reference_of

            with named(self.config.where("search")):
                check_method(self.config, self.config.search.arm)
            check_reference_of(self.config)

    def prepare(self, progress: Progress) -> None:
        """Make the tokens, and look for documents of the targets in them."""
        remember_checked(self.folder, self.prints)
        self.tokenizer = make_tokenizer(self.config, self.folder, self.prints, progress)
        self.sources = tokenize_sources(self.config, self.folder, self.tokenizer, self.prints, progress)
        check_sizes(self.config, self.sources)
        if self.config.search.proxy_run:
            from mixwright.experiment.text.proxies.online import check_fed, check_tokens_of_reference

            check_tokens_of_reference(self.config, self.tokenizer)
            check_fed(self.config, self.tokenizer, self.sources, self.targets)
        if self.config.final.mixtures:
            check_lengths_of_choices(self.config, self.targets, self.tokenizer, self.config.final.context)
        self.contamination = Contamination(self.folder, self.tokenizer, self.targets, self.sources, progress)

    def plan(self) -> str:
        """Return what proxies, scores, searches and final runs take."""
        config = self.config
        arms = {"uniform": 1, "natural": 1, "best_single": len(self.targets)}
        arms["search"] = 1 if config.search.proxy_run else len(self._wanted())
        runs = sum(arms[kind] for kind in config.final.mixtures)
        runs += bool(config.final.equal_cost and runs)
        final = f"{runs} final runs of {config.final.tokens:,} tokens" if runs else "no final runs"
        return f"{self._planned_run()}, {final}" if config.search.proxy_run else self._planned_search(final)

    def _planned_run(self) -> str:
        from mixwright.experiment.text.proxies.proxy_search import planned_tokens

        reference, tokens = planned_tokens(self.config)
        first = f"a reference ({reference:,} tokens to train), " if reference else ""
        return f"{first}a proxy run of {self.config.search.method} ({tokens:,} tokens to train)"

    def _planned_search(self, final: str) -> str:
        config, k = self.config, len(self.sources)
        context = config.proxy_setting("context")
        rows = [target_rows(target.search, self.tokenizer, context, unit) for target, unit in self._wanted()]
        scored = sum(int(found.document_tokens.sum()) for found in rows) * k
        numbers = sum(len(found.documents) for found in rows) * k
        long = "; large searches take long: max_documents of a target takes a sample" if numbers > _LARGE else ""
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
        """Do all stages in order; write `mixture.json` and, of a search over likelihoods, `whatif.json`."""
        self.progress = progress
        sources, contamination = self.sources, self.contamination
        found = self._by_proxy_run() if self.config.search.proxy_run else self._by_scores()
        mixtures, cost = found.mixtures, found.cost
        trained = self._trained(mixtures, cost)
        mixtures += [mixture for mixture in trained if mixture not in mixtures]
        runs = self._final_runs(self.tokenizer, sources, trained, cost)
        summary = make_summary(self.config, self.targets, sources, found.searches, mixtures, runs, contamination)
        if summary["runs"]:
            keep_verdict(self.folder, summary["verdict"].splitlines()[0])  # that of the first target, as the weights
        reads = any(search.get("reads_target", True) for search in found.searches)
        parts = ("held_out", "search") if reads else ("held_out",)  # those that matter
        notes = found.notes + about_inputs(self.config, self.targets, sources) + contamination.notes(parts)
        asked = {entry["name"] for entry in summary.get("questions", ())}
        notes += few_questions(t for t in self.targets if t.name in asked)
        notes += standing(summary["comparisons"], contamination) + self._repeats(mixtures, sources)
        notes += ema_notes(self.config.final.ema) if runs else []
        return {
            **summary,
            **found.more,
            "cost": {**cost, "seconds": self._seconds([mixture.name for mixture in trained])},
            "notes": notes + found.last_notes,
        }

    def _by_scores(self) -> _Found:
        """Search over the likelihoods of the targets under the proxies."""
        scores, cost = self._scores(self.tokenizer, self.sources)
        searches, best = self._search(self.sources, scores)
        made = [(search["target"], self._made(search)) for search in searches]
        notes = hand_out(self.folder, made, self.contamination.doubt_of_search(searches[0]["target"]))
        notes += without_width(searches)
        mixtures = baselines(self.config, self.sources, best)
        mixtures += [NamedMixture(s["mixture"], "search", tuple(s["weights"]), s["target"]) for s in searches]
        self._write_forecast(searches, scores)
        if self.config.proxy.kind != "ngram":
            return _Found(searches, mixtures, cost, notes)
        more = {"proxies": self.config.proxy.words}
        return _Found(searches, mixtures, cost, notes, more, count_notes(self.config, self.sources, scores))

    def _by_proxy_run(self) -> _Found:
        """Take the mean weights of a proxy run."""
        from mixwright.experiment.text.proxies.proxy_search import search_by_proxy_run

        config, sources = self.config, self.sources
        found = search_by_proxy_run(config, self.folder, self.tokenizer, sources, self.targets, self.progress)
        mixtures = [*baselines(config, sources, {}), NamedMixture("search", "search", found.weights)]
        self._proxy_seconds = found.seconds
        cost = self._beside_final(found.tokens, found.flops, 0)
        return _Found(found.entries, mixtures, cost, [], {"proxy_run": found.about})

    def _repeats(self, mixtures: list[NamedMixture], sources: list[TokenSource]) -> list[str]:
        """Return a sentence for each mixture whose sources are repeated much in the final run's budget."""
        notes, copies = [], passes_over(sources)
        default = "" if "tokens" in self.config.final.model_fields_set else " (the default of final: tokens)"
        for mixture in mixtures:
            tokens = self.config.final.tokens + mixture.extra_tokens
            epochs = {s.name: w * tokens / s.train.tokens for s, w in zip(sources, mixture.weights, strict=True)}
            notes += repeats(
                f"a training of {tokens:,} tokens{default} on the mixture {mixture.name}", epochs, copies=copies
            )
        return notes

    def _announce_rest(self, cost: dict[str, Any], trained: list[NamedMixture]) -> None:
        """Say how long the final runs will take, judged by the time that the proxies and their scores took."""
        seconds = self._seconds([])
        spent = sum(seconds.get(stage, 0.0) for stage in ("proxies", "scores", *self._proxy_seconds))
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

        if on_cluster(self.config) or spread_of(self.config) > 1:
            from mixwright.experiment.text.proxies.pieces import final_runs_ahead

            final_runs_ahead(self.config, self.folder, trained, self.progress)
        return FinalRuns(self.config, self.folder, tokenizer, sources, self.targets, self.progress).run(trained)

    @property
    def _place(self) -> Path:
        """Return where tables and searches are; count models have their own, so that both kinds can share a run."""
        return self.folder / "ngram" if self.config.proxy.kind == "ngram" else self.folder

    def _seconds(self, arms: list[str]) -> dict[str, float]:
        names, goals = list(self.config.sources), list(self.config.targets)
        seconds = stage_seconds(self.folder, {"tokenizer": [], "tokens": names})
        final = {"final": arms, "evaluation": arms} if arms else {}
        if self.config.search.proxy_run:
            return {**seconds, **self._proxy_seconds, **stage_seconds(self.folder, final)}
        proxies = {"proxies": names} if self.config.proxy.kind == "neural" else {}
        seconds |= stage_seconds(self._place, {**proxies, "scores": goals, "search": goals})
        return seconds | stage_seconds(self.folder, final)

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

        wanted = self._wanted()
        if on_cluster(self.config):
            from mixwright.experiment.text.proxies.pieces import proxies_ahead

            proxies_ahead(self.config, self.folder, tokenizer, sources, wanted, self.progress)
        proxies, scores = train_proxies(self.config, self.folder, tokenizer, sources, self.progress), []
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
        from mixwright.experiment.text.proxies.cost import proxy_cost

        return self._beside_final(*proxy_cost(self.config, tokenizer, proxies, scored), scored)

    def _beside_final(self, tokens: int, flops: float, scored: int) -> dict[str, Any]:
        from mixwright.experiment.text.proxies.cost import flops_per_token

        final = self.config.final.tokens
        final_flops = final * flops_per_token(self.config.model.spec(), self.tokenizer, self.config.final.context)
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
