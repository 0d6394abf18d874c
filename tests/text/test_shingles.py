import numpy as np
import pytest

from mixwright.text import shingles as module
from mixwright.text.shingles import Shingled, shingle_size, shingles


def naive(ids: np.ndarray, size: int) -> list[tuple[int, ...]]:
    return [tuple(ids[i : i + size].tolist()) for i in range(len(ids) - size + 1)]


@pytest.mark.parametrize("size", [1, 2, 16, 64])
def test_hashes_are_the_same_exactly_where_the_runs_are(size: int) -> None:
    ids = np.random.default_rng(0).integers(0, 2, 3000).astype(np.uint16)
    hashes, runs = shingles(ids, size), naive(ids, size)
    assert len(hashes) == len(runs)
    assert len(np.unique(hashes)) == len(set(runs))
    assert len(set(zip(hashes.tolist(), runs, strict=True))) == len(set(runs))


def test_a_text_that_is_shorter_than_a_shingle_has_none() -> None:
    assert shingles(np.arange(15), 16).size == 0
    assert not Shingled([np.arange(15)], 16).contained(np.arange(100)).any()
    assert (shingle_size(257), shingle_size(32_000)) == (64, 16)


def test_documents_are_found_from_eighty_per_cent_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_CHUNK", 50)  # documents lie across the ends of chunks
    rng = np.random.default_rng(1)
    documents = [rng.integers(0, 1000, 115) for _ in range(4)]  # 100 shingles of 16
    text = rng.integers(0, 1000, 500)
    text[100:215] = documents[0]
    text[300:395] = documents[1][:95]  # 80 shingles
    text[400:494] = documents[2][:94]  # 79
    wanted = Shingled(documents, 16)
    assert wanted.contained(text).tolist() == [True, True, False, False]
    assert wanted.any_in(text[90:230])
    assert not wanted.any_in(text[390:])
    assert not Shingled([], 16).any_in(text)


def test_repeated_documents_are_each_found() -> None:
    document = np.arange(100)
    assert Shingled([document, document, document[::-1].copy()], 16).contained(document).tolist() == [True, True, False]
