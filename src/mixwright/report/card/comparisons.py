"""The cards of a comparison and of a fit of a table of runs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from mixwright.report.card.markdown import table
from mixwright.report.card.mixtures import ends, limits
from mixwright.report.card.parts import Parts, Teller, order_of, sentences, within
from mixwright.report.comparison.schema import check_comparison, completed_comparison
from mixwright.report.comparison.view import digits_of_measure
from mixwright.report.comparison.words import budget_words, explained, lead, power_words
from mixwright.report.runs.view import certificate_words, optimism_words
from mixwright.report.words import NOTHING, count, digits_of, number, percent, signed, span

_SHOWN = 6  # mixtures in the table of shares


def comparison_parts(summary: Mapping[str, Any], config: Mapping[str, Any]) -> Parts:
    """Return the parts of the card of a comparison."""
    check_comparison(summary)
    summary = completed_comparison(summary)
    teller, shares = Teller(config), dict(_shares(summary))
    shown = dict(list(shares.items())[:_SHOWN])
    rest = f"{len(shares) - len(shown)} more mixtures are not in the table" if len(shares) > len(shown) else ""
    names = _sources(summary)
    order = order_of(next(iter(shown.values())))
    cells = [[percent(weights[i]) for weights in shown.values()] for i in order]
    return Parts(
        "Mixtures that were compared",
        sentences("Shares of each mixture, means over the seeds", rest, teller.table_of_run()),
        teller.table_of_sources([names[i] for i in order], list(shown), cells),
        [f"{teller.say(arm['name'])}: {teller.say(arm['words'])}." for arm in summary["arms"]],
        _compared(summary, teller),
        [*_open(summary, teller), *teller.notes(summary)],
    )


def fit_parts(summary: Mapping[str, Any], config: Mapping[str, Any]) -> Parts:
    """Return the parts of the card of `mixwright runs fit`."""
    teller, fit, proposal = Teller(config), summary["fit"], summary["mixtures"][0]["weights"]
    order = order_of(proposal)
    level = f"{percent(fit['level'], 0)} interval"
    cells = [[percent(proposal[i]), ends(fit["interval"][i]) if fit["interval"] else "not known"] for i in order]
    confirmed = summary.get("confirmed")
    seeds = f", and {len(confirmed['seeds'])} trainings of each mixture since" if confirmed else ""
    missing = "No model was trained with this proposal: its losses are predictions."
    return Parts(
        "Mixture",
        sentences("Shares that a law of measured runs proposes, with their intervals", teller.table_of_run()),
        teller.table_of_sources([summary["sources"][i]["name"] for i in order], ["share", level], cells),
        [
            f"The law {teller.say(fit['law'])}, fitted to {count(fit['runs'])} runs of {count(fit['mixtures'])} "
            f"mixtures{seeds}.",
            sentences(f"Certificate: {teller.say(certificate_words(fit))}"),
            sentences(f"Optimism: {teller.say(optimism_words(fit))}"),
            *limits(fit["binding"], teller),
        ],
        [sentences(f"Verdict: {teller.say(summary['verdict'])}"), _forecasts(confirmed or summary, level, teller)],
        [*([] if confirmed else [missing]), *teller.notes(summary)],
    )


def _shares(summary: Mapping[str, Any]) -> Iterator[tuple[str, list[float]]]:
    """Yield the mixtures and their shares, means over seeds; an arm has one for each target where it searched."""
    for arm in summary["arms"]:
        for mixture in arm["mixtures"]:
            name = f"{arm['name']} ({mixture['target']})" if mixture["target"] else arm["name"]
            series = mixture["weights"]
            yield name, [sum(series[s]) / len(series[s]) if series.get(s) else 0.0 for s in _sources(summary)]


def _sources(summary: Mapping[str, Any]) -> list[str]:
    """Return all sources; where each target has its own ones, the summary does not list them."""
    named = [name for arm in summary["arms"] for mixture in arm["mixtures"] for name in mixture["weights"]]
    return list(dict.fromkeys([*summary["sources"], *named]))


def _compared(summary: Mapping[str, Any], teller: Teller) -> list[str]:
    """Return the verdict, how it was reached, and a table for each measure that is judged."""
    blocks = [sentences(f"Verdict: {teller.say(lead(summary))}")]
    blocks += [sentences(teller.say(text)) for _, text in explained(summary)]
    blocks += [teller.say(words) for words in [budget_words(summary)] if words]
    for measure in summary["measures"]:
        if measure["headline"]:
            unit = f", {measure['unit']}" if measure["unit"] else ""
            side = "higher" if measure["higher"] else "lower"
            quantity = teller.say(measure["quantity"].capitalize())
            blocks.append(f"{quantity} on {teller.say(measure['name'])}{unit} ({side} is better):")
            blocks.append(_measured(measure, summary, teller))
            blocks += filter(None, [teller.say(power_words(measure, summary, digits_of_measure(measure)))])
    return blocks


def _measured(measure: Mapping[str, Any], summary: Mapping[str, Any], teller: Teller) -> str:
    entries, digits = {entry["arm"]: entry for entry in measure["differences"]}, digits_of_measure(measure)
    over = next((entry["over"] for entry in measure["differences"]), summary["over"])
    rows = []
    for arm, values in measure["values"].items():
        cells = [teller.say(arm), number(sum(values) / len(values), digits)]
        entry = entries.get(arm)
        if entry is None:
            rows.append([*cells, "", "", "baseline"])
        else:
            rows.append([*cells, signed(entry["difference"], digits), within(entry, digits), entry["word"]])
    columns = ["trained with", "mean", f"minus {over}", f"{percent(summary['level'], 0)} interval", "verdict"]
    return table(columns, rows)


def _open(summary: Mapping[str, Any], teller: Teller) -> list[str]:
    """Return what the comparison leaves open."""
    return [
        f"That {teller.say(entry['arm'])} is better or worse than {teller.say(entry['over'])} on "
        f"{teller.say(measure['name'])}."
        for measure in summary["measures"]
        for entry in (measure["differences"] if measure["headline"] else ())
        if entry["word"] in ("no better", "unverified")
    ]


def _forecasts(of: Mapping[str, Any], level: str, teller: Teller) -> str:
    """Return what was predicted of the mixtures beside what was measured of them."""
    digits = digits_of(one["predicted"] for one in of["mixtures"])
    rows: Sequence[Sequence[str]] = [
        [
            teller.say(one["name"]),
            number(one["predicted"], digits),
            span(one["low"], one["high"], digits),
            number(one["measured"], digits) if one["measured"] is not None else NOTHING,
        ]
        for one in of["mixtures"]
    ]
    return table(["mixture", "predicted", level, "measured"], rows)
