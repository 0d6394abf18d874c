"""The summary of a search over texts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from mixwright.compare.documents import DocumentComparison, compare_clean
from mixwright.experiment.core.searches import doubted, once_trained, untrained_verdict, without_weights
from mixwright.experiment.text.questions.reports import compared

if TYPE_CHECKING:
    from mixwright.experiment.text.config import SearchConfig
    from mixwright.experiment.text.final_runs import FinalRun
    from mixwright.experiment.text.inputs import Target, TokenSource
    from mixwright.experiment.text.mixtures import NamedMixture
    from mixwright.experiment.text.overlaps.contamination import Contamination


def make_summary(
    config: SearchConfig,
    targets: Sequence[Target],
    sources: Sequence[TokenSource],
    searches: Sequence[dict[str, Any]],
    mixtures: Sequence[NamedMixture],
    runs: Sequence[FinalRun],
    contamination: Contamination,
) -> dict[str, Any]:
    """Return the summary of a run, without its head, its cost and its notes."""
    comparisons = _comparisons(targets, runs, config.search.level, contamination)
    questions = compared({run.mixture.name: run.answers for run in runs}, "uniform", config.search.level)
    searches = [{**s, "verdict": doubted(s["verdict"], _doubt(s, contamination))} for s in searches]
    trained = {(comparison["mixture"], comparison["target"]) for comparison in comparisons}
    searches = [once_trained(s) if (s["mixture"], s.get("target")) in trained else s for s in searches]
    return {
        "sources": [{"name": s.name, "documents": s.train.documents, "tokens": s.train.tokens} for s in sources],
        "targets": [_target_entry(target, searches, runs) for target in targets],
        "searches": without_weights(searches),
        "mixtures": [{"name": m.name, "kind": m.kind, "weights": list(m.weights)} for m in mixtures],
        "runs": [run.entry() for run in runs],
        "comparisons": comparisons,
        **({"questions": questions} if questions else {}),
        "verdict": "\n".join(verdicts(config, searches, comparisons)),
    }


def _doubt(search: dict[str, Any], contamination: Contamination) -> str:
    """Return why a search is unverified; empty where it is not, as where it read no target."""
    return contamination.doubt_of_search(search["target"]) if search.get("reads_target", True) else ""


def _target_entry(target: Target, searches: Sequence[dict[str, Any]], runs: Sequence[FinalRun]) -> dict[str, Any]:
    return {
        "name": target.name,
        "documents": len(target.search),
        "rows": next(search.get("rows") for search in searches if search["target"] == target.name),
        "held_out_documents": len(target.held_out),
        "held_out_tokens": int(runs[0].lengths[target.name].sum()) if runs else None,
    }


def _comparisons(
    targets: Sequence[Target], runs: Sequence[FinalRun], level: float, contamination: Contamination
) -> list[dict[str, Any]]:
    """Return every mixture over uniform; and, on its own target, what was searched over the mixtures it has to beat."""
    entries: list[dict[str, Any]] = []
    for target in targets:
        clean, overlap = contamination.clean(target.name), contamination.doubt(target.name)
        for run in runs:
            for other in runs:
                if run is other or not _is_compared(run.mixture, other.mixture, target.name):
                    continue
                nats, other_nats, tokens = run.nats[target.name], other.nats[target.name], run.lengths[target.name]
                found = compare_clean(nats, other_nats, tokens, other.mixture.name, level, clean, overlap)
                entries.append(_comparison_entry(target.name, run.mixture.name, found))
    return entries


def _is_compared(mixture: NamedMixture, other: NamedMixture, target: str) -> bool:
    """Say whether a mixture is compared with another on a target."""
    if other.name == "uniform":
        return True
    own = {mixture.target, other.target} <= {None, target}
    return own and mixture.kind == "search" and other.kind != "search"


def _comparison_entry(target: str, mixture: str, found: DocumentComparison) -> dict[str, Any]:
    return {
        "target": target,
        "mixture": mixture,
        "over": found.over,
        "difference": found.difference,
        "low": found.low,
        "high": found.high,
        "level": found.level,
        "word": found.word,
        "verdict": found.verdict,
    }


def verdicts(config: SearchConfig, searches: Sequence[dict[str, Any]], comparisons: list[dict[str, Any]]) -> list[str]:
    """Return a sentence about the first search of each target."""
    proxies = "" if config.search.proxy_run else config.proxy.words  # what it rests on
    first: dict[str | None, dict[str, Any]] = {}
    for search in searches:
        first.setdefault(search.get("target"), search)
    return [_verdict_of(search, comparisons, proxies) for search in first.values()]


def _verdict_of(search: dict[str, Any], comparisons: list[dict[str, Any]], proxies: str) -> str:
    """Return one sentence about a search: after training if there was one."""
    own = [c for c in comparisons if c["mixture"] == search["mixture"] and c["target"] == search.get("target")]
    over_uniform = next((c["verdict"] for c in own if c["over"] == "uniform"), None)
    if over_uniform is None:
        return untrained_verdict(search, proxies)
    parts = [f"{search['mixture']} on {search['target']}: {over_uniform}"]
    others: dict[str, list[str]] = {}
    for comparison in own:
        if comparison["over"] != "uniform" and comparison["word"] != "unverified":
            others.setdefault(comparison["word"], []).append(comparison["over"])
    parts += [f"{word} than {' and '.join(names)}" for word, names in others.items()]
    return "; ".join(parts if proxies else [*parts, search["verdict"]])


def standing(comparisons: Sequence[dict[str, Any]], contamination: Contamination) -> list[str]:
    """Return a sentence for each target whose verdicts hold without the documents that are in a source too."""
    notes = []
    for target in dict.fromkeys(comparison["target"] for comparison in comparisons):
        clean, own = contamination.clean(target), [c for c in comparisons if c["target"] == target]
        stand = [c for c in own if c["word"] != "unverified"]
        if stand and not clean.all():
            which = "verdicts" if len(stand) == len(own) else "other verdicts"
            notes.append(
                f"{target}: the {which} were reached on the {int(clean.sum()):,} of {clean.size:,} held-out documents "
                "that are in no source, too"
            )
    return notes
