"""How the tests run everywhere: one thread per process; property tests that repeat, or explore under `make fuzz`."""

import os

# Before numpy and torch are imported. Threads that spin while they wait are ten times slower on shared cores.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import random
import time

import pytest
from hypothesis import settings

settings.register_profile("repeatable", deadline=None, derandomize=True, database=None)
settings.register_profile("fuzz", deadline=None, derandomize=False, database=None, print_blob=True)
settings.load_profile("repeatable")


def pytest_addoption(parser):
    parser.addoption("--until", type=float, help="skip the tests that have not begun at this time (seconds since 1970)")


def pytest_collection_modifyitems(config, items):
    """Shuffle the tests of `make fuzz` by its seed, so that a short time reaches others in each round."""
    if config.getoption("--until") is not None:
        random.Random(config.getoption("--hypothesis-seed")).shuffle(items)


def pytest_runtest_setup(item):
    until = item.config.getoption("--until")
    if until is not None and time.time() > until:
        pytest.skip("the time is up")
