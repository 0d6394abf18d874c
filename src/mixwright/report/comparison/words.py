"""What the page of a comparison says in sentences."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from mixwright.report.looks import Look
from mixwright.report.words import number, percent, signed

STATES = {"better": "better", "worse": "worse", "no better": "same", "unverified": "open"}  # classes of the style
VERDICT_LOOKS = {
    "better": Look("green", "circle", "solid"),
    "no better": Look("grey", "square-open", "solid"),
    "worse": Look("vermillion", "x", "solid"),
    "unverified": Look("grey", "diamond-open", "solid"),
}
_NAMED_TARGETS = 3  # in the headline, which gives the number of more
_NAMED_ARMS = 5
_KNOWN_SPREAD = 4  # seeds; from fewer the spread is hardly known
BASELINE_CAVEAT = "a little more often where {over} scatters many times as much as the others and seeds are few"


def lead(summary: Mapping[str, Any]) -> str:
    """Return the verdict over all arms and headline measures in a few words, and what stands beside it."""
    changed = summary.get("seeds_changed")
    return ". ".join([_verdicts(summary), *_decisions(summary), *([changed] if changed else [])])


def _decisions(summary: Mapping[str, Any]) -> list[str]:
    """Return which arms are smaller than the margin, and which are not decided, where seeds were added."""
    if (looks := summary.get("looks")) is None:
        return []
    found, said = [m for m in summary["measures"] if m["headline"]], []
    margin = f"{100 * (looks.get('margin') or 0):g}\u202f%"
    for key, value, title in (
        ("small", True, f"Difference smaller than {margin} of {summary['over']}"),
        ("decided", False, f"Not decided after {len(summary['seeds'])} seeds"),
    ):
        where: dict[str, list[str]] = {}
        for name, entry in ((m["name"], d) for m in found for d in m["differences"]):
            if entry.get(key) is value:
                where.setdefault(entry["arm"], []).append(name)
        if where:
            said.append(f"{title}: {_joined([f'{arm}{_on(names, found)}' for arm, names in where.items()])}")
    return said


def _verdicts(summary: Mapping[str, Any]) -> str:
    over, found = summary["over"], [m for m in summary["measures"] if m["headline"]]
    entries = [d for m in found for d in m["differences"]]
    if not entries:
        return "One arm, nothing to compare"
    doubts = list(dict.fromkeys(d["doubt"] for d in entries if d.get("doubt")))
    if all(d["word"] == "unverified" for d in entries):
        if doubts:
            return f"Unverified against {over}: {'. '.join(doubts)}"
        return f"No verdict: one seed does not tell whether an arm is better than {over}"
    arms = list(dict.fromkeys(d["arm"] for d in entries))
    where = {word: {arm: _measures(found, arm, word) for arm in arms} for word in ("better", "worse")}
    better = [f"{arm}{_on(where['better'][arm], found)}" for arm in arms if where["better"][arm]]
    worse = [f"{arm}{_on(where['worse'][arm], found)}" for arm in arms if where["worse"][arm]]
    said = where["better"], where["worse"]
    open_ones = [arm for arm in arms if all(d["word"] == "unverified" for d in entries if d["arm"] == arm)]
    rest = [arm for arm in arms if not any(words[arm] for words in said) and arm not in open_ones]
    if not better and not worse and not doubts:
        return f"No arm is better than {over} on this evidence"
    parts = [f"Better than {over}: {_joined(better)}" if better else f"No arm is better than {over} on this evidence"]
    parts += [f"Worse: {_joined(worse)}"] if worse else []
    parts += [f"No better: {_joined(rest)}"] if rest else []
    parts += [f"Unverified: {_joined(open_ones)}"] if open_ones else []
    return ". ".join([*parts, *doubts])


def title_of(measure: Mapping[str, Any], measures: Sequence[Mapping[str, Any]]) -> str:
    """Return the name of a measure, with its quantity where several stand beside each other."""
    several = len({m["quantity"] for m in measures}) > 1
    return f"{measure['quantity']}, {measure['name']}" if several else str(measure["name"])


def _measures(found: Sequence[Mapping[str, Any]], arm: str, word: str) -> list[str]:
    return [m["name"] for m in found if any(d["arm"] == arm and d["word"] == word for d in m["differences"])]


def _on(names: Sequence[str], found: Sequence[Mapping[str, Any]]) -> str:
    """Say on which of the measures, unless there is one only."""
    if len(found) == 1:
        return ""
    if found[0]["kind"] == "all sources":
        return "" if len(names) == len(found) else f" on the {_joined(names)}"
    if len(names) == len(found):
        return f" on {'both' if len(found) == 2 else f'all {len(found)}'} targets"
    return f" on {_joined(names)}" if len(names) <= _NAMED_TARGETS else f" on {len(names)} of {len(found)} targets"


def _joined(names: Sequence[str]) -> str:
    if len(names) > _NAMED_ARMS + 1:
        return f"{', '.join(names[:_NAMED_ARMS])} and {len(names) - _NAMED_ARMS} more"
    return ", ".join(names)


def seeds_words(summary: Mapping[str, Any]) -> str:
    """Return how many seeds there were, and where they were added one by one, how many there could have been."""
    seeds, looks = len(summary["seeds"]), summary.get("looks")
    if looks is None:
        return f"{seeds} seeds"
    return f"{looks['at_least']:g} to {looks['at_most']:g} seeds, stopped at {seeds}"


def verdict_words(entry: Mapping[str, Any], unit: str, digits: int, level: float, seeds: str) -> tuple[str, str]:
    """Return the verdict of one arm on one measure: a title, and the figures behind it."""
    over, word, difference = entry["over"], entry["word"], entry["difference"]
    if word == "unverified" and entry.get("doubt"):
        return f"Unverified against {over}", str(entry["doubt"])
    if word == "unverified":
        text = f"difference {signed(difference, digits)}{unit}, no interval: one seed"
        return f"Unverified against {over}", text
    ends = f"{percent(level, 0)} interval {signed(entry['low'], digits)} to {signed(entry['high'], digits)}, {seeds}"
    if word == "no better":
        small = "; smaller than the margin" if entry.get("small") else ""
        return (
            f"No better than {over} on this evidence",
            f"difference {signed(difference, digits)}{unit}, {ends}{small}",
        )
    title = f"{word.capitalize()} than {over}"
    return title, f"by {number(abs(difference), digits)}{unit}, {ends}"


def power_words(measure: Mapping[str, Any], summary: Mapping[str, Any], digits: int) -> str:
    """Return what a measure's comparison could have seen, in a few sentences; nothing where that is not known."""
    detect, looks, seeds = summary["detect"], summary.get("looks"), len(summary["seeds"])
    known = [entry for entry in measure["differences"] if entry["detectable"] is not None]
    if not known or detect is None:
        return ""
    low, high = (choose(known, key=lambda entry: entry["detectable"]) for choose in (min, max))
    least, most = (number(entry["detectable"], digits) for entry in (low, high))
    size = least if least == most else f"{least} ({low['arm']}) to {most} ({high['arm']})"
    when = f"After {looks['at_most']:g} seeds" if looks else "With these seeds"
    said = f"{when} a true difference of {size} would be called better with a chance of about 80 %."
    if seeds < _KNOWN_SPREAD:
        said += f" From {seeds} seeds the spread is hardly known, and so is this difference."
    if looks or not (goal := known[0]["goal"]):
        return said
    needed = sorted(entry["seeds_needed"] or math.inf for entry in known)
    ends = list(dict.fromkeys("more than 1,000" if math.isinf(n) else f"{n:g}" for n in (needed[0], needed[-1])))
    share = percent(detect, 0 if detect >= 0.01 else 1)
    return f"{said} To see {share} of {known[0]['over']} ({number(goal, digits)}) takes {' to '.join(ends)} seeds."


