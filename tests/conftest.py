"""How the tests run everywhere: one thread per process; property tests that repeat, or explore under `make fuzz`."""

import gc
import os
import random
import time

import pytest
from hypothesis import HealthCheck, settings

# The same everywhere, before numpy, torch and rich are imported, and in the processes that tests start: one thread (the
# last digits depend on it), the CPU, and a terminal of one width without colours.
os.environ.update(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1", CUDA_VISIBLE_DEVICES="", COLUMNS="100")
for name in ("FORCE_COLOR", "PY_COLORS", "TTY_COMPATIBLE", "GITHUB_ACTIONS"):
    os.environ.pop(name, None)

# No time limits: they would make a busy machine fail.
ALWAYS = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow], "database": None}
settings.register_profile("repeatable", derandomize=True, **ALWAYS)
settings.register_profile("fuzz", derandomize=False, print_blob=True, **ALWAYS)
settings.load_profile("repeatable")


def pytest_addoption(parser):
    parser.addoption("--until", type=float, help="skip the tests that have not begun at this time (seconds since 1970)")


def pytest_collection_modifyitems(config, items):
    """
    Shuffle the tests of `make fuzz` by its seed, so that a short time reaches others in each round.

    Else files with slow tests come first: begun last, one of them would keep one core busy while the others idle.
    """
    if config.getoption("--until") is not None:
        random.Random(config.getoption("--hypothesis-seed")).shuffle(items)
        return
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


def pytest_collection_finish():
    gc.freeze()  # the collector, which accelerate calls after each training, need not look at what was imported


def pytest_runtest_setup(item):
    until = item.config.getoption("--until")
    if until is not None and time.time() > until:
        pytest.skip("the time is up")
