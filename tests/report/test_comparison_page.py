"""The page of a comparison as text: its numbers are the summary's, names are text, bad summaries are named."""

from __future__ import annotations

import copy
import json
import re
from functools import lru_cache
from html.parser import HTMLParser
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mixwright.compare.forecast import forecast, score
from mixwright.errors import InputError
from mixwright.report import render, write
from mixwright.report.comparison.view import digits_of_measure
from mixwright.report.words import address, count, digits_of, number, percent, signed

from .comparison_fixtures import comparison, without_optional
from .test_page import NAMES, Reader


class Tables(HTMLParser):
    """Collects the rows of each table by the table's id: cells are lists of the texts in them."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tables: dict[str, list[list[list[str]]]] = {}
        self._table: str | None = None
        self._cell = False
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        if tag == "table":
            self._table = dict(attrs)["id"]
            assert self._table not in self.tables
            self.tables[self._table] = []
        elif tag == "tr":
            self.tables[self._table].append([])
        elif tag in ("td", "th"):
            self.tables[self._table][-1].append([])
            self._cell = True

    def handle_endtag(self, tag):
        if tag in ("td", "th"):
            self._cell = False

    def handle_data(self, data):
        if self._cell and data.strip():
            self.tables[self._table][-1][-1].append(data.strip())

    def body(self, name: str) -> dict[str, list[list[str]]]:
        """Return the rows of a table by their first cell."""
        return {row[0][0]: row[1:] for row in self.tables[name][1:]}


def plain(text: str) -> str:
    return " ".join(" ".join(Reader(text).texts).split())


def headline(summary):
    return [m for m in summary["measures"] if m["headline"]]


SHAPES = {
    "usual": {},
    "least": {"arms": 2, "targets": 1, "seeds": 1, "sources": 3},
    "most": {"arms": 12, "targets": 8, "seeds": 30, "sources": 60},
    "no target": {"targets": 0, "seeds": 2},
    "assays": {"targets": 5, "setting": "assays", "charged": False},
}


@lru_cache
def made(shape):
    """Return a summary and its page; not to be changed."""
    summary = comparison(**SHAPES[shape])
    return summary, render("comparison", summary)


@pytest.mark.parametrize("shape", SHAPES)
def test_it_is_balanced_in_order_and_loads_nothing(shape):
    _, text = made(shape)
    reader = Reader(text)
    assert reader.open == []
    levels = [int(tag[1]) for tag, _ in reader.elements if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(b <= a + 1 for a, b in pairwise(levels))
    identifiers = [a["id"] for _, a in reader.elements if "id" in a]
    assert len(identifiers) == len(set(identifiers))
    anchors = [a["href"] for a in reader.all("a")]
    assert {a[1:] for a in anchors if a.startswith("#")} <= set(identifiers)
    assert [a for a in anchors if not a.startswith("#")] == ["./cells.csv"]
    assert not any("src" in a or any(n.startswith("on") for n in a) for _, a in reader.elements)
    assert not re.search(r"https?://|url\(|@import", text)
    policy = next(a["content"] for a in reader.all("meta") if a.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    assert "unsafe-eval" not in policy


@pytest.mark.parametrize("shape", SHAPES)
def test_every_chart_has_words_and_a_place(shape):
    _, text = made(shape)
    reader = Reader(text)
    charts = {a["id"]: a for _, a in reader.elements if a.get("class") == "chart"}
    figures = json.loads(next(s for s in reader.scripts if s.startswith('[{"name"')))
    assert [figure["name"] for figure in figures] == list(charts)
    assert all(a["role"] == "img" and len(a["aria-label"]) > 40 for a in charts.values())
    assert len(reader.all("table")) == len(reader.all("caption"))
    assert all("scope" in a for a in reader.all("th"))


@pytest.mark.parametrize("shape", SHAPES)
def test_differences_and_values_are_the_summarys(shape):
    summary, text = made(shape)
    tables = Tables(text)
    others = [m for m in summary["measures"] if not m["headline"] and m["kind"] in ("target", "all targets")]
    named = [(m, f"differences-{i}") for i, m in enumerate(headline(summary))]
    for measure, name in named + [(m, f"others-{i}") for i, m in enumerate(others)]:
        rows, digits = tables.body(name), digits_of_measure(measure)
        assert set(rows) == set(measure["values"])
        for arm, values in measure["values"].items():
            assert rows[arm][0][0] == number(sum(values) / len(values), digits)
        for d in measure["differences"]:
            _, difference, interval, word = rows[d["arm"]]
            assert difference == [signed(d["difference"], digits)]
            ends = (d["low"], d["high"])
            assert interval == ["–" if len(summary["seeds"]) == 1 else " to ".join(signed(end, digits) for end in ends)]
            assert word == [d["word"]]
    for i, measure in enumerate(headline(summary)):
        rows = tables.body(f"seeds-{i}-table")
        for arm, values in measure["values"].items():
            assert [cell[0] for cell in rows[arm][1:]] == [number(v, digits_of_measure(measure)) for v in values]


def test_the_best_arm_is_marked_whichever_way_is_better():
    for setting, join in (("text", min), ("assays", max)):
        summary = comparison(setting=setting)
        tables = Tables(render("comparison", summary))
        for i, measure in enumerate(headline(summary)):
            marked = [arm for arm, row in tables.body(f"differences-{i}").items() if "best" in row[0]]
            means = {arm: sum(v) / len(v) for arm, v in measure["values"].items()}
            assert marked == [join(means, key=means.get)]


@pytest.mark.parametrize("shape", SHAPES)
def test_costs_are_the_summarys(shape):
    summary, text = made(shape)
    rows = Tables(text).body("cost-table")
    assert set(rows) == {arm["name"] for arm in summary["arms"]}
    measure = next((m for m in summary["measures"] if m["name"] == "average of targets"), headline(summary)[0])
    gains = {d["arm"]: d for d in measure["differences"]}
    for arm in summary["arms"]:
        shown = rows[arm["name"]]
        assert [cell[0] for cell in shown[:3]] == [count(arm[key]) for key in ("amount", "search_cost", "total_cost")]
        assert shown[3] == [percent(arm["search_cost"] / arm["total_cost"])]
        assert shown[5] == [number(arm["most_epochs"], 2)]
        if arm["name"] in gains:
            d = gains[arm["name"]]["difference"]
            assert shown[-1][0] == signed(d if measure["higher"] else -d, digits_of_measure(measure))


@pytest.mark.parametrize("shape", SHAPES)
def test_weights_and_epochs_are_the_summarys(shape):
    summary, text = made(shape)
    tables = Tables(text)
    targets = [
        t for t in [None, *summary["targets"]] if any(m["target"] == t for a in summary["arms"] for m in a["mixtures"])
    ]
    for i, target in enumerate(targets):
        shown = [(a, m) for a in summary["arms"] for m in a["mixtures"] if m["target"] == target]
        rows, epochs = tables.body(f"weights-{i}-table"), tables.body(f"epochs-{i}-table")
        assert set(rows) == set(epochs) == set(summary["sources"])
        for source in summary["sources"]:
            for (_, mixture), cell, gone in zip(shown, rows[source], epochs[source], strict=True):
                w, e = mixture["weights"][source], mixture["epochs"][source]
                said = [percent(sum(w) / len(w))]
                said += [f"{percent(min(w))} to {percent(max(w))}"] if max(w) > min(w) else []
                start = mixture["start"]
                said += [f"from {percent(sum(start[source]) / len(w))}"] if start else []
                assert cell == said
                assert gone[0] == number(sum(e) / len(e), 2)


@pytest.mark.parametrize("shape", SHAPES)
def test_losses_of_sources_are_the_summarys(shape):
    summary, text = made(shape)
    tables = Tables(text)
    seen: dict[tuple[str, str], list[str]] = {}
    for name, table in tables.tables.items():
        if re.fullmatch(r"sources-\d+-table", name):
            columns = [cell[0] for cell in table[0][1:]]
            assert [row[0][0] for row in table[1:3]] == ["average of sources", "worst source"]
            for row in table[1:]:
                seen |= {(row[0][0], column): cell for column, cell in zip(columns, row[1:], strict=True)}
    measures = [m for m in summary["measures"] if m["kind"] in ("source", "all sources")]
    assert len(seen) == sum(len(m["values"]) for m in measures)
    for measure in measures:
        entries = {d["arm"]: d for d in measure["differences"]}
        for arm, values in measure["values"].items():
            said = [number(sum(values) / len(values), digits_of_measure(measure))]
            if arm in entries:
                said += [signed(entries[arm]["difference"], digits_of_measure(measure))]
                said += [entries[arm]["word"]] if entries[arm]["word"] in ("better", "worse") else []
            assert seen[measure["name"], arm] == said


def test_curves_and_steps_are_the_summarys():
    summary = comparison(targets=2, seeds=3)
    tables = Tables(render("comparison", summary))
    for i, target in enumerate(summary["targets"]):
        table = tables.tables[f"curve-{i}-table"]
        for column, cell in enumerate(table[0][1:], start=1):
            own = [c["points"] for c in summary["curves"] if (c["target"], c["arm"]) == (target, cell[0])]
            for row, *points in zip(table[1:], *own, strict=True):
                assert row[0] == [count(points[0]["step"])]
                assert row[column] == [number(sum(p["loss"] for p in points) / len(points))]
        rows = tables.body(f"steps-{i}-table")
        for entry in summary["steps_to_baseline"]:
            if entry["target"] == target:
                reached = sorted(s for s in entry["steps"] if s is not None)
                shown = rows[entry["arm"]]
                assert shown[0] == [f"{len(reached)} of {len(entry['steps'])}"]
                middle = f"{reached[(len(reached) - 1) // 2]} of {entry['of'][0]}" if reached else "not reached"
                assert shown[1][0].startswith(middle)
                if len(set(entry["steps"])) > 1:
                    assert shown[1][-1] == " / ".join("not reached" if s is None else str(s) for s in entry["steps"])


def test_it_says_what_was_found_and_how_to_read_it():
    summary = comparison()
    said = plain(render("comparison", summary))
    for words in (
        "Better than uniform: mixmin-chunk on both targets, online on tutorial. Worse: best_single on both targets",
        "No better: natural",
        "No better than uniform on this evidence",
        "each of the 3 seeds gives one difference from uniform",
        "the chance to call any of these 4 arms better",
        "From seed to seed an arm moves by",
        "Every arm had 3,276,800 tokens; what finding its mixture cost is taken off its training.",
        "the source books was gone through 3.2 times",
        "mixwright compare compare.yaml",
        "cells.csv",
    ):
        assert words in said
    d = headline(summary)[0]["differences"][0]
    ends = f"90 % interval {signed(d['low'])} to {signed(d['high'])}, 3 seeds"
    assert f"by {number(-d['difference'])} nats per token, {ends}" in said


def test_what_the_arms_could_spend_is_said_from_what_they_spent():
    free = comparison(charged=False)
    assert "trained on 3,276,800 tokens; what finding its mixture cost comes on top." in plain(
        render("comparison", free)
    )
    mixed = comparison()
    mixed["arms"][1] |= {"amount": 3_276_800, "total_cost": 3_636_800}
    said = plain(render("comparison", mixed))
    assert "is taken off its training, save for mixmin-chunk, where it comes on top." in said
    none = comparison(arms=1)
    assert "Every arm was trained on 3,276,800 tokens." in plain(render("comparison", none))


def test_what_the_comparison_could_have_seen_is_a_sentence_for_each_measure():
    summary = comparison(seeds=4)
    text = plain(render("comparison", summary))
    for measure in summary["measures"]:
        if measure["headline"]:
            seen = sorted(number(d["detectable"], digits_of_measure(measure)) for d in measure["differences"])
            assert f"a true difference of {seen[0]} " in text
            assert seen[0] == seen[-1] or f" to {seen[-1]} (" in text
    for measure in summary["measures"]:
        for entry in measure["differences"]:
            for field in ("detectable", "goal", "seeds_needed"):
                del entry[field]
    assert "a true difference of" not in plain(render("comparison", summary))


def test_nothing_better_is_said_plainly():
    said = plain(render("comparison", comparison(arms=3, targets=1, gain=0.0)))
    assert "No arm is better than uniform on this evidence" in said
    assert "Better than uniform" not in said


def test_one_seed_gives_no_verdict_and_says_why():
    said = plain(render("comparison", comparison(seeds=1)))
    assert "No verdict: one seed does not tell whether an arm is better than uniform" in said
    assert "Unverified against uniform" in said
    assert "run at least 2 seeds" in said
    for words in ("Better than", "Worse than", "No better than", "standard deviation", "Holm"):
        assert words not in said


@pytest.mark.parametrize("name", NAMES)
def test_names_are_shown_as_text(name):
    text = render("comparison", comparison(name=name))
    reader = Reader(text)
    assert reader.open == []
    assert name in reader.texts
    other = Reader(render("comparison", comparison(name="a name")))
    assert [tag for tag, _ in reader.elements] == [tag for tag, _ in other.elements]
    figures = next(s for s in reader.scripts if s.startswith('[{"name"'))
    assert not re.search("[<>&]", figures)
    assert not re.search(r"<(?!br>)", json.dumps(json.loads(figures)))


@settings(max_examples=15)
@given(st.text(st.characters(codec=None), min_size=1, max_size=40))
def test_any_name_makes_a_page(name):
    text = render("comparison", comparison(arms=3, targets=1, sources=3, name=f"{name}|"))
    text.encode()
    assert Reader(text).open == []
    assert not re.search("[\x00-\x08\x0b\x0c\x0e-\x1f]", text)


@given(st.text(st.characters(codec=None), max_size=40))
def test_an_address_stays_beside_the_page(name):
    assert re.fullmatch(r"\./[A-Za-z0-9._~%-]*", address(name))


def test_the_same_summary_gives_the_same_bytes_and_is_left_alone(tmp_path):
    summary = comparison()
    before = copy.deepcopy(summary)
    path = write("comparison", summary, tmp_path / "new" / "report.html")
    assert path == tmp_path / "new" / "report.html"
    again = render("comparison", json.loads(json.dumps(before)))
    assert path.read_text(encoding="utf-8") == again
    assert summary == before


def test_what_the_command_adds_may_be_absent():
    said = plain(render("comparison", without_optional(comparison())))
    assert "Comparison of 5 arms" in said
    assert "Every number" not in said.replace("Every number they show", "")
    bare = comparison()
    for field in ("curves", "steps_to_baseline", "notes"):
        bare[field] = []
    bare["measures"] = headline(bare)
    text = render("comparison", bare)
    assert "Loss curves" not in plain(text)
    assert "Held-out loss on each source" not in plain(text)


def test_what_was_not_counted_is_not_shown_as_nothing():
    summary = comparison(setting="assays", targets=1) | {"budget": None, "cost": None}
    for arm in summary["arms"]:
        arm |= dict.fromkeys(("steps", "amount", "search_cost", "total_cost", "most_epochs"), 0)
    text = render("comparison", summary)
    assert "What trainings and searches cost was not counted." in plain(text)
    assert all(len(row) == 2 for row in Tables(text).tables["cost-table"])
    assert '"name":"gain"' not in text
    assert "hold out the same rows" in plain(text)


def test_one_arm_has_nothing_to_compare():
    said = plain(render("comparison", comparison(arms=1)))
    assert "One arm, nothing to compare" in said


def test_sources_without_losses_are_known_from_the_weights():
    summary = comparison(sources=4)
    summary["measures"] = [m for m in summary["measures"] if m["kind"] in ("target", "all targets")]
    summary["sources"] = []
    reader = Reader(render("comparison", summary))
    figures = json.loads(next(s for s in reader.scripts if s.startswith('[{"name"')))
    line = next(f for f in figures if f["name"] == "weights-0")["layout"]["shapes"][0]
    assert line["x0"] == line["x1"] == 0.25


def test_the_target_own_rows_are_a_source_of_some_mixtures_alone():
    summary = comparison(targets=1)
    mixture = summary["arms"][1]["mixtures"][0]
    mixture["weights"]["rows of tutorial"] = [0.25] * 3
    rows = Tables(render("comparison", summary)).body("weights-1-table")
    assert rows["rows of tutorial"][0] == [percent(0.25)]
    assert rows["rows of tutorial"][1] == ["–"]


@pytest.mark.parametrize(
    "part", ["schema", "kind", "version", "seeds", "arms", "measures", "curves", "over", "sources"]
)
def test_a_missing_part_is_named(part):
    summary = comparison()
    del summary[part]
    with pytest.raises(InputError, match=f"{part} should be .*, found nothing"):
        render("comparison", summary)


def test_a_newer_schema_is_named():
    with pytest.raises(InputError, match="schema should be at most 2, found 3: a newer mixwright wrote it"):
        render("comparison", comparison() | {"schema": 3})


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("kind",), "assays", 'kind should be "comparison"'),
        (("over",), "?", "over should be the name of one of the arms"),
        (("seeds",), [], "seeds should be a list of at least one number"),
        (("arms",), [], "arms should be a list with at least one entry"),
        (("arms", 1, "name"), "uniform", r"arms\[1\] should be a name that is used once"),
        (("arms", 1, "per_target"), "yes", r"arms\[1\]\.per_target should be true or false"),
        (("arms", 0, "amount"), None, r"arms\[0\]\.amount should be a finite number, found nothing"),
        (
            ("arms", 0, "mixtures", 0, "weights", "web"),
            [0.2],
            r"arms\[0\]\.mixtures\[0\]\.weights\['web'\] should be a fin",
        ),
        (("arms", 1, "mixtures", 0, "target"), "?", r"arms\[1\]\.mixtures\[0\]\.target should be the name of one of"),
        (("measures", 0, "higher"), None, r"measures\[0\]\.higher should be true or false, found nothing"),
        (
            ("measures", 0, "values", "uniform"),
            [1, 2, float("nan")],
            r"measures\[0\]\.values\['uniform'\] should be a fin",
        ),
        (("measures", 0, "values", "?"), [1, 2, 3], r"measures\[0\]\.values should be the name of one of the arms"),
        (
            ("measures", 0, "differences", 0, "word"),
            "fine",
            r"measures\[0\]\.differences\[0\]\.word should be one of bett",
        ),
        (("measures", 0, "differences", 0, "arm"), "?", r"measures\[0\]\.differences\[0\]\.arm should be the name of"),
        (("measures", 0, "differences", 0, "unpaired"), [1], r"differences\[0\]\.unpaired should be \[low, high\]"),
        (("curves", 0, "points", 1, "loss"), "low", r"curves\[0\]\.points\[1\]\.loss should be a finite number"),
        (("curves", 0, "target"), "?", r"curves\[0\]\.target should be the name of one of the targets"),
        (("steps_to_baseline", 0, "of"), [None], r"steps_to_baseline\[0\]\.of should be a list of numbers"),
        (("budget",), {"amount": 1}, r"budget\.charged should be true or false"),
        (("cost",), [], "cost should be an object"),
        (("csv",), 3, "csv should be a text"),
        (("notes",), [3], r"notes\[0\] should be a text"),
    ],
)
def test_a_wrong_field_is_named(path, value, message):
    summary = json.loads(json.dumps(comparison()))
    inner = summary
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    with pytest.raises(InputError, match=message):
        render("comparison", summary)


@pytest.mark.parametrize("summary", [[], None, "text", {}])
def test_what_is_no_summary_is_refused(summary, tmp_path):
    page = tmp_path / "report.html"
    page.write_text("old")
    with pytest.raises(InputError):
        write("comparison", summary, page)
    assert page.read_text() == "old"


def test_a_forecast_is_a_table_with_errors_and_open_ends():
    summary = comparison(targets=1)
    values = summary["measures"][0]["values"]
    entries = [
        {"arm": "natural", "predicted": 2.0, "low": 1.9, "high": 2.1},
        {"arm": "mixmin-chunk", "over": "uniform", "predicted": -0.02, "high": -0.01},
        {"arm": "online", "predicted": 2.6},
    ]
    scored = score(forecast("me & you", 0.8, entries), summary)
    text = render("comparison", summary | {"forecast": {**scored, "fingerprint": "abc123", "fixed": "today"}})
    natural, difference, online = Tables(text).tables["forecast-table"][1:]
    error = sum(values["natural"]) / len(values["natural"]) - 2.0
    digits = digits_of(one["error"] for one in scored["scores"])
    assert natural[4] == [signed(error, digits)]
    assert (natural[5], difference[5], online[5]) == (["outside"], ["inside"], ["–"])
    assert difference[0] == ["mixmin-chunk minus uniform"]
    assert difference[2] == [f"at most {signed(-0.01, digits)}"]
    assert "Forecast and measurement: 1 of 2 inside the interval" in text
    assert "abc123" in text
    assert 'id="forecast"' not in render("comparison", summary)
    with pytest.raises(InputError, match=r"forecast\.scores\[0\]\.error"):
        render("comparison", summary | {"forecast": {**scored, "scores": [{**scored["scores"][0], "error": "no"}]}})
