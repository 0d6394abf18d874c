"""The first screen: for each search, what the mixture is, whether it was worth it, and how sure that is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mixwright.constraints.polytope import binding_words
from mixwright.report.measure import Measure, measure_of
from mixwright.report.words import compared, count, duration, figure, number, percent, small, span

SHOWN_ANSWERS = 4
_TOP = 5


def answers_of(summary: Mapping[str, Any], mixtures: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return one answer per search, the first few of them; `mixtures` are the page's mixtures by name."""
    names = [source["name"] for source in summary["sources"]]
    answers = []
    for search in summary["searches"][:SHOWN_ANSWERS]:
        mixture = mixtures[search["mixture"]]
        found = _comparisons(summary, search)
        worth = (
            _from_training(summary, found)
            if found
            else _from_search(search, summary.get("proxies") or "the proxy models")
        )
        answers.append(
            {
                "search": search,
                "mixture": mixture,
                "top": top_weights(names, mixture.weights),
                "worth": worth,
                "sure": _sure(summary, search, found[0] if found else None),
                "improvement": improvement_words(search),
                "certificate": "" if summary["proxy_run"] else certificate_words(search),
                "limits": _limits(search),
            }
        )
    return answers


def top_weights(names: list[str], weights: list[float]) -> dict[str, Any]:
    """Return the largest weights with the widths of their bars, and what the rest have together."""
    order = sorted(range(len(names)), key=lambda i: -weights[i])
    kept = order if len(order) <= _TOP + 1 else order[:_TOP]
    largest = max(weights) or 1
    rows = [(names[i], weights[i], 100 * weights[i] / largest) for i in kept]
    rest = len(order) - len(kept)
    return {"rows": rows, "others": rest, "share": sum(weights[i] for i in order[len(kept) :])}


