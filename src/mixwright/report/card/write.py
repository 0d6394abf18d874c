"""A card within a README.md: the section between two markers, and the metadata of a new file."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mixwright.errors import InputError
from mixwright.files import atomic_write
from mixwright.files.opening import read_text
from mixwright.files.yaml_text import load_yaml, pyyaml
from mixwright.report.card.parts import Teller

BEGIN = "<!-- mixwright:begin (written by `mixwright show --card`; changes up to the end of the section are lost) -->"
END = "<!-- mixwright:end -->"
_MARK = re.compile(r"^<!-- mixwright:(begin|end)\b.*-->[ \t\r]*$", re.MULTILINE)
_HEAD = re.compile(r"---[ \t]*\r?\n(.*?)^---[ \t]*(?:\r?\n|\Z)", re.DOTALL | re.MULTILINE)


def marked(section: str) -> str:
    """Return a section between the markers by which it is found again."""
    return f"{BEGIN}\n\n{section.strip()}\n\n{END}\n"


def write_card(section: str, path: Path | str, config: Mapping[str, Any] | None = None) -> list[str]:
    """
    Write a section into a README.md, and return what is worth knowing.

    A new file gets metadata with the data sets of the hub. In a file that is there, only the section between the
    markers is replaced; without markers it is added at the end. Written twice, the file is the same.

    Parameters
    ----------
    section : str
        What `model_card` returned.
    path : Path or str
        A file whose name ends in .md.
    config : mapping or None
        What `config.yaml` of the run holds.

    Returns
    -------
    list of str
        Data sets that the metadata of a file that was there does not name.

    Raises
    ------
    InputError
        The path is no Markdown file, or its markers are not a pair. The file is then as it was.
    """
    path, known = Path(path), Teller(config or {}).hub_datasets()
    _check(path)
    if not path.exists():
        _replace(path, f"{_metadata(known)}{marked(section)}")
        return []
    text = read_text(path, "a README.md", "save it as UTF-8")
    _replace(path, _with(text, marked(section), path))
    named = _named(text)
    absent = ", ".join(name for name in known if name not in named)
    found = ", ".join(named) or "none"
    return [f"datasets: in the metadata of {path} should name {absent}, found {found}; add it there"] if absent else []


def _check(path: Path) -> None:
    """Raise InputError if a path is no Markdown file."""
    if path.is_dir():
        found, advice = f"the folder {path}", path / "README.md"
    elif path.suffix.lower() != ".md":
        found, advice = f"{path}", path.with_name("README.md")
    else:
        return
    raise InputError(f"a card should be written into a Markdown file (.md), found {found}; give {advice}")


def _replace(path: Path, text: str) -> None:
    with atomic_write(path.resolve()) as handle:  # a link stays one
        handle.write(text)


def _with(text: str, section: str, path: Path) -> str:
    """Return a text with the section in place of the one between the markers, or at its end."""
    marks = list(_MARK.finditer(text))
    if not marks:
        return f"{text.rstrip()}\n\n{section}" if text.strip() else section
    if [mark[1] for mark in marks] != ["begin", "end"]:
        raise InputError(
            f"{path} should have one line `<!-- mixwright:begin ... -->` and then one `{END}`, found "
            f"{' '.join(mark[1] for mark in marks)}; remove them, or put back what is missing"
        )
    return text[: marks[0].start()] + section.rstrip("\n") + text[marks[1].end() :]


def _metadata(datasets: Sequence[str]) -> str:
    """Return the metadata of a new card, which the hub reads."""
    value: dict[str, Any] = {**({"datasets": list(datasets)} if datasets else {}), "tags": ["data-mixture"]}
    return f"---\n{pyyaml().safe_dump(value, sort_keys=False, allow_unicode=True)}---\n\n"


def _named(text: str) -> list[str]:
    """Return the data sets that the metadata of a card names."""
    found = _HEAD.match(text)
    if found is None:
        return []
    try:
        value = load_yaml(found[1])
    except pyyaml().YAMLError:
        return []
    named = value.get("datasets") if isinstance(value, dict) else None
    return [str(one) for one in (named if isinstance(named, list) else [named] if named else [])]
