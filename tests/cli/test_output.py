import io
import time

import pytest
from rich.console import Console

from mixwright.cli.output import Output, StageLines


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    clock = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    return clock


def test_lines_say_what_a_run_will_take_and_how_long_the_rest_of_a_stage_may(now: list[float]) -> None:
    text = io.StringIO()
    lines = StageLines(Console(file=text, width=40))
    lines("plan", 0, 1, "3 proxies, 8 final runs of 300 tokens each, which is a long line")
    lines("proxies", 200, 1000, "web")  # done by a former command
    now[0] += 30
    lines("proxies", 400, 1000, "web")
    now[0] += 5
    lines("proxies", 500, 1000, "web")  # too soon for another line
    now[0] += 25
    lines("proxies", 600, 1000, "code")
    lines("proxies", 1000, 1000)
    assert text.getvalue().splitlines() == [
        "plan: 3 proxies, 8 final runs of 300 tokens each, which is a long line",
        "proxies: 20 % web",
        "proxies: 40 % web, about 1 min 30 s left",
        "proxies: 60 % code, about 1 min 00 s left",
        "proxies: done",
    ]


def test_the_start_of_processes_is_no_rate(now: list[float]) -> None:
    text = io.StringIO()
    lines = StageLines(Console(file=text, width=40))
    for share, seconds in ((0, 0), (1, 30), (500, 30)):
        now[0] += seconds
        lines("searches", share, 1000, "0 of 2")
    assert text.getvalue().splitlines() == [
        "searches: 0 % 0 of 2",
        "searches: 0 % 0 of 2",
        "searches: 50 % 0 of 2, about 1 min 00 s left",
    ]


def test_bars_say_what_a_run_will_take() -> None:
    output, text = Output(quiet=False, as_json=False), io.StringIO()
    output.stderr = Console(file=text, force_terminal=True, width=120)
    with output.bars() as progress:
        progress("plan", 0, 1, "3 proxies")
        progress("proxies", 1, 2, "web")
    assert "plan: 3 proxies" in text.getvalue()
