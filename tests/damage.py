"""What may happen to a file, for property tests: bytes that differ, a part that is gone, values of another kind."""

import json
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st

from mixwright.errors import InputError

DEEP = json.loads("[" * 60 + "]" * 60)
Write = Callable[[Any], bytes]
ODD_VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -1, 3, 2**31, 2**63, -(2**64), 10**400, 0.5, -0.0, 1e308, -1e-320, 1e400, float("nan")),
    *(
        "",
        " ",
        "x",
        "1",
        "\ud800",
        "a\0b",
        "../../x",
        "/etc/hostname",
        "CON",
        "é\u202e\U0001f600",
        "x" * 5000,
        "<b>&\"'",
    ),
    *([], {}, [[]], [None], {"": None}, {"a": {"b": []}}, [1, "1", None], DEEP),
)
SCALES = (-1, 1e-9, 1e9, 1e40, 0.1, -1e-300)
ODD_NAMES = ("", "x", "\ud800", "../x", "a\0b", "schema", "1", "é", "x" * 5000)
ODD_BYTES = (
    *(
        b"\0",
        b"\xff",
        b"\n",
        b"\r\n",
        b'"',
        b"'",
        b"{",
        b"]",
        b",",
        b":",
        b"- ",
        b"# ",
        b"&a ",
        b"*a",
        b"<<: ",
        b"NaN",
        b"-",
    ),
    *(
        b"9" * 5000,
        b"[" * 3000,
        b"{" * 3000,
        b"\xed\xa0\x80",
        b"\xef\xbb\xbf",
        b"\\ud800",
        b"!!python/name:os.system ",
        b"2026-13-45",
    ),
    *(b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"PAR1", b"1e999", b"0x1", b"\xe2\x80\xa8", b"\x85", b"\x1a"),
)
BYTE_KINDS = ("flip", "cut", "drop", "twice", "insert")
VALUE_KINDS = ("set", "set", "set", "drop", "rename", "wrap", "twice", "scale")
_AT = st.integers(0, 2**20)
_BYTES = st.lists(
    st.tuples(st.sampled_from(BYTE_KINDS), _AT, _AT, st.sampled_from(ODD_BYTES)),
    min_size=1,
    max_size=3,
)
_VALUES = st.lists(
    st.tuples(
        st.sampled_from(VALUE_KINDS),
        *(_AT, st.integers(0, len(ODD_VALUES) - 1), st.sampled_from(ODD_NAMES)),
    ),
    min_size=1,
    max_size=3,
)


def cases(few: int, many: int = 1000) -> settings:
    """Return how many cases a property has: few in every run of the tests, many in each round of `make fuzz`."""
    return settings(max_examples=many if settings.get_current_profile_name() == "fuzz" else few)


def with_bytes(content: bytes, changes: list[tuple[str, int, int, bytes]]) -> bytes:
    """Return other bytes: a bit of one flipped, the end cut off, a part gone, a part twice, or odd bytes put in."""
    for what, place, size, odd in changes:
        at = place % (len(content) + 1)
        end = min(at + 1 + size % 64, len(content))
        if what == "flip" and at < len(content):
            content = content[:at] + bytes([content[at] ^ (1 << size % 8)]) + content[at + 1 :]
        elif what == "cut":
            content = content[:at]
        elif what == "drop":
            content = content[:at] + content[end:]
        elif what == "twice":
            content = content[:end] + content[at:]
        else:
            content = content[:at] + odd + content[at:]
    return content


def with_values(value: Any, changes: list[tuple[str, int, int, str]]) -> Any:
    """Return another JSON value: somewhere in it one is set, gone, renamed, put into a list, there twice, or larger."""
    value = [json.loads(json.dumps(value))]
    for what, place, odd, name in changes:
        places = list(_places(value))
        holder, key = places[place % len(places)]
        if what == "set":
            holder[key] = deepcopy(ODD_VALUES[odd])
        elif what == "drop" and holder is not value:
            del holder[key]
        elif what == "rename" and isinstance(holder, dict):
            holder[name] = holder.pop(key)
        elif what == "twice" and isinstance(holder, list) and holder is not value:
            holder.insert(key, holder[key])
        elif what == "scale" and isinstance(holder[key], int | float) and abs(holder[key]) < 1e308:
            holder[key] = float(holder[key]) * SCALES[odd % len(SCALES)]
        else:
            holder[key] = [holder[key]]
    return value[0]


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    for key, inner in list(value.items() if isinstance(value, dict) else enumerate(value)):
        yield value, key
        if isinstance(inner, dict | list):
            yield from _places(inner)


def as_json(value: Any) -> bytes:
    """Return JSON, with NaN and halves of surrogate pairs where they are."""
    return json.dumps(value).encode()


def as_lines(values: Any) -> bytes:
    """Return JSON lines; one line for what is no list."""
    return b"".join(as_json(value) + b"\n" for value in (values if isinstance(values, list) else [values]))


def as_csv(rows: Any) -> bytes:
    """Return rows of cells as comma-separated values."""
    rows = rows if isinstance(rows, list) else [rows]
    cells = [[str(cell) for cell in row] if isinstance(row, list) else [str(row)] for row in rows]
    return "".join(",".join(row) + "\n" for row in cells).encode(errors="surrogatepass")


