"""The example of the documentation runs as it stands."""

import re
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="gradient statistics need torch")


def test_the_example_runs():
    text = (Path(__file__).parents[2] / "docs" / "gradients.md").read_text(encoding="utf-8")
    names: dict = {}
    exec(re.search(r"```python\n(.*?)```", text, re.DOTALL)[1], names)
    assert names["mixture"].state_dict()["decisions"] == 2
    assert names["stats"].notes == ()
    found = names["stats"]._average
    assert np.isfinite(found.gram).all()
    assert np.all(found.variance > 0)
