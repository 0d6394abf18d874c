"""Plain words: phrases that readers had to read twice are gone from everything that they read."""

import io
import re
import tokenize
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
RETIRED = re.compile(
    r"\btold\b|\bis said\b|\balike\b|\banew\b|\bmend(s|ed|ing)?\b|\bspoil[ts]?\b|\bso many\b|\bbrought along\b"
    r"|\bof which\b[^.]*\bis kept\b|\b(is|are) (that|those) of\b|\basked was\b|\bgiven what it may\b",
    re.IGNORECASE,
)
PAGES = [
    *(ROOT / name for name in ("README.md", "CHANGELOG.md", "CONTRIBUTING.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
    *sorted((ROOT / "benchmarks" / "results").glob("*.md")),
    *sorted(path for path in (ROOT / "examples").iterdir() if path.is_file()),
]
SOURCE = ROOT / "src" / "mixwright"
CODE = [path for path in sorted(SOURCE.rglob("*")) if path.suffix in (".py", ".html", ".js", ".css")]


def retired(text: str) -> list[str]:
    """Return the retired phrases in a text, whatever its line breaks are."""
    return sorted({" ".join(match.group().split()) for match in RETIRED.finditer(re.sub(r"\s+", " ", text))})


def words_of_code(path: Path) -> str:
    """Return the strings and comments of a Python file, a line each; without bytes, and names in backticks."""
    kinds = {tokenize.STRING, tokenize.COMMENT, getattr(tokenize, "FSTRING_MIDDLE", tokenize.STRING)}
    tokens = tokenize.generate_tokens(io.StringIO(path.read_text(encoding="utf-8")).readline)
    texts = [token.string for token in tokens if token.type in kinds and token.string[:1] != "b"]
    return re.sub(r"`[^`\n]*`", "", "\n".join(texts))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_page_is_in_plain_words(page):
    assert not retired(page.read_text(encoding="utf-8"))


def test_the_words_of_the_code_are_plain():
    found = {}
    for path in CODE:
        text = words_of_code(path) if path.suffix == ".py" else path.read_text(encoding="utf-8")
        found[str(path.relative_to(ROOT))] = retired(text)
    assert len(found) > 10
    assert not {path: phrases for path, phrases in found.items() if phrases}


def test_a_retired_phrase_is_found():
    assert retired("The gap is that\nof the search, and models are trained alike.") == ["alike", "is that of"]
    assert not retired("a told_source_loss of each mended_row")


def test_the_readme_is_short_and_its_sentences_too():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 120
    prose = re.sub(r"```.*?```|<!--.*?-->|^\|.*?$|^#.*?$", "\n\n", text, flags=re.DOTALL | re.MULTILINE)
    prose = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", prose)
    sentences = [s.split() for part in re.split(r"\n\s*\n", prose) for s in re.split(r"(?<=[.?!:])\s+", part)]
    lengths = sorted(len(words) for words in sentences if len(words) > 2)
    assert lengths[len(lengths) // 2] <= 14