def damaged(content: bytes, value: Any = None, write: Callable[[Any], bytes] = as_json) -> st.SearchStrategy[bytes]:
    """Return a strategy of what becomes of a file: its bytes differ, or the value that `write` puts into it."""
    changed = _BYTES.map(lambda changes: with_bytes(content, changes))
    if value is None:
        return changed
    return changed | changed_values(value).map(write)


def changed_values(value: Any) -> st.SearchStrategy[Any]:
    """Return a strategy of what becomes of a JSON value."""
    return _VALUES.map(lambda changes: with_values(value, changes))


def reads_or_refuses(read: Callable[[], object], folder: Path, *names: str) -> None:
    """Check that a reader returns, or ends in one InputError that has a name, and leaves the folder as it is."""
    before = files_of(folder)
    with stopped_late():
        error = _error(read)
    assert error is None or any(name in str(error) for name in names), f"the error names no file: {error}"
    assert files_of(folder) == before


def _error(read: Callable[[], object]) -> InputError | None:
    try:
        read()
    except InputError as error:
        return error
    return None


def files_of(folder: Path) -> Mapping[Path, bytes]:
    """Return what is in all files of a folder."""
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


class TooLateError(BaseException):
    """No Exception, which a reader may turn into an InputError."""


@contextmanager
def stopped_late(seconds: float = 20) -> Iterator[None]:
    def late(*_: object) -> None:
        raise TooLateError(f"the reader was not done after {seconds} s of the processor")

    # of the processor; on the clock only what waits for ever, since another process may have the processor
    timers = ((signal.SIGPROF, signal.ITIMER_PROF, seconds), (signal.SIGALRM, signal.ITIMER_REAL, 30 * seconds))
    former = [signal.signal(number, late) for number, _, _ in timers]
    for _, timer, limit in timers:
        signal.setitimer(timer, limit)
    try:
        yield
    finally:
        for (number, timer, _), handler in zip(timers, former, strict=True):
            signal.setitimer(timer, 0)
            signal.signal(number, handler)


@dataclass(frozen=True)
class File:
    """
    A file that is read, and what may become of it.

    Parameters
    ----------
    name
        Its path in the folder.
    value
        What is in it, or its bytes.
    write
        From the value to bytes; None: the bytes alone are damaged.
    """

    name: str
    value: Any
    write: Write | None = None

    @property
    def content(self) -> bytes:
        return self.value if self.write is None else self.write(self.value)

    @property
    def damaged(self) -> st.SearchStrategy[bytes]:
        return damaged(self.content) if self.write is None else damaged(self.content, self.value, self.write)


@dataclass(frozen=True)
class Target:
    """Files in a folder, and what reads them; `whole`: an error may name the folder in place of the file."""

    files: Sequence[File]
    read: Callable[[Path], object]
    whole: bool = False

    @property
    def damaged(self) -> st.SearchStrategy[tuple[File, bytes]]:
        """Return a strategy of one of the files and what became of it."""
        return st.one_of(*(file.damaged.map(lambda content, file=file: (file, content)) for file in self.files))

    def write(self, folder: Path) -> None:
        for file in self.files:
            path = folder / file.name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(file.content)


def one(name: str, value: Any, write: Write | None, read: Callable[[Path], object]) -> Target:
    """Return a reader of one file."""
    return Target([File(name, value, write)], lambda folder: read(folder / name))


def file_of(path: Path, folder: Path) -> File:
    """Return a file of a folder; values change in one of JSON."""
    name, content = str(path.relative_to(folder)), path.read_bytes()
    return File(name, json.loads(content), as_json) if path.suffix == ".json" else File(name, content)


def check(target: Target, data: st.DataObject, folder: Path) -> None:
    """Damage one of the files of a reader, which then reads what is in it or refuses it."""
    check_one(target, *data.draw(target.damaged), folder)


def check_one(target: Target, file: File, content: bytes, folder: Path) -> None:
    """Put a content into one of the files of a reader, which then reads what is in it or refuses it."""
    target.write(folder)
    (folder / file.name).write_bytes(content)
    names = {Path(each.name).name for each in target.files}  # an index and its tokens may each be the wrong one
    names |= {folder.name} if target.whole else set()
    reads_or_refuses(lambda: target.read(folder), folder, *names)


def random_values(rng: Random, value: Any) -> Any:
    """Return what `changed_values` may, without hypothesis: a long campaign is several times faster."""
    return with_values(
        value,
        [
            (rng.choice(VALUE_KINDS), rng.randrange(2**20), rng.randrange(len(ODD_VALUES)), rng.choice(ODD_NAMES))
            for _ in range(rng.randint(1, 3))
        ],
    )


def random_file(rng: Random, target: Target) -> tuple[File, bytes]:
    """Return what `Target.damaged` may, without hypothesis."""
    file = rng.choice(target.files)
    if file.write is not None and rng.random() < 0.5:
        return file, file.write(random_values(rng, file.value))
    changes = [
        (rng.choice(BYTE_KINDS), rng.randrange(2**20), rng.randrange(2**20), rng.choice(ODD_BYTES))
        for _ in range(rng.randint(1, 3))
    ]
    return file, with_bytes(file.content, changes)
