"""Files that the pages for contributors name are there."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "mixwright"


def named(page: str) -> list[str]:
    """Return the files and folders that a page names outside of its code blocks."""
    text = re.sub(r"```.*?```", "", (ROOT / page).read_text(encoding="utf-8"), flags=re.DOTALL)
    return sorted(set(re.findall(r"`([\w./-]+(?:\.(?:py|html|css|js|md|toml)|/))`", text)))


def is_there(path: str) -> bool:
    """Whether a path is one of the repository or of its source; a name alone may be anywhere in the source."""
    return (ROOT / path).exists() or (SOURCE / path).exists() or ("/" not in path[:-1] and any(SOURCE.rglob(path)))


@pytest.mark.parametrize("page", ["docs/architecture.md", "CONTRIBUTING.md"])
def test_a_file_that_a_page_names_is_there(page):
    paths = named(page)
    assert paths
    assert [path for path in paths if not is_there(path)] == []


def test_the_architecture_names_every_room():
    rooms = {f"{path.name}/" if path.is_dir() else path.name for path in SOURCE.iterdir()}
    rooms -= {"__init__.py", "__init__.pyi", "__pycache__/", "py.typed"}
    assert rooms <= set(named("docs/architecture.md"))
