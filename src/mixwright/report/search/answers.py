"""The first screen: for each search, what the mixture is, whether it was worth it, and how sure that is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mixwright.constraints.polytope import binding_words
from mixwright.report.measure import Measure, measure_of
from mixwright.report.words import count, number, percent, small

SHOWN_ANSWERS = 4
_TOP = 5


def answers_of(summary: Mapping[str, Any], mixtures: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return one answer per search, the first few of them; `mixtures` are the page's mixtures by name."""
    names = [source["name"] for source in summary["sources"]]
    answers = []
    for search in summary["searches"][:SHOWN_ANSWERS]:
        mixture = mixtures[search["mixture"]]
        comparison = _comparison(summary, search)
        worth = _from_training(summary, comparison) if comparison else _from_search(search)
        answers.append(
            {
                "search": search,
                "mixture": mixture,
                "top": _top(names, mixture.weights),
                "worth": worth,
                "sure": _sure(summary, search, comparison),
                "improvement": improvement_words(search),
                "certificate": certificate_words(search),
                "limits": _limits(search),
            }
        )
    return answers


def _top(names: list[str], weights: list[float]) -> dict[str, Any]:
    order = sorted(range(len(names)), key=lambda i: -weights[i])
    kept = order if len(order) <= _TOP + 1 else order[:_TOP]
    largest = max(weights) or 1
    rows = [(names[i], weights[i], 100 * weights[i] / largest) for i in kept]
    rest = len(order) - len(kept)
    return {"rows": rows, "others": rest, "share": sum(weights[i] for i in order[len(kept) :])}


