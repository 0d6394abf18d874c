"""The command `mixwright cite`: BibTeX from the references in the docstrings."""

from __future__ import annotations

import difflib
import importlib
import inspect
import re
import sys
import unicodedata
from typing import Annotated, Any

import typer

from mixwright.cli.options import Json, Quiet, output_of
from mixwright.cli.output import guarded
from mixwright.errors import InputError
from mixwright.version import __version__

_OWN = f"""@software{{mixwright,
  title = {{{{mixwright: how much of each data source to train on}}}},
  version = {{{__version__}}},
  license = {{Apache-2.0}},
}}"""
_REFERENCE = re.compile(  # AUTHORS, "TITLE", VENUE YEAR, arXiv NUMBER (a remark).
    r'(?P<authors>[^"]+), "(?P<title>[^"]+?),?",? (?P<venue>.*?)'
    r"(?:,? ?arXiv (?P<arxiv>\d{4}\.\d{4,5}))?(?: \([^)]*\))?\.$"
)


def cite(
    context: typer.Context,
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="A strategy or a search, such as doremi. Default: mixwright itself.")
    ] = "mixwright",
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Parse and do `mixwright cite`."""
    output = output_of(context, quiet, as_json)
    with guarded(output):
        entry = bibtex(name)
        output.json({"name": name, "bibtex": entry})
        if not output.as_json:
            sys.stdout.write(entry + "\n")


def bibtex(name: str) -> str:
    """
    Return the BibTeX of the paper that a strategy or a search is from; capitals, hyphens and spaces do not matter.

    Raises
    ------
    InputError
        If there is no such method, or it is from no paper.
    """
    if _plain(name) == "mixwright":
        return _OWN
    methods = _methods()
    names = {_plain(each): each for each in methods}
    if _plain(name) not in names:
        close = [each for each in difflib.get_close_matches(_plain(name), names) if _near(_plain(name), each)]
        hint = f"did you mean {names[close[0]]!r}? " if close else ""
        raise InputError(f"there is no method {name!r}; {hint}Known: mixwright, {', '.join(sorted(methods))}")
    found = names[_plain(name)]
    reference = _reference(methods[found])
    if reference is None:
        raise InputError(f"{found} is from no paper; cite mixwright (mixwright cite)")
    return _entry(reference)


def _methods() -> dict[str, Any]:
    """Return the strategies, wrappers and searches of the library by name."""
    search = importlib.import_module("mixwright.search")
    strategies = importlib.import_module("mixwright.strategies.registry")
    return {**strategies.known(), **{name: getattr(search, name) for name in search.SEARCHES}}


def _reference(method: Any) -> re.Match[str] | None:
    """Return authors, title, venue and arXiv number of the reference in a docstring; None if it has none."""
    text = (inspect.getdoc(method) or "").partition("References\n----------\n")[2]
    return _REFERENCE.match(" ".join(text.partition("\n\n")[0].split()))


def _entry(reference: re.Match[str]) -> str:
    authors, arxiv = reference["authors"], reference["arxiv"]
    year = re.search(r"\b(?:19|20)\d\d\b", reference["venue"])
    of_year = year.group() if year else f"20{arxiv[:2]}"
    venue = re.sub(r"\b(?:19|20)\d\d\b", "", reference["venue"]).strip(" ,")
    fields = {
        "title": f"{{{reference['title']}}}",
        "author": authors.replace(" et al.", " and others").replace(", ", " and "),
        **({"booktitle": venue} if venue else {}),
        "year": of_year,
        **({"eprint": arxiv, "archivePrefix": "arXiv", "url": f"https://arxiv.org/abs/{arxiv}"} if arxiv else {}),
    }
    first = _plain(re.split(r",| et al", authors)[0])
    word = re.split(r"\W+", reference["title"])[0].lower()
    lines = [f"  {field} = {{{value}}}," for field, value in fields.items()]
    return "\n".join([f"@{'inproceedings' if venue else 'misc'}{{{first}{of_year}{word},", *lines, "}"])


def _near(word: str, name: str) -> bool:
    """Whether a word is a name with at most a third of its letters wrong."""
    changes = difflib.SequenceMatcher(None, word, name).get_opcodes()
    wrong = sum(max(a_end - a, b_end - b) for kind, a, a_end, b, b_end in changes if kind != "equal")
    return wrong <= max(1, len(word) // 3)


def _plain(name: str) -> str:
    ascii_name = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
    return re.sub(r"[-_ ]", "", ascii_name).lower()
