"""`mixwright watch`: a run in the terminal and on the loopback address."""

import http.client
import io
import json
import socket
from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import CliRunner

from mixwright.cli.app import app
from mixwright.cli.watch import command
from mixwright.cli.watch.screen import RunLines, blocks_of, picture
from mixwright.cli.watch.server import PageServer
from mixwright.errors import InputError
from mixwright.experiment.live.look import RunState, Watched
from mixwright.files.claims import Claim

SECRET = "what nobody may read"


@pytest.fixture
def run(tmp_path):
    """A run that this process is at, with its claim; what is beside it and in it must not be served."""
    folder = tmp_path / "run"
    folder.mkdir()
    (tmp_path / "secret.csv").write_text(SECRET)
    (folder / ".mixwright-run").touch()
    (folder / "config.yaml").write_text("# Go on with: mixwright compare THIS_FILE --run THIS_FOLDER\n")
    (folder / "metrics.jsonl").write_text(
        json.dumps({"step": 2, "loss": 1.5, "source_loss": {"a": 1.0, "b": 2.0}}) + "\n"
    )
    seen = {"run": {"sources": ["a", "b"]}, "begins": 2, "weights": [0.25, 0.75], "observation": {}}
    (folder / "decisions.jsonl").write_text(json.dumps(seen) + "\n")
    claim = Claim(folder / ".head")
    claim.about = {"title": "Two sources", "stages": {"tokens": [3, 3, None], "train": [2, 8, 61.0]}}
    assert claim.try_take()
    return folder, claim


def finish(folder: Path, claim: Claim, **summary: object) -> None:
    claim.about = {**claim.about, "ended": "finished", "stages": {"train": [8, 8, None]}}
    claim.release()
    (folder / "summary.json").write_text(json.dumps({"title": "Two sources", **summary}))
    (folder / "report.html").write_text("<p>the finished page")


def watch(*arguments: object):
    return CliRunner().invoke(app, ["watch", *map(str, arguments)])


def test_it_follows_a_run_and_ends_with_it(run, monkeypatch):
    naps = []

    def nap(seconds: float) -> None:
        naps.append(seconds)
        if len(naps) == 2:
            finish(*run)

    monkeypatch.setattr(command.time, "sleep", nap)
    before = sorted(run[0].rglob("*"))
    found = watch(run[0])
    assert (found.exit_code, len(naps)) == (0, 2)
    assert found.stdout.splitlines() == [
        "Two sources: Running: train, 25\u202f%, about 1 min 01 s left",
        "tokens: done",
        "train: 25 % weights b 75.0\u202f%, a 25.0\u202f%",
        "train: done",
    ]
    assert f"mixwright show {run[0]}" in found.stderr
    assert sorted(run[0].rglob("*")) == sorted([*before, run[0] / "summary.json", run[0] / "report.html"])


def test_a_run_that_stopped_says_why_and_how_to_resume_it(run):
    folder, claim = run
    claim.about = {**claim.about, "ended": "stopped", "why": "the disk is full"}
    claim.release()
    found = watch(folder)
    assert found.exit_code == 1
    assert "stopped (the disk is full): no command is at work" in found.stderr
    assert f"mixwright compare {folder / 'config.yaml'} --run {folder}" in found.stderr
    assert watch(folder, "--quiet").output == ""


def test_a_run_of_an_earlier_version_and_what_is_no_run_have_a_clear_word(run, tmp_path):
    folder, claim = run
    claim.release()
    (folder / ".head" / "claim.1").unlink()
    found = watch(folder)
    assert found.exit_code == 1
    assert "was begun by an earlier version, which does not say" in found.stderr
    found = watch(tmp_path / "none")
    assert found.exit_code == 2
    assert "should be the folder of a run, found none" in found.stderr
    found = watch(folder, 8080)
    assert found.exit_code == 2
    assert "8080 is the port of --serve" in found.stderr


