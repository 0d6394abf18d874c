"""What the files of a run say of it while it goes, and its page while it goes."""

import json
import os
import time
import warnings
from contextlib import suppress
from itertools import pairwise
from pathlib import Path

import pytest

from mixwright import GroupDRO, Mixture, Observation
from mixwright.decisions import TRAINER_RESTS
from mixwright.errors import AlarmWarning, InputError
from mixwright.experiment.core.stages import open_run
from mixwright.experiment.live import logs, telling
from mixwright.experiment.live.logs import GrowingLog, LogCourse
from mixwright.experiment.live.look import Watched
from mixwright.experiment.live.pace import Rests
from mixwright.files.claims import Claim, Here
from mixwright.files.holder import ClaimLost

CONFIG = "# Go on with: mixwright train THIS_FILE --run THIS_FOLDER\nsources: {a: a.jsonl, b: b.jsonl}\n"


def append(path: Path, *lines: object, end: str = "\n") -> None:
    with open(path, "a", encoding="utf-8") as handle:
        handle.write("\n".join(json.dumps(line) for line in lines) + end)


def step(n: int, **losses: float) -> dict:
    return {"step": n, "loss": sum(losses.values()) / len(losses), "source_loss": losses}


def decision(begins: int, weights: list[float], **run: object) -> dict:
    return {"begins": begins, "weights": weights, "observation": {"step": begins - 1}, **({"run": run} if run else {})}


def made(folder: Path) -> Path:
    """A run that another machine is at, with two steps and one decision."""
    folder.mkdir()
    (folder / ".mixwright-run").touch()
    (folder / "config.yaml").write_text(CONFIG)
    append(folder / "metrics.jsonl", step(1, a=4.0, b=2.0), step(2, a=3.0, b=2.0))
    append(folder / "decisions.jsonl", decision(3, [0.25, 0.75], sources=["a", "b"], prior=[0.5, 0.5]))
    claim = Claim(folder / ".head", where=Here("another machine", "node7", 17, "1"))
    claim.about = {"title": "Two sources", "note": "loss 2.5", "stages": {"train": [1, 8, 70.0]}}
    assert claim.try_take()
    return folder


def there(folder: Path) -> dict[str, tuple[int, float]]:
    return {str(p): (p.stat().st_size, p.stat().st_mtime_ns) for p in sorted(folder.rglob("*"))} | {
        str(folder): (0, folder.stat().st_mtime_ns)
    }


def test_a_log_gives_whole_lines_once_and_begins_anew_where_it_was_cut(tmp_path):
    path = tmp_path / "metrics.jsonl"
    log = GrowingLog(path)
    assert log.more() == (False, [])
    append(path, {"step": 1}, {"step": 2})
    path.write_bytes(path.read_bytes() + b'{"step": 3')
    assert log.more() == (True, [{"step": 1}, {"step": 2}])
    path.write_bytes(path.read_bytes() + b"}\nno JSON\n")
    assert log.more() == (False, [{"step": 3}])
    os.truncate(path, len(b'{"step": 1}\n'))
    assert log.more() == (True, [{"step": 1}])


def test_of_a_long_log_samples_are_read_the_first_line_and_the_last_one_among_them(tmp_path, monkeypatch):
    monkeypatch.setattr(logs, "MOST_BYTES", 2000)
    path = tmp_path / "metrics.jsonl"
    append(path, *({"step": n, "filling": "x" * (n % 50)} for n in range(5000)))
    log = GrowingLog(path)
    steps = [line["step"] for line in log.more()[1]]
    assert (steps[0], steps[-1]) == (0, 4999)
    assert 150 <= len(steps) <= 203
    assert steps == sorted(steps)
    append(path, {"step": 5000})
    assert log.more() == (False, [{"step": 5000}])


