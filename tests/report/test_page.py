"""The page as text: nothing escapes, nothing is fetched, bad summaries are named."""

from __future__ import annotations

import base64
import copy
import gzip
import hashlib
import json
import re
import subprocess
import sys
from functools import partial
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mixwright.errors import InputError, MissingExtraError
from mixwright.report import page, write
from mixwright.report.page import script_json
from mixwright.report.search.answers import answers_of
from mixwright.report.search.schema import completed
from mixwright.report.search.view import build_search

from .fixtures import SCRIPT, many_sources, realistic, renamed, search_only

render = partial(page.render, "search")
NAMES = [SCRIPT, "</script><img src=x onerror=alert(1)>", '"><svg onload=alert(1)>', "{{ 7*7 }}", "%{x} <b>bold</b>"]
VOID = {"meta", "link", "input", "br", "img"}


class Reader(HTMLParser):
    """Collects the elements and texts of a page, and checks that it is balanced."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.open: list[str] = []
        self.inside: dict[str, str] = {}
        self.scripts: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID and tag not in ("path", "circle", "rect"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] == "script":
            self.scripts.append(data)
        elif self.open and self.open[-1] != "style":
            self.texts.append(data)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


@pytest.fixture(scope="module")
def realistic_page() -> str:
    return render(realistic())


@pytest.mark.parametrize("make", [realistic, many_sources, search_only])
def test_it_is_balanced_and_in_order(make):
    reader = Reader(render(make()))
    assert reader.open == []
    levels = [int(tag[1]) for tag, _ in reader.elements if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(b <= a + 1 for a, b in pairwise(levels))
    identifiers = [a["id"] for _, a in reader.elements if "id" in a]
    assert len(identifiers) == len(set(identifiers))
    anchors = [a["href"][1:] for a in reader.all("a")]
    assert set(anchors) <= set(identifiers)


@pytest.mark.parametrize("make", [realistic, many_sources, search_only])
def test_nothing_is_loaded(make):
    text = render(make())
    reader = Reader(text)
    for tag, attributes in reader.elements:
        assert "src" not in attributes, tag
        assert not any(name.startswith("on") for name in attributes), tag
        assert re.match("(#|data:,)", attributes.get("href") or "#"), tag
    assert not re.search(r"https?://", text)
    assert not re.search(r"url\(|@import", text)


def test_the_policy_forbids_the_network_and_names_its_scripts(realistic_page):
    reader = Reader(realistic_page)
    policy = next(a["content"] for a in reader.all("meta") if a.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    assert "unsafe-eval" not in policy
    mark, _, library, own = reader.scripts
    for source in (mark.encode(), own.encode(), gzip.decompress(base64.b64decode(library))):
        digest = base64.b64encode(hashlib.sha256(source).digest()).decode()
        assert f"'sha256-{digest}'" in policy


def test_it_says_what_matters(realistic_page):
    said = " ".join(" ".join(Reader(realistic_page).texts).split())
    for words in (
        "The mixture for “tutorial” beats uniform by 0.035 nats per token",
        "Better than uniform",
        "No better than uniform on this evidence",
        "0.0350 nats per token lower than uniform (1.3 % of it)",
        "lower by 0.0229 to 0.0471, paired over 103 held-out documents",
        "No mixture has an objective more than 3.2e−10 nats per row below this one",
        "1.9313 nats per row over uniform, 90 % interval 1.2201 to 2.6088",
        "The interval reaches zero",
        "11.2 % of the compute of one final run (3,276,800 tokens)",
        "MixtureFile.read",
        "mixwright show mixture.json",
    ):
        assert words in said


def test_it_can_be_used_without_eyes(realistic_page):
    reader = Reader(realistic_page)
    assert reader.all("html")[0]["lang"] == "en"
    assert any(a.get("name") == "viewport" for a in reader.all("meta"))
    assert len(reader.all("table")) == len(reader.all("caption"))
    assert all("scope" in a for a in reader.all("th"))
    boxes = [a for _, a in reader.elements if "box" in (a.get("class") or "").split()]
    assert len(boxes) == len(reader.all("table"))
    assert all(a["tabindex"] == "0" and a["role"] == "region" and a["aria-label"] for a in boxes)
    charts = [a for _, a in reader.elements if a.get("class") == "chart"]
    assert len(charts) == 7
    assert all(a["role"] == "img" and len(a["aria-label"]) > 40 for a in charts)
    assert "mixmin-chunk −0.0350 (−0.0471 to −0.0229)" in next(
        a["aria-label"] for a in charts if a["id"] == "difference-0"
    )


@pytest.mark.parametrize("name", NAMES)
def test_names_are_shown_as_text(name):
    text = render(renamed(realistic(), name))
    reader = Reader(text)
    assert reader.open == []
    assert name in reader.texts
    plain = Reader(render(renamed(realistic(), "a name")))
    assert [tag for tag, _ in reader.elements] == [tag for tag, _ in plain.elements]
    figures = next(s for s in reader.scripts if s.startswith('[{"name"'))
    assert not re.search("[<>&]", figures)
    assert "<script>" not in json.dumps(json.loads(figures))
    assert not re.search(r"<(?!br>)", json.dumps(json.loads(figures)))


@settings(max_examples=25)
@given(st.text(st.characters(codec=None), max_size=40).filter(lambda n: n not in ("uniform", "natural", "questions")))
def test_any_name_makes_a_page(name):
    taken = {s["name"] for s in realistic()["sources"]} | {m["name"] for m in realistic()["mixtures"]}
    if name in taken:
        return
    text = render(renamed(realistic(), name))
    text.encode()
    assert Reader(text).open == []
    assert not re.search("[\x00-\x08\x0b\x0c\x0e-\x1f]", text)


@given(st.recursive(st.text() | st.integers(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)))
def test_script_json_reads_back_and_holds_no_markup(value):
    text = script_json(value)
    assert json.loads(text) == value
    assert not re.search("[<>&\u2028\u2029]", text)


def test_very_long_names(tmp_path):
    long = "no-spaces-at-all/" * 600
    text = render(renamed(realistic(), long))
    assert text.count(long) < 120
    figures = next(s for s in Reader(text).scripts if s.startswith('[{"name"'))
    assert long not in figures


def test_many_sources_chart_the_largest_and_list_all():
    summary = many_sources()
    reader = Reader(render(summary))
    figures = json.loads(next(s for s in reader.scripts if s.startswith('[{"name"')))
    weights = next(f for f in figures if f["name"] == "weights")
    assert [len(trace["x"]) for trace in weights["data"]] == [20]
    largest = sorted(summary["mixtures"][1]["weights"], reverse=True)[:20]
    assert weights["data"][0]["x"] == largest
    for source in summary["sources"]:
        assert source["name"] in reader.texts
    assert any(a.get("data-filters") == "weights-table" for a in reader.all("input"))


@pytest.mark.parametrize("k", [1, 2, 300])
def test_any_number_of_sources(k):
    reader = Reader(render(many_sources(k)))
    assert reader.open == []


def test_search_without_training():
    said = " ".join(" ".join(Reader(render(search_only())).texts).split())
    assert "Held-out loss by mixture" not in said
    assert "The improvement was not estimated" in said
    assert "no model was trained with this mixture" in said


@pytest.mark.parametrize(
    ("verdict", "title"),
    [
        ("the proxies favour it over uniform by 0.2 nats per row; not checked by training", "The proxies favour it"),
        ("unverified: 9 of 10 search documents are also in source web; otherwise the proxies favour it", "Unverified"),
    ],
)
def test_what_proxies_say_is_never_ticked(verdict, title):
    summary = realistic()
    summary |= {"runs": [], "comparisons": []}
    summary["searches"] = [summary["searches"][0] | {"verdict": verdict}]
    assert summary["searches"][0]["improvement"]["low"] > 0
    (answer,) = build_search(summary)["answers"]
    assert answer["worth"]["state"] == "open"
    assert answer["worth"]["title"].startswith(title)


def test_optional_fields_may_be_absent():
    summary = search_only()
    for part in ("runs", "comparisons", "cost"):
        del summary[part]
    del summary["searches"][0]["improvement"], summary["searches"][0]["interval"]
    del summary["targets"][0]["held_out_documents"], summary["sources"][0]["tokens"]
    assert Reader(render(summary)).open == []


def test_no_searches_and_no_uniform():
    summary = realistic()
    summary |= {"searches": [], "mixtures": summary["mixtures"][1:], "comparisons": []}
    summary["runs"] = [run for run in summary["runs"] if run["mixture"] != "uniform"]
    assert Reader(render(summary)).open == []


def test_comparisons_over_other_mixtures_and_without_intervals():
    summary = realistic()
    extra = summary["comparisons"][1] | {"over": "natural", "low": None, "high": None, "verdict": "one seed"}
    summary["comparisons"].append(extra)
    summary["comparisons"][1] = summary["comparisons"][1] | {"low": None, "high": None}
    said = " ".join(" ".join(Reader(render(summary)).texts).split())
    assert "Other comparisons" in said
    assert "Trained and compared, without an interval" in said


def test_unequal_tokens_are_said_and_cost_may_be_missing():
    summary = realistic() | {"cost": None}
    summary["runs"][2]["tokens"] += 1
    reader = Reader(render(summary))
    said = " ".join(" ".join(reader.texts).split())
    assert said.count("not all on the same number of tokens") == 1
    assert said.count("not on the same number of tokens (3,276,801 against 3,276,800)") == 1
    assert said.count("held-out loss after training on equal tokens") == 1  # of the other search, whose runs are equal
    assert any(a.get("id") == "cost" for a in reader.all("section"))
    assert "Time per stage" not in said


def test_an_unfinished_search_is_called_so():
    summary = realistic()
    summary["searches"][0]["gap"] = 0.02
    said = " ".join(" ".join(Reader(render(summary)).texts).split())
    assert "the search is not finished" in said


def test_a_worse_mixture_is_called_so():
    summary = realistic()
    summary["comparisons"][1] |= {"difference": 0.02, "low": 0.01, "high": 0.03}
    said = " ".join(" ".join(Reader(render(summary)).texts).split())
    assert "Worse than uniform" in said
    assert "higher by 0.0100 to 0.0300" in said


@pytest.mark.parametrize("other", ["uniform_equal_cost", "natural"])
def test_no_tick_stands_where_something_else_is_better(other):
    summary = realistic()
    summary["mixtures"].append({"name": "uniform_equal_cost", "kind": "uniform", "weights": [0.2] * 5})
    summary["comparisons"].append(
        summary["comparisons"][1] | {"over": other, "difference": 0.02, "low": 0.01, "high": 0.03}
    )
    answer = answers_of(completed(summary), {m["name"]: SimpleNamespace(**m) for m in summary["mixtures"]})[0]
    assert (answer["worth"]["state"], answer["worth"]["title"]) == ("worse", f"Worse than {other}")
    assert answer["worth"]["text"].endswith("Better than uniform.")
    summary["comparisons"][-1] |= {"difference": -0.001, "low": -0.01, "high": 0.01}
    answer = answers_of(completed(summary), {m["name"]: SimpleNamespace(**m) for m in summary["mixtures"]})[0]
    assert answer["worth"]["state"] == ("same" if other == "uniform_equal_cost" else "better")


def test_a_newer_schema_is_named():
    with pytest.raises(InputError, match="schema should be at most 2, found 3: a newer mixwright wrote it"):
        render(realistic() | {"schema": 3})


@pytest.mark.parametrize("part", ["schema", "version", "title", "seed", "sources", "targets", "searches", "mixtures"])
def test_a_missing_part_is_named(part):
    summary = realistic()
    del summary[part]
    with pytest.raises(InputError, match=f"{part} should be .*, found nothing"):
        render(summary)


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("searches", 1, "gap"), None, r"searches\[1\]\.gap should be a finite number, found nothing"),
        (("searches", 0, "gap"), float("nan"), r"searches\[0\]\.gap should be a finite number, found nan"),
        (("searches", 0, "interval"), [[0, 1]], r"searches\[0\]\.interval should be one \[low, high\] per source"),
        (("searches", 0, "improvement"), {"over": "uniform"}, r"searches\[0\]\.improvement\.estimate should be"),
        (("searches", 0, "mixture"), "?", r"searches\[0\]\.mixture should be the name of one of the mixtures"),
        (("mixtures", 0, "weights"), [1.0], r"mixtures\[0\]\.weights should be one finite number >= 0 per source"),
        (("mixtures", 0, "weights"), [True] * 5, r"mixtures\[0\]\.weights"),
        (("sources", 1, "name"), "stdlib code", r"sources\[1\]\.name should be a name that is used once"),
        (("runs", 2, "loss"), {"tutorial": "low"}, r"runs\[2\]\.loss should be an object of finite numbers"),
        (("runs", 0, "curve"), [{"step": 1}], r"runs\[0\]\.curve\[0\]\.loss should be"),
        (("runs", 0), 3, r"runs\[0\] should be an object, found 3"),
        (("comparisons", 0, "over"), None, r"comparisons\[0\]\.over should be a text"),
        (("cost", "share"), "much", r"cost\.share should be a finite number"),
        (("sources",), "abc", "sources should be a list"),
        (("title",), 3, "title should be a text, found 3"),
    ],
)
def test_a_wrong_field_is_named(path, value, message):
    summary = copy.deepcopy(realistic())
    inner = summary
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    with pytest.raises(InputError, match=message):
        render(summary)


@pytest.mark.parametrize("summary", [[], None, "text", {}])
def test_what_is_no_summary_is_refused(summary):
    with pytest.raises(InputError):
        render(summary)


def test_writing_is_the_rendering_and_leaves_the_summary_alone(tmp_path):
    summary = realistic()
    before = copy.deepcopy(summary)
    path = write("search", summary, tmp_path / "new" / "report.html")
    assert path == tmp_path / "new" / "report.html"
    assert path.read_text(encoding="utf-8") == render(before)
    assert summary == before
    assert path.stat().st_size < 2_600_000


def test_a_refused_summary_leaves_the_old_page(tmp_path):
    path = tmp_path / "report.html"
    path.write_text("old")
    with pytest.raises(InputError):
        write("search", {"schema": 9}, path)
    assert path.read_text() == "old"


@pytest.mark.parametrize("package", ["jinja2", "plotly"])
def test_a_missing_package_is_named(package, monkeypatch):
    page._library.cache_clear()
    page._environment.cache_clear()
    for name in [name for name in sys.modules if name.split(".")[0] == package]:
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.setitem(sys.modules, f"{package}.offline", None)
    with pytest.raises(MissingExtraError, match=rf"'{package}'.*mixwright\[report\]"):
        render(realistic())


def test_importing_the_room_loads_neither_jinja_nor_plotly():
    code = "import sys, mixwright.report; assert not {'jinja2', 'plotly'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_our_own_script_and_style_cannot_end_their_element():
    for name in ("page.js", "style.css"):
        text = (Path(page.__file__).parent / name).read_text(encoding="utf-8")
        assert "</" not in text


def test_notes_of_the_run_are_shown_as_text():
    text = render({**realistic(), "notes": ["expected: mostly <code>"]})
    assert "expected: mostly &lt;code&gt;" in text


@pytest.mark.parametrize("name", ["search", "comparison", "training", "preference", "runs"])
def test_a_template_uses_each_macro_that_it_imports(name):
    text = (Path(page.__file__).parent / name / "page.html").read_text(encoding="utf-8")
    _, names, rest = re.split(r'from "macros.html" import (.*) %}', text, maxsplit=1)
    assert [macro for macro in names.split(", ") if f"{macro}(" not in rest] == []
