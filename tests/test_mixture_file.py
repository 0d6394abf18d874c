"""mixture.json: what is written is read, and what is wrong is named."""

import errno
import json
import os
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mixwright.errors import InputError
from mixwright.mixture_file import MixtureFile
from mixwright.version import __version__

FULL = {
    "method": {"name": "mixmin", "prior": "uniform", "shrinkage": 0.01, "tolerance": 1e-8, "seed": 0},
    "evidence": {"rows": 100, "documents": 40, "unit": "chunk", "fingerprints": {"web": "ab", "bücher": "cd"}},
    "certificate": {"loss": 1.5, "objective": 1.6, "gap": 1e-9},
    "uncertainty": {
        "level": 0.9,
        "interval": [[0.6, 0.9], [0.1, 0.4]],
        "improvement": {"over": "uniform", "estimate": 0.1, "low": 0.05, "high": 0.2},
    },
    "verdict": "better than uniform",
}


def mixture(**changes):
    return MixtureFile(**{"sources": ["web", "bücher"], "weights": [0.75, 0.25], **FULL, **changes})


def test_round_trip(tmp_path):
    path = tmp_path / "new" / "mixture.json"
    mixture().write(path)
    assert MixtureFile.read(path) == mixture()
    written = json.loads(path.read_text(encoding="utf-8"))
    assert written["schema"] == 1
    assert written["version"] == __version__
    assert written["sources"] == ["web", "bücher"]
    assert os.listdir(path.parent) == ["mixture.json"]


def test_numpy_values_become_plain():
    made = MixtureFile(
        sources=["a", "b"],
        weights=np.array([0.5, 0.5], np.float32),
        evidence={"rows": np.int64(3)},
        uncertainty={"level": 0.9, "interval": np.zeros((2, 2)), "improvement": None},
    )
    assert made.weights == (0.5, 0.5)
    assert type(made.evidence["rows"]) is int
    assert made.uncertainty["interval"] == [[0.0, 0.0], [0.0, 0.0]]


names = st.lists(st.text(min_size=1).filter(lambda s: s.strip()), min_size=1, max_size=6, unique=True)
plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(sources=names, data=st.data(), method=st.dictionaries(st.text(), plain, max_size=3), verdict=st.text())
@settings(max_examples=60)
def test_round_trip_of_anything(tmp_path_factory, sources, data, method, verdict):
    raw = np.array(data.draw(st.lists(st.floats(0.01, 1), min_size=len(sources), max_size=len(sources))))
    made = MixtureFile(sources=sources, weights=raw / raw.sum(), method=method, verdict=verdict)
    path = tmp_path_factory.mktemp("round") / "mixture.json"
    made.write(path)
    assert MixtureFile.read(path) == made


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sources": []}, "at least one name in sources"),
        ({"sources": ["a", "a"]}, "different names, found 'a' at positions 0 and 1"),
        ({"sources": ["a", " "]}, "found ' ' at position 1"),
        ({"sources": ["a", "\ud800"]}, "position 1"),
        ({"sources": ["a", 3]}, "found 3 at position 1"),
        ({"sources": "ab"}, "list of names, found 'ab'"),
        ({"sources": None}, "list of names, found None"),
        ({"weights": [1.0]}, "each of 2 sources, found 1"),
        ({"weights": "ab"}, "list of 2 numbers"),
        ({"weights": None}, "list of 2 numbers"),
        ({"weights": [1.5, -0.5]}, "at least 0, found -0.5 at position 1"),
        ({"weights": [0.5, 0.4]}, "sum 1 .*found 0.9"),
        ({"weights": [float("nan"), 1.0]}, r"weights\[0\] should be a finite number"),
        ({"weights": [True, 0.0]}, r"weights\[0\] should be a finite number, found True"),
        ({"weights": ["1", 0.0]}, r"weights\[0\]"),
        ({"weights": [10**400, 0.0]}, r"weights\[0\]"),
        ({"unit": "bytes"}, "'rows' or 'tokens', found 'bytes'"),
        ({"unit": None}, "'rows' or 'tokens'"),
        ({"method": []}, "method should be a mapping"),
        ({"method": {1: 2}}, "method should be a mapping with texts"),
        ({"evidence": {"x": float("inf")}}, "evidence should hold only"),
        ({"evidence": {"x": object()}}, "evidence should hold only"),
        ({"evidence": {"x": "\ud800"}}, "evidence should hold only"),
        ({"certificate": {"gap": "small"}}, "certificate.gap should be a finite number, found 'small'"),
        ({"uncertainty": {"level": 90}}, "uncertainty.level should lie between 0 and 1"),
        ({"uncertainty": {"interval": [[0, 1]]}}, "uncertainty.interval should be a list of 2"),
        ({"uncertainty": {"interval": [[0, 1], [0]]}}, r"uncertainty.interval\[1\] should be a pair"),
        ({"uncertainty": {"interval": [[0, 1], [0, None]]}}, r"uncertainty.interval\[1\] \(high\)"),
        ({"uncertainty": {"improvement": 3}}, "uncertainty.improvement should be a mapping"),
        ({"uncertainty": {"improvement": {"estimate": 1, "low": 0}}}, "uncertainty.improvement.high"),
        ({"verdict": 3}, "verdict should be a text"),
        ({"verdict": "\ud800"}, "verdict should hold only"),
    ],
)
def test_wrong_fields_are_named(changes, message):
    with pytest.raises(InputError, match=message):
        mixture(**changes)


