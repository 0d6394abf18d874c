"""What the fingerprint of a source reads of its file: pages, counted in the system's cache."""

import ctypes
import mmap
import os
import sys

import numpy as np
import pytest

from mixwright.stream.sources.opening import open_source
from mixwright.stream.sources.tokens import PaddedDocuments

SIZE, CONTEXT = 1 << 26, 1024
PAGES = 64 * (2 + 1) + 64  # a row of 2 KiB lies on two pages at most; the header and the page of the padding


def sparse(path, shape):
    """Write a .npy of zeros that takes no room, and that is not in the cache."""
    with open(path, "wb") as handle:
        header = {"descr": np.dtype(np.uint16).str, "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(handle, header)
        handle.truncate(handle.tell() + SIZE)
        os.fsync(handle.fileno())
        os.posix_fadvise(handle.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    return path


def cached(path):
    """Return how many pages of a file are in the system's cache."""
    with open(path, "r+b") as handle, mmap.mmap(handle.fileno(), 0) as there:
        pages = -(-len(there) // mmap.PAGESIZE)
        found = (ctypes.c_ubyte * pages)()
        array = np.frombuffer(there, np.uint8)
        libc = ctypes.CDLL(None, use_errno=True)
        failed = libc.mincore(ctypes.c_void_p(array.ctypes.data), ctypes.c_size_t(len(there)), found)
        del array
        assert not failed, os.strerror(ctypes.get_errno())
        return int((np.frombuffer(found, np.uint8) & 1).sum())


def documents(path):
    return PaddedDocuments(path, CONTEXT, documents=np.arange(0, SIZE // 2 + 1, CONTEXT))


@pytest.mark.skipif(sys.platform != "linux", reason="mincore of Linux")
@pytest.mark.parametrize(
    ("open_it", "shape"),
    [
        (lambda path: open_source(path, context=CONTEXT), (SIZE // 2,)),
        (documents, (SIZE // 2,)),
        (lambda path: open_source(np.load(path, mmap_mode="r")), (SIZE // 2 // CONTEXT, CONTEXT)),
    ],
    ids=["tokens", "padded", "rows of a map"],
)
def test_a_fingerprint_reads_a_sample_and_nothing_around_it(tmp_path, open_it, shape):
    path = sparse(tmp_path / "a.npy", shape)
    before = cached(path)
    source = open_it(path)
    assert len(source.fingerprint) == 16
    assert cached(path) - before <= PAGES
    source.gather(np.array([5]))  # the map is used as before
