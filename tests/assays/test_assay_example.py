import runpy
from pathlib import Path

import numpy as np
import pytest

EXAMPLE = Path(__file__).parents[2] / "examples" / "assays_in_python.py"


def test_the_python_example_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rng = np.random.default_rng(0)
    lines = ["smiles,target,twin,other"]
    for i in range(160):
        amine, chain = i % 2, 1 + i // 8
        text = "C" * chain + ("N" if amine else "O") + "C" * (i // 2 % 4)
        flips = rng.random(3) < [0.1, 0.2, 0.5]
        lines.append(f"{text},{amine ^ flips[0]:d},{amine ^ flips[1]:d},{amine ^ flips[2]:d}")
    lines.append("not a molecule,1,1,1")
    path = tmp_path / "assays.csv"
    path.write_text("\n".join(lines) + "\n")
    runpy.run_path(str(EXAMPLE))["main"](path, "target", trees=5, seeds=(0,))
    printed = capsys.readouterr().out
    assert "target_alone" in printed
    assert "over uniform" in printed or "than uniform" in printed
    own = float(printed.strip().splitlines()[-1].removeprefix("your own model"))
    assert own > 0.7  # the share of 1 is about a half
