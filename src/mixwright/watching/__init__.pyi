from mixwright.watching.statistics import SampledStatistics as SampledStatistics
from mixwright.watching.watcher import Watcher as Watcher
from mixwright.watching.window import Window as Window
