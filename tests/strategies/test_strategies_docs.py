"""What docs/strategies.md shows runs, and its figures are those of the code."""

import re
import sys
import types
from pathlib import Path

import numpy as np
import pytest
import yaml

from mixwright import Every, Guard, Observation, PiKE, Warmup
from mixwright.strategies import from_config

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "strategies.md").read_text(encoding="utf-8")


def test_the_code_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    quick, automixalign, own, suite = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
    names: dict = {"__name__": "docs"}
    exec(quick, names)
    assert names["mixture"].weights_for(27).sum() == 1
    assert (tmp_path / "runs" / "first" / "decisions.jsonl").exists()
    exec(automixalign, names)
    assert names["mixture"].weights_for(1).sum() == pytest.approx(1)
    assert names["factors"].shape == (12,)
    module = types.ModuleType("docs_strategies")
    monkeypatch.setitem(sys.modules, "docs_strategies", module)
    exec(own + suite, module.__dict__)
    for check in module.STRATEGY_CHECKS:
        module.test_by_loss(check)


def test_the_yaml_is_what_it_says():
    text = re.search(r"```yaml\n(.*?)```", TEXT, re.DOTALL)
    made = from_config(yaml.safe_load(text[1])["strategy"])
    assert made == Guard(Warmup(Every(PiKE(rule="restoring", floor=0.03), 20), 100))


def test_the_table_of_winner_takes_all():
    def path(rule, norms, updates=400, off=0.0):
        rng, strategy, out = np.random.default_rng(0), PiKE(rule=rule), []
        state = strategy.init(np.full(3, 1 / 3))
        for step in range(updates):
            seen = np.array(norms) * (1 + off * rng.normal(size=3))
            state = strategy.update(state, Observation(step, 32, [8] * 3, grad_sq_norm=seen, grad_variance=[0] * 3))
            out.append(strategy.weights(state))
        return np.array(out)

    for norms, updates in (([2, 1, 1], 20), ([1, 0.9, 0.8], 118)):
        steps = path("exponentiated", norms)
        assert int(np.flatnonzero(steps[:, 0] > 0.9)[0]) + 1 == updates
        np.testing.assert_allclose(steps[-1], [0.933, 0.033, 0.033], atol=6e-4)
    for rule in ("restoring", "optimal"):
        np.testing.assert_allclose(path(rule, [2, 1, 1])[-1], [0.6, 0.2, 0.2], atol=6e-4)
        np.testing.assert_allclose(path(rule, [1, 0.9, 0.8])[-1], [0.405, 0.339, 0.256], atol=6e-4)
    np.testing.assert_allclose(path("exponentiated", [1, 1, 1], off=0.7)[-1], [0.056, 0.292, 0.652], atol=6e-4)
    np.testing.assert_allclose(path("restoring", [1, 1, 1], off=0.7)[-1], [0.307, 0.345, 0.348], atol=6e-4)


def test_the_tables_are_those_of_today():
    """They are made from the classes, which say what a strategy costs and when it goes wrong."""
    sys.path.append(str(ROOT / "docs"))
    from strategy_table import table, with_tables

    assert with_tables(TEXT) == TEXT, "run python docs/strategy_table.py"
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in table().splitlines()[2:]]
    assert {row[0].strip("`") for row in rows} >= {"DoReMi", "ADO", "PiKE", "UniMax"}
    assert all(len(row) == 7 and all(row) for row in rows), rows
    assert {row[0]: row[4] for row in rows}["`Static`"] == "1"
    assert (
        len([row for row in rows if re.fullmatch(r"\d\.\d\d(, \d\.\d\d)*", row[4])]) >= 8
    )  # measured, in each setting
    assert next(row for row in rows if row[0] == "`AMAS`")[2] == "draws (iid)"
