"""What a training shows of each source, step by step: sums, gradient statistics, observations, the lines of a log."""

from mixwright.lazy import lazy

_LATER = {"SampledStatistics": "statistics", "Watcher": "watcher", "Window": "window"}

__all__ = [*_LATER]

__getattr__ = lazy(__name__, _LATER)
