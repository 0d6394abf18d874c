from mixwright.gradients.estimators import Sums as Sums
from mixwright.gradients.statistics import GradientStatistics as GradientStatistics
