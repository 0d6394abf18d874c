"""The card of a mixture.json, and what such a file says of how it was found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mixwright.constraints.polytope import binding_words
from mixwright.mixture_file import MixtureFile
from mixwright.report.card.parts import Parts, Teller, order_of, sentences
from mixwright.report.words import count, number, percent, small, span

_NOT_TRAINED = "This file does not say that a model was trained with these weights."


def mixture_parts(mixture: MixtureFile, config: Mapping[str, Any]) -> Parts:
    """Return the parts of the card of a mixture."""
    teller, order = Teller(config), order_of(mixture.weights)
    level, interval = mixture.uncertainty.get("level"), mixture.uncertainty.get("interval")
    cells = [[percent(mixture.weights[i]), *([ends(interval[i])] if interval else [])] for i in order]
    columns = ["share", *([f"{percent(level or 0.9, 0)} interval"] if interval else [])]
    return Parts(
        "Mixture",
        f"Shares are of {mixture.unit}.",
        teller.table_of_sources([mixture.sources[i] for i in order], columns, cells),
        how_found(mixture, teller),
        [sentences(f"Verdict: {teller.say(mixture.verdict)}")],
        [_NOT_TRAINED, *teller.notes(mixture.evidence)],
    )


def how_found(mixture: MixtureFile, teller: Teller) -> list[str]:
    """Return method, evidence, certificate and limits of a mixture, a sentence each."""
    method, evidence, certificate = mixture.method, mixture.evidence, mixture.certificate
    said = (
        [f"Method: {', '.join(f'{teller.say(key)} {_value(v, teller)}' for key, v in method.items())}."]
        if method
        else []
    )
    if "rows" in evidence:
        documents, words = evidence.get("documents"), teller.say(evidence.get("documents_are", "documents"))
        of = f" of {count(documents)} {words}" if documents is not None else ""
        said.append(f"Evidence: {count(evidence['rows'])} rows{of}.")
    if certificate.get("gap") is not None:
        unit = "nats per row" if certificate.get("unit") is None else teller.say(certificate["unit"])
        said.append(f"Certificate: within {small(certificate['gap'])} {unit} of the best objective.")
    if improvement := improvement_words(
        mixture.uncertainty, "loss" if method.get("name") == "runs" else "nats per row"
    ):
        said.append(improvement)
    return [*said, *limits(certificate.get("binding"), teller)]


def improvement_words(of: Mapping[str, Any], unit: str) -> str:
    """Return what was estimated out of fold, with its interval; empty where it was not."""
    found, level = of.get("improvement"), of.get("level")
    if not found or found.get("low") is None:
        return ""
    over = found.get("over", "uniform")
    over = over if isinstance(over, str) else "another mixture"
    within = f"{percent(level or 0.9, 0)} interval {span(found['low'], found['high'])}"
    return f"Estimated gain over {over}, without a training: {number(found['estimate'])} {unit} ({within})."


def limits(binding: Sequence[Mapping[str, Any]] | None, teller: Teller) -> list[str]:
    """Return the limits that bind, a sentence each."""
    words = (binding_words(str(one["constraint"]), float(one["price"])) for one in binding or ())
    return [f"Limit: {teller.say(one)}." for one in words]


def ends(interval: Sequence[float]) -> str:
    """Return the interval of a weight."""
    return f"{number(100 * interval[0], 1)} to {percent(interval[1])}"


def _value(value: object, teller: Teller) -> str:
    if isinstance(value, float):
        return small(value)
    if isinstance(value, list):
        return ", ".join(_value(one, teller) for one in value)
    if isinstance(value, Mapping):
        return ", ".join(f"{teller.say(key)} {_value(one, teller)}" for key, one in value.items())
    return teller.say(value)
