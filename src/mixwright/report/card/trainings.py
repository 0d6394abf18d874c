"""The card of a model: what it was trained on, on texts or on preference pairs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeGuard

from mixwright.mixture_file import MixtureFile
from mixwright.report.card.mixtures import how_found
from mixwright.report.card.parts import SHARES, Parts, Teller, order_of, sentences
from mixwright.report.words import count, number, percent

_ONE = "This is one training. It does not show whether other weights would have been better or worse."
_ELSEWHERE = "The mixture was judged with the models and budgets of its search, not with this model."


def training_parts(summary: Mapping[str, Any], config: Mapping[str, Any], mixture: MixtureFile | None) -> Parts:
    """Return the parts of the card of `mixwright train`, `prefer train` or `prefer sft`."""
    teller, sources = Teller(config), summary["sources"]
    order = order_of([source["drawn"] for source in sources])
    tokens = summary["data"] == "text"
    unit = "tokens" if tokens else "pairs"
    cells = [_cells(sources[i], summary, unit) for i in order]
    columns = [f"{unit} there", "asked", "drawn", f"{unit} trained on", "epochs"]
    whole = summary["tokens"] if tokens else summary.get("pairs", summary.get("rows"))
    return Parts(
        "Trained on",
        sentences(
            f"{count(whole)} {unit} in {count(summary['steps'])} steps", SHARES if tokens else "", _drawn(summary)
        ),
        teller.table_of_sources([sources[i]["name"] for i in order], columns, cells),
        _found(summary, config, mixture, teller),
        [
            *_measured(summary, teller),
            *([sentences(f"Of the mixture: {teller.say(mixture.verdict)}")] if mixture else []),
        ],
        [_ONE, *([_ELSEWHERE] if mixture else []), *teller.notes(summary)],
    )


def is_mixture_path(given: object) -> TypeGuard[str]:
    """Whether what a configuration gives as weights is the path of a mixture file."""
    return isinstance(given, str) and given.endswith(".json")


def _cells(source: Mapping[str, Any], summary: Mapping[str, Any], unit: str) -> list[str]:
    trained = summary["tokens"] * source["drawn"] if unit == "tokens" else source["rows"]
    shares = [percent(source["asked"]), percent(source["drawn"])]
    return [count(source[unit]), *shares, count(trained), number(source["epochs"], 2)]


def _drawn(summary: Mapping[str, Any]) -> str:
    if not summary.get("sampling"):
        return ""
    return "Rows were drawn by shares of their own, and the weights acted on the loss"


def _found(
    summary: Mapping[str, Any], config: Mapping[str, Any], mixture: MixtureFile | None, teller: Teller
) -> list[str]:
    """Return where the weights come from."""
    if mixture is not None:
        return ["Fixed weights, from a mixture that was searched for.", *how_found(mixture, teller)]
    if not summary.get("fixed", True):
        prior = summary.get("prior")
        return [
            sentences(f"The weights changed in training, by {teller.say(summary['strategy'])}", _prior(prior, teller))
        ]
    given = config.get("weights")
    if is_mixture_path(given):
        return ["Fixed weights, from a mixture file that is gone or has changed since."]
    return [f"Fixed weights: {teller.say(given)}." if isinstance(given, str) else "Fixed weights, given by hand."]


def _prior(prior: object, teller: Teller) -> str:
    return f"They began at {'weights given by hand' if isinstance(prior, dict) else teller.say(prior)}" if prior else ""


def _measured(summary: Mapping[str, Any], teller: Teller) -> list[str]:
    """Return what was measured of the model on held-out documents or pairs."""
    held = summary["held_out"]
    unit = "nats per token" if summary["task"] == "sft" or summary["data"] == "text" else "nats per pair"
    if "before" in held:
        return [f"Held-out loss: {number(held['before'])} before, {number(held['after'])} after, {unit}."]
    found = held.get("loss", held)
    said = []
    if found.get("average") is not None:
        worst = f"worst {number(found['worst'])} ({teller.say(found['worst_source'])})"
        said.append(f"Held-out loss of the sources: average {number(found['average'])}, {worst}, {unit}.")
    targets = [f"{teller.say(one['name'])} {number(one['loss'])}" for one in summary.get("targets", ())]
    return [*said, *([f"Held-out loss of the targets, {unit}: {', '.join(targets)}."] if targets else [])]
