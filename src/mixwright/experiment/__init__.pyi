from mixwright.experiment.core.summary import read_summary as read_summary
from mixwright.experiment.run import drive as drive
from mixwright.experiment.run import load as load
from mixwright.experiment.run import make as make