def reading(summary: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return how to read the verdicts, as (term, sentence)."""
    over, seeds, others = summary["over"], len(summary["seeds"]), len(summary["arms"]) - 1
    if seeds < 2:
        why = (
            "One seed gives one difference for each arm and nothing that tells how far such differences move, and "
            "seeds often move a loss by more than mixtures do: run at least 2 seeds, better 3 or more."
        )
        return [("Why there is no verdict", why)]
    level, error = percent(summary["level"], 0), percent(summary["error"], 0)
    judged = sum(measure["headline"] for measure in summary["measures"])
    what = "targets" if summary["targets"] else "measures"
    where = "where its interval lies on the better side"
    if not one_level(summary):
        where = "by a test of its own level, which is not the level of the intervals"
    each = "" if judged == 1 else f" on each of the {judged} {what}, which are judged one by one"
    return [
        (
            "Seeds",
            f"Arms with the same seed {_shared(summary)}, so each of the {seeds} seeds gives one difference from "
            f"{over}. Where seeds move the arms together, these differences are compared (paired); where they do not, "
            "the runs of each arm are (unpaired): the design with the narrower intervals is shown, and the intervals "
            "are widened for that choice.",
        ),
        (
            "Interval",
            f"The {level} interval of an arm says where its mean difference lies, judged by how far runs move from "
            f"seed to seed. The intervals of all arms hold together{_over_looks(summary)}.",
        ),
        (
            "Verdict",
            f"An arm is “better” {where}: the chance to call any of {_arms(others)} "
            f"better where none is stays at or below {error}{each} ({BASELINE_CAVEAT.format(over=over)}).",
        ),
        (
            f"No better than {over}",
            "No difference was shown on this evidence; the interval says how large one could still be.",
        ),
    ]


def explained(summary: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return what one must know to read the tables."""
    if len(summary["seeds"]) < 2:
        return [("why", "one seed cannot show how far runs differ by chance; run at least 2 seeds")]
    error = percent(summary["error"], 0 if summary["error"] >= 0.01 else 1)
    how = "where its interval says so" if one_level(summary) else "by a test of its own level, not by its interval"
    looks = ", over all looks" if summary["looks"] else ""
    caveat = BASELINE_CAVEAT.format(over=summary["over"])
    text = (
        f"{seeds_words(summary)}; the {percent(summary['level'], 0)} intervals of a table hold together, and an "
        f"arm is called better {how} (the probability of any false “better” is at most {error}{looks}; {caveat})"
    )
    return [("how", text)]


def _over_looks(summary: Mapping[str, Any]) -> str:
    """Return what looks at growing numbers of seeds cost; nothing where the number was fixed."""
    if (looks := summary.get("looks")) is None:
        return ""
    return (
        f". Seeds were added, from {looks['at_least']:g} to at most {looks['at_most']:g}, until each arm was decided; "
        "intervals and verdicts are widened so that they hold over all the looks"
    )


def one_level(summary: Mapping[str, Any]) -> bool:
    """Say whether intervals and verdicts have one level: an interval excludes 0 where the verdict says a difference."""
    return math.isclose((1 - summary["level"]) / 2, summary["error"], rel_tol=1e-6)


def _shared(summary: Mapping[str, Any]) -> str:
    if summary.get("data") == "assays":
        return "hold out the same rows and train with the same random numbers"
    if summary.get("data") == "preference":
        return "start from the same reference, read each source in the same order and have the same specialists"
    return "start from the same model and read each source in the same order"


def _arms(others: int) -> str:
    return "the one other arm" if others == 1 else f"these {others} arms"


def budget_words(summary: Mapping[str, Any]) -> str:
    """Return what the arms were given, in one sentence; nothing where that is not known."""
    if not summary.get("budget"):
        return ""
    given = f"{summary['budget']['amount']:,} {amount_of(summary)}"
    charged, on_top = paying_arms(summary)
    if not charged:
        extra = f"; what {_found(summary)} cost comes on top" if on_top else ""
        return f"Every arm was trained on {given}{extra}."
    besides = f", save for {_joined(on_top)}, where it comes on top" if on_top else ""
    return f"Every arm had {given}; what {_found(summary)} cost is taken off its training{besides}."


def _found(summary: Mapping[str, Any]) -> str:
    return "its specialists" if search_of(summary) == "specialists" else "finding its mixture"


def paying_arms(summary: Mapping[str, Any]) -> tuple[list[str], list[str]]:
    """Return the arms whose search is within the budget, and those where it comes on top."""
    given = summary["budget"]["amount"]
    found: tuple[list[str], list[str]] = ([], [])
    for arm in summary["arms"]:
        if arm["search_cost"] > 0:  # trainings are whole batches: the total is near the budget, or near both together
            found[arm["total_cost"] - given > arm["search_cost"] / 2].append(arm["name"])
    return found


def counted(summary: Mapping[str, Any]) -> bool:
    """Say whether what trainings and searches cost was counted."""
    return any(arm["total_cost"] > 0 for arm in summary["arms"])


def amount_of(summary: Mapping[str, Any]) -> str:
    """Return what a training is counted in."""
    return str(summary["unit"])


def search_of(summary: Mapping[str, Any]) -> str:
    """Return what it is that an arm costs besides its training."""
    return "specialists" if summary.get("data") == "preference" else "search"
