"""A damaged file gives either what is in it or one InputError that names it: readers of files that people bring."""

import gzip
import io
import json
from contextlib import chdir
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")
zstandard = pytest.importorskip("zstandard")

from readers import READERS, VALUES  # noqa: E402

from damage import File, Target, as_csv, as_json, as_lines, cases, check, file_of, one  # noqa: E402
from mixwright import MixtureFile, Observation, RunTable  # noqa: E402
from mixwright.decisions import read_decisions  # noqa: E402
from mixwright.formats import export, read  # noqa: E402
from mixwright.formats.reading.places import read_places  # noqa: E402
from mixwright.report import write_card  # noqa: E402
from mixwright.search.table.logs.read import read_logs  # noqa: E402
from mixwright.search.table.table import LikelihoodTable  # noqa: E402
from mixwright.steering.orders import read_orders  # noqa: E402
from mixwright.stream import open_source  # noqa: E402
from mixwright.text import read_documents  # noqa: E402


def packed(values: Any) -> bytes:
    return gzip.compress(as_lines(values), mtime=0)


def zstd(values: Any) -> bytes:
    return bytes(zstandard.ZstdCompressor().compress(as_lines(values)))


def of_rows(name: str) -> Target:
    """Return one of the readers of rows; values change where its files are text."""
    reader = READERS[name]
    content = reader.content(VALUES)
    if reader.suffix == ".csv":
        return one("a.csv", [line.split(",") for line in content.decode().splitlines()], as_csv, reader.read)
    if reader.suffix == ".jsonl":
        return one("a.jsonl", [reader.row(i, value) for i, value in enumerate(VALUES)], as_lines, reader.read)
    return one(f"a{reader.suffix}", content, None, reader.read)


MIXTURE = MixtureFile(
    sources=["web", "law"],
    weights=[0.75, 0.25],
    method={"name": "mixmin"},
    certificate={"gap": 1e-9},
    uncertainty={"level": 0.9, "interval": [[0.6, 0.9], [0.1, 0.4]]},
)
RUN = {"sources": ["web", "law"], "prior": [0.5, 0.5], "lag": 1, "strategy": "PiKE()"}
SEEN = [Observation(step=i, batch_size=4, counts=[2, 2], loss=[1.0, 2.0 + i]).to_json() for i in (0, 3)]
DECISIONS = [
    {"decision": 0, "begins": 2, "weights": [0.6, 0.4], "entropy": 0.67, "run": RUN, "observation": SEEN[0]},
    {"decision": 1, "begins": 5, "weights": [0.5, 0.5], "entropy": 0.69, "observation": SEEN[1]},
]
ORDERS = [{"weights": {"web": 0.2, "law": 0.8}}, {"at": 40, "pin": {"web": 0.5}}, {"undo": True}]
RUNS = [
    ["run", "w:web", "w:law", "loss:qa", "tokens"],
    ["a", 1, 0, 2.5, 100],
    ["b", 0.5, 0.5, 2.0, 100],
    ["c", 0, 1, 3, 50],
]
TRACKED = [
    {
        "info": {"run_id": f"r{i}", "run_name": name, "status": "FINISHED"},
        "data": {
            "params": [{"key": "w:web", "value": "0.5"}, {"key": "w:law", "value": "0.5"}],
            "metrics": [{"key": "loss:qa", "value": 2.0 + i, "timestamp": 1, "step": 9}],
        },
    }
    for i, name in enumerate("ab")
]
SCORED = [{"id": i, "model": m, "token_logprobs": [None, -1.5], "tokens": 2} for m in ("web", "law") for i in range(2)]
SAMPLES = [
    {
        "doc_id": i,
        "doc": {},
        "target": "1",
        "doc_hash": "d",
        "prompt_hash": "p",
        "target_hash": "t",
        "acc": 1.0,
        "arguments": {"gen_args_0": {"arg_0": "q", "arg_1": " a"}, "gen_args_1": {"arg_0": "q", "arg_1": " b"}},
        "resps": [[["-1.5", "False"]], [["-0.5", "True"]]],
        "filtered_resps": [["-1.5", "False"], ["-0.5", "True"]],
        "filter": "none",
    }
    for i in range(2)
]
RESULTS = {"versions": {"quiz": 1.0}, "n-samples": {"quiz": {"original": 2, "effective": 2}}}
DATE = "2026-01-02T03-04-05.678"


def table() -> Target:
    """Return the files of a likelihood table."""
    rows = LikelihoodTable.from_array([[-1.0, -2.0], [-3.0, -0.5], [-1.5, -1.0]], ["web", "law"])
    with TemporaryDirectory() as folder:
        rows.save(Path(folder) / "table")
        files = [file_of(path, Path(folder)) for path in sorted(Path(folder).rglob("*")) if path.is_file()]

    def opened(place: Path) -> object:
        found = LikelihoodTable.open(place / "table")
        return found.block(0, found.n), found.select(found.target_names[0]).n

    return Target(files, opened, whole=True)


def mixture_of(tool: str, places: dict[str, str] | None) -> Target:
    text = export(MIXTURE, tool, places).text.encode()
    return one("mixture.txt", text, None, lambda path: (read(path), read(path, tool)))


def form_of(tool: str, form: str | None) -> Target:
    """Return a mixture in a form of a tool beside its first one; croissant names files, which lie in a folder."""
    shares = MixtureFile(sources=MIXTURE.sources, weights=MIXTURE.weights, unit="tokens")
    with TemporaryDirectory() as folder, chdir(folder):
        places = {name: f"{name}.jsonl" for name in MIXTURE.sources}
        for path in places.values():
            Path(path).write_text("{}\n")
        made = shares if tool in ("megatron", "megatron-bridge", "automodel") else MIXTURE
        text = export(made, tool, None if tool == "llama-factory" else places, form=form).text
    return one("mixture.txt", text.encode(), None, lambda path: (read(path), read(path, tool)))