@pytest.mark.parametrize("named", [[777, 778, 4001], [0, 4999], []])
def test_of_a_long_log_no_line_with_the_mark_is_left_out(tmp_path, monkeypatch, named):
    monkeypatch.setattr(logs, "MOST_BYTES", 2000)
    path = tmp_path / "decisions.jsonl"
    log = GrowingLog(path, mark=b'"run": {')
    for first in (0, 5000):
        lines = [{"step": n, "filling": "x" * (n % 50)} for n in range(first, first + 5000)]
        append(path, *(line | ({"run": {}} if n in named else {}) for n, line in enumerate(lines)))
        with open(path, "a") as handle:
            handle.write('{"step": 0')
        found = log.more()[1]
        assert [line["step"] - first for line in found if "run" in line] == named
        assert [line["step"] for line in found] == sorted({line["step"] for line in found})
        assert (found[0]["step"], found[-1]["step"]) == (first, first + 4999)
        os.truncate(path, path.stat().st_size - len('{"step": 0'))


def test_of_a_long_log_weights_have_the_names_of_their_time(tmp_path, monkeypatch):
    run = made(tmp_path / "run")
    with monkeypatch.context() as short:
        short.setattr(logs, "MOST_BYTES", 2000)
        for names in (["a", "c"], ["b", "c"]):  # as many after each change
            start = 5000 if names[0] == "b" else 4
            decisions = [decision(start + n, [0.25, 0.75]) for n in range(4000)]
            append(run / "decisions.jsonl", decisions[0] | {"run": {"sources": names, "prior": [0.5, 0.5]}})
            append(run / "decisions.jsonl", *decisions[1:])
        course = Watched(run).look().weight_course
    for at, weights in zip(course["steps"], course["values"], strict=True):
        assert list(weights) == (["a", "b"] if at < 4 else ["a", "c"] if at < 5000 else ["b", "c"])
    assert max(course["steps"]) == 8999


def test_a_course_halves_its_points_and_keeps_means(monkeypatch):
    monkeypatch.setattr(logs, "POINTS", 4)
    losses, weights = LogCourse(held=False), LogCourse(held=True)
    for n in range(1, 7):
        losses.add(n, {"a": float(n)})
        weights.add(n, {"a": float(n)})
    assert losses.steps == [2, 4, 6]
    assert losses.values == [{"a": 1.5}, {"a": 3.5}, {"a": 5.5}]
    assert weights.values == [{"a": 2.0}, {"a": 4.0}, {"a": 6.0}]
    losses.add(4, {"a": 9.0})  # resumed there
    assert losses.steps == [2, 4]
    assert losses.last == {"a": 9.0}


def test_looking_says_weights_losses_and_how_far_and_writes_nothing(tmp_path):
    run = made(tmp_path / "run")
    watched, before = Watched(run), there(run)
    seen = watched.look()
    assert (seen.state, seen.host, seen.title, seen.command) == ("running", "node7", "Two sources", "train")
    assert seen.weights == {"a": 0.25, "b": 0.75}
    assert seen.losses == {"a": 3.0, "b": 2.0}
    assert seen.loss_course == {"steps": [1, 2], "values": [{"a": 4.0, "b": 2.0}, {"a": 3.0, "b": 2.0}]}
    assert seen.stages == {"train": [2, 8, 70.0]}  # the log is newer than the claim
    assert seen.weight_course["steps"] == [0, 3]
    assert seen.weight_course["values"][0] == {"a": 0.5, "b": 0.5}
    assert there(run) == before
    append(run / "metrics.jsonl", step(3, a=1.0, b=1.0))
    append(run / "metrics.jsonl", {"step": 3, "seconds": 1.5})  # of the same step, without losses
    append(run / "decisions.jsonl", decision(4, [0.2, 0.3, 0.5], sources=["a", "b", "c"]), decision(5, [0.5, 0.5]))
    seen = watched.look()
    assert (seen.step, seen.loss) == (3, 1.0)
    assert seen.weights == {"a": 0.2, "b": 0.3, "c": 0.5}  # the last line is of sources that nobody named
    assert seen.losses == {"a": 1.0, "b": 1.0}
    json.dumps(seen.to_json(), allow_nan=False)
    (run / ".mixwright-run").unlink()
    with pytest.raises(InputError, match="found that it is gone"):
        watched.look()


