"""Model cards: what a model was trained on, or a mixture rests on, as a section of a README.md."""

from mixwright.report.card.text import card
from mixwright.report.card.write import write_card

__all__ = ["card", "write_card"]
