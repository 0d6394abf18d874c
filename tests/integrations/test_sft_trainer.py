"""TRL's SFTTrainer on a mixture, where TRL is installed."""

import pytest

pytest.importorskip("trl", reason="trl is not installed")

from trainers import NAMES, Everything, by_hand, documents, model, sources, torch  # noqa: F401
