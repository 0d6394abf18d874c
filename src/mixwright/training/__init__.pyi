from mixwright.training.language_model import train as train
from mixwright.training.reference import Reference as Reference
from mixwright.training.result import TrainingResult as TrainingResult
from mixwright.training.settings import TrainingSettings as TrainingSettings
