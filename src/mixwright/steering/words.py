"""Orders in words, for pages and notes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

_MOST = 8  # sources that are named


def order_words(order: Mapping[str, Any]) -> str:
    """Return an order, as `Order.to_json` gives it, in words."""
    action, value = next((key, order[key]) for key in order if key != "at")
    if action == "undo":
        return "undo"
    if action == "split" and isinstance(value, Mapping):
        return "; ".join(f"split {whole} into {_listed(parts)}" for whole, parts in value.items())
    if action == "add" and isinstance(value, Mapping):
        return f"add {', '.join(n if w is None else f'{n} {_number(w)}' for n, w in value.items())}"
    if isinstance(value, Mapping) and action in ("weights", "pin"):
        shares = [f"{name} {_number(share)}" for name, share in list(value.items())[:_MOST]]
        return f"{action} {', '.join(shares)}{', …' if len(value) > _MOST else ''}"
    return f"{action} {_listed(value)}"


def _listed(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _number(value: Any) -> str:
    """Return a number in words; an order that was ignored may hold anything."""
    return f"{value:g}" if isinstance(value, int | float) else str(value)


def steering_notes(record: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return sentences on what was changed by hand in a run, from the record of its control file."""
    followed = [f"{order_words(line['order'])} (from step {line['at']})" for line in record if "at" in line]
    notes = [f"changed by hand in the run: {'; '.join(followed)}"] if followed else []
    if ignored := [line["ignored"] for line in record if "ignored" in line]:
        notes.append(f"{len(ignored)} of the changes by hand were ignored; the last: {ignored[-1]}")
    return notes