def test_damaged_lines_are_left_out_and_counted(tmp_path):
    run = made(tmp_path / "run")
    first = (run / "decisions.jsonl").read_text()
    (run / "decisions.jsonl").write_text("")
    append(run / "decisions.jsonl", decision(5, [0.5, 0.5]), decision(7, [0.5, 0.5]))  # without the line of the names
    seen = (watched := Watched(run)).look()
    assert (seen.weights, seen.losses) == ({}, {"a": 3.0, "b": 2.0})
    assert seen.left_out == "2 damaged lines of decisions.jsonl"
    (run / "decisions.jsonl").write_text("")
    assert watched.look().left_out == ""
    (run / "decisions.jsonl").write_text(first)
    wrong = [{"step": 10**400}, {"step": True}, {**step(3, a=1.0), "loss": 10**400}, step(3, a=float("nan")), [], "x"]
    append(run / "metrics.jsonl", *wrong)
    append(run / "decisions.jsonl", decision(4, [0.5, float("inf")]), decision(5, [0.5]), decision(6, [0.5, 0.5]))
    seen = watched.look()
    assert (seen.step, seen.loss, seen.weight_course["steps"]) == (2, 2.5, [0, 3, 6])
    assert seen.left_out == "6 damaged lines of metrics.jsonl; 2 damaged lines of decisions.jsonl"
    assert watched.look().left_out == seen.left_out


def test_what_is_damaged_in_a_claim_is_left_out(tmp_path):
    run = made(tmp_path / "run")
    owner = json.loads((run / ".head" / "claim.1").read_text())
    stages = {"a": [1, 2], "b": [1, "2", None], "train": [1, 8, 10**400]}
    about = {"title": ["x"], "plan": 3, "note": "loss 2", "stages": stages}
    (run / ".head" / "claim.1").write_text(json.dumps(owner | {"about": about}))
    seen = Watched(run).look()
    assert (seen.title, seen.plan, seen.note) == ("The run in run", "", "loss 2")
    assert (seen.state, seen.stages) == ("running", {"train": [2, 8, None]})
    (run / ".head" / "claim.1").write_text(json.dumps(owner | {"host": ["x"]}))
    seen = Watched(run).look()
    assert (seen.state, seen.host, seen.stages) == ("unknown", "", {})


def test_a_run_is_finished_stopped_or_of_an_earlier_version(tmp_path):
    run = made(tmp_path / "run")
    claim = Claim(run / ".head", where=Here("another machine", "node7", 17, "1"))
    claim.about = {"ended": "stopped", "why": "the disk is full"}
    (run / ".head" / "claim.1").unlink()
    assert claim.try_take()
    claim.release()
    seen = Watched(run).look()
    assert (seen.state, seen.why, seen.goes) == ("stopped", "the disk is full", False)
    (run / "summary.json").write_text(json.dumps({"title": "Done"}))
    assert Watched(run).look().state == "stopped"  # what is there is of a former command
    for path in (run / ".head").iterdir():
        path.unlink()
    assert (Watched(run).look().state, Watched(run).look().title) == ("finished", "Done")
    (run / "summary.json").unlink()
    assert Watched(run).look().state == "unknown"


@pytest.mark.parametrize("found", ["none", "a file", "another folder"])
def test_what_is_no_run_is_refused(tmp_path, found):
    path = tmp_path / "run"
    if found == "a file":
        path.write_text("")
    elif found == "another folder":
        path.mkdir()
    with pytest.raises(InputError, match=f"should be the folder of a run, found {found}"):
        Watched(path)


