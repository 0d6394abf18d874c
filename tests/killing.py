"""Processes that die of kill -9 while they work: at a place, not at a time, so that a busy machine changes nothing."""

import os
import random
import signal
import threading


class Die:
    """
    A progress callback that kills its process soon after `stage` has come to `at`.

    Soon, not at once: within hundredths of a second, so that the kill can meet anything, a file half written too.
    """

    def __init__(self, stage, at):
        self.stage, self.at = stage, at

    def __call__(self, stage, done, total, note=""):
        if stage == self.stage and done >= self.at:
            die_soon()


def die_soon():
    """Kill this process within hundredths of a second."""
    threading.Timer(random.uniform(0, 0.02), os.kill, (os.getpid(), signal.SIGKILL)).start()
