"""What the folder of a fit keeps of its confirmation."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mixwright.experiment.core.searches import keep_verdict

CONFIRMED = "confirmed.json"
OTHER = f"{CONFIRMED} is of another fit that was in this folder; confirm this one: mixwright runs confirm"


def with_confirmation(summary: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Return the summary of a fit with what its confirmation found, and say so in mixture.json; else as it is."""
    try:
        result = json.loads((folder / CONFIRMED).read_text(encoding="utf-8"))
        before = {one["name"]: one["predicted"] for one in result["mixtures"]}
    except (OSError, ValueError, KeyError, TypeError):
        return dict(summary)
    if any(before.get(one["name"]) != one["predicted"] for one in summary["mixtures"]):
        return {**summary, "notes": [*dict.fromkeys([*summary["notes"], OTHER])]}
    keep_verdict(folder, result["verdict"])
    notes = [note for note in summary["notes"] if note != OTHER]
    return {**summary, "notes": notes, "verdict": result["verdict"], "confirmed": result}