def test_the_folder_of_a_trainer_is_watched_by_its_decisions_and_checkpoints(tmp_path):
    mixture = Mixture(["web", "law"], GroupDRO(), log=tmp_path / "decisions.jsonl")
    mixture.observe(Observation(step=9, batch_size=4, counts=[2, 2], loss=[2.0, 3.0]))
    watched = Watched(tmp_path)
    seen = watched.look()
    assert (seen.state, seen.step, seen.stages, seen.losses) == ("running", 10, {}, {"web": 2.0, "law": 3.0})
    assert list(seen.weights.values()) == mixture.weights_for(1000).tolist()
    checkpoint = tmp_path / "checkpoint-12" / "trainer_state.json"
    checkpoint.parent.mkdir()
    checkpoint.write_text(json.dumps({"global_step": 12, "max_steps": 20}))
    seen = watched.look()
    assert (seen.state, seen.step, seen.stages) == ("running", 12, {"train": [12, 20, None]})
    for path in (checkpoint, tmp_path / "decisions.jsonl"):
        os.utime(path, (0, time.time() - 2 * TRAINER_RESTS))
    seen = watched.look()
    assert (seen.state, seen.why) == ("stopped", "nothing was written for 20 min 00 s")
    checkpoint.write_text(json.dumps({"global_step": 20, "max_steps": 20}))
    assert Watched(tmp_path).look().state == "finished"
    checkpoint.write_text(json.dumps({"global_step": 8, "max_steps": 8}))  # and resumed with more steps
    seen = Watched(tmp_path).look()
    assert (seen.state, seen.step, seen.stages) == ("running", 10, {})


@pytest.mark.parametrize("text", ["", "{", "[]", '{"global_step": "x"}'])
def test_a_trainer_before_its_first_decision(tmp_path, text):
    path = tmp_path / "checkpoint-3" / "trainer_state.json"
    path.parent.mkdir()
    path.write_text(text)
    seen = Watched(tmp_path).look()
    assert (seen.state, seen.step, seen.weights) == ("running", None, {})


class Clock:
    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now, self.pages = 100.0, []
        self.cost, self.spent = 0.02, 0.0
        monkeypatch.setattr(telling.time, "monotonic", lambda: self.now)
        monkeypatch.setattr(telling.time, "thread_time", lambda: self.spent)

        def render(kind: str, seen: dict, every: float) -> str:
            self.now += self.cost
            self.spent += self.cost
            self.pages.append((round(self.now, 2), seen["state"], every))
            return f"<p>{seen['state']}"

        monkeypatch.setattr(telling, "render", render)


@pytest.fixture
def clock(monkeypatch):
    return Clock(monkeypatch)


def silent(*args: object) -> None:
    pass


def told(run: Path, former=silent):
    return telling.telling(Claim(run / ".head"), run, "A title", True, former, silent)


def test_the_page_is_written_while_the_run_goes_for_a_hundredth_of_its_time(tmp_path, clock):
    with open_run(tmp_path / "run", CONFIG), told(tmp_path / "run") as progress:
        for n in range(2000):
            clock.now += 0.1
            clock.cost = 0.02 if n < 500 else 0.5
            progress("train", n, 2000, "loss 1")
    times = [when for when, *_ in clock.pages]
    assert times[0] == pytest.approx(102.02, abs=0.11)
    pauses = [b - a for a, b in pairwise(times)]
    assert all(5 <= pause < 5.3 for pause in pauses[:9])
    assert all(pause > 50 for pause in pauses[11:])
    assert len(pauses) == 12
    assert {state for _, state, _ in clock.pages} == {"running"}
    assert (tmp_path / "run" / "report.html").read_text() == "<p>running"


def test_a_rest_counts_the_processor_and_a_busy_machine_less(clock):
    rests = Rests(5, 0.01)
    for spent, took, rest in ((1.0, 9.0, 5), (0.02, 0.3, 5), (0.2, 0.3, 20), (0.02, 3.0, 30), (0.0, 0.0, 5)):
        with rests.counted():
            clock.spent += spent
            clock.now += took
        assert rests.seconds == pytest.approx(rest)


