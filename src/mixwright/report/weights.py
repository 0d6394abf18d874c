"""The weights of mixtures as pages show them: a chart of the largest, a table of all, and text to copy."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from mixwright.report.charts import weight_chart

SHOWN_SOURCES = 20  # in the chart; the table has all


def weights_view(
    sources: Sequence[str],
    leading: Sequence[Mapping[str, Any]],
    drawn: Sequence[Mapping[str, Any]],
    columns: Sequence[Any],
    level: float | None,
) -> dict[str, Any]:
    """
    Return what the section on weights shows.

    Parameters
    ----------
    sources
        k names.
    leading
        The mixtures whose largest weights say which sources come first.
    drawn, columns
        The mixtures in the chart (with name, look, weights and interval) and in the table.
    level
        Of the intervals.
    """
    order = sorted(range(len(sources)), key=lambda i: (-max(m["weights"][i] for m in leading), i))
    return {
        "level": level,
        "order": order,
        "chart": weight_chart("weights", sources, order[:SHOWN_SOURCES], drawn, 1 / len(sources)),
        "drawn": drawn,
        "columns": columns,
        "shown": min(len(sources), SHOWN_SOURCES),
    }


def to_copy(mixture: Any, sources: Sequence[str], weights: Sequence[float]) -> dict[str, Any]:
    """Return a mixture with its weights as JSON."""
    rounded = {source: round(w, 8) for source, w in zip(sources, weights, strict=True)}
    return {"mixture": mixture, "text": json.dumps(rounded, indent=2, ensure_ascii=False)}