def _comparisons(summary: Mapping[str, Any], search: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """
    Return the comparisons after training of a search's mixture on its target, the one that decides first.

    It was worth it only if the mixture is better than uniform at whatever cost that was trained, and worse than
    nothing: so what is worse decides first, the target alone before others, then the least favourable of the uniform
    ones. Before all of them comes the target alone where the search chose it.
    """
    measure, alone = measure_of(summary), _alone(summary)
    uniform = {mixture["name"] for mixture in summary["mixtures"] if mixture["kind"] == "uniform"}
    found = [c for c in summary["comparisons"] if c["mixture"] == search["mixture"] and c["target"] == search["target"]]

    def rank(c: Mapping[str, Any]) -> tuple[bool, bool, bool, bool, int]:
        state = _state(c, measure)
        return (
            not (c["over"] in alone and _identical(c)),
            state != "worse",
            state != "worse" or c["over"] not in alone,
            c["over"] not in uniform,
            ("worse", "open", "same", "better").index(state),
        )

    return sorted(found, key=rank)


def _alone(summary: Mapping[str, Any]) -> set[str]:
    """Return the mixtures that are the target's own rows alone."""
    return {mixture["name"] for mixture in summary["mixtures"] if mixture["kind"] == "target_alone"}


def _identical(comparison: Mapping[str, Any]) -> bool:
    """Whether the two mixtures are the same, in every seed."""
    return bool(comparison["difference"] == 0 == comparison["low"] == comparison["high"])


def _state(comparison: Mapping[str, Any], measure: Measure) -> str:
    low, high = comparison["low"], comparison["high"]
    if low is None or high is None or comparison.get("word") == "unverified":
        return "open"
    return "better" if measure.better(low, high) else "worse" if measure.worse(low, high) else "same"


def _from_training(summary: Mapping[str, Any], found: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    first, *others = found
    measure = measure_of(summary, first["target"])
    difference, over, state = first["difference"], first["over"], _state(first, measure)
    if first.get("word") == "unverified" and first["low"] is not None:
        return {"state": state, "title": "Unverified", "figure": "", "text": first["verdict"] + _also(others, measure)}
    if over in _alone(summary) and _identical(first):
        text = "The search chose the target's own rows alone: they were the best out of fold."
        return {
            "state": state,
            "title": "Train on the target alone",
            "figure": "",
            "text": text + _also(others, measure),
        }
    titles = {
        "open": "Trained and compared, without an interval",
        "better": f"Better than {over}",
        "worse": "Train on the target alone" if over in _alone(summary) else f"Worse than {over}",
        "same": f"No better than {over} on this evidence",
    }
    direction = "lower" if difference < 0 else "higher"
    base = next((r["loss"].get(first["target"]) for r in summary["runs"] if r["mixture"] == over), None)
    share = f" ({percent(abs(difference / base))} of it)" if base else ""
    if measure.field == "loss":
        text = f"nats per token {direction} than {over}{share}: held-out loss after training{_equally(summary, first)}."
    else:
        text = f"{direction} than {over}{share}: {measure.name} on held-out {measure.examples}, mean over seeds."
    size = number(abs(difference), measure.digits)
    return {"state": state, "title": titles[state], "figure": size, "text": text + _also(others, measure)}


def _also(others: Sequence[Mapping[str, Any]], measure: Measure) -> str:
    """Return how the mixture did against the others, in sentences."""
    words = {"better": "Better", "same": "No better", "worse": "Worse"}
    found = {word: [c["over"] for c in others if _state(c, measure) == state] for state, word in words.items()}
    return "".join(f" {word} than {', '.join(names)}." for word, names in found.items() if names)


def _equally(summary: Mapping[str, Any], comparison: Mapping[str, Any]) -> str:
    """Say whether the two that are compared were trained on as many tokens."""
    tokens = {run["mixture"]: run["tokens"] for run in summary["runs"]}
    own, other = (tokens.get(comparison[name]) for name in ("mixture", "over"))
    if own is None or other is None or own == other:
        return " on equal tokens"
    return f", not on the same number of tokens ({count(own)} against {count(other)})"


def _from_search(search: Mapping[str, Any], proxies: str) -> dict[str, Any]:
    improvement = search["improvement"]
    if improvement is None:
        text = "No improvement was estimated, and no model was trained with this mixture."
        return {"state": "open", "title": "Not known", "figure": "", "text": text}
    if search["verdict"].startswith("unverified"):  # documents of the target are in a source, say
        return {"state": "open", "title": "Unverified", "figure": "", "text": search["verdict"]}
    estimate, low, over = improvement["estimate"], improvement["low"], improvement["over"]
    if low is None or improvement["high"] is None:
        state, title = "open", "Estimated, without an interval"
    elif low > 0:
        state, title = "open", f"The proxies favour it over {over}"  # which training alone can confirm
    else:
        state, title = "same", f"No better than {over} on this evidence"
    direction = "lower" if estimate >= 0 else "higher"
    text = f"nats per {search['unit']} {direction} than {over}: estimated from {proxies}, not yet checked by training."
    return {"state": state, "title": title, "figure": number(abs(estimate)), "text": text}


def _sure(
    summary: Mapping[str, Any], search: Mapping[str, Any], comparison: Mapping[str, Any] | None
) -> list[tuple[str, str]]:
    """Return what the certainty rests on, as (name, words)."""
    facts = _interval(summary, search, comparison)
    seeds = [("Seeds", _seeds(summary, comparison))] if comparison else []
    if run := summary["proxy_run"]:
        found = f"the weights of one proxy run: {count(run['steps'])} steps, {count(run['tokens'])} tokens"
        return [*facts, ("Evidence", f"{found}; another seed may give others"), ("Search", search["verdict"]), *seeds]
    among = f" in {count(search['scaffolds'])} scaffolds" if search["scaffolds"] else ""
    rows, documents = count(search["rows"]), count(search["documents"])
    evidence = f"{rows} target rows from {documents} {measure_of(summary).examples}{among}"
    return [*facts, ("Evidence", evidence), ("Search", _solved(search)), *seeds]


def _interval(
    summary: Mapping[str, Any], search: Mapping[str, Any], comparison: Mapping[str, Any] | None
) -> list[tuple[str, str]]:
    """Return the interval of the comparison or, without one, of the improvement out of fold."""
    improvement = search["improvement"]
    if comparison and None not in (comparison["low"], comparison["high"]):
        measure = measure_of(summary, comparison["target"])
        held = next(t["held_out_documents"] for t in summary["targets"] if t["name"] == comparison["target"])
        among = comparison["among"] or (f"{count(held)} held-out {measure.examples}" if held else "")
        words = _change(comparison["low"], comparison["high"], measure.digits)
        paired = "" if comparison["drawn"] == "seeds" else "paired "
        over = f", over {comparison['over']}" if len(summary["mixtures"]) > 2 else ""
        return [
            (f"{percent(comparison['level'], 0)} interval{over}", words + (f", {paired}over {among}" if among else ""))
        ]
    if not comparison and improvement and None not in (improvement["low"], improvement["high"]):
        words = _change(-improvement["high"], -improvement["low"])
        return [(f"{percent(search['level'], 0)} interval", f"{words}, out of fold")]
    return []


def _seeds(summary: Mapping[str, Any], comparison: Mapping[str, Any]) -> str:
    seeds = summary.get("seeds") or []
    if len(seeds) < 2:
        return f"one (seed {summary['seed']}): other seeds may differ by more"
    own = "each with its own split and models" if comparison["drawn"] == "seeds" else "other seeds may differ by more"
    return f"{len(seeds)}, {own}"


def _change(low: float, high: float, digits: int = 4) -> str:
    """Return an interval of a loss difference in words: which end is lower, which is higher."""
    if high <= 0:
        return f"lower by {span(-high, -low, digits)}"
    if low >= 0:
        return f"higher by {span(low, high, digits)}"
    return f"from {number(-low, digits)} lower to {number(high, digits)} higher"


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


def cost_words(summary: Mapping[str, Any]) -> str:
    """Return what the search cost beside the final runs, in one sentence without a full stop."""
    cost = summary["cost"]
    total = f"; {duration(sum(cost['seconds'].values()))} in all" if cost.get("seconds") else ""
    if cost["share"] is None:
        given = summary.get("data") == "likelihoods"
        return f"nothing was trained or scored here, the likelihoods were given{total}" if given else "not counted"
    if "counted_tokens" in cost:
        spent = f" in {duration(cost['seconds']['scores'])}" if cost.get("seconds") else ""
        return f"count models: {count(cost['counted_tokens'])} tokens counted and the targets scored{spent}{total}"
    if cost["proxy_tokens"] is None:
        longer = f"took {figure(cost['share'])} times as long as the final trainings with the search’s mixture"
        return f"table, proxies and search {longer}{total}"
    share = compared(cost["share"], "the compute of one final run")
    proxies, final = count(cost["proxy_tokens"]), count(cost["final_tokens"])
    if run := summary.get("proxy_run"):
        what = f"proxy run of {run['method']}{' and its reference' if run['reference_tokens'] else ''}"
        return f"{what} ({proxies} tokens): {share} ({final} tokens){total}"
    return f"proxies ({proxies} tokens) and scoring: {share} ({final} tokens){total}"


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