def _comparison(summary: Mapping[str, Any], search: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return the comparison after training that tests this search: over a uniform mixture where there is one."""
    uniform = {mixture["name"] for mixture in summary["mixtures"] if mixture["kind"] == "uniform"}
    found = [c for c in summary["comparisons"] if c["mixture"] == search["mixture"] and c["target"] == search["target"]]
    return next((c for c in found if c["over"] in uniform), found[0] if found else None)


def _from_training(summary: Mapping[str, Any], comparison: Mapping[str, Any]) -> dict[str, Any]:
    difference, low, high = comparison["difference"], comparison["low"], comparison["high"]
    measure = measure_of(summary)
    over, size = comparison["over"], number(abs(difference))
    if low is None or high is None:
        state, title = "open", "Trained and compared, without an interval"
    elif measure.better(low, high):
        state, title = "better", f"Better than {over}"
    elif measure.worse(low, high):
        state, title = "worse", f"Worse than {over}"
    else:
        state, title = "same", f"No better than {over} on this evidence"
    direction = "lower" if difference < 0 else "higher"
    base = next((r["loss"].get(comparison["target"]) for r in summary["runs"] if r["mixture"] == over), None)
    share = f" ({percent(abs(difference / base))} of it)" if base else ""
    if measure.field == "loss":
        text = f"nats per token {direction} than {over}{share}: held-out loss after training{_equally(summary)}."
    else:
        text = f"{direction} than {over}{share}: {measure.name} on held-out {measure.examples}, mean over seeds."
    return {"state": state, "title": title, "figure": size, "text": text}


def _equally(summary: Mapping[str, Any]) -> str:
    equal = len({run["tokens"] for run in summary["runs"]}) < 2
    return " on equal tokens" if equal else ", not all on the same number of tokens"


def _from_search(search: Mapping[str, Any]) -> dict[str, Any]:
    improvement = search["improvement"]
    if improvement is None:
        text = "No improvement was estimated, and no model was trained with this mixture."
        return {"state": "open", "title": "Not known", "figure": "", "text": text}
    estimate, low, over = improvement["estimate"], improvement["low"], improvement["over"]
    if low is None or improvement["high"] is None:
        state, title = "open", "Estimated, without an interval"
    elif low > 0:
        state, title = "better", f"Expected to be better than {over}"
    else:
        state, title = "same", f"No better than {over} on this evidence"
    direction = "lower" if estimate >= 0 else "higher"
    text = (
        f"nats per {search['unit']} {direction} than {over}: estimated from the proxy models, "
        "not yet checked by training."
    )
    return {"state": state, "title": title, "figure": number(abs(estimate)), "text": text}


def _sure(
    summary: Mapping[str, Any], search: Mapping[str, Any], comparison: Mapping[str, Any] | None
) -> list[tuple[str, str]]:
    """Return what the certainty rests on, as (name, words)."""
    facts = []
    if comparison and comparison["low"] is not None and comparison["high"] is not None:
        words = _change(comparison["low"], comparison["high"])
        measure = measure_of(summary)
        target = next(t for t in summary["targets"] if t["name"] == comparison["target"])
        held = target["held_out_documents"]
        among = f", paired over {count(held)} held-out {measure.examples}" if held else ""
        if measure.field != "loss":
            among = _among(comparison, measure, held)
        facts.append((f"{percent(comparison['level'], 0)} interval", f"{words}{among}"))
    elif (improvement := search["improvement"]) and None not in (improvement["low"], improvement["high"]):
        words = _change(-improvement["high"], -improvement["low"])
        facts.append((f"{percent(search['level'], 0)} interval", f"{words}, out of fold"))
    examples = measure_of(summary).examples
    among = f" in {count(search['scaffolds'])} scaffolds" if search["scaffolds"] else ""
    facts.append(
        ("Evidence", f"{count(search['rows'])} target rows from {count(search['documents'])} {examples}{among}")
    )
    facts.append(("Search", _solved(search)))
    if comparison and len(seeds := summary.get("seeds") or []) > 1:
        own = (
            "each with its own split and models" if comparison["drawn"] == "seeds" else "other seeds may differ by more"
        )
        facts.append(("Seeds", f"{len(seeds)}, {own}"))
    elif comparison:
        facts.append(("Seeds", f"one (seed {summary['seed']}): other seeds may differ by more"))
    return facts


def _among(comparison: Mapping[str, Any], measure: Measure, held: int | None) -> str:
    """Say over what an interval is: seeds, or held-out examples."""
    if comparison["among"]:
        return f", paired over {comparison['among']}"
    return f", paired over {count(held)} held-out {measure.examples}" if held else ""


def _change(low: float, high: float) -> str:
    """Return an interval of a loss difference in words: which end is lower, which is higher."""
    if high <= 0:
        return f"lower by {number(-high)} to {number(-low)}"
    if low >= 0:
        return f"higher by {number(low)} to {number(high)}"
    return f"from {number(-low)} lower to {number(high)} higher"


def _solved(search: Mapping[str, Any]) -> str:
    if search["gap"] <= search["tolerance"]:
        return f"solved to within {small(search['gap'])} nats per row of the optimum"
    return f"unfinished: up to {small(search['gap'])} nats per row from the optimum"


def _limits(search: Mapping[str, Any]) -> list[str]:
    """Return what the constraints that bind cost, a sentence each; entries that say nothing are left out."""
    found = [b for b in search.get("binding") or () if isinstance(b, Mapping)]
    return [
        binding_words(str(b["constraint"]), float(b["price"]))
        for b in found
        if isinstance(b.get("constraint"), str) and isinstance(b.get("price"), int | float)
    ]


def certificate_words(search: Mapping[str, Any]) -> str:
    """Return what the certificate of a search says, in one sentence."""
    gap, tolerance = small(search["gap"]), small(search["tolerance"])
    if search["gap"] <= search["tolerance"]:
        return (
            f"No mixture has an objective more than {gap} nats per row below this one "
            f"(asked for: at most {tolerance}), so the search is finished."
        )
    return (
        f"Another mixture may have an objective up to {gap} nats per row below this one; asked for was at most "
        f"{tolerance}, so the search is not finished."
    )


def improvement_words(search: Mapping[str, Any]) -> str:
    """Return the out-of-fold estimate of a search's improvement, in one sentence."""
    improvement = search["improvement"]
    if improvement is None:
        return "The improvement was not estimated."
    low, high, over = improvement["low"], improvement["high"], improvement["over"]
    text = f"{number(improvement['estimate'])} nats per row over {over}"
    if low is None or high is None:
        return f"{text}, without an interval."
    text = f"{text}, {percent(search['level'], 0)} interval {number(low)} to {number(high)}"
    if low <= 0:
        return f"{text}. The interval reaches zero: on this evidence it is no better than {over}."
    return f"{text}. The interval lies above zero."
