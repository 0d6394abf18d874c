"""From what the files of a run say of it, while it goes, to what the page's template shows."""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from mixwright.report.charts import Line
from mixwright.report.courses import SAY_LOSS, SAY_SHARE, Say, shown_sources, thinned
from mixwright.report.live.lines import drawn
from mixwright.report.words import count, duration, moment, number, percent

STATES = ("failed", "running", "open", "done")  # of pieces: what should be seen first
_SHOWN_PIECES = 30  # of those at work, and of those that failed
_SHOWN_ROWS = 20
_ONE_OF_MANY = re.compile(r",? (?:seed|from chunk) \d+")
_WORDS = {"running": "Running", "finished": "Finished", "stopped": "Stopped", "unknown": "Begun"}


def build_live(summary: Mapping[str, Any], every: float = 5.0) -> dict[str, Any]:
    """
    Return what the page of a run that goes shows.

    Parameters
    ----------
    summary
        What `RunState.to_json` returns.
    every
        Seconds until the page is written again.
    """
    now, goes = time.time(), summary["state"] == "running"
    return {
        "title": summary["title"],
        "lead": lead(summary),
        "summary": summary,
        "facts": _facts(summary),
        "stages": [stage_words(name, *found) for name, found in summary["stages"].items()],
        "curves": _curves(summary),
        "sources": sources_of(summary),
        "pieces": pieces_view(summary["pieces"]),
        "refresh": round(max(every, 1.0), 1) if goes else None,
        "written": round(now, 1),
        "when": moment(datetime.fromtimestamp(now, UTC).isoformat(timespec="seconds")),
        "charts": [],
        "styles": ("live/live.css",),
    }


def lead(summary: Mapping[str, Any]) -> str:
    """Return in one sentence how far a run is."""
    words, stages = _WORDS[summary["state"]], summary["stages"]
    open_stages = [stage_words(name, *found) for name, found in stages.items() if found[0] < found[1]]
    if open_stages:
        stage = open_stages[-1]
        at = f" {stage['name']}, "
        words += f":{at}{stage['said']}" if summary["state"] == "running" else f" at{at}{percent(stage['share'], 0)}"
    if summary["state"] == "stopped" and summary["why"]:
        words += f": {summary['why']}"
    if summary["state"] == "unknown":
        words += " by an earlier version, which does not say whether a command is at work"
    return words


def stage_words(name: str, done: float, of: float, left: float | None) -> dict[str, Any]:
    """Return a stage with its share and words such as 45 %, about 3 min 10 s left."""
    share = min(done / of, 1.0) if of else 1.0
    said = "done" if share >= 1 else percent(share, 0)
    return {"name": name, "share": share, "said": said + (f", about {duration(left)} left" if left else "")}


def _facts(summary: Mapping[str, Any]) -> list[tuple[str, str]]:
    trains = summary["step"] is not None
    facts = {
        "Command": f"mixwright {summary['command']}" if summary["command"] else "",
        "Run": summary["folder"],
        "At work on": summary["host"],
        "Plan": summary["plan"],
        "Step": count(summary["step"]) if trains else "",
        "Loss of the step": number(summary["loss"]) if trains and summary["loss"] is not None else "",
        "Now": "" if trains else summary["note"],
        "Left out": summary["left_out"],
    }
    return [(term, text) for term, text in facts.items() if text]


def sources_of(summary: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return each source with its weight and last loss, the largest weight first."""
    weights, losses = summary["weights"], summary["losses"]
    names = sorted({**weights, **losses}, key=lambda n: -weights.get(n, 0.0))
    top = max(weights.values(), default=1.0) or 1.0
    return [
        {"name": n, "weight": weights.get(n), "loss": losses.get(n), "width": 100 * weights.get(n, 0.0) / top}
        for n in names
    ]


def _curves(summary: Mapping[str, Any]) -> list[dict[str, Any]]:
    weights, losses = summary["weight_course"], summary["loss_course"]
    names = list(dict.fromkeys([*summary["weights"], *summary["losses"]]))
    shown = shown_sources(names, lambda i: -summary["weights"].get(names[i], 0.0))
    found = []
    for name, title, words, course, say, held in (
        ("weights", "Weights", "share of the rows, by the step from which it applies", weights, SAY_SHARE, True),
        (
            "losses",
            "Training losses",
            "of each source’s rows; means where there are many steps",
            losses,
            SAY_LOSS,
            False,
        ),
    ):
        steps, values = course.get("steps", []), course.get("values", [])
        lines = [
            Line(source.name, source.look, steps, [row.get(source.name) for row in values])
            for source in shown.values()
            if any(source.name in row for row in values)
        ]
        if lines:
            found.append(_curve(name, title, words, lines, say, held) | {"left_out": len(names) - len(shown)})
    return found


def _curve(name: str, title: str, words: str, lines: Sequence[Line], say: Say, held: bool) -> dict[str, Any]:
    ends = "; ".join(f"{line.name} {say(line.values[-1])}" for line in lines)
    rows = [(lines[0].steps[i], [say(line.values[i]) for line in lines]) for i in thinned(lines[0].steps, _SHOWN_ROWS)]
    picture = drawn(lines, say, held, zero=held)
    return {"id": name, "title": title, "words": words, "lines": lines, "rows": rows, "picture": picture, "ends": ends}


def pieces_view(pieces: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the pieces of a run by stage and by what differs in more than the seed; those to be seen by name."""
    stages: dict[str, dict[str, Counter[str]]] = {}
    for piece in pieces:
        groups = stages.setdefault(piece["stage"], {})
        groups.setdefault(_ONE_OF_MANY.sub("", piece["name"]), Counter())[piece["state"]] += 1
    return {
        "all": len(pieces),
        "stages": [_stage(name, groups) for name, groups in stages.items()],
        **{state: _named([p for p in pieces if p["state"] == state]) for state in ("failed", "running")},
    }


def _stage(name: str, groups: Mapping[str, Counter[str]]) -> dict[str, Any]:
    total: Counter[str] = sum(groups.values(), Counter())
    rows = [{"name": group, **_counts(found)} for group, found in groups.items()]
    rows.sort(key=lambda row: (not row["failed"], not row["running"], row["open"] == 0))
    # a list of names, or of groups that are done, says no more than the counts of all
    whole = len(rows) == 1 or all(row["of"] == 1 for row in rows) or all(row["done"] == row["of"] for row in rows)
    return {"name": name, **_counts(total), "groups": [] if whole else rows, "size": 0 if whole else len(rows)}


def _counts(found: Counter[str]) -> dict[str, Any]:
    of = sum(found.values())
    return {**{state: found[state] for state in STATES}, "of": of, "width": 100 * found["done"] / of}


def _named(pieces: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    rows = [{"name": p["name"], "stage": p["stage"], "host": p.get("host", ""), "says": piece_words(p)} for p in pieces]
    return {"rows": rows[:_SHOWN_PIECES], "more": max(len(rows) - _SHOWN_PIECES, 0)}


def piece_words(piece: Mapping[str, Any]) -> str:
    """Return what a piece is doing: 40 %, about 3 min 00 s left; or why it failed."""
    if piece["state"] == "failed":
        return (str(piece["error"]).strip() or "it does not say why").splitlines()[-1]
    share = piece.get("share", 0.0)
    if piece["state"] != "running" or share <= 0:
        return "begun" if piece["state"] == "running" else ""
    return f"{percent(share, 0)}, about {duration(piece['seconds'] * (1 - share) / share)} left"
