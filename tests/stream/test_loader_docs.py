"""What the stream's documentation says about what it needs. (Its examples are run by tests/docs.)"""

import subprocess
import sys

import pytest

pytest.importorskip("torch", reason="the loader needs torch")


def test_the_plan_and_the_sources_need_no_torch():
    code = "import sys, mixwright.stream as s; s.open_source, s.Sources, s.PlanSampler; print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "False\n"
    blocked = "import sys; sys.modules['torch'] = None; import mixwright.stream as s; s.MixtureLoader"
    found = subprocess.run([sys.executable, "-c", blocked], capture_output=True, text=True)
    assert "pip install 'mixwright[lm]'" in found.stderr