def carded(path: Path) -> object:
    """Write a section into a README, and put back what was there: an error may change nothing."""
    before = path.read_bytes()
    notes = write_card("## Trained on\nx\n", path, {"sources": {"web": {"path": {"dataset": "org/web"}}}})
    written = path.read_bytes()
    path.write_bytes(before)
    return notes, written


def details() -> bytes:
    """Return what lighteval writes of a task."""
    lines = (Path(__file__).parents[1] / "search" / "logs" / "lighteval_web.jsonl").read_text().splitlines()
    pq.write_table(pa.Table.from_pylist([json.loads(line) for line in lines]), buffer := io.BytesIO())
    return buffer.getvalue()


def megatron() -> list[File]:
    sizes, tokens = np.array([3, 2], "<i4"), np.arange(5, dtype="<u2")
    head = b"MMIDIDX\x00\x00" + np.array([1], "<u8").tobytes() + bytes([8]) + np.array([2, 3], "<u8").tobytes()
    index = head + sizes.tobytes() + np.array([0, 6], "<i8").tobytes() + np.array([0, 1, 2], "<i8").tobytes()
    return [File("a.idx", index), File("a.bin", tokens.tobytes())]


def gathered(path: Path) -> object:
    source = open_source(path)
    return source.gather(np.arange(len(source)))


def tokens_of(folder: Path) -> object:
    source = open_source(folder / "a.idx", context=2)
    return source.gather(np.arange(len(source)))


def tracked(path: Path) -> RunTable:
    return RunTable.from_file(path, weights="params.w:", losses="metrics.loss:*")


FORMATS = {
    "megatron": {"web": "a", "law": "b"},
    "trl": {"web": "a.jsonl", "law": "b"},
    "datasets": {"web": "a.jsonl", "law": "b"},
    "streaming": {"web": "a", "law": "b"},
    "litdata": {"web": "a", "law": "b"},
    "olmo-core": {"web": "a/*.npy", "law": "b/*.npy"},
    "json": None,
}
FORMS = (
    *(("megatron-bridge", None), ("automodel", None), ("llama-factory", None), ("croissant", None)),
    *(("datasets", "card"), ("datasets", "yaml"), ("megatron", "json"), ("streaming", "py")),
)
README = (
    b"---\ndatasets:\n- org/web\nlicense: mit\n---\n# A\n\n<!-- mixwright:begin (x) -->\na\n<!-- mixwright:end -->\n"
)
TARGETS: dict[str, Target] = {
    **{f"mixture of {tool}{f', {form}' if form else ''}": form_of(tool, form) for tool, form in FORMS},
    "card": one("README.md", README, None, carded),
    "details of lighteval": Target(
        [File("details_choose|0_2026-11-29T14-26-18.9.parquet", details())],
        lambda folder: read_logs({"web": folder}),
        whole=True,
    ),
    **{f"mixture of {tool}": mixture_of(tool, places) for tool, places in FORMATS.items()},
    "likelihood table": table(),
    **{name: of_rows(name) for name in READERS if not name.startswith("stream")},
    "stream": one("a.jsonl", [{"text": value} for value in VALUES], as_lines, gathered),
    "stream of parquet": one("a.parquet", READERS["stream of parquet"].content(VALUES), None, gathered),
    "documents, gzip": one("a.jsonl.gz", [{"text": v} for v in VALUES], packed, lambda p: list(read_documents(p))),
    "documents, zstd": one("a.jsonl.zst", [{"text": v} for v in VALUES], zstd, lambda p: list(read_documents(p))),
    "documents, list": one("a.json", [{"text": v} for v in VALUES], as_json, lambda p: list(read_documents(p))),
    "mixture.json": one("mixture.json", MIXTURE.to_json(), as_json, MixtureFile.read),
    "weights": one("a.csv", [["source", "weight"], ["web", 0.75], ["law", 0.25]], as_csv, read),
    "places": one("paths.yaml", {"web": "a", "law": {"path": ["b", "c"], "max_epochs": 2}}, as_json, read_places),
    "decisions": one("decisions.jsonl", DECISIONS, as_lines, read_decisions),
    "orders": one("control.yaml", ORDERS, lambda value: as_json(value) + b"\n", lambda path: read_orders(path.parent)),
    "table of runs": one("runs.csv", RUNS, as_csv, RunTable.from_file),
    "tracked runs": one("runs.json", {"runs": TRACKED}, as_json, tracked),
    "scored lines": one("rows.jsonl", SCORED, as_lines, lambda path: read_logs([path])),
    "samples of lm-eval": Target(
        [File(f"samples_quiz_{DATE}.jsonl", SAMPLES, as_lines), File(f"results_{DATE}.json", RESULTS, as_json)],
        lambda folder: read_logs({"web": folder}),
        whole=True,
    ),
    "Megatron's tokens": Target(megatron(), tokens_of),
}


@pytest.mark.parametrize("name", TARGETS)
@cases(8)
@given(data=st.data())
def test_a_damaged_file(name: str, data: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
    check(TARGETS[name], data, tmp_path_factory.mktemp("damage"))


@pytest.mark.parametrize("name", TARGETS)
def test_the_whole_file(name: str, tmp_path: Path) -> None:
    TARGETS[name].write(tmp_path)
    assert TARGETS[name].read(tmp_path) is not None