def written(tmp_path, **changes):
    path = tmp_path / "mixture.json"
    mixture().write(path)
    value = json.loads(path.read_text(encoding="utf-8")) | changes
    path.write_text(json.dumps({k: v for k, v in value.items() if v != "absent"}), encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"schema": 2}, "newer version of mixwright: its schema is 2, .*install a newer"),
        ({"schema": "1"}, "'schema': 1, found '1'"),
        ({"schema": True}, "found True"),
        ({"schema": 0}, "found 0"),
        ({"schema": "absent"}, "with the field 'schema': 1, found none"),
        ({"weights": "absent"}, "should have a field 'weights', found none"),
        ({"version": "absent"}, "should have a field 'version'"),
        ({"verdicts": "x"}, "'verdicts'.*did you mean 'verdict'"),
        ({"weights": [0.5, 0.6]}, "mixture.json: weights should have sum 1"),
        ({"weights": {"web": 1}}, "mixture.json: weights should be a list"),
    ],
)
def test_wrong_files_are_explained(tmp_path, changes, message):
    with pytest.raises(InputError, match=message):
        MixtureFile.read(written(tmp_path, **changes))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not JSON"),
        (b"[1]", "a JSON list, not an object"),
        (b"\xff\xfe", "not UTF-8"),
        (b'{"schema": 1, "weights": [NaN]}', "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b'{"schema": ' + b"9" * 10_000 + b"}", "not JSON"),
    ],
)
def test_other_content_is_explained(tmp_path, content, message):
    path = tmp_path / "mixture.json"
    path.write_bytes(content)
    with pytest.raises(InputError, match=message):
        MixtureFile.read(path)


def test_missing_file_and_folder(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        MixtureFile.read(tmp_path / "mixture.json")
    with pytest.raises(InputError, match="cannot read"):
        MixtureFile.read(tmp_path)


@given(cut=st.floats(0, 1), flip=st.integers(0, 255))
@settings(max_examples=100)
def test_damaged_files_end_in_one_error(tmp_path_factory, cut, flip):
    path = tmp_path_factory.mktemp("damage") / "mixture.json"
    mixture().write(path)
    whole = path.read_bytes()
    truncated = whole[: int(cut * (len(whole) - 2))]
    path.write_bytes(truncated)
    with pytest.raises(InputError):
        MixtureFile.read(path)
    assert path.read_bytes() == truncated
    at = int(cut * (len(whole) - 1))
    changed = whole[:at] + bytes([flip]) + whole[at + 1 :]
    path.write_bytes(changed)
    with suppress(InputError):
        MixtureFile.read(path)
    assert path.read_bytes() == changed


def test_a_full_disk_leaves_the_file_as_it_was(tmp_path, monkeypatch):
    path = tmp_path / "mixture.json"
    mixture().write(path)
    before = path.read_bytes()

    def full(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(InputError, match="disk is full"):
        mixture(verdict="another").write(path)
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["mixture.json"]
