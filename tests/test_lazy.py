"""Names that are imported on first use are there in a fresh process, and importing the package stays light."""

import subprocess
import sys
from pathlib import Path

import pytest

import mixwright
from forked import in_a_fresh_process, printed


def fresh(code: str) -> str:
    return in_a_fresh_process(printed, code)


def test_importing_the_package_loads_numpy_at_most() -> None:
    code = "import mixwright, sys; print(*sorted({m.split('.')[0] for m in sys.modules}))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"torch", "transformers", "scipy", "pydantic", "jinja2", "pyarrow"} & set(loaded)


def test_every_room_is_an_attribute_of_a_fresh_import() -> None:
    code = "import mixwright; print(mixwright.report.write_what_if, mixwright.strategies.PiKE, mixwright.search, "
    code += "mixwright.integrations.__name__, mixwright.preference.__name__, mixwright.assays, mixwright.formats)"
    assert "write_what_if" in fresh(code)


@pytest.mark.parametrize(
    "room",
    ["mixwright", "mixwright.stream", "mixwright.preference", "mixwright.integrations"],
)
def test_every_public_name_is_there(room: str) -> None:
    code = f"import {room} as room\nfor name in room.__all__: getattr(room, name)\nprint(len(room.__all__))"
    assert int(fresh(code)) > 0


def test_another_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'mixwright' has no attribute 'nothing'"):
        mixwright.nothing  # noqa: B018


BLOCKED = """
import sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == {missing!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Blocked())
for name in [name for name in sys.modules if name.split(".")[0] in ({missing!r}, "transformers")]:
    del sys.modules[name]
try:
    from mixwright import {name}
except ImportError as error:
    print(error)
"""


@pytest.mark.parametrize("name", ["use_mixture", "PreferenceTrainer"])
@pytest.mark.parametrize("missing", ["torch", "transformers", "accelerate"])
def test_a_missing_library_is_one_line_that_says_what_to_install(name: str, missing: str) -> None:
    pytest.importorskip(missing)
    message = f"this needs the package {missing!r}; install it with: pip install 'mixwright["
    found = fresh(BLOCKED.format(missing=missing, name=name)).strip()
    assert found.startswith(message)
    assert "\n" not in found


BROKEN = """
import sys
sys.path.insert(0, {place!r})
try:
    {code}
except ImportError as error:
    print(error)
"""


@pytest.mark.parametrize(
    ("package", "body", "code", "why"),
    [
        ("torchtitan", "import triton_of_gpus", "import mixwright.integrations.torchtitan", "named 'triton_of_gpus'"),
        ("torchtitan", "", "import mixwright.integrations.torchtitan", "named 'torchtitan.components'"),
        (
            "lightgbm",
            "raise OSError('libgomp.so.1')",
            "mixwright.runs.laws.trees.TreesLaw()._model(None)",
            "libgomp.so.1",
        ),
    ],
)
def test_a_library_that_is_there_and_cannot_be_imported_is_one_line_that_says_why(
    package: str, body: str, code: str, why: str, tmp_path: Path
) -> None:
    pytest.importorskip("torch" if package == "torchtitan" else package)
    (tmp_path / package).mkdir()
    (tmp_path / package / "__init__.py").write_text(body + "\n")
    own = f"sys.modules.pop({package!r}, None); import mixwright.runs.laws.trees; {code}"
    found = fresh(BROKEN.format(place=str(tmp_path), code=own)).strip()
    assert found.startswith(f"the package {package!r} is installed, but could not be imported (")
    assert why in found
    assert "\n" not in found