def test_a_damaged_run_is_shown_without_what_is_damaged(run):
    folder, claim = run
    names = {"run": {"sources": ["a", "\ud800"], "prior": [0.5, 0.5]}, "begins": 3, "weights": [0.25, 0.75]}
    lines = [{"begins": 2, "weights": [0.5, 0.5]}, names | {"observation": {}}, {"begins": 4, "weights": [2, -1]}]
    (folder / "decisions.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    claim.about |= {"title": "Two \ud800 sources"}
    finish(folder, claim)
    found = watch(folder)
    assert found.exit_code == 0, found.output
    assert found.stdout.startswith("Two \\ud800 sources: ")
    assert "left out: 2 damaged lines of decisions.jsonl" in " ".join(found.stderr.split())
    seen = json.loads(watch(folder, "--json").stdout)
    assert (seen["weights"], seen["left_out"]) == ({"a": 0.25, "\ud800": 0.75}, "2 damaged lines of decisions.jsonl")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--serve", "--json"], "--json is the state of this moment, and --serve goes on; give one of them"),
        (["--serve", "--quiet"], "--quiet does not say which port --serve takes; give one: --serve PORT"),
    ],
)
def test_options_that_do_not_go_together_are_one_clear_error(run, monkeypatch, options, said):
    monkeypatch.setattr(command.time, "sleep", lambda seconds: pytest.fail("it should have ended"))
    for words in (["watch", str(run[0]), *options], [options[1], "watch", str(run[0]), options[0]]):
        found = CliRunner().invoke(app, words)
        assert found.exit_code == 2
        assert said in " ".join(found.stderr.split())
        assert "page:" not in found.output


def test_quiet_serves_at_a_port_that_was_given(run, monkeypatch):
    pytest.importorskip("jinja2")
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
    seen = []

    def nap(seconds: float) -> None:
        seen.append(http.client.HTTPConnection("127.0.0.1", port, timeout=30))
        seen[0].request("GET", "/")
        seen.append(seen[0].getresponse().status)
        raise KeyboardInterrupt

    monkeypatch.setattr(command.time, "sleep", nap)
    found = watch(run[0], "--serve", port, "--quiet")
    assert (found.exit_code, found.output, seen[1]) == (130, "", 200)


def test_json_is_the_state_of_this_moment(run):
    for words in (["watch", str(run[0]), "--json"], ["--json", "watch", str(run[0])]):
        state = json.loads(CliRunner().invoke(app, words).stdout)
        assert state["weights"] == {"a": 0.25, "b": 0.75}
        assert (state["state"], state["step"]) == ("running", 2)


