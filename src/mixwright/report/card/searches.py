"""The card of a search: its weights, what they rest on, and what trainings showed of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mixwright.report.card.markdown import table
from mixwright.report.card.mixtures import ends, improvement_words, limits
from mixwright.report.card.parts import SHARES, Parts, Teller, order_of, sentences, within
from mixwright.report.measure import Measure, measure_of
from mixwright.report.search.answers import certificate_words
from mixwright.report.search.schema import check_summary, completed
from mixwright.report.words import count, number, percent, signed, small


def search_parts(summary: Mapping[str, Any], config: Mapping[str, Any]) -> Parts:
    """Return the parts of the card of a search."""
    check_summary(summary)
    summary = completed(summary)
    teller, weights = Teller(config), {mixture["name"]: mixture["weights"] for mixture in summary["mixtures"]}
    order = order_of(weights[summary["searches"][0]["mixture"]])
    columns, cells = _shares(summary, weights)
    text = summary.get("data") == "text"
    about = "Shares that were found by a search, with their intervals."
    return Parts(
        "Mixture",
        sentences(about, SHARES if text else "", teller.table_of_run()),
        teller.table_of_sources([summary["sources"][i]["name"] for i in order], columns, [cells[i] for i in order]),
        [line for search in summary["searches"] for line in _found(search, summary, teller)],
        _evidence(summary, teller),
        [*_missing(summary, teller), *teller.notes(summary)],
    )


def _shares(summary: Mapping[str, Any], weights: Mapping[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Return a column for what there is of each source, and one for each search."""
    counted = [key for key in ("documents", "tokens") if any(source[key] is not None for source in summary["sources"])]
    words = {"documents": measure_of(summary).examples, "tokens": "tokens"}
    cells = [[count(source[key]) for key in counted] for source in summary["sources"]]
    for search in summary["searches"]:
        for i, own in enumerate(cells):
            within = f" ({ends(search['interval'][i])})" if search["interval"] else ""
            own.append(percent(weights[search["mixture"]][i]) + within)
    several = len(summary["searches"]) > 1
    names = [f"share of {search['mixture']}" if several else "share" for search in summary["searches"]]
    return [*(words[key] for key in counted), *names], cells


def _found(search: Mapping[str, Any], summary: Mapping[str, Any], teller: Teller) -> list[str]:
    if run := summary["proxy_run"]:
        steps = f"{count(run['steps'])} steps, {count(run['tokens'])} tokens"
        return [
            f"The mean of the weights in one proxy run of {teller.say(run['method'])}: {steps}. It is not certified."
        ]
    examples = measure_of(summary).examples
    rows = f"{count(search['rows'])} rows of {count(search['documents'])} {examples}"
    return [
        f"{teller.say(search['mixture'])}: {teller.say(search['method'])} for the target "
        f"{teller.say(search['target'])}, likelihood per {teller.say(search['unit'])}, shrinkage "
        f"{small(search['shrinkage'])}, from {rows}.",
        teller.say(certificate_words(search)),
        *filter(None, [improvement_words(search, "nats per row")]),
        *limits(search["binding"], teller),
    ]


def _evidence(summary: Mapping[str, Any], teller: Teller) -> list[str]:
    """Return the verdict, and a table of trainings for each target."""
    blocks = [sentences(f"Verdict: {teller.say(line)}") for line in summary["verdict"].splitlines()]
    for target in summary["targets"] if summary["runs"] else ():
        measure = measure_of(summary, target["name"])
        held = target["held_out_documents"]
        on = f", on {count(held)} held-out {measure.examples}" if held else ""
        title = f"{measure.title} on {teller.say(target['name'])}{measure.in_unit}{on} ({measure.side} is better):"
        blocks += [title, _trained(summary, target["name"], measure, teller)]
    return blocks


def _trained(summary: Mapping[str, Any], target: str, measure: Measure, teller: Teller) -> str:
    over = {c["mixture"]: c for c in summary["comparisons"] if c["over"] == "uniform" and c["target"] == target}
    level = next((c["level"] for c in summary["comparisons"]), 0.9)
    columns = ["trained with", measure.amount, measure.name, "minus uniform", f"{percent(level, 0)} interval"]
    rows = []
    for run in summary["runs"]:
        if (value := run[measure.field].get(target)) is not None:
            found = over.get(run["mixture"])
            said = [signed(found["difference"], measure.digits), within(found, measure.digits)] if found else ["", ""]
            rows.append([teller.say(run["mixture"]), count(run[measure.amount]), number(value, measure.digits), *said])
    return table(columns, rows)


def _missing(summary: Mapping[str, Any], teller: Teller) -> list[str]:
    """Return what the run leaves open."""
    if not summary["runs"]:
        proxies = teller.say(summary.get("proxies") or "the proxy models")
        return [f"No model was trained with these weights: what the card says of them rests on {proxies} alone."]
    seeds = summary.get("seeds") or []
    one = "One training for each mixture: other seeds may differ by more than the intervals say."
    searched = {search["mixture"] for search in summary["searches"]}
    open_ones = [c for c in summary["comparisons"] if c["mixture"] in searched and not _shown(c)]
    said = [
        f"That {teller.say(c['mixture'])} is better or worse than {teller.say(c['over'])} on {teller.say(c['target'])}."
        for c in open_ones
    ]
    return [*([one] if len(seeds) < 2 else []), *said]


def _shown(comparison: Mapping[str, Any]) -> bool:
    """Whether an interval lies on one side of 0, and nothing puts it in doubt."""
    low, high = comparison["low"], comparison["high"]
    return None not in (low, high) and comparison.get("word") != "unverified" and (low > 0 or high < 0)
