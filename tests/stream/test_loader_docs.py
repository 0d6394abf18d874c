"""The quick start of the documentation runs as it stands."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="the loader needs torch")


def test_the_quick_start_runs(tmp_path, monkeypatch, capsys):
    text = (Path(__file__).parents[2] / "docs" / "stream.md").read_text(encoding="utf-8")
    code = re.search(r"```python\n(.*?)```", text, re.DOTALL)
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    exec(code[1], names)
    assert json.loads(names["checkpoint"])["plan"]["step"] == 10
    assert names["batch"].inputs.shape == (32, 128)
    assert "web" in capsys.readouterr().out


def test_the_plan_and_the_sources_need_no_torch():
    code = "import sys, mixwright.stream as s; s.open_source, s.Sources, s.PlanSampler; print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "False\n"
    blocked = "import sys; sys.modules['torch'] = None; import mixwright.stream as s; s.MixtureLoader"
    found = subprocess.run([sys.executable, "-c", blocked], capture_output=True, text=True)
    assert "pip install 'mixwright[lm]'" in found.stderr