def test_ctrl_c_leaves_quietly(run, monkeypatch):
    def interrupt(seconds: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(command.time, "sleep", interrupt)
    found = watch(run[0])
    assert found.exit_code == 130
    assert "topped" not in found.output


def test_lines_of_failed_pieces_come_once():
    text = io.StringIO()
    lines = RunLines(Console(file=text, width=200))
    failed = {"state": "failed", "name": "uniform, seed 1", "host": "node7", "error": "Traceback\nno memory\n"}
    for _ in range(2):
        lines(RunState("run", "compare", "A comparison", "running", stages={"arms": [1, 2, None]}, pieces=[failed]))
    assert text.getvalue().count("failed on node7: uniform, seed 1: no memory") == 1


@pytest.mark.parametrize("height", [12, 24, 50])
def test_a_picture_is_no_higher_than_the_terminal(height):
    from report.live_fixtures import running  # type: ignore[import-not-found]

    for k, pieces, width in ((3, 0, 100), (60, 0, 60), (3, 450, 60), (60, 450, 100)):
        console = Console(file=io.StringIO(), width=width, height=height, color_system=None, force_terminal=True)
        console.print(picture(RunState(**running(k, pieces)), height - 1, width > 80))
        shown = console.file.getvalue().rstrip("\n").splitlines()  # type: ignore[attr-defined]
        assert len(shown) < max(height, 16)
        assert max(map(len, shown)) <= width
        assert any("failed on" in line for line in shown) == bool(pieces)


def test_blocks_show_a_course():
    assert blocks_of([8.0, 4.0, 0.0]) == "█▅▁"
    assert len(blocks_of([float(n) for n in range(1000)])) <= 24
    assert blocks_of([]) == ""


@pytest.fixture
def served(run):
    pytest.importorskip("jinja2")
    with PageServer(run[0]) as server:
        server.show(Watched(run[0]).look())
        yield server, run


def ask(server: PageServer, path: str, host: str | None = "127.0.0.1", method: str = "GET"):
    port = int(server.address.split(":")[2].strip("/"))
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    connection.putrequest(method, path, skip_host=True)
    if host is not None:
        connection.putheader("Host", host)
    connection.endheaders()
    answer = connection.getresponse()
    content = answer.read().decode()
    connection.close()
    return answer.status, content, dict(answer.getheaders())


def test_the_page_is_served_while_the_run_goes_and_when_it_is_done(served):
    server, (folder, claim) = served
    status, content, headers = ask(server, "/")
    assert (status, headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    assert "Running: train" in content
    assert "location.reload" in content
    assert ask(server, "/report.html?x")[0] == 200
    assert ask(server, "/", method="HEAD")[:2] == (200, "")
    finish(folder, claim, csv="table.csv")
    (folder / "table.csv").write_text("arm,seed\n")
    server.show(Watched(folder).look())
    assert ask(server, "/")[1] == "<p>the finished page"
    assert ask(server, "/table.csv")[:2] == (200, "arm,seed\n")


@pytest.mark.parametrize("linked", ["../secret.csv", "/etc/passwd", "secret.csv", "config.yaml"])
def test_nothing_else_is_served(served, linked):
    server, (folder, claim) = served
    (folder / "secret.csv").symlink_to(folder.parent / "secret.csv")
    finish(folder, claim, csv=linked)
    server.show(Watched(folder).look())
    paths = (
        "/config.yaml",
        "/summary.json",
        "/.head/",
        "/../secret.csv",
        "/%2e%2e/secret.csv",
        "//etc/passwd",
        "/secret.csv",
    )
    for path in (*paths, f"/{linked}", "http://127.0.0.1/config.yaml", "/..%5csecret.csv", "/\\..\\secret.csv"):
        status, content, _ = ask(server, path)
        assert status == 404, path
        assert SECRET not in content
    assert ask(server, "/", method="POST")[0] == 501


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:80", "127.0.0.1.evil.example", "", None, "[::1]", "0.0.0.0"]
)
def test_another_name_is_refused(served, host):
    status, content, _ = ask(served[0], "/", host)
    assert status == 403
    assert "Running" not in content
    assert ask(served[0], "/", "localhost:9000")[0] == 200  # another port: one that was forwarded


def test_an_error_of_the_page_is_said_and_a_browser_that_went_away_is_not(served, monkeypatch, capsys):
    server, _ = served

    def chart(*arguments: object) -> str:
        raise ZeroDivisionError("of a chart")

    monkeypatch.setattr("mixwright.cli.watch.server.render", chart)
    assert ask(server, "/")[:2] == (
        500, "this could not be made (ZeroDivisionError: of a chart); nothing of the run is changed\n"
    )  # fmt: skip
    for error, said in ((BrokenPipeError(), False), (TimeoutError(), False), (ZeroDivisionError("of a test"), True)):
        try:
            raise error
        except Exception:
            server._server.handle_error(None, ("127.0.0.1", 1))
        assert ("ZeroDivisionError: of a test" in capsys.readouterr().err) is said


def test_it_is_on_the_loopback_address_alone_and_a_port_in_use_is_one_clear_error(served):
    server, (folder, _) = served
    assert server.address.startswith("http://127.0.0.1:")
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(InputError, match=f"port {port} should be free, found that another program has it"):
            PageServer(folder, port)