def test_a_run_that_stops_says_so_unless_another_command_has_it(tmp_path, clock):
    run = tmp_path / "run"
    for error, last in ((InputError("no room"), "stopped"), (KeyboardInterrupt(), "stopped"), (ClaimLost, "running")):
        with pytest.raises((InputError, KeyboardInterrupt)), open_run(run, CONFIG), told(run) as progress:  # noqa: PT012
            clock.now += 3
            progress("train", 1, 10)
            raise error if not isinstance(error, type) else error(Claim(run / "x"))
        assert clock.pages[-1][1] == last
    assert Watched(run).look().state == "stopped"
    with pytest.raises(InputError), open_run(run, CONFIG), told(run):  # noqa: PT012
        (run / "report.html").write_text("Running")  # of a command that was killed
        raise InputError("no room")
    assert (run / "report.html").read_text() == "<p>stopped"
    with open_run(run, CONFIG), told(run) as progress:  # nobody is left with that page
        progress("train", 1, 10)
        assert (run / "report.html").read_text() == "<p>running"


def test_why_a_run_stopped_names_addresses_as_the_terminal_does(tmp_path, monkeypatch):
    monkeypatch.setenv("MIXWRIGHT_CACHE", str(tmp_path / "cache"))
    run, copy = tmp_path / "run", tmp_path / "cache" / "views" / ("0" * 12) / "s3" / "bucket" / "a.jsonl"
    claim = Claim(run / ".head")
    with suppress(InputError), open_run(run, CONFIG), telling.telling(claim, run, "", False, silent, silent):
        raise InputError(f"{copy}, line 3: no text")
    assert claim.about["why"] == "s3://bucket/a.jsonl, line 3: no text"


def test_the_finished_page_is_the_last_one(tmp_path, clock):
    run = tmp_path / "run"
    with open_run(run, CONFIG), told(run) as progress:
        clock.now += 3
        progress("train", 10, 10)
        (run / "report.html").write_text("<p>finished")
        clock.now += 100
        progress(telling.REPORT, 1, 1)
    assert (run / "report.html").read_text() == "<p>finished"


def test_a_short_command_leaves_the_page_and_a_long_one_that_stops_brings_the_former_one_back(tmp_path, clock):
    run, called = tmp_path / "run", []
    with open_run(run, CONFIG), told(run) as progress:
        progress("train", 1, 10)
    assert not (run / "report.html").exists()
    (run / "summary.json").write_text("{}")
    for seconds, former in ((0, 0), (3, 1)):
        with pytest.raises(InputError), open_run(run, CONFIG), told(run, lambda: called.append(1)) as progress:  # noqa: PT012
            clock.now += seconds
            progress("train", 1, 10)
            raise InputError("stop")
        assert len(called) == former


def test_a_page_that_fails_says_it_once_and_never_takes_the_place_of_the_runs_error(tmp_path, clock, monkeypatch):
    def chart(*args: object, **options: object) -> str:
        raise ZeroDivisionError("of a chart")

    run = tmp_path / "run"
    with pytest.raises(InputError, match="no room"), open_run(run, CONFIG), told(run, chart) as progress:  # noqa: PT012
        clock.now += 3
        progress("train", 1, 10)
        (run / "summary.json").write_text("{}")
        raise InputError("no room")
    monkeypatch.setattr(telling, "render", chart)
    (run / "report.html").write_text("Running")  # of a command that was killed
    (run / "summary.json").unlink()
    with warnings.catch_warnings(record=True) as said, open_run(run, CONFIG), told(run) as progress:
        warnings.simplefilter("always")
        for n in range(3):
            clock.now += 100
            progress("train", n, 10)
    assert [(each.category, str(each.message)) for each in said] == [
        (AlarmWarning, "the page of the run is not written while it goes (ZeroDivisionError: of a chart)")
    ]


def test_a_page_that_cannot_be_written_does_not_stop_the_run(tmp_path, clock):
    run = tmp_path / "run"
    with open_run(run, CONFIG), told(run) as progress:
        (run / "report.html").mkdir()
        clock.now += 3
        progress("train", 1, 10)
        assert clock.pages
